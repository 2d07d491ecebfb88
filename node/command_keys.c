/*
 * node/command_keys.c -- commands on several keys, and on all of them.
 *
 * Each key of a command is a part with a coordinator operation of its own; a bounded number run at
 * a time. Each key is atomic by itself, the command as a whole is not.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/checksum.h"
#include "base/memory.h"
#include "node/command.h"
#include "node/session.h"

#define PARTS_UNDER_WAY_MAX 128
#define SUPERSEDED_TRIES_MAX 5
#define SCAN_COUNT_DEFAULT 10
#define SCAN_PATTERN_SIZE_MAX 256 /* Times a page's bytes: the steps its matching may take. */
#define SCAN_PAGES_MAX 64         /* Empty pages one SCAN passes before it answers with a cursor. */

static struct slice part_key(const struct request_part *part)
{
    const struct command *command = part->request->command;
    uint32_t step = (uint32_t)command->key_step;
    return part->request->arguments[1U + part->index * step];
}

/* ------------------------------------------------------------------ running parts */

struct parts_kind {
    void (*begin)(struct request_part *part);
    void (*finish)(struct request *request); /* All went well: the answer. */
};

static const struct parts_kind mget_kind;
static const struct parts_kind mset_kind;
static const struct parts_kind del_kind;
static const struct parts_kind exists_kind;

static const struct parts_kind *kind_of(const struct request *request)
{
    void (*run)(struct request *) = request->command->run;
    if (run == command_mget) {
        return &mget_kind;
    }
    if (run == command_mset) {
        return &mset_kind;
    }
    return run == command_del ? &del_kind : &exists_kind;
}

static void parts_run(struct request *request)
{
    if (request->part_looping) {
        return;
    }
    const struct parts_kind *kind = kind_of(request);
    request->part_looping = true;
    while (request->part_next < request->part_count && request->part_busy < PARTS_UNDER_WAY_MAX) {
        request->part_busy++;
        kind->begin(&request->parts[request->part_next++]);
    }
    request->part_looping = false;
    if (request->part_done < request->part_count) {
        return;
    }
    if (request->failure != STATUS_OK) {
        bool wrote = request->failure_wrote || request->part_wrote;
        request_status(request, command_status(request->failure, request->part_wrote ? 1 : 0),
                       &request->failure_outcome, request->failure_version, wrote);
    } else {
        kind->finish(request);
    }
    request_finish(request);
}

static void part_over(struct request_part *part)
{
    struct request *request = part->request;
    request->part_busy--;
    request->part_done++;
    parts_run(request);
}

static void part_failed(struct request_part *part, enum status status,
                        const struct coordinator_outcome *outcome, struct version version,
                        bool wrote)
{
    struct request *request = part->request;
    /* Of several failures the one that leaves something open is told. */
    bool open = wrote && (status == STATUS_TIMEOUT || status == STATUS_INDETERMINATE ||
                          status == STATUS_CANCELLED);
    if (request->failure == STATUS_OK || (open && !request->failure_wrote)) {
        request->failure = status;
        request->failure_outcome = *outcome;
        request->failure_version = version;
        request->failure_wrote = open;
    }
}

static bool sizes_ok(struct request *request, uint32_t step)
{
    const struct config *config = node_config(request->server->node);
    for (uint32_t index = 1; index < request->argument_count; index += step) {
        size_t key_size = request->arguments[index].size;
        if (key_size == 0 || key_size > config->key_size_max) {
            request_error(request, "ERR a key has 1 to %" PRIu32 " bytes", config->key_size_max);
            return false;
        }
        if (step == 2 && request->arguments[index + 1].size > config->value_size_max) {
            request_error(request, "ERR a value has at most %" PRIu32 " bytes",
                          config->value_size_max);
            return false;
        }
    }
    return true;
}

static void parts_begin(struct request *request)
{
    uint32_t step = (uint32_t)request->command->key_step;
    if ((request->argument_count - 1) % step != 0) {
        request_error(request, "ERR wrong number of arguments for '%s' command",
                      request->command->name);
        request_finish(request);
        return;
    }
    if (!sizes_ok(request, step)) {
        request_finish(request);
        return;
    }
    uint32_t count = (request->argument_count - 1) / step;
    request->parts = memory_allocate_zeroed(count, sizeof(*request->parts));
    if (request->parts == NULL) {
        request_error(request, "OVERLOADED out of memory; nothing was done");
        request_finish(request);
        return;
    }
    request->part_count = count;
    for (uint32_t index = 0; index < count; index++) {
        request->parts[index].request = request;
        request->parts[index].index = index;
    }
    parts_run(request);
}

static void part_read(struct request_part *part,
                      void (*done)(struct coordinator_read *read, enum status status))
{
    const struct request *request = part->request;
    part->read = (struct coordinator_read){.keyspace = request->keyspace,
                                           .key = part_key(part),
                                           .level = request->level,
                                           .done = done,
                                           .context = part};
    coordinator_read(node_coordinator(request->server->node), &part->read);
}

