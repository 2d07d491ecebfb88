/*
 * tests/sim/kvsim.c -- whole clusters in virtual time, one after another, each from one seed.
 *
 * Each seed runs in a process of its own, so that a failed assertion, an endless loop or a memory
 * error of one is the end of that one alone. docs/simulator.md says how to read what it prints.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/kvsim_mutant.h"
#include "tests/sim/kvsim_run.h"
#include "tests/sim/sim_program.h"

#define SEED_SECONDS_MAX \
    120 /* Real time, a hundred times what a seed takes: an endless loop ends here. */
#define JOBS_MAX 64

/* What one child does. */
struct task {
    uint64_t seed;
    enum script_blow blow; /* NONE: the seed draws everything. */
    uint64_t point;        /* 0: the script without a blow. */
};

struct program {
    struct run_options run;
    uint64_t first;
    uint64_t count;
    uint64_t expected_max; /* --caught-within: a failure is wanted among so many seeds. */
    uint32_t jobs;
    bool twice;
    bool traces;
    const char *mutant;
    bool sweep_all;
    enum script_blow sweep; /* BLOW_NONE: seeds are run. */
    uint64_t every;
    uint64_t point;   /* 0: each of them. */
    uint64_t *points; /* Of a script, as the child that ran it to its end has counted; shared. */
    /* Tasks under way, one a child. */
    struct {
        pid_t child;
        struct task task;
    } running[JOBS_MAX];
    uint32_t running_count;
    uint64_t passed;
    uint64_t failed;
    uint64_t first_failed;
};

static void help_print(void)
{
    (void)printf(
        "kvsim -- whole clusters in virtual time, each from one seed\n\n"
        "usage: kvsim [--seed N | --first N --seeds COUNT] [options]\n"
        "       kvsim --sweep KIND [--every N] [--point N] [--seed N | ...] [options]\n\n"
        "  --seed N           run one seed\n"
        "  --first N          the first of several seeds; 1\n"
        "  --seeds COUNT      how many; 20\n"
        "  --jobs N           so many at a time; 1\n"
        "  --nodes N          of each cluster; 5\n"
        "  --seconds N        of virtual time with faults; 30\n"
        "  --operations N     of all clients; 1000\n"
        "  --twice            run each seed twice, and compare the traces\n"
        "  --traces           print the trace of each seed\n"
        "  --mutant NAME      with a planted fault; --mutants prints their names\n"
        "  --plant NAME       something outside the seed shows: clock, address\n"
        "  --sweep KIND       a scripted change of the ring, struck once at each sync of a disk:\n"
        "                     unsynced, synced, leader, all-nodes; all\n"
        "  --every N          only each N-th point; 1\n"
        "  --point N          only that point\n"
        "  --caught N         exit 0 only if a seed fails, and print after how many; at most N\n"
        "  -v, --verbose      what nodes log and what happened, to stderr\n");
}

static void mutants_print(void)
{
    for (uint32_t index = 0; mutant_name(index) != NULL; index++) {
        (void)printf("%s\n", mutant_name(index));
    }
}

/* ------------------------------------------------------------------ one seed */

static void replay_print(const struct program *program, const struct task *task)
{
    const struct plan_options *plan = &program->run.plan;
    uint64_t seed = task->seed;
    if (task->blow != BLOW_NONE) {
        (void)printf("  again with: kvsim --sweep %s --seed %" PRIu64 " --point %" PRIu64
                     " --operations %u%s%s -v\n",
                     script_blow_name(task->blow), seed, task->point, plan->operation_count,
                     program->mutant == NULL ? "" : " --mutant ",
                     program->mutant == NULL ? "" : program->mutant);
        return;
    }
    (void)printf("  again with: kvsim --seed %" PRIu64
                 " --nodes %u --seconds %u --operations %u%s%s%s -v\n",
                 seed, plan->node_count, plan->seconds, plan->operation_count,
                 program->mutant == NULL ? "" : " --mutant ",
                 program->mutant == NULL ? "" : program->mutant, program->twice ? " --twice" : "");
}

static bool runs_alike(const struct program *program, uint64_t seed, uint64_t trace)
{
    struct run_result again;
    struct run_options options = program->run;
    options.verbose = false;
    run_seed(seed, &options, &again);
    return traces_alike(seed, trace, again.trace);
}

