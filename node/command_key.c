/*
 * node/command_key.c -- commands on one key: read it, write it, or read and then write.
 *
 * A plain write that meets a greater version (another node's clock was ahead) is written again with
 * a version above it, a few times: the client asked to overwrite whatever is there. Changes of the
 * expiry alone keep the value's version, so that they can never bring back a deleted key.
 */
#include <inttypes.h>
#include <stdio.h>

#include "node/command.h"
#include "node/session.h"

#define SUPERSEDED_TRIES_MAX 5
#define EXPIRY_MS_MAX (UINT64_C(1) << 47) /* Beyond HLC's 48 bits nothing can expire. */

static const struct version no_version = {0};

static struct slice key_of(const struct request *request)
{
    return request->arguments[1];
}

static uint64_t now_ms(const struct request *request)
{
    return node_now_ms(request->server->node);
}

/* Answers and refuses keys and values over the limits. */
static bool sizes_ok(struct request *request, struct slice key, struct slice value)
{
    const struct config *config = node_config(request->server->node);
    if (key.size == 0 || key.size > config->key_size_max) {
        request_error(request, "ERR a key has 1 to %" PRIu32 " bytes", config->key_size_max);
    } else if (value.size > config->value_size_max) {
        request_error(request, "ERR a value has at most %" PRIu32 " bytes", config->value_size_max);
    } else {
        return true;
    }
    request_finish(request);
    return false;
}

/* ------------------------------------------------------------------ reading */

static void read_at(struct request *request, enum level level,
                    void (*done)(struct coordinator_read *read, enum status status))
{
    if (!sizes_ok(request, key_of(request), (struct slice){0})) {
        return;
    }
    request->read = (struct coordinator_read){.keyspace = request->keyspace,
                                              .key = key_of(request),
                                              .level = level,
                                              .timeout_ms = request->timeout_ms,
                                              .done = done,
                                              .context = request};
    coordinator_read(node_coordinator(request->server->node), &request->read);
}

static void read_begin(struct request *request,
                       void (*done)(struct coordinator_read *read, enum status status))
{
    read_at(request, request->level, done);
}

/* Judges a finished read: true if `cell` is live, false if there is no such key. An error was
 * answered if *failed. */
static bool read_live(struct request *request, enum status status, bool *failed)
{
    *failed = status != STATUS_OK && status != STATUS_NOT_FOUND;
    if (*failed) {
        /* A read of another try: what the last one wrote may stand. */
        request_status(request, command_status(status, request->tries), &request->read.outcome,
                       no_version, request->tries > 0);
    }
    return status == STATUS_OK && cell_is_live(&request->read.cell, now_ms(request));
}

static void get_done(struct coordinator_read *read, enum status status)
{
    struct request *request = read->context;
    bool failed;
    bool live = read_live(request, status, &failed);
    if (live) {
        resp_bulk(&request->writer, read->cell.value);
    } else if (!failed) {
        resp_null(&request->writer);
    }
    request_finish(request);
}

void command_get(struct request *request)
{
    read_begin(request, get_done);
}

static void strlen_done(struct coordinator_read *read, enum status status)
{
    struct request *request = read->context;
    bool failed;
    bool live = read_live(request, status, &failed);
    if (!failed) {
        resp_integer(&request->writer, live ? (int64_t)read->cell.value.size : 0);
    }
    request_finish(request);
}

void command_strlen(struct request *request)
{
    read_begin(request, strlen_done);
}

static void type_done(struct coordinator_read *read, enum status status)
{
    struct request *request = read->context;
    bool failed;
    bool live = read_live(request, status, &failed);
    if (!failed) {
        resp_simple(&request->writer, live ? "string" : "none");
    }
    request_finish(request);
}

void command_type(struct request *request)
{
    read_begin(request, type_done);
}

