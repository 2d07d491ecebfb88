/*
 * lsm/memtable.c -- a B+tree over immutable records.
 *
 * Invariants:
 *  (1) Leaves hold records in strictly ascending key order and are linked in that order.
 *  (2) separator i of an inner node is at or below every key under child i (child 0: no bound),
 *      and above every key under child i - 1.
 *  (3) high and low are the first 16 key bytes, big-endian, zero-padded: they order keys, and
 *      where they tie the whole keys decide.
 *  (4) Only the writer changes nodes, and only under the mutex; so the writer itself may read
 *      without it.
 *  (5) Full nodes are split on the way down, so a split never climbs. What a split needs is
 *      allocated before anything changes.
 *
 * Source: Bayer, McCreight, "Organization and Maintenance of Large Ordered Indices" (1972), as a
 * B+tree. Changed: no deletes, top-down splits, and a right-edge split that keeps ascending loads
 * nearly full.
 */
#include "lsm/memtable.h"

#include "base/codec.h"
#include "base/contract.h"
#include "base/list.h"
#include "base/memory.h"

#define MEMTABLE_HEIGHT_MAX 16u

struct memtable_node {
    uint32_t count;
    uint32_t leaf;                  /* 1 or 0. */
    struct memtable_node *next;     /* Leaves only. */
    struct memtable_node *previous; /* Leaves only. */
    uint64_t high[MEMTABLE_FANOUT];
    uint64_t low[MEMTABLE_FANOUT];
    const struct memtable_record *records[MEMTABLE_FANOUT]; /* Cells, or separators. */
    struct memtable_node *children[];                       /* Inner nodes: MEMTABLE_FANOUT. */
};

/* A key with its integer prefix, made once per operation. */
struct probe {
    struct slice key;
    uint64_t high;
    uint64_t low;
};

static struct probe probe_make(struct slice key)
{
    uint8_t bytes[16] = {0};
    if (key.size > 0) {
        memcpy(bytes, key.data, key.size < sizeof(bytes) ? key.size : sizeof(bytes));
    }
    return (struct probe){
        .key = key, .high = codec_load_be(bytes, 8), .low = codec_load_be(bytes + 8, 8)};
}

/* Negative: the probe sorts before entry `index`. */
static int probe_compare(const struct probe *probe, const struct memtable_node *node,
                         uint32_t index)
{
    if (probe->high != node->high[index]) {
        return probe->high < node->high[index] ? -1 : 1;
    }
    if (probe->low != node->low[index]) {
        return probe->low < node->low[index] ? -1 : 1;
    }
    return slice_compare(probe->key, memtable_record_key(node->records[index]));
}

