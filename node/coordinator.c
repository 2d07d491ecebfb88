/*
 * node/coordinator.c -- the life of an operation, and asking one replica.
 *
 * Invariants:
 *  (1) An operation is in `operations` from begin to end, and ends once.
 *  (2) After its end no answer finds it: peers' requests are cancelled, calls to our own replica
 *      lose their slot and are freed when they are done.
 */
#include "node/coordinator.h"

#include "base/memory.h"
#include "base/token.h"
#include "node/coordinator_internal.h"

#define NS_PER_MS UINT64_C(1000000)
#define SPARE_COUNT_MAX 1024
#define SPARE_CALL_COUNT_MAX 256
#define SPARE_BUFFER_SIZE_MAX (16u << 10) /* Larger buffers are not kept. */
#define OPERATION_OVERHEAD 256            /* Charged per operation, beside its bytes. */

static void operation_fired(struct env_timer *timer);

/* ------------------------------------------------------------------ asking */

/* What an answer or failure with this status makes of the slot. */
static enum slot_state answer_state(enum status status)
{
    switch ((int)status) {
    case STATUS_OK:
    case STATUS_SUPERSEDED:
        return SLOT_ANSWERED;
    case STATUS_STALE:
    case STATUS_BEHIND:
    case STATUS_OVERLOADED:
    case STATUS_UNAVAILABLE:
    case STATUS_NO_MEMORY:
        return SLOT_OPEN;
    case STATUS_INDETERMINATE:
    case STATUS_CANCELLED:
    case STATUS_CLOSED:
    case STATUS_TIMEOUT:
        return SLOT_LOST;
    default:
        /* What a later version may say is no refusal that we know of. */
        return status <= STATUS_REFUSED ? SLOT_REFUSED : SLOT_LOST;
    }
}

static void slot_settle(struct slot *slot, enum status status)
{
    slot->status = status;
    slot->state = answer_state(status);
    slot->open_ns =
        env_monotonic_ns(slot->operation->coordinator->env) + OPERATION_RETRY_MS * NS_PER_MS;
}

static void slot_answered(struct peer_request *request, enum status status,
                          const struct frame *reply)
{
    struct slot *slot = container_of(request, struct slot, request);
    struct operation *operation = slot->operation;
    enum status answer = status == STATUS_OK ? (enum status)reply->status : status;
    if (answer == STATUS_OK || answer == STATUS_SUPERSEDED) {
        enum status decoded = operation->kind->remote(slot, reply);
        answer = decoded == STATUS_OK ? answer : decoded;
    }
    slot_settle(slot, answer);
    operation_touch(operation);
}

static struct local_call *call_take(struct coordinator *coordinator)
{
    if (!list_empty(&coordinator->spare_calls)) {
        coordinator->spare_call_count--;
        return container_of(list_take_first(&coordinator->spare_calls), struct local_call, node);
    }
    return memory_allocate_zeroed(1, sizeof(struct local_call));
}

static void call_free(struct local_call *call)
{
    replica_operation_deinit(&call->operation);
    memory_free(call);
}

static void call_keep(struct coordinator *coordinator, struct local_call *call)
{
    if (coordinator->spare_call_count >= SPARE_CALL_COUNT_MAX || coordinator->stopping) {
        call_free(call);
        return;
    }
    replica_operation_reset(&call->operation);
    list_prepend(&coordinator->spare_calls, &call->node);
    coordinator->spare_call_count++;
}

static void local_done(struct replica_operation *done, enum status status)
{
    struct local_call *call = done->context;
    struct slot *slot = call->slot;
    call->coordinator->local_count--;
    if (slot != NULL) {
        slot->local = NULL;
        if (status == STATUS_OK || status == STATUS_SUPERSEDED) {
            slot->operation->kind->local(slot, done);
        }
        slot_settle(slot, status);
    }
    call_keep(call->coordinator, call);
    if (slot != NULL) {
        operation_touch(slot->operation);
    }
}

