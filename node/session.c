/* node/session.c -- one client connection: parsing, order, answers. */
#include "node/session.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/checksum.h"
#include "base/memory.h"
#include "node/command.h"

#define SPARE_COUNT_MAX 4096
#define SPARE_BUFFER_SIZE_MAX (16u << 10) /* Larger buffers are not kept. */
#define HELD_INPUT_SIZE_MAX (1u << 20)    /* Unparsed input above which a stuck session pauses. */
#define OUT_SIZE_MAX (1u << 20)           /* Answers handed over at a time. */
#define ERROR_SIZE_MAX 512
#define UNKNOWN_ARGUMENTS_SIZE_MAX 128

/* ------------------------------------------------------------------ requests */

static struct request *request_take(struct server *server)
{
    if (!list_empty(&server->spare)) {
        server->spare_count--;
        return container_of(list_take_first(&server->spare), struct request, node);
    }
    return memory_allocate_zeroed(1, sizeof(struct request));
}

void request_free(struct request *request)
{
    buffer_deinit(&request->bytes);
    buffer_deinit(&request->reply);
    memory_free(request->arguments);
    memory_free(request);
}

static void buffer_trim(struct buffer *buffer)
{
    buffer_clear(buffer);
    if (buffer->capacity > SPARE_BUFFER_SIZE_MAX || buffer->failed) {
        buffer_deinit(buffer);
    }
}

static void request_keep(struct request *request)
{
    struct server *server = request->server;
    for (uint32_t index = 0; index < request->part_count; index++) {
        buffer_deinit(&request->parts[index].reply);
    }
    memory_free(request->parts);
    request->parts = NULL;
    request->part_count = 0;
    buffer_trim(&request->bytes);
    buffer_trim(&request->reply);
    if (server->spare_count >= SPARE_COUNT_MAX) {
        request_free(request);
        return;
    }
    server->spare_count++;
    list_prepend(&server->spare, &request->node);
}

static bool arguments_copy(struct request *request, const struct slice *arguments,
                           uint32_t argument_count, struct slice raw)
{
    if (argument_count > request->argument_capacity) {
        struct slice *grown = memory_resize(request->arguments, argument_count * sizeof(*grown));
        if (grown == NULL) {
            return false;
        }
        request->arguments = grown;
        request->argument_capacity = argument_count;
    }
    buffer_clear(&request->bytes);
    buffer_append_slice(&request->bytes, raw);
    if (buffer_status(&request->bytes) != STATUS_OK) {
        return false;
    }
    for (uint32_t index = 0; index < argument_count; index++) {
        /* An empty argument may point nowhere in particular. */
        size_t offset = arguments[index].size == 0 ? 0 : (size_t)(arguments[index].data - raw.data);
        request->arguments[index] = slice_make(request->bytes.data + offset, arguments[index].size);
    }
    request->argument_count = argument_count;
    return true;
}

static void request_reset(struct request *request, struct session *session,
                          const struct command *command)
{
    request->session = session;
    request->server = session->server;
    request->command = command;
    request->writer = (struct resp_writer){.to = &request->reply, .protocol = session->protocol};
    request->done = false;
    request->exclusive = false;
    request->writes = false;
    request->key_hash = 0;
    request->keyspace = session->keyspace;
    request->timeout_ms = 0;
    request->part_next = 0;
    request->part_done = 0;
    request->part_busy = 0;
    request->part_looping = false;
    request->part_wrote = false;
    request->sum = 0;
    request->parts_size = 0;
    request->tries = 0;
    request->meta = false;
    request->failure = STATUS_OK;
    request->failure_wrote = false;
    buffer_clear(&request->reply);
}

/* ------------------------------------------------------------------ errors */

void request_error(struct request *request, const char *format, ...)
{
    char text[ERROR_SIZE_MAX];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    resp_error(&request->writer, "%s", text);
}

