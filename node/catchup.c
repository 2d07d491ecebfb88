/* node/catchup.c -- newer topologies asked of peers, and told to those that lack them. */
#include "node/catchup.h"

#include "base/log.h"
#include "node/message.h"
#include "node/reading.h"

#define DEADLINE_MS 2000

/* ------------------------------------------------------------------ learning */

/* The next command that leads beyond `epoch`; *at is the epoch it leads to. */
static bool command_next(struct codec_reader *reader, uint64_t epoch, uint64_t *at,
                         struct slice *command)
{
    while (!codec_reader_done(reader) && !reader->failed) {
        *command = codec_get_bytes(reader);
        if (codec_reader_ok(reader) && ++*at > epoch) {
            return true;
        }
    }
    return false;
}

/* Applies what `copy` lacks: it may have moved on since the question. */
static enum status commands_apply(struct catchup *catchup, struct slice commands,
                                  struct topology *copy)
{
    struct codec_reader reader = codec_reader_make(commands);
    uint64_t at = catchup->asked.epoch;
    struct slice command;
    while (command_next(&reader, copy->stamp.epoch, &at, &command)) {
        struct topology_stamp before = copy->stamp;
        const char *reason = "";
        enum status status = topology_apply(copy, command, &reason);
        if (status != STATUS_OK) {
            return status;
        }
        chronicle_add(&catchup->chronicle, &before, &copy->stamp, command);
    }
    return reader.failed ? STATUS_CORRUPT : STATUS_OK;
}

static void commands_pass(struct catchup *catchup, struct slice commands, uint64_t epoch)
{
    struct codec_reader reader = codec_reader_make(commands);
    uint64_t at = catchup->asked.epoch;
    struct slice command;
    while (command_next(&reader, epoch, &at, &command)) {
        catchup->events->passed(catchup->context, command, at);
    }
}

static enum status learn_commands(struct catchup *catchup, struct slice commands,
                                  const struct topology_stamp *aim)
{
    uint64_t epoch = catchup->current->stamp.epoch;
    if (topology_stamp_compare(aim, &catchup->current->stamp) <= 0) {
        return STATUS_OK; /* Learned elsewhere meanwhile. */
    }
    struct topology copy;
    topology_init(&copy);
    enum status status = topology_copy(&copy, catchup->current);
    if (status == STATUS_OK) {
        status = commands_apply(catchup, commands, &copy);
    }
    if (status == STATUS_OK && !chronicle_same_stamp(&copy.stamp, aim)) {
        status = STATUS_STALE; /* The other side has another history, or ours was left. */
    }
    if (status != STATUS_OK) {
        chronicle_deinit(&catchup->chronicle); /* Nobody is told what we could not follow. */
        catchup->whole = status != STATUS_NO_MEMORY;
    } else {
        status = catchup->events->learned(catchup->context, &copy);
    }
    if (status == STATUS_OK) {
        commands_pass(catchup, commands, epoch);
    }
    topology_deinit(&copy);
    return status;
}

static enum status learn_snapshot(struct catchup *catchup, struct slice snapshot)
{
    struct topology topology;
    topology_init(&topology);
    enum status status = reading_topology(catchup->env, "peer", snapshot, &topology);
    if (status == STATUS_OK) {
        catchup->whole = false;
        status = catchup->events->learned(catchup->context, &topology);
    }
    topology_deinit(&topology);
    return status;
}

static void ask_done(struct peer_request *request, enum status status, const struct frame *reply)
{
    struct catchup *catchup = container_of(request, struct catchup, request);
    if (status != STATUS_OK || reply->status != STATUS_OK) {
        return;
    }
    struct message_topology_reply message;
    status = message_topology_reply_decode(reply->payload, &message);
    if (status == STATUS_OK && message.whole) {
        status = learn_snapshot(catchup, message.bytes);
    } else if (status == STATUS_OK) {
        status = learn_commands(catchup, message.bytes, &reply->stamp);
    }
    if (status != STATUS_OK) {
        log_warn(catchup->env, "topology.fetch_failed", "peer=%u status=\"%s\"", request->peer_id,
                 status_name(status));
    }
}

void catchup_ask(struct catchup *catchup, uint32_t peer_id)
{
    uint64_t now_ms = env_monotonic_ms(catchup->env);
    bool overdue = now_ms - catchup->started_ms > DEADLINE_MS;
    if (catchup->stopping || (catchup->request.id != 0 && !overdue)) {
        return;
    }
    peers_cancel(catchup->peers, &catchup->request);
    catchup->request = (struct peer_request){.peer_id = peer_id,
                                             .type = FRAME_TOPOLOGY,
                                             .range = FRAME_NO_RANGE,
                                             .deadline_ms = DEADLINE_MS,
                                             .done = ask_done};
    catchup->started_ms = now_ms;
    catchup->asked = catchup->whole ? (struct topology_stamp){0} : catchup->current->stamp;
    struct buffer question = {0};
    topology_stamp_put(&question, &catchup->asked);
    /* A peer that cannot be asked now is asked again at its next frame, or another at its. */
    enum status status = buffer_status(&question);
    if (status == STATUS_OK) {
        status = peers_request(catchup->peers, &catchup->request, buffer_slice(&question));
    }
    (void)status;
    buffer_deinit(&question);
}

/* ------------------------------------------------------------------ teaching */

void catchup_keep(struct catchup *catchup, const struct topology_stamp *from,
                  const struct topology_stamp *to, struct slice command)
{
    chronicle_add(&catchup->chronicle, from, to, command);
}

enum status catchup_answer(const struct catchup *catchup, struct slice question, struct buffer *to)
{
    struct codec_reader reader = codec_reader_make(question);
    struct topology_stamp asked = topology_stamp_get(&reader);
    if (!codec_reader_done(&reader)) {
        return STATUS_CORRUPT;
    }
    struct buffer commands = {0};
    if (chronicle_between(&catchup->chronicle, &asked, &catchup->current->stamp, &commands)) {
        message_topology_reply_encode(
            to, &(struct message_topology_reply){.bytes = buffer_slice(&commands)});
    } else {
        topology_encode(&commands, catchup->current);
        message_topology_reply_encode(
            to, &(struct message_topology_reply){.whole = true, .bytes = buffer_slice(&commands)});
    }
    enum status status = buffer_status(&commands);
    buffer_deinit(&commands);
    return status == STATUS_OK ? buffer_status(to) : status;
}

/* ------------------------------------------------------------------ life */

void catchup_start(struct catchup *catchup, struct peers *peers)
{
    catchup->peers = peers;
}

void catchup_stop(struct catchup *catchup)
{
    catchup->stopping = true;
    if (catchup->peers != NULL) {
        peers_cancel(catchup->peers, &catchup->request);
    }
}

void catchup_deinit(struct catchup *catchup)
{
    chronicle_deinit(&catchup->chronicle);
}
