/*
 * tests/sim/net_sim.c -- connections as two ends and a queue of batches each way.
 *
 *   NEW --> OPEN --> CLOSING --> GONE        (the end that accepts; NEW until its `opened`)
 *   CONNECTING --> OPEN --> CLOSING --> GONE (the end that connects)
 * From every state an end may be GONE at once, when its process is.
 * Invariants:
 *  (1) A batch waits in the queue of the end that sent it. While there is one, either a delivery is
 *      scheduled, or `waiting` says that a cut or a dead host holds it (then a timer runs that
 *      drops it), or the receiver is not open yet or paused (which schedules when it changes).
 *  (2) A link is freed once both ends are gone and no event names it.
 *  (3) `closed` is called once for each end that the user knows of, from an event of its own, from
 *      a delivery, or from a clean end of the process; an end is GONE before.
 */
#include "tests/sim/net_sim.h"

#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "tests/sim/env_sim_internal.h"
#include "tests/sim/trace.h"

#define HOST_NONE UINT32_MAX
#define PORT_EPHEMERAL_FIRST 40000
#define QUEUE_CAP_FACTOR 4 /* As base/net_uv.c: who sends on above this loses the connection. */
#define BATCH_KEEP_SIZE (16u << 10)
#define FRAME_HEADER_SIZE sizeof(uint32_t)

/* Names a call in the trace. */
enum net_call { NET_LISTEN = 100, NET_CONNECT, NET_SEND, NET_CLOSE, NET_PAUSE };

enum end_state { END_NEW, END_CONNECTING, END_OPEN, END_CLOSING, END_GONE };

/* What was sent in one event: frames with their sizes, or bytes. */
struct net_batch {
    struct net_batch *next;
    uint64_t arrival_ns;
    uint64_t turn;   /* Of the event that sent it. */
    bool last;       /* The sender closed after it. */
    uint32_t offset; /* Delivered so far. */
    uint32_t size;
    uint32_t capacity;
    uint8_t *data;
};

struct net_end {
    struct env_connection base;
    struct net_link *link;
    struct net_end *peer;
    struct world_node *node;
    enum end_state state;
    enum status why; /* While CLOSING. */
    bool paused;
    bool overloaded; /* `drained` is due. */
    /* Towards the peer. */
    struct net_batch *first;
    struct net_batch *last;
    size_t queued_size;
    uint64_t arrival_ns; /* Of the last batch: nothing overtakes it. */
    bool scheduled;
    bool waiting;
    bool dying; /* Unacknowledged since a while; see dead_start(). */
    uint64_t dying_number;
    char remote[ADDRESS_TEXT_SIZE_MAX];
};

struct net_link {
    struct list_node node;
    struct net_sim *net;
    enum env_framing framing;
    uint32_t event_count;
    uint32_t target_host; /* HOST_NONE: there is none of that address. */
    uint16_t target_port;
    bool resolved; /* The address was one, not a name. */
    struct net_end client;
    struct net_end server;
};

struct env_listener {
    struct list_node node;
    struct net_sim *net;
    struct world_node *owner;
    uint16_t port;
    enum env_framing framing;
    const struct env_net_events *events;
    void *context;
};

struct net_host {
    bool power;
    uint16_t next_port;
    struct list_node listeners;
};

struct net_sim {
    struct world *world;
    struct net_sim_options options;
    struct net_sim_counters counters;
    struct net_host hosts[NET_SIM_HOST_COUNT_MAX];
    bool cut[NET_SIM_HOST_COUNT_MAX][NET_SIM_HOST_COUNT_MAX];
    struct list_node links;
    struct net_batch *pool;
};

/* --- small things ----------------------------------------------------------------------------- */

static struct net_end *end_of(struct env_connection *connection)
{
    ASSERT(connection != NULL);
    return container_of(connection, struct net_end, base);
}

