/*
 * lsm/lsm.h -- the storage engine: keys, cells and files; nothing of nodes or ranges.
 *
 * Why: a store whose every write is "merge this cell by maximum" needs no read before a write and
 * no order between replicas; the engine offers exactly that, durably and fast.
 * Contract:
 *  (1) Per key the engine holds one cell: the greatest, by cell_compare(), of all merged into it.
 *  (2) A synced write is visible only after its group's sync: nothing is ever read that a crash
 *      could take back. A buffered write is visible at once and may be lost in a crash, as a suffix
 *      of the log; a write of durability NONE is not logged and lost unless flushed in time.
 *  (3) A batch is atomic over a crash, not in visibility. Iterators are no snapshots.
 *  (4) After a failed write or sync of the log, unsynced commits fail as STATUS_INDETERMINATE and
 *      the engine takes no more writes (STATUS_READ_ONLY) until lsm_resume(); what is visible stays
 *      readable. If it was for want of space, it resumes by itself.
 *  (5) Failures of other work are tried again until they pass. On a full disk batches of deletes
 *      only are taken, others refused with STATUS_NO_SPACE until there is space again.
 *  (6) Reads and lsm_write may come from any thread. Completions run on the env's loop, never
 *      inside the call. Nothing in lsm_write, lsm_get and iterators with LSM_NOWAIT waits for a
 *      disk or for another thread's I/O.
 *  (7) Keys are 1 to LSM_KEY_SIZE_MAX bytes, ordered bytewise.
 */
#ifndef LSM_LSM_H
#define LSM_LSM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cell.h"
#include "base/env.h"
#include "base/list.h"
#include "base/slice.h"
#include "base/status.h"

#define LSM_KEY_SIZE_MAX (66u << 10)   /* A user's 64 KiB and the node's prefix. */
#define LSM_VALUE_SIZE_MAX (64u << 20) /* Of one encoded cell. */
#define LSM_BATCH_SIZE_MAX (80u << 20) /* Encoded bytes of one batch. */

struct lsm;

/* Zero fields take the default named. Sizes in bytes. */
struct lsm_options {
    const char *path;            /* The engine's own folder; its parent must exist. */
    uint64_t memory_size;        /* Budget of all the engine keeps in memory; 512 MiB. */
    uint64_t memtable_size;      /* One memtable freezes at this; memory_size / 8. */
    uint64_t wal_segment_size;   /* 16 MiB; at least 64 KiB. */
    uint64_t wal_buffer_size;    /* Unsynced bytes before OVERLOADED; 32 MiB. */
    uint64_t slice_size;         /* Input bytes of one compaction job; 8 MiB. */
    uint64_t table_size_max;     /* Tables are cut at this, those of a large bottom at 1/64 of it,
                                  * up to 1 GiB; 64 MiB. */
    uint32_t block_size;         /* 4 KiB, less what makes it fill a page in memory. */
    uint64_t manifest_size;      /* Written anew when longer than this and 4 snapshots; 256 KiB. */
    uint32_t bloom_bits_per_key; /* On average; upper tiers get more, the bottom fewer. 10 */
    uint32_t open_files_max; /* Table files open beside those being read; others are opened again
                                when they are read. 512 */
    uint64_t scrub_rate;     /* Bytes a second that lsm_scrub reads; 0: as it can. */
    /*
     * The greatest version at or below which a tombstone or expired cell of `key` may be forgotten
     * (the purge rule asks more: see purge.h). NULL: nothing is ever forgotten. Called from
     * lanes; must be thread-safe.
     */
    struct version (*floor)(void *context, struct slice key);
    /*
     * Whether a merge is to keep this cell, the greatest it has found of `key`. False: it is left
     * out, with all below it that the merge holds; others may be found again, until they are merged
     * too. So whoever says false says it of all cells of the key up to this one, and for ever.
     * NULL: all are kept. Called from lanes; must be thread-safe.
     */
    bool (*keep)(void *context, struct slice key, const struct cell *cell);
    /* A stretch of keys, [lower, upper), is quarantined: cells of it were lost, and reads of it are
     * STATUS_CORRUPT unless they find something newer. Until it is excised it is told again at each
     * open. On the loop; the bounds borrow until it returns. May be NULL. */
    void (*corrupted)(void *context, struct slice lower, struct slice upper);
    /* The engine went read-only, with the reason. On the loop, once each time. May be NULL. */
    void (*failed)(void *context, enum status status);
    void *context;
};

