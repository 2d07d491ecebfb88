/*
 * node/coordinator_write.c -- a write: to every replica at once, answered at its level.
 *
 * Invariants:
 *  (1) One version per write, in every try: repeating it changes nothing.
 *  (2) Fewer than `needed` replicas up at the start: refused, nothing sent.
 *  (3) Once a slot was asked, only an answer of each asked replica that it applied nothing makes
 *      the failure a definite one; none does after the slots were laid anew.
 *  (4) While the range moves it is acknowledged by the level's number of each set.
 */
#include "node/coordinator_internal.h"
#include "node/hot_keys.h"
#include "node/mutant.h"

static void ask_local(struct slot *slot, struct replica_operation *call)
{
    struct operation *operation = slot->operation;
    struct message_write message = {.engine_key = buffer_slice(&operation->engine_key),
                                    .cell = operation->cell};
    replica_write(operation->coordinator->options.replica, &message, call);
}

static enum status write_remote(struct slot *slot, const struct frame *reply)
{
    enum status status = message_write_reply_decode(reply->payload, &slot->standing);
    /* An answer that cannot be read is still one to a write that was applied. */
    return status == STATUS_OK ? STATUS_OK : STATUS_INDETERMINATE;
}

static void write_local(struct slot *slot, struct replica_operation *done)
{
    slot->standing = done->standing;
}

static void write_ask(struct operation *operation)
{
    uint64_t now_ns = env_monotonic_ns(operation->coordinator->env);
    /* Peers first: their round trip runs while our own log syncs. */
    for (uint32_t index = operation->slot_count; index-- > 0;) {
        struct slot *slot = &operation->slots[index];
        if (slot_askable(slot, now_ns)) {
            slot_ask(slot, FRAME_WRITE, ask_local);
        }
        if (slot->state == SLOT_OPEN && slot_up(slot)) {
            operation_wake(operation, slot->open_ns);
        }
    }
}

static struct version write_standing(const struct operation *operation)
{
    struct version greatest = operation->cell.version;
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        const struct slot *slot = &operation->slots[index];
        if (slot->state == SLOT_ANSWERED && slot->status == STATUS_SUPERSEDED &&
            version_compare(slot->standing, greatest) > 0) {
            greatest = slot->standing;
        }
    }
    return greatest;
}

/* Nothing was applied anywhere: what the refusals said, the gravest for an operator first. */
static enum status write_refusal(const struct operation *operation)
{
    enum status said = STATUS_UNAVAILABLE;
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        const struct slot *slot = &operation->slots[index];
        if (slot->state == SLOT_REFUSED) {
            said = slot->status;
        }
    }
    return said;
}

/* Some replica applied it, or may have, or may yet. */
static bool write_applied(const struct operation *operation)
{
    bool applied = operation->applied;
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        enum slot_state state = operation->slots[index].state;
        applied = applied || state == SLOT_ANSWERED || state == SLOT_ASKED || state == SLOT_LOST;
    }
    return applied;
}

static uint16_t sooner(uint16_t needed)
{
    return MUTANT(ACK_EARLY) && needed > 1 ? (uint16_t)(needed - 1) : needed;
}

/* How many of each set acknowledge before the client is told. */
static struct tally acks_needed(const struct operation *operation)
{
    return (struct tally){.old_count = sooner(operation->needed.old_count),
                          .new_count = sooner(operation->needed.new_count)};
}

static bool write_judge(struct operation *operation, enum status *status)
{
    if (operation->clock_waiting) {
        return false; /* There is no version yet, and so nothing to send. */
    }
    struct tally reached = operation_tally(operation, SLOT_ANSWERED);
    if (tally_reaches(reached, acks_needed(operation))) {
        bool beaten = version_compare(write_standing(operation), operation->cell.version) > 0;
        *status = beaten ? STATUS_SUPERSEDED : STATUS_OK;
        return true;
    }
    write_ask(operation);
    reached = operation_tally(operation, SLOT_ANSWERED);
    tally_add(&reached, operation_tally(operation, SLOT_ASKED));
    if (tally_reaches(reached, operation->needed)) {
        return false;
    }
    tally_add(&reached, operation_hopes(operation));
    if (!tally_reaches(reached, operation->needed)) {
        *status = write_applied(operation) ? STATUS_INDETERMINATE : write_refusal(operation);
        return true;
    }
    return false;
}

static enum status write_late(const struct operation *operation)
{
    if (operation->clock_waiting) {
        return STATUS_OVERLOADED;
    }
    return write_applied(operation) ? STATUS_TIMEOUT : write_refusal(operation);
}