static uint64_t draw_latency_ns(struct net_sim *net)
{
    const struct net_sim_options *options = &net->options;
    ASSERT(options->latency_ns_max >= options->latency_ns_min);
    uint64_t latency = options->latency_ns_min;
    latency += world_draw_ns(net->world, options->latency_ns_max - options->latency_ns_min);
    if (world_draw_chance(net->world, options->slow_ppm)) {
        latency += world_draw_ns(net->world, options->slow_ns);
    }
    return latency;
}

static bool path_cut(const struct net_end *from)
{
    return from->link->net->cut[from->node->index][from->peer->node->index];
}

/* --- batches ---------------------------------------------------------------------------------- */

static struct net_batch *batch_take(struct net_sim *net)
{
    struct net_batch *batch = net->pool;
    if (batch == NULL) {
        return heap_sim_take(sizeof(*batch));
    }
    net->pool = batch->next;
    *batch = (struct net_batch){.data = batch->data, .capacity = batch->capacity};
    return batch;
}

static void batch_give(struct net_sim *net, struct net_batch *batch)
{
    if (batch->capacity > BATCH_KEEP_SIZE) {
        heap_sim_give(batch->data);
        batch->data = NULL;
        batch->capacity = 0;
    }
    batch->next = net->pool;
    net->pool = batch;
}

static void batch_append(struct net_batch *batch, const void *data, size_t size)
{
    ASSERT(size <= UINT32_MAX / 4 - batch->size);
    uint32_t needed = batch->size + (uint32_t)size;
    if (needed > batch->capacity) {
        batch->capacity = needed < 128 ? 256 : needed * 2;
        batch->data = heap_sim_retake(batch->data, batch->capacity);
    }
    if (size > 0) {
        memcpy(batch->data + batch->size, data, size);
    }
    batch->size = needed;
}

static void batches_drop(struct net_end *end)
{
    while (end->first != NULL) {
        struct net_batch *batch = end->first;
        end->first = batch->next;
        batch_give(end->link->net, batch);
    }
    end->last = NULL;
    end->queued_size = 0;
    end->waiting = false;
}

/* --- links and their events ------------------------------------------------------------------- */

static void link_event(struct net_end *end, struct world_node *node, uint64_t delay_ns,
                       void (*run)(struct world_event *event, bool voided), uint64_t number)
{
    struct net_link *link = end->link;
    link->event_count++;
    struct world_event *event =
        world_event_add(link->net->world, node, WORLD_EVENT_NET, delay_ns, run, end);
    event->number = number;
}

static void link_free(struct net_link *link)
{
    list_remove(&link->node);
    batches_drop(&link->client);
    batches_drop(&link->server);
    heap_sim_give(link);
}

static bool end_is_over(const struct net_end *end)
{
    return end->state == END_GONE || (end->state == END_NEW && end->node == NULL);
}

static void link_free_if_over(struct net_link *link)
{
    if (link->event_count == 0 && end_is_over(&link->client) && end_is_over(&link->server)) {
        link_free(link);
    }
}

/* Every event of a link ends with this. */
static void link_event_end(struct net_link *link)
{
    ASSERT(link->event_count > 0);
    link->event_count--;
    link_free_if_over(link);
}

/* Tells the user; in the node's heap. */
static void end_finish(struct net_end *end, enum status why)
{
    ASSERT(end->state != END_GONE);
    end->state = END_GONE;
    end->base.events->closed(&end->base, why);
}

static void closed_event(struct world_event *event, bool voided)
{
    struct net_end *end = event->subject;
    if (!voided && end->state == END_CLOSING) {
        end_finish(end, end->why);
    }
    link_event_end(end->link);
}

static void end_finish_later(struct net_end *end, enum status why)
{
    end->state = END_CLOSING;
    end->why = why;
    link_event(end, end->node, 0, closed_event, 0);
}

/* --- dying of silence ------------------------------------------------------------------------- */

