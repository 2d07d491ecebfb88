/* node/stream_source.c -- exports of chunks, and their bytes at a pace. */
#include "node/stream_source.h"

#include "base/log.h"
#include "base/memory.h"
#include "node/mutant.h"
#include "node/stream_files.h"

#define CONGESTED_NS UINT64_C(5000000) /* Until it is looked again whether a link takes more. */
#define CHUNK_SIZE_MAX (32u << 20) /* With the largest cell still below the bound of a message. */

enum chunk_state { CHUNK_EXPORTING, CHUNK_READY, CHUNK_REMOVING };

struct source_chunk {
    struct stream_source *source;
    struct list_node node;
    uint64_t id;
    uint32_t range;
    uint64_t session;
    uint32_t peer_id;
    enum chunk_state state;
    bool unwanted;       /* Goes as soon as nothing works on it. */
    uint32_t read_count; /* Calls whose bytes are being read. */
    struct env_job job;
    bool job_running;
    struct peer_link *link;         /* Held while EXPORTING. */
    struct frame request;           /* Without payload. */
    struct holding_stretch stretch; /* The range's; the topology is the loop's alone. */
    /* The job's, while it runs. */
    struct lsm_export *export;
    struct env_file *file;
    uint32_t chunk_size;
    enum status result;
    uint64_t size;
    uint64_t checksum;
    uint64_t entry_count;
    struct buffer from; /* Key it begins with. */
    struct buffer next; /* Key behind it; empty: it is the last. */
};

struct source_call {
    struct stream_source *source;
    struct list_node node;
    struct source_chunk *chunk; /* NULL while it waits: chunks may go. */
    struct peer_link *link;     /* Held. */
    struct frame request;       /* Without payload. */
    struct message_piece piece;
    struct env_job job;
    struct buffer bytes;
    enum status result;
};

/* ------------------------------------------------------------------ chunks */

static void chunk_path(const struct source_chunk *chunk, char path[STREAM_PATH_SIZE_MAX])
{
    stream_file_path(path, chunk->source->options.config->data_dir, STREAM_FILE_OUT, chunk->id);
}

static void chunk_free(struct source_chunk *chunk)
{
    chunk->source->chunk_count--;
    list_remove(&chunk->node);
    buffer_deinit(&chunk->from);
    buffer_deinit(&chunk->next);
    memory_free(chunk);
}

static void link_let_go(struct source_chunk *chunk)
{
    if (chunk->link != NULL) {
        peers_link_release(chunk->link);
        chunk->link = NULL;
    }
}

static void remove_run(struct env_job *job)
{
    struct source_chunk *chunk = container_of(job, struct source_chunk, job);
    struct env *env = chunk->source->env;
    char path[STREAM_PATH_SIZE_MAX];
    lsm_export_close(chunk->export);
    chunk->export = NULL;
    if (chunk->file != NULL) {
        env->ops->file_close(chunk->file);
        chunk->file = NULL;
    }
    chunk_path(chunk, path);
    enum status status = env->ops->name_remove(env, path);
    (void)status; /* Not there, or cleared at the next open. */
}

static void remove_done(struct env_job *job, enum status status)
{
    struct source_chunk *chunk = container_of(job, struct source_chunk, job);
    chunk->job_running = false;
    if (status == STATUS_OK) {
        chunk_free(chunk);
    } /* Else the program ends: stream_source_close(). */
}

/* Once nothing works on it. */
static void chunk_drop(struct source_chunk *chunk)
{
    chunk->unwanted = true;
    if (chunk->job_running || chunk->read_count > 0) {
        return;
    }
    chunk->state = CHUNK_REMOVING;
    chunk->job = (struct env_job){.run = remove_run, .done = remove_done};
    chunk->job_running = true;
    env_submit(chunk->source->env, ENV_LANE_POOL, &chunk->job);
}

static bool chunk_is_current(const struct source_chunk *chunk)
{
    return holding_source_check(chunk->source->options.holding, chunk->range, chunk->session) ==
           STATUS_OK;
}

/* ------------------------------------------------------------------ exporting */

static enum status export_open(struct source_chunk *chunk)
{
    const struct stream_source_options *options = &chunk->source->options;
    const struct holding_stretch *stretch = &chunk->stretch;
    struct slice from = buffer_slice(&chunk->from);
    struct lsm_export_options wanted = {
        .lower = from.size > 0 ? from : slice_make(stretch->lower, sizeof(stretch->lower)),
        .upper = slice_make(stretch->upper, sizeof(stretch->upper)),
        .chunk_size = chunk->chunk_size,
        .passing = true,
    };
    return lsm_export_open(options->lsm, &wanted, &chunk->export);
}

