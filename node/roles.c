/*
 * node/roles.c -- see roles.h.
 *
 * First the wanted voters are chosen: those there are, the leader before the others, then members
 * that answer, each from the zone that has the fewest so far. Then the first difference between
 * what is and what is wanted becomes a change.
 */
#include "node/roles.h"

#include <string.h>

#include "base/contract.h"
#include "node/mutant.h"

#define CANDIDATE_COUNT_MAX (RING_MEMBER_COUNT_MAX + GROUP_SERVER_COUNT_MAX)

/* A member of the cluster, or a server of the group that is none any more. */
struct candidate {
    uint32_t id;
    const char *zone; /* NULL: no member of the cluster. */
    bool in_group;
    enum group_duty duty;
    bool fit;     /* ACTIVE, and not lost. */
    bool answers; /* Heard of late. */
    bool silent;  /* For longer than patience allows. */
    bool wanted;  /* To vote. */
};

struct roles {
    uint32_t self;
    struct candidate candidates[CANDIDATE_COUNT_MAX];
    uint32_t count;
    uint32_t voter_count;  /* As it is. */
    uint32_t wanted_count; /* As it should be. */
    uint32_t chosen_count; /* Of candidates with `wanted`. */
};

static bool votes(const struct candidate *candidate)
{
    return candidate->in_group && candidate->duty == GROUP_VOTER;
}

static bool stands_by(const struct candidate *candidate)
{
    return candidate->in_group && candidate->duty == GROUP_STANDBY;
}

/* ---- what there is ---- */

static struct candidate *candidate_add(struct roles *roles, const struct roles_view *view,
                                       uint32_t id)
{
    ASSERT(roles->count < CANDIDATE_COUNT_MAX);
    struct candidate *candidate = &roles->candidates[roles->count++];
    uint64_t silent_ms = view->silent_ms(view->context, id);
    *candidate = (struct candidate){
        .id = id,
        .answers = id == view->self || silent_ms < view->answer_ms,
        .silent = id != view->self && view->patience_ms != 0 && silent_ms >= view->patience_ms &&
                  view->led_ms >= view->patience_ms,
    };
    return candidate;
}

static void members_add(struct roles *roles, const struct roles_view *view)
{
    const struct topology *topology = view->topology;
    uint32_t active_count = 0;
    for (uint32_t index = 0; index < topology->member_count; index++) {
        const struct topology_member *member = &topology->members[index];
        struct candidate *candidate = candidate_add(roles, view, member->id);
        candidate->zone = member->zone;
        candidate->fit = member->state == TOPOLOGY_ACTIVE && !member->lost;
        active_count += candidate->fit ? 1 : 0;
    }
    roles->wanted_count = active_count >= 5 ? 5 : active_count >= 3 ? 3 : 1;
}

static void servers_add(struct roles *roles, const struct roles_view *view)
{
    const struct group_configuration *configuration = view->configuration;
    for (uint32_t index = 0; index < configuration->server_count; index++) {
        const struct group_server *server = &configuration->servers[index];
        struct candidate *candidate = NULL;
        for (uint32_t at = 0; at < roles->count && candidate == NULL; at++) {
            if (roles->candidates[at].id == server->id) {
                candidate = &roles->candidates[at];
            }
        }
        if (candidate == NULL) {
            candidate = candidate_add(roles, view, server->id);
        }
        candidate->in_group = true;
        candidate->duty = server->duty;
        roles->voter_count += server->duty == GROUP_VOTER ? 1 : 0;
    }
}

/* ---- what is wanted ---- */

static uint32_t zone_load(const struct roles *roles, const char *zone)
{
    uint32_t load = 0;
    for (uint32_t index = 0; index < roles->count; index++) {
        const struct candidate *candidate = &roles->candidates[index];
        load += candidate->wanted && candidate->zone != NULL && strcmp(candidate->zone, zone) == 0
                    ? 1
                    : 0;
    }
    return load;
}

/* Which are asked in turn: voters that are well, then any that answer, then voters that are silent
 * though nobody is there instead. */
enum pool { POOL_VOTERS, POOL_ANSWERING, POOL_SILENT };

static bool is_in(const struct candidate *candidate, enum pool pool)
{
    if (!candidate->fit || candidate->wanted) {
        return false;
    }
    switch (pool) {
    case POOL_VOTERS:
        return votes(candidate) && !candidate->silent;
    case POOL_ANSWERING:
        return candidate->answers;
    case POOL_SILENT:
        return votes(candidate);
    }
    UNREACHABLE("pool");
}