static void dead_event(struct world_event *event, bool voided)
{
    struct net_end *end = event->subject;
    if (end->dying && end->dying_number == event->number) {
        end->dying = false;
        batches_drop(end);
        end->link->net->counters.timeouts++;
        if (!voided && end->state == END_OPEN) {
            end_finish(end, STATUS_TIMEOUT);
        }
    }
    link_event_end(end->link);
}

/* What `end` sent is not acknowledged; if that stays so, its side gives up. */
static void dead_start(struct net_end *end)
{
    if (end->dying) {
        return;
    }
    struct net_sim *net = end->link->net;
    uint64_t half = net->options.dead_after_ns / 2;
    end->dying = true;
    end->dying_number++;
    link_event(end, end->node, half + world_draw_ns(net->world, half), dead_event,
               end->dying_number);
}

static void end_wait(struct net_end *end)
{
    end->waiting = true;
    dead_start(end);
}

/* --- resets ----------------------------------------------------------------------------------- */

static void reset_event(struct world_event *event, bool voided)
{
    struct net_end *end = event->subject;
    bool arrives = event->number != 0 || !path_cut(end->peer);
    if (!voided && arrives && (end->state == END_OPEN || end->state == END_CONNECTING)) {
        end->link->net->counters.resets++;
        batches_drop(end);
        end_finish(end, STATUS_CLOSED);
    }
    link_event_end(end->link);
}

/* The other side tells `end` that there is no connection; lost if its way is cut by then. `forced`:
 * it comes in any case. */
static void end_reset(struct net_end *end, bool forced)
{
    link_event(end, end->node, draw_latency_ns(end->link->net), reset_event, forced);
}

/* --- delivery --------------------------------------------------------------------------------- */

static void delivery_event(struct world_event *event, bool voided);

static void end_schedule(struct net_end *end)
{
    if (end->first == NULL || end->scheduled || end->waiting || end->peer->node == NULL) {
        return;
    }
    uint64_t now = world_now_ns(end->link->net->world);
    uint64_t arrival = end->first->arrival_ns;
    end->scheduled = true;
    link_event(end, end->peer->node, arrival > now ? arrival - now : 0, delivery_event, 0);
}

/* The next piece of a batch that goes to the user in one call. */
static struct slice batch_piece(struct net_link *link, struct net_batch *batch)
{
    const uint8_t *data = batch->data + batch->offset;
    uint32_t rest = batch->size - batch->offset;
    if (link->framing == ENV_FRAMES) {
        uint32_t size;
        memcpy(&size, data, sizeof(size));
        batch->offset += (uint32_t)FRAME_HEADER_SIZE + size;
        return slice_make(data + FRAME_HEADER_SIZE, size);
    }
    uint32_t size = rest;
    uint32_t most = link->net->options.chunk_size_max;
    if (most > 0) {
        size = 1 + (uint32_t)prng_below(world_prng(link->net->world), most);
        size = size < rest ? size : rest;
    }
    batch->offset += size;
    return slice_make(data, size);
}

static void drained_event(struct world_event *event, bool voided)
{
    struct net_end *end = event->subject;
    size_t bound = end->link->net->options.send_queue_size_max;
    if (!voided && end->state == END_OPEN && end->overloaded && end->queued_size < bound / 2) {
        end->overloaded = false;
        end->base.events->drained(&end->base);
    }
    link_event_end(end->link);
}

/* Gives the first batch of `end` to its peer, as far as the peer takes it. */
static void batch_deliver(struct net_end *end)
{
    struct net_link *link = end->link;
    struct net_sim *net = link->net;
    struct net_end *receiver = end->peer;
    struct net_batch *batch = end->first;
    end->first = batch->next;
    if (end->first == NULL) {
        end->last = NULL;
    }
    while (batch->offset < batch->size && receiver->state == END_OPEN && !receiver->paused) {
        struct slice piece = batch_piece(link, batch);
        net->counters.bytes_delivered += piece.size;
        receiver->base.events->received(&receiver->base, piece);
    }
    if (receiver->state == END_OPEN && (batch->offset < batch->size || receiver->paused)) {
        batch->next = end->first; /* The rest waits for the receiver to go on. */
        end->first = batch;
        end->last = end->last == NULL ? batch : end->last;
        return;
    }
    ASSERT(end->queued_size >= batch->size);
    end->queued_size -= batch->size;
    bool last = batch->last;
    batch_give(net, batch);
    if (last && receiver->state == END_OPEN) {
        end_finish(receiver, STATUS_CLOSED);
    }
    if (end->overloaded && end->queued_size < net->options.send_queue_size_max / 2) {
        link_event(end, end->node, draw_latency_ns(net), drained_event, 0);
    }
}