/*
 * Blocks: call in a pool job, or outside the loop. Makes an empty engine if the folder does not
 * exist; recovers if it does. Background jobs run on `env` from here on.
 * STATUS_LOCKED, STATUS_IO, STATUS_NO_SPACE, STATUS_NO_MEMORY
 * STATUS_CORRUPT      synced data of the log or the manifest is damaged: nothing is changed, the
 *                     log names file and offset. (A damaged table costs its stretch, see
 *                     options.corrupted, and is kept under a name that ends in ".damaged".)
 * STATUS_UNSUPPORTED  written by a newer format version.
 */
MUST_USE enum status lsm_open(struct env *env, const struct lsm_options *options, struct lsm **lsm);

/* Closing takes two steps. lsm_stop, on the loop: no new work is taken; `stopped` runs once every
 * accepted write is synced and answered and every background job is done. lsm_close, after that
 * or after the env has ended its jobs (then whatever was not synced is lost, as in a crash):
 * frees all; blocks only to close files. */
struct lsm_stop {
    void (*stopped)(struct lsm_stop *stop);
};
void lsm_stop(struct lsm *lsm, struct lsm_stop *stop);
void lsm_close(struct lsm *lsm);

enum lsm_durability {
    LSM_NONE,     /* In memory only. */
    LSM_BUFFERED, /* Logged; synced with the next group that is. */
    LSM_SYNCED,   /* Logged and synced, then visible, then done. */
};

struct lsm_record {
    struct slice key;
    struct cell cell;
};

/* One batch in flight. The caller fills the first part; all of it is the engine's until `done`,
 * but records and what they point to may go as soon as lsm_write returns. */
struct lsm_write {
    const struct lsm_record *records;
    uint32_t record_count;
    enum lsm_durability durability;
    bool vital; /* Taken even when the disk is full: small, and needed to get on. */
    /* On the loop. STATUS_OK: durable as asked, and visible. STATUS_INDETERMINATE: the log failed
     * under it. STATUS_CANCELLED: closed before it was synced.
     * While flushes and merges are behind it comes later, the more so the more they are, so that
     * whoever waits for it slows down (vital ones do not). */
    void (*done)(struct lsm_write *write, enum status status);

    uint64_t position; /* Set by lsm_write: the log position just after this batch. */
    struct list_node node;
    uint32_t size;       /* Encoded, in the log. */
    uint64_t paced_size; /* What it costs of a bounded rate. */
};

/*
 * Accepts a batch; on STATUS_OK `done` runs once, later. Otherwise nothing happened:
 * STATUS_READ_ONLY, STATUS_NO_SPACE (until there is space again), STATUS_CLOSED, STATUS_TOO_LARGE,
 * STATUS_INVALID (an empty or too long key), STATUS_OVERLOADED (the log buffer is full, or
 * compaction debt is at its hard cap), STATUS_NO_MEMORY. Among batches accepted one after another,
 * log order is that order.
 */
MUST_USE enum status lsm_write(struct lsm *lsm, struct lsm_write *write);

enum lsm_wait { LSM_MAY_BLOCK, LSM_NOWAIT };

/*
 * The cell of `key`, copied into `scratch` (whose old content goes); *cell borrows from it. Cells
 * are returned as stored: a tombstone or an expired cell is STATUS_OK, what it means is the
 * caller's to judge.
 * STATUS_NOT_FOUND    no cell.
 * STATUS_WOULD_BLOCK  only with LSM_NOWAIT: ask again from a pool job. (What it needs is not in
 *                     memory, or lies in a file that is closed.)
 * STATUS_CORRUPT      what may hold it is damaged, or was, and nothing newer was found; logged with
 *                     file and offset, and see options.corrupted.
 * STATUS_IO, STATUS_NO_MEMORY
 */
MUST_USE enum status lsm_get(struct lsm *lsm, struct slice key, enum lsm_wait wait,
                             struct buffer *scratch, struct cell *cell);

/* One key of several: what lsm_get takes and gives. */
struct lsm_get_many_item {
    struct slice key;
    struct buffer scratch; /* The caller's, as in lsm_get. */
    struct cell cell;      /* Set on STATUS_OK; borrows from scratch. */
    enum status status;
};
/* As lsm_get for each of them, in any order, but cheaper: others go on while one waits for memory.
 */
void lsm_get_many(struct lsm *lsm, struct lsm_get_many_item *items, uint32_t count,
                  enum lsm_wait wait);

