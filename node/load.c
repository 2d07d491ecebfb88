/* node/load.c -- counts become averages, and the engine is asked what ranges hold. */
#include "node/load.h"

#include "base/contract.h"
#include "base/memory.h"
#include "base/token.h"
#include "lsm/lsm.h"

#define STEP_MS 1000u

/* The job's while it runs. */
struct load_survey {
    struct env_job job;
    struct load *load;
    uint32_t range_count;
    enum status space_status;
    uint64_t space_free;
    struct buffer keys;             /* Of the bounds. */
    struct slice *bounds;           /* range_count + 1. */
    struct lsm_estimate *estimates; /* range_count: those of the last survey, when none runs. */
    struct lsm_estimate *fresh;     /* Those of the one that runs. */
};

/* ------------------------------------------------------------------ averages */

static void average_step(const struct decay *decay, const struct replica_count *count,
                         struct load_average *average, uint64_t seconds)
{
    double reads = (double)(count->reads - average->seen.reads) / (double)seconds;
    double writes = (double)(count->writes - average->seen.writes) / (double)seconds;
    average->reads = decay_average(decay, average->reads, reads);
    average->writes = decay_average(decay, average->writes, writes);
    average->seen = *count;
}

static void averages_step(struct load *load)
{
    uint64_t seconds = (env_monotonic_ms(load->env) - load->stepped_ms) / STEP_MS;
    if (seconds == 0) {
        return;
    }
    load->stepped_ms += seconds * STEP_MS;
    decay_step(&load->decay, seconds);
    hot_keys_decay(&load->hot_keys, &load->decay);
    double reads = 0.0;
    double writes = 0.0;
    for (uint32_t range = 0; range < load->range_count; range++) {
        struct load_average *average = &load->averages[range];
        average_step(&load->decay, &load->counts[range], average, seconds);
        reads += average->reads;
        writes += average->writes;
    }
    load->sum.reads = decay_read(&load->decay, reads);
    load->sum.writes = decay_read(&load->decay, writes);
}

/* ------------------------------------------------------------------ survey */

static void survey_destroy(struct load_survey *survey)
{
    if (survey == NULL) {
        return;
    }
    buffer_deinit(&survey->keys);
    memory_free(survey->bounds);
    memory_free(survey->estimates);
    memory_free(survey->fresh);
    memory_free(survey);
}

/* Where ranges begin in the engine, and where the last one ends. */
static void bounds_make(struct load_survey *survey)
{
    uint32_t count = survey->range_count;
    uint8_t end = ENGINE_KEY_LOCAL_FIRST;
    for (uint32_t range = 0; range < count; range++) {
        token_engine_bound(&survey->keys, 0, ring_range_first(range, count));
    }
    buffer_append(&survey->keys, &end, sizeof(end));
    if (buffer_status(&survey->keys) != STATUS_OK) {
        return;
    }
    for (uint32_t range = 0; range < count; range++) {
        size_t offset = (size_t)range * ENGINE_KEY_PREFIX_SIZE;
        survey->bounds[range] = slice_make(survey->keys.data + offset, ENGINE_KEY_PREFIX_SIZE);
    }
    survey->bounds[count] =
        slice_make(survey->keys.data + (size_t)count * ENGINE_KEY_PREFIX_SIZE, sizeof(end));
}

static struct load_survey *survey_create(struct load *load, uint32_t range_count)
{
    struct load_survey *survey = memory_allocate_zeroed(1, sizeof(*survey));
    if (survey == NULL) {
        return NULL;
    }
    survey->load = load;
    survey->range_count = range_count;
    survey->bounds = memory_allocate_zeroed(range_count + (size_t)1, sizeof(*survey->bounds));
    survey->estimates = memory_allocate_zeroed(range_count, sizeof(*survey->estimates));
    survey->fresh = memory_allocate_zeroed(range_count, sizeof(*survey->fresh));
    if (survey->bounds == NULL || survey->estimates == NULL || survey->fresh == NULL) {
        survey_destroy(survey);
        return NULL;
    }
    bounds_make(survey);
    if (buffer_status(&survey->keys) != STATUS_OK) {
        survey_destroy(survey);
        return NULL;
    }
    return survey;
}

static void survey_run(struct env_job *job)
{
    struct load_survey *survey = container_of(job, struct load_survey, job);
    struct load *load = survey->load;
    lsm_estimate(load->lsm, survey->bounds, survey->range_count, survey->fresh);
    survey->space_status =
        load->env->ops->space_free(load->env, load->config->data_dir, &survey->space_free);
}

static void waits_tell(struct load *load, enum status status)
{
    struct list_node *node;
    while ((node = list_take_first(&load->waits)) != NULL) {
        struct load_wait *wait = container_of(node, struct load_wait, node);
        wait->done(wait, status);
    }
}

