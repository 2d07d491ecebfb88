/*
 * tests/unit/test_table.c -- lsm/table.h and lsm/table_writer.h: what was written is read.
 */
#include "tests/unit/table_fixture.h"

#define GOLDEN_PATH_V1 GOLDEN_DIR "/table_v1.sst"
#define GOLDEN_PATH_V2 GOLDEN_DIR "/table_v2.sst"

Test(table, round_trips_of_random_keys_and_sizes, .timeout = 120)
{
    for (uint64_t seed = 1; seed <= 24; seed++) {
        static const uint32_t counts[] = {1, 2, 9, 100, 3000};
        static const uint32_t block_sizes[] = {0, 512, 16384};
        struct fixture fixture;
        fixture_open(&fixture, seed);
        entries_draw(&fixture, counts[seed % 5], seed % 7 == 0 ? 9000 : 120);
        table_write(&fixture, &(struct table_writer_options){
                                  .block_size = block_sizes[seed % 3],
                                  .bloom_bits_per_key = seed % 4 == 0 ? 0 : 10,
                                  .compress = seed % 2 == 0,
                              });
        struct table *table;
        cr_assert_eq(table_reopen(&fixture, &table), STATUS_OK, "seed=%lu", seed);
        cr_assert_eq(table->properties.entry_count, fixture.entry_count);
        cr_assert_eq(table->properties.tombstone_count, fixture.tombstone_count);
        cr_assert_eq(table->properties.expiring_count, fixture.expiring_count);
        assert_gets(&fixture, table);
        assert_walks(&fixture, table);
        cr_assert_eq(table_verify(table), STATUS_OK);
        cr_assert(table_release(table));
        table_close(table);
        fixture_close(&fixture);
    }
}

/* Separators that tie in the bytes searched first, and bounds outside what all keys share. */
Test(table, keys_with_a_long_common_prefix_are_told_apart, .timeout = 120)
{
    static const char *const alike[] = {"acct/0001/long-and-same/", "acct/0001/long-and-same/",
                                        "acct/0001/long-and-same/x", "acct/0001/", "acct/0001/~"};
    static const char *const outside[] = {"a",          "acct",         "acct/0000/~", "acct/0001",
                                          "acct/0001/", "acct/0001/~~", "acct/0002",   "b"};
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct fixture fixture;
        fixture_open(&fixture, seed);
        entries_draw_under(&fixture, alike, 2000, 120);
        table_write(&fixture,
                    &(struct table_writer_options){.block_size = 512, .bloom_bits_per_key = 10});
        struct table *table;
        cr_assert_eq(table_reopen(&fixture, &table), STATUS_OK);
        cr_assert_eq(table->common_size, strlen("acct/0001/"));
        assert_gets(&fixture, table);
        assert_walks(&fixture, table);
        struct table_cursor cursor;
        table_cursor_open(&cursor, table);
        for (size_t i = 0; i < ARRAY_COUNT(outside); i++) {
            assert_seek(&fixture, &cursor.base, outside[i]);
            cr_assert_not(table_may_hold(table, slice_text(outside[i]), hash_of(outside[i])));
        }
        table_cursor_close(&cursor);
        table_close(table);
        fixture_close(&fixture);
    }
}

/* Gets and walks agree with the list whatever the cache holds; and what it holds is not read: the
 * second round goes over a file of zeros. */
Test(table, blocks_stay_in_the_cache_and_are_not_read_again, .timeout = 120)
{
    static const uint64_t budgets[] = {64u << 20, 64u << 10, 1};
    for (uint64_t round = 0; round < 3; round++) {
        struct fixture fixture;
        fixture_open(&fixture, 30 + round);
        entries_draw(&fixture, 3000, 120);
        table_write(&fixture, &(struct table_writer_options){.bloom_bits_per_key = 10,
                                                             .compress = round == 0});
        struct budget budget;
        struct cache cache;
        budget_init(&budget, budgets[round]);
        cache_init(&cache, &budget);
        struct table *table;
        cr_assert_eq(table_reopen(&fixture, &table), STATUS_OK);
        table_use_cache(table, &cache);
        cr_assert_eq(budget_used(&budget, BUDGET_TABLES), table->memory_size);
        assert_gets(&fixture, table);
        assert_walks(&fixture, table);
        if (round == 0) {
            struct buffer zeros = file_load(fixture.path);
            memset(zeros.data, 0, zeros.size);
            file_store(fixture.path, buffer_slice(&zeros));
            buffer_deinit(&zeros);
            cr_assert_eq(cache.insert_count, table->block_count + table->filter_count);
            assert_gets(&fixture, table);
            assert_walks(&fixture, table);
        }
        cr_assert_leq(budget_used(&budget, BUDGET_CACHE), budget_cache_room(&budget));
        table_close(table);
        cr_assert_eq(budget_used(&budget, BUDGET_CACHE), 0);
        cr_assert_eq(budget_used(&budget, BUDGET_TABLES), 0);
        cache_deinit(&cache);
        fixture_close(&fixture);
    }
}

