/* tests/unit/test_key_load.c -- keys of lines, counts of tokens, and made-up keys. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "base/token.h"
#include "tools/whatif/key_load.h"

static enum status read_text(struct key_load *load, const char *text, size_t size, uint64_t *line)
{
    FILE *file = fmemopen((void *)(uintptr_t)text, size, "r");
    cr_assert_not_null(file);
    enum status status = key_load_read(load, file, line);
    fclose(file);
    key_load_seal(load);
    return status;
}

static uint64_t count_of(const struct key_load *load, const char *key)
{
    for (size_t i = 0; i < load->item_count; i++) {
        if (load->items[i].token == token_of(0, slice_text(key))) {
            return load->items[i].count;
        }
    }
    return 0;
}

static void check_sealed(const struct key_load *load)
{
    uint64_t sum = load->item_count > 0 ? load->items[0].count : 0;
    for (size_t i = 1; i < load->item_count; i++) {
        cr_assert_lt(load->items[i - 1].token, load->items[i].token);
        sum += load->items[i].count;
    }
    cr_assert_eq(sum, load->total);
}

Test(key_load, a_key_counts_as_often_as_it_stands)
{
    static const char text[] = "hot\ncold\n\nhot\nhot\nlast without a line break";
    struct key_load load = {0};
    uint64_t line;
    cr_assert_eq(read_text(&load, text, strlen(text), &line), STATUS_OK);
    cr_assert_eq(load.total, 5);
    cr_assert_eq(load.item_count, 3);
    cr_assert_eq(count_of(&load, "hot"), 3);
    cr_assert_eq(count_of(&load, "cold"), 1);
    cr_assert_eq(count_of(&load, "last without a line break"), 1);
    check_sealed(&load);
    key_load_deinit(&load);
}

Test(key_load, the_longest_key_passes_and_a_longer_line_is_named)
{
    size_t size = KEY_LOAD_KEY_SIZE_MAX + 4;
    char *text = memory_allocate(size);
    cr_assert_not_null(text);
    uint64_t line;
    struct key_load load = {0};
    memset(text, 'k', size);
    memcpy(text, "a\n", 2);
    cr_assert_eq(read_text(&load, text, KEY_LOAD_KEY_SIZE_MAX + 2, &line), STATUS_OK);
    cr_assert_eq(load.total, 2);
    key_load_deinit(&load);
    cr_assert_eq(read_text(&load, text, KEY_LOAD_KEY_SIZE_MAX + 3, &line), STATUS_TOO_LARGE);
    cr_assert_eq(line, 2);
    key_load_deinit(&load);
    memory_free(text);
}

Test(key_load, an_empty_load_is_sealed_too)
{
    struct key_load load = {0};
    key_load_seal(&load);
    cr_assert_eq(load.total, 0);
    key_load_deinit(&load);
}

static void synthesize(struct key_load *load, uint64_t count, double zipf, uint64_t seed)
{
    *load = (struct key_load){0};
    const struct key_load_synthesis synthesis = {.count = count, .zipf = zipf, .seed = seed};
    cr_assert_eq(key_load_synthesize(load, &synthesis), STATUS_OK);
    key_load_seal(load);
    check_sealed(load);
}

static bool same(const struct key_load *a, const struct key_load *b)
{
    return a->item_count == b->item_count &&
           memcmp(a->items, b->items, a->item_count * sizeof(a->items[0])) == 0;
}

Test(key_load, made_up_keys_are_each_there_once)
{
    struct key_load load;
    synthesize(&load, 5000, 0, 1);
    cr_assert_eq(load.item_count, 5000);
    cr_assert_eq(load.total, 5000);
    key_load_deinit(&load);
}

Test(key_load, a_seed_decides_everything)
{
    struct key_load one;
    struct key_load again;
    struct key_load other;
    for (int zipf = 0; zipf <= 1; zipf++) {
        synthesize(&one, 1000, zipf, 5);
        synthesize(&again, 1000, zipf, 5);
        synthesize(&other, 1000, zipf, 6);
        cr_assert(same(&one, &again));
        cr_assert_not(same(&one, &other));
        key_load_deinit(&one);
        key_load_deinit(&again);
        key_load_deinit(&other);
    }
}

/* Of 100,000 keys at exponent 1 the first has 1 / 12.09 of the draws, the second half of that;
 * the bounds are 5 standard deviations of as many draws. */
Test(key_load, draws_follow_the_exponent)
{
    const uint64_t count = 100000;
    double harmonic = 0;
    struct key_load load;
    synthesize(&load, count, 1, 3);
    for (uint64_t rank = 1; rank <= count; rank++) {
        harmonic += 1.0 / (double)rank;
    }
    cr_assert_float_eq((double)count_of(&load, "key:3:0"), (double)count / harmonic, 450);
    cr_assert_float_eq((double)count_of(&load, "key:3:1"), (double)count / harmonic / 2, 320);
    cr_assert_lt(load.item_count, count / 2);
    cr_assert_eq(load.total, count);
    key_load_deinit(&load);
}

Test(key_load, more_keys_than_the_bound_are_refused)
{
    struct key_load load = {0};
    const struct key_load_synthesis synthesis = {.count = KEY_LOAD_COUNT_MAX + UINT64_C(1)};
    cr_assert_eq(key_load_synthesize(&load, &synthesis), STATUS_OVERLOADED);
    cr_assert_eq(load.item_count, 0);
}
