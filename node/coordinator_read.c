/*
 * node/coordinator_read.c -- a read: as many replicas as its level needs, then what they lack.
 *
 * One replica is asked for the whole cell, the others for its version; if another holds a newer
 * one, that is fetched. Before a read at QUORUM or ALL answers a cell, as many replicas as the
 * level needs hold it durably: those that lag are sent a copy first (blocking read repair). So a
 * later read at such a level never sees less.
 * While a range moves all of this is asked of both sets: a later read may be answered by the new
 * one alone.
 */
#include "node/coordinator_internal.h"
#include "node/hot_keys.h"
#include "node/mutant.h"

static void ask_local_read(struct slot *slot, struct replica_operation *call)
{
    const struct operation *operation = slot->operation;
    replica_read(operation->coordinator->options.replica, buffer_slice(&operation->engine_key),
                 call);
}

static void ask_local_repair(struct slot *slot, struct replica_operation *call)
{
    const struct operation *operation = slot->operation;
    struct message_write message = {.repair = true,
                                    .engine_key = buffer_slice(&operation->engine_key),
                                    .cell = operation->cell};
    replica_write(operation->coordinator->options.replica, &message, call);
}

static struct cell bare(const struct cell *cell)
{
    struct cell header = *cell;
    header.window = (struct slice){0};
    header.value = (struct slice){0};
    return header;
}

/* A full cell arrived: it is kept if it is the greatest so far. */
static enum status cell_keep(struct operation *operation, const struct cell *cell)
{
    if (operation->have_cell && cell_compare(cell, &operation->cell) <= 0) {
        return STATUS_OK;
    }
    buffer_clear(&operation->value);
    buffer_append_slice(&operation->value, cell->value);
    if (buffer_status(&operation->value) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    operation_charge(operation, cell->value.size);
    operation->cell = *cell;
    operation->cell.window = (struct slice){0}; /* Of strong keyspaces only. */
    operation->cell.value = buffer_slice(&operation->value);
    operation->have_cell = true;
    return STATUS_OK;
}

static enum status answer_take(struct slot *slot, bool found, const struct cell *cell)
{
    slot->known = true;
    slot->found = found;
    if (!found) {
        return STATUS_OK;
    }
    slot->header = bare(cell);
    return slot->full || cell->kind == CELL_DELETE ? cell_keep(slot->operation, cell) : STATUS_OK;
}

/* It holds the copy it was sent, or a greater cell. */
static void repair_take(struct slot *slot)
{
    slot->repairing = false;
    slot->known = true;
    slot->found = true;
    slot->header = slot->copied;
}

static enum status read_remote(struct slot *slot, const struct frame *reply)
{
    if (slot->repairing) {
        repair_take(slot);
        return STATUS_OK;
    }
    struct message_read_reply message;
    enum status status = message_read_reply_decode(reply->payload, &message);
    if (status == STATUS_OK && message.found && slot->full == message.digest) {
        status = STATUS_CORRUPT;
    }
    return status == STATUS_OK ? answer_take(slot, message.found, &message.cell) : status;
}

static void read_local(struct slot *slot, struct replica_operation *done)
{
    if (slot->repairing) {
        repair_take(slot);
        return;
    }
    slot->full = true; /* Our own replica hands over the whole cell in any case. */
    if (answer_take(slot, done->found, &done->cell) != STATUS_OK) {
        slot->known = false; /* No memory for it: as if it had not answered. */
    }
}

static void ask_read(struct slot *slot, bool full)
{
    struct operation *operation = slot->operation;
    struct message_read message = {.digest = !full,
                                   .engine_key = buffer_slice(&operation->engine_key)};
    buffer_clear(&operation->payload);
    message_read_encode(&operation->payload, &message);
    slot->full = full;
    slot->repairing = false;
    slot_ask(slot, FRAME_READ, ask_local_read);
}

static bool full_under_way(const struct operation *operation)
{
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        const struct slot *slot = &operation->slots[index];
        if (slot->state == SLOT_ASKED && slot->full) {
            return true;
        }
    }
    return false;
}

/* Asks those that `reached` lacks, and adds them to it; one of all is asked in full. If `hedge`,
 * one more is asked, in full too, since the one asked in full may be the one that hangs. */
