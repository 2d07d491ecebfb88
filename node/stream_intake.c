/* node/stream_intake.c -- a chunk that was fetched: written, ingested, recorded, its file removed.
 */
#include "base/log.h"
#include "base/memory.h"
#include "node/stream_internal.h"

#define WRITE_SIZE_MAX (8u << 20) /* Of one job. */

/* ------------------------------------------------------------------ jobs */

void stream_job_begin(struct stream *stream, void (*run)(struct env_job *job),
                      void (*done)(struct env_job *job, enum status status))
{
    stream->job = (struct env_job){.run = run, .done = done};
    stream->busy = true;
    stream->job_running = true;
    env_submit(stream->target->env, ENV_LANE_POOL, &stream->job);
}

bool stream_job_ended(struct stream *stream, enum status status)
{
    stream->busy = false;
    stream->job_running = false;
    return status == STATUS_OK;
}

void stream_file_run(struct env_job *job)
{
    struct stream *stream = container_of(job, struct stream, job);
    struct env *env = stream->target->env;
    if (stream->file != NULL) {
        env->ops->file_close(stream->file);
        stream->file = NULL;
    }
    enum status status = env->ops->name_remove(env, stream->path);
    (void)status; /* Not there, or cleared at the next open. */
}

/* ------------------------------------------------------------------ the end of a chunk */

static void chunk_over(struct stream *stream)
{
    if (stream->result == STATUS_OK) {
        stream_next(stream);
    } else {
        stream_retry(stream, stream->result);
    }
}

static void file_done(struct env_job *job, enum status status)
{
    struct stream *stream = container_of(job, struct stream, job);
    if (!stream_job_ended(stream, status)) {
        return;
    }
    stream->file_id = 0;
    if (!stream_gone(stream)) {
        chunk_over(stream);
    }
}

/* The chunk's file goes; then the next chunk, or another try if there was a failure. */
static void chunk_end(struct stream *stream, enum status result)
{
    stream->result = result;
    stream_state_set(stream, STREAM_REMOVING);
    if (stream->file_id == 0) { /* There was nothing to fetch. */
        chunk_over(stream);
    } else {
        stream_job_begin(stream, stream_file_run, file_done);
    }
}

/* ------------------------------------------------------------------ recording */

static void record_done(struct records_write *write, enum status status)
{
    struct stream *stream = container_of(write, struct stream, write);
    stream->busy = false;
    if (status != STATUS_OK) {
        /* What was merged is merged: a restart would only fetch it again. */
        log_warn(stream->target->env, "stream.record_failed", "range=%u status=\"%s\"",
                 stream->range, status_name(status));
    }
    if (!stream_gone(stream)) {
        chunk_end(stream, STATUS_OK);
    }
}

static void stream_write_down(struct stream *stream)
{
    struct buffer bytes = {0};
    stream_record_encode(&bytes, &stream->record);
    stream->write.done = record_done;
    stream_state_set(stream, STREAM_RECORDING);
    enum status status = buffer_status(&bytes);
    if (status == STATUS_OK) {
        struct version version = {.time = ++stream->sequence, .node = 1};
        status = records_put(stream->target->options.lsm, RECORDS_STREAM, stream->range, version,
                             buffer_slice(&bytes), &stream->write);
    }
    buffer_deinit(&bytes);
    stream->busy = status == STATUS_OK;
    if (status != STATUS_OK) {
        chunk_end(stream, STATUS_OK);
    }
}

void stream_took(struct stream *stream)
{
    struct stream_progress *progress = stream_record_of(&stream->record, stream->source_id);
    ASSERT(progress != NULL); /* stream_ask() made it. */
    progress->done = stream->chunk.last;
    progress->size_done += stream->chunk.size;
    buffer_clear(&progress->next);
    buffer_append_slice(&progress->next, buffer_slice(&stream->chunk_next));
    stream->failure_count = 0;
    stream->problem = STATUS_OK;
    if (buffer_status(&progress->next) != STATUS_OK) {
        progress->next.failed = false; /* Then this source begins again. */
        buffer_clear(&progress->next);
        progress->done = false;
    }
    stream_write_down(stream);
}