static enum status export_settle(struct source_chunk *chunk, const char *path,
                                 const struct lsm_export_chunk *made)
{
    chunk->size = made->size;
    chunk->checksum = made->checksum;
    chunk->entry_count = made->entry_count;
    buffer_append_slice(&chunk->next, made->next);
    lsm_export_close(chunk->export);
    chunk->export = NULL;
    enum status status = buffer_status(&chunk->next);
    if (status == STATUS_OK) {
        struct env *env = chunk->source->env;
        status = env->ops->file_open(env, path, ENV_OPEN_READ, &chunk->file);
    }
    return status;
}

/* A slice of the work: STATUS_BUDGET asks for another. STATUS_NOT_FOUND: there is nothing. */
static void export_run(struct env_job *job)
{
    struct source_chunk *chunk = container_of(job, struct source_chunk, job);
    char path[STREAM_PATH_SIZE_MAX];
    struct lsm_export_chunk made;
    chunk_path(chunk, path);
    chunk->result = chunk->export == NULL ? export_open(chunk) : STATUS_OK;
    if (chunk->result == STATUS_OK) {
        chunk->result = lsm_export_next(chunk->export, path, &made);
    }
    if (chunk->result == STATUS_OK) {
        chunk->result = export_settle(chunk, path, &made);
    }
}

static void chunk_reply(struct source_chunk *chunk, enum status status)
{
    struct stream_source *source = chunk->source;
    struct buffer payload = {0};
    if (status == STATUS_OK || status == STATUS_NOT_FOUND) {
        bool found = status == STATUS_OK;
        struct message_chunk_reply reply = {
            .id = found ? chunk->id : 0,
            .size = chunk->size,
            .checksum = chunk->checksum,
            .entry_count = chunk->entry_count,
            .last = chunk->next.size == 0,
            .next = buffer_slice(&chunk->next),
        };
        message_chunk_reply_encode(&payload, &reply);
        status = buffer_status(&payload);
    }
    peers_reply(source->options.peers, chunk->link, &chunk->request, status,
                status == STATUS_OK ? buffer_slice(&payload) : (struct slice){0});
    buffer_deinit(&payload);
}

static void export_done(struct env_job *job, enum status status)
{
    struct source_chunk *chunk = container_of(job, struct source_chunk, job);
    struct stream_source *source = chunk->source;
    chunk->job_running = false;
    if (status != STATUS_OK) {
        link_let_go(chunk); /* The program ends: stream_source_close(). */
        return;
    }
    bool wanted = !chunk->unwanted && !source->stopping;
    if (chunk->result == STATUS_BUDGET && wanted) {
        chunk->job_running = true;
        env_submit(source->env, ENV_LANE_POOL, &chunk->job);
        return;
    }
    source->export_count--;
    chunk->state = CHUNK_READY;
    if (wanted) {
        chunk_reply(chunk, chunk->result);
    }
    link_let_go(chunk);
    if (chunk->result != STATUS_OK && chunk->result != STATUS_NOT_FOUND &&
        chunk->result != STATUS_BUDGET) {
        source->options.counters->stream_errors++;
        log_warn(source->env, "stream.export_failed", "range=%u session=%llu status=\"%s\"",
                 chunk->range, (unsigned long long)chunk->session, status_name(chunk->result));
    }
    source->options.counters->stream_chunks_out += wanted && chunk->result == STATUS_OK ? 1 : 0;
    if (!wanted || chunk->result != STATUS_OK) {
        chunk_drop(chunk);
    }
}

/* Makes room: by (2), of this asker's last chunk and of the oldest one. */
static enum status room_make(struct stream_source *source, uint32_t range, uint32_t peer_id)
{
    struct source_chunk *oldest = NULL;
    list_for_each (node, next, &source->chunks) {
        struct source_chunk *chunk = container_of(node, struct source_chunk, node);
        if (chunk->range == range && chunk->peer_id == peer_id && chunk->state != CHUNK_REMOVING) {
            chunk_drop(chunk);
        } else if (oldest == NULL && chunk->state == CHUNK_READY) {
            oldest = chunk;
        }
    }
    if (source->chunk_count >= STREAM_CHUNK_COUNT_MAX) {
        if (oldest != NULL) {
            chunk_drop(oldest);
        }
        return STATUS_OVERLOADED; /* There is room when its file is gone. */
    }
    return source->export_count < source->options.config->streams ? STATUS_OK : STATUS_OVERLOADED;
}

static bool begins_inside(const struct stream_source *source, const struct message_chunk *wanted)
{
    struct holding_stretch stretch =
        holding_stretch_of(wanted->range, source->options.topology->range_count);
    return wanted->next.size == 0 ||
           (slice_compare(wanted->next, slice_make(stretch.lower, sizeof(stretch.lower))) >= 0 &&
            slice_compare(wanted->next, slice_make(stretch.upper, sizeof(stretch.upper))) < 0);
}