/* The better of two of a pool: the leader, the less crowded zone, one of the group, the lower id.
 */
static bool is_better(const struct roles *roles, const struct candidate *a,
                      const struct candidate *b)
{
    if ((a->id == roles->self) != (b->id == roles->self)) {
        return a->id == roles->self;
    }
    uint32_t load_a = zone_load(roles, a->zone);
    uint32_t load_b = zone_load(roles, b->zone);
    if (load_a != load_b) {
        return load_a < load_b;
    }
    return a->in_group != b->in_group ? a->in_group : a->id < b->id;
}

static struct candidate *best_of(struct roles *roles, enum pool pool)
{
    struct candidate *best = NULL;
    for (uint32_t index = 0; index < roles->count; index++) {
        struct candidate *candidate = &roles->candidates[index];
        if (is_in(candidate, pool) && (best == NULL || is_better(roles, candidate, best))) {
            best = candidate;
        }
    }
    return best;
}

/* The wanted voter to go first for the sake of zones: from the most crowded one, silent, the
 * highest id; never the leader. */
static struct candidate *most_crowded(struct roles *roles)
{
    struct candidate *out = NULL;
    uint32_t greatest = 0;
    for (uint32_t index = 0; index < roles->count; index++) {
        struct candidate *candidate = &roles->candidates[index];
        if (!candidate->wanted || candidate->id == roles->self) {
            continue;
        }
        uint32_t load = zone_load(roles, candidate->zone);
        bool worse = load == greatest && (out == NULL || out->answers || !candidate->answers);
        if (load > greatest || worse) {
            out = candidate;
            greatest = load;
        }
    }
    return out;
}

/* One of the most crowded zone makes room for a member of one that has two fewer. */
static void zones_even(struct roles *roles)
{
    struct candidate *in = best_of(roles, POOL_ANSWERING);
    struct candidate *out = most_crowded(roles);
    if (in != NULL && out != NULL &&
        zone_load(roles, out->zone) >= zone_load(roles, in->zone) + 2) {
        out->wanted = false;
        in->wanted = true;
    }
}

static void voters_choose(struct roles *roles)
{
    for (enum pool pool = POOL_VOTERS; pool <= POOL_SILENT; pool++) {
        struct candidate *best = NULL;
        while (roles->chosen_count < roles->wanted_count && (best = best_of(roles, pool)) != NULL) {
            best->wanted = true;
            roles->chosen_count++;
        }
    }
    zones_even(roles);
}

/* ---- the next step ---- */

typedef bool candidate_test(const struct candidate *candidate);

static const struct candidate *first_of(const struct roles *roles, candidate_test *test)
{
    for (uint32_t index = 0; index < roles->count; index++) {
        if (test(&roles->candidates[index])) {
            return &roles->candidates[index];
        }
    }
    return NULL;
}

static bool is_unwanted_voter(const struct candidate *candidate)
{
    return votes(candidate) && !candidate->wanted && !MUTANT(VOTER_STAYS);
}

static bool is_unwanted_and_silent(const struct candidate *candidate)
{
    return is_unwanted_voter(candidate) && !candidate->answers;
}

static bool is_missing_voter(const struct candidate *candidate)
{
    return candidate->wanted && !votes(candidate);
}

static bool is_spare(const struct candidate *candidate)
{
    return candidate->in_group && candidate->duty == GROUP_SPARE;
}

static bool is_unfit_standby(const struct candidate *candidate)
{
    return stands_by(candidate) && !candidate->fit;
}

static bool is_wanted_voter(const struct candidate *candidate)
{
    return candidate->wanted && votes(candidate) && candidate->answers;
}

static bool change_to(struct group_change *change, enum group_change_kind kind, uint32_t id)
{
    change->kind = kind;
    change->id = id;
    return true;
}

