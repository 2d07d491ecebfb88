/*
 * tests/sim/net_end_sim.c -- what is sent on a simulated connection, and how it arrives or does
 * not.
 */
#include <string.h>

#include "tests/sim/net_sim_internal.h"

#define QUEUE_CAP_FACTOR 4 /* As base/net_uv.c: who sends on above this loses the connection. */
#define BATCH_KEEP_SIZE (16u << 10)
#define FRAME_HEADER_SIZE sizeof(uint32_t)

/* --- small things ----------------------------------------------------------------------------- */

static struct net_end *end_of(struct env_connection *connection)
{
    ASSERT(connection != NULL);
    return container_of(connection, struct net_end, base);
}

uint64_t net_latency_ns(struct net_sim *net)
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

bool net_path_cut(const struct net_end *from)
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

void net_batches_drop(struct net_end *end)
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

void net_link_event(struct net_end *end, struct world_node *node, uint64_t delay_ns,
                    void (*run)(struct world_event *event, bool voided), uint64_t number)
{
    struct net_link *link = end->link;
    link->event_count++;
    struct world_event *event =
        world_event_add(link->net->world, node, WORLD_EVENT_NET, delay_ns, run, end);
    event->number = number;
}

void net_link_free(struct net_link *link)
{
    list_remove(&link->node);
    net_batches_drop(&link->client);
    net_batches_drop(&link->server);
    heap_sim_give(link);
}

static bool end_is_over(const struct net_end *end)
{
    return end->state == END_GONE || (end->state == END_NEW && end->node == NULL);
}

void net_link_free_if_over(struct net_link *link)
{
    if (link->event_count == 0 && end_is_over(&link->client) && end_is_over(&link->server)) {
        net_link_free(link);
    }
}

/* Every event of a link ends with this. */
void net_link_event_end(struct net_link *link)
{
    ASSERT(link->event_count > 0);
    link->event_count--;
    net_link_free_if_over(link);
}

void net_end_finish(struct net_end *end, enum status why)
{
    ASSERT(end->state != END_GONE);
    end->state = END_GONE;
    end->base.events->closed(&end->base, why);
}

static void closed_event(struct world_event *event, bool voided)
{
    struct net_end *end = event->subject;
    if (!voided && end->state == END_CLOSING) {
        net_end_finish(end, end->why);
    }
    net_link_event_end(end->link);
}

static void end_finish_later(struct net_end *end, enum status why)
{
    end->state = END_CLOSING;
    end->why = why;
    net_link_event(end, end->node, 0, closed_event, 0);
}

/* --- dying of silence ------------------------------------------------------------------------- */

static void dead_event(struct world_event *event, bool voided)
{
    struct net_end *end = event->subject;
    if (end->dying && end->dying_number == event->number) {
        end->dying = false;
        net_batches_drop(end);
        end->link->net->counters.timeouts++;
        if (!voided && end->state == END_OPEN) {
            net_end_finish(end, STATUS_TIMEOUT);
        }
    }
    net_link_event_end(end->link);
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
    net_link_event(end, end->node, half + world_draw_ns(net->world, half), dead_event,
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
    bool arrives = event->number != 0 || !net_path_cut(end->peer);
    if (!voided && arrives && (end->state == END_OPEN || end->state == END_CONNECTING)) {
        end->link->net->counters.resets++;
        net_batches_drop(end);
        net_end_finish(end, STATUS_CLOSED);
    }
    net_link_event_end(end->link);
}

void net_end_reset(struct net_end *end, bool forced)
{
    net_link_event(end, end->node, net_latency_ns(end->link->net), reset_event, forced);
}

/* --- delivery --------------------------------------------------------------------------------- */

static void delivery_event(struct world_event *event, bool voided);

void net_end_schedule(struct net_end *end)
{
    if (end->first == NULL || end->scheduled || end->waiting || end->peer->node == NULL) {
        return;
    }
    uint64_t now = world_now_ns(end->link->net->world);
    uint64_t arrival = end->first->arrival_ns;
    end->scheduled = true;
    net_link_event(end, end->peer->node, arrival > now ? arrival - now : 0, delivery_event, 0);
}

/* Shows a frame that goes from this end to the harness, in the harness' heap. */
static void frame_show(const struct net_end *from,
                       void (*hook)(void *context, struct world_node *from, struct world_node *to,
                                    struct slice frame),
                       struct slice frame)
{
    const struct net_link *link = from->link;
    if (hook == NULL || link->framing != ENV_FRAMES || from->peer->node == NULL) {
        return;
    }
    struct heap_sim *heap = heap_sim_enter(NULL);
    hook(world_options_of(link->net->world)->hooks.context, from->node, from->peer->node, frame);
    heap_sim_enter(heap);
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
    net_link_event_end(end->link);
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
        frame_show(end, world_options_of(net->world)->hooks.frame_arrives, piece);
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
        net_end_finish(receiver, STATUS_CLOSED);
    }
    if (end->overloaded && end->queued_size < net->options.send_queue_size_max / 2) {
        net_link_event(end, end->node, net_latency_ns(net), drained_event, 0);
    }
}

/* What arrived found no one: the host answers with a reset. */
static void delivery_refused(struct net_end *end)
{
    net_batches_drop(end);
    net_end_reset(end, false);
    if (net_path_cut(end->peer)) {
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
    if (net_path_cut(end) || !net->hosts[receiver->node->index].power) {
        end_wait(end);
        return;
    }
    if (voided || receiver->state == END_GONE) {
        delivery_refused(end);
        return;
    }
    if (receiver->state == END_CLOSING) {
        net_batches_drop(end);
        return;
    }
    if (receiver->state != END_OPEN || receiver->paused) {
        return;
    }
    if (net_path_cut(receiver)) {
        dead_start(end);
    } else {
        end->dying = false;
    }
    net->counters.batches++;
    batch_deliver(end);
    if (receiver->state == END_OPEN && !receiver->paused) {
        net_end_schedule(end);
    } else if (receiver->state == END_GONE || receiver->state == END_CLOSING) {
        net_batches_drop(end);
    }
}

static void delivery_event(struct world_event *event, bool voided)
{
    struct net_end *end = event->subject;
    delivery_run(end, voided);
    net_link_event_end(end->link);
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
    uint64_t arrival = world_now_ns(net->world) + net_latency_ns(net);
    batch->arrival_ns = arrival > end->arrival_ns ? arrival : end->arrival_ns;
    end->arrival_ns = batch->arrival_ns;
    if (end->last == NULL) {
        end->first = batch;
    } else {
        end->last->next = batch;
    }
    end->last = batch;
    net_end_schedule(end);
    return batch;
}

void net_end_send_last(struct net_end *end)
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
    frame_show(end, world_options_of(net->world)->hooks.frame_sent, data);
    size_t bound = net->options.send_queue_size_max;
    if (end->queued_size / QUEUE_CAP_FACTOR > bound) {
        net_batches_drop(end);
        if (end->peer->node != NULL) {
            net_end_reset(end->peer, false);
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
        net_end_reset(end, true);
        net_end_reset(end->peer, true);
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
        net_end_send_last(end);
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
        net_end_schedule(end->peer);
    }
}

const char *net_sim_remote(const struct env_connection *connection)
{
    ASSERT(connection != NULL);
    return ((const struct net_end *)(const void *)connection)->remote; /* Its first member. */
}
