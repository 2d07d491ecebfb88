/* node/driver_move.c -- see driver_move.h. */
#include "node/driver_move.h"

#include "base/contract.h"
#include "node/mutant.h"

/* ------------------------------------------------------------------ facts */

static struct driver_fact *fact_of(struct driver_move *move, uint32_t node)
{
    for (uint32_t index = 0; index < move->fact_count; index++) {
        if (move->facts[index].node == node) {
            return &move->facts[index];
        }
    }
    return NULL;
}

const struct message_range_state *driver_move_state(const struct driver_move *move, uint32_t node)
{
    for (uint32_t index = 0; index < move->fact_count; index++) {
        if (move->facts[index].node == node) {
            return &move->facts[index].state;
        }
    }
    UNREACHABLE("a replica of the range without a fact");
}

static void facts_add(struct driver_move *move, const struct ring_replicas *replicas)
{
    for (uint32_t index = 0; index < replicas->count; index++) {
        if (fact_of(move, replicas->ids[index]) == NULL) {
            ASSERT(move->fact_count < DRIVER_FACT_COUNT_MAX);
            move->facts[move->fact_count++] = (struct driver_fact){.node = replicas->ids[index]};
        }
    }
}

void driver_move_follow(struct driver_move *move, const struct topology *topology, uint32_t range,
                        uint64_t now_ms)
{
    ASSERT(range < topology->range_count);
    const struct topology_range *at = &topology->ranges[range];
    ASSERT(at->stage != TOPOLOGY_STABLE);
    if (move->session != at->session || move->range != range) {
        *move = (struct driver_move){.range = range,
                                     .session = at->session,
                                     .epoch = at->epoch,
                                     .began_ms = now_ms,
                                     .stage_ms = now_ms};
        facts_add(move, &at->replicas);
        facts_add(move, &at->next);
    }
    if (move->epoch != at->epoch) {
        move->epoch = at->epoch;
        move->stage_ms = now_ms;
    }
}

static bool is_lost(const struct topology *topology, uint32_t node)
{
    const struct topology_member *member = topology_member_find(topology, node);
    return member == NULL || member->lost;
}

bool driver_move_hear(struct driver_move *move, const struct topology *topology, uint32_t node,
                      uint64_t asked_epoch, const struct message_range_state *state)
{
    struct driver_fact *fact = fact_of(move, node);
    if (fact == NULL) {
        return false; /* An answer about an operation before this one. */
    }
    bool streamed_before = !driver_move_streams(move, topology, node);
    struct message_range_state *known = &fact->state;
    /* Each of these grows for ever at its node, so an answer that was overtaken harms nothing. */
    known->fence = state->fence > known->fence ? state->fence : known->fence;
    known->entered = state->entered > known->entered ? state->entered : known->entered;
    known->streamed = state->streamed > known->streamed ? state->streamed : known->streamed;
    if (asked_epoch >= move->epoch) {
        known->bytes_done = state->bytes_done;
        known->problem = state->problem;
    }
    return !streamed_before && !driver_move_streams(move, topology, node);
}

/* ------------------------------------------------------------------ the rules */

static bool must_stream(const struct driver_move *move, const struct topology *topology,
                        uint32_t node)
{
    const struct topology_range *range = &topology->ranges[move->range];
    struct topology_sources sources;
    topology_sources(topology, range, node, &sources);
    if (MUTANT(FACTOR_WITHOUT_MERGE) && range->replicas.count != range->next.count &&
        ring_replicas_contain(&range->replicas, node)) {
        return false;
    }
    return sources.need > 0;
}

bool driver_move_streams(const struct driver_move *move, const struct topology *topology,
                         uint32_t node)
{
    const struct topology_range *range = &topology->ranges[move->range];
    return range->stage == TOPOLOGY_WRITE_BOTH_READ_OLD &&
           ring_replicas_contain(&range->next, node) &&
           driver_move_state(move, node)->streamed != move->session &&
           must_stream(move, topology, node);
}

static bool is_fenced(const struct driver_move *move, const struct topology *topology,
                      uint32_t node)
{
    return driver_move_state(move, node)->fence >= move->epoch && !is_lost(topology, node);
}

/* Whether enough of one set have the fence; those that have not are added to `wait`. */
static bool set_is_fenced(const struct driver_move *move, const struct topology *topology,
                          const struct ring_replicas *set, uint32_t needed,
                          struct driver_wait *wait)
{
    uint32_t fenced = 0;
    uint32_t missing_count = 0;
    uint32_t missing[RING_REPLICA_COUNT_MAX];
    for (uint32_t index = 0; index < set->count; index++) {
        if (is_fenced(move, topology, set->ids[index])) {
            fenced++;
        } else {
            missing[missing_count++] = set->ids[index];
        }
    }
    if (fenced + (MUTANT(BARRIER_RELAXES) ? 1 : 0) >= needed) {
        return true;
    }
    wait->missing_majority = wait->missing_majority || fenced + missing_count > needed;
    for (uint32_t index = 0; index < missing_count; index++) {
        bool there = false;
        for (uint32_t at = 0; at < wait->node_count; at++) {
            there = there || wait->nodes[at] == missing[index];
        }
        if (!there) {
            wait->nodes[wait->node_count++] = missing[index];
        }
    }
    return false;
}

