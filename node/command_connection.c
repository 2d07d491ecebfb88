/* node/command_connection.c -- commands about the connection itself, and COMMAND. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "node/command.h"
#include "node/report.h"
#include "node/session.h"

static const char no_password[] =
    "ERR Client sent AUTH, but no password is set. Did you mean AUTH <username> <password>?";

void command_ping(struct request *request)
{
    if (request->argument_count > 2) {
        request_error(request, "ERR wrong number of arguments for 'ping' command");
    } else if (request->argument_count == 2) {
        resp_bulk(&request->writer, request->arguments[1]);
    } else {
        resp_simple(&request->writer, "PONG");
    }
    request_finish(request);
}

void command_echo(struct request *request)
{
    resp_bulk(&request->writer, request->arguments[1]);
    request_finish(request);
}

void command_auth(struct request *request)
{
    if (request->argument_count > 3) {
        request_error(request, "ERR syntax error");
    } else {
        request_error(request, "%s", no_password);
    }
    request_finish(request);
}

void command_quit(struct request *request)
{
    resp_simple(&request->writer, "OK");
    request->session->closing = true;
    request_finish(request);
}

void command_reset(struct request *request)
{
    struct session *session = request->session;
    session->protocol = 2;
    session_forget(session);
    session->name[0] = '\0';
    request->writer.protocol = 2;
    resp_simple(&request->writer, "RESET");
    request_finish(request);
}

void command_time(struct request *request)
{
    uint64_t now_ms = node_now_ms(request->server->node);
    char text[24];
    resp_array(&request->writer, 2);
    (void)snprintf(text, sizeof(text), "%" PRIu64, now_ms / 1000);
    resp_bulk_text(&request->writer, text);
    (void)snprintf(text, sizeof(text), "%" PRIu64, now_ms % 1000 * 1000);
    resp_bulk_text(&request->writer, text);
    request_finish(request);
}

/* ------------------------------------------------------------------ names */

/* Printable, without spaces: what CLIENT LIST can show. */
static bool name_valid(struct slice name, size_t capacity)
{
    if (name.size >= capacity) {
        return false;
    }
    for (size_t index = 0; index < name.size; index++) {
        if (name.data[index] < '!' || name.data[index] > '~') {
            return false;
        }
    }
    return true;
}

static void name_copy(char *to, struct slice name)
{
    if (name.size > 0) {
        memcpy(to, name.data, name.size);
    }
    to[name.size] = '\0';
}

static bool name_set(struct request *request, struct slice name)
{
    if (!name_valid(name, SESSION_NAME_SIZE_MAX)) {
        request_error(request, "ERR Client names cannot contain spaces, newlines or special "
                               "characters.");
        return false;
    }
    name_copy(request->session->name, name);
    return true;
}

/* ------------------------------------------------------------------ HELLO */

static void hello_answer(struct request *request)
{
    const struct session *session = request->session;
    struct resp_writer *writer = &request->writer;
    resp_map(writer, 7);
    resp_bulk_text(writer, "server");
    resp_bulk_text(writer, "redis"); /* Clients choose their behaviour by this word. */
    resp_bulk_text(writer, "version");
    resp_bulk_text(writer, "7.0.15");
    resp_bulk_text(writer, "proto");
    resp_integer(writer, session->protocol);
    resp_bulk_text(writer, "id");
    resp_integer(writer, (int64_t)session->id);
    resp_bulk_text(writer, "mode");
    resp_bulk_text(writer, "standalone");
    resp_bulk_text(writer, "role");
    resp_bulk_text(writer, "master");
    resp_bulk_text(writer, "modules");
    resp_array(writer, 0);
}

