/* tests/unit/test_chronicle.c -- the last commands are kept in an unbroken row, within bounds. */
#include <string.h>

#include <criterion/criterion.h>

#include "base/codec.h"
#include "base/memory.h"
#include "node/chronicle.h"

static struct chronicle chronicle;

static struct topology_stamp stamp_of(uint64_t epoch, uint64_t history)
{
    return (struct topology_stamp){
        .generation = {.number = 1, .id = 7}, .epoch = epoch, .hash = epoch * 100 + history};
}

static void add(uint64_t epoch, uint64_t history, size_t size)
{
    uint8_t *bytes = memory_allocate_zeroed(1, size);
    struct topology_stamp from = stamp_of(epoch - 1, history);
    struct topology_stamp to = stamp_of(epoch, history);
    memset(bytes, (int)(epoch & 0xff), size);
    chronicle_add(&chronicle, &from, &to, slice_make(bytes, size));
    memory_free(bytes);
}

/* How many commands lead from one epoch to another; 0: not known. They must be the right ones. */
static uint32_t between(uint64_t from, uint64_t until)
{
    struct buffer bytes = {0};
    struct topology_stamp first = stamp_of(from, 0);
    struct topology_stamp last = stamp_of(until, 0);
    uint32_t count = 0;
    if (chronicle_between(&chronicle, &first, &last, &bytes)) {
        struct codec_reader reader = codec_reader_make(buffer_slice(&bytes));
        while (!codec_reader_done(&reader)) {
            struct slice command = codec_get_bytes(&reader);
            cr_assert(codec_reader_ok(&reader));
            cr_assert_eq(command.data[0], (uint8_t)((from + ++count) & 0xff));
        }
    } else {
        cr_assert_eq(bytes.size, 0);
    }
    buffer_deinit(&bytes);
    return count;
}

Test(chronicle, tells_what_leads_from_any_of_its_stamps_to_the_last)
{
    for (uint64_t epoch = 11; epoch <= 20; epoch++) {
        add(epoch, 0, 10);
    }
    for (uint64_t from = 1; from <= 21; from++) {
        cr_assert_eq(between(from, 20), from >= 10 && from < 20 ? 20 - from : 0, "from %d",
                     (int)from);
    }
    cr_assert_eq(between(10, 19), 0, "it has no end there");
    chronicle_deinit(&chronicle);
}

Test(chronicle, another_hash_or_generation_is_no_stamp_of_it)
{
    add(11, 0, 10);
    add(12, 0, 10);
    struct buffer bytes = {0};
    struct topology_stamp last = stamp_of(12, 0);
    struct topology_stamp other_hash = stamp_of(11, 1);
    struct topology_stamp other_generation = stamp_of(11, 0);
    other_generation.generation.id = 8;
    cr_assert_not(chronicle_between(&chronicle, &other_hash, &last, &bytes));
    cr_assert_not(chronicle_between(&chronicle, &other_generation, &last, &bytes));
    chronicle_deinit(&chronicle);
}

Test(chronicle, what_is_known_is_left_out_and_a_gap_begins_it_anew)
{
    add(11, 0, 10);
    add(12, 0, 10);
    add(11, 0, 10);
    cr_assert_eq(between(10, 12), 2);
    add(15, 0, 10);
    cr_assert_eq(between(10, 15), 0);
    cr_assert_eq(between(14, 15), 1);
    add(16, 1, 10); /* Of another history: what led to the old one leads no further. */
    cr_assert_eq(chronicle.count, 1);
    chronicle_deinit(&chronicle);
}

Test(chronicle, is_bounded_in_count_and_bytes)
{
    for (uint64_t epoch = 2; epoch < 3 + 2 * CHRONICLE_COUNT_MAX; epoch++) {
        add(epoch, 0, 10);
        cr_assert_leq(chronicle.count, CHRONICLE_COUNT_MAX);
    }
    uint64_t last = 2 + 2 * CHRONICLE_COUNT_MAX;
    cr_assert_eq(between(last - CHRONICLE_COUNT_MAX, last), CHRONICLE_COUNT_MAX);
    add(last + 1, 0, CHRONICLE_SIZE_MAX - 100);
    cr_assert_eq(chronicle.count, 11);
    cr_assert_eq(between(last, last + 1), 1);
    add(last + 2, 0, 1000);
    cr_assert_eq(between(last, last + 2), 0);
    cr_assert_eq(between(last + 1, last + 2), 1);
    chronicle_deinit(&chronicle);
}

Test(chronicle, the_way_from_nothing_is_never_told)
{
    struct topology_stamp nothing = {0};
    struct topology_stamp first = stamp_of(1, 0);
    struct buffer bytes = {0};
    chronicle_add(&chronicle, &nothing, &first, slice_text("bootstrap"));
    cr_assert_not(chronicle_between(&chronicle, &nothing, &first, &bytes));
    chronicle_deinit(&chronicle);
}