static void part_write(struct request_part *part, struct cell cell,
                       void (*done)(struct coordinator_write *write, enum status status))
{
    const struct request *request = part->request;
    part->write = (struct coordinator_write){.keyspace = request->keyspace,
                                             .key = part_key(part),
                                             .cell = cell,
                                             .level = request->level,
                                             .done = done,
                                             .context = part};
    coordinator_write(node_coordinator(request->server->node), &part->write);
}

/* True if the key is live; failures are noted. */
static bool part_live(struct request_part *part, enum status status)
{
    const struct request *request = part->request;
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        part_failed(part, status, &part->read.outcome, (struct version){0}, false);
    }
    return status == STATUS_OK &&
           cell_is_live(&part->read.cell, node_now_ms(request->server->node));
}

/* A write that met a newer value is written again above it; true if it was. */
static bool part_again(struct request_part *part, enum status status)
{
    if (status != STATUS_SUPERSEDED || ++part->tries >= SUPERSEDED_TRIES_MAX) {
        return false;
    }
    coordinator_write(node_coordinator(part->request->server->node), &part->write);
    return true;
}

/* ------------------------------------------------------------------ MGET */

static void mget_done(struct coordinator_read *read, enum status status)
{
    struct request_part *part = read->context;
    struct request *request = part->request;
    struct resp_writer writer = {.to = &part->reply, .protocol = request->writer.protocol};
    bool live = part_live(part, status);
    request->parts_size += live ? read->cell.value.size : 0;
    if (request->parts_size > node_config(request->server->node)->request_size_max) {
        part_failed(part, STATUS_TOO_LARGE, &read->outcome, (struct version){0}, false);
    } else if (live) {
        resp_bulk(&writer, read->cell.value);
    } else {
        resp_null(&writer);
    }
    part_over(part);
}

/* After a failure nothing more is read: the answer will hold no values. */
static void mget_begin(struct request_part *part)
{
    if (part->request->failure != STATUS_OK) {
        part_over(part);
        return;
    }
    part_read(part, mget_done);
}

static void mget_finish(struct request *request)
{
    resp_array(&request->writer, request->part_count);
    for (uint32_t index = 0; index < request->part_count; index++) {
        struct buffer *reply = &request->parts[index].reply;
        request->reply.failed = request->reply.failed || reply->failed;
        buffer_append_slice(&request->reply, buffer_slice(reply));
        buffer_deinit(reply);
    }
}

static const struct parts_kind mget_kind = {.begin = mget_begin, .finish = mget_finish};

void command_mget(struct request *request)
{
    parts_begin(request);
}

/* ------------------------------------------------------------------ MSET */

static void mset_done(struct coordinator_write *write, enum status status)
{
    struct request_part *part = write->context;
    if (part_again(part, status)) {
        return;
    }
    if (status == STATUS_OK) {
        part->request->part_wrote = true;
    } else {
        part_failed(part, command_status(status, part->tries), &write->outcome, write->version,
                    true);
    }
    part_over(part);
}

static void mset_begin(struct request_part *part)
{
    struct slice value = part->request->arguments[2 + part->index * 2];
    uint64_t expiry_ms = request_default_expiry_ms(part->request);
    part_write(part, (struct cell){.kind = CELL_VALUE, .value = value, .expiry_ms = expiry_ms},
               mset_done);
}

static void mset_finish(struct request *request)
{
    resp_simple(&request->writer, "OK");
}

static const struct parts_kind mset_kind = {.begin = mset_begin, .finish = mset_finish};

void command_mset(struct request *request)
{
    parts_begin(request);
}

/* ------------------------------------------------------------------ DEL, UNLINK */

static void del_write_done(struct coordinator_write *write, enum status status)
{
    struct request_part *part = write->context;
    if (part_again(part, status)) {
        return;
    }
    if (status == STATUS_OK) {
        part->request->part_wrote = true;
        part->request->sum++;
    } else {
        part_failed(part, command_status(status, part->tries), &write->outcome, write->version,
                    true);
    }
    part_over(part);
}

static void del_read_done(struct coordinator_read *read, enum status status)
{
    struct request_part *part = read->context;
    if (part_live(part, status)) {
        part_write(part, (struct cell){.kind = CELL_DELETE}, del_write_done);
        return;
    }
    part_over(part);
}

static void del_begin(struct request_part *part)
{
    part_read(part, del_read_done);
}

static void sum_finish(struct request *request)
{
    resp_integer(&request->writer, request->sum);
}

static const struct parts_kind del_kind = {.begin = del_begin, .finish = sum_finish};

