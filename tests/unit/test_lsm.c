/* tests/unit/test_lsm.c -- the engine as a whole, on the real env. */
#include <pthread.h>
#include <stdatomic.h>

#include "base/prng.h"
#include "tests/unit/lsm_fixture.h"

static struct lsm_fixture fixture;

static void setup(void)
{
    fixture_init(&fixture);
    fixture_open(&fixture);
}

static void teardown(void)
{
    fixture_deinit(&fixture);
}

TestSuite(lsm, .init = setup, .fini = teardown, .timeout = 120);

static void expect(const char *key, const char *value)
{
    struct buffer scratch = {0};
    struct cell cell;
    enum status status = lsm_get(fixture.lsm, slice_text(key), LSM_MAY_BLOCK, &scratch, &cell);
    if (value == NULL) {
        cr_assert_eq(status, STATUS_NOT_FOUND, "%s: %s", key, status_name(status));
    } else {
        cr_assert_eq(status, STATUS_OK, "%s: %s", key, status_name(status));
        cr_assert(slice_equal(cell.value, slice_text(value)), "%s", key);
    }
    buffer_deinit(&scratch);
}

Test(lsm, what_was_written_is_read)
{
    cr_assert_eq(fixture_put(&fixture, "a", 1, "one", LSM_SYNCED), STATUS_OK);
    cr_assert_eq(fixture_put(&fixture, "b", 2, "two", LSM_BUFFERED), STATUS_OK);
    cr_assert_eq(fixture_put(&fixture, "c", 3, "three", LSM_NONE), STATUS_OK);
    expect("a", "one");
    expect("b", "two");
    expect("c", "three");
    expect("d", NULL);
}

Test(lsm, synced_writes_survive_a_kill)
{
    cr_assert_eq(fixture_put(&fixture, "a", 1, "one", LSM_SYNCED), STATUS_OK);
    fixture_kill(&fixture);
    fixture_open(&fixture);
    expect("a", "one");
    fixture_kill(&fixture);
    fixture_open(&fixture);
    expect("a", "one");
}

Test(lsm, flush_and_reopen_keep_everything)
{
    cr_assert_eq(fixture_put(&fixture, "a", 1, "one", LSM_NONE), STATUS_OK);
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    expect("a", "one");
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    expect("a", "one");
    fixture_close(&fixture);
    fixture_open(&fixture);
    expect("a", "one");
}

Test(lsm, bad_arguments_are_refused)
{
    static const uint8_t bytes[LSM_KEY_SIZE_MAX + 1];
    struct lsm_record record = fixture_record("a", 1, "x");
    record.key = slice_make(bytes, 0);
    cr_assert_eq(fixture_write(&fixture, &record, 1, LSM_SYNCED), STATUS_INVALID);
    record.key = slice_make(bytes, sizeof(bytes));
    cr_assert_eq(fixture_write(&fixture, &record, 1, LSM_SYNCED), STATUS_INVALID);
    record.key = slice_make(bytes, LSM_KEY_SIZE_MAX);
    cr_assert_eq(fixture_write(&fixture, &record, 1, LSM_SYNCED), STATUS_OK);
}

Test(lsm, a_second_engine_on_the_folder_is_refused)
{
    struct lsm *second = NULL;
    cr_assert_eq(lsm_open(fixture.env, &fixture.options, &second), STATUS_LOCKED);
}

Test(lsm, a_synced_write_is_queued_until_it_is_visible)
{
    struct lsm_record record = fixture_record("a", 5, "x");
    struct lsm_fixture_write waiting = {.write = {.records = &record,
                                                  .record_count = 1,
                                                  .durability = LSM_SYNCED,
                                                  .done = fixture_write_done}};
    cr_assert_eq(lsm_write(fixture.lsm, &waiting.write), STATUS_OK);
    cr_assert_eq(lsm_queued_version(fixture.lsm, slice_text("a")).time, 5);
    expect("a", NULL);
    fixture_run_until(&fixture, &waiting.answered);
    cr_assert_eq(lsm_queued_version(fixture.lsm, slice_text("a")).time, 0);
    expect("a", "x");
}

Test(lsm, greater_versions_win_in_any_order_and_place)
{
    cr_assert_eq(fixture_put(&fixture, "a", 5, "five", LSM_SYNCED), STATUS_OK);
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    cr_assert_eq(fixture_put(&fixture, "a", 3, "three", LSM_SYNCED), STATUS_OK);
    expect("a", "five");
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    expect("a", "five");
    cr_assert_eq(fixture_put(&fixture, "a", 7, "seven", LSM_BUFFERED), STATUS_OK);
    expect("a", "seven");
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    expect("a", "seven");
}

