/*
 * tests/unit/test_topology_walk.c -- whatever is staged, committed, aborted and stepped, in
 * whatever order, on random clusters: every invariant holds, and what a plan aims at is reached.
 *
 * Two machines are fed the same commands; one of them is now and then thrown away and made anew
 * from the other's snapshot. What a command may change of a range is checked here from the rules of
 * docs/decisions/0011-ownership-changes-range-by-range.md, never by asking the code under test.
 */
#include "base/memory.h"
#include "base/prng.h"
#include "tests/unit/topology_fixture.h"

#define SEED_COUNT 150
#define COMMAND_COUNT 250
#define RANGE_COUNT_MAX 32
#define MEMBER_COUNT_MAX 12
#define ZONE_COUNT 4

struct walk {
    uint64_t seed;
    struct prng prng;
    struct topology topology;
    struct topology twin;
    struct buffer before;
    struct buffer after;
    struct topology_range ranges[RANGE_COUNT_MAX]; /* As before the command. */
    struct ring_replicas aims[RANGE_COUNT_MAX];
    bool aimed;              /* Whether `aims` says where all ranges must end. */
    uint32_t accepted_count; /* Commands that were applied. */
};

static uint32_t draw(struct walk *walk, uint32_t bound)
{
    return (uint32_t)prng_below(&walk->prng, bound);
}

static uint32_t draw_member(struct walk *walk)
{
    return walk->topology.members[draw(walk, walk->topology.member_count)].id;
}

static struct topology_member walk_member(struct walk *walk, uint32_t id)
{
    struct topology_member member = member_make(id);
    snprintf(member.zone, sizeof(member.zone), "zone-%u", draw(walk, ZONE_COUNT));
    member.weight = 1 + draw(walk, 3);
    member.disk_id = draw(walk, 2) == 0 ? 0 : 1000 + id;
    return member;
}

/* ------------------------------------------------------------------ what must hold */

static void check_range(const struct walk *walk, uint32_t index)
{
    const struct topology_range *was = &walk->ranges[index];
    const struct topology_range *is = &walk->topology.ranges[index];
    bool moved = !ring_replicas_same(&was->replicas, &is->replicas);
    bool stepped = was->stage != is->stage || was->session != is->session ||
                   memcmp(&was->next, &is->next, sizeof(is->next)) != 0 || moved;
    cr_assert_eq(stepped, is->epoch != was->epoch, "seed %lu range %u", walk->seed, index);
    cr_assert(!stepped || is->epoch == walk->topology.stamp.epoch, "seed %lu range %u", walk->seed,
              index);
    if (moved) {
        cr_assert_not(is->loss_accepted, "seed %lu range %u", walk->seed, index);
        cr_assert_eq(was->stage, TOPOLOGY_WRITE_BOTH_READ_NEW, "seed %lu range %u", walk->seed,
                     index);
        cr_assert(ring_replicas_same(&was->next, &is->replicas), "seed %lu range %u", walk->seed,
                  index);
    }
    if (was->stage == TOPOLOGY_WRITE_BOTH_READ_NEW) {
        cr_assert(is->stage == was->stage || ring_replicas_same(&was->next, &is->replicas),
                  "seed %lu range %u went back", walk->seed, index);
    }
}

static void check_applied(struct walk *walk)
{
    struct topology read;
    topology_init(&read);
    cr_assert_eq(topology_decode(&read, buffer_slice(&walk->after)), STATUS_OK,
                 "seed %lu epoch %lu", walk->seed, walk->topology.stamp.epoch);
    if (draw(walk, 8) == 0) {
        topology_deinit(&walk->twin);
        walk->twin = read;
        topology_init(&read);
    }
    topology_deinit(&read);
    for (uint32_t i = 0; i < walk->topology.range_count; i++) {
        check_range(walk, i);
    }
    walk->accepted_count++;
}

