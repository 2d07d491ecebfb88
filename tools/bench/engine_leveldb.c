/*
 * tools/bench/engine_leveldb.c -- LevelDB through its C interface; left out if it was not
 * installed.
 *
 * It has no flush, so an empty stretch is compacted, which writes the memtable out first. A get
 * copies the value into a heap block of the library; there is no other way in its C interface.
 */
#include "tools/bench/engines.h"

#ifdef BENCH_LEVELDB
#include <leveldb/c.h>
#include <stdio.h>

#include "base/contract.h"
#include "base/list.h"
#include "base/memory.h"

#define BLOOM_BITS 10

struct level {
    struct engine base;
    leveldb_t *db;
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_readoptions_t *read;
    leveldb_writeoptions_t *unsynced;
    leveldb_writeoptions_t *synced;
};

struct level_iterator {
    struct engine_iterator base;
    leveldb_iterator_t *iterator;
    bool begun;
};

static struct level *level_of(struct engine *engine)
{
    return container_of(engine, struct level, base);
}

/* Whether there was an error, which is told and freed. */
static bool told(char *error)
{
    if (error == NULL) {
        return false;
    }
    (void)fprintf(stderr, "bench_lsm: leveldb: %s\n", error);
    leveldb_free(error);
    return true;
}

static void level_close(struct engine *engine)
{
    struct level *level = level_of(engine);
    if (level->db != NULL) {
        leveldb_close(level->db);
    }
    leveldb_readoptions_destroy(level->read);
    leveldb_writeoptions_destroy(level->unsynced);
    leveldb_writeoptions_destroy(level->synced);
    leveldb_options_destroy(level->options);
    leveldb_cache_destroy(level->cache);
    leveldb_filterpolicy_destroy(level->filter);
    memory_free(level);
}

static bool level_open(const struct engine_options *options, struct engine **engine)
{
    struct level *level = memory_allocate_zeroed(1, sizeof(*level));
    ASSERT(level != NULL);
    level->base.ops = engine_leveldb;
    level->options = leveldb_options_create();
    level->cache = leveldb_cache_create_lru(options->cache_size);
    level->filter = leveldb_filterpolicy_create_bloom(BLOOM_BITS);
    level->read = leveldb_readoptions_create();
    level->unsynced = leveldb_writeoptions_create();
    level->synced = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(level->synced, 1);
    leveldb_options_set_create_if_missing(level->options, 1);
    leveldb_options_set_write_buffer_size(level->options, options->memtable_size);
    leveldb_options_set_cache(level->options, level->cache);
    leveldb_options_set_filter_policy(level->options, level->filter);
    leveldb_options_set_compression(level->options, leveldb_snappy_compression);
    char *error = NULL;
    level->db = leveldb_open(level->options, options->path, &error);
    if (told(error)) {
        level_close(&level->base);
        return false;
    }
    *engine = &level->base;
    return true;
}

static bool level_write(struct engine *engine, const struct engine_record *records, uint32_t count,
                        bool sync)
{
    struct level *level = level_of(engine);
    leveldb_writeoptions_t *options = sync ? level->synced : level->unsynced;
    char *error = NULL;
    if (count == 1) {
        const char *key = (const char *)records->key.data;
        if (records->remove) {
            leveldb_delete(level->db, options, key, records->key.size, &error);
        } else {
            leveldb_put(level->db, options, key, records->key.size,
                        (const char *)records->value.data, records->value.size, &error);
        }
        return !told(error);
    }
    leveldb_writebatch_t *batch = leveldb_writebatch_create();
    for (uint32_t index = 0; index < count; index++) {
        const struct engine_record *record = &records[index];
        const char *key = (const char *)record->key.data;
        if (record->remove) {
            leveldb_writebatch_delete(batch, key, record->key.size);
        } else {
            leveldb_writebatch_put(batch, key, record->key.size, (const char *)record->value.data,
                                   record->value.size);
        }
    }
    leveldb_write(level->db, options, batch, &error);
    leveldb_writebatch_destroy(batch);
    return !told(error);
}

static void level_load(struct engine *engine, struct load *load)
{
    load_by_threads(load, engine, level_write);
}

static enum status level_get(struct engine *engine, struct slice key, struct buffer *value)
{
    struct level *level = level_of(engine);
    char *error = NULL;
    size_t size = 0;
    char *found =
        leveldb_get(level->db, level->read, (const char *)key.data, key.size, &size, &error);
    if (told(error)) {
        return STATUS_IO;
    }
    if (found == NULL) {
        return STATUS_NOT_FOUND;
    }
    buffer_clear(value);
    buffer_append(value, found, size);
    leveldb_free(found);
    return buffer_status(value);
}

static bool level_iterator_open(struct engine *engine, struct slice lower,
                                struct engine_iterator **iterator)
{
    struct level *level = level_of(engine);
    struct level_iterator *made = memory_allocate_zeroed(1, sizeof(*made));
    ASSERT(made != NULL);
    made->base.engine = engine;
    made->iterator = leveldb_create_iterator(level->db, level->read);
    leveldb_iter_seek(made->iterator, (const char *)lower.data, lower.size);
    *iterator = &made->base;
    return true;
}

static enum status level_iterator_next(struct engine_iterator *iterator, struct slice *key,
                                       struct slice *value)
{
    struct level_iterator *level = container_of(iterator, struct level_iterator, base);
    if (level->begun) {
        leveldb_iter_next(level->iterator);
    }
    level->begun = true;
    if (!leveldb_iter_valid(level->iterator)) {
        char *error = NULL;
        leveldb_iter_get_error(level->iterator, &error);
        return told(error) ? STATUS_IO : STATUS_NOT_FOUND;
    }
    size_t size = 0;
    const char *bytes = leveldb_iter_key(level->iterator, &size);
    *key = slice_make(bytes, size);
    bytes = leveldb_iter_value(level->iterator, &size);
    *value = slice_make(bytes, size);
    return STATUS_OK;
}

static void level_iterator_close(struct engine_iterator *iterator)
{
    struct level_iterator *level = container_of(iterator, struct level_iterator, base);
    leveldb_iter_destroy(level->iterator);
    memory_free(level);
}

static void level_flush(struct engine *engine)
{
    leveldb_compact_range(level_of(engine)->db, "~", 1, "~~", 2); /* Above every key. */
}

static void level_compact(struct engine *engine)
{
    leveldb_compact_range(level_of(engine)->db, NULL, 0, NULL, 0);
}

static void level_explain(struct engine *engine)
{
    char *text = leveldb_property_value(level_of(engine)->db, "leveldb.stats");
    if (text != NULL) {
        (void)fprintf(stderr, "%s\n", text);
        leveldb_free(text);
    }
}

static const struct engine_ops level_ops = {
    .name = "leveldb",
    .options_text = "LevelDB " BENCH_LEVELDB ": snappy, bloom 10 bits, tables mapped by its "
                    "default, put waits on one thread",
    .open = level_open,
    .close = level_close,
    .load = level_load,
    .get = level_get,
    .iterator_open = level_iterator_open,
    .iterator_next = level_iterator_next,
    .iterator_close = level_iterator_close,
    .flush = level_flush,
    .compact = level_compact,
    .idle = engine_sleep,
    .explain = level_explain,
};
const struct engine_ops *const engine_leveldb = &level_ops;
#else
const struct engine_ops *const engine_leveldb = NULL;
#endif
