/* node/stream_fetch.c -- a chunk from its source: asked for, then fetched piece by piece. */
#include <string.h>

#include "base/memory.h"
#include "node/stream_internal.h"

#define ANSWER_MS 10000u /* Without a word from a source. */

static void stream_fetch(struct stream *stream);

void stream_fetch_end(struct stream *stream)
{
    struct stream_target *target = stream->target;
    struct peers *peers = target->options.peers;
    target->env->ops->timer_stop(target->env, &stream->timer);
    target->env->ops->timer_stop(target->env, &stream->pace_timer);
    peers_cancel(peers, &stream->ask);
    for (uint32_t index = 0; index < STREAM_PIECE_COUNT; index++) {
        peers_cancel(peers, &stream->pieces[index].request);
        stream->pieces[index].length = 0;
    }
    memory_free(stream->bytes);
    stream->bytes = NULL;
}

/* ------------------------------------------------------------------ fetching */

static void piece_done(struct peer_request *request, enum status status, const struct frame *reply)
{
    struct stream_piece *piece = container_of(request, struct stream_piece, request);
    struct stream *stream = piece->stream;
    uint32_t length = piece->length;
    piece->length = 0;
    if (status == STATUS_OK) {
        status = (enum status)reply->status;
    }
    if (status == STATUS_OK && reply->payload.size != length) {
        status = STATUS_CORRUPT;
    }
    if (status != STATUS_OK) {
        stream_retry(stream, status);
        return;
    }
    memcpy(stream->bytes + piece->offset, reply->payload.data, length);
    stream->size_got += length;
    stream->target->options.counters->stream_bytes_in += length;
    if (stream->size_got == stream->chunk.size) {
        stream_take_in(stream);
        return;
    }
    stream_wait(stream, ANSWER_MS);
    stream_fetch(stream);
}

static enum status piece_ask(struct stream *stream, struct stream_piece *piece)
{
    struct stream_target_options *options = &stream->target->options;
    uint64_t left = stream->chunk.size - stream->offset_asked;
    piece->stream = stream;
    piece->offset = stream->offset_asked;
    piece->length = left < STREAM_PIECE_SIZE ? (uint32_t)left : STREAM_PIECE_SIZE;
    piece->request = (struct peer_request){.peer_id = stream->source_id,
                                           .type = FRAME_STREAM_BYTES,
                                           .range = stream->range,
                                           .deadline_ms = ANSWER_MS,
                                           .done = piece_done};
    const struct message_piece message = {.chunk_id = stream->chunk.id,
                                          .session = stream->session,
                                          .offset = piece->offset,
                                          .length = piece->length};
    struct buffer payload = {0};
    message_piece_encode(&payload, &message);
    enum status status = buffer_status(&payload);
    if (status == STATUS_OK) {
        status = peers_request(options->peers, &piece->request, buffer_slice(&payload));
    }
    buffer_deinit(&payload);
    if (status == STATUS_OK) {
        stream->offset_asked += piece->length;
        stream_pace_spend(options->pace, STREAM_IN, piece->length);
    } else {
        piece->length = 0;
    }
    return status;
}

static void pace_fired(struct env_timer *timer)
{
    stream_fetch(container_of(timer, struct stream, pace_timer));
}

/* Asks for as much as may be on its way. */
static void stream_fetch(struct stream *stream)
{
    struct stream_target *target = stream->target;
    for (uint32_t index = 0; index < STREAM_PIECE_COUNT; index++) {
        struct stream_piece *piece = &stream->pieces[index];
        if (piece->length > 0 || stream->offset_asked == stream->chunk.size) {
            continue;
        }
        uint64_t wait_ns =
            stream_pace_wait_ns(target->options.pace, STREAM_IN, env_monotonic_ns(target->env));
        if (wait_ns > 0) {
            stream->pace_timer.fired = pace_fired;
            target->env->ops->timer_start(target->env, &stream->pace_timer, wait_ns);
            stream_wait(stream, ANSWER_MS); /* It is we who are slow. */
            return;
        }
        enum status status = piece_ask(stream, piece);
        if (status != STATUS_OK) {
            stream_retry(stream, status);
            return;
        }
    }
}

/* ------------------------------------------------------------------ asking for a chunk */

/* What the source says of its next chunk, kept. STATUS_CORRUPT: it does not go on. */
static enum status chunk_take(struct stream *stream, const struct frame *reply)
{
    struct message_chunk_reply chunk;
    enum status status = message_chunk_reply_decode(reply->payload, &chunk);
    if (status != STATUS_OK) {
        return status;
    }
    const struct stream_progress *progress = stream_record_of(&stream->record, stream->source_id);
    ASSERT(progress != NULL); /* stream_ask() made it. */
    if (!chunk.last && slice_compare(chunk.next, buffer_slice(&progress->next)) <= 0) {
        return STATUS_CORRUPT;
    }
    buffer_clear(&stream->chunk_next);
    buffer_append_slice(&stream->chunk_next, chunk.next);
    if (buffer_status(&stream->chunk_next) != STATUS_OK) {
        stream->chunk_next.failed = false;
        return STATUS_NO_MEMORY;
    }
    stream->chunk = chunk;
    stream->chunk.next = (struct slice){0}; /* It borrowed. */
    stream->offset_asked = 0;
    stream->size_got = 0;
    if (chunk.size > 0) {
        stream->bytes = memory_allocate(chunk.size);
        status = stream->bytes == NULL ? STATUS_NO_MEMORY : STATUS_OK;
    }
    return status;
}

static void ask_done(struct peer_request *request, enum status status, const struct frame *reply)
{
    struct stream *stream = container_of(request, struct stream, ask);
    if (status == STATUS_OK) {
        status = (enum status)reply->status;
    }
    if (status == STATUS_OK) {
        status = chunk_take(stream, reply);
    }
    if (status != STATUS_OK) {
        stream_retry(stream, status);
        return;
    }
    if (stream->chunk.id == 0) {
        stream->target->env->ops->timer_stop(stream->target->env, &stream->timer);
        stream_took(stream);
        return;
    }
    stream_state_set(stream, STREAM_FETCHING);
    stream_wait(stream, ANSWER_MS);
    stream_fetch(stream);
}

void stream_ask(struct stream *stream)
{
    struct stream_target_options *options = &stream->target->options;
    const struct stream_progress *progress = stream_record_of(&stream->record, stream->source_id);
    stream_state_set(stream, STREAM_ASKING);
    if (progress == NULL) {
        stream_retry(stream, STATUS_OVERLOADED);
        return;
    }
    const struct message_chunk message = {.range = stream->range,
                                          .session = stream->session,
                                          .chunk_size = options->config->stream_chunk,
                                          .next = buffer_slice(&progress->next)};
    struct buffer payload = {0};
    message_chunk_encode(&payload, &message);
    stream->ask = (struct peer_request){.peer_id = stream->source_id,
                                        .type = FRAME_STREAM_CHUNK,
                                        .range = stream->range,
                                        .deadline_ms = ANSWER_MS,
                                        .done = ask_done};
    enum status status = buffer_status(&payload);
    if (status == STATUS_OK) {
        status = peers_request(options->peers, &stream->ask, buffer_slice(&payload));
    }
    buffer_deinit(&payload);
    if (status != STATUS_OK) {
        stream_retry(stream, status);
        return;
    }
    stream_wait(stream, ANSWER_MS);
}
