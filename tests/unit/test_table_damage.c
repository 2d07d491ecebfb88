/*
 * tests/unit/test_table_damage.c -- damage of any byte or length of a table is told, never answered
 * with; and every call it needs may fail.
 */
#include "tests/unit/table_fixture.h"

/* Opens a damaged table without what the manifest knows, and asks it everything it answers.
 * Returns how many answers were STATUS_CORRUPT, and parts found damaged at open; a wrong answer
 * fails the test. */
static uint32_t ask_damaged(struct fixture *fixture)
{
    struct table *table;
    enum status status = table_open(fixture->env, fixture->path, 7, NULL, &table);
    if (status != STATUS_OK) {
        cr_assert_eq(status, STATUS_CORRUPT);
        return 1;
    }
    uint32_t corrupt_count = table->damage_count;
    struct buffer scratch = {0};
    for (uint32_t i = 0; i < fixture->entry_count; i++) {
        const char *key = fixture->entries[i].key;
        struct cell cell;
        cr_assert(table_may_hold(table, slice_text(key), hash_of(key)));
        status = get_unfiltered(table, slice_text(key), LSM_MAY_BLOCK, &scratch, &cell);
        if (status == STATUS_OK) {
            assert_cell(&fixture->entries[i], &cell);
        } else {
            cr_assert_eq(status, STATUS_CORRUPT);
            corrupt_count++;
        }
    }
    struct table_cursor cursor;
    table_cursor_open(&cursor, table);
    status = cursor_seek(&cursor.base, slice_make(NULL, 0), LSM_MAY_BLOCK);
    uint32_t seen = 0;
    for (; status == STATUS_OK; seen++) {
        assert_stands(fixture, &cursor.base, seen);
        status = cursor_next(&cursor.base, LSM_MAY_BLOCK);
    }
    cr_assert_eq(status, seen == fixture->entry_count ? STATUS_NOT_FOUND : STATUS_CORRUPT);
    table_cursor_close(&cursor);
    buffer_deinit(&scratch);
    table_close(table);
    return corrupt_count;
}

Test(table_damage, every_flipped_byte_is_told_and_none_gives_a_wrong_answer, .timeout = 120)
{
    struct fixture fixture;
    small_table(&fixture);
    fixture_quiet(&fixture);
    struct buffer bytes = file_load(fixture.path);
    cr_assert_eq(bytes.size, fixture.properties.file_size);
    cr_assert_eq(ask_damaged(&fixture), 0);
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t flip = (uint8_t)(1u << prng_below(&fixture.prng, 8));
        bytes.data[i] ^= flip;
        file_store(fixture.path, buffer_slice(&bytes));
        cr_assert(ask_damaged(&fixture) > 0, "byte %zu is under no checksum", i);
        bytes.data[i] ^= flip;
    }
    buffer_deinit(&bytes);
    fixture_close(&fixture);
}

static struct table_footer footer_of(const struct buffer *bytes)
{
    struct table_footer footer;
    uint64_t offset = bytes->size - TABLE_FOOTER_SIZE;
    cr_assert_eq(table_footer_decode(bytes->data + offset, offset, &footer), STATUS_OK);
    return footer;
}

static void damage_store(struct fixture *fixture, const struct buffer *bytes, uint64_t offset)
{
    bytes->data[offset] ^= 0x10;
    file_store(fixture->path, buffer_slice(bytes));
    bytes->data[offset] ^= 0x10;
}

static bool key_within(const char *key, struct slice lower, struct slice upper)
{
    return slice_compare(slice_text(key), lower) >= 0 &&
           (upper.size == 0 || slice_compare(slice_text(key), upper) < 0);
}

