/*
 * tests/sim/lsmsim.c -- the engine alone in virtual time, one seed after another against a model.
 *
 * Each seed, and each point of a sweep, runs in a process of its own, so that a failed assertion,
 * an endless loop or a memory error of one is the end of that one alone. docs/simulator.md says how
 * to read what it prints.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/lsmsim_mutant.h"
#include "tests/sim/lsmsim_run.h"
#include "tests/sim/sim_program.h"

#define SEED_CPU_SECONDS_MAX 60u /* An endless loop ends here, however busy the machine is; */
#define SEED_SECONDS_MAX 900     /* and so does what waits for ever. */
#define JOBS_MAX 64

/* What a child tells beside its exit code; in memory that all share. */
struct tally {
    uint64_t operation_count;
    uint64_t purged_count;
    uint64_t merged_size;
    uint64_t crash_count;
    uint64_t points;
};

/* What one child does. */
struct task {
    uint64_t seed;
    enum run_trouble trouble; /* NONE: the seed draws everything. */
    uint64_t point;
};

struct program {
    struct run_options run;
    uint64_t first;
    uint64_t count;
    uint64_t expected_max; /* --caught: a failure is wanted among so many seeds. */
    uint32_t jobs;
    bool twice;
    bool traces;
    bool sweep_all;
    enum run_trouble sweep;
    uint64_t every;
    uint64_t point;
    const char *mutant;
    struct tally *tallies; /* One for each running child, shared with it. */
    struct tally sum;
    struct {
        pid_t child;
        uint32_t tally;
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
        "lsmsim -- the engine in virtual time against a model, each run from one seed\n\n"
        "usage: lsmsim [--seed N | --first N --seeds COUNT] [options]\n"
        "       lsmsim --sweep KIND [--every N] [--point N] [--seed N | ...] [options]\n\n"
        "  --seed N           run one seed\n"
        "  --first N          the first of several seeds; 1\n"
        "  --seeds COUNT      how many; 20\n"
        "  --jobs N           so many at a time; 1\n"
        "  --operations N     of each life; 250\n"
        "  --lives N          of each seed; 8\n"
        "  --twice            run each seed twice, and compare the traces\n"
        "  --traces           print the trace of each seed\n"
        "  --mutant NAME      with a planted fault; --mutants prints their names\n"
        "  --caught N         exit 0 only if a seed fails, and print after how many; at most N\n"
        "  --plant NAME       something outside the seed shows: clock, address\n"
        "  --sweep KIND       a scripted load, broken once at each point: crash, recovery,\n"
        "                     error, errors, no-space, short, memory; all\n"
        "  --every N          only each N-th point; 1\n"
        "  --point N          only that point\n"
        "  -v, --verbose      what the engine logs, to stderr\n");
}

/* ------------------------------------------------------------------ one child */