static enum status chunk_check(struct stream_source *source, const struct frame *request,
                               const struct message_chunk *wanted)
{
    const struct stream_source_options *options = &source->options;
    enum status status = holding_source_check(options->holding, wanted->range, wanted->session);
    if (status == STATUS_STALE &&
        topology_stamp_compare(&request->stamp, &options->topology->stamp) > 0) {
        status = STATUS_BEHIND; /* It knows of a session that we do not. */
    }
    if (status == STATUS_OK && !begins_inside(source, wanted)) {
        status = STATUS_INVALID;
    }
    return status == STATUS_OK ? room_make(source, wanted->range, request->sender) : status;
}

static enum status serve_chunk(struct stream_source *source, struct peer_link *link,
                               const struct frame *request)
{
    struct message_chunk wanted;
    enum status status = message_chunk_decode(request->payload, &wanted);
    if (status == STATUS_OK) {
        status = chunk_check(source, request, &wanted);
    }
    if (status != STATUS_OK) {
        return status;
    }
    struct source_chunk *chunk = memory_allocate_zeroed(1, sizeof(*chunk));
    if (chunk == NULL) {
        return STATUS_NO_MEMORY;
    }
    chunk->source = source;
    buffer_append_slice(&chunk->from, wanted.next);
    if (buffer_status(&chunk->from) != STATUS_OK) {
        memory_free(chunk);
        return STATUS_NO_MEMORY;
    }
    chunk->id = ++source->last_id;
    chunk->range = wanted.range;
    chunk->session = wanted.session;
    chunk->stretch = holding_stretch_of(wanted.range, source->options.topology->range_count);
    chunk->peer_id = request->sender;
    chunk->chunk_size = wanted.chunk_size < CHUNK_SIZE_MAX ? wanted.chunk_size : CHUNK_SIZE_MAX;
    chunk->request = *request;
    chunk->request.payload = (struct slice){0};
    chunk->link = link;
    peers_link_hold(link);
    list_append(&source->chunks, &chunk->node);
    source->chunk_count++;
    source->export_count++;
    chunk->job = (struct env_job){.run = export_run, .done = export_done};
    chunk->job_running = true;
    env_submit(source->env, ENV_LANE_POOL, &chunk->job);
    return STATUS_OK;
}

/* ------------------------------------------------------------------ bytes */

static struct source_chunk *chunk_find(const struct stream_source *source, uint64_t id)
{
    list_for_each (node, next, &source->chunks) {
        struct source_chunk *chunk = container_of(node, struct source_chunk, node);
        if (chunk->id == id && chunk->state == CHUNK_READY && !chunk->unwanted) {
            return chunk;
        }
    }
    return NULL;
}

static void call_end(struct source_call *call, enum status status)
{
    struct stream_source *source = call->source;
    if (!source->stopping) {
        peers_reply(source->options.peers, call->link, &call->request, status,
                    status == STATUS_OK ? buffer_slice(&call->bytes) : (struct slice){0});
    }
    source->options.counters->stream_bytes_out += status == STATUS_OK ? call->bytes.size : 0;
    peers_link_release(call->link);
    buffer_deinit(&call->bytes);
    source->call_count--;
    memory_free(call);
}

static void piece_run(struct env_job *job)
{
    struct source_call *call = container_of(job, struct source_call, job);
    struct env *env = call->source->env;
    uint8_t *to = buffer_reserve(&call->bytes, call->piece.length);
    size_t got = 0;
    call->result = to == NULL ? STATUS_NO_MEMORY
                              : env->ops->file_read(call->chunk->file, call->piece.offset, to,
                                                    call->piece.length, &got);
    if (call->result == STATUS_OK && got != call->piece.length) {
        call->result = STATUS_IO; /* The file is shorter than what was written. */
    }
    if (call->result == STATUS_OK) {
        buffer_commit(&call->bytes, got);
    }
}

static void piece_done(struct env_job *job, enum status status)
{
    struct source_call *call = container_of(job, struct source_call, job);
    struct source_chunk *chunk = call->chunk;
    chunk->read_count--;
    call_end(call, status == STATUS_OK ? call->result : status);
    if (chunk->unwanted && status == STATUS_OK) {
        chunk_drop(chunk);
    }
}

static enum status piece_check(const struct source_chunk *chunk, const struct message_piece *piece)
{
    if (chunk == NULL || (chunk->session != piece->session && !MUTANT(SESSION_IGNORED))) {
        return STATUS_NOT_FOUND;
    }
    bool inside = piece->offset < chunk->size && piece->length <= chunk->size - piece->offset;
    return inside ? STATUS_OK : STATUS_INVALID;
}

