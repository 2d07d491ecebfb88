/*
 * tests/sim/group_sim.c -- raft groups of 1, 3 and 5 servers under faults, in virtual time.
 *
 *   group_sim [--seeds N] [--first SEED] [--milliseconds MS] [--verbose] [--twice]
 *
 * The production code of raft/ over libraft runs on tests/sim/group_lab.h. Each seed draws the size
 * of the group, standbys, snapshot sizes and which faults are on: crashes with and without loss of
 * power, also in the middle of a job, partitions both ways and one way, messages lost, late,
 * doubled and out of order, slow disks, failing disks, clean restarts. Then the faults stop.
 * Checked, for each seed:
 *  (1) at most one leader reports itself in a term;
 *  (2) every server applies the same command at the same index, in order, and no command twice;
 *  (3) a snapshot restores the state that all servers had at its index;
 *  (4) no command whose proposal was answered STATUS_OK is missing from what was applied, and it
 *      was applied here, at the index it was answered with;
 *  (5) `failed` comes only after an injected disk error, and a folder always opens again;
 *  (6) once the faults have stopped all servers reach the same state, and a new command commits.
 * Every seed runs in a child of its own: a crash of the library is a result, not the end.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/contract.h"
#include "base/memory.h"
#include "raft/group.h"
#include "tests/sim/group_lab.h"

#define MILLISECOND UINT64_C(1000000)
#define ELECTION_MS 100
#define HEARTBEAT_MS 20
#define SETTLE_MS 6000
#define INDEX_MAX 200000
#define VALUE_MAX 50000
#define TERM_MAX 100000
#define SEED_SECONDS_MAX 60

enum outcome { OUTCOME_OK, OUTCOME_UNSAFE, OUTCOME_LOST, OUTCOME_NOT_CONVERGED };

struct sim;

struct server {
    struct sim *sim;
    struct lab_host *host;
    struct group *group;
    struct group_stop stop;
    uint64_t applied_index;
    uint64_t applied_count;
    uint64_t applied_hash;
    enum group_role role;
    bool failed;
};

struct sim {
    struct lab lab;
    unsigned server_count;
    unsigned voter_count;
    uint32_t threshold;
    uint32_t trailing;
    bool quiet; /* The faults have stopped. */
    bool power;
    bool fifo;
    bool nervous; /* Servers lose power just after they sent a message, and are back soon. */
    uint32_t loss_ppm;
    uint32_t double_ppm;
    bool cut[LAB_HOST_COUNT_MAX][LAB_HOST_COUNT_MAX];
    uint64_t link_free_ns[LAB_HOST_COUNT_MAX][LAB_HOST_COUNT_MAX];
    uint64_t sequence;
    struct server servers[LAB_HOST_COUNT_MAX];
    /* The oracle. */
    uint64_t chosen[INDEX_MAX];     /* Value applied at an index; 0: none, or no command. */
    uint64_t hash_after[INDEX_MAX]; /* State after it. */
    uint64_t index_of[VALUE_MAX];
    bool acknowledged[VALUE_MAX];
    uint32_t leader_of[TERM_MAX];
    uint64_t value;
    uint64_t last_value_done;
    unsigned violation_count;
    struct {
        uint64_t acknowledged, indeterminate, crashes, elections, snapshots, failures, stops;
    } counts;
};

static void violation(struct sim *sim, const char *what, uint64_t a, uint64_t b)
{
    if (sim->violation_count++ == 0 || sim->lab.verbose) {
        (void)fprintf(stderr, "violation: %s (%llu, %llu) at %.3f ms\n", what,
                      (unsigned long long)a, (unsigned long long)b, (double)sim->lab.now_ns / 1e6);
    }
}

static uint64_t draw(struct sim *sim, uint64_t bound)
{
    return lab_below(&sim->lab, bound);
}

/* ---- the state machine of a server ---- */

