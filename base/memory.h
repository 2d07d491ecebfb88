/*
 * base/memory.h -- the one way to take memory from the heap.
 *
 * Why: tests make the n-th allocation fail, and the simulator gives every simulated node a heap of
 * its own that it can drop as a whole when the node crashes; both need one door.
 * Contract: NULL means no memory (never returned for size 0); memory_free(NULL) does nothing.
 */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>

#include "base/contract.h"

/* Replaces malloc, realloc and free below; installed before the first allocation, or between
 * events of the simulator. NULL restores the C library's. The table must outlive its use. */
struct memory_hooks {
    void *(*allocate)(size_t size);
    void *(*resize)(void *memory, size_t size);
    void (*release)(void *memory);
};
void memory_set_hooks(const struct memory_hooks *hooks);

MUST_USE void *memory_allocate(size_t size);
MUST_USE void *memory_allocate_zeroed(size_t count, size_t size); /* NULL also on overflow. */
MUST_USE void *memory_resize(void *memory, size_t size);
MUST_USE char *memory_copy_string(const char *text);
void memory_free(void *memory);

/* Whole huge pages, aligned so, where the system has them and no hooks are installed: for what is
 * large and read here and there, where it costs as much to find a small page as to read it. `size`
 * is a multiple of MEMORY_HUGE_SIZE; the bytes are undefined. Nothing is taken before it is
 * touched, and all of it is given back at once, by memory_free_huge() alone. */
#define MEMORY_HUGE_SIZE ((size_t)2 << 20)
MUST_USE void *memory_allocate_huge(size_t size);
void memory_free_huge(void *memory, size_t size); /* With the size it was taken with. */

#endif
