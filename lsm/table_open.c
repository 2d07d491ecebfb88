/*
 * lsm/table_open.c -- from a file to a table: index and filters into memory, checked.
 *
 * Invariants:
 *  (1) Data blocks and filters tile the file up to the index, and the other parts tile the rest:
 *      every byte is under some checksum, and open fails where one is left over.
 *  (2) After table_open and table_use_cache nothing of a table is written but `references` and
 *      slots.
 *  (3) A part of the index that is damaged becomes one block without a handle: all its keys are
 *      found to lie there, and are STATUS_CORRUPT. Blocks cannot be numbered then as the filters
 *      count them, so the table goes without filters.
 */
#include <inttypes.h>

#include "base/log.h"
#include "base/memory.h"
#include "lsm/table_parts.h"

/* What open needs of the file and drops again. */
struct table_loader {
    struct table *table;
    struct table_footer footer;
    uint64_t footer_offset;
    struct buffer scratch;
    struct block_cursor root;
    struct block_cursor part;
    struct buffer part_scratch;
    uint32_t leaf_capacity;
    uint64_t blocks_end; /* End of the last block or filter known so far. */
    uint64_t tiled_size; /* Bytes of data blocks and filters. */
    bool has_hole;       /* See (3). */
};

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
    struct slice raw = {0};
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

