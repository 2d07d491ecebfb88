/* tools/bench/workload_write.c -- workloads that write. */
#include <inttypes.h>

#include "base/contract.h"
#include "tools/bench/workload.h"

#define NS_PER_S UINT64_C(1000000000)
#define COUNT_UNBOUND (UINT64_MAX / 2) /* Until the time is over. */
#define LARGE_TOTAL_MIN (UINT64_C(32) << 20)
#define LARGE_TOTAL_MAX (UINT64_C(1) << 30)

static uint32_t or_one(uint32_t value)
{
    return value == 0 ? 1 : value;
}

void load_prepare(const struct trial *trial, struct load *load)
{
    const struct plan *plan = trial->plan;
    const struct shape *shape = &trial->workload->shape;
    *load = (struct load){
        .records = {.order = shape->order,
                    .key_count = plan->keys,
                    .value_size = plan->value_size,
                    .remove = shape->remove,
                    .pool = plan->pool},
        .seed = plan->seed,
        .writers = or_one(shape->writers),
        .depth = plan->depth,
        .batch = or_one(shape->batch),
        .sync = shape->sync,
        .count = plan->keys,
    };
}

void load_run(struct trial *trial, struct load *load)
{
    trial_begin(trial);
    trial->ops->load(trial->engine, load);
    trial_end(trial, load->done);
    trial->latency_ns = load->latency_ns;
    trial->outcome.failed += load->failed;
    trial->user_written =
        load->done * (RECORD_KEY_SIZE + (load->records.remove ? 0 : load->records.value_size));
}

void run_load(struct trial *trial)
{
    struct load load;
    load_prepare(trial, &load);
    load_run(trial, &load);
}

void run_load_timed(struct trial *trial)
{
    struct load load;
    load_prepare(trial, &load);
    load.count = COUNT_UNBOUND;
    load.time_limit_ns = trial->plan->seconds * NS_PER_S;
    load_run(trial, &load);
}

uint64_t large_count(const struct plan *plan)
{
    uint64_t total = plan->keys * (RECORD_KEY_SIZE + plan->value_size);
    total = total < LARGE_TOTAL_MIN ? LARGE_TOTAL_MIN : total;
    total = total > LARGE_TOTAL_MAX ? LARGE_TOTAL_MAX : total;
    return total / LARGE_VALUE_SIZE;
}

void run_load_large(struct trial *trial)
{
    struct load load;
    load_prepare(trial, &load);
    load.count = large_count(trial->plan);
    load.records.key_count = load.count;
    load.records.value_size = LARGE_VALUE_SIZE;
    load_run(trial, &load);
}

void run_paced(struct trial *trial)
{
    struct load load;
    load_prepare(trial, &load);
    load.count = COUNT_UNBOUND;
    load.rate = trial->plan->rate;
    load.time_limit_ns = UINT64_C(60) * trial->plan->minutes * NS_PER_S;
    load_run(trial, &load);
}

void fill_and_settle(struct trial *trial, const struct records *records, uint64_t count)
{
    struct load load;
    load_prepare(trial, &load);
    load.records = *records;
    load.count = count;
    trial->ops->load(trial->engine, &load);
    trial->outcome.failed += load.failed;
    trial->ops->flush(trial->engine);
    trial_settle(trial);
}

void run_prepare_filled(struct trial *trial)
{
    struct load load;
    load_prepare(trial, &load);
    fill_and_settle(trial, &load.records, load.count);
}

void run_prepare_compacted(struct trial *trial)
{
    trial->ops->compact(trial->engine);
    trial_settle(trial);
}