static enum status (*real_file_read)(struct env_file *file, uint64_t offset, void *to, size_t size,
                                     size_t *got);
static uint32_t read_count;

static enum status counted_file_read(struct env_file *file, uint64_t offset, void *to, size_t size,
                                     size_t *got)
{
    read_count++;
    return real_file_read(file, offset, to, size, got);
}

static void fixture_count_reads(struct fixture *fixture)
{
    quiet_ops = *fixture->env->ops;
    real_file_read = quiet_ops.file_read;
    quiet_ops.file_read = counted_file_read;
    fixture->env->ops = &quiet_ops;
}

/* A table that uses a cache with room for all of it; reads of its file are counted. */
static struct table *roomy_open(struct fixture *fixture, uint64_t seed, uint32_t entry_count,
                                struct budget *budget, struct cache *cache)
{
    fixture_open(fixture, seed);
    entries_draw(fixture, entry_count, 120);
    table_write(fixture,
                &(struct table_writer_options){.bloom_bits_per_key = 10, .compress = true});
    fixture_count_reads(fixture);
    budget_init(budget, 64u << 20);
    cache_init(cache, budget);
    struct table *table;
    cr_assert_eq(table_reopen(fixture, &table), STATUS_OK);
    table_use_cache(table, cache);
    return table;
}

static void get_entry(const struct fixture *fixture, const struct table *table, uint32_t i)
{
    struct buffer scratch = {0};
    struct cell cell;
    cr_assert_eq(
        get_unfiltered(table, slice_text(fixture->entries[i].key), LSM_MAY_BLOCK, &scratch, &cell),
        STATUS_OK);
    assert_cell(&fixture->entries[i], &cell);
    buffer_deinit(&scratch);
}

/* With room for all, a read brings up to four blocks; without, one; both by gets and by seeks. */
Test(table, a_miss_brings_the_blocks_beside_it_only_while_there_is_room_for_all, .timeout = 120)
{
    for (uint64_t round = 0; round < 4; round++) {
        bool roomy = round % 2 == 0;
        bool seeks = round >= 2;
        struct fixture fixture;
        struct budget budget;
        struct cache cache;
        struct table *table = roomy_open(&fixture, 40, 3000, &budget, &cache);
        cr_assert_geq(table->block_count, 16);
        uint64_t others = roomy ? 0 : 64u << 20;
        cache_demand_add(&cache, others);
        uint64_t before = cache.insert_count;
        read_count = 0;
        for (uint32_t i = 0; i < fixture.entry_count; i++) {
            if (seeks) {
                struct table_cursor cursor;
                table_cursor_open(&cursor, table);
                enum status status =
                    cursor_seek(&cursor.base, slice_text(fixture.entries[i].key), LSM_MAY_BLOCK);
                cr_assert_eq(status, STATUS_OK);
                assert_stands(&fixture, &cursor.base, i);
                table_cursor_close(&cursor);
            } else {
                get_entry(&fixture, table, i);
            }
        }
        cr_assert_eq(cache.insert_count - before, table->block_count);
        cr_assert_eq(atomic_load(&cache.time), read_count);
        if (roomy) {
            cr_assert_leq(read_count, table->block_count / 4 + 1 + table->filter_count);
        } else {
            cr_assert_eq(read_count, table->block_count);
        }
        cache_demand_remove(&cache, others);
        table_close(table);
        cr_assert_eq(atomic_load(&cache.demand), 0);
        cache_deinit(&cache);
        fixture_close(&fixture);
    }
}

