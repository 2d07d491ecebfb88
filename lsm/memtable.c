/*
 * lsm/memtable.c -- a B+tree over immutable records.
 *
 * Invariants:
 *  (1) Leaves hold records in strictly ascending key order and are linked in that order.
 *  (2) Separator i of an inner node, from 1 on, is at or below every key under child i and above
 *      every key under child i - 1. Separator 0 only fills its place: keys below it may come.
 *  (3) All keys under a node begin with the same `skip` bytes, and so does every probe that is led
 *      to it. Its heads are the 8 bytes that follow, big-endian, zero-padded: they order keys, and
 *      where they tie the whole keys decide.
 *  (4) `skip` of a node at the left or right edge is at most `prefix_size`, what all keys of the
 *      memtable begin with; probes that do not begin so never come down. Elsewhere it is at most
 *      what the two separators beside the node have in common. So only edges ever shorten.
 *  (5) Only the writer changes nodes; the sequence of a node is odd while it does. A reader notes
 *      the sequence, reads, and believes what it read if the sequence is the same afterwards; on
 *      its way down it does so for each node once it has noted the child's, so that the child was
 *      the right one then. What it reads is atomic: stores are releases and loads acquires, so a
 *      load that saw a change makes the second look at the sequence see it too.
 *  (6) Nodes and records live as long as the memtable, and pointers in nodes are NULL or good: a
 *      reader that read nonsense followed it to no harm.
 *  (7) Full nodes are split on the way down, so a split never climbs. What a split needs is
 *      allocated before anything changes.
 *  (8) A split leaves at least a quarter of each part free, but at the right edge, where the new
 *      part begins with one key. So a level that has C nodes and gets n more entries is split at
 *      most C + n / 5 + 2 times: count for each entry above three quarters an eighth of a split.
 *
 * Source: Bayer, McCreight, "Organization and Maintenance of Large Ordered Indices" (1972), as a
 * B+tree; Leis et al., "The ART of Practical Synchronization" (2016), for (5). Changed: no deletes,
 * one writer, top-down splits, and a right-edge split that keeps ascending loads nearly full.
 */
#include "lsm/memtable.h"

#include "base/codec.h"
#include "base/contract.h"
#include "base/memory.h"
#include "lsm/memtable_node.h"

/* Where keys come behind all of a node, as they do when somebody writes a stretch in order. */
#define KEPT_BEFORE_OTHERS (MEMTABLE_FANOUT * 3 / 4)
#define KEPT_AT_RIGHT_EDGE (MEMTABLE_FANOUT - 1)
#define SKIP_GAIN_MIN 4u /* Heads are made anew when they could begin so many bytes later. */

static void change_begin(struct memtable_node *node)
{
    uint64_t sequence = MEMTABLE_OWN(node->sequence);
    ASSERT(sequence % 2 == 0);
    atomic_store_explicit(&node->sequence, sequence + 1, memory_order_relaxed);
}

static void change_end(struct memtable_node *node)
{
    MEMTABLE_STORE(node->sequence, MEMTABLE_OWN(node->sequence) + 1);
}

static uint32_t common_size(struct slice a, struct slice b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    size_t at = 0;
    while (at < size && a.data[at] == b.data[at]) {
        at++;
    }
    return (uint32_t)at;
}

static struct memtable_node *node_create(struct memtable *memtable, bool leaf)
{
    size_t size = sizeof(struct memtable_node);
    if (!leaf) {
        size += MEMTABLE_FANOUT * sizeof(struct memtable_node *);
    }
    struct memtable_node *node = arena_allocate_aligned(&memtable->arena, size, MEMTABLE_LINE_SIZE);
    if (node == NULL) {
        return NULL;
    }
    memset(node, 0, size); /* See (6). */
    node->leaf = leaf ? 1 : 0;
    return node;
}

struct memtable *memtable_create(size_t chunk_size, struct arena_pool *pool, struct mutex *writer)
{
    ASSERT(writer != NULL);
    struct memtable *memtable = memory_allocate_zeroed(1, sizeof(*memtable));
    if (memtable == NULL) {
        return NULL;
    }
    arena_init(&memtable->arena, chunk_size, pool);
    struct memtable_node *root = node_create(memtable, true);
    if (root == NULL) {
        arena_deinit(&memtable->arena);
        memory_free(memtable);
        return NULL;
    }
    memtable->writer = writer;
    atomic_init(&memtable->root, root);
    memtable->last_leaf = root;
    memtable->height = 1;
    memtable->node_counts[0] = 1;
    atomic_init(&memtable->first, NULL);
    atomic_init(&memtable->prefix_size, 0);
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
    memory_free(memtable);
}

