/* tests/unit/test_compaction.c -- merges: the shape they reach, and what they may forget. */
#include "base/hlc.h"
#include "base/mutex.h"
#include "tests/unit/lsm_fixture.h"

static struct lsm_fixture fixture;
static struct version floor_now;
static uint32_t intruder_count; /* Writes still to be made while the floor is asked for. */
static enum lsm_durability intruder_durability;
static struct lsm_fixture_write intruder;

/* Called from the lane. What it writes arrives before the floor is known to the merge. */
static struct version fixture_floor(void *context, struct slice key)
{
    (void)context;
    (void)key;
    if (intruder_count > 0) {
        intruder_count--;
        struct lsm_record record = fixture_record("a", 5, "old");
        intruder.write = (struct lsm_write){.records = &record,
                                            .record_count = 1,
                                            .durability = intruder_durability,
                                            .done = fixture_write_done};
        cr_assert_eq(lsm_write(fixture.lsm, &intruder.write), STATUS_OK);
    }
    return floor_now;
}

static void setup(void)
{
    fixture_init(&fixture);
    fixture.options.floor = fixture_floor;
    floor_now = (struct version){0};
    intruder_count = 0;
    intruder.answered = false;
    fixture_open(&fixture);
}

static void teardown(void)
{
    fixture_deinit(&fixture);
}

TestSuite(compaction, .init = setup, .fini = teardown, .timeout = 120);

static enum status get(const char *key, struct version *version)
{
    struct buffer scratch = {0};
    struct cell cell;
    enum status status = lsm_get(fixture.lsm, slice_text(key), LSM_MAY_BLOCK, &scratch, &cell);
    if (status == STATUS_OK) {
        *version = cell.version;
    }
    buffer_deinit(&scratch);
    return status;
}

static struct lsm_stats stats_now(void)
{
    struct lsm_stats stats;
    lsm_stats(fixture.lsm, &stats);
    return stats;
}

static void put_flushed(const char *key, uint64_t time, const char *value)
{
    cr_assert_eq(fixture_put(&fixture, key, time, value, LSM_SYNCED), STATUS_OK);
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
}

Test(compaction, a_tombstone_at_the_floor_goes_with_what_it_covers)
{
    struct version version;
    put_flushed("a", 5, "old");
    put_flushed("a", 8, NULL);
    floor_now = (struct version){.time = 10};
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    cr_assert_eq(get("a", &version), STATUS_NOT_FOUND);
    cr_assert_eq(stats_now().purged_count, 1);
    cr_assert_eq(stats_now().table_count, 0);
}

Test(compaction, a_tombstone_above_the_floor_stays)
{
    struct version version;
    put_flushed("a", 5, "old");
    put_flushed("a", 8, NULL);
    floor_now = (struct version){.time = 7};
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    cr_assert_eq(get("a", &version), STATUS_OK);
    cr_assert_eq(version.time, 8);
}

static void tombstone_stays_while_an_older_cell_is_about(enum lsm_durability durability)
{
    struct version version = {0};
    put_flushed("a", 8, NULL);
    floor_now = (struct version){.time = 10};
    intruder_count = 1;
    intruder_durability = durability;
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    fixture_run_until(&fixture, &intruder.answered);
    cr_assert_eq(get("a", &version), STATUS_OK);
    cr_assert_eq(version.time, 8, "version %d", (int)version.time);
    /* Merged together, both may go. */
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    cr_assert_eq(get("a", &version), STATUS_NOT_FOUND);
}

Test(compaction, a_tombstone_stays_while_a_memtable_holds_an_older_cell)
{
    tombstone_stays_while_an_older_cell_is_about(LSM_BUFFERED);
}

Test(compaction, a_tombstone_stays_while_the_log_queue_holds_an_older_cell)
{
    tombstone_stays_while_an_older_cell_is_about(LSM_SYNCED);
}

Test(compaction, an_expired_cell_goes_once_the_floor_has_passed_its_expiry)
{
    struct version version;
    for (int round = 0; round < 2; round++) {
        struct lsm_record record = fixture_record("a", hlc_make(5) + (uint64_t)round, "x");
        record.cell.expiry_ms = 20;
        cr_assert_eq(fixture_write(&fixture, &record, 1, LSM_SYNCED), STATUS_OK);
        floor_now = (struct version){.time = hlc_make(round == 0 ? 19 : 20)};
        cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
        cr_assert_eq(get("a", &version), round == 0 ? STATUS_OK : STATUS_NOT_FOUND);
    }
}

