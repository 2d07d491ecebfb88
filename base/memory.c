/*
 * base/memory.c -- the heap's one door: the C library's, unless a test or the simulator put hooks.
 *
 * The table of hooks is the one variable of the program that belongs to nobody's struct: the heap
 * itself is such a thing. It changes only while nothing is allocated or between events.
 */
#include "base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const struct memory_hooks memory_library = {
    .allocate = malloc,
    .resize = realloc,
    .release = free,
};

static const struct memory_hooks *memory_installed = &memory_library;

void memory_set_hooks(const struct memory_hooks *hooks)
{
    memory_installed = hooks != NULL ? hooks : &memory_library;
}

/* Size 0 asks for one byte, so that NULL always means that there was no memory. */
void *memory_allocate(size_t size)
{
    return memory_installed->allocate(size != 0 ? size : 1);
}

void *memory_allocate_zeroed(size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) {
        return NULL;
    }
    void *memory = memory_allocate(total);
    if (memory != NULL) {
        memset(memory, 0, total);
    }
    return memory;
}

void *memory_resize(void *memory, size_t size)
{
    return memory_installed->resize(memory, size != 0 ? size : 1);
}

char *memory_copy_string(const char *text)
{
    ASSERT(text != NULL);
    size_t size = strlen(text) + 1;
    char *copy = memory_allocate(size);
    if (copy != NULL) {
        memcpy(copy, text, size);
    }
    return copy;
}

void memory_free(void *memory)
{
    if (memory != NULL) {
        memory_installed->release(memory);
    }
}

void *memory_allocate_huge(size_t size)
{
    ASSERT(size > 0);
    ASSERT(size % MEMORY_HUGE_SIZE == 0);
    if (memory_installed != &memory_library) {
        return memory_allocate(size);
    }
    /* One more than wanted, of which what lies outside the aligned part goes again. */
    uint8_t *start = mmap(NULL, size + MEMORY_HUGE_SIZE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) {
        return NULL;
    }
    size_t before = -(uintptr_t)start & (MEMORY_HUGE_SIZE - 1);
    if (before > 0) {
        int rc = munmap(start, before);
        ASSERT(rc == 0);
    }
    int rc = munmap(start + before + size, MEMORY_HUGE_SIZE - before);
    ASSERT(rc == 0);
    (void)madvise(start + before, size, MADV_HUGEPAGE); /* A wish. */
    return start + before;
}

void memory_free_huge(void *memory, size_t size)
{
    if (memory == NULL) {
        return;
    }
    if (memory_installed != &memory_library) {
        memory_free(memory);
        return;
    }
    int rc = munmap(memory, size);
    ASSERT(rc == 0);
}