/* Where the filter was wrong, tags say so before anything is unpacked: a block does not come into
 * the cache for that, unless it happens again. */
Test(table, a_block_asked_in_vain_is_cached_the_second_time, .timeout = 120)
{
    struct fixture fixture;
    struct budget budget;
    struct cache cache;
    struct table *table = roomy_open(&fixture, 41, 6000, &budget, &cache);
    cache_demand_add(&cache, 64u << 20);
    uint32_t half = fixture.entry_count / 2;
    for (uint32_t i = 0; i < half; i++) {
        get_entry(&fixture, table, i);
    }
    uint32_t counts[3] = {0};
    uint32_t block_index = table->block_count;
    struct buffer scratch = {0};
    for (uint32_t i = half; i < fixture.entry_count; i++) {
        char absent[KEY_SIZE_MAX];
        strcpy(absent, fixture.entries[i].key);
        absent[strlen(absent) - 1]++;
        struct table_probe probe = {.key = slice_text(absent), .hash = hash_of(absent)};
        uint64_t before = cache.insert_count;
        struct cell cell;
        for (uint32_t time = 0; time < 2 && table_locate(table, &probe); time++) {
            cr_assert_eq(table_get(table, &probe, LSM_MAY_BLOCK, &scratch, &cell),
                         STATUS_NOT_FOUND);
            if (probe.cached || (time == 0 && probe.block_index == block_index)) {
                break;
            }
            block_index = probe.block_index;
            counts[time] += (uint32_t)(cache.insert_count - before);
            counts[2] += time;
        }
    }
    cr_assert_gt(counts[2], 10);
    cr_assert_eq(counts[1], counts[2], "all by the second time: %u of %u", counts[1], counts[2]);
    cr_assert_lt(counts[0], table->block_count / 4, "%u of %u", counts[0], table->block_count);
    buffer_deinit(&scratch);
    cache_demand_remove(&cache, 64u << 20);
    table_close(table);
    cache_deinit(&cache);
    fixture_close(&fixture);
}

Test(table, properties_tell_the_bounds_of_what_is_inside)
{
    struct fixture fixture;
    fixture_open(&fixture, 4);
    entries_draw(&fixture, 2000, 50);
    table_write(&fixture, &(struct table_writer_options){.bloom_bits_per_key = 10});
    struct table_properties want = {0};
    for (uint32_t i = 0; i < fixture.entry_count; i++) {
        struct cell cell;
        cr_assert_eq(cell_decode(buffer_slice(&fixture.entries[i].cell), &cell), STATUS_OK);
        if (i == 0 || version_compare(cell.version, want.version_min) < 0) {
            want.version_min = cell.version;
        }
        if (version_compare(cell.version, want.version_max) > 0) {
            want.version_max = cell.version;
        }
        want.stamp_max = cell.stamp > want.stamp_max ? cell.stamp : want.stamp_max;
        if (cell.expiry_ms != 0 &&
            (want.expiry_min_ms == 0 || cell.expiry_ms < want.expiry_min_ms)) {
            want.expiry_min_ms = cell.expiry_ms;
        }
        want.expiry_max_ms =
            cell.expiry_ms > want.expiry_max_ms ? cell.expiry_ms : want.expiry_max_ms;
        want.raw_size += strlen(fixture.entries[i].key) + fixture.entries[i].cell.size;
    }
    struct table *table;
    cr_assert_eq(table_reopen(&fixture, &table), STATUS_OK);
    const struct table_properties *got = &table->properties;
    cr_assert_eq(version_compare(got->version_min, want.version_min), 0);
    cr_assert_eq(version_compare(got->version_max, want.version_max), 0);
    cr_assert_eq(got->stamp_max, want.stamp_max);
    cr_assert_eq(got->expiry_min_ms, want.expiry_min_ms);
    cr_assert_eq(got->expiry_max_ms, want.expiry_max_ms);
    cr_assert_eq(got->raw_size, want.raw_size);
    cr_assert(slice_equal(got->key_min, slice_text(fixture.entries[0].key)));
    cr_assert(slice_equal(got->key_max, slice_text(fixture.entries[fixture.entry_count - 1].key)));
    table_close(table);
    fixture_close(&fixture);
}

