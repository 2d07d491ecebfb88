/* node/stream_target.c -- which ranges are streamed, and what comes next in each stream. */
#include "node/stream_target.h"

#include "base/log.h"
#include "base/memory.h"
#include "node/mutant.h"
#include "node/stream_internal.h"

#define DELAY_MS_MIN 100u  /* After a failure, doubled with each in a row, */
#define DELAY_MS_MAX 5000u /* up to this; */
#define SOON_MS_MIN 10u    /* of a source that only asks for patience, from this */
#define SOON_MS_MAX 500u   /* to this. */
#define DELAY_DOUBLINGS_MAX 10u

static const uint32_t stream_moves[] = {
    [STREAM_LOADING] = BIT(STREAM_ASKING) | BIT(STREAM_WAITING),
    [STREAM_WAITING] = BIT(STREAM_ASKING) | BIT(STREAM_WAITING),
    [STREAM_ASKING] = BIT(STREAM_FETCHING) | BIT(STREAM_RECORDING) | BIT(STREAM_WAITING),
    [STREAM_FETCHING] = BIT(STREAM_WRITING) | BIT(STREAM_WAITING),
    [STREAM_WRITING] = BIT(STREAM_INGESTING) | BIT(STREAM_REMOVING),
    [STREAM_INGESTING] = BIT(STREAM_RECORDING) | BIT(STREAM_REMOVING),
    [STREAM_RECORDING] = BIT(STREAM_REMOVING),
    [STREAM_REMOVING] = BIT(STREAM_ASKING) | BIT(STREAM_WAITING),
};

static void target_look(struct stream_target *target);

void stream_state_set(struct stream *stream, enum stream_state state)
{
    ASSERT((stream_moves[stream->state] & BIT(state)) != 0);
    stream->state = state;
}

/* ------------------------------------------------------------------ ends */

static void stream_free(struct stream *stream)
{
    stream->target->stream_count--;
    list_remove(&stream->node);
    stream_record_deinit(&stream->record);
    buffer_deinit(&stream->chunk_next);
    memory_free(stream->bytes);
    memory_free(stream);
}

static void last_file_done(struct env_job *job, enum status status)
{
    struct stream *stream = container_of(job, struct stream, job);
    struct stream_target *target = stream->target;
    if (stream_job_ended(stream, status)) {
        stream_free(stream);
        target_look(target);
    }
}

bool stream_gone(struct stream *stream)
{
    struct stream_target *target = stream->target;
    if (!stream->ended || target->stopping) {
        return stream->ended || target->stopping;
    }
    if (stream->busy) {
        return true;
    }
    if (stream->file_id != 0) {
        stream_job_begin(stream, stream_file_run, last_file_done);
        return true;
    }
    stream_free(stream);
    target_look(target);
    return true;
}

static void stream_end(struct stream *stream)
{
    if (!stream->busy) {
        stream_fetch_end(stream);
    }
    stream->ended = true;
}

/* ------------------------------------------------------------------ trying again */

void stream_wait(struct stream *stream, uint64_t delay_ms)
{
    env_timer_start_ms(stream->target->env, &stream->timer, delay_ms);
}

/* The source is all right, and only asks to be asked again. */
static bool is_patience(enum status status)
{
    return status == STATUS_BEHIND || status == STATUS_OVERLOADED || status == STATUS_NOT_FOUND;
}

static uint64_t delay_next_ms(struct stream *stream, enum status status)
{
    uint64_t delay_ms = is_patience(status) ? SOON_MS_MIN : DELAY_MS_MIN;
    uint64_t delay_ms_max = is_patience(status) ? SOON_MS_MAX : DELAY_MS_MAX;
    delay_ms <<= stream->failure_count;
    stream->failure_count += stream->failure_count < DELAY_DOUBLINGS_MAX ? 1 : 0;
    return delay_ms < delay_ms_max ? delay_ms : delay_ms_max;
}

