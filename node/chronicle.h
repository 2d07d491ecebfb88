/*
 * node/chronicle.h -- the last accepted topology commands, for nodes that are a little behind.
 *
 * Why: while ranges move the topology changes many times a second, by a few hundred bytes of what
 * may be a megabyte. Who lacks little is told only that.
 * Invariants:
 *  (1) Each entry leads from the stamp of the one before it, the first from `base`, to its own.
 *  (2) At most CHRONICLE_COUNT_MAX entries of CHRONICLE_SIZE_MAX bytes; the oldest go first.
 */
#ifndef NODE_CHRONICLE_H
#define NODE_CHRONICLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "ring/topology.h"

#define CHRONICLE_COUNT_MAX 512u
#define CHRONICLE_SIZE_MAX (4u << 20)

struct chronicle_entry {
    struct topology_stamp stamp; /* Of the topology that it led to. */
    uint8_t *command;            /* Owned. */
    size_t size;
};

/* All zero is an empty one. */
struct chronicle {
    struct topology_stamp base;
    struct chronicle_entry entries[CHRONICLE_COUNT_MAX]; /* A ring. */
    uint32_t first;
    uint32_t count;
    size_t size; /* Of all commands. */
};

void chronicle_deinit(struct chronicle *chronicle);
/* A command that led from one stamp to another was accepted. One that is known or older is left
 * out; one that does not follow the last begins the chronicle anew. Best effort: without memory
 * it is empty afterwards. */
void chronicle_add(struct chronicle *chronicle, const struct topology_stamp *from,
                   const struct topology_stamp *to, struct slice command);
/* Appends the commands that lead from one stamp to another, each as codec_put_bytes() does. False,
 * and nothing appended, if they are not known, or there are none; nor is ever told what a bootstrap
 * was, so a stamp of zeros asks for the whole. */
bool chronicle_between(const struct chronicle *chronicle, const struct topology_stamp *from,
                       const struct topology_stamp *until, struct buffer *to);

bool chronicle_same_stamp(const struct topology_stamp *a, const struct topology_stamp *b);

#endif
