/*
 * tests/sim/heap_sim.h -- one heap per simulated node, dropped as a whole when the node crashes.
 *
 * Why: a crash of a real process takes its memory with it. The hooks of base/memory.h have no
 * context, so one heap at a time is current (the one static of the simulator): the world makes a
 * node's heap current around each of its events.
 * Invariants:
 *  (1) A block belongs to the heap that was current when it was taken, or to none (outside); it may
 *      be released or resized while any heap is current, and stays where it belongs.
 *  (2) Blocks lie in the C library's heap, so the address sanitizer still sees every overrun and
 *      use after release.
 */
#ifndef TESTS_SIM_HEAP_SIM_H
#define TESTS_SIM_HEAP_SIM_H

#include <stddef.h>
#include <stdint.h>

#include "base/contract.h"
#include "base/list.h"

struct heap_sim {
    struct list_node blocks;
    uint64_t block_count;
    uint64_t size;     /* Bytes taken now. */
    uint64_t size_max; /* Allocations beyond it fail; 0: no bound. */
    /* Counts down at each allocation, and fails the one that brings it to 0; 0: off. */
    uint64_t fail_countdown;
    uint64_t request_count; /* Allocations asked for, over all drops. */
};

/* Routes memory_* through this file. Nests; nothing taken before the first install may be released
 * before the last uninstall, nor the reverse. */
void heap_sim_install(void);
void heap_sim_uninstall(void);

void heap_sim_init(struct heap_sim *heap, uint64_t size_max);
void heap_sim_drop(struct heap_sim *heap); /* Frees all blocks; the heap is empty and usable. */
/* Makes `heap` current (NULL: outside); returns the one that was. */
struct heap_sim *heap_sim_enter(struct heap_sim *heap);

/* The simulator's own memory, whatever heap is current; a simulator without memory stops. */
MUST_USE void *heap_sim_take(size_t size); /* Zeroed. */
MUST_USE void *heap_sim_retake(void *memory, size_t size);
void heap_sim_give(void *memory);

#endif
