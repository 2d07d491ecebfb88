/*
 * tests/sim/kvsim_plan.h -- every size, rate and time-out of one seed, drawn before anything runs.
 *
 * Swarm testing: a seed has some kinds of faults and not others, small tables or large ones, few
 * hot keys or many cold ones, so that what one kind of trouble would hide another seed shows.
 * Two seeds of four (seed % 4 of 1 and 2) have an operator who changes the ring all the while.
 * Source: Groce et al., "Swarm Testing", ISSTA 2012.
 */
#ifndef TESTS_SIM_KVSIM_PLAN_H
#define TESTS_SIM_KVSIM_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "node/config.h"
#include "tests/sim/env_sim.h"

#define PLAN_NODE_COUNT_MAX 16 /* Of the bootstrap list. */
#define PLAN_SPARE_COUNT_MAX 3
#define PLAN_HOST_COUNT_MAX (PLAN_NODE_COUNT_MAX + PLAN_SPARE_COUNT_MAX)
#define PLAN_CLIENT_COUNT_MAX 12
#define PLAN_DEPTH_MAX 6

/* Kinds of trouble the nemesis makes. */
enum plan_fault {
    FAULT_PARTITION,    /* Two sides, cut both ways. */
    FAULT_ONE_WAY,      /* One node hears, and is not heard; or the reverse. */
    FAULT_CLOG,         /* One link, one way, for so short that nothing closes. */
    FAULT_RESET,        /* All connections of a pair. */
    FAULT_CLIENT_CUT,   /* A client from some nodes. */
    FAULT_STORM,        /* Frames lost, doubled and late everywhere. */
    FAULT_KILL,         /* A process. */
    FAULT_POWER,        /* A machine: unsynced sectors are old or new. */
    FAULT_POWER_MANY,   /* Several at the same moment. */
    FAULT_POWER_IN_JOB, /* Between two file calls of a job. */
    FAULT_STOP,         /* A clean end. */
    FAULT_PAUSE,
    FAULT_DISK_ERRORS, /* Reads, writes, syncs and names fail now and then. */
    FAULT_SYNC_ERRORS, /* Syncs alone. */
    FAULT_DISK_SLOW,
    FAULT_CLOCK_JUMP,
    FAULT_CLOCK_DRIFT,
    /* Only where the ring changes: */
    FAULT_WEDGE, /* A pause that outlasts every patience, of one node at a time. */
    FAULT_EPOCH, /* As a node adopts an epoch, it or another dies, or some are cut off. */
    FAULT_COUNT,
};

struct plan {
    uint64_t seed;
    uint32_t node_count;
    uint32_t operation_count;
    uint64_t safety_ms; /* Virtual time with faults. */
    uint32_t client_count;
    uint32_t depth_max; /* Requests of one client under way. */
    uint32_t key_count;
    uint32_t hot_key_count; /* Half of all operations go to these. */
    uint32_t value_size_max;
    uint32_t client_patience_ms; /* Beyond the request time-out, before a client hangs up. */
    uint64_t fault_pause_ms;     /* Mean time between two troubles. */
    uint64_t fault_length_ms;    /* Greatest length of one. */
    uint64_t down_ms;            /* Greatest time until a dead node is started again. */
    bool moves;                  /* An operator changes the ring; the rest of this is his. */
    uint32_t spare_count;        /* Hosts that may join, beside the nodes. */
    uint32_t zone_count;       /* Zones that hosts stand in, in turn; 0: all in the default one. */
    uint64_t move_pause_ms;    /* Greatest time between two deeds of the operator. */
    uint32_t epoch_fault_odds; /* FAULT_EPOCH: once in so many adoptions. */
    bool faults[FAULT_COUNT];
    struct config config; /* Of every node, but for its id and addresses. */
    struct world_options world;
};

struct plan_options {
    uint32_t node_count;
    uint32_t operation_count;
    uint32_t seconds;
};

void plan_draw(struct plan *plan, uint64_t seed, const struct plan_options *options);
const char *plan_fault_name(enum plan_fault fault);
void plan_print(const struct plan *plan); /* To stderr. */

#endif
