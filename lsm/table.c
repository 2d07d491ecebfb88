/*
 * lsm/table.c -- reading tables: index and filters in memory, one block read per get.
 *
 * A get costs a search over 8-byte prefixes of the separators, one read and one block search; a get
 * that a filter stops costs a search over the few separators at which filters begin.
 * Invariants:
 *  (1) fences[i] is at or below the first key of block i and above the last key of block i - 1, so
 *      one block alone can hold a key.
 */
#include "lsm/table.h"

#include <inttypes.h>

#include "base/log.h"
#include "base/memory.h"
#include "lsm/table_parts.h"

enum status table_damaged(const struct table *table, uint64_t offset, const char *what)
{
    log_error(table->env, "table.corrupt", "file=%" PRIu64 " offset=%" PRIu64 " what=\"%s\"",
              table->file_id, offset, what);
    return STATUS_CORRUPT;
}

/* Exactly `size` bytes; a file that ends before is damaged. */
enum status table_read(const struct table *table, uint64_t offset, uint32_t size,
                       enum lsm_wait wait, void *to)
{
    size_t got = 0;
    enum status status = table_file_read(table->file, offset, to, size, wait, &got);
    if (status != STATUS_OK) {
        return status;
    }
    return got == size ? STATUS_OK : table_damaged(table, offset, "file ends inside a block");
}

/* Reads one sealed block into `scratch`, whose old content goes. */
static enum status table_read_sealed(const struct table *table, struct table_handle handle,
                                     enum lsm_wait wait, struct buffer *scratch)
{
    if (handle.size == 0) {
        return table_damaged(table, handle.offset, "block that a damaged index part would name");
    }
    buffer_clear(scratch);
    uint8_t *to = buffer_reserve(scratch, handle.size);
    if (to == NULL) {
        return STATUS_NO_MEMORY;
    }
    enum status status = table_read(table, handle.offset, handle.size, wait, to);
    if (status == STATUS_OK) {
        buffer_commit(scratch, handle.size);
    }
    return status;
}

static struct block_place table_place(const struct table *table, struct table_handle handle)
{
    return (struct block_place){.nonce = table->properties.nonce, .offset = handle.offset};
}

/* Reads and opens one sealed block; *raw borrows from `scratch`, whose old content goes. */
enum status table_read_block(const struct table *table, struct table_handle handle,
                             enum lsm_wait wait, struct buffer *scratch, struct slice *raw)
{
    enum status status = table_read_sealed(table, handle, wait, scratch);
    return status == STATUS_OK ? table_open_block(table, handle, scratch, raw) : status;
}

enum status table_open_block(const struct table *table, struct table_handle handle,
                             struct buffer *sealed, struct slice *raw)
{
    enum status status = block_unseal(sealed, table_place(table, handle), raw);
    return status == STATUS_CORRUPT ? table_damaged(table, handle.offset, "block check failed")
                                    : status;
}

void table_acquire(struct table *table)
{
    uint_fast32_t before = atomic_fetch_add_explicit(&table->references, 1, memory_order_relaxed);
    ASSERT(before > 0);
}

