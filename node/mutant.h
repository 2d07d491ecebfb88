/*
 * node/mutant.h -- planted faults, which show that the simulator's checks can fail.
 *
 * MUTANT(NAME) is false in every build but one: the library that kvsim links is compiled with
 * RINGKV_MUTANTS, and asks the simulator, which says yes only when it was told `--mutant name`.
 */
#ifndef NODE_MUTANT_H
#define NODE_MUTANT_H

#include <stdbool.h>

#ifdef RINGKV_MUTANTS
enum mutant {
    MUTANT_NONE,
    MUTANT_ACK_EARLY,        /* A write is acknowledged by one replica less than its level asks. */
    MUTANT_SKIP_READ_REPAIR, /* A read answers what too few replicas hold. */
    MUTANT_OLD_SET_ONLY_READS,     /* While a range moves, reads and scans know the old set only. */
    MUTANT_OLD_SET_ONLY_WRITES,    /* While a range moves, writes go to the old set only. */
    MUTANT_NO_WRITE_BACK,          /* While a range moves, a read answers what one set lacks. */
    MUTANT_FENCE_NOT_DURABLE,      /* A fence is reported before its record is durable. */
    MUTANT_STALE_EPOCH_APPLIED,    /* Requests older than the fence are served. */
    MUTANT_ENTER_WITHOUT_EXCISE,   /* What an earlier stay left behind stays. */
    MUTANT_STREAM_WITHOUT_FENCE,   /* A source does not wait for its fence. */
    MUTANT_SESSION_IGNORED,        /* Chunks and progress of another session pass for this one's. */
    MUTANT_STREAM_ONE_SURVIVOR,    /* One source does where a majority has to be merged. */
    MUTANT_BARRIER_RELAXES,        /* A fence counts with one node less than a majority. */
    MUTANT_READ_NEW_BEFORE_STREAM, /* New replicas are read before they have what the old had. */
    MUTANT_FINISH_WITHOUT_BARRIER, /* Old replicas are dropped while some may still ask them. */
    MUTANT_FACTOR_WITHOUT_MERGE,   /* Another number of replicas, of which the old ones merged
                                      nothing. */
    MUTANT_DEMOTE_FIRST,           /* A voter goes before the one that takes its place has come. */
    MUTANT_VOTER_STAYS,            /* A member that leaves keeps its vote. */
    MUTANT_OLD_GENERATION_LIVES,   /* After a recovery an older Raft group goes on. */
};
/* Implemented by tests/sim/kvsim_mutant.c. */
bool mutant_is_on(enum mutant mutant);
#define MUTANT(name) mutant_is_on(MUTANT_##name)
#else
#define MUTANT(name) false
#endif

#endif