static void slot_ask_local(struct slot *slot,
                           void (*ask_local)(struct slot *slot,
                                             struct replica_operation *operation))
{
    struct operation *operation = slot->operation;
    struct coordinator *coordinator = operation->coordinator;
    const struct replica *replica = coordinator->options.replica;
    enum status status = replica_check(replica, operation->range, operation->last_range,
                                       &coordinator->options.topology->stamp);
    struct local_call *call = NULL;
    if (status == STATUS_OK) {
        call = call_take(coordinator);
        status = call == NULL ? STATUS_OVERLOADED : STATUS_OK;
    }
    if (status != STATUS_OK) {
        slot_settle(slot, status);
        operation->changed = true;
        return;
    }
    call->coordinator = coordinator;
    call->slot = slot;
    call->operation.done = local_done;
    call->operation.context = call;
    slot->local = call;
    coordinator->local_count++;
    ask_local(slot, &call->operation);
}

void slot_ask(struct slot *slot, enum frame_type type,
              void (*ask_local)(struct slot *slot, struct replica_operation *operation))
{
    struct operation *operation = slot->operation;
    struct coordinator *coordinator = operation->coordinator;
    ASSERT(slot->state != SLOT_ASKED);
    ASSERT(operation->judging);
    slot->state = SLOT_ASKED;
    if (slot->node == coordinator->options.config->id) {
        slot_ask_local(slot, ask_local);
        return;
    }
    uint64_t now_ns = env_monotonic_ns(coordinator->env);
    uint64_t left_ns = operation->deadline_ns > now_ns ? operation->deadline_ns - now_ns : 0;
    slot->request = (struct peer_request){
        .peer_id = slot->node,
        .type = (uint8_t)type,
        .range = operation->range,
        .deadline_ms = (uint32_t)(left_ns / NS_PER_MS) + 1,
        .done = slot_answered,
    };
    enum status status = peers_request(coordinator->options.peers, &slot->request,
                                       buffer_slice(&operation->payload));
    if (status != STATUS_OK) {
        slot_settle(slot, status == STATUS_NO_MEMORY ? STATUS_OVERLOADED : status);
        operation->changed = true;
    }
}

bool slot_up(const struct slot *slot)
{
    const struct coordinator *coordinator = slot->operation->coordinator;
    return slot->node == coordinator->options.config->id ||
           peers_up(coordinator->options.peers, slot->node);
}

uint32_t operation_count(const struct operation *operation, enum slot_state state)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        count += operation->slots[index].state == state;
    }
    return count;
}

bool slot_askable(const struct slot *slot, uint64_t now_ns)
{
    return slot->state == SLOT_OPEN && slot->open_ns <= now_ns && slot_up(slot);
}

uint32_t operation_hopes(const struct operation *operation)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        const struct slot *slot = &operation->slots[index];
        count += slot->state == SLOT_OPEN && slot_up(slot);
    }
    return count;
}

void operation_wake(struct operation *operation, uint64_t at_ns)
{
    operation->wake_ns = at_ns < operation->wake_ns ? at_ns : operation->wake_ns;
}

struct coordinator_outcome operation_outcome(const struct operation *operation)
{
    return (struct coordinator_outcome){.acks = operation_count(operation, SLOT_ANSWERED),
                                        .needed = operation->needed,
                                        .alive = operation->alive};
}

enum status engine_key_make(struct operation *operation, uint16_t keyspace, struct slice key)
{
    uint64_t token = token_of(keyspace, key);
    const struct topology *topology = operation->coordinator->options.topology;
    operation->range = ring_range_of(token, topology->range_count);
    operation->last_range = operation->range;
    buffer_clear(&operation->engine_key);
    token_engine_key(&operation->engine_key, keyspace, token, key);
    return buffer_status(&operation->engine_key);
}

/* ------------------------------------------------------------------ begin and end */

static struct operation *operation_take(struct coordinator *coordinator)
{
    if (!list_empty(&coordinator->spare)) {
        coordinator->spare_count--;
        return container_of(list_take_first(&coordinator->spare), struct operation, node);
    }
    return memory_allocate_zeroed(1, sizeof(struct operation));
}

static void buffer_trim(struct buffer *buffer)
{
    buffer_clear(buffer);
    if (buffer->capacity > SPARE_BUFFER_SIZE_MAX || buffer->failed) {
        buffer_deinit(buffer);
    }
}

static void operation_free(struct operation *operation)
{
    buffer_deinit(&operation->engine_key);
    buffer_deinit(&operation->value);
    buffer_deinit(&operation->payload);
    memory_free(operation);
}