/* What arrived found no one: the host answers with a reset. */
static void delivery_refused(struct net_end *end)
{
    batches_drop(end);
    end_reset(end, false);
    if (path_cut(end->peer)) {
        dead_start(end);
    }
}

static void delivery_run(struct net_end *end, bool voided)
{
    struct net_end *receiver = end->peer;
    struct net_sim *net = end->link->net;
    end->scheduled = false;
    if (end->first == NULL) {
        return;
    }
    if (path_cut(end) || !net->hosts[receiver->node->index].power) {
        end_wait(end);
        return;
    }
    if (voided || receiver->state == END_GONE) {
        delivery_refused(end);
        return;
    }
    if (receiver->state == END_CLOSING) {
        batches_drop(end);
        return;
    }
    if (receiver->state != END_OPEN || receiver->paused) {
        return;
    }
    if (path_cut(receiver)) {
        dead_start(end);
    } else {
        end->dying = false;
    }
    net->counters.batches++;
    batch_deliver(end);
    if (receiver->state == END_OPEN && !receiver->paused) {
        end_schedule(end);
    } else if (receiver->state == END_GONE || receiver->state == END_CLOSING) {
        batches_drop(end);
    }
}

static void delivery_event(struct world_event *event, bool voided)
{
    struct net_end *end = event->subject;
    delivery_run(end, voided);
    link_event_end(end->link);
}

/* The batch that goes out in this event. */
static struct net_batch *batch_open(struct net_end *end)
{
    struct net_sim *net = end->link->net;
    uint64_t turn = world_turn(net->world);
    if (end->last != NULL && end->last->turn == turn && !end->last->last &&
        end->last->offset == 0) {
        return end->last;
    }
    struct net_batch *batch = batch_take(net);
    batch->turn = turn;
    uint64_t arrival = world_now_ns(net->world) + draw_latency_ns(net);
    batch->arrival_ns = arrival > end->arrival_ns ? arrival : end->arrival_ns;
    end->arrival_ns = batch->arrival_ns;
    if (end->last == NULL) {
        end->first = batch;
    } else {
        end->last->next = batch;
    }
    end->last = batch;
    end_schedule(end);
    return batch;
}

/* The other side will see a close behind what was sent. */
static void end_send_last(struct net_end *end)
{
    batch_open(end)->last = true;
}

