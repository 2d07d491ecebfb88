/*
 * tools/bench/bench_ring.c -- what ownership costs to decide: placement, plans, steps, snapshots.
 *
 * A cluster of NODES members in ZONES zones and RANGES ranges; then one more joins, and every range
 * that moves is taken there by steps. Prints one line a figure; CPU time of the one thread, the
 * best of some runs.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/contract.h"
#include "base/memory.h"
#include "ring/topology.h"

#define REPLICA_COUNT 3u
#define RUN_COUNT 5
#define NS_PER_MS 1e6

struct bench {
    uint32_t node_count;
    uint32_t range_count;
    uint32_t zone_count;
    struct topology topology;
};

static double cpu_ns(void)
{
    struct timespec now;
    int rc = clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    ASSERT(rc == 0);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void report(const char *what, double ns)
{
    (void)printf("%-34s %10.3f ms\n", what, ns / NS_PER_MS);
}

static struct topology_member member_make(const struct bench *bench, uint32_t id)
{
    struct topology_member member = {.id = id, .weight = 1, .voter = id == 1};
    (void)snprintf(member.zone, sizeof(member.zone), "zone-%u", id % bench->zone_count);
    (void)snprintf(member.peer_address, sizeof(member.peer_address), "node-%u.example:7401", id);
    (void)snprintf(member.client_address, sizeof(member.client_address), "node-%u.example:7400",
                   id);
    (void)snprintf(member.admin_address, sizeof(member.admin_address), "node-%u.example:7402", id);
    return member;
}

static void apply(struct topology *topology, const struct topology_command *command)
{
    struct buffer bytes = {0};
    const char *reason = "";
    topology_command_encode(&bytes, command);
    enum status status = topology_apply(topology, buffer_slice(&bytes), &reason);
    if (status != STATUS_OK) {
        (void)fprintf(stderr, "bench_ring: %s: %s\n", status_name(status), reason);
        exit(EXIT_FAILURE);
    }
    buffer_deinit(&bytes);
}

/* The time of one command, on copies of the state. */
static double apply_ns(const struct topology *topology, const struct topology_command *command)
{
    double best = 0;
    for (uint32_t run = 0; run < RUN_COUNT; run++) {
        struct topology copy;
        topology_init(&copy);
        enum status status = topology_copy(&copy, topology);
        ASSERT(status == STATUS_OK);
        double begun = cpu_ns();
        apply(&copy, command);
        double took = cpu_ns() - begun;
        best = run == 0 || took < best ? took : best;
        topology_deinit(&copy);
    }
    return best;
}

static void bench_bootstrap(struct bench *bench)
{
    struct topology_member *members = memory_allocate_zeroed(bench->node_count, sizeof(*members));
    ASSERT(members != NULL);
    for (uint32_t i = 0; i < bench->node_count; i++) {
        members[i] = member_make(bench, i + 1);
    }
    const struct topology_keyspace keyspace = {
        .number = 1, .class = TOPOLOGY_EVENTUAL, .name = "fast"};
    const struct topology_command command = {.type = TOPOLOGY_BOOTSTRAP,
                                             .cluster_id = 1,
                                             .replica_count = REPLICA_COUNT,
                                             .range_count = bench->range_count,
                                             .members = members,
                                             .member_count = bench->node_count,
                                             .keyspaces = &keyspace,
                                             .keyspace_count = 1};
    report("bootstrap, its placement included", apply_ns(&bench->topology, &command));
    apply(&bench->topology, &command);
    memory_free(members);
}

