/*
 * lsm/memtable_read.c -- gets and walks over a memtable, beside its writer and without its lock.
 *
 * A reader notes the sequence of a node, reads, and looks at the sequence again: invariants (5) and
 * (6) of memtable.c say why that is enough. One that is disturbed too often waits for the writer's
 * lock, or says that it would have to.
 */
#include "base/contract.h"
#include "base/list.h"
#include "base/mutex.h"
#include "lsm/memtable_node.h"

#define MEMTABLE_TRY_COUNT 8u /* Before a reader takes the writer's lock, or gives up. */
#define CURSOR_AHEAD 8u       /* Records a cursor asks for before it comes to them. */

/* A node as a reader met it. */
struct visit {
    const struct memtable_node *node;
    uint64_t sequence;
};

static bool visit_begin(struct visit *visit, const struct memtable_node *node)
{
    if (node == NULL) {
        return false;
    }
    *visit = (struct visit){.node = node, .sequence = MEMTABLE_LOAD(node->sequence)};
    return visit->sequence % 2 == 0;
}

/* Whether all that was loaded from the node since holds. */
static bool visit_holds(const struct visit *visit)
{
    return atomic_load_explicit(&visit->node->sequence, memory_order_relaxed) == visit->sequence;
}

/* Steps to a node that was read from the one under visit; false: it may have been another. */
static bool visit_step(struct visit *visit, const struct memtable_node *to)
{
    struct visit from = *visit;
    return visit_begin(visit, to) && visit_holds(&from);
}

/* What a read begins with, and what must not have changed at its end; see (4). */
struct look {
    struct memtable_probe probe;
    uint32_t prefix_size;
    bool last; /* Not the probe: the greatest key. */
};

static void look_begin(struct look *look, const struct memtable *memtable, struct slice key)
{
    look->prefix_size = MEMTABLE_LOAD(memtable->prefix_size);
    look->probe = (struct memtable_probe){.key = key, .side = MEMTABLE_INSIDE};
    if (look->prefix_size > 0) {
        const struct memtable_record *first = MEMTABLE_LOAD(memtable->first);
        ASSERT(first != NULL);
        struct slice prefix = slice_make(first->bytes, look->prefix_size);
        struct slice start = slice_make(key.data, key.size < prefix.size ? key.size : prefix.size);
        int order = start.size == 0 ? -1 : slice_compare(start, prefix);
        look->probe.side = order == 0  ? MEMTABLE_INSIDE
                           : order < 0 ? MEMTABLE_BELOW
                                       : MEMTABLE_ABOVE;
    }
    look->last = false;
}

/* False: try again. */
static bool leaf_reach(const struct memtable *memtable, const struct look *look,
                       struct visit *visit)
{
    const struct memtable_node *root = MEMTABLE_LOAD(memtable->root);
    if (!visit_begin(visit, root) || MEMTABLE_LOAD(memtable->root) != root) {
        return false; /* An old root covers all keys only until it is split. */
    }
    while (visit->node->leaf == 0) {
        const struct memtable_node *node = visit->node;
        uint32_t index =
            look->last ? MEMTABLE_LOAD(node->count) - 1 : memtable_node_child(node, &look->probe);
        if (index >= MEMTABLE_FANOUT) {
            return false;
        }
        const struct memtable_node *child = MEMTABLE_LOAD(node->children[index]);
        if (child != NULL) {
            memtable_node_prefetch(child);
        }
        if (!visit_step(visit, child)) {
            return false;
        }
    }
    return true;
}

/* At the end of a try. */
static bool look_holds(const struct memtable *memtable, const struct look *look,
                       const struct visit *visit)
{
    return visit_holds(visit) && MEMTABLE_LOAD(memtable->prefix_size) == look->prefix_size;
}

static bool get_try(const struct memtable *memtable, struct slice key,
                    const struct memtable_record **record)
{
    struct look look;
    look_begin(&look, memtable, key);
    *record = NULL;
    if (look.probe.side != MEMTABLE_INSIDE) {
        return true; /* All keys there are begin in another way. */
    }
    struct visit visit;
    if (!leaf_reach(memtable, &look, &visit)) {
        return false;
    }
    (void)memtable_node_lower_bound(visit.node, 0, &look.probe, record);
    return look_holds(memtable, &look, &visit);
}

enum status memtable_get(const struct memtable *memtable, struct slice key, enum lsm_wait wait,
                         const struct memtable_record **record)
{
    ASSERT(memtable != NULL);
    const struct memtable_record *found = NULL;
    bool settled = false;
    for (uint32_t i = 0; i < MEMTABLE_TRY_COUNT && !settled; i++) {
        settled = get_try(memtable, key, &found);
    }
    if (!settled && wait == LSM_NOWAIT) {
        return STATUS_WOULD_BLOCK;
    }
    if (!settled) {
        mutex_lock(memtable->writer);
        settled = get_try(memtable, key, &found);
        mutex_unlock(memtable->writer);
        ASSERT(settled);
    }
    if (found == NULL) {
        return STATUS_NOT_FOUND;
    }
    *record = found;
    return STATUS_OK;
}

