/*
 * tools/bench/bench_lsm.c -- the engine measured: alone, beside RocksDB and LevelDB, paced, and for
 * its memory.
 *
 * Every mode prints its command, workload, seed and machine with its figures, so that a figure in
 * the docs can name its run.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/contract.h"
#include "base/memory.h"
#include "tools/bench/contest.h"
#include "tools/bench/folder.h"
#include "tools/bench/solo.h"

#define MEMORY_KEYS UINT64_C(10000000)
#define MEMORY_SLACK 1.1
#define MIB (UINT64_C(1) << 20)

enum mode { MODE_SOLO, MODE_COMPARE, MODE_PACED, MODE_MEMORY };

struct command {
    enum mode mode;
    struct plan plan;
    struct solo_options solo;
    bool markdown;
    bool by_cpu;
    bool keep;
    bool keys_given;
    const char *dir;
};

static void usage(FILE *to)
{
    (void)fprintf(
        to,
        "usage: bench_lsm --dir DIR [--keys N] [--operations N] [--memory-mib N] [--only "
        "WORKLOAD]\n"
        "           the engine alone, in one process; DIR must not exist yet, and is left\n"
        "       bench_lsm --compare [--rounds N] [--markdown] [--list]\n"
        "           beside RocksDB and LevelDB, each trial in a process of its own\n"
        "       bench_lsm --paced MINUTES [--rate N]\n"
        "           all of them, one after another, written to at a steady rate\n"
        "       bench_lsm --memory\n"
        "           resident memory of 10 million keys within the budget and a tenth\n"
        "  --keys N           keys in the store (1000000)\n"
        "  --value-size N     bytes of a value (100)\n"
        "  --reads N          gets of a workload that reads; a seek counts as ten (200000)\n"
        "  --rounds N         times that each workload is run; figures are medians (1)\n"
        "  --seconds N        of synced writes, and of gets beside writes (3)\n"
        "  --rate N           paced writes a second (20000)\n"
        "  --depth N          records that Ringkv has outstanding when they are not synced (256)\n"
        "  --only NAMES       workloads whose names begin so, with commas between\n"
        "  --engines NAMES    opponents, likewise (ringkv always runs; \"none\": it alone)\n"
        "  --seed N           (1)\n"
        "  --explain          the engines' own counters, on stderr\n"
        "  --markdown         a table for a page\n"
        "  --by-cpu           judge rates by CPU time, which other users of the machine disturb "
        "less\n"
        "  --list             the workloads\n"
        "  --dir DIR          for data; else a new folder in $TMPDIR or /tmp that is removed\n"
        "  --keep             leave in DIR what workloads of the opponents start from, for the "
        "next\n"
        "                     run\n"
        "Exit code: 0; 1 if a trial failed (a missed target is no failure, but of --memory); 2 if\n"
        "it was called wrongly.\n");
}

static uint64_t number_of(const char *text)
{
    char *end = NULL;
    uint64_t number = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0') {
        (void)fprintf(stderr, "bench_lsm: \"%s\" is no number\n", text);
        exit(2);
    }
    return number;
}

static void list_print(void)
{
    for (const struct workload *workload = workloads; workload->name != NULL; workload++) {
        (void)printf("%-18s %s\n", workload->name, workload->text);
    }
}

enum flag {
    FLAG_COMPARE,
    FLAG_PACED,
    FLAG_MEMORY,
    FLAG_DIR,
    FLAG_KEYS,
    FLAG_OPERATIONS,
    FLAG_VALUE_SIZE,
    FLAG_READS,
    FLAG_ROUNDS,
    FLAG_SECONDS,
    FLAG_RATE,
    FLAG_DEPTH,
    FLAG_MEMORY_MIB,
    FLAG_ONLY,
    FLAG_ENGINES,
    FLAG_SEED,
    FLAG_EXPLAIN,
    FLAG_MARKDOWN,
    FLAG_LIST,
    FLAG_BY_CPU,
    FLAG_KEEP,
    FLAG_HELP,
};

static const struct option options[] = {
    {"compare", no_argument, NULL, FLAG_COMPARE},
    {"paced", required_argument, NULL, FLAG_PACED},
    {"memory", no_argument, NULL, FLAG_MEMORY},
    {"dir", required_argument, NULL, FLAG_DIR},
    {"keys", required_argument, NULL, FLAG_KEYS},
    {"operations", required_argument, NULL, FLAG_OPERATIONS},
    {"value-size", required_argument, NULL, FLAG_VALUE_SIZE},
    {"reads", required_argument, NULL, FLAG_READS},
    {"rounds", required_argument, NULL, FLAG_ROUNDS},
    {"seconds", required_argument, NULL, FLAG_SECONDS},
    {"rate", required_argument, NULL, FLAG_RATE},
    {"depth", required_argument, NULL, FLAG_DEPTH},
    {"memory-mib", required_argument, NULL, FLAG_MEMORY_MIB},
    {"only", required_argument, NULL, FLAG_ONLY},
    {"engines", required_argument, NULL, FLAG_ENGINES},
    {"seed", required_argument, NULL, FLAG_SEED},
    {"explain", no_argument, NULL, FLAG_EXPLAIN},
    {"markdown", no_argument, NULL, FLAG_MARKDOWN},
    {"list", no_argument, NULL, FLAG_LIST},
    {"by-cpu", no_argument, NULL, FLAG_BY_CPU},
    {"keep", no_argument, NULL, FLAG_KEEP},
    {"help", no_argument, NULL, FLAG_HELP},
    {0},
};

/* False if it is not a flag. */
static bool mode_take(struct command *command, enum flag flag)
{
    switch ((int)flag) {
    case FLAG_COMPARE:
        command->mode = MODE_COMPARE;
        return true;
    case FLAG_PACED:
        command->mode = MODE_PACED;
        command->plan.minutes = (uint32_t)number_of(optarg);
        return true;
    case FLAG_MEMORY:
        command->mode = MODE_MEMORY;
        return true;
    case FLAG_DIR:
        command->dir = optarg;
        return true;
    case FLAG_ONLY:
        command->plan.only = optarg;
        return true;
    case FLAG_ENGINES:
        command->plan.engines = optarg;
        return true;
    case FLAG_EXPLAIN:
        command->plan.explain = true;
        return true;
    case FLAG_MARKDOWN:
        command->markdown = true;
        return true;
    case FLAG_BY_CPU:
        command->by_cpu = true;
        return true;
    case FLAG_KEEP:
        command->keep = true;
        return true;
    default:
        return false;
    }
}

