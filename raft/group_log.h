/*
 * raft/group_log.h -- the files that keep a group_state over a crash.
 *
 * Why one file: term, vote, entries, truncations and the mark of a snapshot are records of one
 * append-only file, so that their order on disk is the order in which they were promised. A new
 * snapshot, an opening, or too long a file starts the next generation: written whole under a
 * temporary name, synced, renamed; only then the old one goes. So nothing is ever overwritten, and
 * a torn tail is never written after.
 * Invariants:
 *  (1) A file under its final name begins with a complete base: one of some generation is valid.
 *  (2) Bytes at or below the highest watermark were synced: damage there is STATUS_CORRUPT and
 *      changes nothing. Above it, it is a torn tail and is dropped.
 *  (3) A frame counts whole or not at all, and only at its own offset of its own file.
 *  (4) After a failed write or sync the log refuses every later one.
 * Formats: docs/formats/raft_log.md. This file knows nothing of the raft library.
 */
#ifndef RAFT_GROUP_LOG_H
#define RAFT_GROUP_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/env.h"
#include "base/slice.h"
#include "base/status.h"
#include "raft/group_state.h"

#define GROUP_LOG_VERSION 1
#define GROUP_LOG_FRAME_SIZE_MAX (16u << 20) /* Payload of one frame. */
#define GROUP_LOG_FILE_SIZE_MAX (UINT64_C(4) << 30)

/* A snapshot file: header, configuration, data. */
struct group_snapshot {
    struct group_mark mark;
    struct slice configuration; /* Borrow from the decoded bytes. */
    struct slice data;
};
/* Sets snapshot->mark.checksum. STATUS_NO_MEMORY */
MUST_USE enum status group_snapshot_encode(struct buffer *to, struct group_snapshot *snapshot);
/* STATUS_CORRUPT, STATUS_UNSUPPORTED */
MUST_USE enum status group_snapshot_decode(struct slice bytes, struct group_snapshot *snapshot);

/* The files. Blocking; owned by one thread at a time. */
struct group_log {
    struct env *env;
    char *path;
    struct env_dir_lock *lock;
    struct env_file *file;
    uint32_t id;
    uint64_t generation;
    uint64_t nonce;
    uint64_t offset;     /* End of the last frame; all before it is synced. */
    uint64_t base_size;  /* Bytes the generation began with. */
    bool witnessed;      /* A later frame says that the last one with records was synced. */
    enum status failure; /* See (4). */
};

/* What a file holds, from its bytes. STATUS_NOT_FOUND if it is no complete file of a log. */
struct group_log_image {
    uint32_t id;
    uint64_t generation;
    uint64_t end; /* Of the last good frame. */
};
MUST_USE enum status group_log_decode(struct slice bytes, struct group_state *state,
                                      struct group_log_image *image);

/*
 * Locks the folder, creating it if needed, and reads the newest generation and its snapshot.
 * STATUS_NOT_FOUND  a new folder: the log is open, and waits for group_log_rotate().
 * STATUS_CORRUPT, STATUS_LOCKED, STATUS_IO, STATUS_NO_SPACE, STATUS_NO_MEMORY,
 * STATUS_UNSUPPORTED, STATUS_INVALID (the folder of another server): nothing was changed.
 */
MUST_USE enum status group_log_open(struct group_log *log, struct env *env, const char *path,
                                    uint32_t id, struct group_state *state,
                                    struct buffer *snapshot);
/*
 * Starts the generation `generation` with `records` (of group_record_state). With a snapshot, its
 * file is made durable first. Files that nothing refers to are removed, `mark` being what stays.
 */
struct group_log_next {
    uint64_t generation;
    struct slice records;
    const struct buffer *snapshot; /* NULL: the one there stays. */
    uint64_t snapshot_generation;  /* Of the one that counts from now on; 0: none. */
};
MUST_USE enum status group_log_rotate(struct group_log *log, const struct group_log_next *next);
/* Appends one frame per GROUP_LOG_FRAME_SIZE_MAX and syncs. Empty records make a mere watermark. */
MUST_USE enum status group_log_write(struct group_log *log, struct slice records);
void group_log_close(struct group_log *log); /* Also after a failed open. */

#endif