/* In three steps. */

void memtable_lookup_begin(struct memtable_lookup *lookup, const struct memtable *memtable,
                           struct slice key)
{
    ASSERT(lookup != NULL);
    ASSERT(memtable != NULL);
    struct look look;
    struct visit visit;
    *lookup = (struct memtable_lookup){.memtable = memtable, .key = key};
    look_begin(&look, memtable, key);
    if (look.probe.side == MEMTABLE_INSIDE && leaf_reach(memtable, &look, &visit)) {
        lookup->leaf = visit.node;
        lookup->sequence = visit.sequence;
        lookup->prefix_size = look.prefix_size;
    }
}

/* The first record whose head is not below: it need not be the one, only likely. */
void memtable_lookup_touch(const struct memtable_lookup *lookup)
{
    if (lookup->leaf == NULL) {
        return;
    }
    uint32_t count = MEMTABLE_LOAD(lookup->leaf->count);
    uint64_t head = memtable_key_head(lookup->key, MEMTABLE_LOAD(lookup->leaf->skip));
    uint32_t index = memtable_heads_lower_bound(lookup->leaf, 0, count, head);
    if (index < count) {
        memtable_record_prefetch(MEMTABLE_LOAD(lookup->leaf->records[index]));
    }
}

enum status memtable_lookup_end(const struct memtable_lookup *lookup, enum lsm_wait wait,
                                const struct memtable_record **record)
{
    if (lookup->leaf != NULL) {
        struct look look = {.probe = {.key = lookup->key, .side = MEMTABLE_INSIDE},
                            .prefix_size = lookup->prefix_size};
        struct visit visit = {.node = lookup->leaf, .sequence = lookup->sequence};
        const struct memtable_record *found = NULL;
        (void)memtable_node_lower_bound(visit.node, 0, &look.probe, &found);
        if (look_holds(lookup->memtable, &look, &visit)) {
            if (found == NULL) {
                return STATUS_NOT_FOUND;
            }
            *record = found;
            return STATUS_OK;
        }
    }
    return memtable_get(lookup->memtable, lookup->key, wait, record);
}

/* Copies entries [from, count) of the leaf. */
static bool cursor_copy_forward(struct memtable_cursor *cursor, const struct memtable_node *leaf,
                                uint32_t from)
{
    uint32_t count = MEMTABLE_LOAD(leaf->count);
    for (uint32_t i = from; i < count; i++) {
        const struct memtable_record *record = MEMTABLE_LOAD(leaf->records[i]);
        if (record == NULL) {
            return false;
        }
        cursor->records[cursor->record_count++] = record;
    }
    return true;
}

/* Copies entries [0, below) of the leaf downwards. */
static bool cursor_copy_reverse(struct memtable_cursor *cursor, const struct memtable_node *leaf,
                                uint32_t below)
{
    for (uint32_t i = below; i > 0; i--) {
        const struct memtable_record *record = MEMTABLE_LOAD(leaf->records[i - 1]);
        if (record == NULL) {
            return false;
        }
        cursor->records[cursor->record_count++] = record;
    }
    return true;
}

/* Copies what lies at or above `bound` in its leaf (or below it, for a cursor that goes down), or
 * all of the next leaf. `after`: what lies above it. */
static bool fill_try(struct memtable_cursor *cursor, struct slice bound, bool after)
{
    struct look look;
    struct visit visit;
    look_begin(&look, cursor->memtable, bound);
    look.last = cursor->reverse && bound.size == 0;
    cursor->record_index = 0;
    cursor->record_count = 0;
    if (!leaf_reach(cursor->memtable, &look, &visit)) {
        return false;
    }
    const struct memtable_record *equal = NULL;
    uint32_t count = MEMTABLE_LOAD(visit.node->count);
    uint32_t index =
        look.last ? count : memtable_node_lower_bound(visit.node, 0, &look.probe, &equal);
    index += after && equal != NULL ? 1 : 0;
    if (cursor->reverse ? index == 0 : index >= count) {
        const struct memtable_node *beside =
            cursor->reverse ? MEMTABLE_LOAD(visit.node->previous) : MEMTABLE_LOAD(visit.node->next);
        if (beside == NULL) {
            return look_holds(cursor->memtable, &look, &visit);
        }
        if (!visit_step(&visit, beside)) {
            return false;
        }
        index = cursor->reverse ? MEMTABLE_LOAD(beside->count) : 0;
    }
    bool copied = cursor->reverse ? cursor_copy_reverse(cursor, visit.node, index)
                                  : cursor_copy_forward(cursor, visit.node, index);
    /* The leaf to which the walk comes once these are shown. */
    const struct memtable_node *following =
        cursor->reverse ? MEMTABLE_LOAD(visit.node->previous) : MEMTABLE_LOAD(visit.node->next);
    if (following != NULL) {
        memtable_node_prefetch(following);
    }
    return copied && look_holds(cursor->memtable, &look, &visit);
}