/* The greatest version accepted for `key` but not yet visible (synced writes in the queue); the
 * zero version if none. What every durable check must also see. */
struct version lsm_queued_version(struct lsm *lsm, struct slice key);

/*
 * Iterators: keys in [lower, upper), upper empty meaning no bound; each with its one merged cell.
 * An open iterator keeps the memtables and tables it reads from; who walks at leisure closes it and
 * goes on from its resume key.
 */
struct lsm_iterator;
struct lsm_iterator_options {
    struct slice lower;
    struct slice upper;
    bool reverse; /* From the greatest key down. */
    enum lsm_wait wait;
    uint32_t work_budget; /* Dead cells passed over before next says STATUS_BUDGET; 0: 4096. */
    /* Passes over tombstones, and over cells expired at now_ms (Unix milliseconds). Long rows of
     * them are remembered, and jumped over by the next walk. */
    bool skip_dead;
    uint64_t now_ms;
};
/* Both bounds are copied; nothing is read yet. STATUS_NO_MEMORY */
MUST_USE enum status lsm_iterator_open(struct lsm *lsm, const struct lsm_iterator_options *options,
                                       struct lsm_iterator **iterator);
/* As closing it and opening another one, over what is visible now, but in the same memory: what
 * seeks often does so without an allocation. STATUS_NO_MEMORY: it stands at its end. */
MUST_USE enum status lsm_iterator_reopen(struct lsm_iterator *iterator,
                                         const struct lsm_iterator_options *options);
/*
 * Moves to the next key; *key and *cell borrow until the next call of any of these functions.
 * STATUS_NOT_FOUND    the end.
 * STATUS_BUDGET       passed over enough for one call; call again to go on.
 * STATUS_WOULD_BLOCK  only with LSM_NOWAIT; the iterator stands where it stood.
 * STATUS_CORRUPT      here lies a stretch of which cells were lost: the next call goes on behind
 *                     it. (What is newer in it can be had with lsm_get.)
 * STATUS_IO, STATUS_NO_MEMORY: and then the end.
 */
MUST_USE enum status lsm_iterator_next(struct lsm_iterator *iterator, struct slice *key,
                                       struct cell *cell);
/*
 * Where another iterator would go on: it shows the same from here with this as its lower bound, in
 * reverse as its upper bound. *key borrows until the next call; keys shown before may not be
 * looked at any more. (In reverse and before the first call it is the upper bound, which may be
 * empty.) STATUS_NOT_FOUND: there is nothing to go on with. STATUS_NO_MEMORY
 */
MUST_USE enum status lsm_iterator_resume_key(struct lsm_iterator *iterator, struct slice *key);
void lsm_iterator_close(struct lsm_iterator *iterator);

/* A request for background work, the engine's until `done`. */
struct lsm_request {
    void (*done)(struct lsm_request *request, enum status status);
    struct list_node node;
    uint64_t goal;
};
/* All that is visible now will be in tables. */
MUST_USE enum status lsm_flush(struct lsm *lsm, struct lsm_request *request);
/* Flushes, then merges every tier into the bottom. */
MUST_USE enum status lsm_compact(struct lsm *lsm, struct lsm_request *request);

/*
 * Reads every block of every table from the disk, in slices, no faster than options.scrub_rate.
 * Tables that merges replace meanwhile are left out, as are those they write. `done` says STATUS_OK
 * if all is sound, and STATUS_CORRUPT if damage was found: it is logged, and stretches that are
 * lost are quarantined (soon, if they are not yet). STATUS_IO, STATUS_NO_MEMORY, STATUS_CANCELLED:
 * not all was read. STATUS_CLOSED, STATUS_NO_MEMORY: `done` is not called.
 */
MUST_USE enum status lsm_scrub(struct lsm *lsm, struct lsm_request *request);

/*
 * A stretch goes: every cell of it that was accepted before the call, whatever its version; what is
 * accepted later stays. Atomic over a crash. Costs no more than an edit for each table that lies
 * across a bound; space is given back as merges and removals come to it. Iterators that are open
 * go on to show it.
 */
struct lsm_excise {
    struct slice lower; /* Copied. Keys at or above it, */
    struct slice upper; /* and below it; empty: no bound. */
    /* On the loop. STATUS_OK: gone, durably. STATUS_CANCELLED: closed before; at the next open it
     * is gone or all there. While the engine is read-only it waits. */
    void (*done)(struct lsm_excise *excise, enum status status);
};
/* STATUS_INVALID (lower not below upper, or too long), STATUS_READ_ONLY, STATUS_CLOSED,
 * STATUS_NO_MEMORY: `done` is not called. */
