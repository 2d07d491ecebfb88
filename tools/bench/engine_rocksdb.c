/*
 * tools/bench/engine_rocksdb.c -- RocksDB through its C interface; left out if it was not
 * installed.
 *
 * A get pins the value and copies it once, which is the cheapest way its C interface has.
 */
#include "tools/bench/engines.h"

#ifdef BENCH_ROCKSDB
#include <rocksdb/c.h>
#include <stdio.h>

#include "base/contract.h"
#include "base/list.h"
#include "base/memory.h"

#define BLOOM_BITS 10
#define BACKGROUND_JOBS 2

struct rocks {
    struct engine base;
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *table;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *unsynced;
    rocksdb_writeoptions_t *synced;
};

struct rocks_iterator {
    struct engine_iterator base;
    rocksdb_iterator_t *iterator;
    bool begun;
};

static struct rocks *rocks_of(struct engine *engine)
{
    return container_of(engine, struct rocks, base);
}

/* Whether there was an error, which is told and freed. */
static bool told(char *error)
{
    if (error == NULL) {
        return false;
    }
    (void)fprintf(stderr, "bench_lsm: rocksdb: %s\n", error);
    rocksdb_free(error);
    return true;
}

static void rocks_close(struct engine *engine)
{
    struct rocks *rocks = rocks_of(engine);
    if (rocks->db != NULL) {
        rocksdb_close(rocks->db);
    }
    rocksdb_readoptions_destroy(rocks->read);
    rocksdb_writeoptions_destroy(rocks->unsynced);
    rocksdb_writeoptions_destroy(rocks->synced);
    rocksdb_options_destroy(rocks->options);
    rocksdb_block_based_options_destroy(rocks->table);
    rocksdb_cache_destroy(rocks->cache);
    memory_free(rocks);
}

