/*
 * tools/bench/report.c -- medians over the rounds, gains, targets met or missed.
 */
#include "tools/bench/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/contract.h"
#include "tools/bench/target.h"

#define MIB 1048576.0

static const char *const measure_names[MEASURE_COUNT] = {
    [MEASURE_RATE] = "rate",     [MEASURE_CPU] = "CPU",
    [MEASURE_P50] = "p50",       [MEASURE_P99] = "p99",
    [MEASURE_P999] = "p99.9",    [MEASURE_MAX] = "worst",
    [MEASURE_ONCE] = "once",     [MEASURE_WRITE_AMPLIFICATION] = "write amplification",
    [MEASURE_FOLDER] = "folder", [MEASURE_MEMORY] = "memory",
};
static const char *const measure_units[MEASURE_COUNT] = {
    [MEASURE_RATE] = "k/s",   [MEASURE_CPU] = "us/op",
    [MEASURE_P50] = "us",     [MEASURE_P99] = "us",
    [MEASURE_P999] = "us",    [MEASURE_MAX] = "us",
    [MEASURE_ONCE] = "ms",    [MEASURE_WRITE_AMPLIFICATION] = "x",
    [MEASURE_FOLDER] = "MiB", [MEASURE_MEMORY] = "MiB",
};

/* --- figures ---------------------------------------------------------------------------------- */

static double figure_of(const struct outcome *outcome, enum measure measure)
{
    double operations = outcome->operations == 0 ? 1 : (double)outcome->operations;
    switch (measure) {
    case MEASURE_RATE:
        return outcome->seconds > 0 ? operations / outcome->seconds / 1e3 : 0;
    case MEASURE_CPU:
        return outcome->cpu_seconds / operations * 1e6;
    case MEASURE_P50:
        return (double)outcome->p50_ns / 1e3;
    case MEASURE_P99:
        return (double)outcome->p99_ns / 1e3;
    case MEASURE_P999:
        return (double)outcome->p999_ns / 1e3;
    case MEASURE_MAX:
        return (double)outcome->max_ns / 1e3;
    case MEASURE_ONCE:
        return (double)outcome->once_ns / 1e6;
    case MEASURE_WRITE_AMPLIFICATION:
        return outcome->write_amplification;
    case MEASURE_FOLDER:
        return (double)outcome->folder_size / MIB;
    case MEASURE_MEMORY:
        return (double)outcome->memory_peak / MIB;
    case MEASURE_COUNT:
        break;
    }
    UNREACHABLE("measure");
}

