/*
 * tests/sim/kvsim_client.c -- see kvsim_client.h.
 *
 * Answers come in the order of requests, so each belongs to the oldest operation under way. When a
 * connection is lost, or the oldest was not answered in time, nothing is known of all of them.
 */
#include "tests/sim/kvsim_client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/resp.h"
#include "tests/sim/heap_sim.h"
#include "tests/sim/kvsim_held.h"

#define NS_PER_MS UINT64_C(1000000)
#define ARGUMENT_COUNT_MAX 10
#define RECONNECT_MS_MAX 100
#define HURRY_MS_MAX 2
#define EXPIRY_MS_MAX 6000
#define SCAN_COUNT 7
#define SHOWN_SIZE_MAX 120
#define INSIST_PATIENCE_MS 1000 /* Beyond the request time-out. */

struct flight {
    struct check_operation *operation; /* NULL: the HELLO of a connection. */
    enum client_form form;
    bool last;
    uint64_t epoch; /* Of the key's range, as the node that is asked goes by it. */
    uint64_t deadline_ns;
};

struct client {
    struct clients *clients;
    struct world_node *host;
    struct env *env;
    struct env_connection *connection;
    bool open; /* The connection is. */
    bool resp3;
    uint32_t target; /* Index of the node it is to. */
    struct buffer in;
    struct env_timer pace;
    struct env_timer patience;
    struct flight flights[PLAN_DEPTH_MAX + 1];
    uint32_t flight_count;
    uint32_t quota; /* Operations of the plan it is yet to ask. */
    uint64_t cursor;
    /* Insisting: */
    const struct client_step *steps;
    uint32_t step_count;
    uint32_t step;
    uint32_t scanned[CHECK_KEY_COUNT_MAX];
    enum client_found found[CHECK_KEY_COUNT_MAX];
};

static struct prng *prng_of(const struct client *client)
{
    return client->clients->cluster->prng;
}

static uint64_t draw(const struct client *client, uint64_t bound)
{
    return prng_below(prng_of(client), bound);
}

static uint64_t now_ns(const struct client *client)
{
    return world_now_ns(client->clients->cluster->world);
}

static bool insists(const struct client *client)
{
    return client->steps != NULL;
}

static void work(struct client *client);

/* One line of the verbose log; line breaks of answers are shown as dots. */
static void show(const struct client *client, const struct check_operation *operation,
                 const char *what, struct slice text)
{
    if (!client->clients->verbose || operation == NULL) {
        return;
    }
    (void)fprintf(stderr, "%9.3f %s op %u key-%u level %d node %u %s ",
                  (double)now_ns(client) / 1e9, world_node_host(client->host), operation->number,
                  operation->key, (int)operation->level, client->target + 1, what);
    for (size_t index = 0; index < text.size && index < SHOWN_SIZE_MAX; index++) {
        bool plain = text.data[index] >= ' ' && text.data[index] < 127;
        (void)fputc(plain ? text.data[index] : '.', stderr);
    }
    (void)fputc('\n', stderr);
}

/* ------------------------------------------------------------------ ends of operations */

static struct flight flight_take(struct client *client)
{
    ASSERT(client->flight_count > 0);
    struct flight first = client->flights[0];
    client->flight_count--;
    for (uint32_t index = 0; index < client->flight_count; index++) {
        client->flights[index] = client->flights[index + 1];
    }
    return first;
}

static void flight_lost(struct client *client, const char *why)
{
    struct flight flight = flight_take(client);
    show(client, flight.operation, "lost:", slice_text(why));
    if (insists(client)) {
        check_violate(client->clients->check, "in quiet, node %u: %s (form %d)", client->target + 1,
                      why, (int)flight.form);
    }
    if (flight.operation != NULL) {
        check_end(client->clients->check, flight.operation, CHECK_INDETERMINATE,
                  (struct version){0});
    }
}