static bool rocks_open(const struct engine_options *options, struct engine **engine)
{
    struct rocks *rocks = memory_allocate_zeroed(1, sizeof(*rocks));
    ASSERT(rocks != NULL);
    rocks->base.ops = engine_rocksdb;
    rocks->options = rocksdb_options_create();
    rocks->table = rocksdb_block_based_options_create();
    rocks->cache = rocksdb_cache_create_lru(options->cache_size);
    rocks->read = rocksdb_readoptions_create();
    rocks->unsynced = rocksdb_writeoptions_create();
    rocks->synced = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(rocks->synced, 1);
    rocksdb_block_based_options_set_block_cache(rocks->table, rocks->cache);
    /* The table options take the filter over. */
    rocksdb_block_based_options_set_filter_policy(
        rocks->table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
    rocksdb_options_set_block_based_table_factory(rocks->options, rocks->table);
    rocksdb_options_set_create_if_missing(rocks->options, 1);
    rocksdb_options_set_write_buffer_size(rocks->options, options->memtable_size);
    rocksdb_options_set_compression(rocks->options, rocksdb_lz4_compression);
    rocksdb_options_set_max_background_jobs(rocks->options, BACKGROUND_JOBS);
    char *error = NULL;
    rocks->db = rocksdb_open(rocks->options, options->path, &error);
    if (told(error)) {
        rocks_close(&rocks->base);
        return false;
    }
    *engine = &rocks->base;
    return true;
}

static bool rocks_write(struct engine *engine, const struct engine_record *records, uint32_t count,
                        bool sync)
{
    struct rocks *rocks = rocks_of(engine);
    rocksdb_writeoptions_t *options = sync ? rocks->synced : rocks->unsynced;
    char *error = NULL;
    if (count == 1) {
        const char *key = (const char *)records->key.data;
        if (records->remove) {
            rocksdb_delete(rocks->db, options, key, records->key.size, &error);
        } else {
            rocksdb_put(rocks->db, options, key, records->key.size,
                        (const char *)records->value.data, records->value.size, &error);
        }
        return !told(error);
    }
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    for (uint32_t index = 0; index < count; index++) {
        const struct engine_record *record = &records[index];
        const char *key = (const char *)record->key.data;
        if (record->remove) {
            rocksdb_writebatch_delete(batch, key, record->key.size);
        } else {
            rocksdb_writebatch_put(batch, key, record->key.size, (const char *)record->value.data,
                                   record->value.size);
        }
    }
    rocksdb_write(rocks->db, options, batch, &error);
    rocksdb_writebatch_destroy(batch);
    return !told(error);
}

static void rocks_load(struct engine *engine, struct load *load)
{
    load_by_threads(load, engine, rocks_write);
}

static enum status rocks_get(struct engine *engine, struct slice key, struct buffer *value)
{
    struct rocks *rocks = rocks_of(engine);
    char *error = NULL;
    rocksdb_pinnableslice_t *found =
        rocksdb_get_pinned(rocks->db, rocks->read, (const char *)key.data, key.size, &error);
    if (told(error)) {
        return STATUS_IO;
    }
    if (found == NULL) {
        return STATUS_NOT_FOUND;
    }
    size_t size = 0;
    const char *bytes = rocksdb_pinnableslice_value(found, &size);
    buffer_clear(value);
    buffer_append(value, bytes, size);
    rocksdb_pinnableslice_destroy(found);
    return buffer_status(value);
}

static bool rocks_iterator_open(struct engine *engine, struct slice lower,
                                struct engine_iterator **iterator)
{
    struct rocks *rocks = rocks_of(engine);
    struct rocks_iterator *made = memory_allocate_zeroed(1, sizeof(*made));
    ASSERT(made != NULL);
    made->base.engine = engine;
    made->iterator = rocksdb_create_iterator(rocks->db, rocks->read);
    rocksdb_iter_seek(made->iterator, (const char *)lower.data, lower.size);
    *iterator = &made->base;
    return true;
}

static enum status rocks_iterator_next(struct engine_iterator *iterator, struct slice *key,
                                       struct slice *value)
{
    struct rocks_iterator *rocks = container_of(iterator, struct rocks_iterator, base);
    if (rocks->begun) {
        rocksdb_iter_next(rocks->iterator);
    }
    rocks->begun = true;
    if (!rocksdb_iter_valid(rocks->iterator)) {
        char *error = NULL;
        rocksdb_iter_get_error(rocks->iterator, &error);
        return told(error) ? STATUS_IO : STATUS_NOT_FOUND;
    }
    size_t size = 0;
    const char *bytes = rocksdb_iter_key(rocks->iterator, &size);
    *key = slice_make(bytes, size);
    bytes = rocksdb_iter_value(rocks->iterator, &size);
    *value = slice_make(bytes, size);
    return STATUS_OK;
}

static void rocks_iterator_close(struct engine_iterator *iterator)
{
    struct rocks_iterator *rocks = container_of(iterator, struct rocks_iterator, base);
    rocksdb_iter_destroy(rocks->iterator);
    memory_free(rocks);
}

static void rocks_flush(struct engine *engine)
{
    char *error = NULL;
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    rocksdb_flush(rocks_of(engine)->db, options, &error);
    rocksdb_flushoptions_destroy(options);
    (void)told(error);
}

static void rocks_compact(struct engine *engine)
{
    rocksdb_compact_range(rocks_of(engine)->db, NULL, 0, NULL, 0);
}

static void rocks_explain(struct engine *engine)
{
    char *text = rocksdb_property_value(rocks_of(engine)->db, "rocksdb.stats");
    if (text != NULL) {
        (void)fprintf(stderr, "%s\n", text);
        rocksdb_free(text);
    }
}

static const struct engine_ops rocks_ops = {
    .name = "rocksdb",
    .options_text = "RocksDB " BENCH_ROCKSDB ": lz4, bloom 10 bits, leveled, 2 background jobs, "
                    "indexes and filters outside its cache, put waits on one thread",
    .open = rocks_open,
    .close = rocks_close,
    .load = rocks_load,
    .get = rocks_get,
    .iterator_open = rocks_iterator_open,
    .iterator_next = rocks_iterator_next,
    .iterator_close = rocks_iterator_close,
    .flush = rocks_flush,
    .compact = rocks_compact,
    .idle = engine_sleep,
    .explain = rocks_explain,
};
const struct engine_ops *const engine_rocksdb = &rocks_ops;
#else
const struct engine_ops *const engine_rocksdb = NULL;
#endif
