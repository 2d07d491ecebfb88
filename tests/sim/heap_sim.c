/*
 * tests/sim/heap_sim.c -- a header before every block ties it to the heap that it belongs to.
 *
 * This file is the door to the C library's heap for the simulator, as base/memory.c is for the
 * rest.
 */
#include "tests/sim/heap_sim.h"

#include <stdlib.h>

#include "base/memory.h"

struct heap_block {
    struct list_node node;  /* In the owner's blocks; unlinked if outside. */
    struct heap_sim *owner; /* NULL: outside. */
    size_t size;
};
STATIC_ASSERT(sizeof(struct heap_block) % 16 == 0, "what follows a header is aligned as malloc is");

/* Which heap is current, and how often the hooks are installed: the hooks have no context. */
static struct heap_sim *heap_current;
static uint32_t heap_install_count;

static struct heap_block *block_of(void *memory)
{
    return (struct heap_block *)memory - 1;
}

/* Whether the heap lets another `size` bytes be taken. */
static bool heap_admits(struct heap_sim *heap, size_t size)
{
    heap->request_count++;
    if (heap->fail_countdown > 0) {
        heap->fail_countdown--;
        if (heap->fail_countdown == 0) {
            return false;
        }
    }
    return heap->size_max == 0 || heap->size + size <= heap->size_max;
}

static void block_link(struct heap_block *block)
{
    struct heap_sim *heap = block->owner;
    if (heap == NULL) {
        list_init(&block->node);
        return;
    }
    list_append(&heap->blocks, &block->node);
    heap->block_count++;
    heap->size += block->size;
}

static void block_unlink(struct heap_block *block)
{
    struct heap_sim *heap = block->owner;
    if (heap == NULL) {
        return;
    }
    list_remove(&block->node);
    ASSERT(heap->block_count > 0);
    ASSERT(heap->size >= block->size);
    heap->block_count--;
    heap->size -= block->size;
}

static void *heap_allocate(size_t size)
{
    if (heap_current != NULL && !heap_admits(heap_current, size)) {
        return NULL;
    }
    struct heap_block *block = malloc(sizeof(*block) + size);
    if (block == NULL) {
        return NULL;
    }
    block->owner = heap_current;
    block->size = size;
    block_link(block);
    return block + 1;
}

static void heap_release(void *memory)
{
    struct heap_block *block = block_of(memory);
    block_unlink(block);
    free(block);
}

static void *heap_resize(void *memory, size_t size)
{
    if (memory == NULL) {
        return heap_allocate(size);
    }
    struct heap_block *block = block_of(memory);
    if (block->owner != NULL && !heap_admits(block->owner, size)) {
        return NULL;
    }
    block_unlink(block);
    struct heap_block *moved = realloc(block, sizeof(*block) + size);
    if (moved == NULL) {
        block_link(block);
        return NULL;
    }
    moved->size = size;
    block_link(moved);
    return moved + 1;
}

static const struct memory_hooks heap_hooks = {
    .allocate = heap_allocate,
    .resize = heap_resize,
    .release = heap_release,
};

void heap_sim_install(void)
{
    heap_install_count++;
    if (heap_install_count == 1) {
        memory_set_hooks(&heap_hooks);
    }
}

void heap_sim_uninstall(void)
{
    ASSERT(heap_install_count > 0);
    heap_install_count--;
    if (heap_install_count == 0) {
        ASSERT(heap_current == NULL);
        memory_set_hooks(NULL);
    }
}

void heap_sim_init(struct heap_sim *heap, uint64_t size_max)
{
    *heap = (struct heap_sim){.size_max = size_max};
    list_init(&heap->blocks);
}

void heap_sim_drop(struct heap_sim *heap)
{
    list_for_each (node, following, &heap->blocks) {
        free(container_of(node, struct heap_block, node));
    }
    list_init(&heap->blocks);
    heap->block_count = 0;
    heap->size = 0;
    heap->fail_countdown = 0;
}

struct heap_sim *heap_sim_enter(struct heap_sim *heap)
{
    struct heap_sim *before = heap_current;
    heap_current = heap;
    return before;
}

void *heap_sim_take(size_t size)
{
    void *memory = calloc(1, size);
    ASSERT(memory != NULL);
    return memory;
}

void *heap_sim_retake(void *memory, size_t size)
{
    void *moved = realloc(memory, size);
    ASSERT(moved != NULL);
    return moved;
}

void heap_sim_give(void *memory)
{
    free(memory);
}