Test(lsm, a_write_after_stop_is_refused)
{
    struct lsm_fixture_stop stop = {.stop.stopped = fixture_stopped};
    struct lsm_record record = fixture_record("a", 1, "x");
    lsm_stop(fixture.lsm, &stop.stop);
    cr_assert_eq(fixture_write(&fixture, &record, 1, LSM_SYNCED), STATUS_CLOSED);
    fixture_run_until(&fixture, &stop.stopped);
    lsm_close(fixture.lsm);
    fixture.lsm = NULL;
}

#define MODEL_KEY_COUNT 400u

struct model_entry {
    bool any;
    uint64_t time;
    bool deleted;
};

static struct model_entry model[MODEL_KEY_COUNT];

static struct slice model_key(uint32_t number, char key[24])
{
    int size = snprintf(key, 24, "%c%03u-key", 'a' + (int)(number % 5), number);
    return slice_make(key, (size_t)size);
}

/* Every version has one value. */
static struct slice model_value(uint64_t time)
{
    static uint8_t bytes[3000];
    memset(bytes, (int)(time % 256), sizeof(bytes));
    return slice_make(bytes, 10 + time % (time % 50 == 0 ? 2990 : 200));
}

static void model_check_cell(uint32_t number, const struct cell *cell, uint64_t seed)
{
    cr_assert(model[number].any, "seed %d key %u", (int)seed, number);
    cr_assert_eq(cell->version.time, model[number].time, "seed %d key %u", (int)seed, number);
    cr_assert_eq(cell->kind == CELL_DELETE, model[number].deleted);
    if (cell->kind == CELL_VALUE) {
        cr_assert(slice_equal(cell->value, model_value(cell->version.time)));
    }
}

static void model_check_get(uint32_t number, uint64_t seed)
{
    char key[24];
    struct buffer scratch = {0};
    struct cell cell;
    enum status status =
        lsm_get(fixture.lsm, model_key(number, key), LSM_MAY_BLOCK, &scratch, &cell);
    if (status == STATUS_NOT_FOUND) {
        cr_assert_not(model[number].any, "seed %d key %u", (int)seed, number);
    } else {
        cr_assert_eq(status, STATUS_OK);
        model_check_cell(number, &cell, seed);
    }
    buffer_deinit(&scratch);
}

/* All keys of a draw at once, some of them twice, and two that cannot be there. */
static void model_check_get_many(struct prng *prng, uint64_t seed)
{
    static struct lsm_get_many_item items[70];
    static char keys[70][24];
    uint32_t numbers[70];
    uint32_t count = (uint32_t)prng_below(prng, 69);
    for (uint32_t i = 0; i < count; i++) {
        numbers[i] = (uint32_t)prng_below(prng, MODEL_KEY_COUNT);
        items[i].key = model_key(numbers[i], keys[i]);
    }
    items[count].key = slice_make(NULL, 0);
    items[count + 1].key = slice_text("no such key");
    lsm_get_many(fixture.lsm, items, count + 2, LSM_MAY_BLOCK);
    for (uint32_t i = 0; i < count; i++) {
        enum status expected = model[numbers[i]].any ? STATUS_OK : STATUS_NOT_FOUND;
        cr_assert_eq(items[i].status, expected, "seed %d key %u", (int)seed, numbers[i]);
        if (expected == STATUS_OK) {
            model_check_cell(numbers[i], &items[i].cell, seed);
        }
    }
    cr_assert_eq(items[count].status, STATUS_NOT_FOUND);
    cr_assert_eq(items[count + 1].status, STATUS_NOT_FOUND);
    for (uint32_t i = 0; i < count + 2; i++) { /* A scratch used again serves the next round. */
        if (prng_chance(prng, 1, 4)) {
            buffer_deinit(&items[i].scratch);
            items[i].scratch = (struct buffer){0};
        }
    }
}