static bool walk_apply(struct walk *walk, const struct topology_command *command)
{
    struct buffer bytes = {0};
    struct buffer other = {0};
    const char *reason = "";
    const char *twin_reason = "";
    topology_command_encode(&bytes, command);
    snapshot(&walk->topology, &walk->before);
    memcpy(walk->ranges, walk->topology.ranges,
           walk->topology.range_count * sizeof(walk->ranges[0]));
    enum status status = topology_apply(&walk->topology, buffer_slice(&bytes), &reason);
    enum status twin = topology_apply(&walk->twin, buffer_slice(&bytes), &twin_reason);
    cr_assert_eq(status, twin, "seed %lu: %s and %s", walk->seed, reason, twin_reason);
    cr_assert(status == STATUS_OK || status == STATUS_REFUSED, "seed %lu: %s", walk->seed,
              status_name(status));
    snapshot(&walk->topology, &walk->after);
    snapshot(&walk->twin, &other);
    cr_assert(slice_equal(buffer_slice(&walk->after), buffer_slice(&other)), "seed %lu",
              walk->seed);
    if (status == STATUS_OK) {
        check_applied(walk);
    } else {
        cr_assert(slice_equal(buffer_slice(&walk->before), buffer_slice(&walk->after)),
                  "seed %lu: refused, and changed something: %s", walk->seed, reason);
    }
    buffer_deinit(&bytes);
    buffer_deinit(&other);
    return status == STATUS_OK;
}

/* ------------------------------------------------------------------ where plans lead */

static struct ring_replicas home_of(const struct topology_range *range)
{
    bool back = range->stage == TOPOLOGY_WRITE_BOTH_READ_OLD &&
                ring_replicas_same(&range->goal, &range->replicas);
    return range->stage == TOPOLOGY_STABLE || back ? range->replicas : range->next;
}

/* After a commit: by placement, from where every range was on the way to be before it. */
static void aims_compute(struct walk *walk, const struct ring_replicas *homes)
{
    const struct topology *topology = &walk->topology;
    struct ring_node nodes[RING_MEMBER_COUNT_MAX] = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct topology_member *member = &topology->members[i];
        if (member->state == TOPOLOGY_ACTIVE) {
            nodes[count].id = member->id;
            nodes[count].weight = member->weight;
            memcpy(nodes[count++].zone, member->zone, sizeof(member->zone));
        }
    }
    const struct ring_input input = {.nodes = nodes,
                                     .node_count = count,
                                     .range_count = topology->range_count,
                                     .replica_count = topology->replica_count,
                                     .current = homes};
    cr_assert_eq(ring_place(&input, walk->aims), STATUS_OK, "seed %lu", walk->seed);
    walk->aimed = true;
}

static bool plan_is_placed(const struct topology_plan *plan)
{
    bool placed = false;
    for (uint32_t i = 0; i < plan->change_count; i++) {
        enum topology_change_type type = plan->changes[i].type;
        if (type == TOPOLOGY_MOVE) {
            return false;
        }
        placed = placed || type != TOPOLOGY_REPLACE;
    }
    return placed;
}

static void walk_commit(struct walk *walk)
{
    struct ring_replicas homes[RANGE_COUNT_MAX];
    bool placed = plan_is_placed(&walk->topology.staged);
    for (uint32_t i = 0; i < walk->topology.range_count; i++) {
        homes[i] = home_of(&walk->topology.ranges[i]);
    }
    const struct topology_command command = {.type = TOPOLOGY_PLAN_COMMIT,
                                             .plan_id = walk->topology.staged.id};
    if (walk_apply(walk, &command)) {
        walk->aimed = false;
        if (placed) {
            aims_compute(walk, homes);
        }
    }
}

/* ------------------------------------------------------------------ random commands */

static void walk_stage(struct walk *walk)
{
    struct topology_change change = {
        .type = (enum topology_change_type)(TOPOLOGY_JOIN + draw(walk, TOPOLOGY_FACTOR)),
        .id = draw_member(walk),
        .to_id = draw_member(walk),
        .weight = draw(walk, 4),
        .range = draw(walk, walk->topology.range_count),
        .replica_count = 1 + draw(walk, 5),
    };
    snprintf(change.zone, sizeof(change.zone), "zone-%u", draw(walk, ZONE_COUNT));
    const struct topology_command command = stage_command(change);
    (void)walk_apply(walk, &command);
}

static void walk_abort(struct walk *walk)
{
    const struct topology_command command = {.type = TOPOLOGY_PLAN_ABORT,
                                             .plan_id = walk->topology.running.id};
    if (walk_apply(walk, &command)) {
        walk->aimed = false;
    }
}

/* A step that the range's stage allows; BACK rather often. */
static struct topology_step walk_step(struct walk *walk, uint32_t index, bool onward)
{
    const struct topology_range *range = &walk->topology.ranges[index];
    struct topology_step step = {.range = index, .session = range->session};
    bool back = range->stage == TOPOLOGY_WRITE_BOTH_READ_OLD &&
                ring_replicas_same(&range->goal, &range->replicas);
    switch (range->stage) {
    case TOPOLOGY_STABLE:
        step.type = TOPOLOGY_BEGIN;
        step.session = range->epoch;
        step.merge_all = topology_must_merge_all(&walk->topology, range) || draw(walk, 4) == 0;
        break;
    case TOPOLOGY_WRITE_BOTH_READ_OLD:
        step.type = back || (!onward && draw(walk, 4) == 0) ? TOPOLOGY_BACK : TOPOLOGY_READ_NEW;
        break;
    case TOPOLOGY_WRITE_BOTH_READ_NEW:
    default:
        step.type = TOPOLOGY_FINISH;
        break;
    }
    return step;
}

