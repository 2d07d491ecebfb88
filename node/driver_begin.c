/*
 * node/driver_begin.c -- chooses which ranges begin to move, and from whom they stream.
 *
 * How many at a time: a range in an operation costs every write two quorums, so none should wait
 * there for its turn to stream; but with little to stream, waiting for steps is all there is. So
 * each node has a window, as a sender of TCP has: it begins at the number of streams configured,
 * grows with each stream that carried next to nothing, and falls back with the first that carries
 * more.
 * Nothing is begun with a node that is down: it would only make writes wait for it.
 */
#include "node/driver_internal.h"

#define LIGHT_SIZE (UINT64_C(1) << 20) /* A stream of less is next to nothing. */

struct choice {
    struct driver *driver;
    const struct topology *topology;
    struct topology_range range; /* As it would be in the operation. */
};

static bool is_down(const struct driver *driver, uint32_t node)
{
    return driver_silence_ms(driver, node) >= DRIVER_DOWN_MS;
}

static bool is_lost(const struct topology *topology, uint32_t node)
{
    const struct topology_member *member = topology_member_find(topology, node);
    return member == NULL || member->lost;
}

static bool is_corrupt(const struct driver *driver, uint32_t range)
{
    return (driver->corrupt[range / 8] & BIT(range % 8)) != 0;
}

/* One source alone is enough for each that enters, and each such source can be had. */
static bool pairs_will_do(const struct choice *choice, uint32_t range)
{
    const struct topology_range *as = &choice->range;
    if (as->loss_accepted || as->next.count != as->replicas.count ||
        is_corrupt(choice->driver, range)) {
        return false;
    }
    for (uint32_t index = 0; index < as->next.count; index++) {
        struct topology_sources sources;
        topology_sources(choice->topology, as, as->next.ids[index], &sources);
        for (uint32_t at = 0; at < sources.count; at++) {
            if (is_lost(choice->topology, sources.ids[at]) ||
                is_down(choice->driver, sources.ids[at])) {
                return false;
            }
        }
    }
    return true;
}

/* Counts who is down; the first of them is remembered. */
static bool enough_are_up(struct driver *driver, const struct ring_replicas *set, uint32_t needed,
                          uint32_t *missing)
{
    uint32_t up = 0;
    for (uint32_t index = 0; index < set->count; index++) {
        if (!is_down(driver, set->ids[index]) &&
            !is_lost(driver->options.topology, set->ids[index])) {
            up++;
        } else if (*missing == 0) {
            *missing = set->ids[index];
        }
    }
    return up >= needed;
}

/* The operation has, as things are, what it takes to end; else *missing is who it lacks. */
static bool is_promising(const struct choice *choice, uint32_t *missing)
{
    const struct topology_range *as = &choice->range;
    struct driver *driver = choice->driver;
    struct topology_barrier barrier = topology_barrier_of(choice->topology, as);
    *missing = 0;
    if (!enough_are_up(driver, &as->replicas, barrier.replicas, missing) ||
        !enough_are_up(driver, &as->next, barrier.next, missing)) {
        return false;
    }
    for (uint32_t index = 0; index < as->next.count; index++) {
        struct topology_sources sources;
        uint32_t target = as->next.ids[index];
        topology_sources(choice->topology, as, target, &sources);
        if (sources.need > 0 && is_down(driver, target)) {
            *missing = target;
            return false;
        }
        struct ring_replicas from = {.count = (uint8_t)sources.count};
        for (uint32_t at = 0; at < sources.count; at++) {
            from.ids[at] = sources.ids[at];
        }
        *missing = 0;
        if (!enough_are_up(driver, &from, sources.need, missing)) {
            return false;
        }
    }
    return true;
}

/* Those that a stream to `target` keeps busy: its sources, and at last itself. */
static struct driver_node *busy_at(struct driver *driver, const struct topology_sources *sources,
                                   uint32_t target, uint32_t at)
{
    return driver_node_of(driver, at < sources->count ? sources->ids[at] : target);
}

/* Whether all who would stream for the operation have room for it. */
static bool load_fits(const struct choice *choice)
{
    const struct ring_replicas *next = &choice->range.next;
    for (uint32_t index = 0; index < next->count; index++) {
        struct topology_sources sources;
        topology_sources(choice->topology, &choice->range, next->ids[index], &sources);
        for (uint32_t at = 0; sources.need > 0 && at <= sources.count; at++) {
            const struct driver_node *node =
                busy_at(choice->driver, &sources, next->ids[index], at);
            if (node == NULL || node->load >= node->window) {
                return false;
            }
        }
    }
    return true;
}

