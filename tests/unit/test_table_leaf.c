/*
 * tests/unit/test_table_leaf.c -- lsm/table_leaf.c: a table whose index is not in memory answers as
 * one whose is, and takes a fraction of the memory.
 */
#include <math.h>
#include <pthread.h>

#include "tests/unit/table_fixture.h"

struct cached {
    struct budget budget;
    struct cache cache;
    struct table *table;
};

/* Many blocks, few bytes. */
static void many_blocks(struct fixture *fixture, uint64_t seed, uint32_t bits)
{
    fixture_open(fixture, seed);
    entries_draw(fixture, 8000, 300);
    table_write(fixture, &(struct table_writer_options){
                             .block_size = 512, .bloom_bits_per_key = bits, .compress = true});
}

static void cached_open(struct cached *cached, struct fixture *fixture, uint64_t budget_size)
{
    budget_init(&cached->budget, budget_size);
    cache_init(&cached->cache, &cached->budget);
    cr_assert_eq(table_reopen(fixture, &cached->table), STATUS_OK);
    table_use_cache(cached->table, &cached->cache);
    cr_assert_eq(budget_used(&cached->budget, BUDGET_TABLES), cached->table->memory_size);
}

static void cached_close(struct cached *cached)
{
    table_close(cached->table);
    cr_assert_eq(budget_used(&cached->budget, BUDGET_TABLES), 0);
    cr_assert_eq(budget_used(&cached->budget, BUDGET_CACHE), 0);
    cache_deinit(&cached->cache);
}

/* What the table takes if its index is whole. */
static uint64_t whole_size(struct fixture *fixture)
{
    struct cached cached;
    cached_open(&cached, fixture, 1u << 30);
    cr_assert_not_null(cached.table->fences);
    cr_assert_gt(cached.table->leaf_count, 4);
    uint64_t size = cached.table->memory_size;
    cached_close(&cached);
    return size;
}

Test(table_leaf, a_split_index_leads_where_a_whole_one_does, .timeout = 240)
{
    static const uint32_t bits[] = {10, 0};
    for (uint64_t i = 0; i < ARRAY_COUNT(bits); i++) {
        struct fixture fixture;
        many_blocks(&fixture, 40 + i, bits[i]);
        uint64_t whole = whole_size(&fixture);
        /* Room for all leaves, for a few of them, for none. */
        const uint64_t budgets[] = {2 * whole - 2, whole / 2, 1};
        uint64_t least = 0;
        for (uint32_t j = 0; j < ARRAY_COUNT(budgets); j++) {
            struct cached cached;
            cached_open(&cached, &fixture, budgets[j]);
            cr_assert_null(cached.table->fences, "budget=%lu", budgets[j]);
            cr_assert_lt(cached.table->memory_size, whole / 2);
            uint64_t read_before = cached.cache.leaf_read_count;
            assert_gets(&fixture, cached.table);
            assert_walks(&fixture, cached.table);
            uint64_t read_count = cached.cache.leaf_read_count - read_before;
            cr_assert_geq(read_count, least, "less memory, more reads");
            least = read_count;
            cached_close(&cached);
        }
        cr_assert_gt(least, fixture.entry_count, "none of them stayed");
        fixture_close(&fixture);
    }
}

/* The parts of one that fits are handed to the cache at once, and are then not read again. */
Test(table_leaf, leaves_that_fit_stay)
{
    struct fixture fixture;
    many_blocks(&fixture, 50, 10);
    uint64_t whole = whole_size(&fixture);
    struct cached cached;
    cached_open(&cached, &fixture, 100 * whole);
    cr_assert_not_null(cached.table->fences);
    struct table *second;
    cr_assert_eq(table_reopen(&fixture, &second), STATUS_OK);
    budget_take(&cached.budget, BUDGET_TABLES, 49 * whole);
    table_use_cache(second, &cached.cache);
    cr_assert_null(second->fences, "there is no room for a second one");
    assert_gets(&fixture, second);
    cr_assert_eq(cached.cache.leaf_read_count, 0);
    budget_give(&cached.budget, BUDGET_TABLES, 49 * whole);
    table_close(second);
    cached_close(&cached);
    fixture_close(&fixture);
}

static int calls_left;

static void *failing_allocate(size_t size)
{
    return calls_left-- > 0 ? malloc(size) : NULL;
}

static void *failing_resize(void *memory, size_t size)
{
    return calls_left-- > 0 ? realloc(memory, size) : NULL;
}

static const struct memory_hooks failing_hooks = {failing_allocate, failing_resize, free};