/* A key named twice is deleted, and counted, once: drops later mentions. */
static bool arguments_unique(struct request *request)
{
    uint32_t capacity = 4;
    while (capacity < request->argument_count * 2) {
        capacity *= 2;
    }
    uint32_t *table = memory_allocate_zeroed(capacity, sizeof(*table));
    if (table == NULL) {
        return false;
    }
    uint32_t kept = 1;
    for (uint32_t index = 1; index < request->argument_count; index++) {
        struct slice key = request->arguments[index];
        uint32_t at = (uint32_t)checksum64(key, 0) & (capacity - 1);
        while (table[at] != 0 && !slice_equal(request->arguments[table[at]], key)) {
            at = (at + 1) & (capacity - 1);
        }
        if (table[at] == 0) {
            table[at] = kept;
            request->arguments[kept++] = key;
        }
    }
    request->argument_count = kept;
    memory_free(table);
    return true;
}

void command_del(struct request *request)
{
    if (!arguments_unique(request)) {
        request_error(request, "OVERLOADED out of memory; nothing was done");
        request_finish(request);
        return;
    }
    parts_begin(request);
}

/* ------------------------------------------------------------------ EXISTS, TOUCH */

static void exists_done(struct coordinator_read *read, enum status status)
{
    struct request_part *part = read->context;
    part->request->sum += part_live(part, status);
    part_over(part);
}

static void exists_begin(struct request_part *part)
{
    part_read(part, exists_done);
}

static const struct parts_kind exists_kind = {.begin = exists_begin, .finish = sum_finish};

void command_exists(struct request *request)
{
    parts_begin(request);
}

/* ------------------------------------------------------------------ DBSIZE, SCAN */

void command_dbsize(struct request *request)
{
    resp_integer(&request->writer, (int64_t)node_key_estimate(request->server->node));
    request_finish(request);
}

static bool cursor_parse(struct slice text, uint64_t *cursor)
{
    if (text.size == 0 || text.size > 20) {
        return false;
    }
    uint64_t value = 0;
    for (size_t index = 0; index < text.size; index++) {
        uint64_t digit = (uint64_t)text.data[index] - '0';
        if (digit > 9 || value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *cursor = value;
    return true;
}

struct scan_options {
    struct slice pattern; /* Empty: all. */
    uint32_t count;
    bool none; /* A TYPE that no key has. */
};

static bool scan_parse(struct request *request, struct scan_options *options)
{
    *options = (struct scan_options){.count = SCAN_COUNT_DEFAULT};
    for (uint32_t index = 2; index < request->argument_count; index += 2) {
        struct slice word = request->arguments[index];
        if (index + 1 >= request->argument_count) {
            return false;
        }
        struct slice value = request->arguments[index + 1];
        int64_t count;
        if (argument_is(word, "match") && value.size <= SCAN_PATTERN_SIZE_MAX) {
            options->pattern = value;
        } else if (argument_is(word, "count") && argument_integer(value, &count) && count > 0) {
            options->count =
                count < COORDINATOR_SCAN_COUNT_MAX ? (uint32_t)count : COORDINATOR_SCAN_COUNT_MAX;
        } else if (argument_is(word, "type")) {
            options->none = !argument_is(value, "string");
        } else {
            return false;
        }
    }
    return true;
}

static void scan_answer(struct request *request, const struct coordinator_scan *scan)
{
    struct scan_options options;
    bool valid = scan_parse(request, &options);
    ASSERT(valid); /* As when it began. */
    uint32_t shown = 0;
    for (uint32_t index = 0; index < scan->entry_count; index++) {
        shown += !options.none && (options.pattern.size == 0 ||
                                   command_glob(options.pattern, scan->entries[index].key));
    }
    char cursor[24];
    int size = snprintf(cursor, sizeof(cursor), "%" PRIu64, scan->next);
    resp_array(&request->writer, 2);
    resp_bulk(&request->writer, slice_make(cursor, (size_t)size));
    resp_array(&request->writer, shown);
    for (uint32_t index = 0; index < scan->entry_count; index++) {
        struct slice key = scan->entries[index].key;
        if (!options.none && (options.pattern.size == 0 || command_glob(options.pattern, key))) {
            resp_bulk(&request->writer, key);
        }
    }
}

static void scan_done(struct coordinator_scan *scan, enum status status)
{
    struct request *request = scan->context;
    if (status != STATUS_OK) {
        request_status(request, status, &scan->outcome, (struct version){0}, false);
        request_finish(request);
        return;
    }
    if (scan->entry_count == 0 && scan->next != 0 && ++request->tries < SCAN_PAGES_MAX) {
        scan->cursor = scan->next;
        coordinator_scan(node_coordinator(request->server->node), scan);
        return;
    }
    scan_answer(request, scan);
    request_finish(request);
}

void command_scan(struct request *request)
{
    struct scan_options options;
    uint64_t cursor;
    if (!cursor_parse(request->arguments[1], &cursor)) {
        request_error(request, "ERR invalid cursor");
        request_finish(request);
        return;
    }
    if (!scan_parse(request, &options)) {
        request_error(request, "ERR syntax error");
        request_finish(request);
        return;
    }
    request->scan = (struct coordinator_scan){.keyspace = request->keyspace,
                                              .cursor = cursor,
                                              .count = options.count,
                                              .level = request->level,
                                              .done = scan_done,
                                              .context = request};
    coordinator_scan(node_coordinator(request->server->node), &request->scan);
}
