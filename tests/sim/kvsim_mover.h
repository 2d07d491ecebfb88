/*
 * tests/sim/kvsim_mover.h -- the operator who changes the ring of a simulated cluster.
 *
 * A host of its own that speaks KV.PLAN to the client port of any node, one request at a time: it
 * starts spare hosts so that they join, stages joins, leaves, replaces, weights, zones, single
 * moves and factors, commits or clears what it staged, and aborts what runs. When an answer tells
 * nothing it looks at KV.PLAN SHOW and HISTORY until it knows. Now and then it does the same again
 * at once after an abort, or takes moves back, with a node wedged meanwhile; now and then it gives
 * a node up for good, and then replaces it. What it checks: (1) A commit or an abort that was
 * acknowledged is in the history in the end, or runs; a commit that was refused, and not asked
 * again, is not. (2) After the quiet began, or the last commit, every plan ends within
 * MOVER_LIVENESS_MS. (3) One wedged node holds up no range that can do without it: in some seeds
 * ranges are moved away from a node in the quiet, which does nothing from the commit on; they get
 * there all the same within MOVER_LIVENESS_MS.
 */
#ifndef TESTS_SIM_KVSIM_MOVER_H
#define TESTS_SIM_KVSIM_MOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/kvsim_nemesis.h"

#define MOVER_LIVENESS_MS UINT64_C(60000) /* Virtual. */

struct mover;

struct mover_counts {
    uint32_t staged, refused, committed, aborted, cleared; /* As told. */
    uint32_t unknown;                                      /* Answers that told nothing. */
    uint32_t lost;                                         /* Nodes given up. */
    uint32_t joins;                                        /* Spares started. */
    uint32_t without;                                      /* Moves of (3). */
};

/* Adds its host, after those of the clients. */
struct mover *mover_open(struct cluster *cluster, struct nemesis *nemesis, bool verbose);
void mover_close(struct mover *mover);
/* It changes nothing more, but for what it takes to get rid of a node that is lost. */
void mover_quiet(struct mover *mover);
/* No plan runs, every range is where it is to be, and (1) holds. A violation if (2) or (3) does
 * not. To be asked again and again: it wakes the node of (3). */
bool mover_over(struct mover *mover);
void mover_count(const struct mover *mover, struct mover_counts *counts);

#endif