/* The first index at or above the probe; *equal tells which. */
static uint32_t node_lower_bound(const struct memtable_node *node, const struct probe *probe,
                                 bool *equal)
{
    uint32_t low = 0;
    uint32_t high = node->count;
    *equal = false;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = probe_compare(probe, node, middle);
        if (order == 0) {
            *equal = true;
            return middle;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* The child that covers the probe; see (2). */
static uint32_t node_child_index(const struct memtable_node *node, const struct probe *probe)
{
    bool equal = false;
    uint32_t index = node_lower_bound(node, probe, &equal);
    if (equal || index == 0) {
        return index;
    }
    return index - 1;
}

static struct memtable_node *node_create(struct memtable *memtable, bool leaf)
{
    size_t size = sizeof(struct memtable_node);
    if (!leaf) {
        size += MEMTABLE_FANOUT * sizeof(struct memtable_node *);
    }
    struct memtable_node *node = arena_allocate(&memtable->arena, size);
    if (node == NULL) {
        return NULL;
    }
    node->count = 0;
    node->leaf = leaf ? 1 : 0;
    node->next = NULL;
    node->previous = NULL;
    return node;
}

struct memtable *memtable_create(size_t chunk_size)
{
    struct memtable *memtable = memory_allocate_zeroed(1, sizeof(*memtable));
    if (memtable == NULL) {
        return NULL;
    }
    arena_init(&memtable->arena, chunk_size);
    memtable->root = node_create(memtable, true);
    if (memtable->root == NULL) {
        arena_deinit(&memtable->arena);
        memory_free(memtable);
        return NULL;
    }
    mutex_init(&memtable->mutex);
    memtable->height = 1;
    atomic_init(&memtable->references, 1);
    atomic_init(&memtable->size, 0);
    atomic_init(&memtable->key_count, 0);
    atomic_init(&memtable->tombstone_count, 0);
    return memtable;
}

void memtable_reference(struct memtable *memtable)
{
    ASSERT(memtable != NULL);
    unsigned before = atomic_fetch_add_explicit(&memtable->references, 1, memory_order_relaxed);
    ASSERT(before > 0);
}

bool memtable_release(struct memtable *memtable)
{
    ASSERT(memtable != NULL);
    unsigned before = atomic_fetch_sub_explicit(&memtable->references, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    return before == 1;
}

void memtable_destroy(struct memtable *memtable)
{
    ASSERT(memtable != NULL);
    ASSERT(atomic_load_explicit(&memtable->references, memory_order_relaxed) == 0);
    arena_deinit(&memtable->arena);
    mutex_deinit(&memtable->mutex);
    memory_free(memtable);
}

/* Opens a gap at `index`. Under the mutex. */
static void node_open_gap(struct memtable_node *node, uint32_t index)
{
    ASSERT(node->count < MEMTABLE_FANOUT);
    size_t moved = node->count - index;
    memmove(&node->high[index + 1], &node->high[index], moved * sizeof(node->high[0]));
    memmove(&node->low[index + 1], &node->low[index], moved * sizeof(node->low[0]));
    memmove(&node->records[index + 1], &node->records[index], moved * sizeof(node->records[0]));
    if (node->leaf == 0) {
        memmove(&node->children[index + 1], &node->children[index],
                moved * sizeof(node->children[0]));
    }
    node->count++;
}

static void node_set(struct memtable_node *node, uint32_t index,
                     const struct memtable_record *record)
{
    struct probe probe = probe_make(memtable_record_key(record));
    node->high[index] = probe.high;
    node->low[index] = probe.low;
    node->records[index] = record;
}

/* Moves the upper part of a full node to `right`. Under the mutex. */
static void node_split(struct memtable_node *node, struct memtable_node *right,
                       const struct probe *probe)
{
    ASSERT(node->count == MEMTABLE_FANOUT);
    bool at_edge = probe_compare(probe, node, node->count - 1) > 0;
    uint32_t kept = at_edge ? MEMTABLE_FANOUT - 1 : MEMTABLE_FANOUT / 2;
    uint32_t moved = node->count - kept;
    memcpy(right->high, &node->high[kept], moved * sizeof(node->high[0]));
    memcpy(right->low, &node->low[kept], moved * sizeof(node->low[0]));
    memcpy(right->records, &node->records[kept], moved * sizeof(node->records[0]));
    if (node->leaf == 0) {
        memcpy(right->children, &node->children[kept], moved * sizeof(node->children[0]));
    } else {
        right->next = node->next;
        right->previous = node;
        if (node->next != NULL) {
            node->next->previous = right;
        }
        node->next = right;
    }
    right->count = moved;
    node->count = kept;
}

static enum status root_grow(struct memtable *memtable)
{
    ASSERT(memtable->height < MEMTABLE_HEIGHT_MAX);
    struct memtable_node *root = node_create(memtable, false);
    if (root == NULL) {
        return STATUS_NO_MEMORY;
    }
    root->count = 1;
    node_set(root, 0, memtable->root->records[0]);
    root->children[0] = memtable->root;
    mutex_lock(&memtable->mutex);
    memtable->root = root;
    memtable->height++;
    mutex_unlock(&memtable->mutex);
    return STATUS_OK;
}

/* Splits full child `index` of `parent`, which has room. */
static enum status child_split(struct memtable *memtable, struct memtable_node *parent,
                               uint32_t index, const struct probe *probe)
{
    struct memtable_node *child = parent->children[index];
    struct memtable_node *right = node_create(memtable, child->leaf == 1);
    if (right == NULL) {
        return STATUS_NO_MEMORY;
    }
    mutex_lock(&memtable->mutex);
    node_split(child, right, probe);
    node_open_gap(parent, index + 1);
    node_set(parent, index + 1, right->records[0]);
    parent->children[index + 1] = right;
    mutex_unlock(&memtable->mutex);
    return STATUS_OK;
}

/* The leaf for the probe, with room for one more; see (4) and (5). */
static enum status leaf_for_insert(struct memtable *memtable, const struct probe *probe,
                                   struct memtable_node **leaf)
{
    if (memtable->root->count == MEMTABLE_FANOUT) {
        enum status status = root_grow(memtable);
        if (status != STATUS_OK) {
            return status;
        }
    }
    struct memtable_node *node = memtable->root;
    while (node->leaf == 0) {
        uint32_t index = node_child_index(node, probe);
        if (node->children[index]->count == MEMTABLE_FANOUT) {
            enum status status = child_split(memtable, node, index, probe);
            if (status != STATUS_OK) {
                return status;
            }
            if (probe_compare(probe, node, index + 1) >= 0) {
                index++;
            }
        }
        node = node->children[index];
    }
    *leaf = node;
    return STATUS_OK;
}

static const struct memtable_record *record_create(struct memtable *memtable, struct slice key,
                                                   struct slice encoded_cell)
{
    struct memtable_record *record = arena_allocate(
        &memtable->arena, sizeof(struct memtable_record) + key.size + encoded_cell.size);
    if (record == NULL) {
        return NULL;
    }
    record->key_size = (uint32_t)key.size;
    record->cell_size = (uint32_t)encoded_cell.size;
    memcpy(record->bytes, key.data, key.size);
    memcpy(record->bytes + key.size, encoded_cell.data, encoded_cell.size);
    return record;
}

/* A record of this memtable was encoded by us: it decodes. */
static struct cell record_decode(const struct memtable_record *record)
{
    struct cell cell;
    enum status status = cell_decode(memtable_record_cell(record), &cell);
    ASSERT(status == STATUS_OK);
    return cell;
}

static void counts_update(struct memtable *memtable, const struct cell *cell,
                          const struct cell *replaced)
{
    uint64_t was = replaced != NULL && replaced->kind == CELL_DELETE ? 1 : 0;
    uint64_t is = cell->kind == CELL_DELETE ? 1 : 0;
    atomic_fetch_add_explicit(&memtable->tombstone_count, is - was, memory_order_relaxed);
    if (replaced == NULL) {
        atomic_fetch_add_explicit(&memtable->key_count, 1, memory_order_relaxed);
    }
    atomic_store_explicit(&memtable->size, memtable->arena.size - memtable->arena.left,
                          memory_order_relaxed);
    if (version_compare(cell->version, memtable->version_max) > 0) {
        memtable->version_max = cell->version;
    }
}

enum status memtable_merge(struct memtable *memtable, struct slice key, struct slice encoded_cell)
{
    ASSERT(memtable != NULL);
    ASSERT(key.size > 0);
    struct cell cell;
    enum status status = cell_decode(encoded_cell, &cell);
    ASSERT(status == STATUS_OK);
    struct probe probe = probe_make(key);
    struct memtable_node *leaf = NULL;
    status = leaf_for_insert(memtable, &probe, &leaf);
    if (status != STATUS_OK) {
        return status;
    }
    bool equal = false;
    uint32_t index = node_lower_bound(leaf, &probe, &equal);
    struct cell replaced;
    if (equal) {
        replaced = record_decode(leaf->records[index]);
        if (cell_compare(&cell, &replaced) <= 0) {
            return STATUS_OK;
        }
    }
    const struct memtable_record *record = record_create(memtable, key, encoded_cell);
    if (record == NULL) {
        return STATUS_NO_MEMORY;
    }
    mutex_lock(&memtable->mutex);
    if (!equal) {
        node_open_gap(leaf, index);
        leaf->high[index] = probe.high;
        leaf->low[index] = probe.low;
    }
    leaf->records[index] = record;
    mutex_unlock(&memtable->mutex);
    counts_update(memtable, &cell, equal ? &replaced : NULL);
    return STATUS_OK;
}

/* Under the mutex. */
static struct memtable_node *leaf_find(const struct memtable *memtable, const struct probe *probe)
{
    struct memtable_node *node = memtable->root;
    while (node->leaf == 0) {
        node = node->children[node_child_index(node, probe)];
    }
    return node;
}

enum status memtable_get(struct memtable *memtable, struct slice key,
                         const struct memtable_record **record)
{
    ASSERT(memtable != NULL);
    struct probe probe = probe_make(key);
    bool equal = false;
    mutex_lock(&memtable->mutex);
    const struct memtable_node *leaf = leaf_find(memtable, &probe);
    uint32_t index = node_lower_bound(leaf, &probe, &equal);
    const struct memtable_record *found = equal ? leaf->records[index] : NULL;
    mutex_unlock(&memtable->mutex);
    if (found == NULL) {
        return STATUS_NOT_FOUND;
    }
    *record = found;
    return STATUS_OK;
}

/* Copies entries [from, count) of the leaf, or of the next one that has any. Under the mutex. */
static void cursor_fill_forward(struct memtable_cursor *cursor, const struct memtable_node *leaf,
                                uint32_t from)
{
    while (leaf != NULL && from >= leaf->count) {
        leaf = leaf->next;
        from = 0;
    }
    cursor->record_index = 0;
    cursor->record_count = 0;
    if (leaf == NULL) {
        return;
    }
    for (uint32_t i = from; i < leaf->count; i++) {
        cursor->records[cursor->record_count++] = leaf->records[i];
    }
}

/* Copies entries [0, below) of the leaf downwards, or of the previous one that has any. */
static void cursor_fill_reverse(struct memtable_cursor *cursor, const struct memtable_node *leaf,
                                uint32_t below)
{
    while (leaf != NULL && below == 0) {
        leaf = leaf->previous;
        below = leaf == NULL ? 0 : leaf->count;
    }
    cursor->record_index = 0;
    cursor->record_count = 0;
    if (leaf == NULL) {
        return;
    }
    for (uint32_t i = below; i > 0; i--) {
        cursor->records[cursor->record_count++] = leaf->records[i - 1];
    }
}

/* Under the mutex. */
static const struct memtable_node *leaf_last(const struct memtable *memtable)
{
    const struct memtable_node *node = memtable->root;
    while (node->leaf == 0) {
        node = node->children[node->count - 1];
    }
    return node;
}

/* Shows the record the cursor stands on. */
static enum status cursor_show(struct memtable_cursor *cursor)
{
    if (cursor->record_index >= cursor->record_count) {
        return STATUS_NOT_FOUND;
    }
    const struct memtable_record *record = cursor->records[cursor->record_index];
    cursor->base.key = memtable_record_key(record);
    cursor->base.cell = memtable_record_cell(record);
    return STATUS_OK;
}

static struct memtable_cursor *cursor_of(struct cursor *base)
{
    return container_of(base, struct memtable_cursor, base);
}

static enum status memtable_cursor_seek(struct cursor *base, struct slice bound, enum lsm_wait wait)
{
    (void)wait; /* Always in memory. */
    struct memtable_cursor *cursor = cursor_of(base);
    struct memtable *memtable = cursor->memtable;
    struct probe probe = probe_make(bound);
    bool equal = false;
    cursor->reverse = false;
    mutex_lock(&memtable->mutex);
    const struct memtable_node *leaf = leaf_find(memtable, &probe);
    cursor_fill_forward(cursor, leaf, node_lower_bound(leaf, &probe, &equal));
    mutex_unlock(&memtable->mutex);
    return cursor_show(cursor);
}

static enum status memtable_cursor_seek_before(struct cursor *base, struct slice bound,
                                               enum lsm_wait wait)
{
    (void)wait;
    struct memtable_cursor *cursor = cursor_of(base);
    struct memtable *memtable = cursor->memtable;
    struct probe probe = probe_make(bound);
    bool equal = false;
    cursor->reverse = true;
    mutex_lock(&memtable->mutex);
    if (bound.size == 0) {
        const struct memtable_node *leaf = leaf_last(memtable);
        cursor_fill_reverse(cursor, leaf, leaf->count);
    } else {
        const struct memtable_node *leaf = leaf_find(memtable, &probe);
        cursor_fill_reverse(cursor, leaf, node_lower_bound(leaf, &probe, &equal));
    }
    mutex_unlock(&memtable->mutex);
    return cursor_show(cursor);
}

static enum status memtable_cursor_next(struct cursor *base, enum lsm_wait wait)
{
    (void)wait;
    struct memtable_cursor *cursor = cursor_of(base);
    ASSERT(!cursor->reverse);
    ASSERT(cursor->record_index < cursor->record_count);
    cursor->record_index++;
    if (cursor->record_index < cursor->record_count) {
        return cursor_show(cursor);
    }
    /* The leaf may have been split since: look for the last key again, then go past it. */
    struct probe probe = probe_make(memtable_record_key(cursor->records[cursor->record_count - 1]));
    bool equal = false;
    mutex_lock(&cursor->memtable->mutex);
    const struct memtable_node *leaf = leaf_find(cursor->memtable, &probe);
    uint32_t index = node_lower_bound(leaf, &probe, &equal);
    ASSERT(equal);
    cursor_fill_forward(cursor, leaf, index + 1);
    mutex_unlock(&cursor->memtable->mutex);
    return cursor_show(cursor);
}

static enum status memtable_cursor_previous(struct cursor *base, enum lsm_wait wait)
{
    struct memtable_cursor *cursor = cursor_of(base);
    ASSERT(cursor->reverse);
    ASSERT(cursor->record_index < cursor->record_count);
    cursor->record_index++;
    if (cursor->record_index < cursor->record_count) {
        return cursor_show(cursor);
    }
    return memtable_cursor_seek_before(
        base, memtable_record_key(cursor->records[cursor->record_count - 1]), wait);
}

static const struct cursor_ops memtable_cursor_ops = {
    .seek = memtable_cursor_seek,
    .seek_before = memtable_cursor_seek_before,
    .next = memtable_cursor_next,
    .previous = memtable_cursor_previous,
};

void memtable_cursor_open(struct memtable_cursor *cursor, struct memtable *memtable)
{
    ASSERT(cursor != NULL);
    ASSERT(memtable != NULL);
    cursor->base = (struct cursor){.ops = &memtable_cursor_ops};
    cursor->memtable = memtable;
    cursor->record_count = 0;
    cursor->record_index = 0;
    cursor->reverse = false;
}
