/*
 * base/codec.h -- bytes to numbers and back, little-endian, bounds checked.
 *
 * Writers append to a buffer (whose sticky failure is checked once by the caller). A reader walks a
 * slice; the first read past the end, or a malformed varint, marks it failed and every later read
 * gives 0 or an empty slice. So a decoder reads a whole layout and checks codec_reader_ok() once,
 * before it believes any of it. Keys that must sort use the _be forms.
 */
#ifndef BASE_CODEC_H
#define BASE_CODEC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/slice.h"

#define CODEC_VARINT_SIZE_MAX 10

struct codec_reader {
    struct slice rest; /* Not yet read; borrows what the reader was made from. */
    bool failed;
};

/* Raw, for fixed layouts in memory the caller has sized. Written with shifts, which compilers turn
 * into single loads and stores: no alignment and no byte order of the machine can leak in. */
static inline uint16_t codec_load_u16(const uint8_t *from)
{
    return (uint16_t)(from[0] | from[1] << 8);
}

static inline uint32_t codec_load_u32(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
           (uint32_t)from[3] << 24;
}

static inline uint64_t codec_load_u64(const uint8_t *from)
{
    return (uint64_t)from[0] | (uint64_t)from[1] << 8 | (uint64_t)from[2] << 16 |
           (uint64_t)from[3] << 24 | (uint64_t)from[4] << 32 | (uint64_t)from[5] << 40 |
           (uint64_t)from[6] << 48 | (uint64_t)from[7] << 56;
}

static inline void codec_store_u16(uint8_t *to, uint16_t value)
{
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
}

static inline void codec_store_u32(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
    to[2] = (uint8_t)(value >> 16);
    to[3] = (uint8_t)(value >> 24);
}

static inline void codec_store_u64(uint8_t *to, uint64_t value)
{
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
    to[2] = (uint8_t)(value >> 16);
    to[3] = (uint8_t)(value >> 24);
    to[4] = (uint8_t)(value >> 32);
    to[5] = (uint8_t)(value >> 40);
    to[6] = (uint8_t)(value >> 48);
    to[7] = (uint8_t)(value >> 56);
}

/* Eight bytes, the first the most significant: numbers that sort as the bytes do. */
static inline uint64_t codec_load_be64(const uint8_t *from)
{
    return (uint64_t)from[0] << 56 | (uint64_t)from[1] << 48 | (uint64_t)from[2] << 40 |
           (uint64_t)from[3] << 32 | (uint64_t)from[4] << 24 | (uint64_t)from[5] << 16 |
           (uint64_t)from[6] << 8 | (uint64_t)from[7];
}

uint64_t codec_load_be(const uint8_t *from, size_t size); /* size 1 to 8 */
void codec_store_be(uint8_t *to, uint64_t value, size_t size);
/* Returns the bytes written, 1 to CODEC_VARINT_SIZE_MAX. LEB128, unsigned. */
size_t codec_store_varint(uint8_t *to, uint64_t value);

void codec_put_u8(struct buffer *buffer, uint8_t value);
void codec_put_u16(struct buffer *buffer, uint16_t value);
void codec_put_u32(struct buffer *buffer, uint32_t value);
void codec_put_u64(struct buffer *buffer, uint64_t value);
void codec_put_varint(struct buffer *buffer, uint64_t value);
void codec_put_bytes(struct buffer *buffer, struct slice bytes); /* varint size, then the bytes */

struct codec_reader codec_reader_make(struct slice bytes);
uint8_t codec_get_u8(struct codec_reader *reader);
uint16_t codec_get_u16(struct codec_reader *reader);
uint32_t codec_get_u32(struct codec_reader *reader);
uint64_t codec_get_u64(struct codec_reader *reader);
uint64_t codec_get_varint(struct codec_reader *reader); /* Over-long forms are malformed. */
struct slice codec_get_bytes(struct codec_reader *reader);
struct slice codec_get_raw(struct codec_reader *reader, size_t size);
bool codec_reader_ok(const struct codec_reader *reader);
/* Ok, and every byte was read: what a decoder of a whole message asks. */
bool codec_reader_done(const struct codec_reader *reader);

#endif