void request_status(struct request *request, enum status status,
                    const struct coordinator_outcome *outcome, struct version version, bool wrote)
{
    char operation[64];
    (void)snprintf(operation, sizeof(operation), "%016" PRIx64 "-%" PRIu32, version.time,
                   version.node);
    switch ((int)status) {
    case STATUS_UNAVAILABLE:
        request_error(request,
                      "UNAVAILABLE %" PRIu32 " replicas up, %" PRIu32 " needed; nothing was done",
                      outcome->alive, outcome->needed);
        return;
    case STATUS_TIMEOUT:
        if (wrote) {
            request_error(request, "TIMEOUT maybe applied, acks=%" PRIu32 "/%" PRIu32 ", op=%s",
                          outcome->acks, outcome->needed, operation);
        } else {
            request_error(request, "TIMEOUT acks=%" PRIu32 "/%" PRIu32, outcome->acks,
                          outcome->needed);
        }
        return;
    case STATUS_INDETERMINATE:
    case STATUS_CANCELLED:
        if (wrote) {
            request_error(request, "NOQUORUM maybe applied, acks=%" PRIu32 "/%" PRIu32 ", op=%s",
                          outcome->acks, outcome->needed, operation);
        } else {
            request_error(request, "UNAVAILABLE the node is shutting down");
        }
        return;
    case STATUS_OVERLOADED:
        request_error(request, "OVERLOADED too much is under way; nothing was done");
        return;
    case STATUS_READ_ONLY:
    case STATUS_NO_SPACE:
        request_error(request, "READONLY too many replicas take no writes (%s)",
                      status_name(status));
        return;
    case STATUS_SUPERSEDED:
        request_error(request, "SUPERSEDED a newer value was written meanwhile");
        return;
    case STATUS_TOO_LARGE:
        request_error(request, "ERR too large: over the limit on values or on one answer");
        return;
    case STATUS_REFUSED:
        request_error(request, "ERR replicas refused the write: this node's clock leads theirs");
        return;
    default:
        request_error(request, "ERR %s", status_name(status));
    }
}

/* ------------------------------------------------------------------ answers */

static void session_send(struct session *session)
{
    if (session->out.size == 0 || session->connection == NULL) {
        buffer_clear(&session->out);
        return;
    }
    struct server *server = session->server;
    server->counters.bytes_out += session->out.size;
    enum status status =
        server->env->ops->net_send(session->connection, buffer_slice(&session->out));
    session->choked = session->choked || status == STATUS_OVERLOADED;
    bool lost = buffer_status(&session->out) != STATUS_OK;
    buffer_trim(&session->out);
    if (lost) {
        /* An answer is missing for want of memory: all later ones would be taken for it. */
        session->closing = true;
        server->env->ops->net_close(session->connection);
    }
}

/* Moves what is answered from the head of the queue to the output; not to a client that does not
 * read, whose answers wait with their requests and so count against its pipeline. */
static void session_flush(struct session *session)
{
    while (!list_empty(&session->requests) && !session->choked) {
        struct request *request = container_of(session->requests.next, struct request, node);
        if (!request->done) {
            return;
        }
        if (request->reply.size > 0 && request->reply.data[0] == '-') {
            session->server->counters.errors++;
        }
        session->out.failed = session->out.failed || request->reply.failed;
        buffer_append_slice(&session->out, buffer_slice(&request->reply));
        list_remove(&request->node);
        session->request_count--;
        session->held_size -= request->reply.size;
        request_keep(request);
        if (session->out.size >= OUT_SIZE_MAX) {
            session_send(session);
        }
    }
}

/* ------------------------------------------------------------------ what a connection chose */

void session_forget(struct session *session)
{
    session->keyspace = SESSION_KEYSPACE_FIRST;
    session->read_level = (enum level)0;
    session->write_level = (enum level)0;
}

enum level session_level(const struct session *session, bool writes)
{
    const struct node *node = session->server->node;
    enum level chosen = writes ? session->write_level : session->read_level;
    if (chosen != 0) {
        return chosen;
    }
    const struct topology_keyspace *keyspace =
        topology_keyspace_find(node_topology(node), session->keyspace);
    enum topology_level own = TOPOLOGY_LEVEL_NODE;
    if (keyspace != NULL) {
        own = writes ? keyspace->write_level : keyspace->read_level;
    }
    if (own != TOPOLOGY_LEVEL_NODE) {
        return (enum level)own; /* One scale: node/command_keyspace.c. */
    }
    const struct config *config = node_config(node);
    return writes ? config->write_level : config->read_level;
}

