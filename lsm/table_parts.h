/*
 * lsm/table_parts.h -- what the files of a reading table share: its index, its filters, its reads.
 *
 * Private to table.c (gets), table_open.c (from a file to a table) and table_cursor.c (walks).
 */
#ifndef LSM_TABLE_PARTS_H
#define LSM_TABLE_PARTS_H

#include <stdint.h>
#include <string.h>

#include "base/codec.h"
#include "lsm/table.h"
#include "lsm/table_format.h"

struct table_fence {
    uint64_t offset;     /* Of the sealed block in the file. */
    uint64_t key_offset; /* Of the separator in fence_keys. */
    uint32_t size;       /* Of the sealed block; 0: a hole, see table_open.c (3). */
    uint32_t key_size;
};

/* Its lines lie in `memory`, or in the cache, or nowhere for now. */
struct table_filter {
    struct cache_slot slot;
    void *memory;    /* Owned; NULL if the table uses a cache. */
    uint64_t offset; /* Of the sealed filter in the file. */
    uint32_t size;   /* Of the sealed filter. */
    uint32_t line_count;
    uint32_t block_first; /* Index of the first block it covers. */
    _Atomic bool damaged; /* Found so when it was read; logged then. */
};

/* Logs it; STATUS_CORRUPT. */
enum status table_damaged(const struct table *table, uint64_t offset, const char *what);
/* Exactly `size` bytes; a file that ends before is damaged. */
MUST_USE enum status table_read(const struct table *table, uint64_t offset, uint32_t size,
                                enum lsm_wait wait, void *to);
/* Reads and opens one sealed block; *raw borrows from `scratch`, whose old content goes. */
MUST_USE enum status table_read_block(const struct table *table, struct table_handle handle,
                                      enum lsm_wait wait, struct buffer *scratch,
                                      struct slice *raw);
/* The block that alone may hold `key`; false if it is below all blocks. */
bool table_fence_search(const struct table *table, struct slice key, uint32_t *block_index);

static inline struct slice table_fence_key(const struct table *table, uint32_t index)
{
    const struct table_fence *fence = &table->fences[index];
    return slice_make(table->fence_keys.data + fence->key_offset, fence->key_size);
}

static inline struct table_handle table_fence_handle(const struct table *table,
                                                     uint32_t block_index)
{
    const struct table_fence *fence = &table->fences[block_index];
    return (struct table_handle){.offset = fence->offset, .size = fence->size};
}

/* The first 8 bytes after those that all keys of the table share, as a number that sorts as they
 * do; what is shorter is filled with zeros. */
static inline uint64_t table_key_prefix(const struct table *table, struct slice key)
{
    size_t skip = table->common_size;
    if (key.size >= skip + 8) {
        return codec_load_be64(key.data + skip);
    }
    uint8_t bytes[8] = {0};
    if (key.size > skip) {
        memcpy(bytes, key.data + skip, key.size - skip);
    }
    return codec_load_be64(bytes);
}

static inline uint8_t *table_filter_lines(const struct table_filter *filter)
{
    uintptr_t address = (uintptr_t)filter->memory;
    size_t gap = (BLOOM_LINE_SIZE - address % BLOOM_LINE_SIZE) % BLOOM_LINE_SIZE;
    return (uint8_t *)filter->memory + gap;
}

#endif