enum status net_sim_send(struct env_connection *connection, struct slice data)
{
    struct net_end *end = end_of(connection);
    struct net_link *link = end->link;
    struct net_sim *net = link->net;
    ASSERT(end->state != END_GONE);
    ASSERT(!end->node->in_job);
    trace_number(world_trace(net->world), NET_SEND);
    trace_bytes(world_trace(net->world), data);
    if (end->state == END_CLOSING) {
        return STATUS_CLOSED;
    }
    size_t bound = net->options.send_queue_size_max;
    if (end->queued_size / QUEUE_CAP_FACTOR > bound) {
        batches_drop(end);
        if (end->peer->node != NULL) {
            end_reset(end->peer, false);
        }
        end_finish_later(end, STATUS_OVERLOADED);
        return STATUS_CLOSED;
    }
    uint32_t copies = 1;
    if (link->framing == ENV_FRAMES) {
        ASSERT(data.size <= ENV_FRAME_SIZE_MAX);
        net->counters.frames_sent++;
        bool dropped = world_draw_chance(net->world, net->options.drop_ppm);
        bool doubled = world_draw_chance(net->world, net->options.duplicate_ppm);
        net->counters.frames_dropped += dropped;
        net->counters.frames_doubled += doubled && !dropped;
        copies = dropped ? 0 : doubled ? 2 : 1;
    } else if (data.size == 0) {
        return STATUS_OK;
    }
    if (end->state == END_OPEN && world_draw_chance(net->world, net->options.reset_ppm)) {
        end_reset(end, true);
        end_reset(end->peer, true);
    }
    for (; copies > 0; copies--) {
        struct net_batch *batch = batch_open(end);
        uint32_t before = batch->size;
        if (link->framing == ENV_FRAMES) {
            uint32_t size = (uint32_t)data.size;
            batch_append(batch, &size, sizeof(size));
        }
        batch_append(batch, data.data, data.size);
        end->queued_size += batch->size - before;
    }
    if (end->queued_size > bound) {
        end->overloaded = true;
        return STATUS_OVERLOADED;
    }
    return STATUS_OK;
}

/* --- connecting ------------------------------------------------------------------------------- */

static void timeout_event(struct world_event *event, bool voided)
{
    struct net_end *end = event->subject;
    if (!voided && end->state == END_CONNECTING) {
        end->link->net->counters.timeouts++;
        end_finish(end, STATUS_TIMEOUT);
    }
    link_event_end(end->link);
}

static void refused_event(struct world_event *event, bool voided)
{
    struct net_end *end = event->subject;
    if (!voided && end->state == END_CONNECTING) {
        end_finish(end, end->link->resolved ? STATUS_IO : STATUS_NOT_FOUND);
    }
    link_event_end(end->link);
}

static void opened_event(struct world_event *event, bool voided)
{
    struct net_end *end = event->subject;
    if (!voided && end->state == END_CONNECTING && !path_cut(end->peer)) {
        end->state = END_OPEN;
        end->base.events->opened(&end->base);
    }
    link_event_end(end->link);
}

static void accepted_event(struct world_event *event, bool voided)
{
    struct net_end *end = event->subject;
    if (!voided && end->state == END_NEW) {
        end->state = END_OPEN;
        end->base.events->opened(&end->base);
        end_schedule(end->peer);
    }
    link_event_end(end->link);
}

static struct env_listener *listener_find(struct net_sim *net, uint32_t host, uint16_t port,
                                          enum env_framing framing)
{
    list_for_each (node, following, &net->hosts[host].listeners) {
        struct env_listener *listener = container_of(node, struct env_listener, node);
        if (listener->port == port) {
            ASSERT(listener->framing == framing);
            return listener;
        }
    }
    return NULL;
}

static void link_accept(struct net_link *link, struct env_listener *listener)
{
    struct net_sim *net = link->net;
    struct net_end *client = &link->client;
    struct net_end *server = &link->server;
    struct net_host *client_host = &net->hosts[client->node->index];
    server->node = listener->owner;
    server->base =
        (struct env_connection){.events = listener->events, .context = listener->context};
    client_host->next_port++;
    unsigned port = PORT_EPHEMERAL_FIRST + client_host->next_port % 20000u;
    (void)snprintf(server->remote, sizeof(server->remote), "%s:%u", client->node->host, port);
    uint64_t latency = draw_latency_ns(net);
    server->arrival_ns = world_now_ns(net->world) + latency;
    link_event(server, server->node, 0, accepted_event, 0);
    link_event(client, client->node, latency, opened_event, 0);
}

