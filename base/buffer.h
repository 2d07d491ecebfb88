/*
 * base/buffer.h -- owned bytes that grow.
 *
 * An append that finds no memory leaves the buffer as it is and marks it failed; later appends do
 * nothing. So an encoder appends freely and asks buffer_status() once, at its end.
 */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/contract.h"
#include "base/slice.h"
#include "base/status.h"

struct buffer {
    uint8_t *data;   /* Owned; NULL while capacity is 0. */
    size_t size;     /* Bytes in use. */
    size_t capacity; /* Bytes allocated. */
    bool failed;     /* An append found no memory. */
};

/* A zeroed struct is an empty buffer. */
void buffer_deinit(struct buffer *buffer);
void buffer_clear(struct buffer *buffer); /* Keeps the capacity. */
void buffer_append(struct buffer *buffer, const void *data, size_t size);
void buffer_append_slice(struct buffer *buffer, struct slice slice);
void buffer_append_text(struct buffer *buffer, const char *text);
void buffer_append_format(struct buffer *buffer, const char *format, ...) PRINTF_LIKE(2, 3);
/* Room for `size` more bytes at the end, or NULL (then failed). Call buffer_commit() after. */
MUST_USE uint8_t *buffer_reserve(struct buffer *buffer, size_t size);
void buffer_commit(struct buffer *buffer, size_t size);
void buffer_consume(struct buffer *buffer, size_t size); /* Drops bytes at the front. */
/* STATUS_NO_MEMORY if an append failed, else STATUS_OK. */
MUST_USE enum status buffer_status(const struct buffer *buffer);

static inline struct slice buffer_slice(const struct buffer *buffer)
{
    return slice_make(buffer->data, buffer->size);
}

#endif