static void load(uint32_t first, uint32_t last, uint64_t time)
{
    static char keys[100][24];
    static char value[201];
    struct lsm_record records[100];
    memset(value, 'a', 200);
    for (uint32_t i = first; i < last;) {
        uint32_t count = 0;
        for (; count < 100 && i < last; count++, i++) {
            snprintf(keys[count], sizeof(keys[count]), "key-%06u", i * 7919 % 20011);
            for (uint32_t j = 0; j < 200; j++) { /* Not to be compressed away. */
                value[j] = (char)(32 + (i * 31 + j * j * 17 + (j ^ i)) % 95);
            }
            records[count] = fixture_record(keys[count], time, value);
        }
        cr_assert_eq(fixture_write(&fixture, records, count, LSM_BUFFERED), STATUS_OK);
    }
}

/* Key number i of load(). */
static void delete_loaded(uint32_t i, uint64_t time)
{
    char key[24];
    snprintf(key, sizeof(key), "key-%06u", i * 7919 % 20011);
    cr_assert_eq(fixture_put(&fixture, key, time, NULL, LSM_BUFFERED), STATUS_OK);
}

static uint32_t scan_count(uint64_t least_time)
{
    struct lsm_iterator_options options = {0};
    struct lsm_iterator *iterator = NULL;
    cr_assert_eq(lsm_iterator_open(fixture.lsm, &options, &iterator), STATUS_OK);
    struct slice key;
    struct cell cell;
    uint32_t count = 0;
    while (lsm_iterator_next(iterator, &key, &cell) == STATUS_OK) {
        count += cell.version.time >= least_time ? 1 : 0;
    }
    lsm_iterator_close(iterator);
    return count;
}

Test(compaction, all_goes_into_one_bottom_of_disjoint_tables)
{
    load(0, 8000, 1);
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    struct lsm_stats stats = stats_now();
    cr_assert_eq(stats.run_count, 2, "the active memtable and the bottom, not %d",
                 (int)stats.run_count);
    cr_assert_gt(stats.table_count, 4);
    cr_assert_eq(stats.key_estimate, 8000, "%d", (int)stats.key_estimate);
    load(0, 400, 2); /* Scattered: each step takes some of them, and some of the bottom. */
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    stats = stats_now();
    cr_assert_eq(stats.run_count, 2);
    cr_assert_eq(stats.key_estimate, 8000, "%d", (int)stats.key_estimate);
    cr_assert_eq(scan_count(1), 8000);
    cr_assert_eq(scan_count(2), 400);
    fixture_close(&fixture); /* Overlapping bottom tables would be refused. */
    fixture_open(&fixture);
    cr_assert_eq(scan_count(1), 8000);
}

Test(compaction, small_runs_are_merged_before_there_are_many)
{
    for (uint64_t i = 1; i <= 40; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", (int)(i % 13));
        put_flushed(key, i, "x");
    }
    env_uv_run(fixture.env); /* Until nothing is left to do. */
    struct lsm_stats stats = stats_now();
    cr_assert_leq(stats.run_count, 1 + 15 + 1, "%d runs", (int)stats.run_count);
    cr_assert_gt(stats.compaction_written, 0);
    cr_assert_eq(scan_count(1), 13);
    cr_assert_eq(scan_count(28), 13);
}

Test(compaction, runs_of_next_to_nothing_leave_the_bottom_as_it_is)
{
    load(0, 8000, 1);
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    struct lsm_stats before = stats_now();
    for (uint32_t i = 0; i < 34; i++) { /* Until a tier is full, and again. */
        load(i * 200, i * 200 + 1, 2);
        cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    }
    env_uv_run(fixture.env); /* Until nothing is left to do. */
    struct lsm_stats stats = stats_now();
    uint64_t written = stats.compaction_written - before.compaction_written;
    cr_assert_lt(written, before.table_size / 4, "%llu of %llu bytes", (unsigned long long)written,
                 (unsigned long long)before.table_size);
    cr_assert_leq(stats.run_count, 1 + 15 + 4 + 1, "%d runs", (int)stats.run_count);
    cr_assert_eq(scan_count(1), 8000);
    cr_assert_eq(scan_count(2), 34);
}

static void flush_overlapping(uint32_t count, uint64_t time, const char *value)
{
    for (uint32_t i = 0; i < count; i++) {
        struct lsm_record records[] = {
            fixture_record("a", time + i, value),
            fixture_record("m", time + i, value),
            fixture_record("z", time + i, value),
        };
        cr_assert_eq(fixture_write(&fixture, records, 3, LSM_SYNCED), STATUS_OK);
        cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    }
}