uint64_t request_default_expiry_ms(const struct request *request)
{
    const struct node *node = request->server->node;
    const struct topology_keyspace *keyspace =
        topology_keyspace_find(node_topology(node), request->keyspace);
    return keyspace == NULL || keyspace->ttl_ms == 0 ? 0 : node_now_ms(node) + keyspace->ttl_ms;
}

/* ------------------------------------------------------------------ starting requests */

static bool one_key(const struct command *command, uint32_t argument_count)
{
    if (command->first_key == 0) {
        return false;
    }
    return command->last_key == command->first_key ||
           argument_count == (uint32_t)(command->first_key + command->key_step);
}

/* Something under way forbids that this one starts now. */
static bool must_wait(const struct session *session, bool exclusive, bool writes, uint64_t key_hash)
{
    list_for_each (node, next, &session->requests) {
        const struct request *other = container_of(node, struct request, node);
        if (other->done) {
            continue;
        }
        bool same = other->key_hash == key_hash && key_hash != 0;
        if (exclusive || other->exclusive || (same && (writes || other->writes))) {
            return true;
        }
    }
    return false;
}

static void unknown_command(struct request *request)
{
    const char *reason = command_absent_reason(request->arguments[0]);
    struct slice name = request->arguments[0];
    if (reason != NULL) {
        request_error(request, "ERR command '%.*s' is not offered: %s",
                      (int)(name.size < 64 ? name.size : 64), (const char *)name.data, reason);
        return;
    }
    char arguments[UNKNOWN_ARGUMENTS_SIZE_MAX + 1] = "";
    size_t used = 0;
    for (uint32_t index = 1; index < request->argument_count; index++) {
        struct slice argument = request->arguments[index];
        int shown = (int)(argument.size < 32 ? argument.size : 32);
        if (used + (size_t)shown + 4 > UNKNOWN_ARGUMENTS_SIZE_MAX) {
            break;
        }
        used += (size_t)snprintf(arguments + used, sizeof(arguments) - used, "'%.*s' ", shown,
                                 (const char *)argument.data);
    }
    request_error(request, "ERR unknown command '%.*s', with args beginning with: %s",
                  (int)(name.size < 128 ? name.size : 128), (const char *)name.data, arguments);
}

static bool arity_ok(const struct command *command, uint32_t argument_count)
{
    int count = (int)argument_count;
    return command->arity >= 0 ? count == command->arity : count >= -command->arity;
}

/* Answers what needs no handler: what is unknown, malformed or too early. */
static bool request_checked(struct request *request)
{
    const struct command *command = request->command;
    if (command == NULL) {
        unknown_command(request);
        return false;
    }
    if (!arity_ok(command, request->argument_count)) {
        request_error(request, "ERR wrong number of arguments for '%s' command", command->name);
        return false;
    }
    enum node_state state = node_state(request->server->node);
    if ((command->flags & COMMAND_DATA) != 0 && state != NODE_SERVING) {
        if (state == NODE_OPENING || state == NODE_JOINING) {
            request_error(request, "LOADING this node is not serving yet");
        } else if (state == NODE_REMOVED) {
            request_error(request,
                          "UNAVAILABLE this node was removed from the cluster; use another");
        } else {
            request_error(request, "UNAVAILABLE this node is shutting down");
        }
        return false;
    }
    return true;
}

/* Answered while its session feeds, which sends the answer when it is done with its input. */
static void request_answered(struct request *request)
{
    ASSERT(request->session->feeding);
    ASSERT(!request->done);
    request->done = true;
    request->session->held_size += request->reply.size;
}