static enum status on_applied(void *context, uint64_t index, struct slice command)
{
    struct server *server = context;
    struct sim *sim = server->sim;
    ASSERT(index < INDEX_MAX);
    uint64_t value = command.size >= 8 ? codec_load_u64(command.data) : 0;
    if (value == 0 || value > sim->value || command.size != 8 + value % 50) {
        violation(sim, "a command nobody proposed", index, value);
        return STATUS_OK;
    }
    if (index <= server->applied_index) {
        violation(sim, "applied again", index, server->applied_index);
    }
    server->applied_index = index;
    server->applied_count++;
    server->applied_hash = checksum64(command, server->applied_hash ^ index);
    if (sim->chosen[index] == 0) {
        if (sim->index_of[value] != 0) {
            violation(sim, "one command at two indices", sim->index_of[value], index);
        }
        sim->chosen[index] = value;
        sim->index_of[value] = index;
        sim->hash_after[index] = server->applied_hash;
    } else if (sim->chosen[index] != value) {
        violation(sim, "two commands at one index", sim->chosen[index], value);
    } else if (sim->hash_after[index] != server->applied_hash) {
        violation(sim, "a command was left out before", index, value);
    }
    return STATUS_OK;
}

static void on_snapshot(void *context, struct buffer *to)
{
    struct server *server = context;
    server->sim->counts.snapshots++;
    codec_put_u64(to, server->applied_index);
    codec_put_u64(to, server->applied_count);
    codec_put_u64(to, server->applied_hash);
    while (to->size < 24 + server->applied_count % 3000) {
        codec_put_u8(to, 7); /* Some sizes cross sectors, some do not. */
    }
}

static enum status on_restored(void *context, struct slice snapshot)
{
    struct server *server = context;
    struct sim *sim = server->sim;
    struct codec_reader reader = codec_reader_make(snapshot);
    uint64_t before = server->applied_index;
    server->applied_index = codec_get_u64(&reader);
    server->applied_count = codec_get_u64(&reader);
    server->applied_hash = codec_get_u64(&reader);
    if (!codec_reader_ok(&reader) || server->applied_index < before ||
        (server->applied_index != 0 &&
         sim->hash_after[server->applied_index] != server->applied_hash)) {
        violation(sim, "a snapshot of another state", server->applied_index, before);
    }
    return STATUS_OK;
}

static void on_changed(void *context, enum group_role role, uint32_t leader_id, uint64_t term)
{
    struct server *server = context;
    struct sim *sim = server->sim;
    (void)leader_id;
    server->role = role;
    if (role != GROUP_LEADER) {
        return;
    }
    ASSERT(term < TERM_MAX);
    uint32_t id = server->host->index + 1;
    if (sim->leader_of[term] != 0 && sim->leader_of[term] != id) {
        violation(sim, "two leaders in a term", sim->leader_of[term], id);
    }
    sim->counts.elections += sim->leader_of[term] == 0 ? 1 : 0;
    sim->leader_of[term] = id;
}

static void on_failed(void *context, enum status status)
{
    struct server *server = context;
    server->failed = true;
    server->sim->counts.failures++;
    if (status != STATUS_IO || server->host->error_ppm == 0) {
        violation(server->sim, "failed without a cause", status, server->host->index);
    }
}

/* ---- messages ---- */

struct packet {
    struct sim *sim;
    unsigned from;
    unsigned to;
    uint64_t connection;
    uint64_t sequence;
    struct buffer bytes;
};

static void packet_arrive(void *context)
{
    struct packet *packet = context;
    struct sim *sim = packet->sim;
    struct server *server = &sim->servers[packet->to];
    if (server->host->up && server->group != NULL && !sim->cut[packet->from][packet->to]) {
        group_receive(server->group, packet->from + 1, packet->connection, packet->sequence,
                      buffer_slice(&packet->bytes));
    }
    buffer_deinit(&packet->bytes);
    memory_free(packet);
}

static void packet_post(struct server *server, unsigned to, uint64_t sequence, struct slice message)
{
    struct sim *sim = server->sim;
    unsigned from = server->host->index;
    struct packet *packet = memory_allocate_zeroed(1, sizeof *packet);
    ASSERT(packet != NULL);
    *packet = (struct packet){.sim = sim,
                              .from = from,
                              .to = to,
                              .connection = server->host->incarnation,
                              .sequence = sequence};
    buffer_append_slice(&packet->bytes, message);
    uint64_t delay_us = 300 + draw(sim, draw(sim, 8) == 0 ? 30000 : 3000);
    uint64_t at_ns = sim->lab.now_ns + delay_us * 1000;
    if (sim->fifo && at_ns <= sim->link_free_ns[from][to]) {
        at_ns = sim->link_free_ns[from][to] + 1;
    }
    sim->link_free_ns[from][to] = at_ns;
    lab_at(&sim->lab, at_ns - sim->lab.now_ns, NULL, packet_arrive, packet);
}

