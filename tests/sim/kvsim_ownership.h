/*
 * tests/sim/kvsim_ownership.h -- the rules by which ranges pass from node to node, seen from
 * outside.
 *
 * Clients may be lucky: a rule that is broken harms them only if a crash and a stale request come
 * together as they seldom do. So each rule of docs/cluster.md that can be seen is checked where it
 * is broken: in the topologies that nodes adopt, the fences they have durable, and the frames that
 * pass between them. Nothing of node/ decides here what is right.
 * Rules, of a range whose operation began in epoch S (its session):
 *  (1) It goes STABLE, WRITE_BOTH_READ_OLD, WRITE_BOTH_READ_NEW, STABLE, or back from the second to
 *      the first; what ends is what was begun.
 *  (2) An operation that changes how many replicas there are has merge_all.
 *  (3) When WRITE_BOTH_READ_NEW is committed, a majority of the old and one of the new replicas
 * have a durable fence of S or above, and every member of the new set that must has streamed: to
 * the last chunk, in this session, from whom it had to. (4) When the end is committed, a majority
 * of each has a durable fence of READ_NEW's epoch. (5) A fence, once durable, never goes back, also
 * over a restart. (6) A request below the fence that stood when it arrived is answered neither OK
 * nor SUPERSEDED; nor is one to a replica that enters the range and has not recorded that it
 * emptied the stretch. (7) A chunk is given out only by one whose own fence is durable at the
 * session's epoch or above. (8) When a replica records that it emptied the stretch, nothing is in
 * it.
 */
#ifndef TESTS_SIM_KVSIM_OWNERSHIP_H
#define TESTS_SIM_KVSIM_OWNERSHIP_H

#include <stdint.h>

#include "tests/sim/kvsim_cluster.h"

struct ownership;

struct ownership_counts {
    uint32_t begins, read_news, ends, backs; /* Steps of ranges. */
    uint32_t streams;                        /* Whole streams, from one source each. */
    uint32_t entries;                        /* Stretches seen emptied, */
    uint32_t entries_unread;                 /* and those that could not be read without waiting. */
    uint32_t stale;                          /* Requests below a fence. */
};

struct ownership *ownership_open(struct cluster *cluster);
void ownership_close(struct ownership *ownership);
/* After an event of that node. */
void ownership_observe(struct ownership *ownership, struct cluster_node *node);
/* Hooks of the world. */
void ownership_frame_sent(struct ownership *ownership, const struct world_node *from,
                          const struct world_node *to, struct slice bytes);
void ownership_frame_arrives(struct ownership *ownership, const struct world_node *from,
                             const struct world_node *to, struct slice bytes);
void ownership_count(const struct ownership *ownership, struct ownership_counts *counts);

#endif