static void operation_keep(struct operation *operation)
{
    struct coordinator *coordinator = operation->coordinator;
    memory_free(operation->entries);
    operation->entries = NULL;
    if (coordinator->spare_count >= SPARE_COUNT_MAX || coordinator->stopping) {
        operation_free(operation);
        return;
    }
    buffer_trim(&operation->engine_key);
    buffer_trim(&operation->value);
    buffer_trim(&operation->payload);
    list_prepend(&coordinator->spare, &operation->node);
    coordinator->spare_count++;
}

struct operation *operation_begin(struct coordinator *coordinator,
                                  const struct operation_kind *kind,
                                  const struct operation_terms *terms, enum status *why)
{
    const struct config *config = coordinator->options.config;
    struct node_counters *counters = coordinator->options.counters;
    uint64_t charge = terms->charge + OPERATION_OVERHEAD;
    if (coordinator->stopping) {
        *why = STATUS_CANCELLED;
        return NULL;
    }
    if (coordinator->options.topology->cluster_id == 0) {
        *why = STATUS_UNAVAILABLE;
        return NULL;
    }
    if (counters->inflight_count >= config->inflight_count_max ||
        counters->inflight_size + charge > config->inflight_size_max) {
        *why = STATUS_OVERLOADED;
        return NULL;
    }
    struct operation *operation = operation_take(coordinator);
    if (operation == NULL) {
        *why = STATUS_OVERLOADED;
        return NULL;
    }
    operation->coordinator = coordinator;
    operation->kind = kind;
    operation->request = terms->request;
    operation->level = terms->level;
    operation->charge = charge;
    operation->timer_ns = 0;
    operation->hedge_ns = 0;
    operation->judging = false;
    operation->changed = false;
    operation->have_cell = false;
    operation->clock_waiting = false;
    operation->slot_count = 0;
    operation->alive = 0;
    operation->needed = 0;
    operation->timer.fired = operation_fired;
    operation->started_ns = env_monotonic_ns(coordinator->env);
    uint64_t timeout = terms->timeout_ms == 0 ? config->request_timeout_ms : terms->timeout_ms;
    operation->deadline_ns = operation->started_ns + timeout * NS_PER_MS;
    counters->inflight_count++;
    counters->inflight_size += charge;
    list_append(&coordinator->operations, &operation->node);
    return operation;
}

static uint32_t level_needed(enum level level, uint32_t replica_count)
{
    switch (level) {
    case LEVEL_ONE:
        return 1;
    case LEVEL_QUORUM:
        return replica_count / 2 + 1;
    case LEVEL_ALL:
        return replica_count;
    }
    UNREACHABLE("level");
}

static void slot_init(struct operation *operation, uint32_t node)
{
    struct slot *slot = &operation->slots[operation->slot_count++];
    *slot = (struct slot){.operation = operation, .node = node, .state = SLOT_OPEN};
}

void operation_charge(struct operation *operation, uint64_t size)
{
    operation->charge += size;
    operation->coordinator->options.counters->inflight_size += size;
}

void operation_touch(struct operation *operation)
{
    operation->changed = true;
    if (operation->judging) {
        return;
    }
    enum status status = STATUS_OK;
    bool over = false;
    while (operation->changed && !over) {
        operation->changed = false;
        operation->wake_ns = operation->deadline_ns;
        operation->judging = true;
        over = operation->kind->judge(operation, &status);
        operation->judging = false;
    }
    if (over) {
        operation_end(operation, status);
        return;
    }
    if (operation->timer_ns != operation->wake_ns) {
        struct env *env = operation->coordinator->env;
        uint64_t now_ns = env_monotonic_ns(env);
        operation->timer_ns = operation->wake_ns;
        env->ops->timer_start(env, &operation->timer,
                              operation->wake_ns > now_ns ? operation->wake_ns - now_ns : 0);
    }
}

static void slot_give_up(struct slot *slot)
{
    if (slot->state == SLOT_ASKED && slot->local == NULL) {
        peers_cancel(slot->operation->coordinator->options.peers, &slot->request);
    }
    if (slot->local != NULL) {
        slot->local->slot = NULL;
        slot->local = NULL;
    }
    buffer_deinit(&slot->page);
}