static void server_crash(struct server *server, bool power);
static void server_boot(struct server *server);

static void nervous_crash(void *context)
{
    server_crash(context, true);
}

static void nervous_restart(void *context)
{
    struct server *server = context;
    if (!server->host->up) {
        server->stop.stopped = NULL;
        server_boot(server);
    }
}

static void on_send(void *context, uint32_t to, struct slice message)
{
    struct server *server = context;
    struct sim *sim = server->sim;
    ASSERT(to >= 1 && to <= sim->server_count);
    uint64_t sequence = ++sim->sequence;
    if (sim->nervous && !sim->quiet && draw(sim, 100) == 0) {
        lab_at(&sim->lab, draw(sim, 2000000), server->host, nervous_crash, server);
        lab_at(&sim->lab, (2 + draw(sim, 20)) * MILLISECOND, NULL, nervous_restart, server);
    }
    lab_mix(&sim->lab, checksum64(message, to));
    if (sim->cut[server->host->index][to - 1] ||
        prng_chance(&sim->lab.prng, sim->loss_ppm, 1000000)) {
        return;
    }
    packet_post(server, to - 1, sequence, message);
    if (prng_chance(&sim->lab.prng, sim->double_ppm, 1000000)) {
        packet_post(server, to - 1, sequence, message);
    }
}

/* ---- life of a server ---- */

static void server_boot(struct server *server)
{
    static const uint32_t ids[LAB_HOST_COUNT_MAX] = {1, 2, 3, 4, 5};
    struct sim *sim = server->sim;
    struct group_options options = {
        .path = "group",
        .id = server->host->index + 1,
        .voters = ids,
        .voter_count = sim->voter_count,
        .standbys = ids + sim->voter_count,
        .standby_count = sim->server_count - sim->voter_count,
        .election_timeout_ms = ELECTION_MS,
        .heartbeat_timeout_ms = HEARTBEAT_MS,
        .snapshot_threshold = sim->threshold,
        .snapshot_trailing = sim->trailing,
        .events = {.applied = on_applied,
                   .snapshot = on_snapshot,
                   .restored = on_restored,
                   .send = on_send,
                   .changed = on_changed,
                   .failed = on_failed},
        .context = server,
    };
    lab_host_start(server->host);
    server->group = NULL;
    server->applied_index = 0;
    server->applied_count = 0;
    server->applied_hash = 0;
    server->role = GROUP_STOPPED;
    server->failed = false;
    uint32_t error_ppm = server->host->error_ppm;
    server->host->error_ppm = 0; /* Opening is tried without; the unit tests sweep its errors. */
    enum status status = group_open(&server->host->env, &options, &server->group);
    server->host->error_ppm = error_ppm;
    if (status == STATUS_OK) {
        status = group_start(server->group);
    }
    if (status != STATUS_OK) {
        violation(sim, "a folder that does not open", status, server->host->index);
        server->group = NULL;
    }
}

static void server_down(struct server *server)
{
    server->sim->counts.crashes++;
    server->group = NULL; /* Abandoned, with all it held. */
    server->role = GROUP_STOPPED;
}

static void server_crash(struct server *server, bool power)
{
    lab_host_crash(server->host, power);
    server_down(server);
}

static void crashed_in_job(void *context, struct lab_host *host)
{
    struct sim *sim = context;
    server_down(&sim->servers[host->index]);
}

static void on_stopped(struct group_stop *stop)
{
    struct server *server = container_of(stop, struct server, stop);
    group_close(server->group);
    server->sim->counts.stops++;
    server->sim->counts.crashes--;
    server_crash(server, true); /* Nothing is left to lose. */
}

/* ---- clients and faults ---- */

struct command {
    struct group_proposal base;
    struct server *server;
    uint64_t value;
};