static void survey_take(struct load *load)
{
    struct load_survey *survey = load->survey;
    struct lsm_estimate *old = survey->estimates;
    survey->estimates = survey->fresh;
    survey->fresh = old;
    load->sum.keys = 0;
    load->sum.bytes = 0;
    for (uint32_t range = 0; range < load->range_count; range++) {
        load->sum.keys += survey->estimates[range].cell_count;
        load->sum.bytes += survey->estimates[range].size;
    }
    if (survey->space_status == STATUS_OK) {
        load->space_free = survey->space_free;
    }
    load->surveyed = true;
    load->surveyed_ms = load->survey_begun_ms;
}

static void survey_done(struct env_job *job, enum status status)
{
    struct load_survey *survey = container_of(job, struct load_survey, job);
    struct load *load = survey->load;
    load->surveying = false;
    if (status == STATUS_OK) {
        survey_take(load);
    }
    waits_tell(load, load->stopping ? STATUS_CANCELLED : status);
}

static void survey_begin(struct load *load)
{
    ASSERT(!load->surveying);
    load->surveying = true;
    load->survey_begun_ms = env_monotonic_ms(load->env);
    load->survey->job = (struct env_job){.run = survey_run, .done = survey_done};
    env_submit(load->env, ENV_LANE_POOL, &load->survey->job);
}

static bool survey_is_younger(const struct load *load, uint64_t age_ms)
{
    return load->surveyed && env_monotonic_ms(load->env) - load->surveyed_ms < age_ms;
}

void load_survey_wait(struct load *load, struct load_wait *wait)
{
    if (load->stopping || load->range_count == 0) {
        wait->done(wait, load->stopping ? STATUS_CANCELLED : STATUS_BEHIND);
    } else if (survey_is_younger(load, LOAD_SURVEY_FRESH_MS)) {
        wait->done(wait, STATUS_OK);
    } else {
        list_append(&load->waits, &wait->node);
        if (!load->surveying) {
            survey_begin(load);
        }
    }
}

void load_survey_leave(struct load *load, struct load_wait *wait)
{
    ASSERT(!list_empty(&load->waits));
    list_remove(&wait->node);
}

struct load_view load_range_view(const struct load *load, uint32_t range)
{
    ASSERT(range < load->range_count);
    const struct lsm_estimate *estimate = &load->survey->estimates[range];
    const struct load_average *average = &load->averages[range];
    return (struct load_view){.keys = estimate->cell_count,
                              .bytes = estimate->size,
                              .reads = decay_read(&load->decay, average->reads),
                              .writes = decay_read(&load->decay, average->writes)};
}

/* ------------------------------------------------------------------ life */

static void load_fired(struct env_timer *timer)
{
    struct load *load = container_of(timer, struct load, timer);
    uint64_t survey_ms = (uint64_t)load->config->survey_s * 1000;
    averages_step(load);
    if (survey_ms > 0 && !load->surveying && !survey_is_younger(load, survey_ms)) {
        survey_begin(load);
    }
    env_timer_start_ms(load->env, timer, STEP_MS);
}

void load_init(struct load *load, struct env *env, struct lsm *lsm, const struct config *config)
{
    *load = (struct load){.env = env, .lsm = lsm, .config = config};
    load->timer.fired = load_fired;
    list_init(&load->waits);
    decay_init(&load->decay, config->half_life_s);
    hot_keys_init(&load->hot_keys, config->hot_key_stride, config->hot_key_bytes, config->id);
}

enum status load_resize(struct load *load, const struct replica *replica)
{
    uint32_t range_count = replica->range_count;
    if (range_count == load->range_count) {
        return STATUS_OK;
    }
    ASSERT(load->range_count == 0); /* The count never changes after bootstrap. */
    load->counts = replica->range_counts;
    load->averages = memory_allocate_zeroed(range_count, sizeof(*load->averages));
    load->survey = survey_create(load, range_count);
    if (load->averages == NULL || load->survey == NULL) {
        load_close(load);
        return STATUS_NO_MEMORY;
    }
    load->range_count = range_count;
    if (!load->stopping) {
        load->stepped_ms = env_monotonic_ms(load->env);
        env_timer_start_ms(load->env, &load->timer, STEP_MS);
    }
    return STATUS_OK;
}

void load_stop(struct load *load)
{
    if (load->env == NULL || load->stopping) {
        return; /* Never got as far as to begin. */
    }
    load->stopping = true;
    load->env->ops->timer_stop(load->env, &load->timer);
    if (!load->surveying) {
        waits_tell(load, STATUS_CANCELLED);
    }
}

bool load_stopped(const struct load *load)
{
    return !load->surveying;
}

void load_close(struct load *load)
{
    memory_free(load->averages);
    survey_destroy(load->survey);
    load->averages = NULL;
    load->survey = NULL;
}
