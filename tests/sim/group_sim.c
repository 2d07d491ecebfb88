/*
 * tests/sim/group_sim.c -- raft groups of 1, 3 and 5 servers under faults, in virtual time.
 *
 *   group_sim [--seeds N] [--first SEED] [--milliseconds MS] [--verbose] [--twice]
 *             [--roles] [--without RULE]
 *
 * The production code of raft/ over libraft runs on tests/sim/group_lab.h. Each seed draws the size
 * of the group, standbys, snapshot sizes and which faults are on: crashes with and without loss of
 * power, also in the middle of a job, partitions both ways and one way, messages lost, late,
 * doubled and out of order, slow disks, failing disks, clean restarts. In two seeds of three (with
 * --roles in each) an operator adds, promotes, demotes and removes servers meanwhile, empties the
 * folders of those that left, and hands leadership over. Then the faults stop; in some seeds one
 * server stays down for good.
 * Checked, for each seed:
 *  (1) at most one leader reports itself in a term;
 *  (2) every server applies the same command at the same index, in order, and no command twice;
 *  (3) a snapshot restores the state that all servers had at its index;
 *  (4) no command whose proposal was answered STATUS_OK is missing from what was applied, and it
 *      was applied here, at the index it was answered with;
 *  (5) `failed` comes only after an injected disk error, and a folder always opens again;
 *  (6) once the faults have stopped all servers of the leader's configuration that are up reach
 *      the same state, and a new command commits.
 * With --without RULE a rule of the guard is left out (raft/group_mutant.h), and the run ends well
 * at the first seed that fails.
 * Every seed runs in a child of its own: a crash of the library is a result, not the end.
 */
#include "tests/sim/group_sim.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/contract.h"

#define SETTLE_MS 6000
#define SEED_SECONDS_MAX 60

enum outcome { OUTCOME_OK, OUTCOME_UNSAFE, OUTCOME_LOST, OUTCOME_NOT_CONVERGED };

/* ---- a run ---- */

static void sim_init(struct sim *sim, uint64_t seed, bool roles)
{
    static const struct {
        unsigned voters, standbys;
    } shapes[] = {{3, 0}, {3, 0}, {5, 0}, {5, 0}, {3, 1}, {3, 2}, {1, 0}, {1, 1}};
    static const uint32_t thresholds[] = {10, 30, 200, 1000000};
    lab_init(&sim->lab, seed);
    sim->lab.crashed = server_crashed_in_job;
    sim->lab.context = sim;
    size_t shape = (size_t)sim_draw(sim, ARRAY_COUNT(shapes));
    sim->voter_count = shapes[shape].voters;
    sim->standby_count = shapes[shape].standbys;
    sim->server_count = sim->voter_count + sim->standby_count;
    sim->threshold = thresholds[sim_draw(sim, ARRAY_COUNT(thresholds))];
    sim->trailing = 1 + (uint32_t)sim_draw(sim, 40);
    sim->power = sim_draw(sim, 4) != 0;
    sim->fifo = sim_draw(sim, 2) == 0;
    sim->nervous = sim->power && sim_draw(sim, 3) == 0;
    sim->double_ppm = sim_draw(sim, 2) == 0 ? 20000 : 0;
    sim->lab.stall_one_in = sim_draw(sim, 3) == 0 ? 100 : 0;
    bool errors = sim_draw(sim, 4) == 0;
    if (sim_draw(sim, 3) != 0 || roles) {
        sim->change_one_in = 1 + (uint32_t)sim_draw(sim, 40);
        sim->server_count += (unsigned)sim_draw(sim, LAB_HOST_COUNT_MAX + 1 - sim->server_count);
    }
    for (unsigned i = 0; i < LAB_HOST_COUNT_MAX; i++) {
        sim->servers[i] = (struct server){.sim = sim,
                                          .host = &sim->lab.hosts[i],
                                          .joins = i >= sim->voter_count + sim->standby_count};
        sim->lab.hosts[i].error_ppm = errors ? 2000 : 0;
    }
}

/* The leader of the newest term, or NULL. */
static const struct server *sim_leader(const struct sim *sim)
{
    const struct server *leader = NULL;
    uint64_t term = 0;
    for (unsigned i = 0; i < sim->server_count; i++) {
        const struct server *server = &sim->servers[i];
        struct group_info info = {0};
        if (server->group != NULL && server->role == GROUP_LEADER) {
            group_info(server->group, &info);
        }
        if (info.term > term) {
            leader = server;
            term = info.term;
        }
    }
    return leader;
}

