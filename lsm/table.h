/*
 * lsm/table.h -- an immutable sorted file of cells, one per key, and cursors over it.
 *
 * An index lives in memory from open to close, or, where memory is short, its parts come and go as
 * filters and blocks do. All is read when needed, never mapped.
 * The layout is docs/formats/table.md.
 * Contract:
 *  (1) After open a table never changes; any number of threads may read it at once.
 *  (2) References: whoever keeps a pointer holds one. table_release() says when the last one went;
 *      only then, and by that caller alone, table_close(). (Closing a file may block, so a loop
 *      hands it to a job.)
 *  (3) Damage is STATUS_CORRUPT, logged with file id and offset; never another key's cell, never
 *      NOT_FOUND for a key that was written.
 */
#ifndef LSM_TABLE_H
#define LSM_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/cell.h"
#include "base/env.h"
#include "base/list.h"
#include "lsm/block.h"
#include "lsm/block_cursor.h"
#include "lsm/bloom.h"
#include "lsm/cache.h"
#include "lsm/cursor.h"
#include "lsm/table_file.h"

#define TABLE_FORMAT_VERSION 2 /* 1: without tags; still read. */
#define TABLE_FOOTER_SIZE 80
#define TABLE_CHUNK_SIZE (256u << 10) /* Unit of the file checksum. */
#define TABLE_BLOCK_COUNT_MAX (64u << 20)

/* What is known of a table without reading its blocks. The file itself holds all but file_size and
 * file_checksum, which only who finished it knows: the manifest keeps them. */
struct table_properties {
    struct slice key_min; /* Borrows from the table, or from the writer. */
    struct slice key_max; /* Inclusive. */
    uint64_t entry_count;
    uint64_t tombstone_count; /* Cells of kind CELL_DELETE. */
    uint64_t expiring_count;  /* Cells with an expiry. */
    uint64_t raw_size;        /* Bytes of keys and encoded cells. */
    struct version version_min;
    struct version version_max;
    uint64_t stamp_max;     /* Of expiry stamps. */
    uint64_t expiry_min_ms; /* Among expiring cells; 0 if none. */
    uint64_t expiry_max_ms;
    uint64_t nonce;
    uint64_t file_size;
    uint64_t file_checksum; /* See docs/formats/table.md; 0: not known. */
};

struct table_fence;
struct table_filter;
struct table_leaf;

struct table {
    uint64_t file_id;
    struct table_properties properties; /* Key bounds borrow from the table. */
    uint64_t memory_size;               /* Bytes of heap it holds, cached parts not included. */
    uint32_t damage_count;              /* Parts of index and filters found damaged at open. */
    struct list_node node;              /* The holder's, for lists of its own. */

    /* Private from here. */
    struct env *env;
    struct table_file *file;
    atomic_uint_fast32_t references;
    struct buffer bounds;     /* key_min, then key_max. */
    uint32_t common_size;     /* Bytes that key_min and key_max, and so all keys, begin with. */
    struct buffer fence_keys; /* Separators, one after another. */
    uint64_t *fence_prefixes; /* 8 bytes of each after the common ones: searched first. */
    uint32_t fence_capacity;
    struct table_fence *fences; /* One per block; NULL: see table_leaf.c, as are these three. */
    struct table_leaf *leaves;  /* The parts of the index. */
    uint32_t leaf_count;
    struct buffer leaf_keys; /* The first separators of leaves and filters, once split. */
    uint32_t block_count;
    struct table_filter *filters; /* Each over a run of blocks, in order. */
    uint32_t filter_count;        /* 0: no filters. */
    uint32_t probe_count;         /* Of all filters. */
    uint64_t *filter_prefixes;    /* Those of the fences at which filters begin. */
    struct cache *cache;          /* NULL: blocks are read each time. */
    struct cache_slot *slots;     /* One per block. */
};

/*
 * Opens the file and loads index and filters; blocks. The caller holds the one reference.
 * `expected` is what the manifest says, or NULL: nonce, size and entry count must then agree.
 * STATUS_NOT_FOUND    no such file.
 * STATUS_CORRUPT      damaged as a whole or another file than expected; logged. A damaged part of
 *                     the index leaves a hole: keys in it are STATUS_CORRUPT. A damaged filter
 *                     lets all keys pass. Both are logged, and counted in damage_count.
 * STATUS_UNSUPPORTED  of a newer format version.
 * STATUS_IO, STATUS_NO_MEMORY
 */
MUST_USE enum status table_open(struct env *env, const char *path, uint64_t file_id,
                                const struct table_properties *expected, struct table **table);
/* Blocks that gets and seeks read may stay in `cache`, and what the table keeps in memory counts in
 * its budget; an index that does not fit there any more is split, so that its parts are cached too.
 * Before the table is shared; once. Without memory for it the table goes uncached. */
void table_use_cache(struct table *table, struct cache *cache);
/* Its file may be closed while nobody reads it. Before the table is shared; once. Blocks. */
void table_use_files(struct table *table, struct table_files *files);
void table_close(struct table *table); /* Harmless on NULL. */
void table_acquire(struct table *table);
/* True if that was the last reference: close it. */
MUST_USE bool table_release(struct table *table);