/* TTL, PTTL, EXPIRETIME, PEXPIRETIME: -2 no key, -1 no expiry. */
static void ttl_done(struct coordinator_read *read, enum status status)
{
    struct request *request = read->context;
    struct slice name = request->arguments[0];
    bool failed;
    bool live = read_live(request, status, &failed);
    bool milliseconds = name.data[0] == 'p' || name.data[0] == 'P';
    bool absolute = name.size > 4;
    int64_t answer = -2;
    if (live && read->cell.expiry_ms == 0) {
        answer = -1;
    } else if (live) {
        /* It was live a moment ago; by now it may be past. */
        uint64_t now = now_ms(request);
        uint64_t left = read->cell.expiry_ms > now ? read->cell.expiry_ms - now : 0;
        uint64_t value = absolute ? read->cell.expiry_ms : left;
        uint64_t seconds = absolute ? value / 1000 : (value + 500) / 1000;
        answer = (int64_t)(milliseconds ? value : seconds);
    }
    if (!failed) {
        resp_integer(&request->writer, answer);
    }
    request_finish(request);
}

void command_ttl(struct request *request)
{
    read_begin(request, ttl_done);
}

/* ------------------------------------------------------------------ options */

/* EX, PX, EXAT, PXAT with their number: sets *expiry_ms. False: an error was answered. */
static bool expiry_parse(struct request *request, struct slice unit, struct slice number,
                         uint64_t *expiry_ms)
{
    bool absolute = unit.size == 4;
    bool milliseconds = unit.data[0] == 'p' || unit.data[0] == 'P';
    int64_t amount;
    if (!argument_integer(number, &amount)) {
        request_error(request, "ERR value is not an integer or out of range");
        return false;
    }
    uint64_t limit = milliseconds ? EXPIRY_MS_MAX : EXPIRY_MS_MAX / 1000;
    if (amount <= 0 || (uint64_t)amount > limit) {
        request_error(request, "ERR invalid expire time in '%s' command", request->command->name);
        return false;
    }
    uint64_t amount_ms = (uint64_t)amount * (milliseconds ? 1 : 1000);
    *expiry_ms = absolute ? amount_ms : now_ms(request) + amount_ms;
    return true;
}

static bool is_expiry_unit(struct slice word)
{
    return argument_is(word, "ex") || argument_is(word, "px") || argument_is(word, "exat") ||
           argument_is(word, "pxat");
}

struct set_options {
    uint64_t expiry_ms;
    bool keep_ttl;
};

enum { SET_OPTIONS_KV = 1, SET_OPTIONS_EXPIRY = 2, SET_OPTIONS_REDIS = 4 };

static bool option_two_words(const struct request *request, uint32_t index)
{
    return index + 1 < request->argument_count;
}

/* One option at `index`; returns how many arguments it took, 0 after answering an error. */
static uint32_t option_parse(struct request *request, uint32_t index, unsigned allowed,
                             struct set_options *options)
{
    struct slice word = request->arguments[index];
    struct slice value =
        option_two_words(request, index) ? request->arguments[index + 1] : (struct slice){0};
    if ((allowed & SET_OPTIONS_EXPIRY) != 0 && is_expiry_unit(word) &&
        option_two_words(request, index) && options->expiry_ms == 0 && !options->keep_ttl) {
        return expiry_parse(request, word, value, &options->expiry_ms) ? 2 : 0;
    }
    if ((allowed & SET_OPTIONS_REDIS) != 0 && argument_is(word, "keepttl") &&
        options->expiry_ms == 0) {
        options->keep_ttl = true;
        return 1;
    }
    if ((allowed & SET_OPTIONS_REDIS) != 0 &&
        (argument_is(word, "nx") || argument_is(word, "xx") || argument_is(word, "get"))) {
        request_error(request,
                      "ERR SET %.*s needs a read and a write in one step, which eventual "
                      "keyspaces do not have",
                      (int)word.size, (const char *)word.data);
        return 0;
    }
    if ((allowed & SET_OPTIONS_KV) != 0 && argument_is(word, "meta")) {
        request->meta = true;
        return 1;
    }
    if ((allowed & SET_OPTIONS_KV) != 0 && argument_is(word, "level")) {
        if (argument_level(value, &request->level)) {
            return 2;
        }
        request_error(request, "ERR LEVEL is one, quorum or all");
        return 0;
    }
    if ((allowed & SET_OPTIONS_KV) != 0 && argument_is(word, "deadline")) {
        int64_t deadline_ms;
        if (argument_integer(value, &deadline_ms) && deadline_ms > 0 && deadline_ms <= INT32_MAX) {
            request->timeout_ms = (uint32_t)deadline_ms;
            return 2;
        }
        request_error(request, "ERR DEADLINE is milliseconds, above 0");
        return 0;
    }
    request_error(request, "ERR syntax error");
    return 0;
}