/* Opens a gap at `index` and fills it. The caller has begun the change. */
static void node_insert(struct memtable_node *node, uint32_t index,
                        const struct memtable_record *record, struct memtable_node *child)
{
    uint32_t count = MEMTABLE_OWN(node->count);
    ASSERT(count < MEMTABLE_FANOUT);
    ASSERT(index <= count);
    for (uint32_t i = count; i > index; i--) {
        MEMTABLE_STORE(node->heads[i], MEMTABLE_OWN(node->heads[i - 1]));
    }
    for (uint32_t i = count; i > index; i--) {
        MEMTABLE_STORE(node->records[i], MEMTABLE_OWN(node->records[i - 1]));
    }
    for (uint32_t i = count; node->leaf == 0 && i > index; i--) {
        MEMTABLE_STORE(node->children[i], MEMTABLE_OWN(node->children[i - 1]));
    }
    MEMTABLE_STORE(node->heads[index],
                   memtable_key_head(memtable_record_key(record), MEMTABLE_OWN(node->skip)));
    MEMTABLE_STORE(node->records[index], record);
    if (node->leaf == 0) {
        MEMTABLE_STORE(node->children[index], child);
    }
    MEMTABLE_STORE(node->count, count + 1);
}

/* Heads from `skip` on, which holds for all keys under the node. */
static void node_skip_set(struct memtable_node *node, uint32_t skip)
{
    uint32_t count = MEMTABLE_OWN(node->count);
    MEMTABLE_STORE(node->skip, skip);
    for (uint32_t i = 0; i < count; i++) {
        MEMTABLE_STORE(
            node->heads[i],
            memtable_key_head(memtable_record_key(MEMTABLE_OWN(node->records[i])), skip));
    }
}

/* The separators beside a node; NULL: it lies at that edge. */
struct fences {
    const struct memtable_record *lower;
    const struct memtable_record *upper;
};

/* After a split: keys may have more in common now. Making heads anew touches every record, so it
 * is done when it gains much: a head then still tells keys apart in the bytes left to it. */
static void node_skip_gain(struct memtable_node *node, const struct fences *fences)
{
    if (fences->lower == NULL || fences->upper == NULL) {
        return; /* See (4). */
    }
    uint32_t common =
        common_size(memtable_record_key(fences->lower), memtable_record_key(fences->upper));
    if (common >= MEMTABLE_OWN(node->skip) + SKIP_GAIN_MIN) {
        node_skip_set(node, common);
    }
}

/* Moves the upper part of a full node to `right`, which no reader knows yet. */
static void node_split(struct memtable_node *node, struct memtable_node *right, uint32_t kept)
{
    uint32_t moved = MEMTABLE_OWN(node->count) - kept;
    MEMTABLE_STORE(right->skip, MEMTABLE_OWN(node->skip));
    for (uint32_t i = 0; i < moved; i++) {
        MEMTABLE_STORE(right->heads[i], MEMTABLE_OWN(node->heads[kept + i]));
        MEMTABLE_STORE(right->records[i], MEMTABLE_OWN(node->records[kept + i]));
        if (node->leaf == 0) {
            MEMTABLE_STORE(right->children[i], MEMTABLE_OWN(node->children[kept + i]));
        }
    }
    MEMTABLE_STORE(right->count, moved);
    MEMTABLE_STORE(node->count, kept);
}

/* The caller has begun the change of `node` and, if there is one, of the leaf after it. */
static void leaf_link(struct memtable *memtable, struct memtable_node *node,
                      struct memtable_node *right)
{
    struct memtable_node *next = MEMTABLE_OWN(node->next);
    MEMTABLE_STORE(right->next, next);
    MEMTABLE_STORE(right->previous, node);
    MEMTABLE_STORE(node->next, right);
    if (next != NULL) {
        MEMTABLE_STORE(next->previous, right);
    } else {
        memtable->last_leaf = right;
    }
}