static void bench_join(struct bench *bench)
{
    struct topology *topology = &bench->topology;
    uint32_t id = bench->node_count + 1;
    apply(topology, &(struct topology_command){.type = TOPOLOGY_MEMBER_ADD,
                                               .member = member_make(bench, id)});
    struct topology_command command = {.type = TOPOLOGY_PLAN_STAGE,
                                       .change = {.type = TOPOLOGY_JOIN, .id = id}};
    report("stage a join", apply_ns(topology, &command));
    apply(topology, &command);
    struct topology_preview preview;
    const char *reason = "";
    double begun = cpu_ns();
    enum status status = topology_preview_init(&preview, topology, &reason);
    report("preview of it", cpu_ns() - begun);
    ASSERT(status == STATUS_OK);
    (void)printf("%-34s %10u of at least %u\n", "replicas to copy", preview.move_count,
                 preview.move_count_min);
    topology_preview_deinit(&preview);
    command =
        (struct topology_command){.type = TOPOLOGY_PLAN_COMMIT, .plan_id = topology->staged.id};
    report("commit it", apply_ns(topology, &command));
    apply(topology, &command);
}

/* The next step of up to a command's worth of ranges. */
static uint32_t steps_due(const struct topology *topology, struct topology_step *steps)
{
    static const enum topology_step_type types[] = {TOPOLOGY_BEGIN, TOPOLOGY_READ_NEW,
                                                    TOPOLOGY_FINISH};
    uint32_t count = 0;
    for (uint32_t i = 0; i < topology->range_count && count < TOPOLOGY_STEP_COUNT_MAX; i++) {
        const struct topology_range *range = &topology->ranges[i];
        if (range->goal.count > 0) {
            bool stable = range->stage == TOPOLOGY_STABLE;
            steps[count++] =
                (struct topology_step){.type = types[range->stage],
                                       .range = i,
                                       .session = stable ? range->epoch : range->session};
        }
    }
    return count;
}

static void bench_steps(struct bench *bench)
{
    struct topology_step steps[TOPOLOGY_STEP_COUNT_MAX];
    uint32_t command_count = 0;
    uint32_t step_count = 0;
    double begun = cpu_ns();
    for (uint32_t count; (count = steps_due(&bench->topology, steps)) > 0; command_count++) {
        apply(&bench->topology, &(struct topology_command){
                                    .type = TOPOLOGY_STEPS, .steps = steps, .step_count = count});
        step_count += count;
    }
    report("all steps of it", cpu_ns() - begun);
    (void)printf("%-34s %10u in %u commands\n", "steps", step_count, command_count);
}

static void bench_snapshot(struct bench *bench, const char *what)
{
    struct buffer bytes = {0};
    struct topology read;
    topology_init(&read);
    double begun = cpu_ns();
    topology_encode(&bytes, &bench->topology);
    double encoded = cpu_ns();
    enum status status = topology_decode(&read, buffer_slice(&bytes));
    double decoded = cpu_ns();
    ASSERT(status == STATUS_OK);
    (void)printf("snapshot %-25s %10zu bytes, written in %.3f ms, read in %.3f ms\n", what,
                 bytes.size, (encoded - begun) / NS_PER_MS, (decoded - encoded) / NS_PER_MS);
    topology_deinit(&read);
    buffer_deinit(&bytes);
}

static uint32_t argument(int argc, char **argv, int index, uint32_t otherwise)
{
    return argc > index ? (uint32_t)strtoul(argv[index], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    static struct bench bench;
    bench.node_count = argument(argc, argv, 1, 100);
    bench.range_count = argument(argc, argv, 2, RING_RANGE_COUNT_DEFAULT);
    bench.zone_count = argument(argc, argv, 3, 3);
    if (bench.node_count < REPLICA_COUNT || bench.node_count >= RING_MEMBER_COUNT_MAX ||
        bench.zone_count == 0) {
        (void)fprintf(stderr, "usage: bench_ring [NODES [RANGES [ZONES]]]\n");
        return EXIT_FAILURE;
    }
    (void)printf("nodes=%u ranges=%u zones=%u replicas=%u runs=%d\n", bench.node_count,
                 bench.range_count, bench.zone_count, REPLICA_COUNT, RUN_COUNT);
    topology_init(&bench.topology);
    bench_bootstrap(&bench);
    bench_join(&bench);
    bench_snapshot(&bench, "with every goal");
    bench_steps(&bench);
    bench_snapshot(&bench, "at rest");
    topology_deinit(&bench.topology);
    return EXIT_SUCCESS;
}