/* Gets and walks answer all but one stretch, whose bounds are told. Returns the keys in it. */
static uint32_t assert_hole(struct fixture *fixture, const struct table *table)
{
    struct buffer scratch = {0};
    struct table_cursor cursor;
    table_cursor_open(&cursor, table);
    enum status walk = cursor_seek(&cursor.base, slice_make(NULL, 0), LSM_MAY_BLOCK);
    struct slice lower = {0};
    struct slice upper = {0};
    uint32_t lost_count = 0;
    for (uint32_t i = 0; i < fixture->entry_count; i++) {
        const char *key = fixture->entries[i].key;
        struct table_probe probe = {.key = slice_text(key), .hash = hash_of(key)};
        struct cell cell;
        cr_assert(table_locate(table, &probe));
        cr_assert(table_filter_passes(table, &probe, LSM_MAY_BLOCK));
        enum status status = table_get(table, &probe, LSM_MAY_BLOCK, &scratch, &cell);
        if (status == STATUS_OK) {
            assert_cell(&fixture->entries[i], &cell);
            cr_assert_eq(walk, STATUS_OK);
            assert_stands(fixture, &cursor.base, i);
            walk = cursor_next(&cursor.base, LSM_MAY_BLOCK);
            continue;
        }
        cr_assert_eq(status, STATUS_CORRUPT);
        if (lost_count++ == 0) {
            table_block_bounds(table, probe.block_index, &lower, &upper);
            cr_assert_eq(walk, STATUS_CORRUPT);
            cr_assert_eq(cursor.block_index, probe.block_index);
            walk = upper.size == 0 ? STATUS_NOT_FOUND
                                   : cursor_seek(&cursor.base, upper, LSM_MAY_BLOCK);
        }
        cr_assert(key_within(key, lower, upper), "key=%s", key);
    }
    cr_assert_eq(walk, STATUS_NOT_FOUND);
    table_cursor_close(&cursor);
    buffer_deinit(&scratch);
    return lost_count;
}

/* A table of many small blocks, and its bytes. */
static struct buffer small_blocks_load(struct fixture *fixture, uint32_t entry_count)
{
    fixture_open(fixture, 17);
    entries_draw(fixture, entry_count, 60);
    table_write(fixture,
                &(struct table_writer_options){.block_size = 512, .bloom_bits_per_key = 10});
    fixture_quiet(fixture);
    return file_load(fixture->path);
}

Test(table_damage, a_damaged_block_or_index_part_costs_its_own_stretch, .timeout = 120)
{
    struct fixture fixture;
    struct buffer bytes = small_blocks_load(&fixture, 20000);
    struct table_footer footer = footer_of(&bytes);
    uint64_t parts_size = footer.root_offset - footer.index_offset;
    cr_assert_gt(parts_size, 3 * TABLE_INDEX_PART_SIZE);
    const uint64_t offsets[] = {100, 5000, footer.index_offset,
                                footer.index_offset + parts_size / 2, footer.root_offset - 20};
    for (size_t i = 0; i < ARRAY_COUNT(offsets); i++) {
        damage_store(&fixture, &bytes, offsets[i]);
        struct table *table;
        cr_assert_eq(table_reopen(&fixture, &table), STATUS_OK, "offset=%lu", offsets[i]);
        cr_assert_eq(table->damage_count, offsets[i] < footer.index_offset ? 0 : 1);
        uint32_t lost_count = assert_hole(&fixture, table);
        cr_assert(lost_count > 0, "offset=%lu", offsets[i]);
        cr_assert(lost_count < fixture.entry_count / 2, "offset=%lu", offsets[i]);
        table_close(table);
    }
    buffer_deinit(&bytes);
    fixture_close(&fixture);
}

Test(table_damage, a_damaged_filter_lets_all_keys_pass, .timeout = 120)
{
    struct fixture fixture;
    fixture_open(&fixture, 18);
    entries_draw(&fixture, 40000, 8);
    table_write(&fixture, &(struct table_writer_options){.bloom_bits_per_key = 10});
    fixture_quiet(&fixture);
    struct buffer bytes = file_load(fixture.path);
    struct table_footer footer = footer_of(&bytes);
    struct table_filter_entry filter;
    table_filter_entry_get(slice_make(bytes.data + footer.directory_offset,
                                      footer.properties_offset - footer.directory_offset),
                           1, &filter);
    const uint64_t offsets[] = {filter.handle.offset + 100, footer.directory_offset + 3};
    for (size_t i = 0; i < ARRAY_COUNT(offsets); i++) {
        damage_store(&fixture, &bytes, offsets[i]);
        struct table *table;
        cr_assert_eq(table_reopen(&fixture, &table), STATUS_OK);
        cr_assert_eq(table->damage_count, 1);
        cr_assert_eq(assert_hole(&fixture, table), 0);
        table_close(table);
    }
    buffer_deinit(&bytes);
    fixture_close(&fixture);
}

