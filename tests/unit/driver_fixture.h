/*
 * tests/unit/driver_fixture.h -- a driver, the topology it drives, and nodes that say what a test
 * wants.
 *
 * Time stands still until the test moves it. A proposal waits until the test commits it, a question
 * until the test has the node answer.
 */
#ifndef TESTS_UNIT_DRIVER_FIXTURE_H
#define TESTS_UNIT_DRIVER_FIXTURE_H

#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "node/driver.h"

#define LAB_NODE_COUNT_MAX 8
#define LAB_RANGE_COUNT 64
#define LAB_ROUND_COUNT_MAX 2000

struct lab {
    struct env env;
    struct env_ops ops;
    uint64_t now_ms;
    struct env_timer *timer; /* NULL while it does not run. */
    uint64_t timer_due_ms;
    uint64_t chance;
    struct topology topology;
    struct driver *driver;
    struct driver_options options;
    /* The proposal under way. */
    bool proposed;
    struct buffer command;
    const char *reason;
    uint32_t command_count; /* Committed with success, of the driver's. */
    /* Of node N at [N]. */
    struct driver_ask *asks[LAB_NODE_COUNT_MAX + 1];
    uint64_t silence_ms[LAB_NODE_COUNT_MAX + 1];
    uint32_t ask_count;
    /* What nodes say; 0 where `truthful`: then that they did all they had to. */
    struct message_range_state said[LAB_NODE_COUNT_MAX + 1][LAB_RANGE_COUNT];
    bool truthful[LAB_NODE_COUNT_MAX + 1];
    bool votes[LAB_NODE_COUNT_MAX + 1]; /* By the Raft group; the topology may not know. */
    uint64_t bytes_done;                /* What every stream carried. */
};

static struct lab lab;

/* ------------------------------------------------------------------ the world */

static uint64_t lab_monotonic_ns(struct env *env)
{
    (void)env;
    return lab.now_ms * UINT64_C(1000000);
}

static uint64_t lab_random(struct env *env)
{
    (void)env;
    return ++lab.chance;
}

static void lab_log(struct env *env, enum log_level level, struct slice line)
{
    (void)env;
    (void)level;
    (void)line;
}

static void lab_timer_start(struct env *env, struct env_timer *timer, uint64_t delay_ns)
{
    (void)env;
    lab.timer = timer;
    lab.timer_due_ms = lab.now_ms + delay_ns / UINT64_C(1000000);
}

static void lab_timer_stop(struct env *env, struct env_timer *timer)
{
    (void)env;
    (void)timer;
    lab.timer = NULL;
}

/* ------------------------------------------------------------------ the driver's events */

static enum status lab_propose(void *context, struct slice command)
{
    (void)context;
    cr_assert_not(lab.proposed, "two proposals at a time");
    lab.proposed = true;
    buffer_clear(&lab.command);
    buffer_append_slice(&lab.command, command);
    return STATUS_OK;
}

static enum status lab_ask(void *context, struct driver_ask *ask)
{
    (void)context;
    cr_assert_leq(ask->node, LAB_NODE_COUNT_MAX);
    cr_assert_null(lab.asks[ask->node], "two questions to node %u at a time", ask->node);
    cr_assert_gt(ask->range_count, 0u);
    lab.asks[ask->node] = ask;
    lab.ask_count++;
    return STATUS_OK;
}

static void lab_forget(void *context, struct driver_ask *ask)
{
    (void)context;
    cr_assert_eq(lab.asks[ask->node], ask);
    lab.asks[ask->node] = NULL;
}

static uint64_t lab_silence_ms(void *context, uint32_t node)
{
    (void)context;
    return lab.silence_ms[node];
}

static inline bool lab_votes(void *context, uint32_t node)
{
    (void)context;
    cr_assert_leq(node, LAB_NODE_COUNT_MAX);
    return lab.votes[node];
}

static const struct driver_events lab_events = {
    .propose = lab_propose,
    .ask = lab_ask,
    .forget = lab_forget,
    .silence_ms = lab_silence_ms,
    .votes = lab_votes,
};

/* ------------------------------------------------------------------ time */

/* The timer fires as often as it is due now. */
static inline void lab_run(void)
{
    for (int round = 0; lab.timer != NULL && lab.timer_due_ms <= lab.now_ms; round++) {
        cr_assert_lt(round, LAB_ROUND_COUNT_MAX, "the timer never rests");
        struct env_timer *timer = lab.timer;
        lab.timer = NULL;
        timer->fired(timer);
    }
}