static void connection_drop(struct client *client, const char *why)
{
    if (client->connection != NULL) {
        client->env->ops->net_close(client->connection);
        client->connection = NULL;
    }
    client->open = false;
    buffer_clear(&client->in);
    while (client->flight_count > 0) {
        flight_lost(client, why);
    }
    client->env->ops->timer_stop(client->env, &client->patience);
}

static void patience_arm(struct client *client)
{
    if (client->flight_count == 0) {
        client->env->ops->timer_stop(client->env, &client->patience);
        return;
    }
    uint64_t now = now_ns(client);
    uint64_t due = client->flights[0].deadline_ns;
    client->env->ops->timer_start(client->env, &client->patience, due > now ? due - now : 0);
}

static void patience_fired(struct env_timer *timer)
{
    struct client *client = container_of(timer, struct client, patience);
    if (client->flight_count > 0 && now_ns(client) < client->flights[0].deadline_ns) {
        patience_arm(client);
        return;
    }
    client->clients->hangups++;
    connection_drop(client, "no answer in time");
    work(client);
}

/* ------------------------------------------------------------------ answers */

static bool starts_with(struct slice text, const char *word)
{
    size_t size = strlen(word);
    return text.size >= size && memcmp(text.data, word, size) == 0;
}

static enum check_outcome error_outcome(struct client *client, struct slice text)
{
    static const char *const definite[] = {"UNAVAILABLE ", "OVERLOADED ", "LOADING ", "READONLY ",
                                           "ERR "};
    static const char *const open[] = {"TIMEOUT ", "NOQUORUM ", "SUPERSEDED "};
    for (size_t index = 0; index < ARRAY_COUNT(definite); index++) {
        if (starts_with(text, definite[index])) {
            return CHECK_DEFINITE;
        }
    }
    for (size_t index = 0; index < ARRAY_COUNT(open); index++) {
        if (starts_with(text, open[index])) {
            return CHECK_INDETERMINATE;
        }
    }
    check_violate(client->clients->check, "an error of no known code: %.*s", (int)text.size,
                  (const char *)text.data);
    return CHECK_INDETERMINATE;
}

static bool version_parse(struct slice text, struct version *version)
{
    char copy[40];
    if (text.size >= sizeof(copy)) {
        return false;
    }
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    *version = (struct version){0};
    const char *from = copy;
    char *end = copy;
    version->time = strtoull(from, &end, 16);
    if (end == from || *end != '-') {
        return false;
    }
    from = end + 1;
    version->node = (uint32_t)strtoull(from, &end, 10);
    return end != from;
}

/* The answer of META: a map of RESP3, or an array of names and values. */
static bool meta_parse(struct slice reply, struct check_result *result)
{
    struct resp_item item;
    size_t used;
    if (resp_parse_item(reply, &item, &used) != STATUS_OK ||
        (item.type != RESP_MAP && item.type != RESP_ARRAY)) {
        return false;
    }
    int64_t pairs = item.type == RESP_MAP ? item.integer : item.integer / 2;
    result->versioned = false;
    for (int64_t pair = 0; pair < pairs; pair++) {
        struct resp_item name;
        reply = slice_make(reply.data + used, reply.size - used);
        if (resp_parse_item(reply, &name, &used) != STATUS_OK) {
            return false;
        }
        reply = slice_make(reply.data + used, reply.size - used);
        if (resp_parse_item(reply, &item, &used) != STATUS_OK) {
            return false;
        }
        if (slice_equal(name.text, slice_text("value"))) {
            result->found = item.type == RESP_BULK;
            result->value = item.text;
        } else if (slice_equal(name.text, slice_text("version"))) {
            result->versioned = version_parse(item.text, &result->version);
        } else if (slice_equal(name.text, slice_text("expiry_ms"))) {
            result->expiry_ms = (uint64_t)item.integer;
        }
    }
    return result->versioned;
}

