/*
 * lsm/wal_recovery.h -- reads the log back after a crash, and tells a torn tail from damage.
 *
 * Contract:
 *  (1) Groups are handed out in order, each wholly checked, until the chain of positions breaks.
 *  (2) The rest of that segment and all later ones are still searched for watermarks: damage at a
 *      position that some watermark says was synced is STATUS_CORRUPT, naming file and offset;
 *      above all of them it is a torn tail, and simply the end.
 *  (3) No record is added, moved or cut: bytes that count are at most written again in place, to
 *      make them durable, and not even that if `read_only`. That a tail which was cut never comes
 *      back is the caller's part: it records where the next segment starts, before writing to it.
 */
#ifndef LSM_WAL_RECOVERY_H
#define LSM_WAL_RECOVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/slice.h"
#include "base/status.h"

#define WAL_START_UNKNOWN UINT64_MAX

/* A live segment, as the manifest lists it, by ascending id. */
struct wal_recovery_segment {
    uint64_t id;
    uint64_t nonce;
    /* Where its records begin, if it was made after a recovery: whatever earlier segments hold
     * from there on is void. Otherwise WAL_START_UNKNOWN. */
    uint64_t start_position;
    uint64_t last_position; /* Out: all its valid records end at or before it. */
    uint64_t file_size;     /* Out. */
};

struct wal_recovery {
    struct env *env;
    const char *folder;
    struct wal_recovery_segment *segments;
    uint32_t segment_count;
    uint64_t replay_position; /* Records before it are in tables already. */
    /* Called for each record from there on, with the position of its end; a failure ends the
     * recovery with it. */
    enum status (*record)(void *context, struct slice key, struct slice cell, uint64_t end);
    /* May be NULL. Called at the end of each segment, and now and then before: the slices that the
     * records so far were go then. A failure ends the recovery with it. */
    enum status (*records_end)(void *context);
    void *context;
    bool read_only; /* Only look. */

    uint64_t end_position; /* Out: where the next segment starts. At least replay_position. */
    uint64_t record_count; /* Out. */
    /* Private. */
    uint64_t position;       /* End of the chain so far. */
    uint64_t watermark;      /* The greatest seen. */
    uint32_t broken_segment; /* Index of where the chain broke first; segment_count if nowhere. */
    uint64_t broken_offset;
};

/* STATUS_CORRUPT as in (2), STATUS_IO, STATUS_NO_MEMORY, or what `record` or `records_end`
 * returned. */
MUST_USE enum status wal_recover(struct wal_recovery *recovery);

/* Whether a segment file that no manifest names holds records from `replay_position` on: then a
 * manifest edit was lost. STATUS_CORRUPT if so; STATUS_OK, STATUS_IO. */
MUST_USE enum status wal_check_orphan(struct env *env, const char *path, uint64_t replay_position);

#endif
