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
 *
 * Source: Bayer, McCreight, "Organization and Maintenance of Large Ordered Indices" (1972), as a
 * B+tree; Leis et al., "The ART of Practical Synchronization" (2016), for (5). Changed: no deletes,
 * one writer, top-down splits, and a right-edge split that keeps ascending loads nearly full.
 */
#include "lsm/memtable.h"

#include "base/codec.h"
#include "base/contract.h"
#include "base/list.h"
#include "base/memory.h"

#define MEMTABLE_HEIGHT_MAX 16u
#define MEMTABLE_TRY_COUNT 8u /* Before a reader takes the writer's lock, or gives up. */
#define HEAD_SIZE 8u
#define SKIP_GAIN_MIN 4u /* Heads are made anew when they could begin so many bytes later. */
#define CACHE_LINE_SIZE 64u
#define CURSOR_AHEAD 8u /* Records a cursor asks for before it comes to them. */

struct memtable_node {
    _Atomic uint64_t sequence; /* Odd while the writer changes the node. */
    _Atomic uint32_t count;
    _Atomic uint32_t skip;
    uint32_t leaf;                            /* 1 or 0; never changes. */
    _Atomic(struct memtable_node *) next;     /* Leaves only. */
    _Atomic(struct memtable_node *) previous; /* Leaves only. */
    uint8_t padding[CACHE_LINE_SIZE - 40];
    _Atomic uint64_t heads[MEMTABLE_FANOUT];
    _Atomic(const struct memtable_record *) records[MEMTABLE_FANOUT]; /* Cells, or separators. */
    _Atomic(struct memtable_node *) children[]; /* Inner nodes: MEMTABLE_FANOUT. */
};
STATIC_ASSERT(offsetof(struct memtable_node, heads) == CACHE_LINE_SIZE, "heads begin a line");

/* Where a key lies compared with what all keys of the memtable begin with. */
enum side { SIDE_BELOW, SIDE_INSIDE, SIDE_ABOVE };

struct probe {
    struct slice key;
    enum side side;
};

#define LOAD(place) atomic_load_explicit(&(place), memory_order_acquire)
#define STORE(place, value) atomic_store_explicit(&(place), value, memory_order_release)
/* Of the writer, of what only it changes. */
#define OWN(place) atomic_load_explicit(&(place), memory_order_relaxed)

static void change_begin(struct memtable_node *node)
{
    uint64_t sequence = OWN(node->sequence);
    ASSERT(sequence % 2 == 0);
    atomic_store_explicit(&node->sequence, sequence + 1, memory_order_relaxed);
}

static void change_end(struct memtable_node *node)
{
    STORE(node->sequence, OWN(node->sequence) + 1);
}

