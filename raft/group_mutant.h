/*
 * raft/group_mutant.h -- rules of the guard left out, to show that the simulator misses them.
 *
 * GROUP_WITHOUT(RULE) is false in every build but one: the library that group_sim links is compiled
 * with RINGKV_GROUP_MUTANTS, and asks the simulator, which says yes only when it was told
 * `--without rule`. The rules are those of docs/raft.md.
 */
#ifndef RAFT_GROUP_MUTANT_H
#define RAFT_GROUP_MUTANT_H

#include <stdbool.h>

#ifdef RINGKV_GROUP_MUTANTS
enum group_rule {
    GROUP_RULE_NONE,
    GROUP_RULE_BARRIER,
    GROUP_RULE_STALE,
    GROUP_RULE_CLAMP,
    GROUP_RULE_BUSY,
    GROUP_RULE_NO_ELECTION,
    GROUP_RULE_ROLLBACK,
    GROUP_RULE_BACK_UP,
    GROUP_RULE_SNAPSHOT_CONFIGURATION,
    GROUP_RULE_ONE_VOTE,
    GROUP_RULE_PRE_VOTE,
    GROUP_RULE_SNAPSHOT_ACKNOWLEDGEMENT,
    GROUP_RULE_ANY_VOTE,
    GROUP_RULE_OWN_TERM,
    GROUP_RULE_PROMISES, /* Votes and acknowledgements wait for the disk. */
    GROUP_RULE_HOLD_BACK,
    GROUP_RULE_ALONE,
    GROUP_RULE_NEWCOMER,
    GROUP_RULE_CUT,
    GROUP_RULE_CHANGE, /* A change only after the barrier, a demotion only among healthy voters. */
};
/* Implemented by tests/sim/group_sim_mutant.c. */
bool group_rule_is_out(enum group_rule rule);
#define GROUP_WITHOUT(rule) group_rule_is_out(GROUP_RULE_##rule)
#else
#define GROUP_WITHOUT(rule) false
#endif

#endif