/* In a child; the exit code tells. */
static int seed_run(const struct program *program, uint64_t seed)
{
    struct run_result result;
    (void)alarm(SEED_SECONDS_MAX);
    run_seed(seed, &program->run, &result);
    if (program->traces) {
        (void)printf("seed %" PRIu64 ": trace %016" PRIx64 ", %" PRIu64 " events, %" PRIu64
                     " virtual ms\n",
                     seed, result.trace, result.steps, result.time_ns / 1000000);
    }
    if (!result.passed) {
        (void)printf("seed %" PRIu64 ": %s (trace %016" PRIx64 ")\n", seed, result.violation,
                     result.trace);
    }
    /* Also one that failed: whether it can be shown again is the first thing to know of it. */
    if (program->twice && !runs_alike(program, seed, result.trace)) {
        return EXIT_OTHER_WAY;
    }
    return result.passed ? 0 : EXIT_BROKEN;
}

static int point_run(const struct program *program, const struct task *task)
{
    const struct script_options script = {
        .blow = task->blow, .point = task->point, .verbose = program->run.verbose};
    struct run_options options = program->run;
    struct run_result result;
    options.script = &script;
    (void)alarm(SEED_SECONDS_MAX);
    run_seed(task->seed, &options, &result);
    if (task->point == 0) {
        *program->points = result.points;
    }
    if (!result.passed) {
        (void)printf("%s at point %" PRIu64 " of seed %" PRIu64 ": %s\n",
                     script_blow_name(task->blow), task->point, task->seed, result.violation);
    }
    return result.passed ? 0 : EXIT_BROKEN;
}

/* ------------------------------------------------------------------ many */

static void child_wait(struct program *program)
{
    int state = 0;
    pid_t child = wait(&state);
    uint32_t index = 0;
    while (index < program->running_count && program->running[index].child != child) {
        index++;
    }
    if (index == program->running_count) {
        perror("kvsim: wait");
        exit(EXIT_USAGE);
    }
    const struct task task = program->running[index].task;
    uint64_t seed = task.seed;
    program->running[index] = program->running[--program->running_count];
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0) {
        program->passed++;
        return;
    }
    program->failed++;
    bool least = program->failed == 1 || seed < program->first_failed;
    program->first_failed = least ? seed : program->first_failed;
    if (WIFSIGNALED(state)) {
        (void)printf("seed %" PRIu64 ": ended by signal %d (%s)\n", seed, WTERMSIG(state),
                     strsignal(WTERMSIG(state)));
    }
    replay_print(program, &task);
    (void)fflush(stdout);
}

static void task_fork(struct program *program, const struct task *task)
{
    if (program->running_count == program->jobs) {
        child_wait(program);
    }
    (void)fflush(NULL);
    pid_t child = fork();
    if (child < 0) {
        perror("kvsim: fork");
        exit(EXIT_USAGE);
    }
    if (child == 0) {
        int code =
            task->blow == BLOW_NONE ? seed_run(program, task->seed) : point_run(program, task);
        (void)fflush(NULL);
        _exit(code);
    }
    program->running[program->running_count].child = child;
    program->running[program->running_count++].task = *task;
}

static void children_wait(struct program *program)
{
    while (program->running_count > 0) {
        child_wait(program);
    }
}

static int seeds_run(struct program *program)
{
    for (uint64_t index = 0; index < program->count; index++) {
        if (program->expected_max > 0 && program->failed > 0) {
            break;
        }
        const struct task task = {.seed = program->first + index};
        task_fork(program, &task);
    }
    children_wait(program);
    int code = program->failed == 0 ? 0 : EXIT_BROKEN;
    if (program->expected_max > 0) {
        uint64_t after = program->failed > 0 ? program->first_failed - program->first + 1 : 0;
        code = caught_print(program->mutant, after, program->expected_max);
    }
    (void)printf("%" PRIu64 " passed, %" PRIu64 " failed\n", program->passed, program->failed);
    return code;
}

/* Every point of one kind of blow; the first run, without it, tells how many there are. */
static void blow_sweep(struct program *program, uint64_t seed, enum script_blow blow)
{
    struct task task = {.seed = seed, .blow = blow, .point = program->point};
    uint64_t before = program->passed;
    task_fork(program, &task);
    children_wait(program);
    if (program->point > 0) {
        return;
    }
    uint64_t points = *program->points;
    for (task.point = 1 + seed % program->every; task.point <= points;
         task.point += program->every) {
        task_fork(program, &task);
    }
    children_wait(program);
    (void)printf("seed %" PRIu64 ": %s at each of %" PRIu64 " points, every %" PRIu64 ": %" PRIu64
                 " runs passed\n",
                 seed, script_blow_name(blow), points, program->every, program->passed - before);
    (void)fflush(stdout);
}

