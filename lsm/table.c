/*
 * lsm/table.c -- reading tables: index and filters in memory, one block read per get.
 *
 * A get costs a search over 8-byte prefixes of the separators, one read and one block search; a get
 * that a filter stops costs a search over the few separators at which filters begin.
 * Invariants:
 *  (1) fences[i] is at or below the first key of block i and above the last key of block i - 1, so
 *      one block alone can hold a key.
 *  (2) Data blocks and filters tile the file up to the index, and the other parts tile the rest:
 *      every byte is under some checksum, and open fails where one is left over.
 *  (3) After table_open and table_use_cache nothing here is written but `references` and slots.
 *  (4) A part of the index that is damaged becomes one block without a handle: all its keys are
 *      found to lie there, and are STATUS_CORRUPT. Blocks cannot be numbered then as the filters
 *      count them, so the table goes without filters.
 */
#include "lsm/table.h"

#include <inttypes.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/table_format.h"

/* A cursor that goes through more blocks than this from one seek on is a scan, which must not push
 * what is read again and again out of the cache. */
#define CURSOR_STREAK_CACHED 4u

struct table_fence {
    uint64_t offset;     /* Of the sealed block in the file. */
    uint64_t key_offset; /* Of the separator in fence_keys. */
    uint32_t size;       /* Of the sealed block; 0: a hole, see (4). */
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

/* What open needs of the file and drops again. */
struct table_loader {
    struct table *table;
    struct table_footer footer;
    uint64_t footer_offset;
    struct buffer scratch;
    struct block_cursor root;
    struct block_cursor part;
    struct buffer part_scratch;
    uint32_t fence_capacity;
    uint64_t blocks_end; /* End of the last block or filter known so far. */
    uint64_t tiled_size; /* Bytes of data blocks and filters. */
    bool has_hole;       /* See (4). */
};

static enum status table_damaged(const struct table *table, uint64_t offset, const char *what)
{
    log_error(table->env, "table.corrupt", "file=%" PRIu64 " offset=%" PRIu64 " what=\"%s\"",
              table->file_id, offset, what);
    return STATUS_CORRUPT;
}

/* Exactly `size` bytes; a file that ends before is damaged. */
static enum status table_read(const struct table *table, uint64_t offset, uint32_t size,
                              enum lsm_wait wait, void *to)
{
    const struct env_ops *ops = table->env->ops;
    size_t got = 0;
    enum status status = wait == LSM_NOWAIT
                             ? ops->file_read_nowait(table->file, offset, to, size, &got)
                             : ops->file_read(table->file, offset, to, size, &got);
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
static enum status table_read_block(const struct table *table, struct table_handle handle,
                                    enum lsm_wait wait, struct buffer *scratch, struct slice *raw)
{
    enum status status = table_read_sealed(table, handle, wait, scratch);
    if (status != STATUS_OK) {
        return status;
    }
    status = block_unseal(scratch, table_place(table, handle), raw);
    return status == STATUS_CORRUPT ? table_damaged(table, handle.offset, "block check failed")
                                    : status;
}

static enum status loader_read(struct table_loader *loader, uint64_t start, uint64_t end,
                               struct slice *raw)
{
    uint64_t size = end - start;
    if (size > BLOCK_SEALED_SIZE_MAX) {
        return table_damaged(loader->table, start, "part too large");
    }
    struct table_handle handle = {.offset = start, .size = (uint32_t)size};
    return table_read_block(loader->table, handle, LSM_MAY_BLOCK, &loader->scratch, raw);
}

static enum status footer_load(struct table_loader *loader)
{
    struct table *table = loader->table;
    uint64_t size = table->properties.file_size;
    if (size <= TABLE_FOOTER_SIZE) {
        return table_damaged(table, 0, "shorter than a footer");
    }
    loader->footer_offset = size - TABLE_FOOTER_SIZE;
    uint8_t bytes[TABLE_FOOTER_SIZE];
    enum status status =
        table_read(table, loader->footer_offset, TABLE_FOOTER_SIZE, LSM_MAY_BLOCK, bytes);
    if (status != STATUS_OK) {
        return status;
    }
    status = table_footer_decode(bytes, loader->footer_offset, &loader->footer);
    if (status == STATUS_UNSUPPORTED) {
        log_error(table->env, "table.unsupported", "file=%" PRIu64 " format=%" PRIu32,
                  table->file_id, codec_load_u32(bytes + 8));
        return status;
    }
    return status == STATUS_OK ? STATUS_OK : table_damaged(table, loader->footer_offset, "footer");
}

static uint32_t common_prefix_size(struct slice a, struct slice b)
{
    uint32_t size = 0;
    while (size < a.size && size < b.size && a.data[size] == b.data[size]) {
        size++;
    }
    return size;
}

static enum status properties_load(struct table_loader *loader,
                                   const struct table_properties *expected)
{
    struct table *table = loader->table;
    uint64_t file_size = table->properties.file_size;
    uint64_t nonce = loader->footer.nonce;
    table->properties.nonce = nonce;
    struct slice raw;
    enum status status =
        loader_read(loader, loader->footer.properties_offset, loader->footer_offset, &raw);
    if (status != STATUS_OK) {
        return status;
    }
    struct table_properties found;
    if (table_properties_get(raw, &found) != STATUS_OK) {
        return table_damaged(table, loader->footer.properties_offset, "properties");
    }
    buffer_append_slice(&table->bounds, found.key_min);
    buffer_append_slice(&table->bounds, found.key_max);
    if (buffer_status(&table->bounds) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    found.key_min = slice_make(table->bounds.data, found.key_min.size);
    found.key_max = slice_make(table->bounds.data + found.key_min.size, found.key_max.size);
    table->common_size = common_prefix_size(found.key_min, found.key_max);
    found.nonce = nonce;
    found.file_size = file_size;
    found.file_checksum = 0;
    if (expected != NULL) {
        if (expected->nonce != nonce || expected->file_size != file_size ||
            expected->entry_count != found.entry_count) {
            return table_damaged(table, 0, "not the file expected");
        }
        found.file_checksum = expected->file_checksum;
    }
    table->properties = found;
    return STATUS_OK;
}

static struct slice fence_key(const struct table *table, uint32_t index)
{
    const struct table_fence *fence = &table->fences[index];
    return slice_make(table->fence_keys.data + fence->key_offset, fence->key_size);
}

/* The first 8 bytes after those that all keys of the table share, as a number that sorts as they
 * do; what is shorter is filled with zeros. */
static uint64_t key_prefix(const struct table *table, struct slice key)
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

static uint8_t *filter_lines(const struct table_filter *filter)
{
    uintptr_t address = (uintptr_t)filter->memory;
    size_t gap = (BLOOM_LINE_SIZE - address % BLOOM_LINE_SIZE) % BLOOM_LINE_SIZE;
    return (uint8_t *)filter->memory + gap;
}

static enum status fence_append(struct table_loader *loader, struct slice key,
                                struct table_handle handle)
{
    struct table *table = loader->table;
    if (table->block_count == loader->fence_capacity) {
        if (loader->fence_capacity >= TABLE_BLOCK_COUNT_MAX) {
            return table_damaged(table, handle.offset, "too many blocks");
        }
        uint32_t capacity = loader->fence_capacity == 0 ? 64 : loader->fence_capacity * 2;
        void *fences = memory_resize(table->fences, capacity * sizeof(struct table_fence));
        if (fences == NULL) {
            return STATUS_NO_MEMORY;
        }
        table->fences = fences;
        void *prefixes = memory_resize(table->fence_prefixes, capacity * sizeof(uint64_t));
        if (prefixes == NULL) {
            return STATUS_NO_MEMORY;
        }
        table->fence_prefixes = prefixes;
        loader->fence_capacity = capacity;
    }
    uint32_t index = table->block_count;
    if (index > 0 && (slice_compare(fence_key(table, index - 1), key) >= 0 ||
                      slice_compare(key, table->properties.key_min) <= 0 ||
                      slice_compare(key, table->properties.key_max) > 0)) {
        return table_damaged(table, handle.offset, "separators out of order");
    }
    table->fences[index] = (struct table_fence){
        .offset = handle.offset,
        .key_offset = table->fence_keys.size,
        .size = handle.size,
        .key_size = (uint32_t)key.size,
    };
    table->fence_prefixes[index] = key_prefix(table, key);
    buffer_append_slice(&table->fence_keys, key);
    if (buffer_status(&table->fence_keys) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    table->block_count++;
    loader->blocks_end = handle.offset + handle.size;
    loader->tiled_size += handle.size;
    return STATUS_OK;
}

/* The fences of the blocks that one index part names. */
static enum status part_fences_load(struct table_loader *loader, struct table_handle part)
{
    struct slice raw;
    enum status status =
        table_read_block(loader->table, part, LSM_MAY_BLOCK, &loader->part_scratch, &raw);
    if (status != STATUS_OK) {
        return status;
    }
    status = block_cursor_reset(&loader->part, raw);
    if (status == STATUS_OK) {
        status = block_cursor_first(&loader->part);
    }
    while (status == STATUS_OK) {
        struct table_handle handle;
        status = table_handle_get(loader->part.cell, loader->blocks_end,
                                  loader->footer.index_offset, &handle);
        if (status != STATUS_OK) {
            break;
        }
        status = fence_append(loader, loader->part.key, handle);
        if (status != STATUS_OK) {
            return status;
        }
        status = block_cursor_next(&loader->part);
    }
    if (status == STATUS_NOT_FOUND) {
        return STATUS_OK;
    }
    return status == STATUS_CORRUPT ? table_damaged(loader->table, part.offset, "index part")
                                    : status;
}

/* One index part, whose first separator is `key`; or a hole from there on, see (4). */
static enum status part_load(struct table_loader *loader, struct slice key,
                             struct table_handle part)
{
    struct table *table = loader->table;
    uint32_t block_first = table->block_count;
    size_t keys_size = table->fence_keys.size;
    uint64_t blocks_end = loader->blocks_end;
    enum status status = part_fences_load(loader, part);
    if (status == STATUS_OK &&
        (table->block_count == block_first || !slice_equal(fence_key(table, block_first), key))) {
        status = table_damaged(table, part.offset, "index part under another key");
    }
    if (status != STATUS_CORRUPT) {
        return status;
    }
    table->damage_count++;
    table->block_count = block_first;
    table->fence_keys.size = keys_size;
    loader->blocks_end = blocks_end;
    loader->has_hole = true;
    return fence_append(loader, key, (struct table_handle){.offset = blocks_end});
}

static enum status index_load(struct table_loader *loader)
{
    struct table *table = loader->table;
    uint64_t root_offset = loader->footer.root_offset;
    struct slice raw;
    enum status status = loader_read(loader, root_offset, loader->footer.directory_offset, &raw);
    if (status != STATUS_OK) {
        return status;
    }
    uint64_t end = loader->footer.index_offset; /* Of the parts so far; they leave no gap. */
    status = block_cursor_reset(&loader->root, raw);
    if (status == STATUS_OK) {
        status = block_cursor_first(&loader->root);
    }
    while (status == STATUS_OK) {
        struct table_handle part;
        status = table_handle_get(loader->root.cell, end, root_offset, &part);
        if (status != STATUS_OK || part.offset != end) {
            status = STATUS_CORRUPT;
            break;
        }
        end = part.offset + part.size;
        status = part_load(loader, loader->root.key, part);
        if (status != STATUS_OK) {
            return status;
        }
        status = block_cursor_next(&loader->root);
    }
    if (status == STATUS_NO_MEMORY) {
        return status;
    }
    if (status != STATUS_NOT_FOUND || end != root_offset || table->block_count == 0 ||
        slice_compare(fence_key(table, 0), table->properties.key_min) > 0) {
        return table_damaged(table, root_offset, "index root");
    }
    return STATUS_OK;
}

/* The lines of a filter, aligned, in memory of their own. */
static enum status filter_lines_load(struct table_loader *loader, struct table_filter *filter)
{
    struct table *table = loader->table;
    struct table_handle handle = {.offset = filter->offset, .size = filter->size};
    struct slice raw;
    struct bloom bloom;
    enum status status =
        table_read_block(table, handle, LSM_MAY_BLOCK, &loader->part_scratch, &raw);
    if (status == STATUS_OK && bloom_open(raw, table->probe_count, &bloom) != STATUS_OK) {
        status = table_damaged(table, filter->offset, "filter");
    }
    if (status == STATUS_CORRUPT) { /* It passes all keys. */
        table->damage_count++;
        atomic_store_explicit(&filter->damaged, true, memory_order_relaxed);
        return STATUS_OK;
    }
    if (status != STATUS_OK) {
        return status;
    }
    filter->memory = memory_allocate(raw.size + BLOOM_LINE_SIZE);
    if (filter->memory == NULL) {
        return STATUS_NO_MEMORY;
    }
    filter->line_count = bloom.line_count;
    memcpy(filter_lines(filter), raw.data, raw.size);
    table->memory_size += raw.size + BLOOM_LINE_SIZE;
    return STATUS_OK;
}

/* Which filter lies where, without its lines. False if it makes no sense. */
static bool filter_entry_take(struct table_loader *loader, struct slice directory, uint32_t index)
{
    struct table *table = loader->table;
    struct table_filter_entry entry;
    table_filter_entry_get(directory, index, &entry);
    uint64_t lower = 0;
    if (index > 0) {
        const struct table_filter *before = &table->filters[index - 1];
        lower = before->offset + before->size;
        if (entry.block_first <= before->block_first) {
            return false;
        }
    } else if (entry.block_first != 0) {
        return false;
    }
    uint64_t upper = loader->footer.index_offset;
    if (entry.block_first >= table->block_count || entry.handle.offset < lower ||
        entry.handle.offset >= upper || entry.handle.size > upper - entry.handle.offset) {
        return false;
    }
    struct table_filter *filter = &table->filters[index];
    filter->offset = entry.handle.offset;
    filter->size = entry.handle.size;
    filter->block_first = entry.block_first;
    loader->tiled_size += entry.handle.size;
    return true;
}

static enum status directory_load(struct table_loader *loader)
{
    struct table *table = loader->table;
    uint64_t offset = loader->footer.directory_offset;
    struct slice raw;
    enum status status = loader_read(loader, offset, loader->footer.properties_offset, &raw);
    if (status != STATUS_OK) {
        return status;
    }
    uint32_t filter_count;
    if (table_directory_get(raw, &filter_count, &table->probe_count) != STATUS_OK ||
        filter_count > table->block_count) {
        return table_damaged(table, offset, "filter directory");
    }
    if (filter_count == 0) {
        return STATUS_OK;
    }
    table->filters = memory_allocate_zeroed(filter_count, sizeof(struct table_filter));
    if (table->filters == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < filter_count; i++) {
        if (!filter_entry_take(loader, raw, i)) {
            return table_damaged(table, offset, "filter directory");
        }
    }
    table->filter_count = filter_count;
    table->filter_prefixes = memory_allocate_zeroed(filter_count, sizeof(uint64_t));
    if (table->filter_prefixes == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < filter_count; i++) {
        table->filter_prefixes[i] = table->fence_prefixes[table->filters[i].block_first];
    }
    return STATUS_OK;
}

static enum status filters_load(struct table_loader *loader)
{
    struct table *table = loader->table;
    enum status status = loader->has_hole ? STATUS_OK : directory_load(loader);
    if (status == STATUS_CORRUPT) {
        table->damage_count++; /* Without a directory there are no filters. */
        return STATUS_OK;
    }
    for (uint32_t i = 0; status == STATUS_OK && i < table->filter_count; i++) {
        status = filter_lines_load(loader, &table->filters[i]);
    }
    return status;
}

static enum status table_load(struct table *table, const char *path,
                              const struct table_properties *expected)
{
    struct table_loader loader = {.table = table};
    const struct env_ops *ops = table->env->ops;
    enum status status = ops->file_open(table->env, path, ENV_OPEN_READ, &table->file);
    if (status != STATUS_OK) {
        return status;
    }
    status = ops->file_size(table->file, &table->properties.file_size);
    if (status == STATUS_OK) {
        status = footer_load(&loader);
    }
    if (status == STATUS_OK) {
        status = properties_load(&loader, expected);
    }
    if (status == STATUS_OK) {
        status = index_load(&loader);
    }
    if (status == STATUS_OK) {
        status = filters_load(&loader);
    }
    if (status == STATUS_OK && table->damage_count == 0 &&
        loader.tiled_size != loader.footer.index_offset) {
        status = table_damaged(table, loader.footer.index_offset, "bytes that belong to nothing");
    }
    table->memory_size +=
        sizeof(*table) + table->bounds.capacity + table->fence_keys.capacity +
        (uint64_t)loader.fence_capacity * (sizeof(struct table_fence) + sizeof(uint64_t)) +
        (uint64_t)table->filter_count * (sizeof(struct table_filter) + sizeof(uint64_t));
    buffer_deinit(&loader.scratch);
    buffer_deinit(&loader.part_scratch);
    block_cursor_deinit(&loader.root);
    block_cursor_deinit(&loader.part);
    return status;
}

enum status table_open(struct env *env, const char *path, uint64_t file_id,
                       const struct table_properties *expected, struct table **table)
{
    ASSERT(env != NULL);
    ASSERT(path != NULL);
    struct table *result = memory_allocate_zeroed(1, sizeof(*result));
    if (result == NULL) {
        return STATUS_NO_MEMORY;
    }
    result->env = env;
    result->file_id = file_id;
    list_init(&result->node);
    atomic_init(&result->references, 1);
    enum status status = table_load(result, path, expected);
    if (status != STATUS_OK) {
        table_close(result);
        return status;
    }
    *table = result;
    return STATUS_OK;
}

/* The cache takes over what it has room for; the rest is read when it is worth it. */
static void filters_hand_over(struct table *table)
{
    for (uint32_t i = 0; i < table->filter_count; i++) {
        struct table_filter *filter = &table->filters[i];
        size_t size = (size_t)filter->line_count * BLOOM_LINE_SIZE;
        if (filter->memory == NULL) {
            continue; /* Damaged. */
        }
        if (cache_has_room(table->cache, size)) {
            cache_insert(table->cache, &filter->slot, slice_make(filter_lines(filter), size),
                         CACHE_FILTER);
        }
        memory_free(filter->memory);
        filter->memory = NULL;
        table->memory_size -= size + BLOOM_LINE_SIZE;
    }
}

void table_use_cache(struct table *table, struct cache *cache)
{
    ASSERT(table->cache == NULL);
    table->slots = memory_allocate_zeroed(table->block_count, sizeof(*table->slots));
    if (table->slots == NULL) {
        return;
    }
    table->memory_size += (uint64_t)table->block_count * sizeof(*table->slots);
    table->cache = cache;
    filters_hand_over(table);
    budget_take(cache->budget, BUDGET_TABLES, table->memory_size);
}

void table_close(struct table *table)
{
    if (table == NULL) {
        return;
    }
    if (table->cache != NULL) {
        cache_forget(table->cache, table->slots, table->block_count);
        for (uint32_t i = 0; i < table->filter_count; i++) {
            cache_forget(table->cache, &table->filters[i].slot, 1);
        }
        budget_give(table->cache->budget, BUDGET_TABLES, table->memory_size);
        memory_free(table->slots);
    }
    if (table->file != NULL) {
        table->env->ops->file_close(table->file);
    }
    for (uint32_t i = 0; i < table->filter_count; i++) {
        memory_free(table->filters[i].memory);
    }
    memory_free(table->filters);
    memory_free(table->filter_prefixes);
    memory_free(table->fences);
    memory_free(table->fence_prefixes);
    buffer_deinit(&table->fence_keys);
    buffer_deinit(&table->bounds);
    memory_free(table);
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

/* How many of the first `count` prefixes are at or below `prefix`. Without branches on what is
 * compared: a search of random keys would guess every second one wrong. */
static uint32_t prefixes_at_or_below(const uint64_t *prefixes, uint32_t count, uint64_t prefix)
{
    const uint64_t *base = prefixes;
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
    const struct table_filter *filters; /* NULL: blocks from block_first on. */
    uint32_t block_first;
    uint32_t count;
};

/* How many of them begin at or below `key`, which has this prefix. */
static uint32_t starts_at_or_below(const struct table *table, const struct table_starts *starts,
                                   struct slice key, uint64_t prefix)
{
    const uint64_t *prefixes = starts->prefixes;
    uint32_t upper = prefixes_at_or_below(prefixes, starts->count, prefix);
    if (upper == 0 || prefixes[upper - 1] != prefix) {
        return upper;
    }
    /* Whole keys decide among those that tie. Mostly it is one. */
    uint32_t lower = 0;
    if (upper > 1 && prefixes[upper - 2] != prefix) {
        lower = upper - 1;
    } else if (prefix > 0) {
        lower = prefixes_at_or_below(prefixes, upper, prefix - 1);
    }
    while (lower < upper) {
        uint32_t middle = lower + (upper - lower) / 2;
        uint32_t block = starts->filters != NULL ? starts->filters[middle].block_first
                                                 : starts->block_first + middle;
        if (slice_compare(fence_key(table, block), key) <= 0) {
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
    struct table_starts starts = {
        .prefixes = table->fence_prefixes + first, .block_first = first, .count = end - first};
    uint32_t count = starts_at_or_below(table, &starts, key, prefix);
    return count == 0 ? first : first + count - 1;
}

/* The block that alone may hold `key`; false if it is below all blocks. */
static bool fence_search(const struct table *table, struct slice key, uint32_t *block_index)
{
    /* Keys outside the common prefix lie before or behind all that the fences tell apart. */
    size_t common = table->common_size < key.size ? table->common_size : key.size;
    int order = common == 0 ? 0 : memcmp(key.data, table->properties.key_min.data, common);
    if (order == 0 && key.size < table->common_size) {
        order = -1;
    }
    if (order < 0) {
        return false;
    }
    *block_index = table->block_count - 1;
    if (order == 0) {
        *block_index = block_search(table, key, key_prefix(table, key), 0, table->block_count);
    }
    return *block_index > 0 || slice_compare(fence_key(table, 0), key) <= 0;
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
    probe->prefix = key_prefix(table, probe->key);
    struct table_starts starts = {.prefixes = table->filter_prefixes,
                                  .filters = table->filters,
                                  .count = table->filter_count};
    uint32_t parts = starts_at_or_below(table, &starts, probe->key, probe->prefix);
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
        bloom.lines = filter_lines(filter);
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

bool table_may_hold(const struct table *table, struct slice key, uint64_t key_hash)
{
    struct table_probe probe = {.key = key, .hash = key_hash};
    return table_locate(table, &probe) && table_filter_passes(table, &probe, LSM_MAY_BLOCK);
}

void table_block_bounds(const struct table *table, uint32_t block_index, struct slice *lower,
                        struct slice *upper)
{
    ASSERT(block_index < table->block_count);
    *lower = block_index == 0 ? table->properties.key_min : fence_key(table, block_index);
    *upper = block_index + 1 < table->block_count ? fence_key(table, block_index + 1)
                                                  : slice_make(NULL, 0);
}

static struct table_handle fence_handle(const struct table *table, uint32_t block_index)
{
    const struct table_fence *fence = &table->fences[block_index];
    return (struct table_handle){.offset = fence->offset, .size = fence->size};
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

/* From the block just read into `scratch`, which goes into the cache if it is worth it. */
static enum status sealed_get(const struct table *table, const struct table_probe *probe,
                              struct block_place place, struct buffer *scratch, struct cell *cell)
{
    struct slice bytes;
    enum status status = STATUS_OK;
    struct cache_slot *slot = table->cache != NULL ? &table->slots[probe->block_index] : NULL;
    if (slot != NULL &&
        cache_wants(table->cache, slot, block_sealed_raw_size(buffer_slice(scratch)))) {
        struct slice raw;
        status = block_unseal(scratch, place, &raw);
        if (status == STATUS_OK) {
            cache_insert(table->cache, slot, raw, CACHE_BLOCK);
            status = block_get(raw, probe->key, probe->hash, &bytes);
        }
    } else {
        status = block_get_sealed(scratch, place, probe->key, probe->hash, &bytes);
    }
    return status == STATUS_OK ? cell_decode(bytes, cell) : status;
}

enum status table_get(const struct table *table, struct table_probe *probe, enum lsm_wait wait,
                      struct buffer *scratch, struct cell *cell)
{
    ASSERT(table != NULL);
    ASSERT(scratch != NULL);
    uint32_t first;
    uint32_t end;
    part_blocks(table, probe->part, &first, &end);
    ASSERT(first < end);
    probe->block_index = block_search(table, probe->key, probe->prefix, first, end);
    enum status status = STATUS_OK;
    probe->cached = cached_get(table, probe, scratch, &status);
    if (probe->cached) {
        status = status == STATUS_OK ? cell_decode(buffer_slice(scratch), cell) : status;
    } else {
        struct table_handle handle = fence_handle(table, probe->block_index);
        status = table_read_sealed(table, handle, wait, scratch);
        if (status != STATUS_OK) {
            return status;
        }
        status = sealed_get(table, probe, table_place(table, handle), scratch, cell);
    }
    return status == STATUS_CORRUPT
               ? table_damaged(table, fence_handle(table, probe->block_index).offset, "block")
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

static struct table_cursor *cursor_of(struct cursor *cursor)
{
    return container_of(cursor, struct table_cursor, base);
}

static void cursor_unpin(struct table_cursor *cursor)
{
    if (cursor->pinned != NULL) {
        cache_unpin(cursor->pinned);
        cursor->pinned = NULL;
    }
}

/* Pins the block the cursor wants in the cache; false if it is not there. */
static bool cursor_load_cached(struct table_cursor *cursor, struct slice *raw)
{
    const struct table *table = cursor->table;
    cursor_unpin(cursor);
    if (table->cache == NULL) {
        return false;
    }
    cursor->pinned = cache_pin(table->cache, &table->slots[cursor->block_index]);
    if (cursor->pinned != NULL) {
        *raw = cache_entry_data(cursor->pinned);
    }
    return cursor->pinned != NULL;
}

/* Makes the block the cursor wants the one in its scratch. */
static enum status cursor_load(struct table_cursor *cursor, enum lsm_wait wait)
{
    if (cursor->loaded) {
        return STATUS_OK;
    }
    const struct table *table = cursor->table;
    struct slice raw;
    enum status status = STATUS_OK;
    if (!cursor_load_cached(cursor, &raw)) {
        struct table_handle handle = fence_handle(table, cursor->block_index);
        status = table_read_block(table, handle, wait, &cursor->scratch, &raw);
        if (status != STATUS_OK) {
            return status;
        }
        struct cache_slot *slot = table->cache != NULL ? &table->slots[cursor->block_index] : NULL;
        if (slot != NULL && cursor->streak < CURSOR_STREAK_CACHED &&
            cache_wants(table->cache, slot, raw.size)) {
            cache_insert(table->cache, slot, raw, CACHE_BLOCK);
        }
    }
    cursor->streak++;
    status = block_cursor_reset(&cursor->block, raw);
    if (status != STATUS_OK) {
        return table_damaged(table, fence_handle(table, cursor->block_index).offset,
                             "block content");
    }
    cursor->loaded = true;
    return STATUS_OK;
}

static void cursor_aim(struct table_cursor *cursor, uint32_t block_index)
{
    if (cursor->block_index != block_index) {
        cursor->block_index = block_index;
        cursor->loaded = false;
    }
}

/* Hands out what the block cursor said. */
static enum status cursor_show(struct table_cursor *cursor, enum status status)
{
    if (status == STATUS_OK) {
        cursor->base.key = cursor->block.key;
        cursor->base.cell = cursor->block.cell;
        return STATUS_OK;
    }
    if (status == STATUS_CORRUPT) {
        cursor->loaded = false;
        return table_damaged(cursor->table, fence_handle(cursor->table, cursor->block_index).offset,
                             "block content");
    }
    return status;
}

static enum status table_cursor_next(struct cursor *base, enum lsm_wait wait)
{
    struct table_cursor *cursor = cursor_of(base);
    if (cursor->loaded) {
        enum status status = block_cursor_next(&cursor->block);
        if (status != STATUS_NOT_FOUND) {
            return cursor_show(cursor, status);
        }
        if (cursor->block_index + 1 == cursor->table->block_count) {
            return STATUS_NOT_FOUND;
        }
        cursor_aim(cursor, cursor->block_index + 1);
    }
    enum status status = cursor_load(cursor, wait);
    return status == STATUS_OK ? cursor_show(cursor, block_cursor_first(&cursor->block)) : status;
}

static enum status table_cursor_previous(struct cursor *base, enum lsm_wait wait)
{
    struct table_cursor *cursor = cursor_of(base);
    if (cursor->loaded) {
        enum status status = block_cursor_previous(&cursor->block);
        if (status != STATUS_NOT_FOUND) {
            return cursor_show(cursor, status);
        }
        if (cursor->block_index == 0) {
            return STATUS_NOT_FOUND;
        }
        cursor_aim(cursor, cursor->block_index - 1);
    }
    enum status status = cursor_load(cursor, wait);
    return status == STATUS_OK ? cursor_show(cursor, block_cursor_last(&cursor->block)) : status;
}

static enum status table_cursor_seek(struct cursor *base, struct slice bound, enum lsm_wait wait)
{
    struct table_cursor *cursor = cursor_of(base);
    uint32_t block_index = 0;
    bool inside = bound.size > 0 && fence_search(cursor->table, bound, &block_index);
    cursor_aim(cursor, block_index);
    cursor->streak = 0;
    enum status status = cursor_load(cursor, wait);
    if (status != STATUS_OK) {
        return status;
    }
    if (!inside) {
        return cursor_show(cursor, block_cursor_first(&cursor->block));
    }
    status = block_cursor_seek(&cursor->block, bound);
    if (status == STATUS_NOT_FOUND) {
        /* All of the block is below the bound: it stands at its end, and steps on. */
        return table_cursor_next(base, wait);
    }
    return cursor_show(cursor, status);
}

static enum status table_cursor_seek_before(struct cursor *base, struct slice bound,
                                            enum lsm_wait wait)
{
    struct table_cursor *cursor = cursor_of(base);
    uint32_t block_index = cursor->table->block_count - 1;
    if (bound.size > 0 && !fence_search(cursor->table, bound, &block_index)) {
        return STATUS_NOT_FOUND;
    }
    if (bound.size > 0 && slice_equal(fence_key(cursor->table, block_index), bound)) {
        if (block_index == 0) {
            return STATUS_NOT_FOUND;
        }
        block_index--; /* No key of a block is below its separator. */
    }
    cursor_aim(cursor, block_index);
    cursor->streak = 0;
    enum status status = cursor_load(cursor, wait);
    if (status != STATUS_OK) {
        return status;
    }
    status = block_cursor_seek_before(&cursor->block, bound);
    if (status == STATUS_NOT_FOUND) {
        /* The separator is at or below the bound, but no key of the block is below it: the cursor
         * stands on its first entry, and steps back. */
        return table_cursor_previous(base, wait);
    }
    return cursor_show(cursor, status);
}

static const struct cursor_ops table_cursor_ops = {
    .seek = table_cursor_seek,
    .seek_before = table_cursor_seek_before,
    .next = table_cursor_next,
    .previous = table_cursor_previous,
};

void table_cursor_open(struct table_cursor *cursor, const struct table *table)
{
    ASSERT(cursor != NULL);
    ASSERT(table != NULL);
    *cursor = (struct table_cursor){
        .base.ops = &table_cursor_ops, .table = table, .block_index = table->block_count};
}

void table_cursor_close(struct table_cursor *cursor)
{
    cursor_unpin(cursor);
    buffer_deinit(&cursor->scratch);
    block_cursor_deinit(&cursor->block);
    *cursor = (struct table_cursor){0};
}