/* Fewer than would be merged while somebody writes, and far from a memtable in all. */
Test(compaction, at_rest_a_few_runs_become_one)
{
    flush_overlapping(6, 1, "x");
    env_uv_run(fixture.env); /* Until nothing is left to do. */
    struct lsm_stats stats = stats_now();
    cr_assert_leq(stats.run_count, 1 + 3, "%d runs", (int)stats.run_count);
    cr_assert_gt(stats.compaction_written, 0);
    cr_assert_eq(stats.compaction_debt, 0);
    cr_assert_eq(scan_count(1), 3);
    cr_assert_eq(scan_count(6), 3);
}

/* Nobody writes to it after it was opened, so no log falls silent. */
Test(compaction, a_store_that_is_only_read_is_at_rest_too)
{
    flush_overlapping(6, 1, "x");
    fixture_close(&fixture);
    fixture_open(&fixture);
    env_uv_run(fixture.env);
    struct lsm_stats stats = stats_now();
    cr_assert_leq(stats.run_count, 1 + 3, "%d runs", (int)stats.run_count);
    cr_assert_eq(stats.write_count, 0);
    cr_assert_eq(scan_count(6), 3);
}

Test(compaction, tables_of_a_large_bottom_are_large)
{
    fixture_close(&fixture);
    fixture.options.table_size_max = 16 << 10;
    fixture_open(&fixture);
    load(0, 12000, 1);
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    load(0, 12000, 2); /* Of the same keys, now that the bottom is large. */
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    struct lsm_stats stats = stats_now();
    cr_assert_eq(stats.key_estimate, 12000, "%d", (int)stats.key_estimate);
    cr_assert_gt(stats.table_size, 2 * 64 * fixture.options.table_size_max);
    cr_assert_leq(stats.table_count, 2 * 64, "%d tables", (int)stats.table_count);
    cr_assert_gt(stats.table_count, 16, "%d tables", (int)stats.table_count);
    cr_assert_eq(scan_count(2), 12000);
}

/* A store that was only filled has no bottom to be a share of, but as many places to look in. */
Test(compaction, at_rest_what_was_filled_goes_into_a_bottom)
{
    load(0, 1500, 1);
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    cr_assert_leq(stats_now().table_size, 8 * fixture.options.memtable_size);
    env_uv_run(fixture.env);
    struct lsm_stats stats = stats_now();
    cr_assert_eq(stats.run_count, 2, "the active memtable and the bottom, not %d",
                 (int)stats.run_count);
    cr_assert_eq(stats.key_estimate, 1500, "%d", (int)stats.key_estimate);
    cr_assert_eq(scan_count(1), 1500);
}

/* Else its log and the room for its flush would stay beside it. */
Test(compaction, at_rest_what_is_in_memory_goes_along_into_a_bottom)
{
    load(0, 1500, 1);
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    load(0, 1500, 2);
    cr_assert_gt(stats_now().key_estimate, 1500);
    cr_assert_eq(fixture_put(&fixture, "last", 2, "x", LSM_BUFFERED), STATUS_OK);
    env_uv_run(fixture.env);
    struct lsm_stats stats = stats_now();
    cr_assert_eq(stats.run_count, 2, "%d", (int)stats.run_count);
    cr_assert_eq(stats.key_estimate, 1501, "%d", (int)stats.key_estimate);
    cr_assert_eq(scan_count(2), 1501);
    uint64_t flushed = stats.flush_written; /* What is little, and in no one's way, stays. */
    cr_assert_eq(fixture_put(&fixture, "little", 3, "x", LSM_BUFFERED), STATUS_OK);
    env_uv_run(fixture.env);
    cr_assert_eq(stats_now().flush_written, flushed);
}

/* A memtable holds more deletes than it could hold of what they delete. */
Test(compaction, at_rest_deletes_in_memory_take_their_keys_along)
{
    load(0, 1500, 1);
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    uint64_t size = stats_now().table_size;
    floor_now = (struct version){.time = 10};
    for (uint32_t i = 0; i < 20; i++) { /* Too few: they stay in memory. */
        delete_loaded(i, 2);
    }
    env_uv_run(fixture.env);
    cr_assert_eq(stats_now().table_size, size);
    for (uint32_t i = 20; i < 900; i++) {
        delete_loaded(i, 2);
    }
    cr_assert_eq(stats_now().table_size, size, "nothing was flushed before");
    env_uv_run(fixture.env);
    struct lsm_stats stats = stats_now();
    cr_assert_lt(stats.table_size, size / 2, "%d of %d", (int)stats.table_size, (int)size);
    cr_assert_eq(scan_count(1), 600);
}