/* The request to connect reaches the other host, or nothing. */
static void request_event(struct world_event *event, bool voided)
{
    struct net_end *client = event->subject;
    struct net_link *link = client->link;
    struct net_sim *net = link->net;
    (void)voided;
    uint32_t from = client->node->index;
    uint32_t host = link->target_host;
    bool reaches = host != HOST_NONE && net->hosts[host].power && !net->cut[from][host] &&
                   !net->cut[host][from];
    if (client->state == END_CONNECTING && (reaches || !link->resolved)) {
        struct env_listener *listener = NULL;
        if (reaches && !world_draw_chance(net->world, net->options.refuse_ppm)) {
            listener = listener_find(net, host, link->target_port, link->framing);
        }
        if (listener == NULL) {
            link_event(client, client->node, draw_latency_ns(net), refused_event, 0);
        } else {
            link_accept(link, listener);
        }
    }
    link_event_end(link);
}

/* Fills the link's target; false if the text is no address at all. */
static bool target_parse(struct net_link *link, struct world_node *node, const char *text)
{
    struct address address;
    if (address_parse(text, &address) != STATUS_OK) {
        return false;
    }
    unsigned bytes[4];
    char more;
    link->target_port = address.port;
    link->target_host = HOST_NONE;
    link->resolved = sscanf(address.host, "%3u.%3u.%3u.%3u%c", &bytes[0], &bytes[1], &bytes[2],
                            &bytes[3], &more) == 4;
    if (strcmp(address.host, "localhost") == 0 || (link->resolved && bytes[0] == 127)) {
        link->resolved = true;
        link->target_host = node->index;
    } else if (link->resolved && bytes[0] == 10 && bytes[1] == 0 && bytes[2] == 0 &&
               bytes[3] >= 1 && bytes[3] <= NET_SIM_HOST_COUNT_MAX) {
        link->target_host = bytes[3] - 1;
    }
    address_format(&address, link->client.remote);
    return true;
}

enum status net_sim_connect(struct net_sim *net, struct world_node *node, const char *address,
                            enum env_framing framing, const struct env_net_events *events,
                            void *context, struct env_connection **connection)
{
    ASSERT(address != NULL);
    trace_number(world_trace(net->world), NET_CONNECT);
    trace_bytes(world_trace(net->world), slice_text(address));
    struct net_link *link = heap_sim_take(sizeof(*link));
    if (!target_parse(link, node, address) || node->stopping) {
        heap_sim_give(link);
        return node->stopping ? STATUS_CANCELLED : STATUS_INVALID;
    }
    net->counters.connects++;
    link->net = net;
    link->framing = framing;
    list_append(&net->links, &link->node);
    struct net_end *client = &link->client;
    client->base = (struct env_connection){.events = events, .context = context};
    client->link = link;
    client->peer = &link->server;
    client->node = node;
    client->state = END_CONNECTING;
    link->server.link = link;
    link->server.peer = client;
    link_event(client, NULL, draw_latency_ns(net), request_event, 0);
    link_event(client, node, net->options.connect_timeout_ns, timeout_event, 0);
    *connection = &client->base;
    return STATUS_OK;
}

void net_sim_close(struct env_connection *connection)
{
    struct net_end *end = end_of(connection);
    ASSERT(end->state != END_GONE);
    ASSERT(!end->node->in_job);
    trace_number(world_trace(end->link->net->world), NET_CLOSE);
    if (end->state == END_CLOSING) {
        return;
    }
    if (end->state == END_OPEN || end->peer->node != NULL) {
        end_send_last(end);
    }
    end_finish_later(end, STATUS_OK);
}

void net_sim_pause(struct env_connection *connection, bool paused)
{
    struct net_end *end = end_of(connection);
    ASSERT(end->state != END_GONE);
    ASSERT(!end->node->in_job);
    trace_number(world_trace(end->link->net->world), NET_PAUSE);
    end->paused = paused;
    if (!paused && end->state == END_OPEN) {
        end_schedule(end->peer);
    }
}

const char *net_sim_remote(const struct env_connection *connection)
{
    ASSERT(connection != NULL);
    return ((const struct net_end *)(const void *)connection)->remote; /* Its first member. */
}

/* --- listening -------------------------------------------------------------------------------- */

