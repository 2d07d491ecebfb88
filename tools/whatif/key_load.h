/*
 * tools/whatif/key_load.h -- the keys of a what-if as tokens, each with how often it was met.
 *
 * Why counts: a list of keys may be a list of accesses, in which a hot key stands many times; its
 * load is then what was measured, not one.
 * Contract: after key_load_seal() tokens ascend and are distinct. The same keys in any order, or
 * the same options of key_load_synthesize(), give the same items.
 */
#ifndef TOOLS_WHATIF_KEY_LOAD_H
#define TOOLS_WHATIF_KEY_LOAD_H

#include <stdint.h>
#include <stdio.h>

#include "base/slice.h"
#include "base/status.h"

#define KEY_LOAD_COUNT_MAX 10000000u /* Keys in all: 160 MB, and as much again while sorting. */
#define KEY_LOAD_KEY_SIZE_MAX 65536u /* As the nodes take. */
#define KEY_LOAD_ZIPF_MAX 10.0

struct key_load_item {
    uint64_t token;
    uint64_t count;
};

/* A zeroed one is empty. */
struct key_load {
    struct key_load_item *items; /* Owned. */
    size_t item_count;
    size_t item_capacity;
    uint64_t total; /* Sum of all counts. */
};

/* STATUS_OVERLOADED  KEY_LOAD_COUNT_MAX is reached. STATUS_NO_MEMORY. */
MUST_USE enum status key_load_add(struct key_load *load, struct slice key);
/* A key a line, its bytes as they are; empty lines are none. *line: the one that was read last.
 * STATUS_TOO_LARGE  a line above KEY_LOAD_KEY_SIZE_MAX. STATUS_IO, and as key_load_add(). */
MUST_USE enum status key_load_read(struct key_load *load, FILE *file, uint64_t *line);

struct key_load_synthesis {
    uint64_t count;
    double zipf; /* 0: each of `count` keys once. Else so many draws, key k by 1 / k^zipf. */
    uint64_t seed;
};
MUST_USE enum status key_load_synthesize(struct key_load *load,
                                         const struct key_load_synthesis *synthesis);

void key_load_seal(struct key_load *load); /* Once all are added. */
void key_load_deinit(struct key_load *load);

#endif