static void ask_more(struct operation *operation, struct tally *reached, bool hedge)
{
    uint64_t now_ns = env_monotonic_ns(operation->coordinator->env);
    bool full_asked = operation->have_cell || (!hedge && full_under_way(operation));
    bool spare = hedge;
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        struct slot *slot = &operation->slots[index];
        if (!spare && tally_reaches(*reached, operation->needed)) {
            return;
        }
        bool wanted = tally_wants(*reached, operation->needed, slot->vote);
        if (slot_askable(slot, now_ns) && !slot->known && (wanted || spare)) {
            ask_read(slot, !full_asked);
            full_asked = full_asked || slot->state == SLOT_ASKED;
            if (slot->state == SLOT_ASKED || slot->state == SLOT_ANSWERED) {
                tally_add(reached, slot->vote);
                spare = spare && wanted;
                operation->coordinator->options.counters->read_hedges += !wanted;
            }
        }
        if (slot->state == SLOT_OPEN && slot_up(slot)) {
            operation_wake(operation,
                           slot->open_ns > now_ns ? slot->open_ns : operation->deadline_ns);
        }
    }
}

static const struct cell *newest_of(const struct operation *operation)
{
    const struct cell *newest = NULL;
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        const struct slot *slot = &operation->slots[index];
        if (slot->known && slot->found &&
            (newest == NULL || cell_compare(&slot->header, newest) > 0)) {
            newest = &slot->header;
        }
    }
    return newest;
}

/* When a read asks one more, from now on. */
static uint64_t hedge_after(const struct operation *operation, uint64_t now_ns)
{
    const struct config *config = operation->coordinator->options.config;
    return now_ns + (uint64_t)config->hedge_timeout_ms * UINT64_C(1000000);
}

/* The newest cell is known by its version only: fetch it from one that said it has it; from another
 * of those if that takes long. False if none of them can be asked any more. */
static bool fetch_full(struct operation *operation, const struct cell *newest)
{
    uint64_t now_ns = env_monotonic_ns(operation->coordinator->env);
    bool hope = full_under_way(operation);
    if (hope && now_ns < operation->hedge_ns) {
        operation_wake(operation, operation->hedge_ns);
        return true;
    }
    operation->hedge_ns = hedge_after(operation, now_ns);
    operation_wake(operation, operation->hedge_ns);
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        struct slot *slot = &operation->slots[index];
        bool has = slot->known && slot->found && cell_compare(&slot->header, newest) == 0;
        if (!has || !slot_up(slot) || slot->state == SLOT_ASKED || slot->state == SLOT_REFUSED) {
            continue;
        }
        hope = true;
        if (slot->state == SLOT_ANSWERED || slot_askable(slot, now_ns)) {
            ask_read(slot, true);
            break;
        }
        operation_wake(operation, slot->open_ns);
    }
    return hope;
}

static bool slot_holds(const struct operation *operation, const struct slot *slot)
{
    return slot->known && slot->found && cell_compare(&slot->header, &operation->cell) >= 0;
}

/* How many holders the copies under way and to be sent should make. One that hangs, say with a peer
 * that was just cut off, is joined by another after a while. */
static struct tally repair_aim(struct operation *operation, struct tally coming)
{
    uint64_t now_ns = env_monotonic_ns(operation->coordinator->env);
    struct tally aim = operation->needed;
    bool first = coming.old_count + coming.new_count == 0;
    if (first || now_ns >= operation->hedge_ns) {
        operation->hedge_ns = hedge_after(operation, now_ns);
        tally_add(&aim, coming);
    }
    operation_wake(operation, operation->hedge_ns);
    return aim;
}

static void ask_repair(struct slot *slot)
{
    struct operation *operation = slot->operation;
    slot->repairing = true;
    slot->copied = bare(&operation->cell);
    slot_ask(slot, FRAME_WRITE, ask_local_repair);
    operation->coordinator->options.counters->read_repairs++;
}

/* Sends the newest cell to replicas that do not hold it, until as many as needed do or will. False
 * if too few are left that could. */
static bool repair(struct operation *operation, struct tally holders)
{
    uint64_t now_ns = env_monotonic_ns(operation->coordinator->env);
    struct tally reached = holders; /* By copies under way. */
    struct tally coming = {0};
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        const struct slot *slot = &operation->slots[index];
        if (slot->state == SLOT_ASKED && slot->repairing) {
            tally_add(&coming, slot->vote);
        }
    }
    tally_add(&reached, coming);
    struct tally aim = repair_aim(operation, coming);
    struct message_write message = {.repair = true,
                                    .engine_key = buffer_slice(&operation->engine_key),
                                    .cell = operation->cell};
    buffer_clear(&operation->payload);
    message_write_encode(&operation->payload, &message);
    struct tally possible = reached;
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        struct slot *slot = &operation->slots[index];
        if (slot_holds(operation, slot) || slot->state == SLOT_REFUSED || !slot_up(slot) ||
            (slot->state == SLOT_ASKED && slot->repairing)) {
            continue;
        }
        tally_add(&possible, slot->vote);
        if (!tally_wants(reached, aim, slot->vote) || slot->state == SLOT_ASKED) {
            continue;
        }
        if (slot->state == SLOT_OPEN && slot->open_ns > now_ns) {
            operation_wake(operation, slot->open_ns);
            continue;
        }
        ask_repair(slot);
        tally_add(&reached, slot->vote);
    }
    return tally_reaches(possible, operation->needed);
}