static bool sim_converged(const struct sim *sim)
{
    const struct server *leader = sim_leader(sim);
    if (leader == NULL) {
        return false;
    }
    struct group_configuration configuration;
    group_configuration(leader->group, &configuration);
    for (uint32_t i = 0; i < configuration.server_count; i++) {
        const struct server *server = &sim->servers[configuration.servers[i].id - 1];
        if (server->host->up && configuration.servers[i].duty != GROUP_SPARE &&
            (server->group == NULL || server->applied_hash != leader->applied_hash ||
             server->applied_count != leader->applied_count)) {
            return false;
        }
    }
    return true;
}

/* As in "1V 2V 3S": who votes, stands by or is a spare (P). */
static void configuration_show(const struct group *group)
{
    struct group_configuration configuration;
    group_configuration(group, &configuration);
    for (uint32_t i = 0; i < configuration.server_count; i++) {
        (void)fprintf(stderr, " %u%c", configuration.servers[i].id,
                      "SVP"[configuration.servers[i].duty]);
    }
    (void)fprintf(stderr, configuration.committed ? "\n" : " (not committed)\n");
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
                "applied=%llu snapshot=%llu drops=%llu configuration:",
                i + 1, (int)info.role, info.leader_id, (unsigned long long)info.term,
                (unsigned long long)info.last_index, (unsigned long long)info.commit_index,
                (unsigned long long)info.applied_index, (unsigned long long)info.snapshot_index,
                (unsigned long long)info.guard_drops);
            configuration_show(server->group);
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

struct program {
    uint64_t seed_count;
    uint64_t first;
    uint64_t milliseconds;
    const char *without;
    bool verbose;
    bool twice;
    bool roles;
    struct sim_counts *counts; /* Shared with the children. */
};

static void counts_add(struct sim_counts *to, const struct sim_counts *from)
{
    uint64_t *sums = (uint64_t *)to;
    const uint64_t *numbers = (const uint64_t *)from;
    for (size_t i = 0; i < sizeof *to / sizeof *sums; i++) {
        sums[i] += numbers[i];
    }
}

static void counts_print(FILE *to, const struct sim_counts *counts)
{
    static const char *const kinds[CHANGE_KIND_COUNT] = {"add", "promote", "demote", "remove",
                                                         "transfer"};
    (void)fprintf(to,
                  "acknowledged=%llu indeterminate=%llu crashes=%llu stops=%llu elections=%llu "
                  "snapshots=%llu failures=%llu rollbacks=%llu guard_drops=%llu wipes=%llu "
                  "left_down=%llu\n",
                  (unsigned long long)counts->acknowledged,
                  (unsigned long long)counts->indeterminate, (unsigned long long)counts->crashes,
                  (unsigned long long)counts->stops, (unsigned long long)counts->elections,
                  (unsigned long long)counts->snapshots, (unsigned long long)counts->failures,
                  (unsigned long long)counts->rollbacks, (unsigned long long)counts->guard_drops,
                  (unsigned long long)counts->wipes, (unsigned long long)counts->graves);
    for (size_t kind = 0; kind < CHANGE_KIND_COUNT; kind++) {
        (void)fprintf(to, "%s: asked=%llu refused=%llu committed=%llu%s", kinds[kind],
                      (unsigned long long)counts->asked[kind],
                      (unsigned long long)counts->refused[kind],
                      (unsigned long long)counts->committed[kind],
                      kind + 1 < CHANGE_KIND_COUNT ? ", " : "\n");
    }
}

static void sim_start(struct sim *sim)
{
    for (unsigned i = 0; i < sim->server_count; i++) {
        server_boot(&sim->servers[i]);
        lab_at(&sim->lab, sim_draw(sim, 10) * MILLISECOND, NULL, sim_client_turn, &sim->servers[i]);
    }
    lab_at(&sim->lab, 300 * MILLISECOND, NULL, sim_faults_turn, sim);
    if (sim->change_one_in > 0) {
        lab_at(&sim->lab, 200 * MILLISECOND, NULL, sim_operator_turn, sim);
    }
}

static enum outcome sim_run(const struct program *program, uint64_t seed, uint64_t *trace)
{
    struct sim *sim = calloc(1, sizeof *sim);
    ASSERT(sim != NULL);
    sim_init(sim, seed, program->roles);
    sim->lab.verbose = program->verbose;
    sim_start(sim);
    lab_run(&sim->lab, program->milliseconds * MILLISECOND);
    sim_faults_stop(sim);
    uint64_t last_value = sim->value;
    lab_run(&sim->lab, sim->lab.now_ns + SETTLE_MS * MILLISECOND);
    bool converged = false;
    for (int i = 0; i < 200 && !converged; i++) { /* Between two commands all are alike. */
        lab_run(&sim->lab, sim->lab.now_ns + 5 * MILLISECOND);
        converged = sim_converged(sim) && sim->last_value_done > last_value;
    }
    enum outcome outcome = sim_judge(sim, converged);
    for (unsigned i = 0; i < sim->server_count; i++) {
        server_count_up(&sim->servers[i]);
    }
    counts_add(program->counts, &sim->counts);
    bool looked_for = program->without != NULL && !program->verbose;
    if ((program->verbose || outcome != OUTCOME_OK) && !looked_for) {
        sim_show(sim);
        (void)fprintf(stderr,
                      "seed=%llu servers=%u voters=%u standbys=%u threshold=%u steps=%llu "
                      "trace=%016llx\n",
                      (unsigned long long)seed, sim->server_count, sim->voter_count,
                      sim->standby_count, sim->threshold, (unsigned long long)sim->lab.step_count,
                      (unsigned long long)sim->lab.trace);
        counts_print(stderr, &sim->counts);
    }
    *trace = sim->lab.trace;
    return outcome; /* The child ends here: what crashed servers held is not freed. */
}