Test(table_damage, every_shorter_file_and_a_longer_one_is_corrupt, .timeout = 120)
{
    struct fixture fixture;
    small_table(&fixture);
    fixture_quiet(&fixture);
    struct buffer bytes = file_load(fixture.path);
    struct table *table;
    for (size_t size = 0; size < bytes.size; size++) {
        file_store(fixture.path, slice_make(bytes.data, size));
        enum status status = table_open(fixture.env, fixture.path, 7, NULL, &table);
        cr_assert_eq(status, STATUS_CORRUPT, "size=%zu", size);
    }
    codec_put_u8(&bytes, 0);
    file_store(fixture.path, buffer_slice(&bytes));
    cr_assert_eq(table_open(fixture.env, fixture.path, 7, NULL, &table), STATUS_CORRUPT);
    buffer_deinit(&bytes);
    fixture_close(&fixture);
}

Test(table_damage, another_file_than_the_manifest_says_is_corrupt)
{
    struct fixture fixture;
    small_table(&fixture);
    fixture_quiet(&fixture);
    struct table *table;
    struct table_properties other = fixture.properties;
    other.nonce++;
    cr_assert_eq(table_open(fixture.env, fixture.path, 7, &other, &table), STATUS_CORRUPT);
    other = fixture.properties;
    other.file_size++;
    cr_assert_eq(table_open(fixture.env, fixture.path, 7, &other, &table), STATUS_CORRUPT);
    other = fixture.properties;
    other.file_checksum++;
    cr_assert_eq(table_open(fixture.env, fixture.path, 7, &other, &table), STATUS_OK);
    cr_assert_eq(table_verify(table), STATUS_CORRUPT);
    table_close(table);
    fixture_close(&fixture);
}

/* A disk whose n-th call from now fails. */
static int calls_left;
static const struct env_ops *real_ops;

static bool call_fails(void)
{
    return calls_left-- == 0;
}

static enum status failing_write(struct env_file *file, uint64_t offset, struct slice data)
{
    return call_fails() ? STATUS_NO_SPACE : real_ops->file_write(file, offset, data);
}

static enum status failing_sync(struct env_file *file)
{
    return call_fails() ? STATUS_IO : real_ops->file_sync(file);
}

static enum status failing_read(struct env_file *file, uint64_t offset, void *to, size_t size,
                                size_t *got)
{
    return call_fails() ? STATUS_IO : real_ops->file_read(file, offset, to, size, got);
}

static void *failing_allocate(size_t size)
{
    return call_fails() ? NULL : malloc(size);
}

static void *failing_resize(void *memory, size_t size)
{
    return call_fails() ? NULL : realloc(memory, size);
}

static const struct memory_hooks failing_hooks = {failing_allocate, failing_resize, free};

static enum status write_and_read_once(struct fixture *fixture)
{
    struct table_writer_options options = {.block_size = 512, .bloom_bits_per_key = 10};
    struct table_writer *writer = NULL;
    struct table *table = NULL;
    struct table_properties properties;
    enum status status = table_writer_open(fixture->env, fixture->path, &options, &writer);
    for (uint32_t i = 0; status == STATUS_OK && i < fixture->entry_count; i++) {
        const struct entry *entry = &fixture->entries[i];
        status = table_writer_add(writer, slice_text(entry->key), buffer_slice(&entry->cell));
    }
    if (status == STATUS_OK) {
        status = table_writer_finish(writer, &properties);
    }
    if (status == STATUS_OK) {
        status = table_open(fixture->env, fixture->path, 7, &properties, &table);
    }
    table_writer_close(writer);
    struct buffer scratch = {0};
    struct cell cell;
    if (status == STATUS_OK) {
        struct slice key = slice_text(fixture->entries[0].key);
        status = get_unfiltered(table, key, LSM_MAY_BLOCK, &scratch, &cell);
    }
    buffer_deinit(&scratch);
    table_close(table);
    return status;
}

Test(table_damage, every_disk_call_may_fail_and_an_unfinished_file_goes)
{
    struct fixture fixture;
    fixture_open(&fixture, 12);
    entries_draw(&fixture, 16000, 100); /* Several writes. */
    fixture_quiet(&fixture);
    static struct env_ops saved;
    saved = quiet_ops;
    real_ops = &saved;
    quiet_ops.file_write = failing_write;
    quiet_ops.file_sync = failing_sync;
    quiet_ops.file_read = failing_read;
    int calls = 0;
    for (;; calls++) {
        calls_left = calls;
        enum status status = write_and_read_once(&fixture);
        if (status == STATUS_OK) {
            break;
        }
        cr_assert(status == STATUS_IO || status == STATUS_NO_SPACE, "calls=%d", calls);
        cr_assert_eq(status == STATUS_NO_SPACE, access(fixture.path, F_OK) != 0 && calls < 2);
        unlink(fixture.path);
    }
    cr_assert(calls >= 8, "%d", calls);
    fixture_close(&fixture);
}