static void load_add(const struct choice *choice)
{
    const struct ring_replicas *next = &choice->range.next;
    for (uint32_t index = 0; index < next->count; index++) {
        struct topology_sources sources;
        topology_sources(choice->topology, &choice->range, next->ids[index], &sources);
        for (uint32_t at = 0; sources.need > 0 && at <= sources.count; at++) {
            busy_at(choice->driver, &sources, next->ids[index], at)->load++;
        }
    }
}

/* A stream to `target` is under way, or just over. */
static void stream_learn(struct driver *driver, const struct driver_move *move, uint32_t target,
                         bool over)
{
    const struct topology *topology = driver->options.topology;
    bool light = driver_move_state(move, target)->bytes_done < LIGHT_SIZE;
    struct topology_sources sources;
    topology_sources(topology, &topology->ranges[move->range], target, &sources);
    for (uint32_t at = 0; at <= sources.count; at++) {
        struct driver_node *node = busy_at(driver, &sources, target, at);
        if (node == NULL) {
            continue;
        }
        node->load += over ? 0 : 1;
        if (!light) {
            node->window = driver->options.streams_max;
        } else if (over && node->window < driver->options.moves_max) {
            node->window++;
        }
    }
}

void driver_begin_streamed(struct driver *driver, const struct driver_move *move, uint32_t target)
{
    stream_learn(driver, move, target, true);
}

/* What is under way now. */
static void load_count(struct driver *driver)
{
    for (uint32_t index = 0; index < driver->node_count; index++) {
        driver->nodes[index]->load = 0;
        driver->nodes[index]->held_up_count = 0;
    }
    const struct topology *topology = driver->options.topology;
    for (uint32_t index = 0; index < driver->move_count; index++) {
        const struct driver_move *move = &driver->moves[index];
        const struct ring_replicas *next = &topology->ranges[move->range].next;
        for (uint32_t at = 0; at < next->count; at++) {
            if (driver_move_streams(move, topology, next->ids[at])) {
                stream_learn(driver, move, next->ids[at], false);
            }
        }
    }
}

static void held_up(struct driver *driver, uint32_t id)
{
    struct driver_node *node = driver_node_of(driver, id);
    if (node != NULL) {
        node->held_up_count++;
    }
}

/* True: the range may begin, with *merge_all. */
static bool range_may_begin(struct driver *driver, uint32_t range, bool *merge_all)
{
    const struct topology *topology = driver->options.topology;
    struct choice choice = {
        .driver = driver, .topology = topology, .range = topology->ranges[range]};
    choice.range.stage = TOPOLOGY_WRITE_BOTH_READ_OLD;
    choice.range.next = choice.range.goal;
    choice.range.merge_all = false;
    choice.range.merge_all = !pairs_will_do(&choice, range);
    uint32_t missing;
    if (!is_promising(&choice, &missing)) {
        held_up(driver, missing);
        return false;
    }
    if (!load_fits(&choice)) {
        driver->crowded_count++;
        return false;
    }
    load_add(&choice);
    *merge_all = choice.range.merge_all;
    return true;
}

void driver_begin_choose(struct driver *driver, struct driver_steps *steps)
{
    const struct topology *topology = driver->options.topology;
    load_count(driver);
    driver->crowded_count = 0;
    uint32_t in_operation = driver->move_count - steps->finish_count;
    for (uint32_t index = 0; index < topology->range_count; index++) {
        uint32_t at = (driver->cursor + index) % topology->range_count;
        const struct topology_range *range = &topology->ranges[at];
        bool merge_all;
        if (range->stage != TOPOLOGY_STABLE || range->goal.count == 0) {
            continue;
        }
        if (in_operation >= driver->options.moves_max || steps->count >= driver->batch_max) {
            driver->crowded_count++;
            continue;
        }
        if (range_may_begin(driver, at, &merge_all)) {
            steps->steps[steps->count++] = (struct topology_step){.type = TOPOLOGY_BEGIN,
                                                                  .range = at,
                                                                  .merge_all = merge_all,
                                                                  .session = range->epoch};
            in_operation++;
        }
    }
}
