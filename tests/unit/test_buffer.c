/* tests/unit/test_buffer.c -- owned bytes that grow, and what a refused allocation does. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/buffer.h"
#include "base/memory.h"

static int calls_left;

static void *limited_allocate(size_t size)
{
    return calls_left-- > 0 ? malloc(size) : NULL;
}

static void *limited_resize(void *memory, size_t size)
{
    return calls_left-- > 0 ? realloc(memory, size) : NULL;
}

static const struct memory_hooks limited = {
    .allocate = limited_allocate,
    .resize = limited_resize,
    .release = free,
};

Test(buffer, appends_follow_one_another)
{
    struct buffer buffer = {0};
    buffer_append(&buffer, "ab", 2);
    buffer_append(&buffer, NULL, 0);
    buffer_append_slice(&buffer, slice_text("cd"));
    buffer_append_text(&buffer, "e");
    buffer_append_format(&buffer, "%d-%s", 12, "x");
    cr_assert(slice_equal(buffer_slice(&buffer), slice_text("abcde12-x")));
    cr_assert_eq(buffer_status(&buffer), STATUS_OK);
    buffer_deinit(&buffer);
    cr_assert_null(buffer.data);
    buffer_deinit(&buffer);
}

/* Formats of every length around the room that is tried first, and around growth. */
Test(buffer, format_of_any_length_is_whole)
{
    char text[400];
    memset(text, 'x', sizeof(text));
    for (int length = 0; length < (int)sizeof(text); length++) {
        struct buffer buffer = {0};
        buffer_append_text(&buffer, "head");
        buffer_append_format(&buffer, "%.*s", length, text);
        buffer_append_text(&buffer, "|");
        cr_assert_eq(buffer.size, 4 + (size_t)length + 1, "length %d", length);
        cr_assert_eq(buffer.data[buffer.size - 1], '|', "length %d", length);
        cr_assert(length == 0 || memcmp(buffer.data + 4, text, (size_t)length) == 0);
        buffer_deinit(&buffer);
    }
}

Test(buffer, growth_doubles)
{
    struct buffer buffer = {0};
    size_t growths = 0;
    size_t capacity = 0;
    for (int index = 0; index < 100000; index++) {
        uint8_t byte = (uint8_t)index;
        buffer_append(&buffer, &byte, 1);
        if (buffer.capacity != capacity) {
            cr_assert(capacity == 0 || buffer.capacity == 2 * capacity);
            capacity = buffer.capacity;
            growths++;
        }
    }
    cr_assert_leq(growths, 12);
    for (size_t index = 0; index < buffer.size; index++) {
        cr_assert_eq(buffer.data[index], (uint8_t)index);
    }
    buffer_deinit(&buffer);
}

/* For every n: refuse the n-th allocation; what came before stays, nothing comes after. */
Test(buffer, refused_growth_keeps_what_is_there_and_sticks)
{
    for (int allowed = 0; allowed < 5; allowed++) {
        memory_set_hooks(&limited);
        calls_left = allowed;
        struct buffer buffer = {0};
        size_t whole = 0;
        for (int index = 0; index < 60; index++) {
            buffer_append(&buffer, "0123456789", 10);
            if (!buffer.failed) {
                whole = buffer.size;
            }
        }
        cr_assert_eq(buffer_status(&buffer), STATUS_NO_MEMORY, "allowed %d", allowed);
        cr_assert_eq(buffer.size, whole);
        cr_assert_eq(whole % 10, 0);
        calls_left = 100;
        buffer_append_text(&buffer, "later");
        buffer_append_format(&buffer, "%d", 1);
        cr_assert_null(buffer_reserve(&buffer, 1));
        cr_assert_eq(buffer.size, whole);
        buffer_clear(&buffer);
        buffer_append_text(&buffer, "anew");
        cr_assert_eq(buffer_status(&buffer), STATUS_OK);
        cr_assert(slice_equal(buffer_slice(&buffer), slice_text("anew")));
        buffer_deinit(&buffer);
        memory_set_hooks(NULL);
    }
}

Test(buffer, impossible_size_is_no_memory)
{
    struct buffer buffer = {0};
    buffer_append_text(&buffer, "x");
    cr_assert_null(buffer_reserve(&buffer, SIZE_MAX));
    cr_assert_eq(buffer_status(&buffer), STATUS_NO_MEMORY);
    cr_assert_eq(buffer.size, 1);
    buffer_deinit(&buffer);
}

Test(buffer, reserve_of_nothing_is_no_failure)
{
    struct buffer buffer = {0};
    cr_assert_not_null(buffer_reserve(&buffer, 0));
    buffer_commit(&buffer, 0);
    cr_assert_eq(buffer_status(&buffer), STATUS_OK);
    buffer_deinit(&buffer);
}

Test(buffer, consume_drops_the_front)
{
    struct buffer buffer = {0};
    buffer_consume(&buffer, 0);
    buffer_append_text(&buffer, "abcdef");
    buffer_consume(&buffer, 2);
    cr_assert(slice_equal(buffer_slice(&buffer), slice_text("cdef")));
    buffer_consume(&buffer, 4);
    cr_assert_eq(buffer.size, 0);
    buffer_deinit(&buffer);
}

Test(buffer, consume_of_more_than_there_is_is_a_bug, .signal = SIGABRT)
{
    struct buffer buffer = {0};
    buffer_consume(&buffer, 1);
}

Test(buffer, commit_of_more_than_was_reserved_is_a_bug, .signal = SIGABRT)
{
    struct buffer buffer = {0};
    cr_assert_not_null(buffer_reserve(&buffer, 8));
    buffer_commit(&buffer, buffer.capacity + 1);
}