void stream_retry(struct stream *stream, enum status status)
{
    struct stream_target *target = stream->target;
    uint64_t delay_ms = delay_next_ms(stream, status);
    stream_fetch_end(stream);
    stream->problem = status;
    if (!is_patience(status)) {
        target->options.counters->stream_errors++;
        log_info(target->env, "stream.retry",
                 "range=%u session=%llu source=%u status=\"%s\" again_ms=%llu", stream->range,
                 (unsigned long long)stream->session, stream->source_id, status_name(status),
                 (unsigned long long)delay_ms);
    }
    stream_state_set(stream, STREAM_WAITING);
    stream_wait(stream, delay_ms);
}

static void timer_fired(struct env_timer *timer)
{
    struct stream *stream = container_of(timer, struct stream, timer);
    if (stream->state == STREAM_WAITING) {
        stream_next(stream);
    } else {
        stream_retry(stream, STATUS_TIMEOUT);
    }
}

/* ------------------------------------------------------------------ what comes next */

static bool source_is_done(const struct stream *stream, uint32_t id)
{
    for (uint32_t index = 0; index < stream->record.source_count; index++) {
        if (stream->record.sources[index].id == id) {
            return stream->record.sources[index].done;
        }
    }
    return false;
}

/* The source of last time unless it failed; else the next one, of those that are up if any is. */
static uint32_t source_choose(const struct stream *stream, const struct topology_sources *sources)
{
    uint32_t first = stream->range; /* So that not all ranges begin with the same one. */
    uint32_t fallback = 0;
    for (uint32_t index = 0; index < sources->count; index++) {
        if (sources->ids[index] == stream->source_id) {
            first = index + (stream->failure_count > 0 ? 1 : 0);
        }
    }
    for (uint32_t step = 0; step < sources->count; step++) {
        uint32_t id = sources->ids[(first + step) % sources->count];
        if (source_is_done(stream, id)) {
            continue;
        }
        if (peers_up(stream->target->options.peers, id)) {
            return id;
        }
        fallback = fallback == 0 ? id : fallback;
    }
    return fallback;
}

static struct topology_sources sources_of(const struct stream_target *target, uint32_t range)
{
    const struct topology *topology = target->options.topology;
    struct topology_sources sources;
    topology_sources(topology, &topology->ranges[range], target->options.config->id, &sources);
    if (MUTANT(STREAM_ONE_SURVIVOR) && sources.need > 1) {
        sources.need = 1;
    }
    return sources;
}

void stream_next(struct stream *stream)
{
    struct stream_target *target = stream->target;
    struct topology_sources sources = sources_of(target, stream->range);
    uint32_t done_count = 0;
    for (uint32_t index = 0; index < sources.count; index++) {
        done_count += source_is_done(stream, sources.ids[index]) ? 1 : 0;
    }
    if (done_count >= sources.need) {
        log_info(target->env, "stream.done", "range=%u session=%llu sources=%u", stream->range,
                 (unsigned long long)stream->session, done_count);
        holding_fed(target->options.holding, stream->range, stream->session);
        stream_end(stream);
        (void)stream_gone(stream);
        return;
    }
    uint32_t id = source_choose(stream, &sources);
    if (id == 0) { /* Fewer may be asked than are needed: the driver has to see to that. */
        stream_retry(stream, STATUS_UNAVAILABLE);
        return;
    }
    stream->source_id = id;
    stream_ask(stream);
}

/* ------------------------------------------------------------------ beginning */

static void load_run(struct env_job *job)
{
    struct stream *stream = container_of(job, struct stream, job);
    struct buffer scratch = {0};
    struct cell cell;
    enum status status =
        records_read(stream->target->options.lsm, RECORDS_STREAM, stream->range, &scratch, &cell);
    if (status == STATUS_OK) {
        stream->sequence = cell.version.time;
        status = stream_record_decode(cell.value, &stream->record);
    }
    buffer_deinit(&scratch);
    stream->result = status;
}

/* Goes on with the source that was being followed, if there is one. */
static void source_resume(struct stream *stream)
{
    for (uint32_t index = 0; index < stream->record.source_count; index++) {
        if (!stream->record.sources[index].done) {
            stream->source_id = stream->record.sources[index].id;
        }
    }
}