bool table_release(struct table *table)
{
    /* Release: our reads come before the close; acquire: the closer sees them done. */
    uint_fast32_t before = atomic_fetch_sub_explicit(&table->references, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    return before == 1;
}

/* So many prefixes fill a line of the processor's. */
#define PREFIXES_PER_LINE 8u

/* How many of the first `count` prefixes are at or below `prefix`. Without branches on what is
 * compared: a search of random keys would guess every second one wrong. The slots beside the last
 * few, if `slots` is not NULL, are on their way while these are compared: one wait instead of two.
 */
static uint32_t prefixes_at_or_below(const uint64_t *prefixes, uint32_t count, uint64_t prefix,
                                     const struct cache_slot *slots)
{
    const uint64_t *base = prefixes;
    while (count > PREFIXES_PER_LINE) {
        uint32_t half = count / 2;
        base = base[half - 1] <= prefix ? base + half : base;
        count -= half;
    }
    if (slots != NULL && count > 0) {
        __builtin_prefetch(slots + (base - prefixes));
        __builtin_prefetch(slots + (base - prefixes) + (count - 1));
    }
    while (count > 1) {
        uint32_t half = count / 2;
        base = base[half - 1] <= prefix ? base + half : base;
        count -= half;
    }
    return (uint32_t)(base - prefixes) + (count == 1 && *base <= prefix ? 1 : 0);
}

/* Things that begin at sorted fences: blocks, or filters, each a run of blocks. */
struct table_starts {
    const uint64_t *prefixes;           /* Of their fences. */
    const struct table_filter *filters; /* NULL: blocks, with these */
    const struct table_fence *fences;   /* fences, */
    const uint8_t *keys;                /* and the keys that they point to. */
    const struct cache_slot *slots;     /* Of those blocks, wanted soon; NULL: nothing is. */
    uint32_t count;
};

static struct slice start_key(const struct table_starts *starts, uint32_t index)
{
    if (starts->filters != NULL) {
        return starts->filters[index].key;
    }
    ASSERT(starts->fences != NULL);
    const struct table_fence *fence = &starts->fences[index];
    return slice_make(starts->keys + fence->key_offset, fence->key_size);
}

/* How many of them begin at or below `key`, which has this prefix. */
static uint32_t starts_at_or_below(const struct table_starts *starts, struct slice key,
                                   uint64_t prefix)
{
    const uint64_t *prefixes = starts->prefixes;
    uint32_t upper = prefixes_at_or_below(prefixes, starts->count, prefix, starts->slots);
    if (upper == 0 || prefixes[upper - 1] != prefix) {
        return upper;
    }
    /* Whole keys decide among those that tie. Mostly it is one. */
    uint32_t lower = 0;
    if (upper > 1 && prefixes[upper - 2] != prefix) {
        lower = upper - 1;
    } else if (prefix > 0) {
        lower = prefixes_at_or_below(prefixes, upper, prefix - 1, NULL);
    }
    while (lower < upper) {
        uint32_t middle = lower + (upper - lower) / 2;
        if (slice_compare(start_key(starts, middle), key) <= 0) {
            lower = middle + 1;
        } else {
            upper = middle;
        }
    }
    return lower;
}

/* The last of the blocks from `first` on, `end` excluded, that begins at or below the key; the
 * first if none does. */
static uint32_t block_search(const struct table *table, struct slice key, uint64_t prefix,
                             uint32_t first, uint32_t end)
{
    struct table_starts starts = {.prefixes = table->fence_prefixes + first,
                                  .fences = table->fences + first,
                                  .keys = table->fence_keys.data,
                                  .slots = table->slots != NULL ? table->slots + first : NULL,
                                  .count = end - first};
    uint32_t count = starts_at_or_below(&starts, key, prefix);
    return count == 0 ? first : first + count - 1;
}

uint32_t table_view_search(const struct table_view *view, struct slice key, uint64_t prefix)
{
    struct table_starts starts = {.prefixes = view->prefixes,
                                  .fences = view->fences,
                                  .keys = view->keys,
                                  .count = view->block_count};
    uint32_t count = starts_at_or_below(&starts, key, prefix);
    return count == 0 ? view->block_first : view->block_first + count - 1;
}

int table_key_side(const struct table *table, struct slice key)
{
    size_t common = table->common_size < key.size ? table->common_size : key.size;
    int order = common == 0 ? 0 : memcmp(key.data, table->properties.key_min.data, common);
    return order == 0 && key.size < table->common_size ? -1 : order;
}

/* The block that alone may hold `key`; false if it is below all blocks. */
bool table_fence_search(const struct table *table, struct slice key, uint32_t *block_index)
{
    /* Keys outside the common prefix lie before or behind all that the fences tell apart. */
    int order = table_key_side(table, key);
    if (order < 0) {
        return false;
    }
    *block_index = table->block_count - 1;
    if (order == 0) {
        *block_index =
            block_search(table, key, table_key_prefix(table, key), 0, table->block_count);
    }
    return *block_index > 0 || slice_compare(table_fence_key(table, 0), key) <= 0;
}

/* How far a prefix lies on the way from one to another, 0 to 1. */
static double prefix_way(uint64_t prefix, uint64_t from, uint64_t to)
{
    if (prefix <= from) {
        return 0.0;
    }
    return prefix >= to ? 1.0 : (double)(prefix - from) / (double)(to - from);
}

/* By offsets of blocks; of one that the key lies in, by its way between the fences. */
static double fences_share_below(const struct table *table, struct slice key, uint64_t prefix)
{
    uint32_t last = table->block_count - 1;
    uint32_t block = block_search(table, key, prefix, 0, table->block_count);
    uint64_t next = block < last ? table->fence_prefixes[block + 1]
                                 : table_key_prefix(table, table->properties.key_max);
    uint64_t end = table->fences[last].offset + table->fences[last].size;
    const struct table_fence *fence = &table->fences[block];
    double way = prefix_way(prefix, table->fence_prefixes[block], next);
    if (end == 0) {
        return way; /* Nothing but a hole. */
    }
    return ((double)fence->offset + way * (double)fence->size) / (double)end;
}

/* By numbers of blocks; between those at which parts of the index begin, by the way of the key. */
static double leaves_share_below(const struct table *table, struct slice key, uint64_t prefix)
{
    uint32_t index = table_leaf_of_key(table, key);
    const struct table_leaf *leaf = &table->leaves[index];
    bool last = index + 1 == table->leaf_count;
    struct slice next = last ? table->properties.key_max : table->leaves[index + 1].key;
    uint32_t end = last ? table->block_count : table->leaves[index + 1].block_first;
    double way =
        prefix_way(prefix, table_key_prefix(table, leaf->key), table_key_prefix(table, next));
    return ((double)leaf->block_first + way * (double)(end - leaf->block_first)) /
           (double)table->block_count;
}

double table_share_below(const struct table *table, struct slice key)
{
    ASSERT(table != NULL);
    if (slice_compare(key, table->properties.key_min) <= 0) {
        return 0.0;
    }
    if (slice_compare(key, table->properties.key_max) > 0) {
        return 1.0;
    }
    uint64_t prefix = table_key_prefix(table, key);
    return table->fences != NULL ? fences_share_below(table, key, prefix)
                                 : leaves_share_below(table, key, prefix);
}

/* The blocks that filter `part` covers: all, if the table has no filters. */
static void part_blocks(const struct table *table, uint32_t part, uint32_t *first, uint32_t *end)
{
    *first = table->filter_count == 0 ? 0 : table->filters[part].block_first;
    *end =
        part + 1 < table->filter_count ? table->filters[part + 1].block_first : table->block_count;
}

bool table_locate(const struct table *table, struct table_probe *probe)
{
    ASSERT(table != NULL);
    if (slice_compare(probe->key, table->properties.key_min) < 0 ||
        slice_compare(probe->key, table->properties.key_max) > 0) {
        return false;
    }
    probe->prefix = table_key_prefix(table, probe->key);
    struct table_starts starts = {.prefixes = table->filter_prefixes,
                                  .filters = table->filters,
                                  .count = table->filter_count};
    uint32_t parts = starts_at_or_below(&starts, probe->key, probe->prefix);
    probe->part = parts == 0 ? 0 : parts - 1;
    return true;
}

/* Reads the filter and asks it, if it deserves a place in the cache; or else reading the one block
 * in question costs less. */
static bool filter_fetch(const struct table *table, struct table_filter *filter, uint64_t key_hash,
                         enum lsm_wait wait)
{
    if (!cache_wants(table->cache, &filter->slot, filter->size)) {
        return true;
    }
    struct buffer scratch = {0};
    struct slice raw;
    struct bloom bloom;
    struct table_handle handle = {.offset = filter->offset, .size = filter->size};
    enum status status = table_read_block(table, handle, wait, &scratch, &raw);
    if (status == STATUS_OK && bloom_open(raw, table->probe_count, &bloom) != STATUS_OK) {
        status = table_damaged(table, filter->offset, "filter");
    }
    bool passes = true;
    if (status == STATUS_OK && bloom.line_count == filter->line_count) {
        cache_insert(table->cache, &filter->slot, raw, CACHE_FILTER);
        passes = bloom_may_hold(&bloom, key_hash);
    } else if (status == STATUS_CORRUPT) {
        atomic_store_explicit(&filter->damaged, true, memory_order_relaxed);
    }
    buffer_deinit(&scratch);
    return passes;
}

bool table_filter_passes(const struct table *table, const struct table_probe *probe,
                         enum lsm_wait wait)
{
    if (table->filter_count == 0) {
        return true;
    }
    ASSERT(probe->part < table->filter_count);
    struct table_filter *filter = &table->filters[probe->part];
    struct bloom bloom = {.line_count = filter->line_count, .probe_count = table->probe_count};
    if (filter->memory != NULL) {
        bloom.lines = table_filter_lines(filter);
        return bloom_may_hold(&bloom, probe->hash);
    }
    if (atomic_load_explicit(&filter->damaged, memory_order_relaxed)) {
        return true;
    }
    unsigned inside = cache_enter(table->cache);
    const struct cache_entry *entry = cache_find(&filter->slot);
    bool passes = false;
    if (entry != NULL) {
        bloom.lines = cache_entry_data(entry).data;
        passes = bloom_may_hold(&bloom, probe->hash);
    }
    cache_leave(table->cache, inside);
    return entry != NULL ? passes : filter_fetch(table, filter, probe->hash, wait);
}

void table_filter_prefetch(const struct table *table, const struct table_probe *probe)
{
    if (table->filter_count == 0) {
        return;
    }
    ASSERT(probe->part < table->filter_count);
    struct table_filter *filter = &table->filters[probe->part];
    struct bloom bloom = {.line_count = filter->line_count};
    const uint8_t *lines;
    if (filter->memory != NULL) {
        lines = table_filter_lines(filter);
    } else {
        lines = cache_peek(&filter->slot);
        if (lines == NULL) {
            return;
        }
        __builtin_prefetch(lines - CACHE_ENTRY_HEADER_SIZE);
    }
    __builtin_prefetch(lines + bloom_line_offset(&bloom, probe->hash));
}

bool table_may_hold(const struct table *table, struct slice key, uint64_t key_hash)
{
    struct table_probe probe = {.key = key, .hash = key_hash};
    return table_locate(table, &probe) && table_filter_passes(table, &probe, LSM_MAY_BLOCK);
}

void table_block_bounds(const struct table *table, uint32_t block_index, struct slice *lower,
                        struct slice *upper)
{
    ASSERT(block_index < table->block_count);
    if (table->fences == NULL) {
        table_leaf_bounds(table, block_index, lower, upper);
        return;
    }
    *lower = block_index == 0 ? table->properties.key_min : table_fence_key(table, block_index);
    *upper = block_index + 1 < table->block_count ? table_fence_key(table, block_index + 1)
                                                  : slice_make(NULL, 0);
}

/* The encoded cell from a cached block, copied into `scratch`. False if the block is not there. */
static bool cached_get(const struct table *table, const struct table_probe *probe,
                       struct buffer *scratch, enum status *status)
{
    if (table->cache == NULL) {
        return false;
    }
    unsigned inside = cache_enter(table->cache);
    const struct cache_entry *entry = cache_find(&table->slots[probe->block_index]);
    if (entry != NULL) {
        struct slice bytes;
        *status = block_get(cache_entry_data(entry), probe->key, probe->hash, &bytes);
        if (*status == STATUS_OK) {
            buffer_clear(scratch);
            buffer_append_slice(scratch, bytes);
            *status = buffer_status(scratch);
        }
    }
    cache_leave(table->cache, inside);
    return entry != NULL;
}

/* Whether the block just read is worth a place in the cache. One that a filter sent us to in vain
 * is not, at first: nobody has found anything in it. */
static bool sealed_wanted(const struct table *table, const struct table_probe *probe,
                          struct slice sealed)
{
    if (table->cache == NULL) {
        return false;
    }
    struct cache_slot *slot = &table->slots[probe->block_index];
    return cache_wants(table->cache, slot, block_sealed_raw_size(sealed)) &&
           (!block_sealed_excludes(sealed, probe->hash) || cache_missed_lately(table->cache, slot));
}

/* From the block just read into `scratch`, which goes into the cache if it is worth it. */
static enum status sealed_get(const struct table *table, const struct table_probe *probe,
                              struct block_place place, struct buffer *scratch, struct cell *cell)
{
    struct slice bytes;
    enum status status = STATUS_OK;
    if (sealed_wanted(table, probe, buffer_slice(scratch))) {
        struct slice raw;
        status = block_unseal(scratch, place, &raw);
        if (status == STATUS_OK) {
            cache_insert(table->cache, &table->slots[probe->block_index], raw, CACHE_BLOCK);
            status = block_get(raw, probe->key, probe->hash, &bytes);
        }
    } else {
        status = block_get_sealed(scratch, place, probe->key, probe->hash, &bytes);
    }
    return status == STATUS_OK ? cell_decode(bytes, cell) : status;
}

/* The block that may hold a located key. *handle is set if its fence had to be looked at. */
static enum status block_find(const struct table *table, struct table_probe *probe,
                              enum lsm_wait wait, struct table_handle *handle)
{
    if (table->fences == NULL) {
        return table_leaf_find(table, probe->key, probe->prefix, wait, &probe->block_index, handle);
    }
    uint32_t first;
    uint32_t end;
    part_blocks(table, probe->part, &first, &end);
    ASSERT(first < end);
    probe->block_index = block_search(table, probe->key, probe->prefix, first, end);
    __builtin_prefetch(&table->fences[probe->block_index]); /* For a block that is not cached. */
    return STATUS_OK;
}

enum status table_block_damaged(const struct table *table, uint32_t block_index, enum lsm_wait wait,
                                const char *what)
{
    uint64_t offset = 0;
    if (table->fences != NULL) {
        offset = table_fence_handle(table, block_index).offset;
    } else {
        enum status status = table_leaf_keep(table, block_index, wait, &offset);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return table_damaged(table, offset, what);
}

enum status table_get(const struct table *table, struct table_probe *probe, enum lsm_wait wait,
                      struct buffer *scratch, struct cell *cell)
{
    ASSERT(table != NULL);
    ASSERT(scratch != NULL);
    struct table_handle handle = {0};
    enum status status = block_find(table, probe, wait, &handle);
    if (status != STATUS_OK) {
        return status;
    }
    probe->cached = cached_get(table, probe, scratch, &status);
    if (probe->cached || (table_fill(table, probe->block_index, wait) &&
                          cached_get(table, probe, scratch, &status))) {
        status = status == STATUS_OK ? cell_decode(buffer_slice(scratch), cell) : status;
    } else {
        if (table->fences != NULL) {
            handle = table_fence_handle(table, probe->block_index);
        }
        status = table_read_sealed(table, handle, wait, scratch);
        if (status != STATUS_OK) {
            return status;
        }
        status = sealed_get(table, probe, table_place(table, handle), scratch, cell);
    }
    return status == STATUS_CORRUPT ? table_block_damaged(table, probe->block_index, wait, "block")
                                    : status;
}

enum status table_checksum_next(const struct table *table, uint64_t *offset, uint64_t *checksum)
{
    ASSERT(*offset < table->properties.file_size);
    uint8_t *chunk = memory_allocate(TABLE_CHUNK_SIZE);
    if (chunk == NULL) {
        return STATUS_NO_MEMORY;
    }
    uint64_t left = table->properties.file_size - *offset;
    uint32_t size = left < TABLE_CHUNK_SIZE ? (uint32_t)left : TABLE_CHUNK_SIZE;
    enum status status = table_read(table, *offset, size, LSM_MAY_BLOCK, chunk);
    if (status == STATUS_OK) {
        *checksum = table_checksum_step(*checksum, slice_make(chunk, size));
        *offset += size;
    }
    memory_free(chunk);
    return status;
}

enum status table_verify(const struct table *table)
{
    ASSERT(table->properties.file_checksum != 0);
    uint64_t checksum = 0;
    uint64_t offset = 0;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && offset < table->properties.file_size) {
        status = table_checksum_next(table, &offset, &checksum);
    }
    if (status == STATUS_OK && checksum != table->properties.file_checksum) {
        return table_damaged(table, 0, "file checksum");
    }
    return status;
}