/* A walk between two drawn bounds shows exactly what the model holds there. */
static void model_check_walk(struct prng *prng, uint64_t seed)
{
    char lower[24];
    char upper[24];
    struct lsm_iterator_options options = {
        .lower = model_key((uint32_t)prng_below(prng, MODEL_KEY_COUNT), lower),
        .upper = model_key((uint32_t)prng_below(prng, MODEL_KEY_COUNT), upper),
        .reverse = prng_chance(prng, 1, 2),
    };
    if (prng_chance(prng, 1, 4)) {
        options.upper = slice_make(NULL, 0);
    }
    uint32_t expected = 0;
    for (uint32_t i = 0; i < MODEL_KEY_COUNT; i++) {
        char key[24];
        struct slice slice = model_key(i, key);
        bool inside = slice_compare(slice, options.lower) >= 0 &&
                      (options.upper.size == 0 || slice_compare(slice, options.upper) < 0);
        expected += inside && model[i].any ? 1 : 0;
    }
    struct lsm_iterator *iterator = NULL;
    cr_assert_eq(lsm_iterator_open(fixture.lsm, &options, &iterator), STATUS_OK);
    struct slice key;
    struct cell cell;
    char last[24];
    size_t last_size = 0;
    uint32_t count = 0;
    enum status status = STATUS_OK;
    while ((status = lsm_iterator_next(iterator, &key, &cell)) == STATUS_OK) {
        int order = slice_compare(key, slice_make(last, last_size));
        cr_assert(count == 0 || (options.reverse ? order < 0 : order > 0));
        uint32_t number =
            (uint32_t)((key.data[1] - '0') * 100 + (key.data[2] - '0') * 10 + (key.data[3] - '0'));
        model_check_cell(number, &cell, seed);
        memcpy(last, key.data, key.size);
        last_size = key.size;
        count++;
    }
    cr_assert_eq(status, STATUS_NOT_FOUND);
    cr_assert_eq(count, expected, "seed %d: %u of %u", (int)seed, count, expected);
    lsm_iterator_close(iterator);
}

static void model_write(struct prng *prng, uint64_t *clock)
{
    struct lsm_record records[8];
    static char keys[8][24];
    static uint8_t values[8][3000];
    uint32_t count = 1 + (uint32_t)prng_below(prng, 8);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = (uint32_t)prng_below(prng, MODEL_KEY_COUNT);
        (*clock)++; /* Times are unique, but do not always rise. */
        uint64_t time = (*clock << 20) + *clock;
        if (prng_chance(prng, 1, 4)) {
            time = (prng_below(prng, *clock) << 20) + *clock;
        }
        bool deleted = prng_chance(prng, 1, 4);
        struct slice value = model_value(time);
        memcpy(values[i], value.data, value.size);
        records[i] = (struct lsm_record){
            .key = model_key(number, keys[i]),
            .cell = {.version = {.time = time, .node = 1},
                     .kind = deleted ? CELL_DELETE : CELL_VALUE,
                     .value = deleted ? slice_make(NULL, 0) : slice_make(values[i], value.size)},
        };
        struct model_entry *entry = &model[number];
        if (!entry->any || time > entry->time) {
            *entry = (struct model_entry){.any = true, .time = time, .deleted = deleted};
        }
    }
    enum lsm_durability durability = prng_chance(prng, 1, 6) ? LSM_SYNCED : LSM_BUFFERED;
    cr_assert_eq(fixture_write(&fixture, records, count, durability), STATUS_OK);
}

Test(lsm, agrees_with_a_plain_map_over_flushes_merges_and_reopens)
{
    const char *first = getenv("SEED");
    uint64_t from = first == NULL ? 1 : strtoull(first, NULL, 10);
    uint64_t to = first == NULL ? 6 : from;
    for (uint64_t seed = from; seed <= to; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        memset(model, 0, sizeof(model));
        fixture_deinit(&fixture);
        setup();
        uint64_t clock = 1;
        for (uint32_t i = 0; i < 900; i++) {
            uint64_t kind = prng_below(&prng, 100);
            if (kind < 60) {
                model_write(&prng, &clock);
            } else if (kind < 68) {
                model_check_get_many(&prng, seed);
            } else if (kind < 90) {
                model_check_get((uint32_t)prng_below(&prng, MODEL_KEY_COUNT), seed);
            } else if (kind < 95) {
                model_check_walk(&prng, seed);
            } else if (kind < 97) {
                cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
            } else if (kind < 98) {
                cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
            } else if (kind < 99) {
                fixture_close(&fixture);
                fixture_open(&fixture);
            } else {
                fixture_kill(&fixture);
                fixture_open(&fixture);
            }
        }
        for (uint32_t i = 0; i < MODEL_KEY_COUNT; i++) {
            model_check_get(i, seed);
        }
        model_check_walk(&prng, seed);
    }
}