Test(table_damage, every_allocation_may_fail, .timeout = 120)
{
    struct fixture fixture;
    fixture_open(&fixture, 12);
    entries_draw(&fixture, 60, 100);
    fixture_quiet(&fixture);
    int calls = 0;
    int coped_count = 0;
    for (;; calls++) {
        calls_left = calls;
        memory_set_hooks(&failing_hooks);
        enum status status = write_and_read_once(&fixture);
        memory_set_hooks(NULL);
        unlink(fixture.path);
        if (calls_left >= 0) {
            cr_assert_eq(status, STATUS_OK);
            break;
        }
        /* A few are for speed, compression or less memory alone, and nobody misses them. */
        cr_assert(status == STATUS_NO_MEMORY || status == STATUS_OK, "calls=%d", calls);
        coped_count += status == STATUS_OK;
    }
    cr_assert(coped_count <= 7, "%d of %d", coped_count, calls);
    cr_assert(calls >= 20, "%d", calls);
    fixture_close(&fixture);
}

/* The bytes go bad after the table was opened, and its index does not stay in memory. */
Test(table_damage, of_a_split_index_what_is_read_again_and_damaged_costs_its_stretch,
     .timeout = 120)
{
    struct fixture fixture;
    struct buffer bytes = small_blocks_load(&fixture, 6000);
    struct table_footer footer = footer_of(&bytes);
    const uint64_t offsets[] = {100, 5000, footer.index_offset,
                                (footer.index_offset + footer.root_offset) / 2,
                                footer.root_offset - 20};
    for (size_t i = 0; i < ARRAY_COUNT(offsets); i++) {
        struct budget budget;
        struct cache cache;
        budget_init(&budget, 1);
        cache_init(&cache, &budget);
        struct table *table;
        file_store(fixture.path, buffer_slice(&bytes));
        cr_assert_eq(table_reopen(&fixture, &table), STATUS_OK);
        table_use_cache(table, &cache);
        cr_assert_null(table->fences);
        damage_store(&fixture, &bytes, offsets[i]);
        uint32_t lost_count = assert_hole(&fixture, table);
        bool leaf = offsets[i] >= footer.index_offset;
        cr_assert(lost_count > 0, "offset=%lu", offsets[i]);
        cr_assert_lt(lost_count, leaf ? fixture.entry_count / 2 : 60, "offset=%lu", offsets[i]);
        cr_assert_eq(assert_hole(&fixture, table), lost_count, "what is lost is so each time");
        file_store(fixture.path, buffer_slice(&bytes));
        cr_assert_eq(assert_hole(&fixture, table), 0, "it was the disk, and it is sound again");
        table_close(table);
        cache_deinit(&cache);
    }
    buffer_deinit(&bytes);
    fixture_close(&fixture);
}

/* What is read with a damaged block is as good as if it were read alone. */
Test(table_damage, costs_its_own_stretch_also_where_blocks_are_read_together, .timeout = 120)
{
    struct fixture fixture;
    struct buffer bytes = small_blocks_load(&fixture, 6000);
    for (uint64_t offset = 100; offset < 5000; offset += 300) {
        struct budget budget;
        struct cache cache;
        budget_init(&budget, 64u << 20);
        cache_init(&cache, &budget);
        struct table *table;
        damage_store(&fixture, &bytes, offset);
        cr_assert_eq(table_reopen(&fixture, &table), STATUS_OK);
        table_use_cache(table, &cache);
        cr_assert_not_null(table->fences);
        cr_assert(cache_has_room_for_all(&cache));
        uint32_t lost_count = assert_hole(&fixture, table);
        cr_assert(lost_count > 0 && lost_count < 60, "offset=%lu lost=%u", offset, lost_count);
        file_store(fixture.path, buffer_slice(&bytes));
        cr_assert_eq(assert_hole(&fixture, table), 0, "it was the disk, and it is sound again");
        table_close(table);
        cache_deinit(&cache);
    }
    buffer_deinit(&bytes);
    fixture_close(&fixture);
}
