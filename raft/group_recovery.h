/*
 * raft/group_recovery.h -- after the loss of a majority: a group of one server, made offline of
 * what is left.
 *
 * Why by hand: a group that lost its majority for good cannot tell that from a partition, so only
 * an operator can say it. What was committed is on a majority, so a server that is left has it, or
 * was told of it otherwise: group_examine() shows the one, and the caller, who knows the other,
 * gives the state to go on from. Contract: (1) group_examine() shows all of the log, also what may
 * never have been committed. (2) A crash at any point leaves the folder as it was or recovered;
 * doing it again is harmless. (3) A folder in use, damaged, or of another server is refused and
 * stays as it is. (4) The old voters may still agree among themselves. To keep them out is the
 * caller's business, by something in the state that they do not have.
 */
#ifndef RAFT_GROUP_RECOVERY_H
#define RAFT_GROUP_RECOVERY_H

#include <stdint.h>

#include "base/env.h"
#include "base/slice.h"
#include "base/status.h"

struct group_folder {
    const char *path;
    uint32_t id;
};

/* What the log and snapshot say, in order, as if all of it were committed. */
struct group_examination {
    enum status (*applied)(void *context, uint64_t index, struct slice command);
    enum status (*restored)(void *context, struct slice snapshot);
    void *context;
    /* Results. */
    uint64_t term;
    uint64_t last_index;
    uint64_t snapshot_index;
    uint32_t voter_count; /* Of the last configuration. */
};
/*
 * Blocks; writes nothing, but makes the folder if there is none.
 * STATUS_NOT_FOUND  there is no log.
 * STATUS_LOCKED, STATUS_CORRUPT, STATUS_INVALID (of another server), STATUS_UNSUPPORTED, STATUS_IO,
 * STATUS_NO_MEMORY, or what a callback said.
 */
MUST_USE enum status group_examine(struct env *env, const struct group_folder *folder,
                                   struct group_examination *examination);

/*
 * Blocks. `state`, as of group_events.snapshot, takes the place of log and snapshot, at the index
 * after the last and in a term of its own; this server alone votes. No log need be there.
 * As group_examine(), and STATUS_NO_SPACE, STATUS_TOO_LARGE.
 */
MUST_USE enum status group_recover(struct env *env, const struct group_folder *folder,
                                   struct slice state);

#endif