/* Records of neighbouring keys lie anywhere: without this a walk waits for memory at each. */
MEMTABLE_PREFETCHING void cursor_prefetch(const struct memtable_cursor *cursor, uint32_t index)
{
    if (index < cursor->record_count) {
        memtable_record_prefetch(cursor->records[index]);
    }
}

/* Shows the record the cursor stands on. */
static enum status cursor_show(struct memtable_cursor *cursor)
{
    if (cursor->record_index >= cursor->record_count) {
        return STATUS_NOT_FOUND;
    }
    cursor_prefetch(cursor, cursor->record_index + CURSOR_AHEAD);
    const struct memtable_record *record = cursor->records[cursor->record_index];
    cursor->base.key = memtable_record_key(record);
    cursor->base.cell = memtable_record_cell(record);
    return STATUS_OK;
}

static enum status cursor_filled(struct memtable_cursor *cursor)
{
    for (uint32_t i = 0; i < CURSOR_AHEAD; i++) {
        cursor_prefetch(cursor, i);
    }
    return cursor_show(cursor);
}

/* STATUS_WOULD_BLOCK: the cursor has no records. */
static enum status cursor_fill(struct memtable_cursor *cursor, struct slice bound, bool after,
                               enum lsm_wait wait)
{
    for (uint32_t i = 0; i < MEMTABLE_TRY_COUNT; i++) {
        if (fill_try(cursor, bound, after)) {
            return cursor_filled(cursor);
        }
    }
    if (wait == LSM_NOWAIT) {
        cursor->record_count = 0;
        return STATUS_WOULD_BLOCK;
    }
    mutex_lock(cursor->memtable->writer);
    bool filled = fill_try(cursor, bound, after);
    mutex_unlock(cursor->memtable->writer);
    ASSERT(filled);
    return cursor_filled(cursor);
}

static struct memtable_cursor *cursor_of(struct cursor *base)
{
    return container_of(base, struct memtable_cursor, base);
}

static enum status memtable_cursor_seek(struct cursor *base, struct slice bound, enum lsm_wait wait)
{
    struct memtable_cursor *cursor = cursor_of(base);
    cursor->reverse = false;
    return cursor_fill(cursor, bound, false, wait);
}

static enum status memtable_cursor_seek_before(struct cursor *base, struct slice bound,
                                               enum lsm_wait wait)
{
    struct memtable_cursor *cursor = cursor_of(base);
    cursor->reverse = true;
    return cursor_fill(cursor, bound, false, wait);
}

/* The leaf may have been split since: looks for the last key again, then goes past it. */
static enum status cursor_step(struct memtable_cursor *cursor, enum lsm_wait wait)
{
    ASSERT(cursor->record_index < cursor->record_count);
    if (cursor->record_index + 1 < cursor->record_count) {
        cursor->record_index++;
        return cursor_show(cursor);
    }
    const struct memtable_record *last = cursor->records[cursor->record_index];
    enum status status = cursor_fill(cursor, memtable_record_key(last), !cursor->reverse, wait);
    if (status == STATUS_WOULD_BLOCK) { /* It stands where it stood. */
        cursor->records[0] = last;
        cursor->record_index = 0;
        cursor->record_count = 1;
    }
    return status;
}

static enum status memtable_cursor_next(struct cursor *base, enum lsm_wait wait)
{
    struct memtable_cursor *cursor = cursor_of(base);
    ASSERT(!cursor->reverse);
    return cursor_step(cursor, wait);
}

static enum status memtable_cursor_previous(struct cursor *base, enum lsm_wait wait)
{
    struct memtable_cursor *cursor = cursor_of(base);
    ASSERT(cursor->reverse);
    return cursor_step(cursor, wait);
}

static const struct cursor_ops memtable_cursor_ops = {
    .seek = memtable_cursor_seek,
    .seek_before = memtable_cursor_seek_before,
    .next = memtable_cursor_next,
    .previous = memtable_cursor_previous,
};

void memtable_cursor_open(struct memtable_cursor *cursor, const struct memtable *memtable)
{
    ASSERT(cursor != NULL);
    ASSERT(memtable != NULL);
    cursor->base = (struct cursor){.ops = &memtable_cursor_ops};
    cursor->memtable = memtable;
    cursor->record_count = 0;
    cursor->record_index = 0;
    cursor->reverse = false;
}