static void command_done(struct group_proposal *proposal, enum status status, uint64_t index)
{
    struct command *command = container_of(proposal, struct command, base);
    struct sim *sim = command->server->sim;
    if (status == STATUS_OK) {
        sim->counts.acknowledged++;
        sim->acknowledged[command->value] = true;
        sim->last_value_done = command->value;
        if (index >= INDEX_MAX || sim->chosen[index] != command->value ||
            command->server->applied_index < index) {
            violation(sim, "acknowledged, and not applied there", index, command->value);
        }
    } else {
        sim->counts.indeterminate++;
        if (status != STATUS_INDETERMINATE && status != STATUS_CANCELLED) {
            violation(sim, "an answer a proposal does not have", status, command->value);
        }
    }
    memory_free(command);
}

static void propose(struct server *server)
{
    struct sim *sim = server->sim;
    if (sim->value + 1 >= VALUE_MAX) {
        return;
    }
    struct command *command = memory_allocate_zeroed(1, sizeof *command);
    ASSERT(command != NULL);
    command->base.done = command_done;
    command->server = server;
    command->value = ++sim->value;
    uint8_t bytes[64] = {0};
    codec_store_u64(bytes, command->value);
    enum status status =
        group_propose(server->group, slice_make(bytes, 8 + command->value % 50), &command->base);
    if (status != STATUS_OK) {
        memory_free(command);
    }
}

static void client_turn(void *context)
{
    struct server *server = context;
    struct sim *sim = server->sim;
    if (server->host->up && server->group != NULL && server->role == GROUP_LEADER &&
        (!sim->quiet || draw(sim, 20) == 0)) {
        uint64_t burst = draw(sim, 10) == 0 ? 1 + draw(sim, 20) : 1;
        for (uint64_t i = 0; i < burst; i++) {
            propose(server);
        }
    }
    lab_at(&sim->lab, (1 + draw(sim, 10)) * MILLISECOND, NULL, client_turn, server);
}

static void cut_some(struct sim *sim)
{
    uint64_t sides = draw(sim, UINT64_C(1) << sim->server_count);
    bool one_way = draw(sim, 4) == 0;
    for (unsigned from = 0; from < sim->server_count; from++) {
        for (unsigned to = 0; to < sim->server_count; to++) {
            bool apart = ((sides >> from) & 1) != ((sides >> to) & 1);
            sim->cut[from][to] = apart && (!one_way || ((sides >> from) & 1));
        }
    }
}

static void disturb(struct sim *sim, struct server *server)
{
    if (!server->host->up) {
        return;
    }
    switch (draw(sim, 4)) {
    case 0:
        server_crash(server, sim->power && draw(sim, 2) == 0);
        break;
    case 1:
        if (sim->power) {
            server->host->crash_in = 1 + (unsigned)draw(sim, 12);
        }
        break;
    case 2:
        if (server->group != NULL && server->stop.stopped == NULL) {
            server->stop.stopped = on_stopped;
            group_stop(server->group, &server->stop);
        }
        break;
    default:
        server_crash(server, sim->power);
        break;
    }
}

static void faults_turn(void *context)
{
    struct sim *sim = context;
    if (sim->quiet) {
        return;
    }
    uint64_t kind = draw(sim, 10);
    if (kind < 4) {
        cut_some(sim);
    } else if (kind < 5) {
        memset(sim->cut, 0, sizeof sim->cut);
    } else if (kind < 8) {
        disturb(sim, &sim->servers[draw(sim, sim->server_count)]);
    }
    for (unsigned i = 0; i < sim->server_count; i++) {
        struct server *server = &sim->servers[i];
        if (server->host->up && server->failed && draw(sim, 2) == 0) {
            server_crash(server, true);
        } else if (!server->host->up && draw(sim, 3) == 0) {
            server->stop.stopped = NULL;
            server_boot(server);
        }
    }
    sim->loss_ppm = draw(sim, 3) == 0 ? (uint32_t)draw(sim, 150000) : 0;
    lab_at(&sim->lab, (10 + draw(sim, 120)) * MILLISECOND, NULL, faults_turn, sim);
}

/* ---- a run ---- */

