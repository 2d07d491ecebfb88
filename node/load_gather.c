/* node/load_gather.c -- the load of all members, brought together on one. */
#include "node/load_gather.h"

#include "base/memory.h"

#define PER_SECOND_UNITS 1000.0 /* Rates travel in thousandths. */

/* A peer that waits for our survey. */
struct load_call {
    struct load_wait wait;
    struct list_node node; /* In gather.calls. */
    struct load_gather *gather;
    struct peer_link *link; /* Held. */
    struct frame request;   /* Without payload. */
    uint32_t wants;
};

/* ------------------------------------------------------------------ what this node says */

static uint64_t units_of(double rate)
{
    return (uint64_t)(rate * PER_SECOND_UNITS + 0.5);
}

static struct message_load_view view_of(const struct load_view *view)
{
    return (struct message_load_view){.keys = view->keys,
                                      .bytes = view->bytes,
                                      .reads = units_of(view->reads),
                                      .writes = units_of(view->writes)};
}

static bool range_is_held(const struct topology_range *range, uint32_t id)
{
    return ring_replicas_contain(&range->replicas, id) || ring_replicas_contain(&range->next, id);
}

static uint32_t held_count(const struct topology *topology, uint32_t id)
{
    uint32_t count = 0;
    for (uint32_t range = 0; range < topology->range_count; range++) {
        count += range_is_held(&topology->ranges[range], id) ? 1 : 0;
    }
    return count;
}

static void ranges_put(const struct load_gather *gather, struct buffer *to)
{
    const struct topology *topology = gather->options.topology;
    for (uint32_t index = 0; index < topology->range_count; index++) {
        if (range_is_held(&topology->ranges[index], gather->options.config->id)) {
            struct load_view view = load_range_view(gather->options.load, index);
            struct message_load_range range = {.range = index, .view = view_of(&view)};
            message_load_range_encode(to, &range);
        }
    }
}

static void keys_put(const struct hot_key_view *views, uint32_t count, struct buffer *to)
{
    for (uint32_t index = 0; index < count; index++) {
        const struct hot_key_view *view = &views[index];
        struct message_load_key key = {.token = view->token,
                                       .keyspace = view->keyspace,
                                       .size = view->size,
                                       .rate = units_of(view->rate),
                                       .error = units_of(view->error),
                                       .writes = units_of(view->write_rate),
                                       .key = view->key};
        message_load_key_encode(to, &key);
    }
}

/* After a survey. */
static enum status load_say(const struct load_gather *gather, uint32_t wants, struct buffer *to)
{
    const struct load *load = gather->options.load;
    const struct topology *topology = gather->options.topology;
    if (load->range_count != topology->range_count) {
        return STATUS_BEHIND;
    }
    struct hot_key_view views[HOT_KEYS_COUNT];
    uint32_t key_count = 0;
    if ((wants & MESSAGE_LOAD_HOT_KEYS) != 0) {
        key_count = hot_keys_list(&load->hot_keys, &load->decay, views, HOT_KEYS_COUNT);
    }
    bool ranges = (wants & MESSAGE_LOAD_RANGES) != 0;
    struct message_load_head head = {
        .sum = view_of(&load->sum),
        .space_free = load->space_free,
        .range_count = ranges ? held_count(topology, gather->options.config->id) : 0,
        .key_count = key_count,
    };
    message_load_head_encode(to, &head);
    if (ranges) {
        ranges_put(gather, to);
    }
    keys_put(views, key_count, to);
    return buffer_status(to);
}

static void call_done(struct load_wait *wait, enum status status)
{
    struct load_call *call = container_of(wait, struct load_call, wait);
    struct load_gather *gather = call->gather;
    struct buffer payload = {0};
    if (status == STATUS_OK) {
        status = load_say(gather, call->wants, &payload);
    }
    if (status != STATUS_OK) {
        buffer_deinit(&payload);
    }
    peers_reply(gather->options.peers, call->link, &call->request, status, buffer_slice(&payload));
    buffer_deinit(&payload);
    peers_link_release(call->link);
    list_remove(&call->node);
    memory_free(call);
    gather->count--;
}

enum status load_gather_serve(struct load_gather *gather, struct peer_link *link,
                              const struct frame *request)
{
    uint32_t wants;
    enum status status = message_load_request_decode(request->payload, &wants);
    if (status != STATUS_OK) {
        return status;
    }
    if (gather->stopping || gather->count >= LOAD_GATHER_COUNT_MAX || peers_link_congested(link)) {
        return STATUS_OVERLOADED;
    }
    struct load_call *call = memory_allocate_zeroed(1, sizeof(*call));
    if (call == NULL) {
        return STATUS_OVERLOADED;
    }
    call->gather = gather;
    call->link = link;
    call->request = *request;
    call->request.payload = (struct slice){0};
    call->wants = wants;
    call->wait.done = call_done;
    peers_link_hold(link);
    list_append(&gather->calls, &call->node);
    gather->count++;
    load_survey_wait(gather->options.load, &call->wait);
    return STATUS_OK;
}

/* ------------------------------------------------------------------ what the others say */

static void gathering_end(struct gathering *gathering, enum status status)
{
    struct load_gather *gather = gathering->gather;
    gather->env->ops->timer_stop(gather->env, &gathering->timer);
    for (uint32_t index = 0; index < gathering->part_count; index++) {
        struct gathering_part *part = &gathering->parts[index];
        if (part->pending && part->id != gather->options.config->id) {
            peers_cancel(gather->options.peers, &part->request);
        } else if (part->pending) {
            load_survey_leave(gather->options.load, &part->wait);
        }
        part->pending = false;
    }
    list_remove(&gathering->node);
    gather->count--;
    gathering->done(gathering, status);
}

