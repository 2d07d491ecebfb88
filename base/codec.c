/*
 * base/codec.c -- bytes to numbers and back.
 */
#include "base/codec.h"

#include <string.h>

#include "base/contract.h"

uint64_t codec_load_be(const uint8_t *from, size_t size)
{
    ASSERT(size >= 1 && size <= 8);
    uint64_t value = 0;
    for (size_t index = 0; index < size; index++) {
        value = value << 8 | from[index];
    }
    return value;
}

void codec_store_be(uint8_t *to, uint64_t value, size_t size)
{
    ASSERT(size >= 1 && size <= 8);
    ASSERT(size == 8 || value >> (8 * size) == 0);
    for (size_t index = size; index-- > 0;) {
        to[index] = (uint8_t)value;
        value >>= 8;
    }
}

size_t codec_store_varint(uint8_t *to, uint64_t value)
{
    size_t size = 0;
    while (value >= 0x80) {
        to[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    to[size++] = (uint8_t)value;
    return size;
}

void codec_put_u8(struct buffer *buffer, uint8_t value)
{
    buffer_append(buffer, &value, sizeof(value));
}

void codec_put_u16(struct buffer *buffer, uint16_t value)
{
    uint8_t bytes[2];
    codec_store_u16(bytes, value);
    buffer_append(buffer, bytes, sizeof(bytes));
}

void codec_put_u32(struct buffer *buffer, uint32_t value)
{
    uint8_t bytes[4];
    codec_store_u32(bytes, value);
    buffer_append(buffer, bytes, sizeof(bytes));
}

void codec_put_u64(struct buffer *buffer, uint64_t value)
{
    uint8_t bytes[8];
    codec_store_u64(bytes, value);
    buffer_append(buffer, bytes, sizeof(bytes));
}

void codec_put_varint(struct buffer *buffer, uint64_t value)
{
    uint8_t bytes[CODEC_VARINT_SIZE_MAX];
    buffer_append(buffer, bytes, codec_store_varint(bytes, value));
}

void codec_put_bytes(struct buffer *buffer, struct slice bytes)
{
    codec_put_varint(buffer, bytes.size);
    buffer_append_slice(buffer, bytes);
}

struct codec_reader codec_reader_make(struct slice bytes)
{
    return (struct codec_reader){.rest = bytes};
}

/* The next `size` bytes; NULL, and failed from now on, if there are not as many. */
static const uint8_t *take(struct codec_reader *reader, size_t size)
{
    if (reader->failed || size > reader->rest.size) {
        reader->failed = true;
        return NULL;
    }
    const uint8_t *taken = reader->rest.data;
    if (size != 0) {
        reader->rest = slice_make(taken + size, reader->rest.size - size);
    }
    return taken;
}

uint8_t codec_get_u8(struct codec_reader *reader)
{
    const uint8_t *bytes = take(reader, 1);
    return bytes != NULL ? bytes[0] : 0;
}

uint16_t codec_get_u16(struct codec_reader *reader)
{
    const uint8_t *bytes = take(reader, 2);
    return bytes != NULL ? codec_load_u16(bytes) : 0;
}

uint32_t codec_get_u32(struct codec_reader *reader)
{
    const uint8_t *bytes = take(reader, 4);
    return bytes != NULL ? codec_load_u32(bytes) : 0;
}

uint64_t codec_get_u64(struct codec_reader *reader)
{
    const uint8_t *bytes = take(reader, 8);
    return bytes != NULL ? codec_load_u64(bytes) : 0;
}

/* One number has one spelling: a last byte of 0 after others, or bits above 64, are malformed. */
uint64_t codec_get_varint(struct codec_reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 7 * CODEC_VARINT_SIZE_MAX; shift += 7) {
        const uint8_t *bytes = take(reader, 1);
        if (bytes == NULL) {
            return 0;
        }
        uint8_t byte = bytes[0];
        if ((byte == 0 && shift > 0) || (shift == 63 && byte > 1)) {
            break;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            return value;
        }
    }
    reader->failed = true;
    return 0;
}

struct slice codec_get_bytes(struct codec_reader *reader)
{
    uint64_t size = codec_get_varint(reader);
    if (size > reader->rest.size) {
        reader->failed = true;
    }
    return codec_get_raw(reader, reader->failed ? 0 : (size_t)size);
}

struct slice codec_get_raw(struct codec_reader *reader, size_t size)
{
    const uint8_t *bytes = take(reader, size);
    return bytes != NULL ? slice_make(bytes, size) : slice_make(NULL, 0);
}

bool codec_reader_ok(const struct codec_reader *reader)
{
    return !reader->failed;
}

bool codec_reader_done(const struct codec_reader *reader)
{
    return !reader->failed && reader->rest.size == 0;
}
