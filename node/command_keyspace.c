/*
 * node/command_keyspace.c -- KV.KEYSPACE: which keyspaces there are, and one more; SELECT.
 */
#include <inttypes.h>
#include <string.h>

#include "node/command.h"
#include "node/command_topology.h"
#include "node/report.h"

STATIC_ASSERT((int)TOPOLOGY_LEVEL_ONE == (int)LEVEL_ONE, "levels are the same on both sides");
STATIC_ASSERT((int)TOPOLOGY_LEVEL_QUORUM == (int)LEVEL_QUORUM, "levels are the same");
STATIC_ASSERT((int)TOPOLOGY_LEVEL_ALL == (int)LEVEL_ALL, "levels are the same");

#define USAGE                                                                              \
    "ERR KV.KEYSPACE LIST | CREATE name CLASS eventual|strong [READ level] [WRITE level] " \
    "[TTL seconds]"
#define MS_PER_S 1000

/* ------------------------------------------------------------------ SELECT */

/* Clients of Redis begin at 0, which as long as there is no such keyspace is the first one. */
void command_select(struct request *request)
{
    int64_t number;
    const struct topology *topology = node_topology(request->server->node);
    if (!argument_integer(request->arguments[1], &number)) {
        request_error(request, "ERR invalid DB index");
        request_finish(request);
        return;
    }
    bool first = number == 0 && topology_keyspace_find(topology, 0) == NULL;
    number = first ? SESSION_KEYSPACE_FIRST : number;
    /* Before the cluster is there, the first is all there can be. */
    if (number != SESSION_KEYSPACE_FIRST &&
        (number < 0 || number >= TOPOLOGY_KEYSPACE_COUNT_MAX ||
         topology_keyspace_find(topology, (uint16_t)number) == NULL)) {
        request_error(request, "ERR DB index is out of range; KV.KEYSPACE LIST shows keyspaces");
    } else {
        request->session->keyspace = (uint16_t)number;
        resp_simple(&request->writer, "OK");
    }
    request_finish(request);
}

/* ------------------------------------------------------------------ LIST */

static void run_list(struct request *request)
{
    struct buffer text = {0};
    report_keyspaces(request->server->node, &text);
    topology_text_write(request, &text);
    request_finish(request);
}

/* ------------------------------------------------------------------ CREATE */

static void create_applied(const struct topology_call *call)
{
    const struct topology *topology = node_topology(call->request->server->node);
    const struct topology_keyspace *created =
        topology_keyspace_named(topology, slice_text(call->command.keyspace.name));
    struct buffer text = {0};
    buffer_append_format(&text, "{\"epoch\":%" PRIu64, call->proposal.epoch);
    if (created != NULL) {
        buffer_append_format(&text, ",\"number\":%" PRIu16, created->number);
    }
    buffer_append_text(&text, "}");
    topology_text_write(call->request, &text);
}

static const struct topology_call_kind create_kind = {.look = "KV.KEYSPACE LIST",
                                                      .applied = create_applied};

static bool class_parse(struct slice word, enum topology_class *class)
{
    if (argument_is(word, "strong")) {
        *class = TOPOLOGY_STRONG;
    } else if (argument_is(word, "eventual")) {
        *class = TOPOLOGY_EVENTUAL;
    } else {
        return false;
    }
    return true;
}

static bool level_option_parse(struct slice word, enum topology_level *level)
{
    enum level parsed;
    if (!argument_level(word, &parsed)) {
        return false;
    }
    *level = (enum topology_level)parsed;
    return true;
}

static bool ttl_parse(struct slice word, uint64_t *ttl_ms)
{
    int64_t seconds;
    if (!argument_integer(word, &seconds) || seconds <= 0 ||
        (uint64_t)seconds > TOPOLOGY_TTL_MS_MAX / MS_PER_S) {
        return false;
    }
    *ttl_ms = (uint64_t)seconds * MS_PER_S;
    return true;
}

static bool option_parse(struct slice word, struct slice value, struct topology_keyspace *keyspace)
{
    if (argument_is(word, "class")) {
        return class_parse(value, &keyspace->class);
    }
    if (argument_is(word, "read")) {
        return level_option_parse(value, &keyspace->read_level);
    }
    if (argument_is(word, "write")) {
        return level_option_parse(value, &keyspace->write_level);
    }
    return argument_is(word, "ttl") && ttl_parse(value, &keyspace->ttl_ms);
}

static bool keyspace_parse(const struct request *request, struct topology_keyspace *keyspace)
{
    if (request->argument_count < 3 || request->argument_count % 2 != 1) {
        return false;
    }
    struct slice name = request->arguments[2];
    if (name.size == 0 || name.size >= sizeof(keyspace->name) ||
        memchr(name.data, '\0', name.size) != NULL) {
        return false;
    }
    memcpy(keyspace->name, name.data, name.size);
    for (uint32_t index = 3; index < request->argument_count; index += 2) {
        if (!option_parse(request->arguments[index], request->arguments[index + 1], keyspace)) {
            return false;
        }
    }
    return keyspace->class != 0;
}

static void run_create(struct request *request)
{
    struct topology_command command = {.type = TOPOLOGY_KEYSPACE_CREATE};
    if (!keyspace_parse(request, &command.keyspace)) {
        topology_error_answer(request, USAGE);
    } else if (command.keyspace.class == TOPOLOGY_STRONG) {
        /* Not refused by the topology: what one build refuses there, a later one must too. */
        topology_error_answer(request, "ERR refused: strong keyspaces are not served yet");
    } else {
        topology_call_submit(request, &create_kind, &command);
    }
}

void command_kv_keyspace(struct request *request)
{
    struct slice word = request->arguments[1];
    if (argument_is(word, "list") && request->argument_count == 2) {
        run_list(request);
    } else if (argument_is(word, "create")) {
        run_create(request);
    } else {
        topology_error_answer(request, USAGE);
    }
}
