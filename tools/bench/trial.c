/* tools/bench/trial.c -- fork, measure, tell. */
#include "tools/bench/trial.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/contract.h"
#include "base/memory.h"
#include "tools/bench/folder.h"
#include "tools/bench/warmth.h"
#include "tools/bench/workload.h"

/* At rest: this many looks in a row at which the process had used next to no CPU time. */
#define SETTLE_LOOK_NS UINT64_C(100000000)
#define SETTLE_CPU_SECONDS 0.002
#define SETTLE_LOOK_COUNT 3
#define SETTLE_NS_MAX (UINT64_C(120) * 1000000000)
#define TRIAL_SECONDS_MAX 3600u

static double cpu_seconds(void)
{
    struct rusage usage;
    int rc = getrusage(RUSAGE_SELF, &usage);
    ASSERT(rc == 0);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* The number after `name` in a file of /proc/self; 0 if there is none. */
static uint64_t proc_number(const char *path, const char *name)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    char line[256];
    uint64_t number = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            number = strtoull(line + strlen(name), NULL, 10);
        }
    }
    (void)fclose(file);
    return number;
}

static uint64_t bytes_written(void)
{
    return proc_number("/proc/self/io", "wchar:");
}

void trial_begin(struct trial *trial)
{
    histogram_clear(&trial->latency_ns);
    trial->begun_written = bytes_written();
    trial->begun_cpu = cpu_seconds();
    trial->begun_ns = bench_now_ns();
}

void trial_end(struct trial *trial, uint64_t operations)
{
    trial->outcome.seconds = (double)(bench_now_ns() - trial->begun_ns) / 1e9;
    trial->outcome.cpu_seconds = cpu_seconds() - trial->begun_cpu;
    trial->outcome.operations = operations;
}

void trial_settle(struct trial *trial)
{
    uint64_t begun_ns = bench_now_ns();
    uint32_t looks = 0;
    while (looks < SETTLE_LOOK_COUNT && bench_now_ns() - begun_ns < SETTLE_NS_MAX) {
        double before = cpu_seconds();
        trial->ops->idle(trial->engine, SETTLE_LOOK_NS);
        looks = cpu_seconds() - before < SETTLE_CPU_SECONDS ? looks + 1 : 0;
    }
}

void trial_open(struct trial *trial)
{
    struct engine_options options = {
        .path = trial->path,
        .cache_size = trial->workload->cache_size,
        .memtable_size = trial->workload->memtable_size,
        .reads_only = trial->workload->reads_only,
        .key_count = trial->plan->keys,
    };
    if (!trial->ops->open(&options, &trial->engine)) {
        exit(EXIT_FAILURE);
    }
}

void trial_close(struct trial *trial)
{
    trial->ops->close(trial->engine);
    trial->engine = NULL;
}

static void outcome_complete(struct trial *trial)
{
    struct outcome *outcome = &trial->outcome;
    outcome->p50_ns = histogram_quantile(&trial->latency_ns, 0.5);
    outcome->p99_ns = histogram_quantile(&trial->latency_ns, 0.99);
    outcome->p999_ns = histogram_quantile(&trial->latency_ns, 0.999);
    outcome->max_ns = trial->latency_ns.max;
    outcome->cpu_settled = outcome->cpu_seconds;
    if (trial->user_written > 0) {
        trial_settle(trial);
        outcome->cpu_settled = cpu_seconds() - trial->begun_cpu;
        outcome->write_amplification =
            (double)(bytes_written() - trial->begun_written) / (double)trial->user_written;
    }
    outcome->folder_size = folder_size(trial->path);
    outcome->memory_peak = proc_number("/proc/self/status", "VmHWM:") << 10;
    outcome->memory_final = proc_number("/proc/self/status", "VmRSS:") << 10;
    outcome->complete = true;
}

static _Noreturn void trial_child(struct trial *trial, int pipe_end)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* Its threads take the name over: `perf report --comm` tells workloads apart. */
    (void)prctl(PR_SET_NAME, trial->workload->name);
    (void)alarm(TRIAL_SECONDS_MAX + trial->plan->minutes * 60);
    trial->outcome.memory_begun = proc_number("/proc/self/status", "VmRSS:") << 10;
    if (!trial->workload->unopened) {
        trial_open(trial);
    }
    if (trial->workload->start != START_EMPTY) {
        trial_settle(trial);
    }
    trial->workload->run(trial);
    outcome_complete(trial);
    if (trial->plan->explain) {
        trial->ops->explain(trial->engine);
    }
    trial_close(trial);
    ssize_t told = write(pipe_end, &trial->outcome, sizeof(trial->outcome));
    (void)fflush(stderr);
    _exit(told == (ssize_t)sizeof(trial->outcome) ? EXIT_SUCCESS : EXIT_FAILURE);
}

bool trial_run(const struct plan *plan, const struct workload *workload,
               const struct engine_ops *ops, const char *path, struct outcome *outcome)
{
    int ends[2];
    int rc = pipe(ends);
    ASSERT(rc == 0);
    (void)fflush(NULL); /* Or the child would say it again. */
    warmth_touch();
    pid_t child = fork();
    ASSERT(child >= 0);
    if (child == 0) {
        (void)close(ends[0]);
        struct trial *trial = memory_allocate_zeroed(1, sizeof(*trial));
        ASSERT(trial != NULL);
        trial->plan = plan;
        trial->workload = workload;
        trial->ops = ops;
        trial->path = path;
        trial_child(trial, ends[1]);
    }
    (void)close(ends[1]);
    struct warmth *warmth = warmth_begin(path); /* The child is forked: threads may begin. */
    ssize_t got = read(ends[0], outcome, sizeof(*outcome));
    warmth_end(warmth);
    (void)close(ends[0]);
    int how = 0;
    pid_t ended = waitpid(child, &how, 0);
    ASSERT(ended == child);
    bool complete = got == (ssize_t)sizeof(*outcome) && WIFEXITED(how) && WEXITSTATUS(how) == 0;
    if (!complete) {
        *outcome = (struct outcome){0};
        (void)fprintf(stderr, "bench_lsm: %s on %s ended with %s %d\n", workload->name, ops->name,
                      WIFSIGNALED(how) ? "signal" : "code",
                      WIFSIGNALED(how) ? WTERMSIG(how) : WEXITSTATUS(how));
    }
    return complete;
}