/* One get and one walk over a few leaves; the first failure ends it. */
static enum status look_once(struct fixture *fixture, const struct table *table)
{
    struct buffer scratch = {0};
    struct table_cursor cursor;
    struct cell cell;
    const struct entry *entry = &fixture->entries[fixture->entry_count / 2];
    enum status status =
        get_unfiltered(table, slice_text(entry->key), LSM_MAY_BLOCK, &scratch, &cell);
    table_cursor_open(&cursor, table);
    if (status == STATUS_OK) {
        status = cursor_seek(&cursor.base, slice_text(entry->key), LSM_MAY_BLOCK);
    }
    for (uint32_t i = fixture->entry_count / 2;
         status == STATUS_OK && i < fixture->entry_count / 2 + 2000; i++) {
        assert_stands(fixture, &cursor.base, i);
        status = cursor_next(&cursor.base, LSM_MAY_BLOCK);
    }
    table_cursor_close(&cursor);
    buffer_deinit(&scratch);
    return status;
}

Test(table_leaf, every_allocation_may_fail, .timeout = 120)
{
    struct fixture fixture;
    many_blocks(&fixture, 60, 10);
    struct cached cached;
    cached_open(&cached, &fixture, 1);
    int calls = 0;
    for (;; calls++) {
        calls_left = calls;
        memory_set_hooks(&failing_hooks);
        enum status status = look_once(&fixture, cached.table);
        memory_set_hooks(NULL);
        if (calls_left >= 0) {
            cr_assert_eq(status, STATUS_OK);
            break;
        }
        cr_assert(status == STATUS_NO_MEMORY || status == STATUS_OK, "calls=%d", calls);
    }
    cr_assert_gt(calls, 10);
    cached_close(&cached);
    fixture_close(&fixture);
}

struct asker {
    struct fixture *fixture;
    const struct table *table;
    uint64_t seed;
};

/* Gets and short walks, here and there. */
static void *asker_run(void *context)
{
    struct asker *asker = context;
    const struct fixture *fixture = asker->fixture;
    struct prng prng;
    struct buffer scratch = {0};
    prng_init(&prng, asker->seed);
    for (uint32_t round = 0; round < 1500; round++) {
        uint32_t index = (uint32_t)prng_below(&prng, fixture->entry_count);
        struct slice key = slice_text(fixture->entries[index].key);
        struct table_cursor cursor;
        struct cell cell;
        cr_assert_eq(get_unfiltered(asker->table, key, LSM_MAY_BLOCK, &scratch, &cell), STATUS_OK);
        assert_cell(&fixture->entries[index], &cell);
        table_cursor_open(&cursor, asker->table);
        enum status status = cursor_seek(&cursor.base, key, LSM_MAY_BLOCK);
        for (uint32_t i = index; i < index + 10 && i < fixture->entry_count; i++) {
            cr_assert_eq(status, STATUS_OK);
            assert_stands(fixture, &cursor.base, i);
            status = cursor_next(&cursor.base, LSM_MAY_BLOCK);
        }
        table_cursor_close(&cursor);
    }
    buffer_deinit(&scratch);
    return NULL;
}

Test(table_leaf, threads_share_leaves_that_come_and_go, .timeout = 120)
{
    struct fixture fixture;
    many_blocks(&fixture, 70, 10);
    struct cached cached;
    cached_open(&cached, &fixture, whole_size(&fixture));
    cr_assert_null(cached.table->fences);
    pthread_t threads[3];
    struct asker askers[3];
    for (uint64_t i = 0; i < 3; i++) {
        askers[i] = (struct asker){.fixture = &fixture, .table = cached.table, .seed = i};
        cr_assert_eq(pthread_create(&threads[i], NULL, asker_run, &askers[i]), 0);
    }
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    }
    cr_assert_gt(cached.cache.evict_count, 0);
    cached_close(&cached);
    fixture_close(&fixture);
}

/* Right to what one part of the index names, where a whole one is right to a block. */
Test(table_leaf, shares_by_a_split_index_are_near_those_by_a_whole_one)
{
    struct fixture fixture;
    many_blocks(&fixture, 60, 0);
    struct cached whole;
    struct cached split;
    cached_open(&whole, &fixture, 1u << 30);
    cached_open(&split, &fixture, 1);
    cr_assert_not_null(whole.table->fences);
    cr_assert_null(split.table->fences);
    double part = 2.0 / split.table->leaf_count; /* They are of about one size. */
    double before[2] = {0.0, 0.0};
    for (uint32_t i = 0; i < fixture.entry_count; i++) {
        struct slice key = slice_text(fixture.entries[i].key);
        double true_share = (double)i / fixture.entry_count;
        double shares[] = {table_share_below(whole.table, key),
                           table_share_below(split.table, key)};
        cr_assert(shares[0] >= before[0] && shares[1] >= before[1], "key %u", i);
        cr_assert(fabs(shares[0] - true_share) < 0.02, "key %u: %f, not %f", i, shares[0],
                  true_share);
        cr_assert(fabs(shares[1] - true_share) < 0.02 + part, "key %u: %f, not %f", i, shares[1],
                  true_share);
        memcpy(before, shares, sizeof(before));
    }
    cached_close(&whole);
    cached_close(&split);
    fixture_close(&fixture);
}