static void write_finish(struct operation *operation, enum status status)
{
    struct coordinator *coordinator = operation->coordinator;
    struct coordinator_write *write = operation->request;
    struct node_counters *counters = coordinator->options.counters;
    counters->writes++;
    counters->write_errors += status != STATUS_OK && status != STATUS_SUPERSEDED;
    uint64_t took_ns = env_monotonic_ns(coordinator->env) - operation->started_ns;
    histogram_add(coordinator->options.write_latency_us, took_ns / 1000);
    write->version =
        status == STATUS_SUPERSEDED ? write_standing(operation) : operation->cell.version;
    write->outcome = operation_outcome(operation);
    if (status == STATUS_SUPERSEDED) {
        /* Whoever writes again now does so above it, unless its clock is beyond belief. */
        bool believed = hlc_hear(&coordinator->options.timekeeper->hlc, write->version.time,
                                 coordinator->options.config->clock_lead_ms);
        (void)believed;
    }
    write->done(write, status);
}

static const struct operation_kind write_kind = {
    .judge = write_judge,
    .finish = write_finish,
    .remote = write_remote,
    .local = write_local,
    .late = write_late,
};

/* The version is known: to all replicas. */
static void write_send(struct operation *operation, uint64_t time)
{
    const struct coordinator_write *write = operation->request;
    struct coordinator *coordinator = operation->coordinator;
    if (write->keep_version) {
        operation->cell.version = write->cell.version;
        operation->cell.stamp = time;
    } else {
        operation->cell.version =
            (struct version){.time = time, .node = coordinator->options.config->id};
        operation->cell.stamp = 0;
    }
    struct message_write message = {.engine_key = buffer_slice(&operation->engine_key),
                                    .cell = operation->cell};
    buffer_clear(&operation->payload);
    message_write_encode(&operation->payload, &message);
    if (buffer_status(&operation->payload) != STATUS_OK) {
        operation_end(operation, STATUS_OVERLOADED);
        return;
    }
    operation_touch(operation);
}

static void write_clock(struct operation *operation);

static void write_clock_done(struct timekeeper_wait *wait, enum status status)
{
    struct operation *operation = container_of(wait, struct operation, clock_wait);
    operation->clock_waiting = false;
    if (status == STATUS_OK) {
        write_clock(operation);
        return;
    }
    bool later = status == STATUS_OVERLOADED || status == STATUS_NO_MEMORY;
    enum status said = later ? STATUS_OVERLOADED : STATUS_READ_ONLY;
    operation_end(operation, status == STATUS_CANCELLED ? STATUS_CANCELLED : said);
}

static void write_clock(struct operation *operation)
{
    struct timekeeper *timekeeper = operation->coordinator->options.timekeeper;
    uint64_t time;
    if (timekeeper_issue(timekeeper, &time) == STATUS_OK) {
        write_send(operation, time);
        return;
    }
    operation->clock_wait.done = write_clock_done;
    operation->clock_waiting = true;
    operation_touch(operation); /* Its deadline runs from here on: a log may take long to sync. */
    timekeeper_wait(timekeeper, &operation->clock_wait);
}

static void write_refuse(struct coordinator *coordinator, struct coordinator_write *write,
                         enum status why)
{
    struct node_counters *counters = coordinator->options.counters;
    counters->writes++;
    counters->write_errors++;
    counters->overloaded += why == STATUS_OVERLOADED;
    write->version = (struct version){0};
    write->outcome = (struct coordinator_outcome){0};
    write->done(write, why);
}

/* Copies what the caller lends; the operation's buffers then back the cell. */
static enum status write_copy(struct operation *operation, const struct coordinator_write *write)
{
    enum status status = engine_key_make(operation, write->keyspace, write->key);
    buffer_clear(&operation->value);
    buffer_append_slice(&operation->value, write->cell.value);
    operation->cell = (struct cell){.kind = write->cell.kind,
                                    .expiry_ms = write->cell.expiry_ms,
                                    .value = buffer_slice(&operation->value)};
    return status == STATUS_OK ? buffer_status(&operation->value) : status;
}

void coordinator_write(struct coordinator *coordinator, struct coordinator_write *write)
{
    enum status why = STATUS_OK;
    hot_keys_note(coordinator->options.hot_keys, write->keyspace, write->key, true);
    struct operation_terms terms = {.request = write,
                                    .level = write->level,
                                    .charge = write->key.size + write->cell.value.size,
                                    .timeout_ms = write->timeout_ms};
    struct operation *operation = operation_begin(coordinator, &write_kind, &terms, &why);
    if (operation == NULL) {
        write_refuse(coordinator, write, why);
        return;
    }
    if (write_copy(operation, write) != STATUS_OK) {
        operation_end(operation, STATUS_OVERLOADED);
        return;
    }
    if (operation_aim(operation)) {
        write_clock(operation);
    }
}
