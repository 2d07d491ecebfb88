/*
 * tests/sim/heap_raft_sim.c -- libraft's allocations, into the heap of the current node.
 *
 * A file of its own, because only programs that link libraft can have it. No one of ours asks the
 * library for aligned memory (its own file backend would), so an alignment beyond that of the heap
 * is a bug.
 */
#include <stdalign.h>
#include <string.h>

#include <raft.h>

#include "base/memory.h"
#include "tests/sim/heap_sim.h"

/* Zeroed: the library pads the configurations it encodes to 8 bytes, and leaves the padding as the
 * heap gave it; a run would not be the same the second time. */
static void *raft_allocate(void *data, size_t size)
{
    (void)data;
    return memory_allocate_zeroed(1, size);
}

static void raft_release(void *data, void *memory)
{
    (void)data;
    memory_free(memory);
}

static void *raft_allocate_zeroed(void *data, size_t count, size_t size)
{
    (void)data;
    return memory_allocate_zeroed(count, size);
}

static void *raft_resize(void *data, void *memory, size_t size)
{
    (void)data;
    return memory_resize(memory, size);
}

static void *raft_allocate_aligned(void *data, size_t alignment, size_t size)
{
    (void)data;
    ASSERT(alignment <= alignof(max_align_t));
    return memory_allocate(size);
}

static void raft_release_aligned(void *data, size_t alignment, void *memory)
{
    (void)data;
    (void)alignment;
    memory_free(memory);
}

/* The library keeps the pointer, and takes it without const. */
static struct raft_heap heap_raft = {
    .malloc = raft_allocate,
    .free = raft_release,
    .calloc = raft_allocate_zeroed,
    .realloc = raft_resize,
    .aligned_alloc = raft_allocate_aligned,
    .aligned_free = raft_release_aligned,
};

void heap_sim_install_raft(void)
{
    raft_heap_set(&heap_raft);
}

void heap_sim_uninstall_raft(void)
{
    raft_heap_set_default();
}