enum status net_sim_listen(struct net_sim *net, struct world_node *node, const char *address,
                           enum env_framing framing, const struct env_net_events *events,
                           void *context, struct env_listener **listener)
{
    trace_number(world_trace(net->world), NET_LISTEN);
    struct address parsed;
    if (address_parse(address, &parsed) != STATUS_OK) {
        return STATUS_INVALID;
    }
    if (node->stopping) {
        return STATUS_CANCELLED;
    }
    bool ours = strcmp(parsed.host, node->host) == 0 || strcmp(parsed.host, "127.0.0.1") == 0 ||
                strcmp(parsed.host, "0.0.0.0") == 0 || strcmp(parsed.host, "localhost") == 0;
    if (!ours) {
        return STATUS_IO;
    }
    list_for_each (place, following, &net->hosts[node->index].listeners) {
        if (container_of(place, struct env_listener, node)->port == parsed.port) {
            return STATUS_EXISTS;
        }
    }
    struct env_listener *made = heap_sim_take(sizeof(*made));
    *made = (struct env_listener){.net = net,
                                  .owner = node,
                                  .port = parsed.port,
                                  .framing = framing,
                                  .events = events,
                                  .context = context};
    list_append(&net->hosts[node->index].listeners, &made->node);
    *listener = made;
    return STATUS_OK;
}

void net_sim_listener_close(struct env_listener *listener)
{
    ASSERT(listener != NULL);
    list_remove(&listener->node);
    heap_sim_give(listener);
}

/* --- hosts and cuts --------------------------------------------------------------------------- */

struct net_sim *net_sim_create(struct world *world, const struct net_sim_options *options)
{
    struct net_sim *net = heap_sim_take(sizeof(*net));
    net->world = world;
    net->options = *options;
    list_init(&net->links);
    for (uint32_t index = 0; index < NET_SIM_HOST_COUNT_MAX; index++) {
        list_init(&net->hosts[index].listeners);
    }
    return net;
}

/* Events that still name links never run again. */
void net_sim_destroy(struct net_sim *net)
{
    list_for_each (node, following, &net->links) {
        link_free(container_of(node, struct net_link, node));
    }
    while (net->pool != NULL) {
        struct net_batch *batch = net->pool;
        net->pool = batch->next;
        heap_sim_give(batch->data);
        heap_sim_give(batch);
    }
    heap_sim_give(net);
}

struct net_sim_options *net_sim_options(struct net_sim *net)
{
    return &net->options;
}

const struct net_sim_counters *net_sim_counters(const struct net_sim *net)
{
    return &net->counters;
}

/* What waited for this way goes on, if nothing else holds it (delivery looks again). */
static void end_resume(struct net_end *end)
{
    if (end->waiting) {
        struct net_sim *net = end->link->net;
        end->waiting = false;
        uint64_t arrival = world_now_ns(net->world) + draw_latency_ns(net);
        struct net_batch *first = end->first;
        if (first != NULL && first->arrival_ns < arrival) {
            first->arrival_ns = arrival;
        }
        end->arrival_ns = end->arrival_ns > arrival ? end->arrival_ns : arrival;
        end_schedule(end);
    }
}

static void ways_resume(struct net_sim *net)
{
    list_for_each (node, following, &net->links) {
        struct net_link *link = container_of(node, struct net_link, node);
        if (link->server.node == NULL) {
            continue;
        }
        if (!path_cut(&link->client) && !path_cut(&link->server)) {
            link->client.dying = false;
            link->server.dying = false;
        }
        end_resume(&link->client);
        end_resume(&link->server);
    }
}

void net_sim_cut(struct net_sim *net, uint32_t from, uint32_t to, bool cut)
{
    ASSERT(from < NET_SIM_HOST_COUNT_MAX);
    ASSERT(to < NET_SIM_HOST_COUNT_MAX);
    if (from == to || net->cut[from][to] == cut) {
        return;
    }
    trace_number(world_trace(net->world), (uint64_t)from << 32 | (uint64_t)to << 1 | cut);
    net->cut[from][to] = cut;
    if (!cut) {
        ways_resume(net);
    }
}