void command_hello(struct request *request)
{
    struct session *session = request->session;
    int64_t protocol = session->protocol;
    if (request->argument_count > 1 &&
        (!argument_integer(request->arguments[1], &protocol) || (protocol != 2 && protocol != 3))) {
        request_error(request, "NOPROTO unsupported protocol version");
        request_finish(request);
        return;
    }
    for (uint32_t index = 2; index < request->argument_count;) {
        uint32_t left = request->argument_count - index;
        if (argument_is(request->arguments[index], "setname") && left >= 2) {
            if (!name_set(request, request->arguments[index + 1])) {
                request_finish(request);
                return;
            }
            index += 2;
            continue;
        }
        if (argument_is(request->arguments[index], "auth") && left >= 3) {
            request_error(request, "%s", no_password);
        } else {
            request_error(
                request, "ERR Syntax error in HELLO option '%.*s'",
                (int)(request->arguments[index].size < 64 ? request->arguments[index].size : 64),
                (const char *)request->arguments[index].data);
        }
        request_finish(request);
        return;
    }
    session->protocol = (int)protocol;
    request->writer.protocol = (int)protocol;
    hello_answer(request);
    request_finish(request);
}

/* ------------------------------------------------------------------ CLIENT */

static void client_line(const struct session *session, struct buffer *to)
{
    struct env *env = session->server->env;
    uint64_t now_ns = env_monotonic_ns(env);
    buffer_append_format(
        to,
        "id=%" PRIu64 " addr=%s laddr=%s fd=0 name=%s age=%" PRIu64 " idle=%" PRIu64
        " flags=N db=%u sub=0 psub=0 multi=-1 qbuf=%zu qbuf-free=0 argv-mem=0 obl=%zu "
        "oll=%" PRIu32 " omem=0 tot-mem=0 events=r cmd=%s user=default redir=-1 resp=%d "
        "lib-name=%s lib-ver=%s\n",
        session->id, env->ops->net_remote(session->connection),
        node_config(session->server->node)->client, session->name,
        (now_ns - session->opened_ns) / UINT64_C(1000000000),
        (now_ns - session->active_ns) / UINT64_C(1000000000),
        session->keyspace == SESSION_KEYSPACE_FIRST ? 0u : session->keyspace, session->in.size,
        session->out.size, session->request_count, session->last_command, session->protocol,
        session->library_name, session->library_version);
}

static void client_lines(struct request *request, bool all)
{
    struct buffer text = {0};
    if (all) {
        list_for_each (node, next, &request->server->sessions) {
            const struct session *session = container_of(node, struct session, node);
            if (session->connection != NULL) {
                client_line(session, &text);
            }
        }
    } else {
        client_line(request->session, &text);
    }
    if (buffer_status(&text) == STATUS_OK) {
        resp_bulk(&request->writer, buffer_slice(&text));
    } else {
        request_error(request, "OVERLOADED out of memory");
    }
    buffer_deinit(&text);
}

static void client_setinfo(struct request *request)
{
    struct session *session = request->session;
    struct slice value = request->arguments[3];
    bool name = argument_is(request->arguments[2], "lib-name");
    if (!name && !argument_is(request->arguments[2], "lib-ver")) {
        request_error(request, "ERR Unrecognized option '%.*s'",
                      (int)(request->arguments[2].size < 64 ? request->arguments[2].size : 64),
                      (const char *)request->arguments[2].data);
    } else if (!name_valid(value, SESSION_LIBRARY_SIZE_MAX)) {
        request_error(request, "ERR lib-%s cannot contain spaces, newlines or special characters.",
                      name ? "name" : "ver");
    } else {
        name_copy(name ? session->library_name : session->library_version, value);
        resp_simple(&request->writer, "OK");
    }
}

void command_client(struct request *request)
{
    struct slice word = request->arguments[1];
    uint32_t count = request->argument_count;
    if (argument_is(word, "id") && count == 2) {
        resp_integer(&request->writer, (int64_t)request->session->id);
    } else if (argument_is(word, "getname") && count == 2) {
        resp_bulk_text(&request->writer, request->session->name);
    } else if (argument_is(word, "setname") && count == 3) {
        if (name_set(request, request->arguments[2])) {
            resp_simple(&request->writer, "OK");
        }
    } else if (argument_is(word, "setinfo") && count == 4) {
        client_setinfo(request);
    } else if (argument_is(word, "list")) {
        client_lines(request, true);
    } else if (argument_is(word, "info") && count == 2) {
        client_lines(request, false);
    } else if (argument_is(word, "no-evict") && count == 3) {
        resp_simple(&request->writer, "OK");
    } else {
        request_error(request,
                      "ERR unknown subcommand '%.*s'. CLIENT has ID, GETNAME, SETNAME, SETINFO, "
                      "LIST, INFO and NO-EVICT.",
                      (int)(word.size < 64 ? word.size : 64), (const char *)word.data);
    }
    request_finish(request);
}