static void walk_steps(struct walk *walk, bool onward)
{
    struct topology_step steps[RANGE_COUNT_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < walk->topology.range_count; i++) {
        const struct topology_range *range = &walk->topology.ranges[i];
        if (range->goal.count > 0 && (onward || draw(walk, 4) == 0)) {
            steps[count++] = walk_step(walk, i, onward);
        }
    }
    if (count > 0) {
        const struct topology_command command = steps_command(steps, count);
        cr_assert(walk_apply(walk, &command), "seed %lu: steps of every stage", walk->seed);
    }
}

static void walk_wild_step(struct walk *walk)
{
    const struct topology_step step = {
        .type = (enum topology_step_type)(TOPOLOGY_BEGIN + draw(walk, TOPOLOGY_BACK)),
        .range = draw(walk, walk->topology.range_count + 1),
        .session = draw(walk, (uint32_t)walk->topology.stamp.epoch + 1),
        .merge_all = draw(walk, 2) == 0,
    };
    const struct topology_command command = steps_command(&step, 1);
    (void)walk_apply(walk, &command);
}

static void walk_member_command(struct walk *walk)
{
    struct topology_command command = {.type = TOPOLOGY_MEMBER_REMOVE,
                                       .member = {.id = draw_member(walk)}};
    if (walk->topology.member_count < MEMBER_COUNT_MAX && draw(walk, 2) == 0) {
        command.type = TOPOLOGY_MEMBER_ADD;
        command.member = walk_member(walk, 1 + draw(walk, 40));
    }
    (void)walk_apply(walk, &command);
}

/* Votes go to members that stay, so that those that leave can be removed. */
static void walk_voters(struct walk *walk)
{
    for (uint32_t i = 0; i < walk->topology.member_count; i++) {
        if (walk->topology.members[i].state == TOPOLOGY_ACTIVE) {
            const struct topology_command command = {
                .type = TOPOLOGY_VOTERS, .voters = &walk->topology.members[i].id, .voter_count = 1};
            (void)walk_apply(walk, &command);
            return;
        }
    }
    cr_assert_fail("seed %lu: no active member", walk->seed);
}

static void walk_loss(struct walk *walk)
{
    uint32_t range =
        draw(walk, 2) == 0 ? TOPOLOGY_RANGE_ALL : draw(walk, walk->topology.range_count);
    const struct topology_command command = {
        .type = TOPOLOGY_ACCEPT_LOSS, .plan_id = walk->topology.running.id, .range = range};
    (void)walk_apply(walk, &command);
}

static void walk_once(struct walk *walk)
{
    static void (*const commands[])(struct walk * walk) = {
        walk_stage,  walk_stage, walk_stage,     walk_commit,         walk_member_command,
        walk_voters, walk_loss,  walk_wild_step, walk_member_command,
    };
    uint32_t which = draw(walk, 2 * ARRAY_COUNT(commands) + 1);
    if (which < ARRAY_COUNT(commands)) {
        commands[which](walk);
    } else if (which < 2 * ARRAY_COUNT(commands)) {
        walk_steps(walk, false);
    } else {
        walk_abort(walk);
    }
}

/* ------------------------------------------------------------------ from start to end */

static void walk_init(struct walk *walk, uint64_t seed)
{
    memset(walk, 0, sizeof(*walk));
    walk->seed = seed;
    prng_init(&walk->prng, seed);
    topology_init(&walk->topology);
    topology_init(&walk->twin);
    struct topology_member members[6];
    uint32_t count = 1 + draw(walk, ARRAY_COUNT(members));
    for (uint32_t i = 0; i < count; i++) {
        members[i] = walk_member(walk, i + 1);
        members[i].voter = i == 0;
    }
    const struct topology_keyspace keyspace = {
        .number = 1, .class = TOPOLOGY_EVENTUAL, .name = "fast"};
    const struct topology_command command = {.type = TOPOLOGY_BOOTSTRAP,
                                             .cluster_id = 1 + seed,
                                             .replica_count = 1 + draw(walk, count < 3 ? count : 3),
                                             .range_count = 8u << draw(walk, 3),
                                             .members = members,
                                             .member_count = count,
                                             .keyspaces = &keyspace,
                                             .keyspace_count = 1};
    struct buffer bytes = {0};
    const char *reason;
    topology_command_encode(&bytes, &command);
    cr_assert_eq(topology_apply(&walk->topology, buffer_slice(&bytes), &reason), STATUS_OK);
    cr_assert_eq(topology_apply(&walk->twin, buffer_slice(&bytes), &reason), STATUS_OK);
    buffer_deinit(&bytes);
}