static void load_done(struct env_job *job, enum status status)
{
    struct stream *stream = container_of(job, struct stream, job);
    if (!stream_job_ended(stream, status) || stream_gone(stream)) {
        return;
    }
    bool other = stream->record.session != stream->session && !MUTANT(SESSION_IGNORED);
    if (stream->result != STATUS_OK || other) {
        stream_record_deinit(&stream->record);
    }
    stream->record.session = stream->session;
    if (stream->result != STATUS_OK && stream->result != STATUS_NOT_FOUND) {
        log_warn(stream->target->env, "stream.record_unread", "range=%u status=\"%s\"",
                 stream->range, status_name(stream->result));
    }
    source_resume(stream);
    stream_next(stream);
}

static void stream_begin(struct stream_target *target, uint32_t range)
{
    struct stream *stream = memory_allocate_zeroed(1, sizeof(*stream));
    if (stream == NULL) {
        return; /* Tried again when anything changes. */
    }
    stream->target = target;
    stream->range = range;
    stream->session = target->options.topology->ranges[range].session;
    stream->state = STREAM_LOADING;
    stream->timer.fired = timer_fired;
    list_append(&target->streams, &stream->node);
    target->stream_count++;
    stream_job_begin(stream, load_run, load_done);
}

static struct stream *stream_find(const struct stream_target *target, uint32_t range)
{
    list_for_each (node, next, &target->streams) {
        struct stream *stream = container_of(node, struct stream, node);
        if (stream->range == range) {
            return stream;
        }
    }
    return NULL;
}

static void target_look(struct stream_target *target)
{
    const struct topology *topology = target->options.topology;
    for (uint32_t range = 0; range < topology->range_count && !target->stopping &&
                             target->stream_count < target->options.config->streams;
         range++) {
        if (holding_hungry(target->options.holding, range) && stream_find(target, range) == NULL &&
            sources_of(target, range).need > 0) {
            stream_begin(target, range);
        }
    }
}

static bool stream_is_wanted(const struct stream *stream)
{
    const struct stream_target_options *options = &stream->target->options;
    bool same = options->topology->ranges[stream->range].session == stream->session;
    return holding_hungry(options->holding, stream->range) && (same || MUTANT(SESSION_IGNORED));
}

void stream_target_adopted(struct stream_target *target)
{
    if (target->stopping) {
        return;
    }
    list_for_each (node, next, &target->streams) {
        struct stream *stream = container_of(node, struct stream, node);
        if (stream->ended || stream_is_wanted(stream)) {
            continue;
        }
        stream_end(stream);
        if (!stream->busy) { /* Then it has no file either. */
            stream_free(stream);
        }
    }
    target_look(target);
}

void stream_target_state(const struct stream_target *target, struct message_range_state *state)
{
    const struct stream *stream = stream_find(target, state->range);
    if (stream == NULL || stream->state == STREAM_LOADING) {
        return; /* While it loads, the record is the job's. */
    }
    state->problem = (uint8_t)stream->problem;
    state->bytes_done = stream->bytes == NULL ? 0 : stream->size_got;
    for (uint32_t index = 0; index < stream->record.source_count; index++) {
        state->bytes_done += stream->record.sources[index].size_done;
    }
}

/* ------------------------------------------------------------------ life */

void stream_target_init(struct stream_target *target, struct env *env,
                        const struct stream_target_options *options)
{
    *target = (struct stream_target){.env = env, .options = *options};
    list_init(&target->streams);
}

void stream_target_stop(struct stream_target *target)
{
    if (target->env == NULL || target->stopping) {
        return;
    }
    target->stopping = true;
    list_for_each (node, next, &target->streams) {
        stream_end(container_of(node, struct stream, node));
    }
}

bool stream_target_stopped(const struct stream_target *target)
{
    list_for_each (node, next, &target->streams) {
        if (container_of(node, struct stream, node)->job_running) {
            return false;
        }
    }
    return true;
}

void stream_target_close(struct stream_target *target)
{
    if (target->env == NULL) {
        return;
    }
    list_for_each (node, next, &target->streams) {
        struct stream *stream = container_of(node, struct stream, node);
        if (stream->file != NULL) {
            target->env->ops->file_close(stream->file);
        }
        stream_free(stream);
    }
}