static void sim_init(struct sim *sim, uint64_t seed)
{
    static const struct {
        unsigned voters, standbys;
    } shapes[] = {{3, 0}, {3, 0}, {5, 0}, {5, 0}, {3, 1}, {3, 2}, {1, 0}, {1, 1}};
    static const uint32_t thresholds[] = {10, 30, 200, 1000000};
    lab_init(&sim->lab, seed);
    sim->lab.crashed = crashed_in_job;
    sim->lab.context = sim;
    size_t shape = (size_t)draw(sim, ARRAY_COUNT(shapes));
    sim->voter_count = shapes[shape].voters;
    sim->server_count = shapes[shape].voters + shapes[shape].standbys;
    sim->threshold = thresholds[draw(sim, ARRAY_COUNT(thresholds))];
    sim->trailing = 1 + (uint32_t)draw(sim, 40);
    sim->power = draw(sim, 4) != 0;
    sim->fifo = draw(sim, 2) == 0;
    sim->nervous = sim->power && draw(sim, 3) == 0;
    sim->double_ppm = draw(sim, 2) == 0 ? 20000 : 0;
    sim->lab.stall_one_in = draw(sim, 3) == 0 ? 100 : 0;
    bool errors = draw(sim, 4) == 0;
    for (unsigned i = 0; i < LAB_HOST_COUNT_MAX; i++) {
        sim->servers[i] = (struct server){.sim = sim, .host = &sim->lab.hosts[i]};
        sim->lab.hosts[i].error_ppm = errors ? 2000 : 0;
    }
}

static bool sim_converged(const struct sim *sim)
{
    const struct server *first = &sim->servers[0];
    bool led = false;
    for (unsigned i = 0; i < sim->server_count; i++) {
        const struct server *server = &sim->servers[i];
        led = led || server->role == GROUP_LEADER;
        if (server->group == NULL || server->applied_hash != first->applied_hash ||
            server->applied_count != first->applied_count) {
            return false;
        }
    }
    return led;
}

static void faults_stop(struct sim *sim)
{
    sim->quiet = true;
    sim->loss_ppm = 0;
    sim->lab.stall_one_in = 0;
    memset(sim->cut, 0, sizeof sim->cut);
    for (unsigned i = 0; i < sim->server_count; i++) {
        struct server *server = &sim->servers[i];
        server->host->crash_in = 0;
        if (server->host->up && (server->failed || server->stop.stopped != NULL)) {
            server_crash(server, true);
        }
        server->host->error_ppm = 0;
        if (!server->host->up) {
            server->stop.stopped = NULL;
            server_boot(server);
        }
    }
}

static void sim_show(const struct sim *sim)
{
    for (unsigned i = 0; i < sim->server_count; i++) {
        const struct server *server = &sim->servers[i];
        if (server->group != NULL) {
            struct group_info info;
            group_info(server->group, &info);
            (void)fprintf(
                stderr,
                "  server %u: role=%d leader=%u term=%llu last=%llu commit=%llu "
                "applied=%llu snapshot=%llu drops=%llu\n",
                i + 1, (int)info.role, info.leader_id, (unsigned long long)info.term,
                (unsigned long long)info.last_index, (unsigned long long)info.commit_index,
                (unsigned long long)info.applied_index, (unsigned long long)info.snapshot_index,
                (unsigned long long)info.guard_drops);
        }
    }
}

static enum outcome sim_judge(const struct sim *sim, bool converged)
{
    if (sim->violation_count > 0) {
        return OUTCOME_UNSAFE;
    }
    for (uint64_t value = 1; value <= sim->value; value++) {
        if (sim->acknowledged[value] && sim->index_of[value] == 0) {
            return OUTCOME_LOST;
        }
    }
    return converged ? OUTCOME_OK : OUTCOME_NOT_CONVERGED;
}

