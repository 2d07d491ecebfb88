/*
 * node/coordinator_scan.c -- one page of keys: a quorum read over a run of ranges.
 *
 * Neighbouring ranges on the same replicas are asked for together, so that a small cluster answers
 * a page in one round. Each replica sends its entries in token order and says how far they reach;
 * the page ends at the least of those ends, since beyond it some replica has not spoken. Of the
 * cells for one key the greatest decides whether it lives. While the ranges move both sets are
 * asked; if they change meanwhile the page begins anew from its cursor.
 */
#include "base/memory.h"
#include "base/token.h"
#include "node/coordinator_internal.h"

static bool same_set(const struct ring_replicas *a, const struct ring_replicas *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (uint32_t index = 0; index < a->count; index++) {
        if (!ring_replicas_contain(b, a->ids[index])) {
            return false;
        }
    }
    return true;
}

static bool same_replicas(const struct topology_range *a, const struct topology_range *b)
{
    return a->stage == b->stage && same_set(&a->replicas, &b->replicas) &&
           same_set(&a->next, &b->next);
}

/* From the cursor to the end of the last range that the same replicas hold. */
static enum status scan_aim(struct operation *operation)
{
    const struct coordinator_scan *scan = operation->request;
    const struct topology *topology = operation->coordinator->options.topology;
    uint32_t range = ring_range_of(scan->cursor, topology->range_count);
    uint32_t last = range;
    while (last + 1 < topology->range_count &&
           same_replicas(&topology->ranges[range], &topology->ranges[last + 1])) {
        last++;
    }
    operation->range = range;
    operation->last_range = last;
    operation->scan = (struct message_scan){
        .keyspace = scan->keyspace,
        .first = scan->cursor,
        .last = ring_range_last(last, topology->range_count),
        .count =
            scan->count < COORDINATOR_SCAN_COUNT_MAX ? scan->count : COORDINATOR_SCAN_COUNT_MAX,
    };
    buffer_clear(&operation->payload);
    message_scan_encode(&operation->payload, &operation->scan);
    return buffer_status(&operation->payload) == STATUS_OK ? STATUS_OK : STATUS_OVERLOADED;
}

static void ask_local_scan(struct slot *slot, struct replica_operation *call)
{
    const struct operation *operation = slot->operation;
    replica_scan(operation->coordinator->options.replica, &operation->scan, call);
}

static enum status page_check(struct slice page)
{
    struct message_scan_cursor cursor;
    message_scan_cursor_init(&cursor, page);
    struct message_scan_entry entry;
    enum status status;
    do {
        status = message_scan_cursor_next(&cursor, &entry);
    } while (status == STATUS_OK);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status scan_remote(struct slot *slot, const struct frame *reply)
{
    enum status status = page_check(reply->payload);
    if (status != STATUS_OK) {
        return status;
    }
    buffer_clear(&slot->page);
    buffer_append_slice(&slot->page, reply->payload);
    return buffer_status(&slot->page) == STATUS_OK ? STATUS_OK : STATUS_OVERLOADED;
}

static void scan_local(struct slot *slot, struct replica_operation *done)
{
    slot->page = done->payload; /* Moves. */
    done->payload = (struct buffer){0};
}

/* ------------------------------------------------------------------ merging the pages */

struct merge_source {
    struct message_scan_cursor cursor;
    struct message_scan_entry entry;
    bool live; /* `entry` is its next. */
};

static void source_next(struct merge_source *source)
{
    source->live = message_scan_cursor_next(&source->cursor, &source->entry) == STATUS_OK;
}

/* The least token that some answer stops at; all of them speak for everything up to it. */
static uint64_t pages_end(const struct operation *operation, bool *truncated)
{
    uint64_t end = operation->scan.last;
    *truncated = false;
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        const struct slot *slot = &operation->slots[index];
        if (slot->state != SLOT_ANSWERED) {
            continue;
        }
        struct message_scan_cursor cursor;
        struct message_scan_entry entry;
        message_scan_cursor_init(&cursor, buffer_slice(&slot->page));
        while (message_scan_cursor_next(&cursor, &entry) == STATUS_OK) {
        }
        if (cursor.truncated && cursor.end_token <= end) {
            end = cursor.end_token;
            *truncated = true;
        }
    }
    return end;
}

/* The greatest cell of the least key of all sources; moves them past it. */
static bool merge_next(struct merge_source *sources, uint32_t count, struct slice *engine_key,
                       struct cell *cell)
{
    const struct merge_source *least = NULL;
    for (uint32_t index = 0; index < count; index++) {
        const struct merge_source *source = &sources[index];
        if (source->live && (least == NULL || slice_compare(source->entry.engine_key,
                                                            least->entry.engine_key) < 0)) {
            least = source;
        }
    }
    if (least == NULL) {
        return false;
    }
    *engine_key = least->entry.engine_key;
    *cell = least->entry.cell;
    for (uint32_t index = 0; index < count; index++) {
        struct merge_source *source = &sources[index];
        if (source->live && slice_equal(source->entry.engine_key, *engine_key)) {
            if (cell_compare(&source->entry.cell, cell) > 0) {
                *cell = source->entry.cell;
            }
            source_next(source);
        }
    }
    return true;
}