/* ------------------------------------------------------------------ ingesting */

static void ingest_done(struct lsm_ingest *ingest, enum status status)
{
    struct stream *stream = container_of(ingest, struct stream, ingest);
    struct stream_target_options *options = &stream->target->options;
    stream->busy = false;
    if (status == STATUS_OK) {
        replica_merged(options->replica, stream->range);
        options->counters->stream_chunks_in++;
    }
    holding_unpin(options->holding, stream->range);
    if (stream_gone(stream)) {
        return;
    }
    if (status == STATUS_OK) {
        stream_took(stream);
    } else {
        chunk_end(stream, status);
    }
}

static void stream_ingest(struct stream *stream)
{
    struct stream_target_options *options = &stream->target->options;
    stream->stretch = holding_stretch_of(stream->range, options->topology->range_count);
    stream->paths[0] = stream->path;
    stream->ingest = (struct lsm_ingest){
        .paths = stream->paths,
        .checksums = &stream->chunk.checksum,
        .count = 1,
        .lower = slice_make(stream->stretch.lower, sizeof(stream->stretch.lower)),
        .upper = slice_make(stream->stretch.upper, sizeof(stream->stretch.upper)),
        .done = ingest_done,
    };
    enum status status = lsm_ingest(options->lsm, &stream->ingest);
    if (status != STATUS_OK) {
        chunk_end(stream, status);
        return;
    }
    stream_state_set(stream, STREAM_INGESTING);
    stream->busy = true;
    holding_pin(options->holding, stream->range);
}

/* ------------------------------------------------------------------ writing */

static void write_run(struct env_job *job)
{
    struct stream *stream = container_of(job, struct stream, job);
    struct env *env = stream->target->env;
    uint64_t left = stream->chunk.size - stream->size_written;
    uint64_t size = left < WRITE_SIZE_MAX ? left : WRITE_SIZE_MAX;
    enum status status = STATUS_OK;
    if (stream->file == NULL) {
        status = env->ops->file_open(env, stream->path, ENV_OPEN_CREATE, &stream->file);
    }
    if (status == STATUS_OK) {
        status = env->ops->file_write(stream->file, stream->size_written,
                                      slice_make(stream->bytes + stream->size_written, size));
    }
    if (status == STATUS_OK) {
        stream->size_written += size;
    }
    if (status == STATUS_OK && stream->size_written == stream->chunk.size) {
        status = env->ops->file_sync(stream->file);
        env->ops->file_close(stream->file);
        stream->file = NULL;
    }
    stream->result = status;
}

static void write_done(struct env_job *job, enum status status)
{
    struct stream *stream = container_of(job, struct stream, job);
    if (!stream_job_ended(stream, status)) {
        return;
    }
    bool whole = stream->size_written == stream->chunk.size;
    if (stream_gone(stream)) {
        return;
    }
    if (stream->result == STATUS_OK && !whole) {
        stream_job_begin(stream, write_run, write_done);
        return;
    }
    memory_free(stream->bytes);
    stream->bytes = NULL;
    if (stream->result == STATUS_OK) {
        stream_ingest(stream);
    } else {
        chunk_end(stream, stream->result);
    }
}

void stream_take_in(struct stream *stream)
{
    struct stream_target *target = stream->target;
    target->env->ops->timer_stop(target->env, &stream->timer);
    target->env->ops->timer_stop(target->env, &stream->pace_timer);
    stream_state_set(stream, STREAM_WRITING);
    stream->size_written = 0;
    stream->file_id = ++target->last_file_id;
    stream_file_path(stream->path, target->options.config->data_dir, STREAM_FILE_IN,
                     stream->file_id);
    stream_job_begin(stream, write_run, write_done);
}
