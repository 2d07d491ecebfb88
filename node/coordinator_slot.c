/*
 * node/coordinator_slot.c -- the replicas of an operation: laid, asked, counted, given up.
 *
 * Slots are laid over both sets of the range, those that answer now and, while it moves, those to
 * come. A node of both sets counts in each; one that leaves only in the old, one that enters only
 * in the new. Invariants: (1) An answer counts only in the configuration of the range in which it
 * was asked for: a node may since have left the range and come back empty. So a range that changed
 * has its slots laid anew, and what may have been applied before is remembered in `applied`. (2)
 * After slots were given up no answer finds them: peers' requests are cancelled, calls to our own
 *      replica lose their slot and are freed when they are done.
 */
#include "base/memory.h"
#include "node/coordinator_internal.h"
#include "node/mutant.h"

#define NS_PER_MS UINT64_C(1000000)
#define SPARE_CALL_COUNT_MAX 256

/* ------------------------------------------------------------------ laying */

static uint16_t level_needed(enum level level, uint32_t replica_count)
{
    switch (level) {
    case LEVEL_ONE:
        return 1;
    case LEVEL_QUORUM:
        return (uint16_t)(replica_count / 2 + 1);
    case LEVEL_ALL:
        return (uint16_t)replica_count;
    }
    UNREACHABLE("level");
}

/* Whether this operation knows of those to come. */
static bool both_sets(const struct operation *operation, const struct topology_range *range)
{
    bool reads = operation->kind->reads;
    bool blind = (reads && MUTANT(OLD_SET_ONLY_READS)) || (!reads && MUTANT(OLD_SET_ONLY_WRITES));
    return range->stage != TOPOLOGY_STABLE && !blind;
}

static struct tally needed_of(const struct operation *operation, const struct topology_range *range)
{
    struct tally needed = {.old_count = level_needed(operation->level, range->replicas.count)};
    if (!both_sets(operation, range)) {
        return needed;
    }
    needed.new_count = level_needed(operation->level, range->next.count);
    if (operation->level == LEVEL_ONE && operation->kind->reads) {
        /* A read at ONE promises no more than what some replica that has all holds. */
        bool old_reads = range->stage == TOPOLOGY_WRITE_BOTH_READ_OLD;
        needed = (struct tally){.old_count = old_reads, .new_count = !old_reads};
    }
    return needed;
}

struct seat {
    uint32_t node;
    struct tally vote;
};

/* The nodes of the range: those that count in both sets first, so that a read needs few. */
static uint32_t seats_of(const struct operation *operation, struct seat *seats)
{
    const struct topology *topology = operation->coordinator->options.topology;
    const struct topology_range *range = &topology->ranges[operation->range];
    const struct ring_replicas *replicas = &range->replicas;
    const struct ring_replicas *next = &range->next;
    uint32_t count = 0;
    if (!both_sets(operation, range)) {
        for (uint32_t index = 0; index < replicas->count; index++) {
            seats[count++] = (struct seat){replicas->ids[index], {.old_count = 1}};
        }
        return count;
    }
    for (uint32_t index = 0; index < replicas->count; index++) {
        if (ring_replicas_contain(next, replicas->ids[index])) {
            seats[count++] = (struct seat){replicas->ids[index], {1, 1}};
        }
    }
    for (uint32_t index = 0; index < replicas->count; index++) {
        if (!ring_replicas_contain(next, replicas->ids[index])) {
            seats[count++] = (struct seat){replicas->ids[index], {.old_count = 1}};
        }
    }
    for (uint32_t index = 0; index < next->count; index++) {
        if (!ring_replicas_contain(replicas, next->ids[index])) {
            seats[count++] = (struct seat){next->ids[index], {.new_count = 1}};
        }
    }
    return count;
}

static void slot_init(struct operation *operation, const struct seat *seat)
{
    struct slot *slot = &operation->slots[operation->slot_count++];
    *slot = (struct slot){
        .operation = operation, .node = seat->node, .vote = seat->vote, .state = SLOT_OPEN};
}

