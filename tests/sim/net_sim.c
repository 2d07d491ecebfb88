/*
 * tests/sim/net_sim.c -- how simulated connections come to be, and what befalls hosts and ways.
 */
#include "tests/sim/net_sim.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/net_sim_internal.h"

#define HOST_NONE UINT32_MAX
#define PORT_EPHEMERAL_FIRST 40000

/* --- connecting ------------------------------------------------------------------------------- */

static void timeout_event(struct world_event *event, bool voided)
{
    struct net_end *end = event->subject;
    if (!voided && end->state == END_CONNECTING) {
        end->link->net->counters.timeouts++;
        net_end_finish(end, STATUS_TIMEOUT);
    }
    net_link_event_end(end->link);
}

static void refused_event(struct world_event *event, bool voided)
{
    struct net_end *end = event->subject;
    if (!voided && end->state == END_CONNECTING) {
        net_end_finish(end, end->link->resolved ? STATUS_IO : STATUS_NOT_FOUND);
    }
    net_link_event_end(end->link);
}

static void opened_event(struct world_event *event, bool voided)
{
    struct net_end *end = event->subject;
    if (!voided && end->state == END_CONNECTING && !net_path_cut(end->peer)) {
        end->state = END_OPEN;
        end->base.events->opened(&end->base);
    }
    net_link_event_end(end->link);
}

static void accepted_event(struct world_event *event, bool voided)
{
    struct net_end *end = event->subject;
    if (!voided && end->state == END_NEW) {
        end->state = END_OPEN;
        end->base.events->opened(&end->base);
        net_end_schedule(end->peer);
    }
    net_link_event_end(end->link);
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
    uint64_t latency = net_latency_ns(net);
    server->arrival_ns = world_now_ns(net->world) + latency;
    net_link_event(server, server->node, 0, accepted_event, 0);
    net_link_event(client, client->node, latency, opened_event, 0);
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
            net_link_event(client, client->node, net_latency_ns(net), refused_event, 0);
        } else {
            link_accept(link, listener);
        }
    }
    net_link_event_end(link);
}

/* Fills the link's target; false if the text is no address at all. */
static bool target_parse(struct net_link *link, struct world_node *node, const char *text)
{
    struct address address;
    if (address_parse(text, &address) != STATUS_OK) {
        return false;
    }
    uint8_t bytes[4];
    link->target_port = address.port;
    link->target_host = HOST_NONE;
    link->resolved = inet_pton(AF_INET, address.host, bytes) == 1;
    if (strcmp(address.host, "localhost") == 0 || (link->resolved && bytes[0] == 127)) {
        link->resolved = true;
        link->target_host = node->index;
    } else if (link->resolved && bytes[0] == 10 && bytes[1] == 0 && bytes[2] == 0 &&
               bytes[3] >= 1 && bytes[3] <= NET_SIM_HOST_COUNT_MAX) {
        link->target_host = bytes[3] - 1u;
    }
    address_format(&address, link->client.remote);
    return true;
}

enum status net_sim_connect(struct world_node *node, const char *address, enum env_framing framing,
                            const struct env_net_events *events, void *context,
                            struct env_connection **connection)
{
    struct net_sim *net = world_net(node->world);
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
    net_link_event(client, NULL, net_latency_ns(net), request_event, 0);
    net_link_event(client, node, net->options.connect_timeout_ns, timeout_event, 0);
    *connection = &client->base;
    return STATUS_OK;
}

/* --- listening -------------------------------------------------------------------------------- */

enum status net_sim_listen(struct world_node *node, const char *address, enum env_framing framing,
                           const struct env_net_events *events, void *context,
                           struct env_listener **listener)
{
    struct net_sim *net = world_net(node->world);
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
        net_link_free(container_of(node, struct net_link, node));
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
        uint64_t arrival = world_now_ns(net->world) + net_latency_ns(net);
        struct net_batch *first = end->first;
        if (first != NULL && first->arrival_ns < arrival) {
            first->arrival_ns = arrival;
        }
        end->arrival_ns = end->arrival_ns > arrival ? end->arrival_ns : arrival;
        net_end_schedule(end);
    }
}

static void ways_resume(struct net_sim *net)
{
    list_for_each (node, following, &net->links) {
        struct net_link *link = container_of(node, struct net_link, node);
        if (link->server.node == NULL) {
            continue;
        }
        if (!net_path_cut(&link->client) && !net_path_cut(&link->server)) {
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
            net_end_reset(&link->client, true);
            net_end_reset(&link->server, true);
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
            net_batches_drop(end);
        }
        return;
    }
    bool known = end->peer->node != NULL;
    if (power) {
        net_batches_drop(end);
    } else if (known && end->state != END_CLOSING) {
        if (prng_chance(world_prng(end->link->net->world), 1, 2)) {
            net_end_send_last(end);
        } else {
            net_batches_drop(end);
            net_end_reset(end->peer, false);
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
        net_link_free_if_over(link);
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
            net_end_send_last(end);
        }
        link->event_count++;
        net_end_finish(end, end->state == END_CLOSING ? end->why : STATUS_CANCELLED);
        net_link_event_end(link);
    }
}