/* See (3). */
static inline uint64_t key_head(struct slice key, uint32_t skip)
{
    if (key.size >= (size_t)skip + HEAD_SIZE) {
        return codec_load_be64(key.data + skip);
    }
    uint8_t bytes[HEAD_SIZE] = {0};
    if (key.size > skip) {
        memcpy(bytes, key.data + skip, key.size - skip);
    }
    return codec_load_be64(bytes);
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

/* The first of `count` heads from `base` on that is not below `head`; no branch to mispredict. */
static inline uint32_t heads_lower_bound(const struct memtable_node *node, uint32_t base,
                                         uint32_t count, uint64_t head)
{
    while (count > 1) {
        uint32_t half = count / 2;
        base += LOAD(node->heads[base + half - 1]) < head ? half : 0;
        count -= half;
    }
    return base + (count == 1 && LOAD(node->heads[base]) < head ? 1 : 0);
}

/*
 * The first index, of those from `from` on, at or above the probe; *found is the record if it is
 * equal, or else NULL. What it tells is nonsense if the writer changes the node meanwhile: see (5).
 */
static uint32_t node_lower_bound(const struct memtable_node *node, uint32_t from,
                                 const struct probe *probe, const struct memtable_record **found)
{
    *found = NULL;
    uint32_t count = LOAD(node->count);
    if (probe->side != SIDE_INSIDE || count <= from) {
        return probe->side == SIDE_ABOVE ? count : from;
    }
    uint64_t head = key_head(probe->key, LOAD(node->skip));
    uint32_t low = heads_lower_bound(node, from, count - from, head);
    uint32_t high = low;
    while (high < count && LOAD(node->heads[high]) == head) {
        high++;
    }
    while (low < high) { /* The heads tie; mostly this is the one equal key. */
        uint32_t middle = low + (high - low) / 2;
        const struct memtable_record *record = LOAD(node->records[middle]);
        int order = record == NULL ? 0 : slice_compare(probe->key, memtable_record_key(record));
        if (order == 0) {
            *found = record;
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
    const struct memtable_record *equal = NULL;
    uint32_t index = node_lower_bound(node, 1, probe, &equal);
    return equal != NULL ? index : index - 1;
}

/* Always inline: gcc drops calls of functions that only prefetch as being without effect. */
#define PREFETCHING static inline __attribute__((always_inline))

PREFETCHING void lines_prefetch(const void *start, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        __builtin_prefetch((const uint8_t *)start + i * CACHE_LINE_SIZE);
    }
}

/* All lines a search or an insert will touch, asked for at once. */
PREFETCHING void node_prefetch(const struct memtable_node *node)
{
    lines_prefetch(node, sizeof(*node) / CACHE_LINE_SIZE);
}

/* Its first lines: for most records these are all. */
PREFETCHING void record_prefetch(const struct memtable_record *record)
{
    lines_prefetch(record, 3);
}

static struct memtable_node *node_create(struct memtable *memtable, bool leaf)
{
    size_t size = sizeof(struct memtable_node);
    if (!leaf) {
        size += MEMTABLE_FANOUT * sizeof(struct memtable_node *);
    }
    struct memtable_node *node = arena_allocate_aligned(&memtable->arena, size, CACHE_LINE_SIZE);
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

/* The writer's side. */

/* Opens a gap at `index` and fills it. The caller has begun the change. */
static void node_insert(struct memtable_node *node, uint32_t index,
                        const struct memtable_record *record, struct memtable_node *child)
{
    uint32_t count = OWN(node->count);
    ASSERT(count < MEMTABLE_FANOUT);
    ASSERT(index <= count);
    for (uint32_t i = count; i > index; i--) {
        STORE(node->heads[i], OWN(node->heads[i - 1]));
    }
    for (uint32_t i = count; i > index; i--) {
        STORE(node->records[i], OWN(node->records[i - 1]));
    }
    for (uint32_t i = count; node->leaf == 0 && i > index; i--) {
        STORE(node->children[i], OWN(node->children[i - 1]));
    }
    STORE(node->heads[index], key_head(memtable_record_key(record), OWN(node->skip)));
    STORE(node->records[index], record);
    if (node->leaf == 0) {
        STORE(node->children[index], child);
    }
    STORE(node->count, count + 1);
}

/* Heads from `skip` on, which holds for all keys under the node. */
static void node_skip_set(struct memtable_node *node, uint32_t skip)
{
    uint32_t count = OWN(node->count);
    STORE(node->skip, skip);
    for (uint32_t i = 0; i < count; i++) {
        STORE(node->heads[i], key_head(memtable_record_key(OWN(node->records[i])), skip));
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
    if (common >= OWN(node->skip) + SKIP_GAIN_MIN) {
        node_skip_set(node, common);
    }
}

/* Moves the upper part of a full node to `right`, which no reader knows yet. */
static void node_split(struct memtable_node *node, struct memtable_node *right, uint32_t kept)
{
    uint32_t moved = OWN(node->count) - kept;
    STORE(right->skip, OWN(node->skip));
    for (uint32_t i = 0; i < moved; i++) {
        STORE(right->heads[i], OWN(node->heads[kept + i]));
        STORE(right->records[i], OWN(node->records[kept + i]));
        if (node->leaf == 0) {
            STORE(right->children[i], OWN(node->children[kept + i]));
        }
    }
    STORE(right->count, moved);
    STORE(node->count, kept);
}

/* The caller has begun the change of `node` and, if there is one, of the leaf after it. */
static void leaf_link(struct memtable *memtable, struct memtable_node *node,
                      struct memtable_node *right)
{
    struct memtable_node *next = OWN(node->next);
    STORE(right->next, next);
    STORE(right->previous, node);
    STORE(node->next, right);
    if (next != NULL) {
        STORE(next->previous, right);
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
    struct memtable_node *old = OWN(memtable->root);
    STORE(root->skip, OWN(memtable->prefix_size));
    node_insert(root, 0, OWN(old->records[0]), old);
    STORE(memtable->root, root); /* The old one is split after this: see descend(). */
    memtable->height++;
    return STATUS_OK;
}

/* Splits full child `index` of `parent`, which has room. `fences` are the child's. */
static enum status child_split(struct memtable *memtable, struct memtable_node *parent,
                               uint32_t index, const struct probe *probe,
                               const struct fences *fences)
{
    struct memtable_node *child = OWN(parent->children[index]);
    struct memtable_node *right = node_create(memtable, child->leaf == 1);
    if (right == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct slice greatest = memtable_record_key(OWN(child->records[MEMTABLE_FANOUT - 1]));
    bool at_edge = slice_compare(probe->key, greatest) > 0;
    uint32_t kept = at_edge ? MEMTABLE_FANOUT - 1 : MEMTABLE_FANOUT / 2;
    struct memtable_node *next = child->leaf == 1 ? OWN(child->next) : NULL;
    change_begin(parent);
    change_begin(child);
    if (next != NULL) {
        change_begin(next);
    }
    memtable->split_count++;
    node_split(child, right, kept);
    const struct memtable_record *middle = OWN(right->records[0]);
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
        fences->lower = OWN(node->records[index]);
    }
    if (index + 1 < OWN(node->count)) {
        fences->upper = OWN(node->records[index + 1]);
    }
}

/* The leaf for the probe, with room for one more; see (7). */
static enum status leaf_for_insert(struct memtable *memtable, const struct probe *probe,
                                   struct memtable_node **leaf)
{
    if (OWN(OWN(memtable->root)->count) == MEMTABLE_FANOUT) {
        enum status status = root_grow(memtable);
        if (status != STATUS_OK) {
            return status;
        }
    }
    struct memtable_node *node = OWN(memtable->root);
    struct fences fences = {0};
    while (node->leaf == 0) {
        uint32_t index = node_child_index(node, probe);
        struct memtable_node *child = OWN(node->children[index]);
        node_prefetch(child);
        if (OWN(child->count) == MEMTABLE_FANOUT) {
            struct fences beside = fences;
            fences_narrow(&beside, node, index);
            enum status status = child_split(memtable, node, index, probe, &beside);
            if (status != STATUS_OK) {
                return status;
            }
            const struct memtable_record *middle = OWN(node->records[index + 1]);
            if (slice_compare(probe->key, memtable_record_key(middle)) >= 0) {
                index++;
            }
        }
        fences_narrow(&fences, node, index);
        node = OWN(node->children[index]);
    }
    *leaf = node;
    return STATUS_OK;
}

/* Nodes at an edge, down from the root, shorten what they skip. */
static void edge_shorten(struct memtable_node *node, bool right, uint32_t prefix_size)
{
    while (node != NULL) {
        if (OWN(node->skip) > prefix_size) {
            change_begin(node);
            node_skip_set(node, prefix_size);
            change_end(node);
        }
        node = node->leaf == 1 ? NULL : OWN(node->children[right ? OWN(node->count) - 1 : 0]);
    }
}

/* Whether the key begins like all others, if there are any. */
static bool is_inside(const struct memtable *memtable, struct slice key)
{
    const struct memtable_record *first = OWN(memtable->first);
    uint32_t size = OWN(memtable->prefix_size);
    return first == NULL || (key.size >= size && memcmp(key.data, first->bytes, size) == 0);
}

/* Makes way for a key that may not begin like the others; see (4). */
static void prefix_shorten(struct memtable *memtable, struct slice key)
{
    if (is_inside(memtable, key)) {
        return;
    }
    const struct memtable_record *first = OWN(memtable->first);
    uint32_t size = OWN(memtable->prefix_size);
    uint32_t common = common_size(key, slice_make(first->bytes, size));
    STORE(memtable->prefix_size, common);
    edge_shorten(OWN(memtable->root), false, common);
    edge_shorten(OWN(memtable->root), true, common);
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
    uint32_t count = OWN(leaf->count);
    return memtable->appending && count > 0 && count < MEMTABLE_FANOUT &&
           slice_compare(key, memtable_record_key(OWN(leaf->records[count - 1]))) > 0;
}

static enum status record_insert(struct memtable *memtable, struct memtable_node *leaf,
                                 uint32_t index, struct slice key, struct slice encoded_cell)
{
    const struct memtable_record *record = record_create(memtable, key, encoded_cell);
    if (record == NULL) {
        return STATUS_NO_MEMORY;
    }
    memtable->appending = OWN(leaf->next) == NULL && index == OWN(leaf->count);
    change_begin(leaf);
    if (OWN(memtable->first) == NULL) { /* All keys there are begin with all of this one. */
        STORE(memtable->first, record);
        STORE(memtable->prefix_size, (uint32_t)key.size);
        node_skip_set(leaf, (uint32_t)key.size);
    }
    node_insert(leaf, index, record, NULL);
    change_end(leaf);
    return STATUS_OK;
}

/*
 * A merge takes one record, and splits at most one node a level, or grows the root instead. A root
 * that has grown has two children, so as many merges as it then has room for lie between that and
 * the next time.
 */
bool memtable_reserve(struct memtable *memtable, uint32_t record_count, uint64_t size)
{
    static const size_t node_size = ARENA_PIECE_SIZE(
        sizeof(struct memtable_node) + MEMTABLE_FANOUT * sizeof(struct memtable_node *),
        CACHE_LINE_SIZE);
    uint64_t height = memtable->height + UINT64_C(1) + record_count / (MEMTABLE_FANOUT - 2);
    height = height < MEMTABLE_HEIGHT_MAX ? height : MEMTABLE_HEIGHT_MAX;
    uint64_t each = ARENA_PIECE_SIZE(sizeof(struct memtable_record), 0) + height * node_size;
    return arena_reserve(&memtable->arena, (size_t)(size + record_count * each));
}

static enum status record_replace(struct memtable *memtable, struct memtable_node *leaf,
                                  uint32_t index, struct slice key, struct slice encoded_cell)
{
    const struct memtable_record *record = record_create(memtable, key, encoded_cell);
    if (record == NULL) {
        return STATUS_NO_MEMORY;
    }
    STORE(leaf->records[index], record); /* Old or new, a reader has a record of this key. */
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
    struct probe probe = {.key = key, .side = SIDE_INSIDE};
    struct memtable_node *node = OWN(memtable->root);
    while (node->leaf == 0) {
        node = OWN(node->children[node_child_index(node, &probe)]);
        node_prefetch(node);
    }
    *place = (struct memtable_place){.leaf = node, .split_count = memtable->split_count};
}

/* Whether the located leaf is still the one, and has room. */
static bool place_holds(const struct memtable *memtable, const struct memtable_place *place)
{
    return place->leaf != NULL && place->split_count == memtable->split_count &&
           OWN(place->leaf->count) < MEMTABLE_FANOUT;
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
    struct probe probe = {.key = key, .side = SIDE_INSIDE};
    struct memtable_node *leaf = memtable->last_leaf;
    const struct memtable_record *equal = NULL;
    uint32_t index = 0;
    prefix_shorten(memtable, key);
    if (is_append(memtable, key)) {
        index = OWN(leaf->count);
    } else if (place_holds(memtable, place)) {
        leaf = place->leaf;
        index = node_lower_bound(leaf, 0, &probe, &equal);
    } else {
        enum status status = leaf_for_insert(memtable, &probe, &leaf);
        if (status != STATUS_OK) {
            return status;
        }
        index = node_lower_bound(leaf, 0, &probe, &equal);
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

/* The readers' side. */

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
    *visit = (struct visit){.node = node, .sequence = LOAD(node->sequence)};
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
    struct probe probe;
    uint32_t prefix_size;
    bool last; /* Not the probe: the greatest key. */
};

static void look_begin(struct look *look, const struct memtable *memtable, struct slice key)
{
    look->prefix_size = LOAD(memtable->prefix_size);
    look->probe = (struct probe){.key = key, .side = SIDE_INSIDE};
    if (look->prefix_size > 0) {
        const struct memtable_record *first = LOAD(memtable->first);
        ASSERT(first != NULL);
        struct slice prefix = slice_make(first->bytes, look->prefix_size);
        struct slice start = slice_make(key.data, key.size < prefix.size ? key.size : prefix.size);
        int order = start.size == 0 ? -1 : slice_compare(start, prefix);
        look->probe.side = order == 0 ? SIDE_INSIDE : order < 0 ? SIDE_BELOW : SIDE_ABOVE;
    }
    look->last = false;
}

/* False: try again. */
static bool leaf_reach(const struct memtable *memtable, const struct look *look,
                       struct visit *visit)
{
    const struct memtable_node *root = LOAD(memtable->root);
    if (!visit_begin(visit, root) || LOAD(memtable->root) != root) {
        return false; /* An old root covers all keys only until it is split. */
    }
    while (visit->node->leaf == 0) {
        const struct memtable_node *node = visit->node;
        uint32_t index = look->last ? LOAD(node->count) - 1 : node_child_index(node, &look->probe);
        if (index >= MEMTABLE_FANOUT) {
            return false;
        }
        const struct memtable_node *child = LOAD(node->children[index]);
        if (child != NULL) {
            node_prefetch(child);
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
    return visit_holds(visit) && LOAD(memtable->prefix_size) == look->prefix_size;
}

static bool get_try(const struct memtable *memtable, struct slice key,
                    const struct memtable_record **record)
{
    struct look look;
    look_begin(&look, memtable, key);
    *record = NULL;
    if (look.probe.side != SIDE_INSIDE) {
        return true; /* All keys there are begin in another way. */
    }
    struct visit visit;
    if (!leaf_reach(memtable, &look, &visit)) {
        return false;
    }
    (void)node_lower_bound(visit.node, 0, &look.probe, record);
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
    if (look.probe.side == SIDE_INSIDE && leaf_reach(memtable, &look, &visit)) {
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
    uint32_t count = LOAD(lookup->leaf->count);
    uint64_t head = key_head(lookup->key, LOAD(lookup->leaf->skip));
    uint32_t index = heads_lower_bound(lookup->leaf, 0, count, head);
    if (index < count) {
        record_prefetch(LOAD(lookup->leaf->records[index]));
    }
}

enum status memtable_lookup_end(const struct memtable_lookup *lookup, enum lsm_wait wait,
                                const struct memtable_record **record)
{
    if (lookup->leaf != NULL) {
        struct look look = {.probe = {.key = lookup->key, .side = SIDE_INSIDE},
                            .prefix_size = lookup->prefix_size};
        struct visit visit = {.node = lookup->leaf, .sequence = lookup->sequence};
        const struct memtable_record *found = NULL;
        (void)node_lower_bound(visit.node, 0, &look.probe, &found);
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
    uint32_t count = LOAD(leaf->count);
    for (uint32_t i = from; i < count; i++) {
        const struct memtable_record *record = LOAD(leaf->records[i]);
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
        const struct memtable_record *record = LOAD(leaf->records[i - 1]);
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
    uint32_t count = LOAD(visit.node->count);
    uint32_t index = look.last ? count : node_lower_bound(visit.node, 0, &look.probe, &equal);
    index += after && equal != NULL ? 1 : 0;
    if (cursor->reverse ? index == 0 : index >= count) {
        const struct memtable_node *beside =
            cursor->reverse ? LOAD(visit.node->previous) : LOAD(visit.node->next);
        if (beside == NULL) {
            return look_holds(cursor->memtable, &look, &visit);
        }
        if (!visit_step(&visit, beside)) {
            return false;
        }
        index = cursor->reverse ? LOAD(beside->count) : 0;
    }
    bool copied = cursor->reverse ? cursor_copy_reverse(cursor, visit.node, index)
                                  : cursor_copy_forward(cursor, visit.node, index);
    /* The leaf to which the walk comes once these are shown. */
    const struct memtable_node *following =
        cursor->reverse ? LOAD(visit.node->previous) : LOAD(visit.node->next);
    if (following != NULL) {
        node_prefetch(following);
    }
    return copied && look_holds(cursor->memtable, &look, &visit);
}

/* Records of neighbouring keys lie anywhere: without this a walk waits for memory at each. */
PREFETCHING void cursor_prefetch(const struct memtable_cursor *cursor, uint32_t index)
{
    if (index < cursor->record_count) {
        record_prefetch(cursor->records[index]);
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