/* Rule (1). */
static bool barrier_counts(const struct driver_move *move, const struct topology *topology,
                           struct driver_wait *wait)
{
    const struct topology_range *range = &topology->ranges[move->range];
    struct topology_barrier barrier = topology_barrier_of(topology, range);
    bool old_fenced = set_is_fenced(move, topology, &range->replicas, barrier.replicas, wait);
    bool new_fenced = set_is_fenced(move, topology, &range->next, barrier.next, wait);
    wait->type = old_fenced && new_fenced ? DRIVER_WAIT_NONE : DRIVER_WAIT_FENCE;
    return old_fenced && new_fenced;
}

/* Rule (2). */
static bool streams_are_over(const struct driver_move *move, const struct topology *topology,
                             struct driver_wait *wait)
{
    const struct topology_range *range = &topology->ranges[move->range];
    bool all_entered = true;
    for (uint32_t index = 0; index < range->next.count; index++) {
        uint32_t node = range->next.ids[index];
        if (driver_move_streams(move, topology, node)) {
            bool enters = !ring_replicas_contain(&range->replicas, node);
            bool entered = driver_move_state(move, node)->entered == move->session;
            all_entered = all_entered && (!enters || entered);
            wait->nodes[wait->node_count++] = node;
        }
    }
    if (wait->node_count == 0 || MUTANT(READ_NEW_BEFORE_STREAM)) {
        return true;
    }
    wait->type = all_entered ? DRIVER_WAIT_STREAM : DRIVER_WAIT_ENTER;
    return false;
}

/* The operation cannot get to READ_NEW any more, and another one can. */
static bool must_go_back(const struct driver_move *move, const struct topology *topology,
                         const struct driver_health *health)
{
    const struct topology_range *range = &topology->ranges[move->range];
    if (topology_range_goes_back(range)) {
        return true;
    }
    for (uint32_t index = 0; index < range->next.count; index++) {
        uint32_t node = range->next.ids[index];
        if (!driver_move_streams(move, topology, node)) {
            continue;
        }
        bool enters = !ring_replicas_contain(&range->replicas, node);
        if (is_lost(topology, node) || (enters && !ring_replicas_contain(&range->goal, node))) {
            return true; /* Nobody wants it there any more: it may never come to be. */
        }
        struct topology_sources sources;
        topology_sources(topology, range, node, &sources);
        if (range->merge_all || sources.count != 1) {
            continue; /* It takes a majority of those that are there. */
        }
        if (is_lost(topology, sources.ids[0]) || health->gone(health->context, sources.ids[0]) ||
            driver_move_state(move, node)->problem == STATUS_CORRUPT) {
            return true;
        }
    }
    return false;
}

static struct driver_wait read_old_next(const struct driver_move *move,
                                        const struct topology *topology,
                                        const struct driver_health *health)
{
    struct driver_wait wait = {.step = TOPOLOGY_BACK};
    if (must_go_back(move, topology, health)) {
        return wait;
    }
    wait.step = TOPOLOGY_READ_NEW;
    if (!barrier_counts(move, topology, &wait)) {
        return wait;
    }
    wait = (struct driver_wait){.step = TOPOLOGY_READ_NEW};
    bool over = streams_are_over(move, topology, &wait);
    ASSERT(over == (wait.type == DRIVER_WAIT_NONE));
    return wait;
}

struct driver_wait driver_move_next(const struct driver_move *move, const struct topology *topology,
                                    const struct driver_health *health)
{
    const struct topology_range *range = &topology->ranges[move->range];
    ASSERT(range->session == move->session);
    ASSERT(range->epoch == move->epoch);
    if (range->stage == TOPOLOGY_WRITE_BOTH_READ_OLD) {
        return read_old_next(move, topology, health);
    }
    ASSERT(range->stage == TOPOLOGY_WRITE_BOTH_READ_NEW);
    struct driver_wait wait = {.step = TOPOLOGY_FINISH};
    bool counts = barrier_counts(move, topology, &wait);
    if (!counts && MUTANT(FINISH_WITHOUT_BARRIER)) {
        wait.type = DRIVER_WAIT_NONE;
    }
    return wait;
}

bool driver_move_asks(const struct driver_move *move, const struct topology *topology,
                      uint32_t node)
{
    bool concerned = false;
    for (uint32_t index = 0; index < move->fact_count; index++) {
        concerned = concerned || move->facts[index].node == node;
    }
    if (!concerned || is_lost(topology, node)) {
        return false;
    }
    struct driver_wait wait = {0};
    return driver_move_streams(move, topology, node) ||
           (!is_fenced(move, topology, node) && !barrier_counts(move, topology, &wait));
}