/* Ascending keys: no run has a key between those of another. */
static void load_ascending(uint32_t first, uint32_t last, uint64_t time)
{
    char value[4001];
    memset(value, 'v', sizeof(value));
    value[sizeof(value) - 1] = 0;
    for (uint32_t i = first; i < last; i++) {
        char key[24];
        snprintf(key, sizeof(key), "ascending-%06u", i);
        cr_assert_eq(fixture_put(&fixture, key, time, value, LSM_BUFFERED), STATUS_OK);
    }
}

Test(compaction, what_lies_beside_the_bottom_moves_there_unread)
{
    load_ascending(0, 200, 1);
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    struct lsm_stats stats = stats_now();
    cr_assert_gt(stats.table_count, 5);
    cr_assert_eq(stats.run_count, 2, "%d", (int)stats.run_count);
    cr_assert_eq(stats.compaction_written, 0);
    cr_assert_eq(stats.key_estimate, 200);
    fixture_close(&fixture);
    fixture_open(&fixture);
    cr_assert_eq(stats_now().run_count, 2);
    load_ascending(100, 300, 2); /* The first of these meet what is there, the last do not. */
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    stats = stats_now();
    cr_assert_gt(stats.compaction_written, 0);
    cr_assert_eq(stats.key_estimate, 300, "%d", (int)stats.key_estimate);
    cr_assert_eq(scan_count(1), 300);
    cr_assert_eq(scan_count(2), 200);
}

static bool keep_nothing_below_m(void *context, struct slice key, const struct cell *cell)
{
    (void)context;
    (void)cell;
    return key.data[0] >= 'm';
}

Test(compaction, what_the_owner_does_not_keep_is_forgotten)
{
    struct version version;
    fixture_close(&fixture);
    fixture.options.keep = keep_nothing_below_m;
    fixture_open(&fixture);
    put_flushed("a", 1, "x");
    put_flushed("z", 1, "x");
    for (uint32_t i = 0; i < 2; i++) { /* The second meets the first, so both are merged. */
        put_flushed("b", 2 + i, "x");
        put_flushed("n", 2 + i, "x");
    }
    put_flushed("a", 5, "x");
    put_flushed("z", 5, "x");
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    cr_assert_eq(get("z", &version), STATUS_OK);
    cr_assert_eq(version.time, 5);
    cr_assert_eq(get("n", &version), STATUS_OK);
    cr_assert_eq(get("a", &version), STATUS_NOT_FOUND);
    cr_assert_eq(get("b", &version), STATUS_NOT_FOUND);
}

/* The tombstones went down while the floor was below them; nothing overlaps them any more. */
Test(compaction, tombstones_in_the_bottom_are_swept_once_the_floor_has_passed_them)
{
    struct version version;
    put_flushed("a", 5, "old");
    put_flushed("a", 8, NULL);
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    cr_assert_eq(get("a", &version), STATUS_OK);
    cr_assert_eq(version.time, 8);
    cr_assert_eq(stats_now().table_count, 1);
    floor_now = (struct version){.time = 10};
    put_flushed("z", 11, "new");
    env_uv_run(fixture.env); /* Until nothing is left to do. */
    cr_assert_eq(get("a", &version), STATUS_NOT_FOUND);
    cr_assert_eq(stats_now().purged_count, 1);
    cr_assert_eq(get("z", &version), STATUS_OK);
}

Test(compaction, debt_is_worked_off_without_being_asked)
{
    load(0, 10000, 1);
    env_uv_run(fixture.env);
    struct lsm_stats stats = stats_now();
    cr_assert_eq(stats.compaction_debt, 0);
    cr_assert_leq(stats.run_count, 16);
    cr_assert_eq(scan_count(1), 10000);
}

Test(compaction, an_open_iterator_keeps_what_it_reads)
{
    load(0, 3000, 1);
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    struct lsm_iterator_options options = {0};
    struct lsm_iterator *iterator = NULL;
    struct slice key;
    struct cell cell;
    cr_assert_eq(lsm_iterator_open(fixture.lsm, &options, &iterator), STATUS_OK);
    cr_assert_eq(lsm_iterator_next(iterator, &key, &cell), STATUS_OK);
    load(0, 3000, 2);
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    uint32_t count = 1;
    while (lsm_iterator_next(iterator, &key, &cell) == STATUS_OK) {
        cr_assert_eq(cell.version.time, 1);
        count++;
    }
    cr_assert_eq(count, 3000);
    lsm_iterator_close(iterator);
    env_uv_run(fixture.env); /* Its tables are removed now. */
    char command[128];
    snprintf(command, sizeof(command), "ls %s/*.sst | wc -l", fixture.path);
    FILE *listing = popen(command, "r");
    int files = 0;
    cr_assert_eq(fscanf(listing, "%d", &files), 1);
    pclose(listing);
    cr_assert_eq(files, (int)stats_now().table_count);
}
