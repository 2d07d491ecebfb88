/*
 * tests/sim/kvsim_held.h -- whether what was answered at QUORUM or ALL is where it must be.
 *
 * An acknowledged write, and a value that a read returned, is in every quorum that may be read from
 * then on; while a range moves, in every quorum of the old replicas and of the new. Clients notice
 * that it is not if they happen to ask the others before anyone has repaired it. So the engines are
 * asked, as the answer comes.
 * Left out are answers during which the range took a step, or the coordinator may not have known of
 * one. A replica that cannot be asked (it is dead, or would have to wait for its disk) counts as
 * one that has it.
 */
#ifndef TESTS_SIM_KVSIM_HELD_H
#define TESTS_SIM_KVSIM_HELD_H

#include <stdint.h>

#include "tests/sim/kvsim_cluster.h"

/* The epoch of the key's range as that node goes by it; 0: it goes by no topology. */
uint64_t held_epoch(struct cluster *cluster, uint32_t node_index, uint32_t key);
/* `epoch` as held_epoch() said it when the operation was asked. Tells the check. */
void held_judge(struct cluster *cluster, const struct check_operation *operation,
                struct version version, uint64_t epoch);

#endif
