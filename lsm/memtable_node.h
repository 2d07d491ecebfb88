/*
 * lsm/memtable_node.h -- the nodes of a memtable, as its writer and its readers both see them.
 *
 * Why apart: memtable.c writes them, memtable_read.c reads them without a lock. What both go by is
 * here: the layout, how it is loaded and stored, and the search of one node. The numbers are those
 * of the invariants in memtable.c.
 */
#ifndef LSM_MEMTABLE_NODE_H
#define LSM_MEMTABLE_NODE_H

#include "base/codec.h"
#include "base/contract.h"
#include "lsm/memtable.h"

#define MEMTABLE_HEAD_SIZE 8u
#define MEMTABLE_LINE_SIZE 64u

struct memtable_node {
    _Atomic uint64_t sequence; /* Odd while the writer changes the node. */
    _Atomic uint32_t count;
    _Atomic uint32_t skip;
    uint32_t leaf;                            /* 1 or 0; never changes. */
    _Atomic(struct memtable_node *) next;     /* Leaves only. */
    _Atomic(struct memtable_node *) previous; /* Leaves only. */
    uint8_t padding[MEMTABLE_LINE_SIZE - 40];
    _Atomic uint64_t heads[MEMTABLE_FANOUT];
    _Atomic(const struct memtable_record *) records[MEMTABLE_FANOUT]; /* Cells, or separators. */
    _Atomic(struct memtable_node *) children[]; /* Inner nodes: MEMTABLE_FANOUT. */
};
STATIC_ASSERT(offsetof(struct memtable_node, heads) == MEMTABLE_LINE_SIZE, "heads begin a line");

/* Where a key lies compared with what all keys of the memtable begin with. */
enum memtable_side { MEMTABLE_BELOW, MEMTABLE_INSIDE, MEMTABLE_ABOVE };

struct memtable_probe {
    struct slice key;
    enum memtable_side side;
};

#define MEMTABLE_LOAD(place) atomic_load_explicit(&(place), memory_order_acquire)
#define MEMTABLE_STORE(place, value) atomic_store_explicit(&(place), value, memory_order_release)
/* Of the writer, of what only it changes. */
#define MEMTABLE_OWN(place) atomic_load_explicit(&(place), memory_order_relaxed)

/* See (3). */
static inline uint64_t memtable_key_head(struct slice key, uint32_t skip)
{
    if (key.size >= (size_t)skip + MEMTABLE_HEAD_SIZE) {
        return codec_load_be64(key.data + skip);
    }
    uint8_t bytes[MEMTABLE_HEAD_SIZE] = {0};
    if (key.size > skip) {
        memcpy(bytes, key.data + skip, key.size - skip);
    }
    return codec_load_be64(bytes);
}

/* The first of `count` heads from `base` on that is not below `head`; no branch to mispredict. */
static inline uint32_t memtable_heads_lower_bound(const struct memtable_node *node, uint32_t base,
                                                  uint32_t count, uint64_t head)
{
    while (count > 1) {
        uint32_t half = count / 2;
        base += MEMTABLE_LOAD(node->heads[base + half - 1]) < head ? half : 0;
        count -= half;
    }
    return base + (count == 1 && MEMTABLE_LOAD(node->heads[base]) < head ? 1 : 0);
}

/*
 * The first index, of those from `from` on, at or above the probe; *found is the record if it is
 * equal, or else NULL. What it tells is nonsense if the writer changes the node meanwhile: see (5).
 */
static inline uint32_t memtable_node_lower_bound(const struct memtable_node *node, uint32_t from,
                                                 const struct memtable_probe *probe,
                                                 const struct memtable_record **found)
{
    *found = NULL;
    uint32_t count = MEMTABLE_LOAD(node->count);
    if (probe->side != MEMTABLE_INSIDE || count <= from) {
        return probe->side == MEMTABLE_ABOVE ? count : from;
    }
    uint64_t head = memtable_key_head(probe->key, MEMTABLE_LOAD(node->skip));
    uint32_t low = memtable_heads_lower_bound(node, from, count - from, head);
    uint32_t high = low;
    while (high < count && MEMTABLE_LOAD(node->heads[high]) == head) {
        high++;
    }
    while (low < high) { /* The heads tie; mostly this is the one equal key. */
        uint32_t middle = low + (high - low) / 2;
        const struct memtable_record *record = MEMTABLE_LOAD(node->records[middle]);
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
static inline uint32_t memtable_node_child(const struct memtable_node *node,
                                           const struct memtable_probe *probe)
{
    const struct memtable_record *equal = NULL;
    uint32_t index = memtable_node_lower_bound(node, 1, probe, &equal);
    return equal != NULL ? index : index - 1;
}

/* Always inline: gcc drops calls of functions that only prefetch as being without effect. */
#define MEMTABLE_PREFETCHING static inline __attribute__((always_inline))

MEMTABLE_PREFETCHING void memtable_lines_prefetch(const void *start, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        __builtin_prefetch((const uint8_t *)start + i * MEMTABLE_LINE_SIZE);
    }
}

/* All lines a search or an insert will touch, asked for at once. */
MEMTABLE_PREFETCHING void memtable_node_prefetch(const struct memtable_node *node)
{
    memtable_lines_prefetch(node, sizeof(*node) / MEMTABLE_LINE_SIZE);
}

/* Its first lines: for most records these are all. */
MEMTABLE_PREFETCHING void memtable_record_prefetch(const struct memtable_record *record)
{
    memtable_lines_prefetch(record, 3);
}

#endif
