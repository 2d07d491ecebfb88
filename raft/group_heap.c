/*
 * raft/group_heap.c -- the raft library takes its memory where all others do, base/memory.h.
 *
 * So its memory counts, fails and is dropped with that of the node. All of it is zeroed: the
 * library pads the configurations that it encodes to 8 bytes and leaves the padding as the heap
 * gave it, and bytes of whatever was freed before have no place in a log that goes to disk and to
 * other servers.
 */
#include <stdalign.h>

#include "base/memory.h"
#include "raft/group_internal.h"

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

/* Only the library's own file backend asks for it, and that is not used here. */
static void *raft_allocate_aligned(void *data, size_t alignment, size_t size)
{
    (void)data;
    ASSERT(alignment <= alignof(max_align_t));
    return memory_allocate_zeroed(1, size);
}

static void raft_release_aligned(void *data, size_t alignment, void *memory)
{
    (void)data;
    (void)alignment;
    memory_free(memory);
}

/* The library keeps the pointer, and takes it without const. */
static struct raft_heap group_heap = {
    .malloc = raft_allocate,
    .free = raft_release,
    .calloc = raft_allocate_zeroed,
    .realloc = raft_resize,
    .aligned_alloc = raft_allocate_aligned,
    .aligned_free = raft_release_aligned,
};

void group_heap_use(void)
{
    raft_heap_set(&group_heap);
}