/* [cursor, [key, ...]] */
static bool scan_parse(struct client *client, struct slice reply)
{
    struct check *check = client->clients->check;
    struct resp_item item;
    size_t used;
    size_t at = 0;
    int64_t count = 0;
    for (int64_t index = 0; index < 3 + count; index++) {
        struct slice rest = slice_make(reply.data + at, reply.size - at);
        if (resp_parse_item(rest, &item, &used) != STATUS_OK) {
            return false;
        }
        at += used;
        if (index == 1) {
            char text[24] = "";
            memcpy(text, item.text.data, item.text.size < 23 ? item.text.size : 23);
            char *end = text;
            client->cursor = strtoull(text, &end, 10);
            if (end == text) {
                return false;
            }
        } else if (index == 2) {
            count = item.integer;
        } else if (index > 2) {
            uint32_t key;
            if (!check_key_of(check, item.text, &key) || !check_key_written(check, key)) {
                check_violate(check, "SCAN returned a key that nobody wrote: %.*s",
                              (int)item.text.size, (const char *)item.text.data);
                return true;
            }
            client->scanned[key]++;
        }
    }
    return true;
}

static bool read_parse(struct client *client, const struct flight *flight, struct slice reply,
                       const struct resp_item *item)
{
    struct check_result result = {
        .clock_ms_max = cluster_clock_ms_max(client->clients->cluster),
        .last = flight->last,
    };
    if (flight->form == CLIENT_KV_GET) {
        if (!meta_parse(reply, &result)) {
            return false;
        }
    } else {
        result.found = item->type == RESP_BULK;
        result.value = item->text;
        if (!result.found && item->type != RESP_NULL) {
            return false;
        }
    }
    if (flight->last) {
        enum client_found *found = &client->found[flight->operation->key];
        *found =
            !result.found ? CLIENT_ABSENT : (result.expiry_ms != 0 ? CLIENT_MORTAL : CLIENT_LIVE);
    }
    check_read(client->clients->check, flight->operation, &result);
    if (result.versioned) {
        held_judge(client->clients->cluster, flight->operation, result.version, flight->epoch);
    }
    return true;
}

/* False: not an answer this request can have. */
static bool answer_judge(struct client *client, const struct flight *flight, struct slice reply,
                         const struct resp_item *item)
{
    struct check *check = client->clients->check;
    struct check_result result = {0};
    switch (flight->form) {
    case CLIENT_KV_GET:
    case CLIENT_GET:
        return read_parse(client, flight, reply, item);
    case CLIENT_KV_SET:
    case CLIENT_KV_DEL:
        if (!meta_parse(reply, &result)) {
            return false;
        }
        break;
    case CLIENT_SET:
    case CLIENT_SET_EXPIRING:
        if (item->type != RESP_SIMPLE) {
            return false;
        }
        break;
    case CLIENT_DEL:
    case CLIENT_PEXPIRE:
    case CLIENT_PERSIST:
    case CLIENT_PTTL:
        if (item->type != RESP_INTEGER) {
            return false;
        }
        break;
    case CLIENT_SCAN:
        if (!scan_parse(client, reply)) {
            return false;
        }
        break;
    }
    check_end(check, flight->operation, CHECK_OK, result.version);
    held_judge(client->clients->cluster, flight->operation, result.version, flight->epoch);
    return true;
}

static void step_over(struct client *client, const struct flight *flight)
{
    bool more = flight->form == CLIENT_SCAN && client->cursor != 0;
    client->step += insists(client) && !more;
}