/* False: it must wait for what is under way. */
static bool session_start(struct session *session, const struct slice *arguments,
                          uint32_t argument_count, struct slice raw)
{
    struct server *server = session->server;
    const struct command *command = command_find(arguments[0]);
    bool exclusive = false;
    bool writes = false;
    uint64_t key_hash = 0;
    if (command != NULL && (command->flags & COMMAND_DATA) != 0 &&
        arity_ok(command, argument_count)) {
        bool single = one_key(command, argument_count);
        exclusive = (command->flags & COMMAND_EXCLUSIVE) != 0 && !single;
        writes = (command->flags & COMMAND_WRITE) != 0;
        key_hash = single ? checksum64(arguments[command->first_key], 0) | 1 : 0;
        if (session->request_count > 0 && must_wait(session, exclusive, writes, key_hash)) {
            return false;
        }
    }
    struct request *request = request_take(server);
    if (request == NULL || !arguments_copy(request, arguments, argument_count, raw)) {
        if (request != NULL) {
            request_free(request);
        }
        session->closing = true; /* Nothing can be answered in its place. */
        server->env->ops->net_close(session->connection);
        return false;
    }
    request_reset(request, session, command);
    request->exclusive = exclusive;
    request->writes = writes;
    request->key_hash = key_hash;
    request->level = session_level(session, writes);
    list_append(&session->requests, &request->node);
    session->request_count++;
    server->counters.commands++;
    if (command != NULL) {
        session->last_command = command->name;
    }
    if (request_checked(request)) {
        ASSERT(command != NULL);
        command->run(request);
    } else {
        request_answered(request);
    }
    return true;
}

/* ------------------------------------------------------------------ feeding */

static void protocol_error(struct session *session, const char *reason)
{
    struct request *request = request_take(session->server);
    session->server->counters.protocol_errors++;
    session->closing = true;
    if (request == NULL) {
        return;
    }
    request_reset(request, session, NULL);
    request->argument_count = 0;
    list_append(&session->requests, &request->node);
    session->request_count++;
    request_error(request, "ERR Protocol error: %s", reason);
    request_answered(request);
}

static struct resp_limits limits_of(const struct config *config)
{
    uint32_t argument = config->value_size_max > config->key_size_max ? config->value_size_max
                                                                      : config->key_size_max;
    return (struct resp_limits){.argument_count_max = SESSION_ARGUMENT_COUNT_MAX,
                                .argument_size_max = argument,
                                .request_size_max = config->request_size_max};
}

/* An inline line that must wait was unescaped where it lay, so it cannot be parsed once more: the
 * request takes its place as an array. Without memory the connection ends. */
static void inline_hold(struct session *session, const struct slice *arguments,
                        uint32_t argument_count, size_t used)
{
    struct buffer in = {0};
    resp_request(&in, arguments, argument_count);
    size_t offset = session->in_offset + used;
    buffer_append_slice(&in, slice_make(session->in.data + offset, session->in.size - offset));
    if (buffer_status(&in) != STATUS_OK) {
        buffer_deinit(&in);
        session->closing = true;
        session->server->env->ops->net_close(session->connection);
        return;
    }
    buffer_deinit(&session->in);
    session->in = in;
    session->in_offset = 0;
}

/* Parses and starts what it can. True if it stopped short of the end of the input for a reason
 * that time will mend. */
static bool feed_some(struct session *session)
{
    struct server *server = session->server;
    const struct config *config = node_config(server->node);
    const struct resp_limits limits = limits_of(config);
    while (!session->closing && session->in_offset < session->in.size) {
        if (session->choked || session->request_count >= config->pipeline_max ||
            session->held_size > config->request_size_max) {
            return true;
        }
        uint8_t *bytes = session->in.data + session->in_offset;
        size_t size = session->in.size - session->in_offset;
        if (size < session->in_wanted) {
            return false;
        }
        struct resp_parse parse = {.arguments = server->arguments,
                                   .argument_capacity = SESSION_ARGUMENT_COUNT_MAX};
        enum status status = resp_parse_request(bytes, size, &limits, &parse);
        session->in_wanted = status == STATUS_WOULD_BLOCK ? parse.needed : 0;
        if (status == STATUS_WOULD_BLOCK) {
            return false;
        }
        if (status != STATUS_OK) {
            protocol_error(session, parse.reason);
            return false;
        }
        if (parse.argument_count > 0 &&
            !session_start(session, parse.arguments, parse.argument_count,
                           slice_make(bytes, parse.used))) {
            if (!session->closing && bytes[0] != '*') {
                inline_hold(session, parse.arguments, parse.argument_count, parse.used);
            }
            return true;
        }
        session->in_offset += parse.used;
    }
    return false;
}

