/* tests/unit/test_register_window.c -- what is remembered, within its bounds. */
#include <criterion/criterion.h>

#include "node/register_window.h"

static struct version id_make(uint64_t time)
{
    return (struct version){.time = time, .node = 1};
}

static const uint8_t result_bytes[REGISTER_RESULT_SIZE_MAX] = {7, 8, 9};

static struct slice result_of(size_t size)
{
    return slice_make(result_bytes, size);
}

Test(register_window, of_a_cell_without_one_nothing_is_remembered)
{
    struct register_window window;
    struct cell cell = {.version = id_make(9)};
    cr_assert_eq(register_window_decode(&cell, &window), STATUS_OK);
    cr_assert_eq(window.count, 0);
    cr_assert_eq(window.forgotten.time, 0);
    cr_assert_eq(window.changed.time, 9);
}

/* docs/formats/window.md, byte by byte. */
Test(register_window, is_written_as_its_page_says_and_read_back)
{
    struct register_window window = {.forgotten = id_make(0x0102), .changed = id_make(0x0304)};
    register_window_add(&window, (struct version){5, 6, 7}, result_of(3));
    struct buffer bytes = {0};
    register_window_encode(&bytes, &window);
    static const uint8_t wanted[] = {
        1, 1,                                              /* version, count */
        2, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,    /* forgotten */
        4, 3, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,    /* changed */
        5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0, 3, /* id, size */
        7, 8, 9,
    };
    cr_assert(slice_equal(buffer_slice(&bytes), slice_make(wanted, sizeof(wanted))));
    struct register_window read;
    struct cell cell = {.window = buffer_slice(&bytes)};
    cr_assert_eq(register_window_decode(&cell, &read), STATUS_OK);
    cr_assert_eq(version_compare(read.forgotten, window.forgotten), 0);
    cr_assert_eq(version_compare(read.changed, window.changed), 0);
    const struct register_entry *entry = register_window_find(&read, (struct version){5, 6, 7});
    cr_assert_not_null(entry);
    cr_assert(slice_equal(entry->result, result_of(3)));
    cr_assert_null(register_window_find(&read, (struct version){5, 6, 8}));
    buffer_deinit(&bytes);
}

Test(register_window, cut_anywhere_or_longer_it_is_corrupt)
{
    struct register_window window = {0};
    register_window_add(&window, id_make(1), result_of(3));
    register_window_add(&window, id_make(2), result_of(0));
    struct buffer bytes = {0};
    register_window_encode(&bytes, &window);
    codec_put_u8(&bytes, 0);
    struct register_window read;
    for (size_t size = 1; size <= bytes.size; size++) {
        struct cell cell = {.window = slice_make(bytes.data, size)};
        cr_assert_eq(register_window_decode(&cell, &read),
                     size == bytes.size - 1 ? STATUS_OK : STATUS_CORRUPT, "size %zu", size);
    }
    bytes.data[0] = 2;
    struct cell cell = {.window = slice_make(bytes.data, bytes.size - 1)};
    cr_assert_eq(register_window_decode(&cell, &read), STATUS_CORRUPT);
    buffer_deinit(&bytes);
}

/* Whatever the sizes of results, both bounds hold and each id is known or below `forgotten`. */
Test(register_window, the_oldest_make_room_and_are_forgotten)
{
    for (size_t size = 0; size <= REGISTER_RESULT_SIZE_MAX; size++) {
        struct register_window window = {0};
        for (uint64_t id = 1; id <= 20; id++) {
            /* Not in the order of ids: forgotten is their greatest, whichever goes first. */
            uint64_t time = id % 2 == 0 ? id - 1 : id + 1;
            register_window_add(&window, id_make(time), result_of(size));
            struct buffer bytes = {0};
            register_window_encode(&bytes, &window);
            cr_assert_leq(bytes.size, REGISTER_WINDOW_SIZE_MAX, "results of %zu", size);
            buffer_deinit(&bytes);
            cr_assert_leq(window.count, REGISTER_WINDOW_COUNT_MAX);
            cr_assert_not_null(register_window_find(&window, id_make(time)));
        }
        for (uint64_t time = 1; time <= 20; time++) {
            bool known = register_window_find(&window, id_make(time)) != NULL;
            cr_assert(known || version_compare(id_make(time), window.forgotten) <= 0,
                      "id %lu, results of %zu", (unsigned long)time, size);
        }
        cr_assert_eq(window.count, size <= 42 ? 8 : 478 / (17 + size), "results of %zu", size);
    }
}