static void answer_take(struct client *client, struct slice reply)
{
    struct check *check = client->clients->check;
    if (client->flight_count == 0) {
        check_violate(check, "an answer that nobody asked for");
        return;
    }
    struct flight flight = flight_take(client);
    struct resp_item item;
    size_t used;
    enum status status = resp_parse_item(reply, &item, &used);
    ASSERT(status == STATUS_OK);
    if (flight.operation == NULL) {
        /* A node that is on its way down refuses connections by an error, which is no map. */
        bool refused =
            item.type == RESP_ERROR && !insists(client) && starts_with(item.text, "UNAVAILABLE");
        if (item.type != RESP_MAP && !refused) {
            check_violate(check, "HELLO 3 was not answered with a map: %.*s", (int)item.text.size,
                          (const char *)item.text.data);
        }
        return;
    }
    show(client, flight.operation, "<-", reply);
    flight.operation->epoch_last = client->clients->cluster->nodes[client->target].epoch;
    if (item.type == RESP_ERROR) {
        if (insists(client)) {
            check_violate(check, "in quiet, node %u answers form %d: %.*s", client->target + 1,
                          (int)flight.form, (int)item.text.size, (const char *)item.text.data);
        }
        client->cursor = 0;
        check_end(check, flight.operation, error_outcome(client, item.text), (struct version){0});
    } else if (!answer_judge(client, &flight, reply, &item)) {
        check_violate(check, "form %d was answered with %.*s", (int)flight.form,
                      (int)(reply.size < 200 ? reply.size : 200), (const char *)reply.data);
    }
    step_over(client, &flight);
}

static void received(struct env_connection *connection, struct slice data)
{
    struct client *client = connection->context;
    if (connection != client->connection) {
        return;
    }
    buffer_append_slice(&client->in, data);
    for (;;) {
        size_t size = 0;
        enum status status = resp_reply_size(buffer_slice(&client->in), &size);
        if (status == STATUS_WOULD_BLOCK) {
            break;
        }
        if (status != STATUS_OK) {
            check_violate(client->clients->check, "a malformed answer");
            return;
        }
        answer_take(client, slice_make(client->in.data, size));
        buffer_consume(&client->in, size);
    }
    patience_arm(client);
    work(client);
}

/* ------------------------------------------------------------------ connections */

static void opened(struct env_connection *connection)
{
    struct client *client = connection->context;
    if (connection != client->connection) {
        return;
    }
    client->open = true;
    work(client);
}

static void drained(struct env_connection *connection)
{
    (void)connection;
}

static void closed(struct env_connection *connection, enum status why)
{
    struct client *client = connection->context;
    if (connection != client->connection) {
        return;
    }
    (void)why;
    client->connection = NULL;
    connection_drop(client, "the connection was lost");
    if (insists(client) && client->step < client->step_count) {
        check_violate(client->clients->check, "in quiet, node %u: a connection fails: %s",
                      client->target + 1, status_name(why));
    }
    env_timer_start_ms(client->env, &client->pace, draw(client, RECONNECT_MS_MAX));
}

static const struct env_net_events events = {
    .opened = opened,
    .received = received,
    .drained = drained,
    .closed = closed,
};

static void send_bytes(struct client *client, const struct buffer *bytes)
{
    enum status status = buffer_status(bytes);
    ASSERT(status == STATUS_OK);
    status = client->env->ops->net_send(client->connection, buffer_slice(bytes));
    (void)status; /* What is not taken is not answered either. */
}

static void flight_add(struct client *client, struct flight flight)
{
    ASSERT(client->flight_count < ARRAY_COUNT(client->flights));
    uint64_t wait_ms = client->clients->plan->config.request_timeout_ms;
    wait_ms += insists(client) ? INSIST_PATIENCE_MS : client->clients->plan->client_patience_ms;
    flight.deadline_ns = now_ns(client) + wait_ms * NS_PER_MS;
    client->flights[client->flight_count++] = flight;
}

static void connect_to(struct client *client, uint32_t target)
{
    struct cluster *cluster = client->clients->cluster;
    char address[32];
    (void)snprintf(address, sizeof(address), "%s:7400",
                   world_node_host(cluster->nodes[target].host));
    client->target = target;
    client->open = false;
    client->cursor = 0;
    enum status status = client->env->ops->net_connect(client->env, address, ENV_BYTES, &events,
                                                       client, &client->connection);
    ASSERT(status == STATUS_OK);
    client->resp3 = draw(client, 2) == 0;
}