Test(table, several_filters_and_index_parts_spare_and_find_alike, .timeout = 120)
{
    struct fixture fixture;
    fixture_open(&fixture, 9);
    entries_draw(&fixture, 160000, 8);
    table_write(&fixture, &(struct table_writer_options){.bloom_bits_per_key = 10});
    struct table *table;
    cr_assert_eq(table_reopen(&fixture, &table), STATUS_OK);
    cr_assert(table->filter_count >= 2, "%u", table->filter_count);
    assert_gets(&fixture, table);
    /* 8 bytes of filter and index a key at most: memory is in proportion. */
    cr_assert(table->memory_size < fixture.entry_count * 8, "%lu", table->memory_size);
    table_close(table);
    fixture_close(&fixture);
}

Test(table, a_value_far_above_the_block_size_lies_in_a_block_of_its_own)
{
    struct fixture fixture;
    fixture_open(&fixture, 2);
    static const uint32_t sizes[] = {10, 3000000, 10, 700000, 20};
    fixture.entries = memory_allocate_zeroed(5, sizeof(struct entry));
    fixture.entry_count = 5;
    for (uint32_t i = 0; i < 5; i++) {
        snprintf(fixture.entries[i].key, KEY_SIZE_MAX, "%u", 2 * i);
        struct buffer value = {0};
        for (uint32_t at = 0; at < sizes[i]; at++) {
            uint8_t byte = (uint8_t)prng_next(&fixture.prng);
            buffer_append(&value, &byte, 1);
        }
        struct cell cell = {.version = {.time = i + 1, .node = 1}, .value = buffer_slice(&value)};
        cell_put(&fixture.entries[i].cell, &cell);
        buffer_deinit(&value);
    }
    table_write(&fixture,
                &(struct table_writer_options){.bloom_bits_per_key = 10, .compress = true});
    struct table *table;
    cr_assert_eq(table_reopen(&fixture, &table), STATUS_OK);
    assert_gets(&fixture, table);
    assert_walks(&fixture, table);
    table_close(table);
    fixture_close(&fixture);
}

static atomic_uint allocation_count;

static void *counted_allocate(size_t size)
{
    allocation_count++;
    return malloc(size);
}

static void *counted_resize(void *memory, size_t size)
{
    allocation_count++;
    return realloc(memory, size);
}

static const struct memory_hooks counted_hooks = {counted_allocate, counted_resize, free};

Test(table, a_get_with_a_used_scratch_allocates_nothing)
{
    memory_set_hooks(&counted_hooks);
    struct fixture fixture;
    fixture_open(&fixture, 6);
    entries_draw(&fixture, 3000, 100);
    table_write(&fixture,
                &(struct table_writer_options){.bloom_bits_per_key = 10, .compress = true});
    struct table *table;
    cr_assert_eq(table_reopen(&fixture, &table), STATUS_OK);
    struct buffer scratch = {0};
    for (int round = 0; round < 2; round++) {
        unsigned before = allocation_count;
        for (uint32_t i = 0; i < fixture.entry_count; i++) {
            struct cell cell;
            const char *key = fixture.entries[i].key;
            enum status status =
                get_unfiltered(table, slice_text(key), LSM_MAY_BLOCK, &scratch, &cell);
            cr_assert_eq(status, STATUS_OK);
        }
        unsigned taken = allocation_count - before;
        cr_assert(round == 0 ? taken > 0 : taken == 0, "round=%d taken=%u", round, taken);
    }
    buffer_deinit(&scratch);
    table_close(table);
    fixture_close(&fixture);
}