static int sweeps_run(struct program *program)
{
    for (uint64_t index = 0; index < program->count; index++) {
        for (int blow = BLOW_NONE + 1; blow < BLOW_COUNT; blow++) {
            if (program->sweep_all || program->sweep == (enum script_blow)blow) {
                blow_sweep(program, program->first + index, (enum script_blow)blow);
            }
        }
    }
    (void)printf("%" PRIu64 " passed, %" PRIu64 " failed\n", program->passed, program->failed);
    return program->failed == 0 ? 0 : EXIT_BROKEN;
}

/* ------------------------------------------------------------------ options */

static bool sweep_parse(const char *text, struct program *program)
{
    program->sweep_all = strcmp(text, "all") == 0;
    for (int blow = BLOW_NONE + 1; blow < BLOW_COUNT; blow++) {
        if (program->sweep_all || strcmp(text, script_blow_name((enum script_blow)blow)) == 0) {
            program->sweep = (enum script_blow)blow;
        }
    }
    return program->sweep != BLOW_NONE;
}

static bool option_take(struct program *program, int option, const char *text)
{
    uint64_t number = 0;
    bool valid = true;
    switch (option) {
    case 's':
        program->count = 1;
        return number_parse(text, 0, UINT64_MAX, &program->first);
    case 'f':
        return number_parse(text, 0, UINT64_MAX / 2, &program->first);
    case 'n':
        return number_parse(text, 1, UINT64_MAX / 2, &program->count);
    case 'c':
        valid = number_parse(text, 1, UINT64_MAX / 2, &program->count);
        program->expected_max = program->count;
        return valid;
    case 'j':
        valid = number_parse(text, 1, JOBS_MAX, &number);
        program->jobs = (uint32_t)number;
        return valid;
    case 'N':
        valid = number_parse(text, 1, PLAN_NODE_COUNT_MAX, &number);
        program->run.plan.node_count = (uint32_t)number;
        return valid;
    case 'S':
        valid = number_parse(text, 1, 3600, &number);
        program->run.plan.seconds = (uint32_t)number;
        return valid;
    case 'o':
        valid = number_parse(text, 1, 1000000, &number);
        program->run.plan.operation_count = (uint32_t)number;
        return valid;
    case 't':
        program->twice = true;
        return true;
    case 'T':
        program->traces = true;
        return true;
    case 'v':
        program->run.verbose = true;
        return true;
    case 'm':
        program->mutant = text;
        return mutant_choose(text);
    case 'w':
        return sweep_parse(text, program);
    case 'e':
        return number_parse(text, 1, UINT32_MAX, &program->every);
    case 'P':
        return number_parse(text, 1, UINT32_MAX, &program->point);
    case 'p':
        return plant_parse(text, &program->run.plant);
    default:
        return false;
    }
}

int main(int argument_count, char **arguments)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},
        {"first", required_argument, NULL, 'f'},
        {"seeds", required_argument, NULL, 'n'},
        {"jobs", required_argument, NULL, 'j'},
        {"nodes", required_argument, NULL, 'N'},
        {"seconds", required_argument, NULL, 'S'},
        {"operations", required_argument, NULL, 'o'},
        {"twice", no_argument, NULL, 't'},
        {"traces", no_argument, NULL, 'T'},
        {"mutant", required_argument, NULL, 'm'},
        {"mutants", no_argument, NULL, 'M'},
        {"plant", required_argument, NULL, 'p'},
        {"caught", required_argument, NULL, 'c'},
        {"sweep", required_argument, NULL, 'w'},
        {"every", required_argument, NULL, 'e'},
        {"point", required_argument, NULL, 'P'},
        {"verbose", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct program program = {
        .run = {.plan = {.node_count = 5, .operation_count = 1000, .seconds = 30}},
        .first = 1,
        .count = 20,
        .jobs = 1,
        .every = 1,
        .mutant = NULL,
    };
    for (int option; (option = getopt_long(argument_count, arguments, "v", options, NULL)) != -1;) {
        if (option == 'h' || option == 'M') {
            option == 'h' ? help_print() : mutants_print();
            return 0;
        }
        if (option == '?' || !option_take(&program, option, optarg)) {
            (void)fprintf(stderr, "kvsim: --help shows the options and their bounds\n");
            return EXIT_USAGE;
        }
    }
    if (optind < argument_count) {
        (void)fprintf(stderr, "kvsim: \"%s\": only options are taken\n", arguments[optind]);
        return EXIT_USAGE;
    }
    program.points = mmap(NULL, sizeof(*program.points), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (program.points == MAP_FAILED) {
        perror("kvsim: mmap");
        return EXIT_USAGE;
    }
    return program.sweep == BLOW_NONE ? seeds_run(&program) : sweeps_run(&program);
}