void operation_end(struct operation *operation, enum status status)
{
    ASSERT(!operation->judging);
    struct coordinator *coordinator = operation->coordinator;
    struct node_counters *counters = coordinator->options.counters;
    operation->judging = true; /* What happens from here on changes nothing any more. */
    coordinator->env->ops->timer_stop(coordinator->env, &operation->timer);
    if (operation->clock_waiting) {
        list_remove(&operation->clock_wait.node);
    }
    list_remove(&operation->node);
    counters->inflight_count--;
    counters->inflight_size -= operation->charge;
    counters->unavailable += status == STATUS_UNAVAILABLE;
    counters->timeouts += status == STATUS_TIMEOUT;
    counters->indeterminate += status == STATUS_INDETERMINATE;
    counters->superseded += status == STATUS_SUPERSEDED;
    operation->kind->finish(operation, status);
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        slot_give_up(&operation->slots[index]);
    }
    operation_keep(operation);
}

bool operation_aim(struct operation *operation)
{
    struct coordinator *coordinator = operation->coordinator;
    const struct topology *topology = coordinator->options.topology;
    const struct ring_replicas *replicas = &topology->ranges[operation->range].replicas;
    uint32_t self = coordinator->options.config->id;
    uint32_t down[RING_REPLICA_COUNT_MAX];
    uint32_t down_count = 0;
    operation->slot_count = 0;
    if (ring_replicas_contain(replicas, self)) {
        slot_init(operation, self);
    }
    for (uint32_t index = 0; index < replicas->count; index++) {
        uint32_t node = replicas->ids[index];
        if (node == self) {
            continue;
        }
        if (peers_up(coordinator->options.peers, node)) {
            slot_init(operation, node);
        } else {
            down[down_count++] = node;
        }
    }
    operation->alive = operation->slot_count;
    for (uint32_t index = 0; index < down_count; index++) {
        slot_init(operation, down[index]);
    }
    operation->needed = level_needed(operation->level, replicas->count);
    if (operation->alive < operation->needed) {
        operation_end(operation, STATUS_UNAVAILABLE);
        return false;
    }
    return true;
}

static void operation_fired(struct env_timer *timer)
{
    struct operation *operation = container_of(timer, struct operation, timer);
    operation->timer_ns = 0;
    if (env_monotonic_ns(operation->coordinator->env) >= operation->deadline_ns) {
        operation_end(operation, operation->kind->late(operation));
        return;
    }
    operation_touch(operation);
}

/* ------------------------------------------------------------------ the coordinator */

enum status coordinator_open(struct env *env, const struct coordinator_options *options,
                             struct coordinator **out)
{
    struct coordinator *coordinator = memory_allocate_zeroed(1, sizeof(*coordinator));
    if (coordinator == NULL) {
        return STATUS_NO_MEMORY;
    }
    coordinator->env = env;
    coordinator->options = *options;
    list_init(&coordinator->operations);
    list_init(&coordinator->spare);
    list_init(&coordinator->spare_calls);
    *out = coordinator;
    return STATUS_OK;
}

void coordinator_hold(struct coordinator *coordinator)
{
    replica_hold(coordinator->options.replica);
}

void coordinator_release(struct coordinator *coordinator)
{
    replica_release(coordinator->options.replica);
}

void coordinator_stop(struct coordinator *coordinator)
{
    coordinator->stopping = true;
    while (!list_empty(&coordinator->operations)) {
        struct operation *operation =
            container_of(coordinator->operations.next, struct operation, node);
        operation_end(operation, STATUS_CANCELLED);
    }
}

bool coordinator_stopped(const struct coordinator *coordinator)
{
    return coordinator->stopping && coordinator->local_count == 0;
}

void coordinator_close(struct coordinator *coordinator)
{
    if (coordinator == NULL) {
        return;
    }
    ASSERT(list_empty(&coordinator->operations));
    while (!list_empty(&coordinator->spare)) {
        operation_free(container_of(list_take_first(&coordinator->spare), struct operation, node));
    }
    while (!list_empty(&coordinator->spare_calls)) {
        call_free(
            container_of(list_take_first(&coordinator->spare_calls), struct local_call, node));
    }
    memory_free(coordinator);
}