/* Filters come and go like blocks; while one is away every key passes, and is looked for. */
Test(table, filters_give_way_when_memory_is_short, .timeout = 120)
{
    struct fixture fixture;
    fixture_open(&fixture, 19);
    entries_draw(&fixture, 60000, 8);
    table_write(&fixture, &(struct table_writer_options){.bloom_bits_per_key = 10});
    struct budget budget;
    struct cache cache;
    budget_init(&budget, 8u << 20);
    cache_init(&cache, &budget);
    struct table *table;
    cr_assert_eq(table_reopen(&fixture, &table), STATUS_OK);
    uint64_t memory_before = table->memory_size;
    table_use_cache(table, &cache);
    cr_assert_gt(budget_used(&budget, BUDGET_CACHE), 50000);
    cr_assert_lt(table->memory_size, memory_before);
    assert_gets(&fixture, table); /* Asks that the filters spare nearly all absent keys. */
    budget_set(&budget, BUDGET_MEMTABLES, 8u << 20);
    cache_trim(&cache);
    budget_set(&budget, BUDGET_MEMTABLES, (8u << 20) - (64u << 10));
    struct buffer scratch = {0};
    for (uint32_t i = 0; i < fixture.entry_count; i++) {
        const char *key = fixture.entries[i].key;
        struct table_probe probe = {.key = slice_text(key), .hash = hash_of(key)};
        struct cell cell;
        cr_assert(table_locate(table, &probe));
        cr_assert(table_filter_passes(table, &probe, i % 2 == 0 ? LSM_NOWAIT : LSM_MAY_BLOCK));
        cr_assert_eq(table_get(table, &probe, LSM_MAY_BLOCK, &scratch, &cell), STATUS_OK);
    }
    cr_assert_leq(budget_used(&budget, BUDGET_CACHE), budget_cache_room(&budget));
    budget_set(&budget, BUDGET_MEMTABLES, 0);
    for (uint32_t i = 0; i < fixture.entry_count; i++) { /* Comes back where it is asked. */
        const char *key = fixture.entries[i].key;
        cr_assert(table_may_hold(table, slice_text(key), hash_of(key)));
    }
    assert_gets(&fixture, table);
    buffer_deinit(&scratch);
    table_close(table);
    cr_assert_eq(budget_used(&budget, BUDGET_CACHE), 0);
    cache_deinit(&cache);
    fixture_close(&fixture);
}

/* Of 20000 absent keys, how many pass filters of so many bits. */
static uint32_t false_count(uint64_t seed, uint32_t bits_per_key)
{
    struct fixture fixture;
    fixture_open(&fixture, seed);
    entries_draw(&fixture, 20000, 8);
    table_write(&fixture, &(struct table_writer_options){.bloom_bits_per_key = bits_per_key});
    struct table *table;
    cr_assert_eq(table_reopen(&fixture, &table), STATUS_OK);
    uint32_t passed = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        char absent[KEY_SIZE_MAX];
        snprintf(absent, sizeof(absent), "users/profile/%06u", 2 * i + 1);
        passed += table_may_hold(table, slice_text(absent), hash_of(absent));
    }
    table_close(table);
    fixture_close(&fixture);
    return passed;
}

Test(table, bits_of_filters_go_where_few_keys_need_them, .timeout = 120)
{
    cr_assert_eq(4 * table_filter_bits(10, true) + table_filter_bits(10, false), 5 * 10);
    cr_assert_eq(table_filter_bits(1, true), 1);
    cr_assert_eq(table_filter_bits(BLOOM_BITS_PER_KEY_MAX, false), BLOOM_BITS_PER_KEY_MAX);
    uint32_t even = false_count(21, 10);
    uint32_t tier = false_count(21, table_filter_bits(10, false));
    uint32_t bottom = false_count(21, table_filter_bits(10, true));
    cr_assert_lt(8 * tier + bottom, 4 * even, "tier %u bottom %u even %u", tier, bottom, even);
}

/* file_read_nowait that never has the bytes. */
static enum status never_resident(struct env_file *file, uint64_t offset, void *to, size_t size,
                                  size_t *got)
{
    (void)file;
    (void)offset;
    (void)to;
    (void)size;
    (void)got;
    return STATUS_WOULD_BLOCK;
}