MUST_USE enum status lsm_excise(struct lsm *lsm, struct lsm_excise *excise);

/*
 * A stretch as files that another engine can ingest: a walk over what is visible at the open, cut
 * into chunks. All calls block: in pool jobs, one at a time; each does a bounded amount of work. An
 * open export keeps the tables it reads from being removed.
 */
struct lsm_export;
struct lsm_export_options {
    struct slice lower;  /* Keys at or above it, */
    struct slice upper;  /* and below it; empty: no bound. */
    uint64_t chunk_size; /* A chunk ends at about this; 0: as tables do. */
    bool passing;        /* Files that are read at once and removed: they are not synced. */
};
struct lsm_export_chunk {
    uint64_t entry_count;
    uint64_t size;     /* Of the file. */
    uint64_t checksum; /* Of the whole file, for lsm_ingest.checksums. */
    /* Where the next chunk begins: an export from there goes on, in another process too. Empty:
     * this was the last. Borrows until the next call. */
    struct slice next;
};
/* STATUS_INVALID, STATUS_NO_MEMORY */
MUST_USE enum status lsm_export_open(struct lsm *lsm, const struct lsm_export_options *options,
                                     struct lsm_export **export);
/*
 * Writes on at the file `path`, anew if it is there.
 * STATUS_OK         the chunk is whole and its bytes are synced (its name after a dir_sync),
 *                   unless it is passing.
 * STATUS_BUDGET     enough for one call: call again with the same path.
 * STATUS_NOT_FOUND  there is nothing more, and no file.
 * STATUS_CORRUPT, STATUS_IO, STATUS_NO_SPACE, STATUS_NO_MEMORY: the export failed; the chunk's file
 *   is removed.
 */
MUST_USE enum status lsm_export_next(struct lsm_export *export, const char *path,
                                     struct lsm_export_chunk *chunk);
void lsm_export_close(struct lsm_export *export); /* Removes an unfinished chunk. */

#define LSM_INGEST_COUNT_MAX 1024u

/*
 * Tables from outside come in, all at once, over a crash too; their cells are merged with what is
 * there, by version. Each file is checked to the last byte before anything changes. Files are
 * linked: they must be on the engine's file system and must never be written again; their names
 * here may go after `done`. Writes and reads go on meanwhile.
 */
struct lsm_ingest {
    const char *const *paths;  /* The engine's until `done`, as all below but the bounds. */
    const uint64_t *checksums; /* Of each file; NULL: not known. 0: not known of that one. */
    uint32_t count;            /* 1 to LSM_INGEST_COUNT_MAX. Disjoint in keys. */
    struct slice lower;        /* Copied. All keys lie at or above it, */
    struct slice upper;        /* and below it; empty: no bound. */
    bool excise;               /* The stretch goes in the same moment; see lsm_excise. */
    /* On the loop. STATUS_OK: in, durably. STATUS_CANCELLED: closed first. Anything else: nothing
     * changed; STATUS_CORRUPT and STATUS_UNSUPPORTED are told with a problem. */
    void (*done)(struct lsm_ingest *ingest, enum status status);

    const char *problem; /* Out: what is wrong with a file; NULL: nothing. A constant. */
    uint32_t problem_index;
};
/* STATUS_INVALID, STATUS_READ_ONLY, STATUS_CLOSED, STATUS_NO_MEMORY: `done` is not called. */
MUST_USE enum status lsm_ingest(struct lsm *lsm, struct lsm_ingest *ingest);

/*
 * An engine of its own in the folder `path`, which must not exist: it holds what was visible at the
 * call, and perhaps more. Tables are linked, so it must be on the same file system, and costs
 * little until the two go different ways. Before `done` said OK the folder is not to be opened.
 */
struct lsm_checkpoint {
    const char *path; /* Copied. */
    /* On the loop. STATUS_OK: whole and durable. STATUS_EXISTS: the folder was there.
     * STATUS_CANCELLED: closed first. Else, as with STATUS_IO or STATUS_NO_SPACE, what was made of
     * it is removed. */
    void (*done)(struct lsm_checkpoint *checkpoint, enum status status);
};
/* STATUS_READ_ONLY, STATUS_CLOSED, STATUS_NO_MEMORY: `done` is not called. */
MUST_USE enum status lsm_checkpoint(struct lsm *lsm, struct lsm_checkpoint *checkpoint);