/* A plan that places everything anew, whatever is under way. */
static void walk_last_plan(struct walk *walk)
{
    const struct topology_command clear = {.type = TOPOLOGY_PLAN_CLEAR};
    (void)walk_apply(walk, &clear);
    for (uint32_t i = 0; i < walk->topology.member_count; i++) {
        const struct topology_member *member = &walk->topology.members[i];
        const struct topology_command command =
            stage_command((struct topology_change){.type = TOPOLOGY_WEIGHT,
                                                   .id = member->id,
                                                   .weight = member->weight + 1 + draw(walk, 3)});
        if (member->state == TOPOLOGY_ACTIVE) {
            cr_assert(walk_apply(walk, &command), "seed %lu", walk->seed);
        }
    }
    walk_commit(walk);
    cr_assert(walk->aimed, "seed %lu", walk->seed);
}

/* A range may need three operations: one that goes back or ends elsewhere, and one to its goal. */
static void walk_end(struct walk *walk)
{
    walk_voters(walk);
    if (walk->seed % 2 == 0) {
        walk_last_plan(walk);
    }
    for (uint32_t i = 0; i < 7; i++) {
        walk_steps(walk, true);
    }
    for (uint32_t i = walk->topology.member_count; i > 0; i--) {
        if (walk->topology.members[i - 1].state == TOPOLOGY_LEAVING &&
            !topology_member_is_named(&walk->topology, walk->topology.members[i - 1].id)) {
            const struct topology_command command = {
                .type = TOPOLOGY_MEMBER_REMOVE, .member = {.id = walk->topology.members[i - 1].id}};
            cr_assert(walk_apply(walk, &command), "seed %lu", walk->seed);
        }
    }
    for (uint32_t i = 0; i < walk->topology.range_count; i++) {
        const struct topology_range *range = &walk->topology.ranges[i];
        cr_assert_eq(range->goal.count, 0, "seed %lu range %u", walk->seed, i);
        cr_assert_eq(range->stage, TOPOLOGY_STABLE, "seed %lu range %u", walk->seed, i);
        cr_assert(!walk->aimed ||
                      memcmp(&range->replicas, &walk->aims[i], sizeof(range->replicas)) == 0,
                  "seed %lu range %u is not where placement puts it", walk->seed, i);
    }
    cr_assert_eq(walk->topology.running.id, 0, "seed %lu: a plan that does not end", walk->seed);
}

Test(topology_walk, random_plans_keep_every_invariant_and_reach_their_goals)
{
    uint32_t aimed_count = 0;
    uint32_t aborted_count = 0;
    uint32_t lossy_count = 0;
    uint32_t accepted_count = 0;
    for (uint64_t seed = 1; seed <= SEED_COUNT; seed++) {
        struct walk walk;
        walk_init(&walk, seed);
        for (uint32_t i = 0; i < COMMAND_COUNT; i++) {
            walk_once(&walk);
        }
        walk_end(&walk);
        accepted_count += walk.accepted_count;
        aimed_count += walk.aimed ? 1 : 0;
        for (uint32_t i = 0; i < walk.topology.history_count; i++) {
            aborted_count += walk.topology.history[i].outcome == TOPOLOGY_ABORTED ? 1 : 0;
            lossy_count += walk.topology.history[i].loss_count > 0 ? 1 : 0;
        }
        topology_deinit(&walk.topology);
        topology_deinit(&walk.twin);
        buffer_deinit(&walk.before);
        buffer_deinit(&walk.after);
    }
    /* The walk must have been where it is meant to go. */
    cr_assert_gt(aimed_count, SEED_COUNT / 2, "%u", aimed_count);
    cr_assert_gt(aborted_count, SEED_COUNT / 3, "%u", aborted_count);
    cr_assert_gt(lossy_count, 0, "%u", lossy_count);
    cr_assert_gt(accepted_count, SEED_COUNT * COMMAND_COUNT / 3, "%u", accepted_count);
}