/* Of the dead first: they count, and do not answer. A leader goes last, by handing over. */
static bool voter_go(const struct roles *roles, struct group_change *change)
{
    const struct candidate *missing = first_of(roles, is_missing_voter);
    bool few = missing != NULL || roles->chosen_count < roles->wanted_count;
    if (few && roles->voter_count <= roles->wanted_count && !MUTANT(DEMOTE_FIRST)) {
        return false; /* Somebody must come first, who may not answer yet. */
    }
    const struct candidate *out = first_of(roles, is_unwanted_and_silent);
    for (uint32_t index = 0; index < roles->count && out == NULL; index++) {
        const struct candidate *candidate = &roles->candidates[index];
        if (is_unwanted_voter(candidate) && candidate->id != roles->self) {
            out = candidate;
        }
    }
    if (out != NULL) {
        return change_to(change, GROUP_DEMOTE, out->id);
    }
    const struct candidate *heir = first_of(roles, is_wanted_voter);
    return first_of(roles, is_unwanted_voter) != NULL && heir != NULL &&
           change_to(change, GROUP_TRANSFER, heir->id);
}

static bool voter_come(const struct roles *roles, struct group_change *change)
{
    const struct candidate *missing = first_of(roles, is_missing_voter);
    if (missing == NULL) {
        return false;
    }
    return change_to(change, stands_by(missing) ? GROUP_PROMOTE : GROUP_ADD, missing->id);
}

static uint32_t standby_count(const struct roles *roles)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < roles->count; index++) {
        count += stands_by(&roles->candidates[index]) ? 1 : 0;
    }
    return count;
}

/* Those that may not vote go, and those beyond the wanted number: silent ones, then the highest id.
 */
static bool standby_go(const struct roles *roles, struct group_change *change)
{
    const struct candidate *out = first_of(roles, is_unfit_standby);
    bool surplus = out == NULL && standby_count(roles) > ROLES_STANDBY_COUNT;
    for (uint32_t index = 0; surplus && index < roles->count; index++) {
        const struct candidate *candidate = &roles->candidates[index];
        if (stands_by(candidate) && (out == NULL || out->answers || !candidate->answers)) {
            out = candidate;
        }
    }
    return out != NULL && change_to(change, GROUP_REMOVE, out->id);
}

static bool standby_come(const struct roles *roles, struct group_change *change)
{
    const struct candidate *best = NULL;
    for (uint32_t index = 0; index < roles->count; index++) {
        const struct candidate *candidate = &roles->candidates[index];
        if (is_in(candidate, POOL_ANSWERING) && !candidate->in_group &&
            (best == NULL || is_better(roles, candidate, best))) {
            best = candidate;
        }
    }
    return standby_count(roles) < ROLES_STANDBY_COUNT && best != NULL &&
           change_to(change, GROUP_ADD, best->id);
}

static bool spare_settle(const struct roles *roles, struct group_change *change)
{
    const struct candidate *spare = first_of(roles, is_spare);
    return spare != NULL && change_to(change, spare->fit ? GROUP_ADD : GROUP_REMOVE, spare->id);
}

bool roles_next(const struct roles_view *view, struct group_change *change)
{
    if (view->topology->cluster_id == 0 || !view->configuration->committed) {
        return false;
    }
    struct roles roles = {.self = view->self};
    members_add(&roles, view);
    servers_add(&roles, view);
    voters_choose(&roles);
    return spare_settle(&roles, change) || voter_go(&roles, change) || voter_come(&roles, change) ||
           standby_go(&roles, change) || standby_come(&roles, change);
}

/* ---- what the topology is to say ---- */

bool roles_voters(const struct roles_view *view, uint32_t voters[TOPOLOGY_VOTER_COUNT_MAX],
                  uint32_t *voter_count)
{
    const struct topology *topology = view->topology;
    const struct group_configuration *configuration = view->configuration;
    uint32_t group_count = 0;
    bool differs = false;
    *voter_count = 0;
    for (uint32_t index = 0; index < configuration->server_count; index++) {
        group_count += configuration->servers[index].duty == GROUP_VOTER ? 1 : 0;
    }
    if (!configuration->committed || group_count > TOPOLOGY_VOTER_COUNT_MAX) {
        return false;
    }
    for (uint32_t index = 0; index < topology->member_count; index++) {
        const struct topology_member *member = &topology->members[index];
        bool is_voter = false;
        for (uint32_t at = 0; at < configuration->server_count; at++) {
            const struct group_server *server = &configuration->servers[at];
            is_voter = is_voter || (server->id == member->id && server->duty == GROUP_VOTER);
        }
        differs = differs || is_voter != member->voter;
        if (is_voter) {
            voters[(*voter_count)++] = member->id;
        }
    }
    return differs && *voter_count == group_count;
}