static void call_begin(struct source_call *call)
{
    struct stream_source *source = call->source;
    struct source_chunk *chunk = chunk_find(source, call->piece.chunk_id);
    enum status status = piece_check(chunk, &call->piece);
    if (status != STATUS_OK) {
        call_end(call, status);
        return;
    }
    stream_pace_spend(source->options.pace, STREAM_OUT, call->piece.length);
    call->chunk = chunk;
    chunk->read_count++;
    call->job = (struct env_job){.run = piece_run, .done = piece_done};
    env_submit(source->env, ENV_LANE_POOL, &call->job);
}

static void pump_later(struct stream_source *source, uint64_t wait_ns)
{
    source->env->ops->timer_start(source->env, &source->timer, wait_ns);
}

/* Begins what the pace allows, in the order asked; what is for a link that takes no more waits. */
static void calls_pump(struct stream_source *source)
{
    bool congested = false;
    list_for_each (node, next, &source->calls) {
        struct source_call *call = container_of(node, struct source_call, node);
        uint64_t wait_ns =
            stream_pace_wait_ns(source->options.pace, STREAM_OUT, env_monotonic_ns(source->env));
        if (wait_ns > 0) {
            pump_later(source, wait_ns);
            return;
        }
        if (peers_link_congested(call->link)) {
            congested = true;
        } else {
            list_remove(&call->node);
            call_begin(call);
        }
    }
    if (congested) {
        pump_later(source, CONGESTED_NS);
    }
}

static void pump_fired(struct env_timer *timer)
{
    calls_pump(container_of(timer, struct stream_source, timer));
}

static enum status serve_piece(struct stream_source *source, struct peer_link *link,
                               const struct frame *request)
{
    struct message_piece piece;
    enum status status = message_piece_decode(request->payload, &piece);
    if (status == STATUS_OK) {
        status = piece_check(chunk_find(source, piece.chunk_id), &piece);
    }
    if (status == STATUS_OK && source->call_count >= STREAM_CALL_COUNT_MAX) {
        status = STATUS_OVERLOADED;
    }
    if (status != STATUS_OK) {
        return status;
    }
    struct source_call *call = memory_allocate_zeroed(1, sizeof(*call));
    if (call == NULL) {
        return STATUS_NO_MEMORY;
    }
    call->source = source;
    call->piece = piece;
    call->request = *request;
    call->request.payload = (struct slice){0};
    call->link = link;
    peers_link_hold(link);
    source->call_count++;
    list_append(&source->calls, &call->node);
    calls_pump(source);
    return STATUS_OK;
}

/* ------------------------------------------------------------------ life */

enum status stream_source_serve(struct stream_source *source, struct peer_link *link,
                                const struct frame *request)
{
    if (source->stopping) {
        return STATUS_OVERLOADED;
    }
    return request->type == FRAME_STREAM_CHUNK ? serve_chunk(source, link, request)
                                               : serve_piece(source, link, request);
}

void stream_source_adopted(struct stream_source *source)
{
    list_for_each (node, next, &source->chunks) {
        struct source_chunk *chunk = container_of(node, struct source_chunk, node);
        if (chunk->state != CHUNK_REMOVING && !chunk_is_current(chunk)) {
            chunk_drop(chunk);
        }
    }
}

void stream_source_init(struct stream_source *source, struct env *env,
                        const struct stream_source_options *options)
{
    *source = (struct stream_source){.env = env,
                                     .options = *options,
                                     .last_id = env_random(env) >> 1,
                                     .timer.fired = pump_fired};
    list_init(&source->chunks);
    list_init(&source->calls);
}

static void waiting_end(struct stream_source *source)
{
    struct list_node *node = NULL;
    while ((node = list_take_first(&source->calls)) != NULL) {
        call_end(container_of(node, struct source_call, node), STATUS_CANCELLED);
    }
}

void stream_source_stop(struct stream_source *source)
{
    if (source->env == NULL || source->stopping) {
        return;
    }
    source->stopping = true;
    source->env->ops->timer_stop(source->env, &source->timer);
    waiting_end(source);
    list_for_each (node, next, &source->chunks) {
        struct source_chunk *chunk = container_of(node, struct source_chunk, node);
        if (chunk->state != CHUNK_REMOVING) {
            chunk_drop(chunk);
        }
    }
}

bool stream_source_stopped(const struct stream_source *source)
{
    return source->chunk_count == 0 && source->call_count == 0;
}

void stream_source_close(struct stream_source *source)
{
    if (source->env == NULL) {
        return;
    }
    list_for_each (node, next, &source->chunks) {
        struct source_chunk *chunk = container_of(node, struct source_chunk, node);
        remove_run(&chunk->job);
        chunk_free(chunk);
    }
}