static enum outcome sim_run(uint64_t seed, uint64_t milliseconds, bool verbose, uint64_t *trace)
{
    struct sim *sim = calloc(1, sizeof *sim);
    ASSERT(sim != NULL);
    sim_init(sim, seed);
    sim->lab.verbose = verbose;
    for (unsigned i = 0; i < sim->server_count; i++) {
        server_boot(&sim->servers[i]);
        lab_at(&sim->lab, draw(sim, 10) * MILLISECOND, NULL, client_turn, &sim->servers[i]);
    }
    lab_at(&sim->lab, 300 * MILLISECOND, NULL, faults_turn, sim);
    lab_run(&sim->lab, milliseconds * MILLISECOND);
    faults_stop(sim);
    uint64_t last_value = sim->value;
    lab_run(&sim->lab, sim->lab.now_ns + SETTLE_MS * MILLISECOND);
    bool converged = false;
    for (int i = 0; i < 200 && !converged; i++) { /* Between two commands all are alike. */
        lab_run(&sim->lab, sim->lab.now_ns + 5 * MILLISECOND);
        converged = sim_converged(sim) && sim->last_value_done > last_value;
    }
    enum outcome outcome = sim_judge(sim, converged);
    if (verbose || outcome != OUTCOME_OK) {
        sim_show(sim);
    }
    if (verbose) {
        (void)fprintf(
            stderr,
            "seed=%llu voters=%u standbys=%u threshold=%u acknowledged=%llu "
            "indeterminate=%llu crashes=%llu stops=%llu elections=%llu snapshots=%llu "
            "failures=%llu steps=%llu trace=%016llx\n",
            (unsigned long long)seed, sim->voter_count, sim->server_count - sim->voter_count,
            sim->threshold, (unsigned long long)sim->counts.acknowledged,
            (unsigned long long)sim->counts.indeterminate, (unsigned long long)sim->counts.crashes,
            (unsigned long long)sim->counts.stops, (unsigned long long)sim->counts.elections,
            (unsigned long long)sim->counts.snapshots, (unsigned long long)sim->counts.failures,
            (unsigned long long)sim->lab.step_count, (unsigned long long)sim->lab.trace);
    }
    *trace = sim->lab.trace;
    return outcome; /* The child ends here: what crashed servers held is not freed. */
}

/* In a child; the exit code is the outcome, and 4 if a second run went another way. */
static int seed_run(uint64_t seed, uint64_t milliseconds, bool verbose, bool twice)
{
    uint64_t trace = 0;
    uint64_t again = 0;
    (void)alarm(SEED_SECONDS_MAX);
    enum outcome outcome = sim_run(seed, milliseconds, verbose, &trace);
    if (twice && outcome == OUTCOME_OK) {
        (void)sim_run(seed, milliseconds, false, &again);
        return again == trace ? 0 : 4;
    }
    return (int)outcome;
}

int main(int argument_count, char **arguments)
{
    static const struct option options[] = {
        {"seeds", required_argument, NULL, 'n'},
        {"first", required_argument, NULL, 'f'},
        {"milliseconds", required_argument, NULL, 'm'},
        {"verbose", no_argument, NULL, 'v'},
        {"twice", no_argument, NULL, 't'},
        {NULL, 0, NULL, 0},
    };
    static const char *const names[] = {"passed",        "unsafe",           "acknowledged lost",
                                        "not converged", "not reproducible", "crashed"};
    uint64_t seeds = 300;
    uint64_t first = 1;
    uint64_t milliseconds = 3000;
    bool verbose = false;
    bool twice = false;
    for (int option; (option = getopt_long(argument_count, arguments, "", options, NULL)) != -1;) {
        switch (option) {
        case 'n':
            seeds = strtoull(optarg, NULL, 10);
            break;
        case 'f':
            first = strtoull(optarg, NULL, 10);
            break;
        case 'm':
            milliseconds = strtoull(optarg, NULL, 10);
            break;
        case 'v':
            verbose = true;
            break;
        case 't':
            twice = true;
            break;
        default:
            return 2;
        }
    }
    uint64_t failed = 0;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        (void)fflush(NULL);
        pid_t child = fork();
        if (child < 0) {
            perror("fork");
            return 2;
        }
        if (child == 0) {
            _exit(seed_run(seed, milliseconds, verbose, twice));
        }
        int state = 0;
        if (waitpid(child, &state, 0) != child) {
            return 2;
        }
        int code = WIFEXITED(state) && WEXITSTATUS(state) < 5 ? WEXITSTATUS(state) : 5;
        if (code != 0) {
            failed++;
            (void)printf("seed %llu: %s; again with: group_sim --first %llu --seeds 1 "
                         "--milliseconds %llu --verbose\n",
                         (unsigned long long)seed, names[code], (unsigned long long)seed,
                         (unsigned long long)milliseconds);
        }
    }
    (void)printf("%llu passed, %llu failed\n", (unsigned long long)(seeds - failed),
                 (unsigned long long)failed);
    return failed == 0 ? 0 : 1;
}
