/* tests/unit/test_memory.c -- the heap's door. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"

static int calls_left; /* Allocations that still succeed. */
static int releases;

static void *counted_allocate(size_t size)
{
    return calls_left-- > 0 ? malloc(size) : NULL;
}

static void *counted_resize(void *memory, size_t size)
{
    return calls_left-- > 0 ? realloc(memory, size) : NULL;
}

static void counted_release(void *memory)
{
    releases++;
    free(memory);
}

static const struct memory_hooks counted = {
    .allocate = counted_allocate,
    .resize = counted_resize,
    .release = counted_release,
};

Test(memory, size_zero_is_never_null)
{
    void *memory = memory_allocate(0);
    cr_assert_not_null(memory);
    memory = memory_resize(memory, 0);
    cr_assert_not_null(memory);
    memory_free(memory);
    void *zeroed = memory_allocate_zeroed(0, 8);
    cr_assert_not_null(zeroed);
    memory_free(zeroed);
}

Test(memory, zeroed_is_zero_and_overflow_is_no_memory)
{
    uint8_t *memory = memory_allocate_zeroed(33, 7);
    cr_assert_not_null(memory);
    for (size_t index = 0; index < 33 * 7; index++) {
        cr_assert_eq(memory[index], 0, "byte %zu", index);
    }
    memory_free(memory);
    cr_assert_null(memory_allocate_zeroed(SIZE_MAX / 2, 3));
}

Test(memory, hooks_see_every_call_and_null_restores_the_library)
{
    memory_set_hooks(&counted);
    calls_left = 3;
    releases = 0;
    void *first = memory_allocate(10);
    first = memory_resize(first, 20);
    char *copy = memory_copy_string("text");
    cr_assert_str_eq(copy, "text");
    cr_assert_null(memory_allocate(1));
    cr_assert_null(memory_allocate_zeroed(1, 1));
    cr_assert_null(memory_copy_string("x"));
    memory_free(NULL);
    cr_assert_eq(releases, 0);
    memory_free(first);
    memory_free(copy);
    cr_assert_eq(releases, 2);
    memory_set_hooks(NULL);
    void *after = memory_allocate(1);
    cr_assert_not_null(after);
    memory_free(after);
    cr_assert_eq(releases, 2);
}

Test(memory, huge_pages_are_aligned_and_hold_what_is_put_there)
{
    size_t size = 3 * MEMORY_HUGE_SIZE;
    uint8_t *memory = memory_allocate_huge(size);
    cr_assert_not_null(memory);
    cr_assert_eq((uintptr_t)memory % MEMORY_HUGE_SIZE, 0);
    memset(memory, 7, size);
    cr_assert_eq(memory[size - 1], 7);
    memory_free_huge(memory, size);
    memory_free_huge(NULL, size);
    memory_set_hooks(&counted);
    calls_left = 1;
    releases = 0;
    memory = memory_allocate_huge(MEMORY_HUGE_SIZE);
    cr_assert_not_null(memory);
    cr_assert_null(memory_allocate_huge(MEMORY_HUGE_SIZE));
    memory_free_huge(memory, MEMORY_HUGE_SIZE);
    cr_assert_eq(releases, 1);
    memory_set_hooks(NULL);
}
