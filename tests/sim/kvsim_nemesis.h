/*
 * tests/sim/kvsim_nemesis.h -- makes the trouble that the plan of a seed allows.
 *
 * One trouble after another begins, at drawn times; each lasts a drawn time, so several are there
 * at once. nemesis_end() takes all of them back.
 */
#ifndef TESTS_SIM_KVSIM_NEMESIS_H
#define TESTS_SIM_KVSIM_NEMESIS_H

#include <stdint.h>

#include "tests/sim/kvsim_client.h"

struct nemesis {
    struct cluster *cluster;
    const struct clients *clients;
    const struct plan *plan;
    uint32_t counts[FAULT_COUNT];
    struct cluster_node *wedged; /* By FAULT_WEDGE; NULL: none is. */
    bool over;
    bool verbose; /* Each trouble, to stderr. */
};

void nemesis_init(struct nemesis *nemesis, struct cluster *cluster, const struct clients *clients,
                  bool verbose);
/* That node does nothing for so long, unless one is wedged already or the trouble is over. */
void nemesis_wedge(struct nemesis *nemesis, struct cluster_node *node, uint64_t ms);
/* No fault begins any more, and none goes on. What is on its way in the network still arrives. */
void nemesis_end(struct nemesis *nemesis);

#endif