/* Likewise, of those with a number. */
static bool number_take(struct command *command, enum flag flag)
{
    struct plan *plan = &command->plan;
    switch ((int)flag) {
    case FLAG_KEYS:
        plan->keys = number_of(optarg);
        command->keys_given = true;
        return true;
    case FLAG_OPERATIONS:
        command->solo.operations = number_of(optarg);
        return true;
    case FLAG_VALUE_SIZE:
        plan->value_size = (uint32_t)number_of(optarg);
        return true;
    case FLAG_READS:
        plan->reads = number_of(optarg);
        return true;
    case FLAG_ROUNDS:
        plan->rounds = (uint32_t)number_of(optarg);
        return true;
    case FLAG_SECONDS:
        plan->seconds = (uint32_t)number_of(optarg);
        return true;
    case FLAG_RATE:
        plan->rate = (uint32_t)number_of(optarg);
        return true;
    case FLAG_DEPTH:
        plan->depth = (uint32_t)number_of(optarg);
        return true;
    case FLAG_MEMORY_MIB:
        command->solo.memory_size = number_of(optarg) * MIB;
        return true;
    case FLAG_SEED:
        plan->seed = number_of(optarg);
        return true;
    default:
        return false;
    }
}

static void command_read(struct command *command, int argc, char **argv)
{
    int flag;
    while ((flag = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (flag == FLAG_HELP || flag == FLAG_LIST) {
            if (flag == FLAG_HELP) {
                usage(stdout);
            } else {
                list_print();
            }
            exit(EXIT_SUCCESS);
        }
        if (!mode_take(command, (enum flag)flag) && !number_take(command, (enum flag)flag)) {
            usage(stderr);
            exit(2);
        }
    }
    const struct plan *plan = &command->plan;
    bool valid = optind == argc && plan->keys > 0 && plan->reads > 0 && plan->depth > 0 &&
                 plan->depth <= LOAD_WRITERS_MAX && plan->value_size > 0 &&
                 plan->value_size < RECORD_VALUE_SIZE_MAX && plan->rounds > 0 &&
                 plan->rounds <= ROUNDS_MAX && plan->seconds > 0 && plan->rate > 0;
    valid = valid && (command->mode != MODE_PACED || plan->minutes > 0);
    valid = valid && (command->mode != MODE_SOLO || command->dir != NULL);
    if (!valid) {
        usage(stderr);
        exit(2);
    }
}

/* Whether the process stayed within the budget of the workload and a tenth. */
static bool memory_run(const struct plan *plan)
{
    char path[FOLDER_PATH_SIZE];
    folder_path(path, plan->folder, "memory");
    folder_remove(path);
    struct outcome outcome = {0};
    bool complete = trial_run(plan, &workload_memory, &engine_ringkv, path, &outcome);
    folder_remove(path);
    if (!complete || outcome.failed > 0) {
        (void)printf("memory: FAILED, %" PRIu64 " operations\n", outcome.failed);
        return false;
    }
    uint64_t budget = workload_memory.cache_size + 2 * workload_memory.memtable_size;
    uint64_t used = outcome.memory_peak - outcome.memory_begun;
    bool met = (double)used <= (double)budget * MEMORY_SLACK;
    (void)printf("memory: budget %" PRIu64 " MiB, resident at most %" PRIu64
                 " MiB, at the end %" PRIu64 " MiB, both beyond the %" PRIu64
                 " MiB before the engine was opened: %s\n",
                 budget / MIB, used / MIB, (outcome.memory_final - outcome.memory_begun) / MIB,
                 outcome.memory_begun / MIB, met ? "within budget and a tenth" : "TOO MUCH");
    return met;
}

/* Where the data goes: a new folder that is removed at the end, or one that is kept. */
static char *folder_choose(const struct command *command)
{
    static char path[FOLDER_PATH_SIZE];
    /* One thread so far. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    const char *parent = command->dir != NULL ? command->dir : getenv("TMPDIR");
    parent = parent != NULL && *parent != '\0' ? parent : "/tmp";
    folder_make(parent);
    folder_path(path, parent, command->keep ? "bench_lsm-kept" : "bench_lsm-XXXXXX");
    if (command->keep) {
        folder_make(path);
    } else if (mkdtemp(path) == NULL) {
        (void)fprintf(stderr, "bench_lsm: cannot make %s\n", path);
        exit(EXIT_FAILURE);
    }
    return path;
}

static int contest(struct command *command, int argc, char **argv)
{
    struct plan *plan = &command->plan;
    if (command->mode == MODE_MEMORY && !command->keys_given) {
        plan->keys = MEMORY_KEYS;
    }
    plan->folder = folder_choose(command);
    uint8_t *pool = records_pool_make(plan->seed);
    ASSERT(pool != NULL);
    plan->pool = pool;
    struct tally tally = {.markdown = command->markdown, .by_cpu = command->by_cpu};
    report_header(plan, &tally, argc, argv);
    bool passed =
        command->mode == MODE_MEMORY
            ? memory_run(plan)
            : contest_run(plan, command->mode == MODE_PACED ? &workload_paced : NULL, &tally);
    if (!command->keep) {
        folder_remove(plan->folder);
    }
    memory_free(pool);
    return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct command command = {
        .plan = {.keys = 1000000,
                 .reads = 200000,
                 .value_size = 100,
                 .rounds = 1,
                 .depth = 256,
                 .seconds = 3,
                 .rate = 20000,
                 .seed = 1},
        .solo = {.operations = 200000, .memory_size = 512 * MIB},
    };
    command_read(&command, argc, argv);
    if (command.mode != MODE_SOLO) {
        return contest(&command, argc, argv);
    }
    command.solo.keys = command.plan.keys;
    command.solo.value_size = command.plan.value_size;
    command.solo.depth = command.plan.depth;
    command.solo.seed = command.plan.seed;
    command.solo.dir = command.dir;
    command.solo.only = command.plan.only;
    return solo_run(&command.solo);
}