static bool options_parse(struct request *request, uint32_t first, unsigned allowed,
                          struct set_options *options)
{
    for (uint32_t index = first; index < request->argument_count;) {
        uint32_t taken = option_parse(request, index, allowed, options);
        if (taken == 0) {
            request_finish(request);
            return false;
        }
        index += taken;
    }
    return true;
}

/* ------------------------------------------------------------------ writing */

static void meta_answer(struct request *request, struct version version, uint64_t expiry_ms)
{
    char text[64];
    (void)snprintf(text, sizeof(text), "%016" PRIx64 "-%" PRIu32, version.time, version.node);
    resp_bulk_text(&request->writer, "version");
    resp_bulk_text(&request->writer, text);
    resp_bulk_text(&request->writer, "expiry_ms");
    resp_integer(&request->writer, (int64_t)expiry_ms);
}

static void write_done(struct coordinator_write *write, enum status status)
{
    struct request *request = write->context;
    if (status == STATUS_SUPERSEDED && ++request->tries < SUPERSEDED_TRIES_MAX) {
        coordinator_write(node_coordinator(request->server->node), write);
        return;
    }
    if (status != STATUS_OK) {
        request_status(request, command_status(status, request->tries), &write->outcome,
                       write->version, true);
    } else if (request->meta) {
        resp_map(&request->writer, 2);
        meta_answer(request, write->version, write->cell.expiry_ms);
    } else {
        resp_simple(&request->writer, "OK");
    }
    request_finish(request);
}

static void set_write(struct request *request, struct slice value, uint64_t expiry_ms)
{
    request->write = (struct coordinator_write){
        .keyspace = request->keyspace,
        .key = key_of(request),
        .cell = {.kind = CELL_VALUE, .value = value, .expiry_ms = expiry_ms},
        .level = request->level,
        .timeout_ms = request->timeout_ms,
        .done = write_done,
        .context = request};
    coordinator_write(node_coordinator(request->server->node), &request->write);
}

/* SET KEEPTTL: the expiry that stands is read first. A key that is not there has none to keep. */
static void set_read_done(struct coordinator_read *read, enum status status)
{
    struct request *request = read->context;
    bool failed;
    bool live = read_live(request, status, &failed);
    if (failed) {
        request_finish(request);
        return;
    }
    set_write(request, request->arguments[2],
              live ? read->cell.expiry_ms : request_default_expiry_ms(request));
}

static uint64_t expiry_or_default(const struct request *request, const struct set_options *options)
{
    return options->expiry_ms != 0 ? options->expiry_ms : request_default_expiry_ms(request);
}

void command_set(struct request *request)
{
    struct set_options options = {0};
    if (!options_parse(request, 3, SET_OPTIONS_EXPIRY | SET_OPTIONS_REDIS, &options) ||
        !sizes_ok(request, key_of(request), request->arguments[2])) {
        return;
    }
    if (options.keep_ttl) {
        read_begin(request, set_read_done);
    } else {
        set_write(request, request->arguments[2], expiry_or_default(request, &options));
    }
}

void command_kv_set(struct request *request)
{
    struct set_options options = {0};
    if (options_parse(request, 3, SET_OPTIONS_EXPIRY | SET_OPTIONS_KV, &options) &&
        sizes_ok(request, key_of(request), request->arguments[2])) {
        set_write(request, request->arguments[2], expiry_or_default(request, &options));
    }
}

static void setex_run(struct request *request, const char *unit)
{
    uint64_t expiry_ms = 0;
    if (!expiry_parse(request, slice_text(unit), request->arguments[2], &expiry_ms)) {
        request_finish(request);
        return;
    }
    if (sizes_ok(request, key_of(request), request->arguments[3])) {
        set_write(request, request->arguments[3], expiry_ms);
    }
}

void command_setex(struct request *request)
{
    setex_run(request, "ex");
}

void command_psetex(struct request *request)
{
    setex_run(request, "px");
}