static void greet(struct client *client)
{
    struct buffer bytes = {0};
    struct slice arguments[] = {slice_text("HELLO"), slice_text("3")};
    resp_request(&bytes, arguments, ARRAY_COUNT(arguments));
    flight_add(client, (struct flight){0});
    send_bytes(client, &bytes);
    buffer_deinit(&bytes);
    client->resp3 = false; /* Once for each connection. */
}

/* ------------------------------------------------------------------ requests */

struct words {
    struct slice all[ARGUMENT_COUNT_MAX];
    uint32_t count;
};

static void word_add(struct words *words, struct slice word)
{
    ASSERT(words->count < ARGUMENT_COUNT_MAX);
    words->all[words->count++] = word;
}

static enum check_kind kind_of(enum client_form form)
{
    static const enum check_kind kinds[] = {
        [CLIENT_KV_SET] = CHECK_SET,       [CLIENT_KV_GET] = CHECK_GET,
        [CLIENT_KV_DEL] = CHECK_DELETE,    [CLIENT_SET] = CHECK_SET,
        [CLIENT_SET_EXPIRING] = CHECK_SET, [CLIENT_GET] = CHECK_GET,
        [CLIENT_DEL] = CHECK_DELETE,       [CLIENT_PEXPIRE] = CHECK_EXPIRE,
        [CLIENT_PERSIST] = CHECK_EXPIRE,   [CLIENT_PTTL] = CHECK_INSPECT,
        [CLIENT_SCAN] = CHECK_INSPECT,
    };
    return kinds[form];
}

static bool is_kv(enum client_form form)
{
    return form == CLIENT_KV_SET || form == CLIENT_KV_GET || form == CLIENT_KV_DEL;
}

static const char *command_of(enum client_form form)
{
    static const char *const names[] = {
        [CLIENT_KV_SET] = "KV.SET", [CLIENT_KV_GET] = "KV.GET",    [CLIENT_KV_DEL] = "KV.DEL",
        [CLIENT_SET] = "SET",       [CLIENT_SET_EXPIRING] = "SET", [CLIENT_GET] = "GET",
        [CLIENT_DEL] = "DEL",       [CLIENT_PEXPIRE] = "PEXPIRE",  [CLIENT_PERSIST] = "PERSIST",
        [CLIENT_PTTL] = "PTTL",     [CLIENT_SCAN] = "SCAN",
    };
    return names[form];
}

static const char *level_name(enum level level)
{
    return level == LEVEL_ONE ? "ONE" : (level == LEVEL_ALL ? "ALL" : "QUORUM");
}

static void ask(struct client *client, enum client_form form, uint32_t key, enum level level,
                bool last)
{
    struct check *check = client->clients->check;
    const struct plan *plan = client->clients->plan;
    uint64_t epoch = client->clients->cluster->nodes[client->target].epoch;
    struct check_operation *operation = check_begin(check, kind_of(form), key, level, epoch);
    struct words words = {0};
    struct buffer bytes = {0};
    uint8_t *value = NULL;
    char name[24];
    char number[24];
    word_add(&words, slice_text(command_of(form)));
    if (form == CLIENT_SCAN) {
        (void)snprintf(number, sizeof(number), "%" PRIu64, client->cursor);
        word_add(&words, slice_text(number));
        word_add(&words, slice_text("COUNT"));
        (void)snprintf(name, sizeof(name), "%d", SCAN_COUNT);
        word_add(&words, slice_text(name));
    } else {
        word_add(&words, slice_make(name, check_key_name(key, name, sizeof(name))));
    }
    if (operation->kind == CHECK_SET) {
        operation->value_size = 16 + (uint32_t)draw(client, plan->value_size_max);
        value = heap_sim_take(operation->value_size);
        check_value(operation, value);
        word_add(&words, slice_make(value, operation->value_size));
    }
    operation->expires = form == CLIENT_SET_EXPIRING ||
                         (form == CLIENT_KV_SET && !insists(client) && draw(client, 10) == 0);
    if (form == CLIENT_PEXPIRE || operation->expires) {
        (void)snprintf(number, sizeof(number), "%" PRIu64, 1 + draw(client, EXPIRY_MS_MAX));
        if (form != CLIENT_PEXPIRE) {
            word_add(&words, slice_text("PX"));
        }
        word_add(&words, slice_text(number));
    }
    if (is_kv(form)) {
        word_add(&words, slice_text("LEVEL"));
        word_add(&words, slice_text(level_name(level)));
        word_add(&words, slice_text("META"));
    }
    resp_request(&bytes, words.all, words.count);
    show(client, operation, "->", buffer_slice(&bytes));
    flight_add(client,
               (struct flight){.operation = operation,
                               .form = form,
                               .last = last,
                               .epoch = held_epoch(client->clients->cluster, client->target, key)});
    send_bytes(client, &bytes);
    buffer_deinit(&bytes);
    heap_sim_give(value);
}