static inline void lab_pass(uint64_t duration_ms)
{
    for (uint64_t end_ms = lab.now_ms + duration_ms; lab.now_ms < end_ms;) {
        lab_run();
        lab.now_ms++;
    }
    lab_run();
}

/* ------------------------------------------------------------------ the topology */

static inline struct topology_member lab_member(uint32_t id)
{
    struct topology_member member = {.id = id, .weight = 1, .disk_id = 1000 + id};
    (void)snprintf(member.zone, sizeof(member.zone), "default");
    (void)snprintf(member.peer_address, sizeof(member.peer_address), "node-%u:7401", id);
    (void)snprintf(member.client_address, sizeof(member.client_address), "node-%u:7400", id);
    (void)snprintf(member.admin_address, sizeof(member.admin_address), "node-%u:7402", id);
    return member;
}

static inline enum status lab_try(struct topology_command command)
{
    struct buffer bytes = {0};
    command.request_id = ++lab.chance;
    topology_command_encode(&bytes, &command);
    cr_assert_eq(buffer_status(&bytes), STATUS_OK);
    enum status status = topology_apply(&lab.topology, buffer_slice(&bytes), &lab.reason);
    buffer_deinit(&bytes);
    if (status == STATUS_OK && lab.driver != NULL) {
        driver_adopted(lab.driver);
    }
    return status;
}

static inline void lab_apply(struct topology_command command)
{
    enum status status = lab_try(command);
    cr_assert_eq(status, STATUS_OK, "%s: %s", status_name(status), lab.reason);
}

static inline void lab_add(uint32_t id)
{
    lab_apply((struct topology_command){.type = TOPOLOGY_MEMBER_ADD, .member = lab_member(id)});
}

static inline void lab_stage(struct topology_change change)
{
    lab_apply((struct topology_command){.type = TOPOLOGY_PLAN_STAGE, .change = change});
}

static inline void lab_commit_plan(void)
{
    lab_apply(
        (struct topology_command){.type = TOPOLOGY_PLAN_COMMIT, .plan_id = lab.topology.staged.id});
}

/* Members `ids` vote, and no others. */
static inline void lab_voters(const uint32_t *ids, uint32_t count)
{
    lab_apply(
        (struct topology_command){.type = TOPOLOGY_VOTERS, .voters = ids, .voter_count = count});
}

static inline void lab_join(uint32_t id)
{
    lab_add(id);
    lab_stage((struct topology_change){.type = TOPOLOGY_JOIN, .id = id});
    lab_commit_plan();
}

/* Members 1 to `member_count`, the first `replica_count` of them voting. */
static inline void lab_topology(uint32_t member_count, uint32_t replica_count)
{
    memset(&lab, 0, sizeof(lab));
    lab.ops = (struct env_ops){.monotonic_ns = lab_monotonic_ns,
                               .random_u64 = lab_random,
                               .log_write = lab_log,
                               .timer_start = lab_timer_start,
                               .timer_stop = lab_timer_stop};
    lab.env.ops = &lab.ops;
    lab.now_ms = 1000000;
    struct topology_member members[LAB_NODE_COUNT_MAX];
    for (uint32_t index = 0; index < member_count; index++) {
        members[index] = lab_member(index + 1);
        members[index].voter = index < 3;
    }
    const struct topology_keyspace keyspace = {
        .number = 1, .class = TOPOLOGY_EVENTUAL, .name = "fast"};
    topology_init(&lab.topology);
    lab_apply((struct topology_command){.type = TOPOLOGY_BOOTSTRAP,
                                        .cluster_id = 1,
                                        .generation_id = 1,
                                        .replica_count = replica_count,
                                        .range_count = LAB_RANGE_COUNT,
                                        .members = members,
                                        .member_count = member_count,
                                        .keyspaces = &keyspace,
                                        .keyspace_count = 1});
}

static inline void lab_driver(uint32_t moves_max, uint32_t streams_max)
{
    lab.options = (struct driver_options){.topology = &lab.topology,
                                          .moves_max = moves_max,
                                          .streams_max = streams_max,
                                          .events = &lab_events};
    cr_assert_eq(driver_open(&lab.env, &lab.options, &lab.driver), STATUS_OK);
    for (uint32_t id = 1; id <= LAB_NODE_COUNT_MAX; id++) {
        lab.truthful[id] = true;
    }
}