static bool entry_add(struct operation *operation, uint32_t *count, uint32_t *capacity,
                      struct coordinator_scan_entry entry)
{
    if (*count == *capacity) {
        uint32_t more = *capacity == 0 ? 64 : *capacity * 2;
        struct coordinator_scan_entry *entries =
            memory_resize(operation->entries, more * sizeof(*entries));
        if (entries == NULL) {
            return false;
        }
        operation->entries = entries;
        *capacity = more;
    }
    operation->entries[(*count)++] = entry;
    return true;
}

/* Fills the caller's result; keys borrow from the slots' pages. */
static enum status pages_merge(struct operation *operation, struct coordinator_scan *scan)
{
    struct merge_source sources[SLOT_COUNT_MAX];
    uint32_t source_count = 0;
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        const struct slot *slot = &operation->slots[index];
        if (slot->state == SLOT_ANSWERED) {
            struct merge_source *source = &sources[source_count++];
            message_scan_cursor_init(&source->cursor, buffer_slice(&slot->page));
            source_next(source);
        }
    }
    bool truncated;
    uint64_t end = pages_end(operation, &truncated);
    uint64_t now_ms = hlc_unix_ms(hlc_now(&operation->coordinator->options.timekeeper->hlc));
    uint32_t count = 0;
    uint32_t capacity = 0;
    struct slice engine_key;
    struct cell cell;
    while (merge_next(sources, source_count, &engine_key, &cell)) {
        uint16_t keyspace;
        struct coordinator_scan_entry entry;
        if (token_engine_split(engine_key, &keyspace, &entry.token, &entry.key) != STATUS_OK) {
            return STATUS_CORRUPT;
        }
        if (entry.token <= end && cell_is_live(&cell, now_ms) &&
            !entry_add(operation, &count, &capacity, entry)) {
            return STATUS_OVERLOADED;
        }
    }
    scan->entries = operation->entries;
    scan->entry_count = count;
    /* The last token of the ring has no successor: the next cursor is 0 and says the end. */
    scan->next = end + 1;
    return STATUS_OK;
}

/* ------------------------------------------------------------------ the operation */

/* Asks as many as answer enough in both sets, if none fails. */
static struct tally scan_ask(struct operation *operation)
{
    uint64_t now_ns = env_monotonic_ns(operation->coordinator->env);
    struct tally reached = operation_tally(operation, SLOT_ANSWERED);
    tally_add(&reached, operation_tally(operation, SLOT_ASKED));
    for (uint32_t index = 0; index < operation->slot_count; index++) {
        struct slot *slot = &operation->slots[index];
        if (slot->state == SLOT_LOST) {
            slot->state = SLOT_OPEN;
        }
        if (tally_wants(reached, operation->needed, slot->vote) && slot_askable(slot, now_ns)) {
            slot_ask(slot, FRAME_SCAN, ask_local_scan);
            if (slot->state == SLOT_ASKED || slot->state == SLOT_ANSWERED) {
                tally_add(&reached, slot->vote);
            }
        }
        if (slot->state == SLOT_OPEN && slot->open_ns > now_ns && slot_up(slot)) {
            operation_wake(operation, slot->open_ns);
        }
    }
    return reached;
}

static bool scan_judge(struct operation *operation, enum status *status)
{
    if (tally_reaches(operation_tally(operation, SLOT_ANSWERED), operation->needed)) {
        *status = STATUS_OK;
        return true;
    }
    struct tally reached = scan_ask(operation);
    if (tally_reaches(reached, operation->needed)) {
        return false;
    }
    *status = STATUS_UNAVAILABLE;
    tally_add(&reached, operation_hopes(operation));
    return !tally_reaches(reached, operation->needed);
}

static enum status scan_late(const struct operation *operation)
{
    (void)operation;
    return STATUS_TIMEOUT;
}

static void scan_finish(struct operation *operation, enum status status)
{
    struct coordinator_scan *scan = operation->request;
    operation->coordinator->options.counters->scans++;
    scan->entries = NULL;
    scan->entry_count = 0;
    scan->outcome = operation_outcome(operation);
    if (status == STATUS_OK) {
        status = pages_merge(operation, scan);
    }
    scan->done(scan, status);
}

static const struct operation_kind scan_kind = {
    .reads = true,
    .aim = scan_aim,
    .judge = scan_judge,
    .finish = scan_finish,
    .remote = scan_remote,
    .local = scan_local,
    .late = scan_late,
};

void coordinator_scan(struct coordinator *coordinator, struct coordinator_scan *scan)
{
    ASSERT(scan->count > 0);
    enum status why = STATUS_OK;
    struct operation_terms terms = {.request = scan,
                                    .level = scan->level,
                                    .charge = (uint64_t)scan->count * ENGINE_KEY_PREFIX_SIZE,
                                    .timeout_ms = scan->timeout_ms};
    struct operation *operation = operation_begin(coordinator, &scan_kind, &terms, &why);
    if (operation == NULL) {
        coordinator->options.counters->scans++;
        scan->outcome = (struct coordinator_outcome){0};
        scan->entry_count = 0;
        scan->done(scan, why);
        return;
    }
    enum status status = scan_aim(operation);
    if (status != STATUS_OK) {
        operation_end(operation, status);
        return;
    }
    if (operation_aim(operation)) {
        operation_touch(operation);
    }
}