static enum client_form draw_form(const struct client *client)
{
    static const struct {
        enum client_form form;
        uint32_t weight; /* Of 100. */
    } mix[] = {
        {CLIENT_KV_GET, 37}, {CLIENT_KV_SET, 35}, {CLIENT_KV_DEL, 7}, {CLIENT_SET, 3},
        {CLIENT_GET, 4},     {CLIENT_DEL, 3},     {CLIENT_PTTL, 2},   {CLIENT_SET_EXPIRING, 2},
        {CLIENT_PEXPIRE, 3}, {CLIENT_PERSIST, 1}, {CLIENT_SCAN, 3},
    };
    uint64_t roll = draw(client, 100);
    uint32_t index = 0;
    while (index + 1 < ARRAY_COUNT(mix) && roll >= mix[index].weight) {
        roll -= mix[index++].weight;
    }
    return mix[index].form;
}

static void ask_drawn(struct client *client)
{
    const struct plan *plan = client->clients->plan;
    enum client_form form = draw_form(client);
    bool hot = draw(client, 2) == 0;
    uint32_t key = (uint32_t)draw(client, hot ? plan->hot_key_count : plan->key_count);
    uint64_t roll = draw(client, 10);
    enum level level = LEVEL_QUORUM;
    if (is_kv(form) && roll < 2) {
        level = roll == 0 ? LEVEL_ONE : LEVEL_ALL;
    }
    client->quota--;
    client->clients->begun++;
    ask(client, form, key, level, false);
}

/* ------------------------------------------------------------------ pace */

static void pace_arm(struct client *client)
{
    const struct plan *plan = client->clients->plan;
    uint64_t end_ns = plan->safety_ms * NS_PER_MS;
    uint64_t now = now_ns(client);
    uint64_t wait_ns = HURRY_MS_MAX * NS_PER_MS;
    if (!client->clients->hurry && now < end_ns) {
        uint64_t share_ns = (end_ns - now) / (client->quota + 1);
        wait_ns = share_ns > wait_ns ? share_ns : wait_ns;
    }
    client->env->ops->timer_start(client->env, &client->pace, draw(client, wait_ns * 2 + 1));
}

static void work_drawn(struct client *client)
{
    uint64_t burst = 1 + draw(client, client->clients->plan->depth_max);
    while (burst > 0 && client->quota > 0 && client->connection != NULL &&
           client->flight_count < client->clients->plan->depth_max) {
        ask_drawn(client);
        burst--;
    }
    patience_arm(client);
    if (client->quota > 0) {
        pace_arm(client);
    }
}

static void work_insisting(struct client *client)
{
    if (client->flight_count > 0 || client->step >= client->step_count ||
        check_violation(client->clients->check) != NULL) {
        return;
    }
    const struct client_step *step = &client->steps[client->step];
    if (client->target != step->node) {
        connection_drop(client, "");
        connect_to(client, step->node);
        return;
    }
    ask(client, step->form, step->key, step->level, step->last);
    patience_arm(client);
}

/* Any node that was started; in the quiet none that was given up: each try of those takes seconds.
 */
