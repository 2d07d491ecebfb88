/*
 * tests/sim/group_sim_mutant.c -- which rule of the guard is left out.
 *
 * The one static of group_sim: the hooks in raft/ have no context. It is set before the first seed,
 * and never again.
 */
#include <string.h>

#include "raft/group_mutant.h"
#include "tests/sim/group_sim.h"

static const struct {
    const char *name;
    enum group_rule rule;
} rules[] = {
    {"barrier", GROUP_RULE_BARRIER},
    {"stale", GROUP_RULE_STALE},
    {"clamp", GROUP_RULE_CLAMP},
    {"busy", GROUP_RULE_BUSY},
    {"no-election", GROUP_RULE_NO_ELECTION},
    {"rollback", GROUP_RULE_ROLLBACK},
    {"back-up", GROUP_RULE_BACK_UP},
    {"snapshot-configuration", GROUP_RULE_SNAPSHOT_CONFIGURATION},
    {"one-vote", GROUP_RULE_ONE_VOTE},
    {"pre-vote", GROUP_RULE_PRE_VOTE},
    {"snapshot-acknowledgement", GROUP_RULE_SNAPSHOT_ACKNOWLEDGEMENT},
    {"any-vote", GROUP_RULE_ANY_VOTE},
    {"own-term", GROUP_RULE_OWN_TERM},
    {"promises", GROUP_RULE_PROMISES},
    {"hold-back", GROUP_RULE_HOLD_BACK},
    {"alone", GROUP_RULE_ALONE},
    {"newcomer", GROUP_RULE_NEWCOMER},
    {"cut", GROUP_RULE_CUT},
    {"change", GROUP_RULE_CHANGE},
};

static enum group_rule left_out;

bool group_rule_is_out(enum group_rule rule)
{
    return left_out == rule;
}

bool sim_leave_out(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(rules); i++) {
        if (strcmp(rules[i].name, name) == 0) {
            left_out = rules[i].rule;
        }
    }
    return left_out != GROUP_RULE_NONE;
}
