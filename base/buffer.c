/*
 * base/buffer.c -- owned bytes that grow by doubling.
 *
 * Doubling keeps the copies of all growth together below the final size.
 */
#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define BUFFER_CAPACITY_MIN 64

void buffer_deinit(struct buffer *buffer)
{
    ASSERT(buffer != NULL);
    memory_free(buffer->data);
    *buffer = (struct buffer){0};
}

/* What was lost to a failed append goes with the rest, so the next encoding starts clean. */
void buffer_clear(struct buffer *buffer)
{
    ASSERT(buffer != NULL);
    buffer->size = 0;
    buffer->failed = false;
}

/* The slow path of buffer_reserve(): more memory, or failed. */
static bool grow(struct buffer *buffer, size_t size)
{
    size_t wanted;
    if (__builtin_add_overflow(buffer->size, size, &wanted)) {
        buffer->failed = true;
        return false;
    }
    size_t capacity = buffer->capacity != 0 ? buffer->capacity : BUFFER_CAPACITY_MIN;
    while (capacity < wanted) {
        if (__builtin_mul_overflow(capacity, (size_t)2, &capacity)) {
            capacity = wanted;
        }
    }
    uint8_t *data = memory_resize(buffer->data, capacity);
    if (data == NULL) {
        buffer->failed = true;
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

uint8_t *buffer_reserve(struct buffer *buffer, size_t size)
{
    ASSERT(buffer != NULL);
    ASSERT(buffer->size <= buffer->capacity);
    if (buffer->failed) {
        return NULL;
    }
    if (buffer->data == NULL || size > buffer->capacity - buffer->size) {
        if (!grow(buffer, size)) {
            return NULL;
        }
    }
    return buffer->data + buffer->size;
}

void buffer_commit(struct buffer *buffer, size_t size)
{
    ASSERT(buffer != NULL);
    ASSERT(size <= buffer->capacity - buffer->size);
    buffer->size += size;
}

void buffer_append(struct buffer *buffer, const void *data, size_t size)
{
    if (size == 0) {
        return;
    }
    ASSERT(data != NULL);
    uint8_t *to = buffer_reserve(buffer, size);
    if (to == NULL) {
        return;
    }
    memcpy(to, data, size);
    buffer->size += size;
}

void buffer_append_slice(struct buffer *buffer, struct slice slice)
{
    buffer_append(buffer, slice.data, slice.size);
}

void buffer_append_text(struct buffer *buffer, const char *text)
{
    ASSERT(text != NULL);
    buffer_append(buffer, text, strlen(text));
}

/* Tries the room there is, and once more with as much as the first try asked for. */
void buffer_append_format(struct buffer *buffer, const char *format, ...)
{
    size_t room = BUFFER_CAPACITY_MIN;
    for (int attempt = 0; attempt < 2; attempt++) {
        uint8_t *to = buffer_reserve(buffer, room);
        if (to == NULL) {
            return;
        }
        va_list arguments;
        va_start(arguments, format);
        int length = vsnprintf((char *)to, room, format, arguments);
        va_end(arguments);
        ASSERT(length >= 0);
        if ((size_t)length < room) {
            buffer->size += (size_t)length;
            return;
        }
        room = (size_t)length + 1; /* vsnprintf also writes a terminator. */
    }
    UNREACHABLE("the same format asked for more room the second time");
}

void buffer_consume(struct buffer *buffer, size_t size)
{
    ASSERT(buffer != NULL);
    ASSERT(size <= buffer->size);
    if (size == 0) {
        return;
    }
    memmove(buffer->data, buffer->data + size, buffer->size - size);
    buffer->size -= size;
}

enum status buffer_status(const struct buffer *buffer)
{
    ASSERT(buffer != NULL);
    return buffer->failed ? STATUS_NO_MEMORY : STATUS_OK;
}