static inline void lab_driver_close(void)
{
    driver_stop(lab.driver);
    driver_close(lab.driver);
    lab.driver = NULL;
}

static inline void lab_end(void)
{
    lab_driver_close();
    topology_deinit(&lab.topology);
    buffer_deinit(&lab.command);
}

/* ------------------------------------------------------------------ what follows */

/* The proposal under way comes to be: STATUS_OK, or what the topology says of it. */
static inline enum status lab_commit(void)
{
    cr_assert(lab.proposed, "nothing was proposed");
    lab.proposed = false;
    enum status status = topology_apply(&lab.topology, buffer_slice(&lab.command), &lab.reason);
    lab.command_count += status == STATUS_OK ? 1 : 0;
    driver_adopted(lab.driver);
    driver_proposed(lab.driver, status, lab.reason);
    lab_run();
    return status;
}

/* Whether what is under way has a step of this range: judged by what it would change. */
static inline bool lab_proposes(uint32_t range)
{
    struct topology after;
    topology_init(&after);
    cr_assert_eq(topology_copy(&after, &lab.topology), STATUS_OK);
    enum status status = topology_apply(&after, buffer_slice(&lab.command), &lab.reason);
    cr_assert_eq(status, STATUS_OK, "%s: %s", status_name(status), lab.reason);
    bool touched = after.ranges[range].epoch != lab.topology.ranges[range].epoch;
    topology_deinit(&after);
    return touched;
}

static inline struct message_range_state lab_state(uint32_t node, uint32_t range)
{
    const struct topology_range *at = &lab.topology.ranges[range];
    if (!lab.truthful[node]) {
        struct message_range_state state = lab.said[node][range];
        state.range = range;
        return state;
    }
    return (struct message_range_state){.range = range,
                                        .fence = at->epoch,
                                        .entered = at->session,
                                        .streamed = at->session,
                                        .bytes_done = lab.bytes_done};
}

/* Node answers, if it was asked; what follows from it waits for lab_run(). */
static inline void lab_answer(uint32_t node)
{
    struct driver_ask *ask = lab.asks[node];
    if (ask == NULL) {
        return;
    }
    struct message_range_state states[LAB_RANGE_COUNT];
    for (uint32_t index = 0; index < ask->range_count; index++) {
        states[index] = lab_state(node, ask->ranges[index]);
    }
    lab.asks[node] = NULL;
    ask->done(ask, STATUS_OK, states);
}

static inline void lab_answer_all(void)
{
    for (uint32_t node = 1; node <= LAB_NODE_COUNT_MAX; node++) {
        lab_answer(node);
    }
    lab_run();
}

/* All goes well, until nothing more is proposed or `command_count_max` commands were. Returns how
 * many were. */
static inline uint32_t lab_drive(uint32_t command_count_max)
{
    uint32_t begun = lab.command_count;
    for (int idle = 0; idle < 20 && lab.command_count - begun < command_count_max;) {
        lab_run();
        lab_answer_all();
        if (lab.proposed) {
            enum status status = lab_commit();
            cr_assert_eq(status, STATUS_OK, "%s: %s", status_name(status), lab.reason);
            idle = 0;
        } else {
            lab_pass(10);
            idle++;
        }
    }
    return lab.command_count - begun;
}

static inline uint32_t lab_count(enum topology_stage stage)
{
    uint32_t count = 0;
    for (uint32_t range = 0; range < LAB_RANGE_COUNT; range++) {
        count += lab.topology.ranges[range].stage == stage ? 1 : 0;
    }
    return count;
}

static inline uint32_t lab_goal_count(void)
{
    uint32_t count = 0;
    for (uint32_t range = 0; range < LAB_RANGE_COUNT; range++) {
        count += lab.topology.ranges[range].goal.count > 0 ? 1 : 0;
    }
    return count;
}

/* The first range with a goal, or in an operation. */
static inline uint32_t lab_range(void)
{
    uint32_t range = 0;
    while (range < LAB_RANGE_COUNT && lab.topology.ranges[range].goal.count == 0) {
        range++;
    }
    cr_assert_lt(range, LAB_RANGE_COUNT);
    return range;
}

#endif