static enum status root_grow(struct memtable *memtable)
{
    ASSERT(memtable->height < MEMTABLE_HEIGHT_MAX);
    struct memtable_node *root = node_create(memtable, false);
    if (root == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct memtable_node *old = MEMTABLE_OWN(memtable->root);
    MEMTABLE_STORE(root->skip, MEMTABLE_OWN(memtable->prefix_size));
    node_insert(root, 0, MEMTABLE_OWN(old->records[0]), old);
    MEMTABLE_STORE(memtable->root, root); /* The old one is split after this. */
    memtable->node_counts[memtable->height] = 1;
    memtable->height++;
    return STATUS_OK;
}

/* How many entries a full node keeps when it is split for the probe; see (8). */
static uint32_t split_kept(const struct memtable_node *node, const struct memtable_probe *probe,
                           const struct fences *fences)
{
    struct slice greatest = memtable_record_key(MEMTABLE_OWN(node->records[MEMTABLE_FANOUT - 1]));
    if (slice_compare(probe->key, greatest) <= 0) {
        return MEMTABLE_FANOUT / 2;
    }
    return fences->upper == NULL ? KEPT_AT_RIGHT_EDGE : KEPT_BEFORE_OTHERS;
}

/* Splits full child `index` of `parent`, which has room and lies at `level`. `fences` are the
 * child's. */
static enum status child_split(struct memtable *memtable, struct memtable_node *parent,
                               uint32_t level, uint32_t index, const struct memtable_probe *probe,
                               const struct fences *fences)
{
    struct memtable_node *child = MEMTABLE_OWN(parent->children[index]);
    struct memtable_node *right = node_create(memtable, child->leaf == 1);
    if (right == NULL) {
        return STATUS_NO_MEMORY;
    }
    uint32_t kept = split_kept(child, probe, fences);
    struct memtable_node *next = child->leaf == 1 ? MEMTABLE_OWN(child->next) : NULL;
    change_begin(parent);
    change_begin(child);
    if (next != NULL) {
        change_begin(next);
    }
    memtable->node_counts[level - 1]++;
    node_split(child, right, kept);
    const struct memtable_record *middle = MEMTABLE_OWN(right->records[0]);
    node_skip_gain(child, &(struct fences){.lower = fences->lower, .upper = middle});
    node_skip_gain(right, &(struct fences){.lower = middle, .upper = fences->upper});
    if (child->leaf == 1) {
        leaf_link(memtable, child, right);
    }
    node_insert(parent, index + 1, middle, right);
    if (next != NULL) {
        change_end(next);
    }
    change_end(child);
    change_end(parent);
    return STATUS_OK;
}

static void fences_narrow(struct fences *fences, const struct memtable_node *node, uint32_t index)
{
    if (index > 0) {
        fences->lower = MEMTABLE_OWN(node->records[index]);
    }
    if (index + 1 < MEMTABLE_OWN(node->count)) {
        fences->upper = MEMTABLE_OWN(node->records[index + 1]);
    }
}

/* The leaf for the probe, with room for one more; see (7). */
static enum status leaf_for_insert(struct memtable *memtable, const struct memtable_probe *probe,
                                   struct memtable_node **leaf)
{
    if (MEMTABLE_OWN(MEMTABLE_OWN(memtable->root)->count) == MEMTABLE_FANOUT) {
        enum status status = root_grow(memtable);
        if (status != STATUS_OK) {
            return status;
        }
    }
    struct memtable_node *node = MEMTABLE_OWN(memtable->root);
    struct fences fences = {0};
    for (uint32_t level = memtable->height - 1; level > 0; level--) {
        uint32_t index = memtable_node_child(node, probe);
        struct memtable_node *child = MEMTABLE_OWN(node->children[index]);
        memtable_node_prefetch(child);
        if (MEMTABLE_OWN(child->count) == MEMTABLE_FANOUT) {
            struct fences beside = fences;
            fences_narrow(&beside, node, index);
            enum status status = child_split(memtable, node, level, index, probe, &beside);
            if (status != STATUS_OK) {
                return status;
            }
            const struct memtable_record *middle = MEMTABLE_OWN(node->records[index + 1]);
            if (slice_compare(probe->key, memtable_record_key(middle)) >= 0) {
                index++;
            }
        }
        fences_narrow(&fences, node, index);
        node = MEMTABLE_OWN(node->children[index]);
    }
    *leaf = node;
    return STATUS_OK;
}

/* Nodes at an edge, down from the root, shorten what they skip. */
static void edge_shorten(struct memtable_node *node, bool right, uint32_t prefix_size)
{
    while (node != NULL) {
        if (MEMTABLE_OWN(node->skip) > prefix_size) {
            change_begin(node);
            node_skip_set(node, prefix_size);
            change_end(node);
        }
        node = node->leaf == 1
                   ? NULL
                   : MEMTABLE_OWN(node->children[right ? MEMTABLE_OWN(node->count) - 1 : 0]);
    }
}

/* Whether the key begins like all others, if there are any. */
static bool is_inside(const struct memtable *memtable, struct slice key)
{
    const struct memtable_record *first = MEMTABLE_OWN(memtable->first);
    uint32_t size = MEMTABLE_OWN(memtable->prefix_size);
    return first == NULL || (key.size >= size && memcmp(key.data, first->bytes, size) == 0);
}

/* Makes way for a key that may not begin like the others; see (4). */
static void prefix_shorten(struct memtable *memtable, struct slice key)
{
    if (is_inside(memtable, key)) {
        return;
    }
    const struct memtable_record *first = MEMTABLE_OWN(memtable->first);
    uint32_t size = MEMTABLE_OWN(memtable->prefix_size);
    uint32_t common = common_size(key, slice_make(first->bytes, size));
    MEMTABLE_STORE(memtable->prefix_size, common);
    edge_shorten(MEMTABLE_OWN(memtable->root), false, common);
    edge_shorten(MEMTABLE_OWN(memtable->root), true, common);
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

/* Cells here were encoded by us: they decode. */
static struct cell cell_of(struct slice encoded)
{
    struct cell cell;
    enum status status = cell_decode(encoded, &cell);
    ASSERT(status == STATUS_OK);
    return cell;
}

/* The writer alone counts: no locked instruction. */
static void counter_add(_Atomic uint64_t *counter, uint64_t more)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + more, memory_order_relaxed);
}