/* In a child; the exit code is the outcome, and 4 if a second run went another way. */
static int seed_run(const struct program *program, uint64_t seed)
{
    uint64_t trace = 0;
    uint64_t again = 0;
    (void)alarm(SEED_SECONDS_MAX);
    enum outcome outcome = sim_run(program, seed, &trace);
    if (program->twice && outcome == OUTCOME_OK) {
        struct program quietly = *program;
        quietly.verbose = false;
        (void)sim_run(&quietly, seed, &again);
        return again == trace ? 0 : 4;
    }
    return (int)outcome;
}

/* What became of one seed, as an index of `outcome_names`. */
static int child_run(const struct program *program, uint64_t seed)
{
    (void)fflush(NULL);
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        exit(2);
    }
    if (child == 0) {
        if (program->without != NULL && !program->verbose) {
            (void)freopen("/dev/null", "w", stderr);
        }
        _exit(seed_run(program, seed));
    }
    int state = 0;
    if (waitpid(child, &state, 0) != child) {
        exit(2);
    }
    return WIFEXITED(state) && WEXITSTATUS(state) < 5 ? WEXITSTATUS(state) : 5;
}

static const char *const outcome_names[] = {
    "passed", "unsafe", "acknowledged lost", "not converged", "not reproducible", "crashed"};

static int seeds_run(const struct program *program)
{
    uint64_t failed = 0;
    for (uint64_t seed = program->first; seed < program->first + program->seed_count; seed++) {
        int code = child_run(program, seed);
        if (code == 0) {
            continue;
        }
        failed++;
        if (program->without != NULL) {
            uint64_t tried = seed - program->first + 1;
            (void)printf("without %s: caught by the %llu. seed of at most %llu: %s\n",
                         program->without, (unsigned long long)tried,
                         (unsigned long long)program->seed_count, outcome_names[code]);
            return 0;
        }
        (void)printf("seed %llu: %s; again with: group_sim --first %llu --seeds 1 "
                     "--milliseconds %llu --verbose%s\n",
                     (unsigned long long)seed, outcome_names[code], (unsigned long long)seed,
                     (unsigned long long)program->milliseconds, program->roles ? " --roles" : "");
    }
    if (program->without != NULL) {
        (void)printf("without %s: NOT caught within %llu seeds\n", program->without,
                     (unsigned long long)program->seed_count);
        return 1;
    }
    counts_print(stdout, program->counts);
    (void)printf("%llu passed, %llu failed\n", (unsigned long long)(program->seed_count - failed),
                 (unsigned long long)failed);
    return failed == 0 ? 0 : 1;
}

static bool options_read(struct program *program, int argument_count, char **arguments)
{
    static const struct option options[] = {
        {"seeds", required_argument, NULL, 'n'},
        {"first", required_argument, NULL, 'f'},
        {"milliseconds", required_argument, NULL, 'm'},
        {"without", required_argument, NULL, 'w'},
        {"verbose", no_argument, NULL, 'v'},
        {"twice", no_argument, NULL, 't'},
        {"roles", no_argument, NULL, 'r'},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argument_count, arguments, "", options, NULL)) != -1;) {
        switch (option) {
        case 'n':
            program->seed_count = strtoull(optarg, NULL, 10);
            break;
        case 'f':
            program->first = strtoull(optarg, NULL, 10);
            break;
        case 'm':
            program->milliseconds = strtoull(optarg, NULL, 10);
            break;
        case 'w':
            program->without = optarg;
            break;
        case 'v':
            program->verbose = true;
            break;
        case 't':
            program->twice = true;
            break;
        case 'r':
            program->roles = true;
            break;
        default:
            return false;
        }
    }
    return program->without == NULL || sim_leave_out(program->without);
}

int main(int argument_count, char **arguments)
{
    struct program program = {.seed_count = 300, .first = 1, .milliseconds = 3000};
    if (!options_read(&program, argument_count, arguments)) {
        return 2;
    }
    program.counts = mmap(NULL, sizeof *program.counts, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (program.counts == MAP_FAILED) {
        perror("mmap");
        return 2;
    }
    return seeds_run(&program);
}
