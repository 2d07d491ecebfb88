/*
 * node/reading.h -- topologies as they come from the disk and from peers, or what is wrong with
 * them.
 *
 * Why: a node that cannot read what it has recorded does not start, and whoever has to mend that
 * needs to know which of its files, and what in it.
 */
#ifndef NODE_READING_H
#define NODE_READING_H

#include "base/env.h"
#include "base/slice.h"
#include "base/status.h"
#include "ring/topology.h"

/* As topology_decode; what is no topology is logged, as the one that is `from` there. */
MUST_USE enum status reading_topology(struct env *env, const char *from, struct slice bytes,
                                      struct topology *topology);

#endif