static enum status fence_append(struct table_loader *loader, struct slice key,
                                struct table_handle handle)
{
    struct table *table = loader->table;
    if (table->block_count == table->fence_capacity) {
        if (table->fence_capacity >= TABLE_BLOCK_COUNT_MAX) {
            return table_damaged(table, handle.offset, "too many blocks");
        }
        uint32_t capacity = table->fence_capacity == 0 ? 64 : table->fence_capacity * 2;
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
        table->fence_capacity = capacity;
    }
    uint32_t index = table->block_count;
    if (index > 0 && (slice_compare(table_fence_key(table, index - 1), key) >= 0 ||
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
    table->fence_prefixes[index] = table_key_prefix(table, key);
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
    struct slice raw = {0};
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

/* One index part, whose first separator is `key`; or a hole from there on, see (3). */
static enum status part_load(struct table_loader *loader, struct slice key,
                             struct table_handle part)
{
    struct table *table = loader->table;
    uint32_t block_first = table->block_count;
    size_t keys_size = table->fence_keys.size;
    uint64_t blocks_end = loader->blocks_end;
    enum status status = part_fences_load(loader, part);
    if (status == STATUS_OK && (table->block_count == block_first ||
                                !slice_equal(table_fence_key(table, block_first), key))) {
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

/* Where an index part lies, before its blocks are known. */
static enum status leaf_append(struct table_loader *loader, struct table_handle part)
{
    struct table *table = loader->table;
    if (table->leaf_count == loader->leaf_capacity) {
        uint32_t capacity = loader->leaf_capacity == 0 ? 4 : loader->leaf_capacity * 2;
        void *leaves = memory_resize(table->leaves, capacity * sizeof(struct table_leaf));
        if (leaves == NULL) {
            return STATUS_NO_MEMORY;
        }
        table->leaves = leaves;
        loader->leaf_capacity = capacity;
    }
    struct table_leaf *leaf = &table->leaves[table->leaf_count++];
    memset(leaf, 0, sizeof(*leaf));
    leaf->handle = part;
    leaf->block_first = table->block_count;
    return STATUS_OK;
}

/* Gives back what growing took too much. What cannot be made smaller stays. */
static void index_trim(struct table_loader *loader)
{
    struct table *table = loader->table;
    void *fences = memory_resize(table->fences, table->block_count * sizeof(struct table_fence));
    void *prefixes = memory_resize(table->fence_prefixes, table->block_count * sizeof(uint64_t));
    void *leaves = memory_resize(table->leaves, table->leaf_count * sizeof(struct table_leaf));
    void *keys = memory_resize(table->fence_keys.data, table->fence_keys.size);
    table->fences = fences != NULL ? fences : table->fences;
    table->fence_prefixes = prefixes != NULL ? prefixes : table->fence_prefixes;
    table->leaves = leaves != NULL ? leaves : table->leaves;
    if (fences != NULL && prefixes != NULL) {
        table->fence_capacity = table->block_count;
    }
    if (leaves != NULL) {
        loader->leaf_capacity = table->leaf_count;
    }
    if (keys != NULL) {
        table->fence_keys.data = keys;
        table->fence_keys.capacity = table->fence_keys.size;
    }
}

static enum status index_load(struct table_loader *loader)
{
    struct table *table = loader->table;
    uint64_t root_offset = loader->footer.root_offset;
    struct slice raw = {0};
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
        status = leaf_append(loader, part);
        if (status == STATUS_OK) {
            status = part_load(loader, loader->root.key, part);
        }
        if (status != STATUS_OK) {
            return status;
        }
        status = block_cursor_next(&loader->root);
    }
    if (status == STATUS_NO_MEMORY) {
        return status;
    }
    if (status != STATUS_NOT_FOUND || end != root_offset || table->block_count == 0 ||
        slice_compare(table_fence_key(table, 0), table->properties.key_min) > 0) {
        return table_damaged(table, root_offset, "index root");
    }
    index_trim(loader);
    return STATUS_OK;
}

/* The lines of a filter, aligned, in memory of their own. */
static enum status filter_lines_load(struct table_loader *loader, struct table_filter *filter)
{
    struct table *table = loader->table;
    struct table_handle handle = {.offset = filter->offset, .size = filter->size};
    struct slice raw = {0};
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
    memcpy(table_filter_lines(filter), raw.data, raw.size);
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
    struct slice raw = {0};
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
        struct table_filter *filter = &table->filters[i];
        table->filter_prefixes[i] = table->fence_prefixes[filter->block_first];
        filter->key = table_fence_key(table, filter->block_first);
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
    enum status status = table_file_open(table->env, path, &table->file);
    if (status != STATUS_OK) {
        return status;
    }
    status = table_file_size(table->file, &table->properties.file_size);
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
        sizeof(*table) + table_file_memory(table->file) + table->bounds.capacity +
        table->fence_keys.capacity +
        (uint64_t)table->fence_capacity * (sizeof(struct table_fence) + sizeof(uint64_t)) +
        (uint64_t)loader.leaf_capacity * sizeof(struct table_leaf) +
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
            cache_insert(table->cache, &filter->slot, slice_make(table_filter_lines(filter), size),
                         CACHE_FILTER);
        }
        memory_free(filter->memory);
        filter->memory = NULL;
        table->memory_size -= size + BLOOM_LINE_SIZE;
    }
}

/* Of all its blocks and filters in the cache; their keys would be shorter there by what neighbours
 * share. */
static uint64_t cached_size(const struct table *table)
{
    uint64_t count = (uint64_t)table->block_count + table->filter_count;
    uint64_t size = table->properties.raw_size + count * CACHE_ENTRY_HEADER_SIZE;
    for (uint32_t i = 0; i < table->filter_count; i++) {
        size += (uint64_t)table->filters[i].line_count * BLOOM_LINE_SIZE;
    }
    return size;
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
    if (table->damage_count == 0 && !budget_index_fits(cache->budget, table->memory_size)) {
        table_leaves_split(table);
    }
    budget_take(cache->budget, BUDGET_TABLES, table->memory_size);
    cache_demand_add(cache, cached_size(table));
}

void table_use_files(struct table *table, struct table_files *files)
{
    table_file_pool(table->file, files);
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
        cache_demand_remove(table->cache, cached_size(table));
        memory_free(table->slots);
    }
    table_file_close(table->file);
    for (uint32_t i = 0; i < table->filter_count; i++) {
        memory_free(table->filters[i].memory);
    }
    table_leaves_free(table);
    memory_free(table->filters);
    memory_free(table->filter_prefixes);
    memory_free(table->fences);
    memory_free(table->fence_prefixes);
    buffer_deinit(&table->fence_keys);
    buffer_deinit(&table->bounds);
    memory_free(table);
}
