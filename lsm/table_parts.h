/*
 * lsm/table_parts.h -- what the files of a reading table share: its index, its filters, its reads.
 *
 * Private to table.c (gets), table_open.c (from a file to a table), table_cursor.c (walks),
 * table_leaf.c (parts of indexes) and table_fill.c (blocks read together).
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

/* Its lines lie in `memory`; with a cache in that, while they are not evicted. */
struct table_filter {
    struct cache_slot slot;
    void *memory;    /* Owned; NULL if the table uses a cache. */
    uint64_t offset; /* Of the sealed filter in the file. */
    uint32_t size;   /* Of the sealed filter. */
    uint32_t line_count;
    uint32_t block_first; /* Index of the first block it covers. */
    struct slice key;     /* Its separator; borrows from the table. */
    _Atomic bool damaged; /* Found so when it was read; logged then. */
};

/* One part of the index, as the file has it. */
struct table_leaf {
    struct cache_slot slot;  /* Of its fences, once the index is split. */
    _Atomic(uint8_t *) kept; /* Its fences for good: there is damage among its blocks. Owned. */
    struct table_handle handle;
    uint32_t block_first;
    _Atomic bool damaged; /* So it was when it was read last. */
    struct slice key;     /* Its first separator; set when the index is split. */
};

/* Logs it; STATUS_CORRUPT. */
enum status table_damaged(const struct table *table, uint64_t offset, const char *what);
/* Logs that a block is damaged, with where it lies; STATUS_CORRUPT. Its bounds can be asked for
 * from here on. Something else if that cannot be brought about. */
MUST_USE enum status table_block_damaged(const struct table *table, uint32_t block_index,
                                         enum lsm_wait wait, const char *what);
/* Exactly `size` bytes; a file that ends before is damaged. */
MUST_USE enum status table_read(const struct table *table, uint64_t offset, uint32_t size,
                                enum lsm_wait wait, void *to);
/* Reads and opens one sealed block; *raw borrows from `scratch`, whose old content goes. */
MUST_USE enum status table_read_block(const struct table *table, struct table_handle handle,
                                      enum lsm_wait wait, struct buffer *scratch,
                                      struct slice *raw);
/* table_fill.c: after a miss of this block, reads it and some beside it into the cache, if that has
 * room for all there is. False: nothing was read. Blocks no longer than one read does. */
bool table_fill(const struct table *table, uint32_t block_index, enum lsm_wait wait);
/* Opens what was read of one; *raw borrows from the buffer. */
MUST_USE enum status table_open_block(const struct table *table, struct table_handle handle,
                                      struct buffer *sealed, struct slice *raw);
/* The block that alone may hold `key`; false if it is below all blocks. Of an index that is whole.
 */
bool table_fence_search(const struct table *table, struct slice key, uint32_t *block_index);
/* Below 0 if a key lies before all that begin as the table's keys do, above 0 if behind them. */
int table_key_side(const struct table *table, struct slice key);
/* The last block of the view that begins at or below the key, which has this prefix; its first if
 * none does. */
uint32_t table_view_search(const struct table_view *view, struct slice key, uint64_t prefix);

/* table_leaf.c: of an index that is split; of one that is whole only the first two. */
void table_leaves_split(struct table *table);
void table_leaves_free(struct table *table);
/* The leaf that names this block; the one that names the block a key would lie in. */
uint32_t table_leaf_of_block(const struct table *table, uint32_t block_index);
uint32_t table_leaf_of_key(const struct table *table, struct slice key);
/* Makes the view that of a leaf. STATUS_CORRUPT: logged; all its blocks are lost. It is empty if
 * this fails. STATUS_WOULD_BLOCK, STATUS_IO, STATUS_NO_MEMORY */
MUST_USE enum status table_view_open(const struct table *table, uint32_t leaf_index,
                                     enum lsm_wait wait, struct table_view *view);
void table_view_close(const struct table *table, struct table_view *view);
/* Where the block lies that may hold the key. On STATUS_CORRUPT *block_index is the first one of
 * those lost. */
MUST_USE enum status table_leaf_find(const struct table *table, struct slice key, uint64_t prefix,
                                     enum lsm_wait wait, uint32_t *block_index,
                                     struct table_handle *handle);
/* Before anybody is told that this block is damaged: what table_leaf_bounds() needs stays in memory
 * from here on. Says where the block lies. STATUS_CORRUPT: its leaf is damaged too; logged. */
MUST_USE enum status table_leaf_keep(const struct table *table, uint32_t block_index,
                                     enum lsm_wait wait, uint64_t *offset);
void table_leaf_bounds(const struct table *table, uint32_t block_index, struct slice *lower,
                       struct slice *upper);

static inline bool table_view_holds(const struct table_view *view, uint32_t block_index)
{
    return block_index - view->block_first < view->block_count;
}

static inline struct slice table_view_key(const struct table_view *view, uint32_t block_index)
{
    const struct table_fence *fence = &view->fences[block_index - view->block_first];
    return slice_make(view->keys + fence->key_offset, fence->key_size);
}

static inline struct table_handle table_view_handle(const struct table_view *view,
                                                    uint32_t block_index)
{
    const struct table_fence *fence = &view->fences[block_index - view->block_first];
    return (struct table_handle){.offset = fence->offset, .size = fence->size};
}

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
