/* lsm/pack.c -- the one user of lz4. */
#include "lsm/pack.h"

#include <lz4.h>

#include "base/contract.h"

#define PACK_GAIN_MAX 255u /* Of lz4, by its format. */
/* Of more bytes than this lz4 looks at every other place once it finds nothing: blocks of large
 * values and groups of the log. It took 21 us for 64 KiB of which half is random, 57 without, and
 * no byte more; of text and code 4 to 20 % less time, and 1 to 3 % more bytes. Of 4 KiB it saves as
 * little, and takes 2 to 5 % more bytes, so those are searched whole. */
#define PACK_SEARCH_SIZE (8u << 10)
#define PACK_ACCELERATION 2

size_t pack_size_max(size_t size)
{
    size_t most = size - size * PACK_SAVING_PERCENT / 100;
    return most > 0 ? most - 1 : 0;
}

size_t pack(struct slice from, uint8_t *to)
{
    ASSERT(from.size < LZ4_MAX_INPUT_SIZE);
    int size = LZ4_compress_fast((const char *)from.data, (char *)to, (int)from.size,
                                 (int)pack_size_max(from.size), /* It gives up beyond. */
                                 from.size > PACK_SEARCH_SIZE ? PACK_ACCELERATION : 1);
    return size > 0 ? (size_t)size : 0;
}

bool pack_may_hold(size_t packed_size, size_t size)
{
    return size / PACK_GAIN_MAX <= packed_size && size < LZ4_MAX_INPUT_SIZE;
}

bool unpack(struct slice packed, uint8_t *to, size_t size)
{
    int got =
        LZ4_decompress_safe((const char *)packed.data, (char *)to, (int)packed.size, (int)size);
    return got >= 0 && (size_t)got == size;
}

bool unpack_first(struct slice packed, uint8_t *to, size_t wanted, size_t size)
{
    int got = LZ4_decompress_safe_partial((const char *)packed.data, (char *)to, (int)packed.size,
                                          (int)wanted, (int)size);
    return got >= 0 && (size_t)got >= wanted;
}
