/* tests/sim/kvsim_asker.c -- see kvsim_asker.h. */
#include "tests/sim/kvsim_asker.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/resp.h"

#define NS_PER_MS UINT64_C(1000000)
#define PATIENCE_MS 2000 /* Beyond the time-out of requests. */
#define WORD_COUNT_MAX 10
#define SHOWN_SIZE_MAX 400
#define OTHER_NODE_ODDS 6 /* Once in so many requests another node is asked. */

static void show(const struct asker *asker, const char *what, struct slice text)
{
    if (!asker->verbose) {
        return;
    }
    (void)fprintf(stderr, "%9.3f %s operator node %u %s ",
                  (double)world_now_ns(asker->cluster->world) / 1e9, world_node_host(asker->host),
                  asker->target + 1, what);
    for (size_t index = 0; index < text.size && index < SHOWN_SIZE_MAX; index++) {
        bool plain = text.data[index] >= ' ' && text.data[index] < 127;
        (void)fputc(plain ? text.data[index] : '.', stderr);
    }
    (void)fputc('\n', stderr);
}

/* ------------------------------------------------------------------ ends */

static void tell(struct asker *asker, enum asker_outcome outcome, struct slice text)
{
    if (asker->asked) {
        asker->asked = false;
        asker->env->ops->timer_stop(asker->env, &asker->patience);
        asker->answered(asker->context, outcome, text);
    }
}

static void drop(struct asker *asker)
{
    if (asker->connection != NULL) {
        asker->env->ops->net_close(asker->connection);
        asker->connection = NULL;
    }
    asker->open = false;
    buffer_clear(&asker->in);
}

static void give_up(struct asker *asker, const char *why)
{
    bool sent = asker->sent;
    show(asker, sent ? "lost:" : "not sent:", slice_text(why));
    drop(asker);
    tell(asker, sent ? ASKER_UNKNOWN : ASKER_NOT_DONE, slice_text(why));
}

static void patience_fired(struct env_timer *timer)
{
    give_up(container_of(timer, struct asker, patience), "no answer in time");
}

static enum asker_outcome outcome_of(struct asker *asker, const struct resp_item *item)
{
    static const struct {
        const char *code;
        enum asker_outcome outcome;
    } codes[] = {
        {"ERR ", ASKER_REFUSED},       {"UNAVAILABLE ", ASKER_NOT_DONE},
        {"TRYAGAIN ", ASKER_NOT_DONE}, {"OVERLOADED ", ASKER_NOT_DONE},
        {"LOADING ", ASKER_NOT_DONE},  {"TIMEOUT ", ASKER_UNKNOWN},
    };
    if (item->type != RESP_ERROR) {
        return ASKER_OK;
    }
    for (size_t index = 0; index < ARRAY_COUNT(codes); index++) {
        size_t size = strlen(codes[index].code);
        if (item->text.size >= size && memcmp(item->text.data, codes[index].code, size) == 0) {
            return codes[index].outcome;
        }
    }
    check_violate(asker->cluster->check, "an operator is told an error of no known code: %.*s",
                  (int)item->text.size, (const char *)item->text.data);
    return ASKER_UNKNOWN;
}

static void received(struct env_connection *connection, struct slice data)
{
    struct asker *asker = connection->context;
    if (connection != asker->connection) {
        return;
    }
    buffer_append_slice(&asker->in, data);
    size_t size = 0;
    enum status status = resp_reply_size(buffer_slice(&asker->in), &size);
    if (status == STATUS_WOULD_BLOCK) {
        return;
    }
    struct resp_item item;
    size_t used;
    if (status != STATUS_OK || !asker->asked ||
        resp_parse_item(buffer_slice(&asker->in), &item, &used) != STATUS_OK) {
        check_violate(asker->cluster->check, "an operator is answered what he did not ask");
        return;
    }
    show(asker, "<-", buffer_slice(&asker->in));
    /* The text is the receiver's while it is told; then the next answer takes its place. */
    struct buffer text = asker->in;
    asker->in = (struct buffer){0};
    tell(asker, outcome_of(asker, &item), item.text);
    buffer_deinit(&text);
}

/* ------------------------------------------------------------------ asking */

static void request_send(struct asker *asker)
{
    struct slice words[WORD_COUNT_MAX];
    uint32_t count = 0;
    for (const char *from = asker->line; from != NULL; count++) {
        ASSERT(count < WORD_COUNT_MAX);
        const char *space = strchr(from, ' ');
        words[count] = slice_make(from, space == NULL ? strlen(from) : (size_t)(space - from));
        from = space == NULL ? NULL : space + 1;
    }
    struct buffer bytes = {0};
    resp_request(&bytes, words, count);
    show(asker, "->", slice_text(asker->line));
    asker->sent = true;
    enum status status = asker->env->ops->net_send(asker->connection, buffer_slice(&bytes));
    (void)status; /* What is not taken is not answered either. */
    buffer_deinit(&bytes);
}

static void opened(struct env_connection *connection)
{
    struct asker *asker = connection->context;
    if (connection != asker->connection) {
        return;
    }
    asker->open = true;
    if (asker->asked && !asker->sent) {
        request_send(asker);
    }
}

static void drained(struct env_connection *connection)
{
    (void)connection;
}

static void closed(struct env_connection *connection, enum status why)
{
    struct asker *asker = connection->context;
    if (connection == asker->connection) {
        asker->connection = NULL;
        give_up(asker, status_name(why));
    }
}

static const struct env_net_events events = {
    .opened = opened,
    .received = received,
    .drained = drained,
    .closed = closed,
};

static void connect_drawn(struct asker *asker)
{
    struct cluster *cluster = asker->cluster;
    uint32_t drawn = (uint32_t)prng_below(cluster->prng, cluster->count);
    while (cluster->nodes[drawn].spare) {
        drawn = (drawn + 1) % cluster->count;
    }
    asker->target = drawn;
    char address[32];
    (void)snprintf(address, sizeof(address), "%s:7400",
                   world_node_host(cluster->nodes[drawn].host));
    enum status status = asker->env->ops->net_connect(asker->env, address, ENV_BYTES, &events,
                                                      asker, &asker->connection);
    ASSERT(status == STATUS_OK);
}

void asker_ask(struct asker *asker, const char *line)
{
    ASSERT(!asker->asked);
    (void)snprintf(asker->line, sizeof(asker->line), "%s", line);
    asker->asked = true;
    asker->sent = false;
    if (asker->connection != NULL && prng_below(asker->cluster->prng, OTHER_NODE_ODDS) == 0) {
        drop(asker);
    }
    uint64_t patience_ms = asker->cluster->plan->config.request_timeout_ms + PATIENCE_MS;
    env_timer_start_ms(asker->env, &asker->patience, patience_ms);
    if (asker->connection == NULL) {
        connect_drawn(asker);
    } else if (asker->open) {
        request_send(asker);
    }
}

void asker_init(struct asker *asker, void (*boot)(void *context))
{
    asker->host = world_node_add(asker->cluster->world);
    asker->env = world_node_env(asker->host);
    asker->patience.fired = patience_fired;
    world_node_start(asker->host, boot, asker->context);
}