static void kv_get_done(struct coordinator_read *read, enum status status)
{
    struct request *request = read->context;
    if (!request->meta) {
        get_done(read, status);
        return;
    }
    bool failed;
    bool live = read_live(request, status, &failed);
    if (!failed) {
        resp_map(&request->writer, 3);
        resp_bulk_text(&request->writer, "value");
        if (live) {
            resp_bulk(&request->writer, read->cell.value);
        } else {
            resp_null(&request->writer);
        }
        meta_answer(request, read->cell.version, read->cell.expiry_ms);
    }
    request_finish(request);
}

void command_kv_get(struct request *request)
{
    struct set_options options = {0};
    if (options_parse(request, 2, SET_OPTIONS_KV, &options)) {
        read_begin(request, kv_get_done);
    }
}

void command_kv_del(struct request *request)
{
    struct set_options options = {0};
    if (options_parse(request, 2, SET_OPTIONS_KV, &options) &&
        sizes_ok(request, key_of(request), (struct slice){0})) {
        request->write = (struct coordinator_write){.keyspace = request->keyspace,
                                                    .key = key_of(request),
                                                    .cell = {.kind = CELL_DELETE},
                                                    .level = request->level,
                                                    .timeout_ms = request->timeout_ms,
                                                    .done = write_done,
                                                    .context = request};
        coordinator_write(node_coordinator(request->server->node), &request->write);
    }
}

/* ------------------------------------------------------------------ expiry of what is there */

static bool touch_again(struct request *request)
{
    if (++request->tries >= SUPERSEDED_TRIES_MAX) {
        return false;
    }
    request->command->run(request);
    return true;
}

/* After a try that met a newer value every replica is asked, for the same quorum might not hold
 * that value again; if not all can answer, the try after that asks a quorum once more. */
static bool touch_asks_all(const struct request *request)
{
    return request->tries % 2 == 1;
}

static void touch_read(struct request *request,
                       void (*done)(struct coordinator_read *read, enum status status))
{
    read_at(request, touch_asks_all(request) ? LEVEL_ALL : request->level, done);
}

static bool touch_read_again(struct request *request, enum status status)
{
    bool failed = status != STATUS_OK && status != STATUS_NOT_FOUND;
    return failed && touch_asks_all(request) && touch_again(request);
}

/* 1: changed; 0: nothing to change. A newer value meanwhile: read and try again. */
static void touch_write_done(struct coordinator_write *write, enum status status)
{
    struct request *request = write->context;
    if (status == STATUS_SUPERSEDED && touch_again(request)) {
        return;
    }
    if (status != STATUS_OK) {
        request_status(request, command_status(status, request->tries), &write->outcome,
                       write->version, true);
    } else {
        resp_integer(&request->writer, 1);
    }
    request_finish(request);
}

static void touch_write(struct request *request, const struct cell *cell, uint64_t expiry_ms,
                        bool remove)
{
    struct cell changed = *cell;
    changed.expiry_ms = expiry_ms;
    if (remove) {
        changed = (struct cell){.kind = CELL_DELETE};
    }
    request->write = (struct coordinator_write){.keyspace = request->keyspace,
                                                .key = key_of(request),
                                                .cell = changed,
                                                .keep_version = !remove,
                                                .level = request->level,
                                                .done = touch_write_done,
                                                .context = request};
    coordinator_write(node_coordinator(request->server->node), &request->write);
}

static void persist_read_done(struct coordinator_read *read, enum status status)
{
    struct request *request = read->context;
    if (touch_read_again(request, status)) {
        return;
    }
    bool failed;
    bool live = read_live(request, status, &failed);
    if (live && read->cell.expiry_ms != 0) {
        touch_write(request, &read->cell, 0, false);
        return;
    }
    if (!failed) {
        resp_integer(&request->writer, 0);
    }
    request_finish(request);
}

void command_persist(struct request *request)
{
    touch_read(request, persist_read_done);
}