struct reader {
    atomic_bool stop;
    atomic_uint_fast64_t count;
};

#define READER_KEY_COUNT 2000u

/* From any thread: no key ever goes back, whatever moves beneath. */
static void *reader_run(void *context)
{
    struct reader *reader = context;
    static _Thread_local uint64_t seen[READER_KEY_COUNT];
    struct prng prng;
    prng_init(&prng, 3);
    struct buffer scratch = {0};
    while (!atomic_load(&reader->stop)) {
        char key[24];
        uint32_t number = (uint32_t)prng_below(&prng, READER_KEY_COUNT);
        snprintf(key, sizeof(key), "%05u", number);
        struct cell cell;
        enum lsm_wait wait = prng_chance(&prng, 1, 2) ? LSM_NOWAIT : LSM_MAY_BLOCK;
        enum status status = lsm_get(fixture.lsm, slice_text(key), wait, &scratch, &cell);
        if (status == STATUS_OK) {
            cr_assert_geq(cell.version.time, seen[number]);
            seen[number] = cell.version.time;
        } else if (status == STATUS_NOT_FOUND) {
            cr_assert_eq(seen[number], 0);
        } else {
            cr_assert(status == STATUS_WOULD_BLOCK && wait == LSM_NOWAIT);
        }
        if (prng_chance(&prng, 1, 50)) {
            struct lsm_iterator_options options = {.lower = slice_text(key),
                                                   .reverse = prng_chance(&prng, 1, 2)};
            struct lsm_iterator *iterator = NULL;
            cr_assert_eq(lsm_iterator_open(fixture.lsm, &options, &iterator), STATUS_OK);
            struct slice at;
            for (uint32_t i = 0; i < 100; i++) {
                if (lsm_iterator_next(iterator, &at, &cell) != STATUS_OK) {
                    break;
                }
            }
            lsm_iterator_close(iterator);
        }
        atomic_fetch_add(&reader->count, 1);
    }
    buffer_deinit(&scratch);
    return NULL;
}

Test(lsm, readers_on_other_threads_never_see_a_key_go_back)
{
    struct reader reader = {0};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, reader_run, &reader), 0);
    }
    struct prng prng;
    prng_init(&prng, 9);
    for (uint64_t time = 1; time <= 6000 || atomic_load(&reader.count) < 2000; time++) {
        char key[24];
        snprintf(key, sizeof(key), "%05u", (unsigned)prng_below(&prng, READER_KEY_COUNT));
        cr_assert_eq(fixture_put(&fixture, key, time, "a value that fills the memtable up",
                                 time % 20 == 0 ? LSM_SYNCED : LSM_BUFFERED),
                     STATUS_OK);
    }
    struct lsm_stats stats;
    lsm_stats(fixture.lsm, &stats);
    cr_assert_gt(stats.flush_written, 0);
    atomic_store(&reader.stop, true);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    }
}

struct writer {
    struct lsm_fixture_write waiting[64];
    struct lsm_record records[64];
    char keys[64][24];
    uint32_t number;
    uint32_t accepted;
};

static void *writer_run(void *context)
{
    struct writer *writer = context;
    for (uint32_t i = 0; i < 64; i++) {
        snprintf(writer->keys[i], sizeof(writer->keys[i]), "w%u-%u", writer->number, i);
        writer->records[i] = fixture_record(writer->keys[i], i + 1, "x");
        writer->waiting[i].write = (struct lsm_write){.records = &writer->records[i],
                                                      .record_count = 1,
                                                      .durability = LSM_SYNCED,
                                                      .done = fixture_write_done};
        cr_assert_eq(lsm_write(fixture.lsm, &writer->waiting[i].write), STATUS_OK);
        writer->accepted++;
    }
    return NULL;
}

Test(lsm, writes_from_many_threads_share_groups)
{
    static struct writer writers[4];
    pthread_t threads[4];
    for (uint32_t i = 0; i < 4; i++) {
        writers[i].number = i;
        cr_assert_eq(pthread_create(&threads[i], NULL, writer_run, &writers[i]), 0);
    }
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    }
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t j = 0; j < 64; j++) {
            fixture_run_until(&fixture, &writers[i].waiting[j].answered);
            cr_assert_eq(writers[i].waiting[j].status, STATUS_OK);
            expect(writers[i].keys[j], "x");
        }
    }
    struct lsm_stats stats;
    lsm_stats(fixture.lsm, &stats);
    cr_assert_eq(stats.write_count, 256);
    cr_assert_lt(stats.sync_count, 256);
}