/*
 * A get goes in three steps, so that a caller can leave one out or put something between them:
 * table_locate(), table_filter_passes(), table_get(). The first two touch memory only.
 */
struct table_probe {
    struct slice key;
    uint64_t hash;        /* checksum64(key, 0) */
    uint64_t prefix;      /* These two set by table_locate(). */
    uint32_t part;        /* The filter to ask. */
    uint32_t block_index; /* Set by table_get(): of the one block that may hold the key. */
    bool cached;          /* Set by table_get(): the block was in the cache. */
};
/* False if the key lies outside the table's bounds. */
bool table_locate(const struct table *table, struct table_probe *probe);
/* False if the filter over a located key says that it is not there. A filter that is not in memory
 * is read if that is worth it and `wait` allows it, and passes otherwise; a damaged one passes. */
bool table_filter_passes(const struct table *table, const struct table_probe *probe,
                         enum lsm_wait wait);
/* Asks for the memory that the filter's answer to a located key will touch, so that those of
 * several tables wait for theirs side by side. */
void table_filter_prefetch(const struct table *table, const struct table_probe *probe);
/* Both: false if the table surely has no such key. May block. */
bool table_may_hold(const struct table *table, struct slice key, uint64_t key_hash);

/*
 * The cell of a located key, without asking the filter. *cell borrows from `scratch`, whose old
 * content goes; a scratch used again makes no allocation.
 * STATUS_NOT_FOUND    not in this table.
 * STATUS_WOULD_BLOCK  only with LSM_NOWAIT.
 * STATUS_CORRUPT, STATUS_IO, STATUS_NO_MEMORY
 */
MUST_USE enum status table_get(const struct table *table, struct table_probe *probe,
                               enum lsm_wait wait, struct buffer *scratch, struct cell *cell);

/*
 * The stretch of keys that the block with this index may hold, [*lower, *upper): what is lost if it
 * is damaged, be it the block itself or the part of the index that would name it. Of a get that was
 * STATUS_CORRUPT it is probe.block_index, of a cursor its block_index; a cursor goes on behind it
 * with a seek to *upper. An empty *upper: to the end of the table. Borrows from the table.
 */
void table_block_bounds(const struct table *table, uint32_t block_index, struct slice *lower,
                        struct slice *upper);

/*
 * What part of the table lies below `key`, 0 to 1, as the index in memory tells: of bytes, right to
 * one block; of an index that is split, of blocks, right to as many as one part of it names. Rises
 * with the key.
 */
double table_share_below(const struct table *table, struct slice key);

/* Reads the whole file and compares its checksum with properties.file_checksum, which must be
 * known. Blocks long: for checks, not for reads. STATUS_CORRUPT, STATUS_IO, STATUS_NO_MEMORY */
MUST_USE enum status table_verify(const struct table *table);

/* The same, a chunk at a time: both begin with 0, and *offset ends at properties.file_size. */
MUST_USE enum status table_checksum_next(const struct table *table, uint64_t *offset,
                                         uint64_t *checksum);

/* The fences of some blocks in a row. */
struct table_view {
    const uint64_t *prefixes;
    const struct table_fence *fences;
    const uint8_t *keys;
    uint32_t block_first;
    uint32_t block_count;       /* 0: there is nothing in it. */
    struct cache_entry *pinned; /* They lie in this entry of the cache, */
    struct buffer own;          /* or here. */
    bool passing;               /* Whoever looks comes by once: nothing goes into the cache. */
};

/* A cursor over one table; stands in a cached block, or one it read into a buffer of its own.
 * Private, but embedded by callers. `base` is the cursor to walk; key and cell borrow until the
 * next move. */
struct table_cursor {
    struct cursor base;
    const struct table *table;
    uint32_t block_index;       /* Of the block it stands in, or is on its way to. */
    bool loaded;                /* Its bytes are in scratch; false while a step waits for them. */
    bool prepared;              /* block_index is that of the seek to come, which begins... */
    bool prepared_inside;       /* ...in the block, not before it. */
    uint32_t streak;            /* Blocks it went through since the last seek. */
    struct buffer scratch;      /* The block as read, and decompressed. */
    struct buffer ahead;        /* Blocks as they lie in the file, read at once; */
    uint64_t ahead_offset;      /* from here on. */
    struct cache_entry *pinned; /* Or the cached block it stands in. */
    struct table_view view;     /* Of a table whose index is split. */
    struct block_cursor block;
};

/* Cannot fail. The table must stay referenced until table_cursor_close(). */
void table_cursor_open(struct table_cursor *cursor, const struct table *table);
void table_cursor_close(struct table_cursor *cursor);
/* See cursor_ops.prepare. The seek forward that follows is to the same bound, unless there comes a
 * table_cursor_unprepare() before it. */
bool table_cursor_prepare(struct table_cursor *cursor, struct slice bound, uint32_t stage);
static inline void table_cursor_unprepare(struct table_cursor *cursor)
{
    cursor->prepared = false;
}
/* On to the next entry of the same block, where cursor.block shows it. False: it is for next to say
 * what comes. */
MUST_USE static inline bool table_cursor_step(struct table_cursor *cursor)
{
    return cursor->loaded && block_cursor_next(&cursor->block) == STATUS_OK;
}

#endif