static int double_compare(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

/* The median of the rounds that were completed; 0 if there is none. */
static double figure(const struct results *results, uint32_t engine, enum measure measure)
{
    double figures[ROUNDS_MAX];
    uint32_t count = 0;
    for (uint32_t round = 0; round < results->rounds; round++) {
        const struct outcome *outcome = &results->outcomes[engine][round];
        if (outcome->complete) {
            figures[count++] = figure_of(outcome, measure);
        }
    }
    if (count == 0) {
        return 0;
    }
    qsort(figures, count, sizeof(figures[0]), double_compare);
    return count % 2 == 1 ? figures[count / 2] : (figures[count / 2 - 1] + figures[count / 2]) / 2;
}

static double settled_cpu(const struct results *results, uint32_t engine)
{
    struct results copy = *results;
    for (uint32_t round = 0; round < copy.rounds; round++) {
        copy.outcomes[engine][round].cpu_seconds = copy.outcomes[engine][round].cpu_settled;
    }
    return figure(&copy, engine, MEASURE_CPU);
}

/* How many times better ours is; 0 if either has no figure. */
static double gain(const struct results *results, uint32_t opponent, enum measure measure)
{
    double ours = figure(results, 0, measure);
    double theirs = figure(results, opponent, measure);
    if (ours <= 0 || theirs <= 0) {
        return 0;
    }
    return measure == MEASURE_RATE ? ours / theirs : theirs / ours;
}

/* On a machine that others use, CPU time says more than time. */
static enum measure judged(enum measure measure, const struct tally *tally)
{
    bool timed = measure == MEASURE_RATE || measure == MEASURE_ONCE;
    return tally->by_cpu && timed ? MEASURE_CPU : measure;
}

/* --- people ----------------------------------------------------------------------------------- */

static void engine_print(const struct results *results, uint32_t engine)
{
    double memory[2] = {0, 0};
    uint64_t failed = 0;
    uint32_t complete = 0;
    for (uint32_t round = 0; round < results->rounds; round++) {
        const struct outcome *outcome = &results->outcomes[engine][round];
        memory[1] = (double)outcome->memory_final / MIB;
        failed += outcome->failed;
        complete += outcome->complete;
    }
    memory[0] = figure(results, engine, MEASURE_MEMORY);
    (void)printf("  %-8s", results->engines[engine]->name);
    if (complete == 0) {
        (void)printf(" no outcome\n");
        return;
    }
    if (results->workload->primary == MEASURE_ONCE) {
        (void)printf(" once %9.2f ms, CPU %9.2f ms", figure(results, engine, MEASURE_ONCE),
                     figure(results, engine, MEASURE_CPU) / 1e3);
    } else {
        (void)printf(" %9.1f k/s %7.2f CPU us/op", figure(results, engine, MEASURE_RATE),
                     figure(results, engine, MEASURE_CPU));
    }
    (void)printf("  p50 %7.1f p99 %7.1f p99.9 %8.1f worst %9.1f us",
                 figure(results, engine, MEASURE_P50), figure(results, engine, MEASURE_P99),
                 figure(results, engine, MEASURE_P999), figure(results, engine, MEASURE_MAX));
    double amplification = figure(results, engine, MEASURE_WRITE_AMPLIFICATION);
    if (amplification > 0) {
        (void)printf("  written %5.2fx, settled %6.2f CPU us/op", amplification,
                     settled_cpu(results, engine));
    }
    (void)printf("  folder %6.0f MiB  memory %5.0f (peak %5.0f) MiB",
                 figure(results, engine, MEASURE_FOLDER), memory[1], memory[0]);
    if (failed > 0 || complete < results->rounds) {
        (void)printf("  FAILED: %" PRIu64 " operations, %" PRIu32 " trials", failed,
                     results->rounds - complete);
    }
    (void)printf("\n");
}

static double target_gain(const struct target *target, const struct engine_ops *opponent)
{
    return opponent == engine_rocksdb ? target->rocksdb_gain : target->leveldb_gain;
}

/* Counts it, and tells it if it is for people. */
static void target_judge(const struct results *results, const struct target *target,
                         struct tally *tally)
{
    enum measure measure = judged(target->measure, tally);
    for (uint32_t opponent = 1; opponent < results->engine_count; opponent++) {
        double wanted = target_gain(target, results->engines[opponent]);
        if (wanted > 0) {
            double got = gain(results, opponent, measure);
            bool met = got >= wanted;
            tally->target_count++;
            tally->target_met += met;
            if (!tally->markdown) {
                (void)printf("    %-7s %s of %s: %.2f times better, target %.2f\n",
                             met ? "met" : "MISSED", measure_names[measure],
                             results->engines[opponent]->name, got, wanted);
            }
        }
    }
    if (target->limit > 0) {
        measure = target->measure;
        double ours = figure(results, 0, measure);
        bool met = ours > 0 && ours <= target->limit;
        tally->target_count++;
        tally->target_met += met;
        if (!tally->markdown) {
            (void)printf("    %-7s %s %.2f %s, target at most %.2f\n", met ? "met" : "MISSED",
                         measure_names[measure], ours, measure_units[measure], target->limit);
        }
    }
}

static void people_print(const struct results *results)
{
    const struct workload *workload = results->workload;
    (void)printf("%s: %s\n", workload->name, workload->text);
    for (uint32_t engine = 0; engine < results->engine_count; engine++) {
        engine_print(results, engine);
    }
    for (uint32_t opponent = 1; opponent < results->engine_count; opponent++) {
        (void)printf("    beside %s: %s %.2f times better, CPU %.2f\n",
                     results->engines[opponent]->name, measure_names[workload->primary],
                     gain(results, opponent, workload->primary),
                     gain(results, opponent, MEASURE_CPU));
    }
}

/* --- a page ----------------------------------------------------------------------------------- */

static const char *number_text(char text[32], double number)
{
    int digits = number >= 1000 ? 0 : number >= 10 ? 1 : 2;
    (void)snprintf(text, 32, "%.*f", digits, number);
    return text;
}

/* The target for gains that is judged by this measure, or the one with a limit of it. */
static const struct target *target_find(const struct workload *workload, enum measure measure,
                                        const struct tally *tally, bool limit)
{
    for (const struct target *target = targets; target->workload != NULL; target++) {
        bool gains = target->rocksdb_gain > 0 || target->leveldb_gain > 0;
        bool fits = limit ? target->limit > 0 && target->measure == measure
                          : gains && judged(target->measure, tally) == measure;
        if (fits && strcmp(target->workload, workload->name) == 0) {
            return target;
        }
    }
    return NULL;
}

static void cells_print(const struct results *results, enum measure measure,
                        const struct target *gains, const struct target *limit)
{
    char text[32];
    (void)printf("| %s | %s, %s |", results->workload->name, measure_names[measure],
                 measure_units[measure]);
    for (uint32_t engine = 0; engine < results->engine_count; engine++) {
        (void)printf(" %s |", number_text(text, figure(results, engine, measure)));
    }
    for (uint32_t opponent = 1; opponent < results->engine_count; opponent++) {
        double got = gain(results, opponent, measure);
        double wanted = gains == NULL ? 0 : target_gain(gains, results->engines[opponent]);
        (void)printf(" %s", number_text(text, got));
        if (wanted > 0) {
            (void)printf(" (%s %s)", number_text(text, wanted),
                         got >= wanted ? "met" : "**missed**");
        }
        (void)printf(" |");
    }
    if (limit != NULL) {
        double ours = figure(results, 0, measure);
        (void)printf(" %s %s |\n", number_text(text, limit->limit),
                     ours > 0 && ours <= limit->limit ? "met" : "**missed**");
    } else {
        (void)printf(" |\n");
    }
}

/* The measure of the workload, CPU, and whatever has a target. */
static void page_print(const struct results *results, const struct tally *tally)
{
    const struct workload *workload = results->workload;
    for (int at = 0; at < MEASURE_COUNT; at++) {
        enum measure measure = (enum measure)at;
        const struct target *gains = target_find(workload, measure, tally, false);
        const struct target *limit = target_find(workload, measure, tally, true);
        if (gains != NULL || limit != NULL || measure == workload->primary ||
            measure == MEASURE_CPU) {
            cells_print(results, measure, gains, limit);
        }
    }
}

/* --- all of it -------------------------------------------------------------------------------- */

static void processor_name(char name[128])
{
    (void)snprintf(name, 128, "unknown processor");
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (file == NULL) {
        return;
    }
    char line[256];
    while (fgets(line, sizeof(line), file) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
            (void)snprintf(name, 128, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
            break;
        }
    }
    (void)fclose(file);
}

void report_header(const struct plan *plan, const struct tally *tally, int argc, char **argv)
{
    struct utsname machine;
    int rc = uname(&machine);
    ASSERT(rc == 0);
    char processor[128];
    processor_name(processor);
    double load[1] = {0};
    (void)getloadavg(load, 1);
    const char *indent = tally->markdown ? "    " : "";
    (void)printf("%s", indent);
    for (int index = 0; index < argc; index++) {
        const char *name = strrchr(argv[index], '/');
        (void)printf("%s%s", index == 0 ? "" : " ",
                     index == 0 && name != NULL ? name + 1 : argv[index]);
    }
    (void)printf("\n\n%" PRIu64 " keys of %d B, values of %" PRIu32
                 " B (half compressible), %" PRIu64 " reads, %" PRIu32
                 " rounds, unsynced writes outstanding %" PRIu32 ", seed %" PRIu64 ".\n"
                 "Machine: %ld x %s, %s %s, load %.1f before.\n",
                 plan->keys, RECORD_KEY_SIZE, plan->value_size, plan->reads, plan->rounds,
                 plan->depth, plan->seed, sysconf(_SC_NPROCESSORS_ONLN), processor, machine.sysname,
                 machine.release, load[0]);
    const struct engine_ops *engines[ENGINE_COUNT_MAX];
    uint32_t count = engines_list(engines);
    for (uint32_t engine = 0; engine < count; engine++) {
        (void)printf("%s%s.\n", tally->markdown ? "- " : "", engines[engine]->options_text);
    }
    if (engine_rocksdb == NULL) {
        (void)printf("%sThis program was built without RocksDB.\n", tally->markdown ? "- " : "");
    }
    if (engine_leveldb == NULL) {
        (void)printf("%sThis program was built without LevelDB.\n", tally->markdown ? "- " : "");
    }
    (void)printf("\n");
}

static void page_begin(const struct results *results)
{
    (void)printf("| workload | measure |");
    for (uint32_t engine = 0; engine < results->engine_count; engine++) {
        (void)printf(" %s |", results->engines[engine]->name);
    }
    for (uint32_t opponent = 1; opponent < results->engine_count; opponent++) {
        (void)printf(" times better than %s (target) |", results->engines[opponent]->name);
    }
    (void)printf(" at most |\n| --- | --- |");
    for (uint32_t column = 0; column < 2 * results->engine_count; column++) {
        (void)printf(" ---: |");
    }
    (void)printf("\n");
}

void report_results(const struct results *results, struct tally *tally)
{
    if (tally->markdown) {
        if (tally->row_count == 0) {
            page_begin(results);
        }
        page_print(results, tally);
    } else {
        people_print(results);
    }
    bool slower = false;
    for (uint32_t opponent = 1; opponent < results->engine_count; opponent++) {
        slower = slower || gain(results, opponent, judged(results->workload->primary, tally)) < 1;
    }
    for (const struct target *target = targets; target->workload != NULL; target++) {
        if (strcmp(target->workload, results->workload->name) == 0) {
            target_judge(results, target, tally);
        }
    }
    for (uint32_t engine = 0; engine < results->engine_count; engine++) {
        for (uint32_t round = 0; round < results->rounds; round++) {
            const struct outcome *outcome = &results->outcomes[engine][round];
            tally->incomplete += !outcome->complete || outcome->failed > 0;
        }
    }
    tally->row_count++;
    tally->opponent_count = results->engine_count - 1;
    tally->row_slower += slower;
    (void)fflush(stdout);
}

void report_summary(const struct tally *tally)
{
    (void)printf("\n%" PRIu32 " of %" PRIu32 " targets met", tally->target_met,
                 tally->target_count);
    if (tally->opponent_count > 0) {
        (void)printf("; no row slower than the better opponent: %s",
                     tally->row_slower == 0 ? "yes" : "no");
    }
    if (tally->row_slower > 0) {
        (void)printf(" (%" PRIu32 " of %" PRIu32 " are)", tally->row_slower, tally->row_count);
    }
    if (tally->incomplete > 0) {
        (void)printf("; %" PRIu32 " trials FAILED", tally->incomplete);
    }
    (void)printf("%s\n", tally->by_cpu ? " (rates judged by CPU time)" : "");
}
