/*
 * node/coordinator.c -- the life of an operation.
 *
 * Invariants:
 *  (1) An operation is in `operations` from begin to end, and ends once.
 *  (2) It is judged only by slots that were laid for its range as the topology has it now.
 */
#include "node/coordinator.h"

#include "base/memory.h"
#include "base/token.h"
#include "node/coordinator_internal.h"

#define NS_PER_MS UINT64_C(1000000)
#define SPARE_COUNT_MAX 1024
#define SPARE_BUFFER_SIZE_MAX (16u << 10) /* Larger buffers are not kept. */
#define OPERATION_OVERHEAD 256            /* Charged per operation, beside its bytes. */

static void operation_fired(struct env_timer *timer);

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
    operation->applied = false;
    operation->alive = (struct tally){0};
    operation->needed = (struct tally){0};
    operation->timer.fired = operation_fired;
    operation->started_ns = env_monotonic_ns(coordinator->env);
    uint64_t timeout = terms->timeout_ms == 0 ? config->request_timeout_ms : terms->timeout_ms;
    operation->deadline_ns = operation->started_ns + timeout * NS_PER_MS;
    counters->inflight_count++;
    counters->inflight_size += charge;
    list_append(&coordinator->operations, &operation->node);
    return operation;
}

void operation_wake(struct operation *operation, uint64_t at_ns)
{
    operation->wake_ns = at_ns < operation->wake_ns ? at_ns : operation->wake_ns;
}

void operation_charge(struct operation *operation, uint64_t size)
{
    operation->charge += size;
    operation->coordinator->options.counters->inflight_size += size;
}

/* The topology has moved on: if the operation's own ranges have changed, all begins anew but for
 * the version of a write and the newest cell that a read has. */
static enum status operation_follow(struct operation *operation)
{
    const struct topology *topology = operation->coordinator->options.topology;
    bool moved = operation->stamp.generation.number != topology->stamp.generation.number;
    for (uint32_t range = operation->range; range <= operation->last_range && !moved; range++) {
        moved = topology->ranges[range].epoch > operation->stamp.epoch;
    }
    if (!moved) {
        operation->stamp = topology->stamp;
        return STATUS_OK;
    }
    slots_give_up(operation);
    enum status status = STATUS_OK;
    if (operation->kind->aim != NULL) {
        status = operation->kind->aim(operation);
    }
    slots_lay(operation);
    return status;
}

static bool topology_moved(const struct operation *operation)
{
    const struct topology_stamp *now = &operation->coordinator->options.topology->stamp;
    return operation->stamp.epoch != now->epoch ||
           operation->stamp.generation.number != now->generation.number;
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
        if (topology_moved(operation)) {
            status = operation_follow(operation);
            over = status != STATUS_OK;
        }
        over = over || operation->kind->judge(operation, &status);
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
    slots_give_up(operation);
    operation_keep(operation);
}

bool operation_aim(struct operation *operation)
{
    slots_lay(operation);
    if (!tally_reaches(operation->alive, operation->needed)) {
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

void coordinator_adopted(struct coordinator *coordinator)
{
    list_for_each (node, next, &coordinator->operations) {
        operation_touch(container_of(node, struct operation, node));
    }
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
    calls_free(coordinator);
    memory_free(coordinator);
}