void slots_lay(struct operation *operation)
{
    const struct coordinator *coordinator = operation->coordinator;
    const struct topology *topology = coordinator->options.topology;
    uint32_t self = coordinator->options.config->id;
    struct seat seats[SLOT_COUNT_MAX];
    uint32_t count = seats_of(operation, seats);
    const struct seat *down[SLOT_COUNT_MAX];
    uint32_t down_count = 0;
    operation->slot_count = 0;
    operation->alive = (struct tally){0};
    operation->stamp = topology->stamp;
    operation->needed = needed_of(operation, &topology->ranges[operation->range]);
    for (uint32_t index = 0; index < count; index++) {
        if (seats[index].node == self) {
            slot_init(operation, &seats[index]);
            tally_add(&operation->alive, seats[index].vote);
        }
    }
    for (uint32_t index = 0; index < count; index++) {
        const struct seat *seat = &seats[index];
        if (seat->node == self) {
            continue;
        }
        if (peers_up(coordinator->options.peers, seat->node)) {
            slot_init(operation, seat);
            tally_add(&operation->alive, seat->vote);
        } else {
            down[down_count++] = seat;
        }
    }
    for (uint32_t index = 0; index < down_count; index++) {
        slot_init(operation, down[index]);
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

void slots_give_up(struct operation *operation)
{
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        struct slot *slot = &operation->slots[index];
        operation->applied = operation->applied || slot->state == SLOT_ANSWERED ||
                             slot->state == SLOT_ASKED || slot->state == SLOT_LOST;
        slot_give_up(slot);
    }
    operation->slot_count = 0;
}

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

/* When a slot that is open again is asked again. A node that lacks a topology, or has one that we
 * lack, has most often caught up within a round trip. */
static uint64_t retry_after_ms(struct slot *slot)
{
    bool catching_up = slot->status == STATUS_STALE || slot->status == STATUS_BEHIND;
    uint64_t after_ms = OPERATION_RETRY_BEHIND_MS << slot->behind_count;
    if (!catching_up || after_ms >= OPERATION_RETRY_MS) {
        return OPERATION_RETRY_MS;
    }
    slot->behind_count++;
    return after_ms;
}

static void slot_settle(struct slot *slot, enum status status)
{
    slot->status = status;
    slot->state = answer_state(status);
    if (slot->state == SLOT_OPEN || slot->state == SLOT_LOST) {
        slot->open_ns =
            env_monotonic_ns(slot->operation->coordinator->env) + retry_after_ms(slot) * NS_PER_MS;
    }
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

void calls_free(struct coordinator *coordinator)
{
    while (!list_empty(&coordinator->spare_calls)) {
        call_free(
            container_of(list_take_first(&coordinator->spare_calls), struct local_call, node));
    }
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

/* ------------------------------------------------------------------ counting */

struct tally operation_tally(const struct operation *operation, enum slot_state state)
{
    struct tally tally = {0};
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        const struct slot *slot = &operation->slots[index];
        if (slot->state == state) {
            tally_add(&tally, slot->vote);
        }
    }
    return tally;
}

bool slot_askable(const struct slot *slot, uint64_t now_ns)
{
    return slot->state == SLOT_OPEN && slot->open_ns <= now_ns && slot_up(slot);
}

struct tally operation_hopes(const struct operation *operation)
{
    struct tally tally = {0};
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        const struct slot *slot = &operation->slots[index];
        if (slot->state == SLOT_OPEN && slot_up(slot)) {
            tally_add(&tally, slot->vote);
        }
    }
    return tally;
}

static uint32_t lacking(uint32_t have, uint32_t needed)
{
    return needed > have ? needed - have : 0;
}

struct coordinator_outcome operation_outcome(const struct operation *operation)
{
    struct tally acks = operation_tally(operation, SLOT_ANSWERED);
    struct tally needed = operation->needed;
    bool new_lacks_more =
        lacking(acks.new_count, needed.new_count) > lacking(acks.old_count, needed.old_count);
    bool fewer_alive = operation->alive.new_count < needed.new_count &&
                       operation->alive.old_count >= needed.old_count;
    if (new_lacks_more || fewer_alive) {
        return (struct coordinator_outcome){.acks = acks.new_count,
                                            .needed = needed.new_count,
                                            .alive = operation->alive.new_count};
    }
    return (struct coordinator_outcome){
        .acks = acks.old_count, .needed = needed.old_count, .alive = operation->alive.old_count};
}