static void replay_print(const struct program *program, const struct task *task)
{
    if (task->trouble != TROUBLE_NONE) {
        (void)printf("  again with: lsmsim --sweep %s --seed %" PRIu64 " --point %" PRIu64
                     "%s%s -v\n",
                     run_trouble_name(task->trouble), task->seed, task->point,
                     program->mutant == NULL ? "" : " --mutant ",
                     program->mutant == NULL ? "" : program->mutant);
        return;
    }
    (void)printf("  again with: lsmsim --seed %" PRIu64 " --operations %u --lives %u%s%s%s -v\n",
                 task->seed, program->run.plan.operation_count, program->run.plan.life_count,
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

static void tally_take(struct tally *tally, const struct run_result *result)
{
    tally->operation_count = result->operation_count;
    tally->purged_count = result->purged_count;
    tally->merged_size = result->merged_size;
    tally->crash_count = result->crash_count;
}

/* In a child; the exit code tells. */
static int seed_run(const struct program *program, const struct task *task, struct tally *tally)
{
    struct run_result result;
    run_seed(task->seed, &program->run, &result);
    tally_take(tally, &result);
    if (program->traces) {
        (void)printf("seed %" PRIu64 ": trace %016" PRIx64 ", %" PRIu64 " events, %" PRIu64
                     " virtual ms, %" PRIu64 " operations, %u crashes, %" PRIu64 " purged, %" PRIu64
                     " KiB merged\n",
                     task->seed, result.trace, result.steps, result.time_ns / 1000000,
                     result.operation_count, result.crash_count, result.purged_count,
                     result.merged_size >> 10);
    }
    if (result.violation[0] != '\0') {
        (void)printf("seed %" PRIu64 ": %s (trace %016" PRIx64 ")\n", task->seed, result.violation,
                     result.trace);
    }
    if (program->twice && !runs_alike(program, task->seed, result.trace)) {
        return EXIT_OTHER_WAY;
    }
    return result.violation[0] == '\0' ? 0 : EXIT_BROKEN;
}

static int point_run(const struct program *program, const struct task *task, struct tally *tally)
{
    struct run_result result;
    run_script(task->seed, task->trouble, task->point, program->run.verbose, &tally->points,
               &result);
    tally_take(tally, &result);
    if (result.violation[0] != '\0') {
        (void)printf("%s at point %" PRIu64 " of seed %" PRIu64 ": %s\n",
                     run_trouble_name(task->trouble), task->point, task->seed, result.violation);
    }
    return result.violation[0] == '\0' ? 0 : EXIT_BROKEN;
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
        perror("lsmsim: wait");
        exit(EXIT_USAGE);
    }
    struct task task = program->running[index].task;
    struct tally *tally = &program->tallies[program->running[index].tally];
    program->running[index] = program->running[--program->running_count];
    program->sum.operation_count += tally->operation_count;
    program->sum.purged_count += tally->purged_count;
    program->sum.merged_size += tally->merged_size;
    program->sum.crash_count += tally->crash_count;
    program->sum.points = tally->points;
    memset(tally, 0, sizeof(*tally));
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0) {
        program->passed++;
        return;
    }
    program->failed++;
    bool least = program->failed == 1 || task.seed < program->first_failed;
    program->first_failed = least ? task.seed : program->first_failed;
    if (WIFSIGNALED(state)) {
        (void)printf("seed %" PRIu64 " (%s %" PRIu64 "): ended by signal %d (%s)\n", task.seed,
                     run_trouble_name(task.trouble), task.point, WTERMSIG(state),
                     strsignal(WTERMSIG(state)));
    }
    replay_print(program, &task);
    (void)fflush(stdout);
}

static uint32_t tally_free(const struct program *program)
{
    for (uint32_t tally = 0;; tally++) {
        bool taken = false;
        for (uint32_t i = 0; i < program->running_count; i++) {
            taken = taken || program->running[i].tally == tally;
        }
        if (!taken) {
            return tally;
        }
    }
}

static void task_fork(struct program *program, const struct task *task)
{
    if (program->running_count == program->jobs) {
        child_wait(program);
    }
    uint32_t tally = tally_free(program);
    (void)fflush(NULL);
    pid_t child = fork();
    if (child < 0) {
        perror("lsmsim: fork");
        exit(EXIT_USAGE);
    }
    if (child == 0) {
        struct rlimit limit = {.rlim_cur = SEED_CPU_SECONDS_MAX, .rlim_max = SEED_CPU_SECONDS_MAX};
        (void)setrlimit(RLIMIT_CPU, &limit);
        (void)alarm(SEED_SECONDS_MAX);
        int code = task->trouble == TROUBLE_NONE
                       ? seed_run(program, task, &program->tallies[tally])
                       : point_run(program, task, &program->tallies[tally]);
        (void)fflush(NULL);
        _exit(code);
    }
    uint32_t index = program->running_count++;
    program->running[index].child = child;
    program->running[index].tally = tally;
    program->running[index].task = *task;
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
        struct task task = {.seed = program->first + index};
        task_fork(program, &task);
    }
    children_wait(program);
    int code = program->failed == 0 ? 0 : EXIT_BROKEN;
    if (program->expected_max > 0) {
        uint64_t after = program->failed > 0 ? program->first_failed - program->first + 1 : 0;
        code = caught_print(program->mutant, after, program->expected_max);
    }
    (void)printf("%" PRIu64 " operations, %" PRIu64 " ends of a life, %" PRIu64
                 " cells purged, %" PRIu64 " KiB merged\n",
                 program->sum.operation_count, program->sum.crash_count, program->sum.purged_count,
                 program->sum.merged_size >> 10);
    (void)printf("%" PRIu64 " passed, %" PRIu64 " failed\n", program->passed, program->failed);
    return code;
}