/*
 * Ends STATUS_READ_ONLY: what is visible goes into tables, and the log begins anew. What was told
 * INDETERMINATE and is not visible stays away for good. `done`: STATUS_OK: writes are taken again
 * (also if they were before); STATUS_IO, STATUS_NO_SPACE, STATUS_NO_MEMORY, ...: it still does not
 * work, and may be tried again. STATUS_OVERLOADED: one is under way. STATUS_CLOSED.
 */
MUST_USE enum status lsm_resume(struct lsm *lsm, struct lsm_request *request);

/* What lies in a stretch, roughly: cells and encoded bytes of all sources. What is held in several
 * of them counts in each, tombstones count too. */
struct lsm_estimate {
    uint64_t cell_count;
    uint64_t size; /* Tables by what they take on disk, memtables by keys and cells. */
};
/*
 * Fills `count` estimates: the i-th of keys in [bounds[i], bounds[i + 1]). Bounds rise; the last
 * may be empty, for none. Reads no block and no file. A memtable's cells are counted (it is walked
 * leaf by leaf, so call this in a pool job), their sizes taken from one in about twenty. A table is
 * told by its index: at each bound it is wrong by less than one block for each run, and by less
 * than what one part of an index names (about a hundred blocks) where indexes do not fit into
 * memory; what is too much in one stretch is missing in its neighbour.
 */
void lsm_estimate(struct lsm *lsm, const struct slice *bounds, uint32_t count,
                  struct lsm_estimate *estimates);

/* Counters since open, and what is there now. */
struct lsm_stats {
    uint64_t key_estimate; /* Cells in memtables and tables, duplicates not removed. */
    uint64_t tombstone_estimate;
    uint64_t table_count;
    uint64_t table_size; /* Bytes of all tables. */
    uint64_t memtable_size;
    uint64_t wal_size; /* Bytes of live segments, and of files kept to be segments again. */
    uint64_t wal_queue_size;
    uint64_t run_count;       /* Places a get may have to look in. */
    uint64_t compaction_debt; /* Bytes above the shape compaction aims at. */
    uint64_t user_written;    /* Encoded bytes of accepted batches. */
    uint64_t wal_written;
    uint64_t flush_written;
    uint64_t compaction_read;
    uint64_t compaction_written;
    uint64_t sync_count;
    uint64_t group_count;
    uint64_t write_count;
    uint64_t get_count;
    uint64_t get_table_count;   /* Tables a get read a block of. */
    uint64_t filter_skip_count; /* Tables a filter spared. */
    uint64_t filter_false_count;
    uint64_t cache_hit_count;    /* Gets in a table whose block was in memory. */
    uint64_t cache_miss_count;   /* Gets and seeks that read a block. */
    uint64_t cache_insert_count; /* Of those, how many were let in. */
    uint64_t cache_evict_count;
    uint64_t cache_size;         /* Bytes of cached blocks. */
    uint64_t table_memory_size;  /* Bytes of tables and their indexes, cached parts not included. */
    uint64_t index_read_count;   /* Parts of indexes that were read again. */
    uint64_t table_open_count;   /* Table files that are open. */
    uint64_t table_reopen_count; /* Times one that was closed was opened again. */
    uint64_t would_block_count;
    uint64_t overloaded_count;
    uint64_t stall_count;   /* Writes whose answer was held back for debt. */
    uint64_t stall_ns;      /* For so long in all. */
    uint64_t stalled_count; /* Of them, how many are held back now. */
    uint64_t pace_rate;     /* Bytes a second at which answers leave; 0: as they come. */
    uint64_t purged_count;
    uint64_t excise_count; /* With those of ingests. */
    uint64_t ingest_count;
    uint64_t job_failure_count; /* Background jobs that gave up, to be tried again. */
    uint64_t scout_count;       /* Rows of deletes walked over before anybody asked. */
    uint64_t gap_count;         /* Stretches known to hold nothing that lives. */
    uint64_t gap_learnt_count;  /* Times one was learnt or made larger. */
    uint64_t gap_jump_count;    /* Times an iterator jumped over one. */
    uint64_t scrub_size;        /* Bytes of tables that scrubs read. */
    uint64_t quarantine_count;  /* Stretches of which cells may be lost. */
    struct version version_max; /* At or above every version ever merged, queued ones included. */
    bool read_only;
    bool full; /* Writes but deletes are refused for want of space. */
};
void lsm_stats(struct lsm *lsm, struct lsm_stats *stats);

#endif