static void counts_update(struct memtable *memtable, const struct cell *cell,
                          const struct cell *replaced)
{
    uint64_t was = replaced != NULL && replaced->kind == CELL_DELETE ? 1 : 0;
    uint64_t is = cell->kind == CELL_DELETE ? 1 : 0;
    if (is != was) {
        counter_add(&memtable->tombstone_count, is - was);
    }
    if (replaced == NULL) {
        counter_add(&memtable->key_count, 1);
    }
    atomic_store_explicit(&memtable->size, arena_used_size(&memtable->arena), memory_order_relaxed);
    if (version_compare(cell->version, memtable->version_max) > 0) {
        memtable->version_max = cell->version;
    }
}

/* Whether the key goes behind all others, in a leaf that has room: then nothing is searched. */
static bool is_append(const struct memtable *memtable, struct slice key)
{
    const struct memtable_node *leaf = memtable->last_leaf;
    uint32_t count = MEMTABLE_OWN(leaf->count);
    return memtable->appending && count > 0 && count < MEMTABLE_FANOUT &&
           slice_compare(key, memtable_record_key(MEMTABLE_OWN(leaf->records[count - 1]))) > 0;
}

static enum status record_insert(struct memtable *memtable, struct memtable_node *leaf,
                                 uint32_t index, struct slice key, struct slice encoded_cell)
{
    const struct memtable_record *record = record_create(memtable, key, encoded_cell);
    if (record == NULL) {
        return STATUS_NO_MEMORY;
    }
    memtable->appending = MEMTABLE_OWN(leaf->next) == NULL && index == MEMTABLE_OWN(leaf->count);
    change_begin(leaf);
    if (MEMTABLE_OWN(memtable->first) ==
        NULL) { /* All keys there are begin with all of this one. */
        MEMTABLE_STORE(memtable->first, record);
        MEMTABLE_STORE(memtable->prefix_size, (uint32_t)key.size);
        node_skip_set(leaf, (uint32_t)key.size);
    }
    node_insert(leaf, index, record, NULL);
    change_end(leaf);
    return STATUS_OK;
}

/* What the nodes take that so many merges may make; see (8). */
static uint64_t nodes_size_max(const struct memtable *memtable, uint64_t merge_count)
{
    static const uint64_t leaf_size =
        ARENA_PIECE_SIZE(sizeof(struct memtable_node), MEMTABLE_LINE_SIZE);
    static const uint64_t inner_size = ARENA_PIECE_SIZE(
        sizeof(struct memtable_node) + MEMTABLE_FANOUT * sizeof(struct memtable_node *),
        MEMTABLE_LINE_SIZE);
    if (merge_count == 1) { /* A node a level, and a root above them. */
        return leaf_size + memtable->height * inner_size;
    }
    uint64_t size = 0;
    uint64_t added = merge_count; /* Entries to nodes of the level. */
    for (uint32_t level = 0; level < MEMTABLE_HEIGHT_MAX && added > 0; level++) {
        bool there = level < memtable->height;
        uint64_t splits = (there ? memtable->node_counts[level] : 1) + added / 5 + 2;
        splits = splits < merge_count ? splits : merge_count;
        if (!there) { /* A root that grew, with one entry, to which these come. */
            size += inner_size;
            splits = added + 1 < MEMTABLE_FANOUT ? 0 : splits;
        }
        size += splits * (level == 0 ? leaf_size : inner_size);
        added = splits;
    }
    return size;
}