void net_sim_cut_both(struct net_sim *net, uint32_t a, uint32_t b, bool cut)
{
    net_sim_cut(net, a, b, cut);
    net_sim_cut(net, b, a, cut);
}

void net_sim_heal(struct net_sim *net)
{
    for (uint32_t from = 0; from < NET_SIM_HOST_COUNT_MAX; from++) {
        for (uint32_t to = 0; to < NET_SIM_HOST_COUNT_MAX; to++) {
            net_sim_cut(net, from, to, false);
        }
    }
}

bool net_sim_is_cut(const struct net_sim *net, uint32_t from, uint32_t to)
{
    return net->cut[from][to];
}

void net_sim_reset(struct net_sim *net, uint32_t a, uint32_t b)
{
    trace_number(world_trace(net->world), (uint64_t)a << 32 | b);
    list_for_each (node, following, &net->links) {
        struct net_link *link = container_of(node, struct net_link, node);
        if (link->server.node == NULL) {
            continue;
        }
        uint32_t client = link->client.node->index;
        uint32_t server = link->server.node->index;
        if ((client == a && server == b) || (client == b && server == a)) {
            end_reset(&link->client, true);
            end_reset(&link->server, true);
        }
    }
}

void net_sim_host_up(struct net_sim *net, struct world_node *node)
{
    net->hosts[node->index].power = true;
    ways_resume(net);
}

static void listeners_drop(struct net_sim *net, uint32_t host)
{
    list_for_each (place, following, &net->hosts[host].listeners) {
        net_sim_listener_close(container_of(place, struct env_listener, node));
    }
}

/* The process of `end` is no more. With power its host still sends what it took, and says so. */
static void end_orphan(struct net_end *end, bool power)
{
    if (end->state == END_GONE) {
        if (power) {
            batches_drop(end);
        }
        return;
    }
    bool known = end->peer->node != NULL;
    if (power) {
        batches_drop(end);
    } else if (known && end->state != END_CLOSING) {
        if (prng_chance(world_prng(end->link->net->world), 1, 2)) {
            end_send_last(end);
        } else {
            batches_drop(end);
            end_reset(end->peer, false);
        }
    }
    end->state = END_GONE;
}

void net_sim_host_down(struct net_sim *net, struct world_node *node, bool power)
{
    net->hosts[node->index].power = !power;
    listeners_drop(net, node->index);
    list_for_each (place, following, &net->links) {
        struct net_link *link = container_of(place, struct net_link, node);
        if (link->client.node == node) {
            end_orphan(&link->client, power);
        }
        if (link->server.node == node) {
            end_orphan(&link->server, power);
        }
        link_free_if_over(link);
    }
}

/* The first end of the node that its user still knows of. */
static struct net_end *end_find(struct net_sim *net, const struct world_node *node)
{
    list_for_each (place, following, &net->links) {
        struct net_link *link = container_of(place, struct net_link, node);
        struct net_end *ends[2] = {&link->client, &link->server};
        for (size_t index = 0; index < ARRAY_COUNT(ends); index++) {
            enum end_state state = ends[index]->state;
            if (ends[index]->node == node && state != END_GONE && state != END_NEW) {
                return ends[index];
            }
        }
    }
    return NULL;
}

void net_sim_host_close(struct net_sim *net, struct world_node *node)
{
    listeners_drop(net, node->index);
    struct net_end *end;
    while ((end = end_find(net, node)) != NULL) {
        struct net_link *link = end->link;
        bool sends = end->state == END_OPEN && end->peer->node != NULL;
        if (sends) {
            end_send_last(end);
        }
        link->event_count++;
        end_finish(end, end->state == END_CLOSING ? end->why : STATUS_CANCELLED);
        link_event_end(link);
    }
}