static uint32_t target_draw(const struct client *client)
{
    const struct cluster *cluster = client->clients->cluster;
    uint32_t target = (uint32_t)draw(client, cluster->count);
    while (cluster->nodes[target].spare ||
           (client->clients->hurry && cluster->nodes[target].lost)) {
        target = (target + 1) % cluster->count;
    }
    return target;
}

/* Goes on: connects, greets or asks. Drawn operations are asked when the pace fires alone. */
static void work(struct client *client)
{
    if (client->connection == NULL) {
        if (insists(client) && client->step < client->step_count) {
            connect_to(client, client->steps[client->step].node);
        } else if (!insists(client) && client->quota > 0) {
            connect_to(client, target_draw(client));
        }
        return;
    }
    if (!client->open) {
        return;
    }
    if (client->resp3) {
        greet(client);
        patience_arm(client);
    }
    if (insists(client)) {
        work_insisting(client);
    }
}

static void pace_fired(struct env_timer *timer)
{
    struct client *client = container_of(timer, struct client, pace);
    work(client);
    if (insists(client) || !client->open) {
        if (!insists(client) && client->quota > 0) {
            pace_arm(client);
        }
        return;
    }
    /* Now and then a client moves to another node. */
    if (client->flight_count == 0 && draw(client, 20) == 0) {
        connection_drop(client, "");
        pace_arm(client);
        return;
    }
    work_drawn(client);
}

static void client_boot(void *context)
{
    struct client *client = context;
    env_timer_start_ms(client->env, &client->pace, draw(client, RECONNECT_MS_MAX));
}

static struct client *client_add(struct clients *clients)
{
    struct client *client = heap_sim_take(sizeof(*client));
    client->clients = clients;
    client->host = world_node_add(clients->cluster->world);
    client->env = world_node_env(client->host);
    client->pace.fired = pace_fired;
    client->patience.fired = patience_fired;
    clients->all[clients->count++] = client;
    return client;
}

void clients_init(struct clients *clients, struct cluster *cluster, bool verbose)
{
    const struct plan *plan = cluster->plan;
    *clients = (struct clients){
        .cluster = cluster, .plan = plan, .check = cluster->check, .verbose = verbose};
    for (uint32_t index = 0; index < plan->client_count; index++) {
        struct client *client = client_add(clients);
        client->quota = plan->operation_count / plan->client_count +
                        (index < plan->operation_count % plan->client_count);
        world_node_start(client->host, client_boot, client);
    }
}

static void client_wake(void *context)
{
    struct client *client = context;
    if (client->quota > 0) {
        env_timer_start_ms(client->env, &client->pace, 0);
    }
}

void clients_hurry(struct clients *clients)
{
    clients->hurry = true;
    for (uint32_t index = 0; index < clients->count; index++) {
        world_node_call(clients->all[index]->host, client_wake, clients->all[index]);
    }
}

bool clients_done(const struct clients *clients)
{
    for (uint32_t index = 0; index < clients->count; index++) {
        const struct client *client = clients->all[index];
        if (!insists(client) && (client->quota > 0 || client->flight_count > 0)) {
            return false;
        }
    }
    return true;
}

uint32_t client_host(const struct clients *clients, uint32_t index)
{
    return world_node_index(clients->all[index]->host);
}

struct client *client_insist(struct clients *clients, const struct client_step *steps,
                             uint32_t step_count)
{
    ASSERT(step_count > 0);
    struct client *client = client_add(clients);
    client->steps = steps;
    client->step_count = step_count;
    world_node_start(client->host, client_boot, client);
    return client;
}

bool client_insisted(const struct client *client)
{
    return client->step >= client->step_count;
}

const uint32_t *client_scanned(const struct client *client)
{
    return client->scanned;
}

enum client_found client_found(const struct client *client, uint32_t key)
{
    ASSERT(key < CHECK_KEY_COUNT_MAX);
    return client->found[key];
}

void clients_free(struct clients *clients)
{
    for (uint32_t index = 0; index < clients->count; index++) {
        heap_sim_give(clients->all[index]);
    }
}