/* Every point of one kind of trouble; the first run, without it, tells how many there are. */
static void trouble_sweep(struct program *program, uint64_t seed, enum run_trouble trouble)
{
    struct task task = {.seed = seed, .trouble = trouble, .point = program->point};
    if (program->point > 0) {
        task_fork(program, &task);
        children_wait(program);
        return;
    }
    uint64_t before = program->passed;
    task_fork(program, &task);
    children_wait(program);
    uint64_t points = program->sum.points;
    for (task.point = 1 + seed % program->every; task.point <= points;
         task.point += program->every) {
        task_fork(program, &task);
    }
    children_wait(program);
    (void)printf("seed %" PRIu64 ": %s at each of %" PRIu64 " points, every %" PRIu64 ": %" PRIu64
                 " runs passed\n",
                 seed, run_trouble_name(trouble), points, program->every, program->passed - before);
    (void)fflush(stdout);
}

static int sweeps_run(struct program *program)
{
    for (uint64_t index = 0; index < program->count; index++) {
        for (int kind = TROUBLE_CRASH; kind < TROUBLE_COUNT; kind++) {
            if (program->sweep_all || program->sweep == (enum run_trouble)kind) {
                trouble_sweep(program, program->first + index, (enum run_trouble)kind);
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
    for (int kind = TROUBLE_CRASH; kind < TROUBLE_COUNT; kind++) {
        if (program->sweep_all || strcmp(text, run_trouble_name((enum run_trouble)kind)) == 0) {
            program->sweep = (enum run_trouble)kind;
            return true;
        }
    }
    return false;
}

static bool number_take(struct program *program, int option, const char *text)
{
    uint64_t number = 0;
    bool valid =
        number_parse(text, option == 's' || option == 'f' ? 0 : 1, UINT64_MAX / 2, &number);
    switch (option) {
    case 's':
        program->count = 1;
        program->first = number;
        break;
    case 'f':
        program->first = number;
        break;
    case 'n':
        program->count = number;
        break;
    case 'c':
        program->count = number;
        program->expected_max = number;
        break;
    case 'j':
        valid = valid && number <= JOBS_MAX;
        program->jobs = (uint32_t)number;
        break;
    case 'o':
        valid = valid && number <= 100000;
        program->run.plan.operation_count = (uint32_t)number;
        break;
    case 'l':
        valid = valid && number <= 1000;
        program->run.plan.life_count = (uint32_t)number;
        break;
    case 'e':
        program->every = number;
        break;
    case 'P':
        program->point = number;
        break;
    default:
        valid = false;
        break;
    }
    return valid;
}

static bool option_take(struct program *program, int option, const char *text)
{
    switch (option) {
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
    case 'w':
        return sweep_parse(text, program);
    default:
        return number_take(program, option, text);
    }
}

static void mutants_print(void)
{
    for (uint32_t index = 0; mutant_name(index) != NULL; index++) {
        (void)printf("%s\n", mutant_name(index));
    }
}

int main(int argument_count, char **arguments)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},
        {"first", required_argument, NULL, 'f'},
        {"seeds", required_argument, NULL, 'n'},
        {"jobs", required_argument, NULL, 'j'},
        {"operations", required_argument, NULL, 'o'},
        {"lives", required_argument, NULL, 'l'},
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
        .run = {.plan = {.operation_count = 250, .life_count = 8}},
        .first = 1,
        .count = 20,
        .jobs = 1,
        .every = 1,
    };
    for (int option; (option = getopt_long(argument_count, arguments, "v", options, NULL)) != -1;) {
        if (option == 'h' || option == 'M') {
            option == 'h' ? help_print() : mutants_print();
            return 0;
        }
        if (option == '?' || !option_take(&program, option, optarg)) {
            (void)fprintf(stderr, "lsmsim: --help shows the options and their bounds\n");
            return EXIT_USAGE;
        }
    }
    if (optind < argument_count) {
        (void)fprintf(stderr, "lsmsim: \"%s\": only options are taken\n", arguments[optind]);
        return EXIT_USAGE;
    }
    program.tallies = mmap(NULL, JOBS_MAX * sizeof(struct tally), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (program.tallies == MAP_FAILED) {
        perror("lsmsim: mmap");
        return EXIT_USAGE;
    }
    return program.sweep == TROUBLE_NONE ? seeds_run(&program) : sweeps_run(&program);
}
