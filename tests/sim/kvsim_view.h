/*
 * tests/sim/kvsim_view.h -- what every replica holds, taken from the engines and compared.
 *
 * After every key was read at ALL, all replicas of a range hold the same cells, and no other member
 * holds any of that range.
 */
#ifndef TESTS_SIM_KVSIM_VIEW_H
#define TESTS_SIM_KVSIM_VIEW_H

#include "tests/sim/kvsim_cluster.h"

struct view;

/* Begins one job on each node; nothing is written to the cluster until view_done(). */
struct view *view_begin(struct cluster *cluster);
bool view_done(const struct view *view);
/* Tells the check of the first difference; returns how many cells there were. */
uint32_t view_compare(struct view *view);
void view_free(struct view *view);

#endif