Test(table, nowait_reads_say_would_block_and_the_same_step_goes_on)
{
    struct fixture fixture;
    small_table(&fixture);
    fixture_quiet(&fixture);
    quiet_ops.file_read_nowait = never_resident;
    struct table *table;
    cr_assert_eq(table_reopen(&fixture, &table), STATUS_OK);
    struct buffer scratch = {0};
    struct cell cell;
    struct slice key = slice_text(fixture.entries[3].key);
    cr_assert_eq(get_unfiltered(table, key, LSM_NOWAIT, &scratch, &cell), STATUS_WOULD_BLOCK);
    cr_assert_eq(get_unfiltered(table, key, LSM_MAY_BLOCK, &scratch, &cell), STATUS_OK);
    struct table_cursor cursor;
    table_cursor_open(&cursor, table);
    struct slice all = slice_make(NULL, 0);
    cr_assert_eq(cursor_seek(&cursor.base, all, LSM_NOWAIT), STATUS_WOULD_BLOCK);
    enum status status = cursor_seek(&cursor.base, all, LSM_MAY_BLOCK);
    uint32_t blocked_count = 0;
    for (uint32_t i = 0; i < fixture.entry_count; i++) {
        cr_assert_eq(status, STATUS_OK);
        assert_stands(&fixture, &cursor.base, i);
        status = cursor_next(&cursor.base, LSM_NOWAIT);
        if (status == STATUS_WOULD_BLOCK) {
            blocked_count++;
            cr_assert_eq(cursor_next(&cursor.base, LSM_NOWAIT), STATUS_WOULD_BLOCK);
            status = cursor_next(&cursor.base, LSM_MAY_BLOCK);
        }
    }
    cr_assert_eq(status, STATUS_NOT_FOUND);
    cr_assert_eq(blocked_count, table->block_count - 1);
    table_cursor_close(&cursor);
    buffer_deinit(&scratch);
    table_close(table);
    fixture_close(&fixture);
}

Test(table, abandoned_files_are_removed_and_existing_ones_are_not_touched)
{
    struct fixture fixture;
    small_table(&fixture);
    struct table_writer_options options = {0};
    struct table_writer *writer;
    cr_assert_eq(table_writer_open(fixture.env, fixture.path, &options, &writer), STATUS_EXISTS);
    cr_assert_eq(access(fixture.path, F_OK), 0);
    unlink(fixture.path);
    cr_assert_eq(table_writer_open(fixture.env, fixture.path, &options, &writer), STATUS_OK);
    cr_assert_eq(access(fixture.path, F_OK), 0);
    cr_assert_eq(table_writer_add(writer, slice_text("a"), slice_text("\xff")), STATUS_CORRUPT);
    table_writer_close(writer);
    cr_assert_neq(access(fixture.path, F_OK), 0);
    fixture_close(&fixture);
}

Test(table, last_reference_is_told_to_one)
{
    struct fixture fixture;
    small_table(&fixture);
    struct table *table;
    cr_assert_eq(table_reopen(&fixture, &table), STATUS_OK);
    table_acquire(table);
    cr_assert_not(table_release(table));
    cr_assert(table_release(table));
    table_close(table);
    fixture_close(&fixture);
}

/*
 * The first version's file stays readable and holds what the seed draws. Its bytes are not compared
 * with a file written now: lz4 may compress otherwise some day, and need not be held to it.
 * RINGKV_GOLDEN_WRITE=1 makes the file anew, for a new version.
 */
/* Both golden files hold what this fixture draws. */
static void golden_draw(struct fixture *fixture)
{
    fixture_open(fixture, 2026);
    entries_draw(fixture, 300, 80);
}

static void assert_golden(struct fixture *fixture, const char *path)
{
    struct buffer golden = file_load(path);
    file_store(fixture->path, buffer_slice(&golden));
    struct table *table;
    cr_assert_eq(table_open(fixture->env, fixture->path, 1, NULL, &table), STATUS_OK);
    cr_assert_eq(table->properties.entry_count, fixture->entry_count);
    assert_gets(fixture, table);
    assert_walks(fixture, table);
    table_close(table);
    buffer_deinit(&golden);
}

Test(table, golden_file_of_version_1_reads_back)
{
    struct fixture fixture;
    golden_draw(&fixture);
    assert_golden(&fixture, GOLDEN_PATH_V1);
    fixture_close(&fixture);
}

Test(table, golden_file_of_version_2_reads_back)
{
    struct fixture fixture;
    golden_draw(&fixture);
    struct table_writer_options options = {.block_size = 1024,
                                           .bloom_bits_per_key = 10,
                                           .compress = true,
                                           .nonce = UINT64_C(0x1122334455667788)};
    table_write(&fixture, &options);
    if (getenv("RINGKV_GOLDEN_WRITE") != NULL) {
        struct buffer made = file_load(fixture.path);
        file_store(GOLDEN_PATH_V2, buffer_slice(&made));
        buffer_deinit(&made);
    }
    assert_golden(&fixture, GOLDEN_PATH_V2);
    fixture_close(&fixture);
}