/* Whether the condition of an EXPIRE (NX, XX, GT, LT) holds; no expiry counts as never. */
static bool condition_holds(const struct request *request, uint64_t present, uint64_t wanted)
{
    bool holds = true;
    for (uint32_t index = 3; index < request->argument_count; index++) {
        struct slice word = request->arguments[index];
        holds = holds && (!argument_is(word, "nx") || present == 0);
        holds = holds && (!argument_is(word, "xx") || present != 0);
        holds = holds && (!argument_is(word, "gt") || (present != 0 && wanted > present));
        holds = holds && (!argument_is(word, "lt") || present == 0 || wanted < present);
    }
    return holds;
}

static bool conditions_known(const struct request *request)
{
    for (uint32_t index = 3; index < request->argument_count; index++) {
        struct slice word = request->arguments[index];
        if (!argument_is(word, "nx") && !argument_is(word, "xx") && !argument_is(word, "gt") &&
            !argument_is(word, "lt")) {
            return false;
        }
    }
    return true;
}

/* The expiry an EXPIRE, PEXPIRE, EXPIREAT or PEXPIREAT names; *past if it has come already. */
static bool expire_time(const struct request *request, uint64_t *expiry_ms, bool *past)
{
    struct slice name = request->arguments[0];
    bool milliseconds = name.data[0] == 'p' || name.data[0] == 'P';
    bool absolute = name.size > 7;
    int64_t amount;
    if (!argument_integer(request->arguments[2], &amount)) {
        return false;
    }
    int64_t limit = (int64_t)(EXPIRY_MS_MAX / 1000);
    if (amount > (milliseconds ? (int64_t)EXPIRY_MS_MAX : limit) || amount < -limit) {
        return false;
    }
    int64_t now = (int64_t)now_ms(request);
    int64_t at = amount * (milliseconds ? 1 : 1000) + (absolute ? 0 : now);
    *past = at <= now;
    *expiry_ms = *past ? 0 : (uint64_t)at;
    return true;
}

static void expire_read_done(struct coordinator_read *read, enum status status)
{
    struct request *request = read->context;
    if (touch_read_again(request, status)) {
        return;
    }
    bool failed;
    bool live = read_live(request, status, &failed);
    uint64_t expiry_ms = 0;
    bool past = false;
    if (failed) {
        request_finish(request);
        return;
    }
    if (!expire_time(request, &expiry_ms, &past)) {
        request_error(request, "ERR value is not an integer or out of range");
        request_finish(request);
        return;
    }
    uint64_t wanted = past ? 1 : expiry_ms;
    if (!live || !condition_holds(request, read->cell.expiry_ms, wanted)) {
        resp_integer(&request->writer, 0);
        request_finish(request);
        return;
    }
    touch_write(request, &read->cell, expiry_ms, past);
}

void command_expire(struct request *request)
{
    uint64_t expiry_ms;
    bool past;
    if (!expire_time(request, &expiry_ms, &past)) {
        request_error(request, "ERR value is not an integer or out of range");
        request_finish(request);
        return;
    }
    if (!conditions_known(request)) {
        request_error(request, "ERR Unsupported option");
        request_finish(request);
        return;
    }
    touch_read(request, expire_read_done);
}

void command_kv_consistency(struct request *request)
{
    struct session *session = request->session;
    static const char *const names[] = {
        [LEVEL_ONE] = "one", [LEVEL_QUORUM] = "quorum", [LEVEL_ALL] = "all"};
    enum level read = session->read_level;
    enum level write = session->write_level;
    bool valid = request->argument_count % 2 == 1;
    for (uint32_t index = 1; valid && index + 1 < request->argument_count; index += 2) {
        struct slice word = request->arguments[index];
        bool reads = argument_is(word, "read");
        valid = (reads || argument_is(word, "write")) &&
                argument_level(request->arguments[index + 1], reads ? &read : &write);
    }
    if (!valid) {
        request_error(request, "ERR KV.CONSISTENCY [READ one|quorum|all] [WRITE one|quorum|all]");
    } else if (request->argument_count == 1) {
        resp_map(&request->writer, 2);
        resp_bulk_text(&request->writer, "read");
        resp_bulk_text(&request->writer, names[session_level(session, false)]);
        resp_bulk_text(&request->writer, "write");
        resp_bulk_text(&request->writer, names[session_level(session, true)]);
    } else {
        session->read_level = read;
        session->write_level = write;
        resp_simple(&request->writer, "OK");
    }
    request_finish(request);
}