static void waited(struct env_timer *timer)
{
    (void)timer;
    env_uv_stop(fixture.env);
}

/* Its timer does not fire any more. */
Test(lsm, a_scrub_that_rests_is_told_when_the_env_has_ended)
{
    fixture_close(&fixture);
    fixture.options.scrub_rate = 1;
    fixture_open(&fixture);
    cr_assert_eq(fixture_put(&fixture, "key", 1, "value", LSM_SYNCED), STATUS_OK);
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    struct lsm_fixture_request scrub = {.request.done = fixture_request_done};
    cr_assert_eq(lsm_scrub(fixture.lsm, &scrub.request), STATUS_OK);
    struct env_timer timer = {.fired = waited};
    env_timer_start_ms(fixture.env, &timer, 50);
    env_uv_run(fixture.env);
    cr_assert_not(scrub.answered);
    env_uv_end(fixture.env);
    cr_assert_not(scrub.answered, "it rests, it does not run");
    lsm_close(fixture.lsm);
    fixture.lsm = NULL;
    cr_assert(scrub.answered);
    cr_assert_eq(scrub.status, STATUS_CANCELLED);
}

/* Every third key is deleted later, so that runs lie over one another. */
static void few_files_fill(uint32_t key_count)
{
    for (uint32_t i = 0; i < key_count; i++) {
        char key[24];
        char value[200];
        snprintf(key, sizeof(key), "key%05u", (unsigned)(i * 7919 % key_count));
        snprintf(value, sizeof(value), "%s%0150u", key, (unsigned)i);
        cr_assert_eq(fixture_put(&fixture, key, i + 1, value, LSM_BUFFERED), STATUS_OK);
    }
    for (uint32_t i = 0; i < key_count; i += 3) {
        char key[24];
        snprintf(key, sizeof(key), "key%05u", (unsigned)i);
        cr_assert_eq(fixture_put(&fixture, key, key_count + i, NULL, LSM_BUFFERED), STATUS_OK);
    }
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
}

/* What may not block says so, and then what may is asked. */
static void few_files_get(uint32_t index, uint32_t *refused)
{
    char key[24];
    struct buffer scratch = {0};
    struct cell cell;
    snprintf(key, sizeof(key), "key%05u", (unsigned)index);
    enum status status = lsm_get(fixture.lsm, slice_text(key), LSM_NOWAIT, &scratch, &cell);
    if (status == STATUS_WOULD_BLOCK) {
        (*refused)++;
        status = lsm_get(fixture.lsm, slice_text(key), LSM_MAY_BLOCK, &scratch, &cell);
    }
    cr_assert_eq(status, STATUS_OK, "%s: %s", key, status_name(status));
    cr_assert_eq(cell.kind == CELL_DELETE, index % 3 == 0, "%s", key);
    buffer_deinit(&scratch);
}

Test(lsm, more_tables_than_may_be_open_are_read_all_the_same)
{
    const uint32_t key_count = 6000;
    fixture_close(&fixture);
    fixture.options.open_files_max = 2;
    fixture.options.memory_size = 256 << 10; /* Few blocks stay in memory. */
    fixture.options.table_size_max = 64 << 10;
    fixture_open(&fixture);
    few_files_fill(key_count);
    struct lsm_stats stats;
    lsm_stats(fixture.lsm, &stats);
    cr_assert_gt(stats.table_count, 6);
    uint32_t refused = 0;
    for (uint32_t i = 0; i < key_count; i++) {
        few_files_get(i * 3571 % key_count, &refused);
        lsm_stats(fixture.lsm, &stats);
        cr_assert_leq(stats.table_open_count, 2 + 3, "pool jobs may read beside us");
    }
    cr_assert_gt(refused, 0);
    cr_assert_gt(stats.table_reopen_count, 100);
    struct lsm_iterator *iterator;
    cr_assert_eq(lsm_iterator_open(fixture.lsm, &(struct lsm_iterator_options){0}, &iterator),
                 STATUS_OK);
    struct slice key;
    struct cell cell;
    uint32_t walked = 0;
    while (lsm_iterator_next(iterator, &key, &cell) == STATUS_OK) {
        walked++;
    }
    lsm_iterator_close(iterator);
    cr_assert_eq(walked, key_count);
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    refused = 0;
    few_files_get(1, &refused);
}
