/*
 * tools/bench/engines.h -- an engine as the bench drives it, and the engines there are.
 *
 * Why: the same workloads run on all; what differs between them is in engine_<name>.c alone.
 *  (1) Options are equal as far as the engines allow; `options_text` says what differs.
 *  (2) Gets and iterators may come from any thread, loads and `idle` only from the one that opened.
 *  (3) An engine that fails says why on stderr.
 */
#ifndef TOOLS_BENCH_ENGINES_H
#define TOOLS_BENCH_ENGINES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/status.h"
#include "tools/bench/load.h"

struct engine_options {
    const char *path;       /* Made if it does not exist. */
    uint64_t cache_size;    /* Of decoded blocks. */
    uint64_t memtable_size; /* Bytes. */
    bool reads_only;        /* No memory is set aside for memtables. */
    uint64_t key_count;     /* How many there may be: the size of indexes and filters. */
};

/* Implementations place this first in their own struct. */
struct engine {
    const struct engine_ops *ops;
};

/* Likewise. */
struct engine_iterator {
    struct engine *engine;
};

struct engine_ops {
    const char *name;
    const char *options_text; /* What it is, and which of its options a reader must know. */
    bool (*open)(const struct engine_options *options, struct engine **engine);
    void (*close)(struct engine *engine); /* All that was written is kept. */
    void (*load)(struct engine *engine, struct load *load);
    /* STATUS_OK with the value in `value`, STATUS_NOT_FOUND, or what went wrong. */
    enum status (*get)(struct engine *engine, struct slice key, struct buffer *value);
    /* Stands before the first key at or after `lower`. */
    bool (*iterator_open)(struct engine *engine, struct slice lower,
                          struct engine_iterator **iterator);
    /* The next key that is not deleted; both borrow until the next call. As `get`. */
    enum status (*iterator_next)(struct engine_iterator *iterator, struct slice *key,
                                 struct slice *value);
    void (*iterator_close)(struct engine_iterator *iterator);
    void (*flush)(struct engine *engine);   /* The memtable to tables, and waits. */
    void (*compact)(struct engine *engine); /* Merges all there is, and waits. */
    void (*idle)(struct engine *engine, uint64_t nanoseconds); /* Lets background work go on. */
    void (*explain)(struct engine *engine);                    /* Its own counters, to stderr. */
};

extern const struct engine_ops engine_ringkv;
/* NULL if the program was built without it. */
extern const struct engine_ops *const engine_rocksdb;
extern const struct engine_ops *const engine_leveldb;

#define ENGINE_COUNT_MAX 3
/* Those in this program, Ringkv first; the count of them. */
uint32_t engines_list(const struct engine_ops *engines[ENGINE_COUNT_MAX]);

void engine_sleep(struct engine *engine, uint64_t nanoseconds);

#endif