/* ------------------------------------------------------------------ COMMAND */

static void command_entry(struct resp_writer *writer, const struct command *command)
{
    bool reads = (command->flags & COMMAND_READ) != 0;
    bool writes = (command->flags & COMMAND_WRITE) != 0;
    bool fast = (command->flags & COMMAND_FAST) != 0;
    resp_array(writer, 10);
    resp_bulk_text(writer, command->name);
    resp_integer(writer, command->arity);
    resp_set(writer, (size_t)reads + (size_t)writes + (size_t)fast);
    if (reads) {
        resp_simple(writer, "readonly");
    }
    if (writes) {
        resp_simple(writer, "write");
    }
    if (fast) {
        resp_simple(writer, "fast");
    }
    resp_integer(writer, command->first_key);
    resp_integer(writer, command->last_key);
    resp_integer(writer, command->key_step);
    resp_set(writer, 0);   /* ACL categories */
    resp_array(writer, 0); /* Tips */
    resp_array(writer, 0); /* Key specifications */
    resp_array(writer, 0); /* Subcommands */
}

static void command_docs_entry(struct resp_writer *writer, const struct command *command)
{
    resp_bulk_text(writer, command->name);
    resp_map(writer, 2);
    resp_bulk_text(writer, "summary");
    resp_bulk_text(writer, command->summary);
    resp_bulk_text(writer, "group");
    resp_bulk_text(writer, command->group);
}

static void command_docs(struct request *request)
{
    uint32_t count;
    const struct command *table = command_table(&count);
    if (request->argument_count == 2) {
        resp_map(&request->writer, count);
        for (uint32_t index = 0; index < count; index++) {
            command_docs_entry(&request->writer, &table[index]);
        }
        return;
    }
    uint32_t known = 0;
    for (uint32_t index = 2; index < request->argument_count; index++) {
        known += command_find(request->arguments[index]) != NULL;
    }
    resp_map(&request->writer, known);
    for (uint32_t index = 2; index < request->argument_count; index++) {
        const struct command *command = command_find(request->arguments[index]);
        if (command != NULL) {
            command_docs_entry(&request->writer, command);
        }
    }
}

static void command_list(struct request *request, uint32_t first)
{
    uint32_t count;
    const struct command *table = command_table(&count);
    if (first >= request->argument_count) {
        resp_array(&request->writer, count);
        for (uint32_t index = 0; index < count; index++) {
            command_entry(&request->writer, &table[index]);
        }
        return;
    }
    resp_array(&request->writer, request->argument_count - first);
    for (uint32_t index = first; index < request->argument_count; index++) {
        const struct command *command = command_find(request->arguments[index]);
        if (command == NULL) {
            resp_null_array(&request->writer);
        } else {
            command_entry(&request->writer, command);
        }
    }
}

void command_command(struct request *request)
{
    uint32_t count;
    const struct command *table = command_table(&count);
    struct slice word = request->argument_count > 1 ? request->arguments[1] : slice_text("info");
    if (argument_is(word, "count") && request->argument_count == 2) {
        resp_integer(&request->writer, count);
    } else if (argument_is(word, "docs")) {
        command_docs(request);
    } else if (argument_is(word, "info")) {
        command_list(request, 2);
    } else if (argument_is(word, "list") && request->argument_count == 2) {
        resp_array(&request->writer, count);
        for (uint32_t index = 0; index < count; index++) {
            resp_bulk_text(&request->writer, table[index].name);
        }
    } else {
        request_error(request,
                      "ERR unknown subcommand '%.*s'. COMMAND has COUNT, DOCS, INFO and "
                      "LIST.",
                      (int)(word.size < 64 ? word.size : 64), (const char *)word.data);
    }
    request_finish(request);
}