/* Drops what was parsed, without moving a long rest over and over. */
static void input_trim(struct session *session)
{
    if (session->in_offset == session->in.size) {
        buffer_trim(&session->in);
    } else if (session->in_offset >= session->in.size / 2) {
        buffer_consume(&session->in, session->in_offset);
    } else {
        return;
    }
    session->in_offset = 0;
}

/* What the commands read is read together. */
static bool feed_held(struct session *session)
{
    struct coordinator *coordinator = node_coordinator(session->server->node);
    if (coordinator == NULL) {
        return feed_some(session);
    }
    coordinator_hold(coordinator);
    bool stuck = feed_some(session);
    coordinator_release(coordinator);
    return stuck;
}

static void session_feed(struct session *session)
{
    struct env *env = session->server->env;
    session->feeding = true;
    bool stuck = feed_held(session);
    /* What was answered within may have made room for more. */
    session_flush(session);
    while (stuck && !session->choked && list_empty(&session->requests)) {
        stuck = feed_held(session);
        session_flush(session);
    }
    session->feeding = false;
    input_trim(session);
    session_send(session);
    if (session->connection == NULL) {
        return;
    }
    bool pause = stuck && session->in.size > HELD_INPUT_SIZE_MAX;
    if (pause != session->paused && !session->closing) {
        session->paused = pause;
        env->ops->net_pause(session->connection, pause);
    }
    if (session->closing && list_empty(&session->requests)) {
        env->ops->net_close(session->connection);
    }
}

void request_finish(struct request *request)
{
    struct session *session = request->session;
    ASSERT(!request->done);
    request->done = true;
    if (session == NULL) {
        request_keep(request);
        return;
    }
    session->held_size += request->reply.size;
    if (!session->feeding) {
        session_flush(session);
        session_feed(session);
    }
}

/* ------------------------------------------------------------------ life */

void session_open(struct server *server, struct env_connection *connection)
{
    struct session *session = memory_allocate_zeroed(1, sizeof(*session));
    if (session == NULL) {
        server->env->ops->net_close(connection);
        return;
    }
    session->server = server;
    session->connection = connection;
    session->id = ++server->session_ids;
    session->opened_ns = env_monotonic_ns(server->env);
    session->active_ns = session->opened_ns;
    session->protocol = 2;
    session_forget(session);
    session->last_command = "";
    list_init(&session->requests);
    list_append(&server->sessions, &session->node);
    connection->user = session;
    server->counters.connections_accepted++;
    server->counters.connections_now++;
}

void session_received(struct session *session, struct slice data)
{
    if (session->closing) {
        return;
    }
    session->active_ns = env_monotonic_ns(session->server->env);
    buffer_append_slice(&session->in, data);
    if (buffer_status(&session->in) != STATUS_OK) {
        session->closing = true;
        session->server->env->ops->net_close(session->connection);
        return;
    }
    session_feed(session);
}

void session_drained(struct session *session)
{
    session->choked = false;
    session_feed(session);
}

void session_closed(struct session *session)
{
    struct server *server = session->server;
    session->connection = NULL;
    while (!list_empty(&session->requests)) {
        struct request *request =
            container_of(list_take_first(&session->requests), struct request, node);
        request->session = NULL;
        if (request->done) {
            request_keep(request);
        }
    }
    server->counters.connections_now--;
    list_remove(&session->node);
    buffer_deinit(&session->in);
    buffer_deinit(&session->out);
    memory_free(session);
}

void session_stop(struct session *session)
{
    session->closing = true;
    if (list_empty(&session->requests) && session->connection != NULL) {
        session->server->env->ops->net_close(session->connection);
    }
}
