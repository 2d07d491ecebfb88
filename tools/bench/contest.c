/*
 * tools/bench/contest.c -- interleaved rounds.
 *
 *  (1) The engines take turns within each round of each workload, another first each time, so that
 *      what else goes on in the machine falls on all alike.
 *  (2) A trial gets a folder of its own: empty, or a copy of one that was filled once. So no trial
 *      sees what another did.
 */
#include "tools/bench/contest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/contract.h"
#include "base/memory.h"
#include "tools/bench/folder.h"

bool contest_takes(const char *only, const char *name)
{
    if (only == NULL) {
        return true;
    }
    while (*only != '\0') {
        size_t length = strcspn(only, ",");
        if (length > 0 && strncmp(only, name, length) == 0) {
            return true;
        }
        only += length + (only[length] == ',');
    }
    return false;
}

static void start_path(char path[FOLDER_PATH_SIZE], const struct plan *plan,
                       const struct engine_ops *ops, enum start start)
{
    char name[128]; /* With all that it depends on: it may be kept for another run. */
    (void)snprintf(name, sizeof(name), "%s-%" PRIu64 "-%" PRIu32 "-%" PRIu64 "-%s", ops->name,
                   plan->keys, plan->value_size, plan->seed,
                   start == START_FILLED ? "filled" : "compacted");
    folder_path(path, plan->folder, name);
}

/* Makes the folder with `how`, from a copy of `from` if that is not NULL; nothing if it is there.
 */
static bool folder_prepare(const struct plan *plan, const struct workload *how,
                           const struct engine_ops *ops, const char *from, const char *path)
{
    if (folder_exists(path)) {
        return true;
    }
    if (from != NULL) {
        folder_copy(from, path);
    }
    struct outcome outcome;
    bool made = trial_run(plan, how, ops, path, &outcome) && outcome.failed == 0;
    if (!made) {
        folder_remove(path);
    }
    return made;
}

/* Makes what a workload starts from; false if that fails. */
static bool start_prepare(const struct plan *plan, const struct engine_ops *ops, enum start start)
{
    char filled[FOLDER_PATH_SIZE];
    char compacted[FOLDER_PATH_SIZE];
    start_path(filled, plan, ops, START_FILLED);
    start_path(compacted, plan, ops, START_COMPACTED);
    bool made =
        start == START_EMPTY || folder_prepare(plan, &workload_prepare_filled, ops, NULL, filled);
    return made && (start != START_COMPACTED ||
                    folder_prepare(plan, &workload_prepare_compacted, ops, filled, compacted));
}

static void trial_in_folder(const struct plan *plan, const struct workload *workload,
                            const struct engine_ops *ops, struct outcome *outcome)
{
    char path[FOLDER_PATH_SIZE];
    folder_path(path, plan->folder, "trial");
    folder_remove(path);
    *outcome = (struct outcome){0};
    if (!start_prepare(plan, ops, workload->start)) {
        return;
    }
    if (workload->start != START_EMPTY) {
        char from[FOLDER_PATH_SIZE];
        start_path(from, plan, ops, workload->start);
        folder_copy(from, path);
    }
    (void)trial_run(plan, workload, ops, path, outcome);
    folder_remove(path);
}

static void workload_contest(const struct plan *plan, const struct workload *workload,
                             struct tally *tally)
{
    struct results *results = memory_allocate_zeroed(1, sizeof(*results));
    ASSERT(results != NULL);
    results->workload = workload;
    results->rounds = plan->rounds;
    const struct engine_ops *engines[ENGINE_COUNT_MAX];
    uint32_t count = engines_list(engines);
    for (uint32_t engine = 0; engine < count; engine++) {
        if (engine == 0 || contest_takes(plan->engines, engines[engine]->name)) {
            results->engines[results->engine_count++] = engines[engine];
        }
    }
    count = results->engine_count;
    for (uint32_t round = 0; round < plan->rounds; round++) {
        for (uint32_t turn = 0; turn < count; turn++) {
            uint32_t engine = (round + turn) % count;
            trial_in_folder(plan, workload, results->engines[engine],
                            &results->outcomes[engine][round]);
        }
    }
    report_results(results, tally);
    memory_free(results);
}

/* Ours are made anew: the engine may have changed since. */
static void stale_remove(const struct plan *plan)
{
    for (enum start start = START_FILLED; start <= START_COMPACTED; start++) {
        char path[FOLDER_PATH_SIZE];
        start_path(path, plan, &engine_ringkv, start);
        folder_remove(path);
    }
}

bool contest_run(const struct plan *plan, const struct workload *one, struct tally *tally)
{
    stale_remove(plan);
    if (one != NULL) {
        workload_contest(plan, one, tally);
    } else {
        for (const struct workload *workload = workloads; workload->name != NULL; workload++) {
            if (contest_takes(plan->only, workload->name)) {
                workload_contest(plan, workload, tally);
            }
        }
    }
    report_summary(tally);
    return tally->incomplete == 0 && tally->row_count > 0;
}