bool memtable_reserve(struct memtable *memtable, uint32_t record_count, uint64_t size)
{
    uint64_t each = ARENA_PIECE_SIZE(sizeof(struct memtable_record), 0);
    size += record_count * each + nodes_size_max(memtable, record_count);
    return arena_reserve(&memtable->arena, (size_t)size);
}

static enum status record_replace(struct memtable *memtable, struct memtable_node *leaf,
                                  uint32_t index, struct slice key, struct slice encoded_cell)
{
    const struct memtable_record *record = record_create(memtable, key, encoded_cell);
    if (record == NULL) {
        return STATUS_NO_MEMORY;
    }
    MEMTABLE_STORE(leaf->records[index],
                   record); /* Old or new, a reader has a record of this key. */
    return STATUS_OK;
}

void memtable_locate(const struct memtable *memtable, struct slice key,
                     struct memtable_place *place)
{
    ASSERT(memtable != NULL);
    *place = (struct memtable_place){.leaf = NULL};
    if (!is_inside(memtable, key) || is_append(memtable, key)) {
        return; /* Nothing can be, or need be, learned. */
    }
    struct memtable_probe probe = {.key = key, .side = MEMTABLE_INSIDE};
    struct memtable_node *parent = NULL;
    struct memtable_node *node = MEMTABLE_OWN(memtable->root);
    for (uint32_t level = memtable->height - 1; level > 0; level--) {
        parent = node;
        node = MEMTABLE_OWN(parent->children[memtable_node_child(parent, &probe)]);
        memtable_node_prefetch(node); /* The leaf is not looked at: that would be to wait for it. */
    }
    *place = (struct memtable_place){
        .leaf = node,
        .parent = parent,
        .sequence = parent == NULL ? 0 : MEMTABLE_OWN(parent->sequence),
    };
}

/* Whether the located leaf is still the one, and has room. A leaf gives keys away only when it is
 * split itself, which changes its parent; and it takes over none. */
static bool place_holds(const struct memtable *memtable, const struct memtable_place *place)
{
    if (place->leaf == NULL) {
        return false;
    }
    bool same = place->parent == NULL ? place->leaf == MEMTABLE_OWN(memtable->root)
                                      : place->sequence == MEMTABLE_OWN(place->parent->sequence);
    return same && MEMTABLE_OWN(place->leaf->count) < MEMTABLE_FANOUT;
}

enum status memtable_merge(struct memtable *memtable, struct slice key, struct slice encoded_cell)
{
    struct memtable_place nowhere = {.leaf = NULL};
    return memtable_merge_at(memtable, &nowhere, key, encoded_cell);
}

enum status memtable_merge_at(struct memtable *memtable, const struct memtable_place *place,
                              struct slice key, struct slice encoded_cell)
{
    ASSERT(memtable != NULL);
    ASSERT(key.size > 0);
    struct cell cell = cell_of(encoded_cell);
    struct memtable_probe probe = {.key = key, .side = MEMTABLE_INSIDE};
    struct memtable_node *leaf = memtable->last_leaf;
    const struct memtable_record *equal = NULL;
    uint32_t index = 0;
    prefix_shorten(memtable, key);
    if (is_append(memtable, key)) {
        index = MEMTABLE_OWN(leaf->count);
    } else if (place_holds(memtable, place)) {
        leaf = place->leaf;
        index = memtable_node_lower_bound(leaf, 0, &probe, &equal);
    } else {
        enum status status = leaf_for_insert(memtable, &probe, &leaf);
        if (status != STATUS_OK) {
            return status;
        }
        index = memtable_node_lower_bound(leaf, 0, &probe, &equal);
    }
    if (equal == NULL) {
        enum status status = record_insert(memtable, leaf, index, key, encoded_cell);
        if (status == STATUS_OK) {
            counts_update(memtable, &cell, NULL);
        }
        return status;
    }
    struct cell replaced = cell_of(memtable_record_cell(equal));
    if (cell_compare(&cell, &replaced) <= 0) {
        return STATUS_OK;
    }
    enum status status = record_replace(memtable, leaf, index, key, encoded_cell);
    if (status == STATUS_OK) {
        counts_update(memtable, &cell, &replaced);
    }
    return status;
}