static void part_done(struct gathering_part *part, enum status status)
{
    struct gathering *gathering = part->gathering;
    part->pending = false;
    if (status == STATUS_OK) {
        status = message_load_decode(buffer_slice(&part->payload), &part->load);
    }
    part->status = status;
    if (--gathering->pending_count == 0) {
        gathering_end(gathering, STATUS_OK);
    }
}

static void own_done(struct load_wait *wait, enum status status)
{
    struct gathering_part *part = container_of(wait, struct gathering_part, wait);
    if (status == STATUS_OK) {
        status = load_say(part->gathering->gather, part->gathering->wants, &part->payload);
    }
    part_done(part, status);
}

static void peer_done(struct peer_request *request, enum status status, const struct frame *reply)
{
    struct gathering_part *part = container_of(request, struct gathering_part, request);
    if (status == STATUS_OK) {
        status = (enum status)reply->status;
        buffer_append_slice(&part->payload, reply->payload);
    }
    if (status == STATUS_OK) {
        status = buffer_status(&part->payload);
    }
    part_done(part, status);
}

static void part_ask(struct load_gather *gather, struct gathering_part *part)
{
    part->pending = true;
    part->gathering->pending_count++;
    if (part->id == gather->options.config->id) {
        part->wait.done = own_done;
        load_survey_wait(gather->options.load, &part->wait);
        return;
    }
    struct buffer payload = {0};
    message_load_request_encode(&payload, part->gathering->wants);
    part->request = (struct peer_request){.peer_id = part->id,
                                          .type = FRAME_LOAD,
                                          .range = FRAME_NO_RANGE,
                                          .deadline_ms = LOAD_GATHER_MS,
                                          .done = peer_done};
    enum status status = buffer_status(&payload);
    if (status == STATUS_OK) {
        status = peers_request(gather->options.peers, &part->request, buffer_slice(&payload));
    }
    buffer_deinit(&payload);
    if (status != STATUS_OK) {
        part_done(part, status);
    }
}

static void gathering_fired(struct env_timer *timer)
{
    struct gathering *gathering = container_of(timer, struct gathering, timer);
    for (uint32_t index = 0; index < gathering->part_count; index++) {
        if (gathering->parts[index].pending) {
            gathering->parts[index].status = STATUS_TIMEOUT;
        }
    }
    gathering_end(gathering, STATUS_OK);
}

static enum status gathering_lay(struct load_gather *gather, struct gathering *gathering)
{
    const struct topology *topology = gather->options.topology;
    if (gather->stopping) {
        return STATUS_CANCELLED;
    }
    if (topology->cluster_id == 0) {
        return STATUS_BEHIND;
    }
    if (gather->count >= LOAD_GATHER_COUNT_MAX) {
        return STATUS_OVERLOADED;
    }
    gathering->parts = memory_allocate_zeroed(topology->member_count, sizeof(*gathering->parts));
    if (gathering->parts == NULL) {
        return STATUS_NO_MEMORY;
    }
    gathering->part_count = topology->member_count;
    for (uint32_t index = 0; index < topology->member_count; index++) {
        gathering->parts[index].id = topology->members[index].id;
        gathering->parts[index].gathering = gathering;
    }
    return STATUS_OK;
}

void gathering_begin(struct load_gather *gather, struct gathering *gathering)
{
    enum status status = gathering_lay(gather, gathering);
    if (status != STATUS_OK) {
        gathering->done(gathering, status);
        return;
    }
    gathering->gather = gather;
    gathering->timer.fired = gathering_fired;
    gathering->pending_count = 1; /* Ours, until all are asked. */
    gather->count++;
    list_append(&gather->gatherings, &gathering->node);
    env_timer_start_ms(gather->env, &gathering->timer, LOAD_GATHER_MS);
    for (uint32_t index = 0; index < gathering->part_count; index++) {
        part_ask(gather, &gathering->parts[index]);
    }
    if (--gathering->pending_count == 0) {
        gathering_end(gathering, STATUS_OK);
    }
}

void gathering_deinit(struct gathering *gathering)
{
    for (uint32_t index = 0; index < gathering->part_count; index++) {
        buffer_deinit(&gathering->parts[index].payload);
    }
    memory_free(gathering->parts);
    gathering->parts = NULL;
    gathering->part_count = 0;
}

/* ------------------------------------------------------------------ life */

void load_gather_init(struct load_gather *gather, struct env *env,
                      const struct load_gather_options *options)
{
    *gather = (struct load_gather){.env = env, .options = *options};
    list_init(&gather->gatherings);
    list_init(&gather->calls);
}

void load_gather_stop(struct load_gather *gather)
{
    if (gather->env == NULL || gather->stopping) {
        return; /* Never got as far as to begin. */
    }
    gather->stopping = true;
    while (!list_empty(&gather->gatherings)) {
        gathering_end(container_of(gather->gatherings.next, struct gathering, node),
                      STATUS_CANCELLED);
    }
    list_for_each (node, following, &gather->calls) {
        struct load_call *call = container_of(node, struct load_call, node);
        load_survey_leave(gather->options.load, &call->wait);
        call_done(&call->wait, STATUS_CANCELLED);
    }
}

bool load_gather_stopped(const struct load_gather *gather)
{
    return gather->count == 0;
}
