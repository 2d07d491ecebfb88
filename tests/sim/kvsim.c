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
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/kvsim_mutant.h"
#include "tests/sim/kvsim_run.h"
#include "tests/sim/sim_program.h"

#define SEED_SECONDS_MAX \
    120 /* Real time, a hundred times what a seed takes: an endless loop ends here. */
#define JOBS_MAX 64

struct program {
    struct run_options run;
    uint64_t first;
    uint64_t count;
    uint64_t expected_max; /* --caught-within: a failure is wanted among so many seeds. */
    uint32_t jobs;
    bool twice;
    bool traces;
    const char *mutant;
    /* Seeds under way, one a child. */
    struct {
        pid_t child;
        uint64_t seed;
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
        "usage: kvsim [--seed N | --first N --seeds COUNT] [options]\n\n"
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

static void replay_print(const struct program *program, uint64_t seed)
{
    const struct plan_options *plan = &program->run.plan;
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
    uint64_t seed = program->running[index].seed;
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
    replay_print(program, seed);
    (void)fflush(stdout);
}

static void seed_fork(struct program *program, uint64_t seed)
{
    (void)fflush(NULL);
    pid_t child = fork();
    if (child < 0) {
        perror("kvsim: fork");
        exit(EXIT_USAGE);
    }
    if (child == 0) {
        int code = seed_run(program, seed);
        (void)fflush(NULL);
        _exit(code);
    }
    program->running[program->running_count].child = child;
    program->running[program->running_count++].seed = seed;
}

static int seeds_run(struct program *program)
{
    for (uint64_t index = 0; index < program->count; index++) {
        if (program->expected_max > 0 && program->failed > 0) {
            break;
        }
        if (program->running_count == program->jobs) {
            child_wait(program);
        }
        seed_fork(program, program->first + index);
    }
    while (program->running_count > 0) {
        child_wait(program);
    }
    int code = program->failed == 0 ? 0 : EXIT_BROKEN;
    if (program->expected_max > 0) {
        uint64_t after = program->failed > 0 ? program->first_failed - program->first + 1 : 0;
        code = caught_print(program->mutant, after, program->expected_max);
    }
    (void)printf("%" PRIu64 " passed, %" PRIu64 " failed\n", program->passed, program->failed);
    return code;
}

/* ------------------------------------------------------------------ options */

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
        {"verbose", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct program program = {
        .run = {.plan = {.node_count = 5, .operation_count = 1000, .seconds = 30}},
        .first = 1,
        .count = 20,
        .jobs = 1,
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
    return seeds_run(&program);
}