static enum status read_failure(const struct operation *operation)
{
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        const struct slot *slot = &operation->slots[index];
        if (slot->state == SLOT_REFUSED) {
            bool told = slot->status == STATUS_IO || slot->status == STATUS_READ_ONLY ||
                        slot->status == STATUS_NO_SPACE;
            return told ? slot->status : STATUS_CORRUPT;
        }
    }
    return STATUS_UNAVAILABLE;
}

/* Enough is known: is the newest cell at hand, and held by enough? */
static bool judge_known(struct operation *operation, enum status *status)
{
    const struct cell *newest = newest_of(operation);
    if (newest == NULL) {
        *status = STATUS_NOT_FOUND;
        return true;
    }
    if (!operation->have_cell || cell_compare(&operation->cell, newest) < 0) {
        *status = read_failure(operation);
        return !fetch_full(operation, newest);
    }
    struct tally holders = {0};
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        const struct slot *slot = &operation->slots[index];
        if (slot_holds(operation, slot)) {
            tally_add(&holders, slot->vote);
        }
    }
    bool sloppy =
        MUTANT(SKIP_READ_REPAIR) || (MUTANT(NO_WRITE_BACK) && operation->needed.new_count > 0);
    if (operation->level == LEVEL_ONE || tally_reaches(holders, operation->needed) || sloppy) {
        *status = STATUS_OK;
        return true;
    }
    *status = read_failure(operation);
    return !repair(operation, holders);
}

static bool read_judge(struct operation *operation, enum status *status)
{
    uint64_t now_ns = env_monotonic_ns(operation->coordinator->env);
    struct tally known = {0};
    struct tally reached = {0}; /* By those that are asked, too. */
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        struct slot *slot = &operation->slots[index];
        if (slot->state == SLOT_LOST) {
            slot->state = SLOT_OPEN; /* Reads and copies may be asked again. */
        }
        if (slot->known) {
            tally_add(&known, slot->vote);
        }
        if (slot->known || slot->state == SLOT_ASKED) {
            tally_add(&reached, slot->vote);
        }
    }
    if (tally_reaches(known, operation->needed)) {
        return judge_known(operation, status);
    }
    bool hedge = operation->hedge_ns != 0 && now_ns >= operation->hedge_ns;
    if (operation->hedge_ns == 0 || hedge) {
        operation->hedge_ns = hedge_after(operation, now_ns);
    }
    operation_wake(operation, operation->hedge_ns);
    ask_more(operation, &reached, hedge);
    if (tally_reaches(reached, operation->needed)) {
        return false;
    }
    *status = read_failure(operation);
    tally_add(&reached, operation_hopes(operation));
    return !tally_reaches(reached, operation->needed);
}

static enum status read_late(const struct operation *operation)
{
    (void)operation;
    return STATUS_TIMEOUT;
}

static void read_finish(struct operation *operation, enum status status)
{
    struct coordinator *coordinator = operation->coordinator;
    struct coordinator_read *read = operation->request;
    struct node_counters *counters = coordinator->options.counters;
    counters->reads++;
    counters->read_errors += status != STATUS_OK && status != STATUS_NOT_FOUND;
    uint64_t took_ns = env_monotonic_ns(coordinator->env) - operation->started_ns;
    histogram_add(coordinator->options.read_latency_us, took_ns / 1000);
    read->cell = status == STATUS_OK ? operation->cell : (struct cell){0};
    read->outcome = operation_outcome(operation);
    read->done(read, status);
}

static const struct operation_kind read_kind = {
    .reads = true,
    .judge = read_judge,
    .finish = read_finish,
    .remote = read_remote,
    .local = read_local,
    .late = read_late,
};

void coordinator_read(struct coordinator *coordinator, struct coordinator_read *read)
{
    enum status why = STATUS_OK;
    hot_keys_note(coordinator->options.hot_keys, read->keyspace, read->key, false);
    struct operation_terms terms = {.request = read,
                                    .level = read->level,
                                    .charge = read->key.size,
                                    .timeout_ms = read->timeout_ms};
    struct operation *operation = operation_begin(coordinator, &read_kind, &terms, &why);
    if (operation == NULL) {
        struct node_counters *counters = coordinator->options.counters;
        counters->reads++;
        counters->read_errors++;
        counters->overloaded += why == STATUS_OVERLOADED;
        read->outcome = (struct coordinator_outcome){0};
        read->done(read, why);
        return;
    }
    if (engine_key_make(operation, read->keyspace, read->key) != STATUS_OK) {
        operation_end(operation, STATUS_OVERLOADED);
        return;
    }
    if (operation_aim(operation)) {
        operation_touch(operation);
    }
}
