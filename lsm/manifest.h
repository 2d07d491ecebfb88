/*
 * lsm/manifest.h -- which files make up the engine: the one truth about its folder.
 *
 * Why a log of edits: a flush or merge changes a few lines of a long list, and must be durable
 * before any file that it replaces may go.
 * Contract:
 *  (1) An edit is one atomic change. After manifest_commit() returned STATUS_OK it survives any
 *      crash. After a failure the state here is without it, and the disk may have it or not: until
 *      a later call has rewritten the file, a crash may leave either. So whoever failed keeps the
 *      files that the edit names and those that it drops, and commits the same again later.
 *  (2) Files an edit drops may be removed only after it was committed.
 *  (3) Commits may come from several lanes; they are serialized by a lock that is held over I/O,
 *      so the loop never calls them.
 *  (4) A file that was rewritten replaces the old one by rename: at no time there is none.
 * The layout is docs/formats/manifest.md.
 */
#ifndef LSM_MANIFEST_H
#define LSM_MANIFEST_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/env.h"
#include "base/mutex.h"
#include "lsm/clip.h"
#include "lsm/quarantine.h"
#include "lsm/table.h"

#define MANIFEST_FORMAT_VERSION 2 /* 1: lower bounds of runs instead of cuts; still read. */
#define MANIFEST_HEADER_SIZE 32u
#define MANIFEST_EDIT_HEADER_SIZE 16u
#define MANIFEST_EDIT_SIZE_MAX (64u << 20)
#define MANIFEST_REWRITE_SIZE (256u << 10)
#define MANIFEST_TABLE_COUNT_MAX (1u << 20)
#define MANIFEST_TIER_MAX 63u /* The bottom. */
#define MANIFEST_NAME "MANIFEST"
#define MANIFEST_TEMPORARY_NAME "MANIFEST.new"

struct manifest_table {
    uint64_t file_id;
    uint64_t run_id; /* What counts of the tables of one run is disjoint in keys. */
    uint32_t tier;
    struct table_properties properties; /* Key bounds borrow from `keys`. */
    uint8_t *keys;                      /* Owned. */
    struct clip *clips;                 /* What counts of it, in key order; owned, bounds too. */
    uint32_t clip_count;                /* At least 1 in a state. */
};

struct manifest_segment {
    uint64_t id;
    uint64_t nonce;
    uint64_t start_position; /* WAL_START_UNKNOWN unless made after a recovery. */
};

/* A stretch that went: records of it that end at or before `position` are not replayed. Kept until
 * the replay position is there. Never beyond the end of a log that an open cut: positions from
 * there on are given out again. */
struct manifest_excise {
    struct clip stretch; /* Owned. */
    uint64_t position;
};

/* What all edits so far amount to. */
struct manifest_state {
    struct manifest_table *tables; /* By ascending file id. */
    uint32_t table_count;
    uint32_t table_capacity;
    struct manifest_excise *excises;
    uint32_t excise_count;
    uint32_t excise_capacity;
    struct quarantine_list quarantines;
    struct manifest_segment *segments; /* By ascending id. */
    uint32_t segment_count;
    uint32_t segment_capacity;
    uint64_t replay_position;
    uint64_t next_file_id;
};

/* Steps of an edit, applied in order. Memory failure shows at commit. */
void manifest_put_table(struct buffer *edit, const struct manifest_table *table); /* The whole. */
void manifest_put_drop(struct buffer *edit, uint64_t file_id);
/* Keys of the stretch stop counting; with the last of them the file is dropped. */
void manifest_put_cut(struct buffer *edit, uint64_t file_id, const struct clip *stretch);
/* The same between two clips: [lower, upper), nothing if they touch. */
void manifest_put_gap(struct buffer *edit, uint64_t file_id, struct slice lower,
                      struct slice upper);
/* The stretch is cut off all tables that are there, and off the log up to `position`. */
void manifest_put_excise(struct buffer *edit, const struct clip *stretch, uint64_t position);
/* Cells of the stretch up to this version may be lost, until it is excised. */
void manifest_put_quarantine(struct buffer *edit, const struct quarantine *quarantine);
void manifest_put_segment(struct buffer *edit, const struct manifest_segment *segment);
/* Everything before `replay_position` is in tables; segments below `segment_id` are dead. */
void manifest_put_replay(struct buffer *edit, uint64_t replay_position, uint64_t segment_id);
void manifest_put_next_file(struct buffer *edit, uint64_t next_file_id);

/* One edit onto a state; on failure the state is only fit for deinit. STATUS_CORRUPT,
 * STATUS_NO_MEMORY */
MUST_USE enum status manifest_state_apply(struct manifest_state *state, struct slice edit);
/* The edit that makes this state from an empty one. */
void manifest_state_put(struct buffer *edit, const struct manifest_state *state);
void manifest_state_deinit(struct manifest_state *state);

/* A whole manifest file into a state. *nonce is the file's. A torn last edit is left out.
 * STATUS_CORRUPT (*offset says where), STATUS_UNSUPPORTED, STATUS_NO_MEMORY */
MUST_USE enum status manifest_decode(struct slice bytes, struct manifest_state *state,
                                     uint64_t *offset);
/* A whole manifest file that holds one edit. */
void manifest_encode(struct buffer *to, uint64_t nonce, struct slice edit);

struct manifest {
    struct env *env;
    const char *folder; /* Outlives it. */
    struct mutex mutex; /* Guards all below; held over I/O. */
    struct env_file *file;
    uint64_t nonce;
    uint64_t size;          /* Bytes of the file that count. */
    uint64_t rewrite_size;  /* A file longer than this and than four snapshots is rewritten. */
    uint64_t snapshot_size; /* Of the file when it was last rewritten. */
    bool unsettled;         /* A write failed: the next commit rewrites the file. */
    struct manifest_state state;
};

/* Reads the folder's manifest. STATUS_NOT_FOUND: there is none (then the state is empty and
 * the manifest ready to be made by manifest_rewrite). STATUS_CORRUPT, STATUS_UNSUPPORTED,
 * STATUS_IO, STATUS_NO_MEMORY. */
MUST_USE enum status manifest_open(struct manifest *manifest, struct env *env, const char *folder);
void manifest_close(struct manifest *manifest);
/* The log was found to end at `position`, and goes on there: what it held beyond is lost, and no
 * excise reaches further. In memory only: for an open, before its rewrite. */
void manifest_cut_log(struct manifest *manifest, uint64_t position);
/* Replaces the file by one that holds the state with `edit` (may be empty) applied. Blocks.
 * STATUS_IO, STATUS_NO_SPACE, STATUS_NO_MEMORY, STATUS_TOO_LARGE. */
MUST_USE enum status manifest_rewrite(struct manifest *manifest, struct slice edit);
/* Appends and syncs; rewrites when the file has grown long, and after a failure. Blocks. As
 * manifest_rewrite(). */
MUST_USE enum status manifest_commit(struct manifest *manifest, const struct buffer *edit);

#endif
