/*
 * tests/unit/test_iterator.c -- iterators against a plain array of cells: both directions, bounds,
 * budgets, dead cells passed over, and writers in between.
 */
#include "base/prng.h"
#include "lsm/gap.h"
#include "tests/unit/lsm_fixture.h"

#define KEY_COUNT 12000u
#define KEY_SIZE 8u

static struct lsm_fixture fixture;

static void setup(void)
{
    fixture_init(&fixture);
    fixture.options.memtable_size = 512 << 10;
    fixture.options.wal_segment_size = 512 << 10;
    fixture_open(&fixture);
}

static void teardown(void)
{
    fixture_deinit(&fixture);
}

TestSuite(iterator, .init = setup, .fini = teardown, .timeout = 240);

/* What a key holds: nothing (0), or a cell of this version. */
struct entry {
    uint64_t time;
    uint64_t expiry_ms; /* 0: never. */
    bool deleted;
    bool touched; /* Written since the iterator under test was opened. */
};

static struct entry model[KEY_COUNT];
static uint64_t clock_now;

static struct slice key_make(uint32_t number, char key[KEY_SIZE + 1])
{
    (void)snprintf(key, KEY_SIZE + 1, "%c%06u", 'a' + (int)(number / 4000), (unsigned)number);
    return slice_make(key, KEY_SIZE - 1);
}

static uint32_t key_number(struct slice key)
{
    char text[KEY_SIZE] = {0};
    cr_assert_eq(key.size, KEY_SIZE - 1);
    memcpy(text, key.data, key.size);
    uint32_t number = (uint32_t)strtoul(text + 1, NULL, 10);
    cr_assert_lt(number, KEY_COUNT);
    return number;
}

static bool is_dead(uint32_t number, uint64_t now_ms)
{
    const struct entry *entry = &model[number];
    return entry->deleted || (entry->expiry_ms != 0 && entry->expiry_ms <= now_ms);
}

/* Keys [lower, upper) get new cells, all of one kind, in batches. */
static void stretch_write(uint32_t lower, uint32_t upper, bool deleted, uint64_t expiry_ms,
                          enum lsm_durability durability)
{
    enum { BATCH = 256 };
    static char keys[BATCH][KEY_SIZE + 1];
    static struct lsm_record records[BATCH];
    while (lower < upper) {
        uint32_t count = 0;
        for (; count < BATCH && lower < upper; count++, lower++) {
            model[lower] = (struct entry){.time = ++clock_now,
                                          .expiry_ms = deleted ? 0 : expiry_ms,
                                          .deleted = deleted,
                                          .touched = true};
            records[count] = (struct lsm_record){
                .key = key_make(lower, keys[count]),
                .cell = {.version = {.time = clock_now, .node = 1},
                         .kind = deleted ? CELL_DELETE : CELL_VALUE,
                         .expiry_ms = model[lower].expiry_ms,
                         .value = deleted ? slice_make(NULL, 0) : slice_text("value")},
            };
        }
        cr_assert_eq(fixture_write(&fixture, records, count, durability), STATUS_OK);
    }
}

/* A walk over all, without writes in between: calls, and what was shown. */
static uint32_t walk_count(const struct lsm_iterator_options *options, uint32_t *calls)
{
    struct lsm_iterator *iterator = NULL;
    cr_assert_eq(lsm_iterator_open(fixture.lsm, options, &iterator), STATUS_OK);
    struct slice key;
    struct cell cell;
    uint32_t shown = 0;
    enum status status = STATUS_OK;
    for (*calls = 0; status == STATUS_OK || status == STATUS_BUDGET; (*calls)++) {
        status = lsm_iterator_next(iterator, &key, &cell);
        shown += status == STATUS_OK ? 1 : 0;
    }
    cr_assert_eq(status, STATUS_NOT_FOUND);
    lsm_iterator_close(iterator);
    return shown;
}

Test(iterator, a_long_row_of_deletes_is_walked_once)
{
    stretch_write(0, 10000, false, 0, LSM_BUFFERED);
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    for (uint32_t upper = 9900; upper > 100; upper -= 980) {
        /* Downwards, so that the engine does not walk them ahead by itself. */
        stretch_write(upper - 980, upper, true, 0, LSM_BUFFERED);
    }
    struct lsm_iterator_options options = {.skip_dead = true, .work_budget = 100};
    for (int reverse = 0; reverse < 2; reverse++) {
        options.reverse = reverse == 1;
        uint32_t calls = 0;
        cr_assert_eq(walk_count(&options, &calls), 200);
        if (!options.reverse) {
            cr_assert_geq(calls, 200 + 9800 / 100);
        }
        cr_assert_eq(walk_count(&options, &calls), 200);
        cr_assert_leq(calls, 200 + 5, "%u calls", calls);
    }
    /* A write into it shows, and what is left of the gap is still jumped over. */
    stretch_write(5000, 5001, false, 0, LSM_SYNCED);
    for (int reverse = 0; reverse < 2; reverse++) {
        options.reverse = reverse == 1;
        uint32_t calls = 0;
        cr_assert_eq(walk_count(&options, &calls), 201);
        cr_assert_leq(calls, 201 + 10, "%u calls", calls);
    }
    struct lsm_stats stats;
    lsm_stats(fixture.lsm, &stats);
    cr_assert_gt(stats.gap_jump_count, 0);
    cr_assert_gt(stats.gap_count, 0);
}

/* Until no job is under way. */
static void rest(void)
{
    env_uv_run(fixture.env);
}

Test(iterator, deletes_in_key_order_are_walked_before_anybody_asks)
{
    stretch_write(0, 10000, false, 0, LSM_BUFFERED);
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    for (uint32_t lower = 100; lower < 9900; lower += 1400) {
        stretch_write(lower, lower + 1400, true, 0, LSM_BUFFERED);
        rest();
    }
    struct lsm_stats stats;
    lsm_stats(fixture.lsm, &stats);
    cr_assert_gt(stats.scout_count, 1);
    cr_assert_eq(stats.gap_count, 1, "%lu", stats.gap_count);
    cr_assert_eq(stats.gap_jump_count, 0, "each walk goes on where the one before ended");
    for (int reverse = 0; reverse < 2; reverse++) {
        struct lsm_iterator_options options = {
            .skip_dead = true, .work_budget = 100, .reverse = reverse == 1};
        uint32_t calls = 0;
        cr_assert_eq(walk_count(&options, &calls), 200);
        cr_assert_leq(calls, 200 + 10, "%u calls", calls);
    }
}

/* What lives between the deletes ends a walk ahead, and is never taken for dead. */
Test(iterator, a_row_of_deletes_among_much_that_lives_is_not_worth_a_walk)
{
    stretch_write(0, KEY_COUNT, false, 0, LSM_BUFFERED);
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    for (uint32_t at = 0; at < KEY_COUNT; at += 3) {
        stretch_write(at, at + 1, true, 0, LSM_BUFFERED);
    }
    rest();
    struct lsm_stats stats;
    lsm_stats(fixture.lsm, &stats);
    cr_assert_gt(stats.scout_count, 0);
    cr_assert_eq(stats.gap_count, 0);
    struct lsm_iterator_options options = {.skip_dead = true};
    uint32_t calls = 0;
    cr_assert_eq(walk_count(&options, &calls), KEY_COUNT - KEY_COUNT / 3);
}

Test(iterator, a_queue_reads_its_head_at_the_same_cost_for_ever)
{
    uint32_t tail = 0;
    uint32_t head = 0;
    struct lsm_iterator *iterator = NULL;
    struct lsm_iterator_options options = {.skip_dead = true, .work_budget = 64};
    cr_assert_eq(lsm_iterator_open(fixture.lsm, &options, &iterator), STATUS_OK);
    uint32_t calls_max = 0;
    while (head < KEY_COUNT) {
        uint32_t pushed = tail + 100 > KEY_COUNT ? KEY_COUNT : tail + 100;
        stretch_write(tail, pushed, false, 0, LSM_BUFFERED);
        tail = pushed;
        for (uint32_t i = 0; i < 100 && head < tail; i++) {
            cr_assert_eq(lsm_iterator_reopen(iterator, &options), STATUS_OK);
            struct slice key;
            struct cell cell;
            enum status status = STATUS_BUDGET;
            uint32_t calls = 0;
            for (; status == STATUS_BUDGET; calls++) {
                status = lsm_iterator_next(iterator, &key, &cell);
            }
            cr_assert_eq(status, STATUS_OK);
            cr_assert_eq(key_number(key), head);
            calls_max = calls > calls_max ? calls : calls_max;
            stretch_write(head, head + 1, true, 0, LSM_BUFFERED);
            head++;
        }
    }
    lsm_iterator_close(iterator);
    /* The walk that learns is the longest there is. */
    cr_assert_leq(calls_max, 2 * GAP_DEAD_COUNT_MIN / 64, "%u", calls_max);
}

Test(iterator, expired_cells_are_dead_from_their_time_on)
{
    stretch_write(0, 5000, false, 1000, LSM_BUFFERED);
    uint32_t calls = 0;
    struct lsm_iterator_options options = {.skip_dead = true, .now_ms = 1000};
    cr_assert_eq(walk_count(&options, &calls), 0);
    cr_assert_eq(walk_count(&options, &calls), 0);
    options.now_ms = 999;
    cr_assert_eq(walk_count(&options, &calls), 5000);
    options.skip_dead = false;
    cr_assert_eq(walk_count(&options, &calls), 5000);
}

Test(iterator, cells_that_no_newer_sources_show_are_not_learnt_as_dead)
{
    /* The iterator's sources are frozen away under it: what is written then it does not see. */
    stretch_write(0, 8000, true, 0, LSM_BUFFERED);
    struct lsm_iterator *iterator = NULL;
    struct lsm_iterator_options options = {.skip_dead = true, .work_budget = 10};
    struct slice key;
    struct cell cell;
    cr_assert_eq(lsm_iterator_open(fixture.lsm, &options, &iterator), STATUS_OK);
    cr_assert_eq(lsm_iterator_next(iterator, &key, &cell), STATUS_BUDGET);
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    stretch_write(4000, 4001, false, 0, LSM_BUFFERED);
    enum status status = STATUS_BUDGET;
    while (status == STATUS_BUDGET) {
        status = lsm_iterator_next(iterator, &key, &cell);
    }
    lsm_iterator_close(iterator);
    uint32_t calls = 0;
    cr_assert_eq(walk_count(&options, &calls), 1);
}

struct excise_waiting {
    struct lsm_excise excise;
    bool answered;
};

static void excise_finished(struct lsm_excise *excise, enum status status)
{
    cr_assert_eq(status, STATUS_OK);
    container_of(excise, struct excise_waiting, excise)->answered = true;
}

static struct lsm_fixture_write old_write;

/* Amid a stretch of newer deletes: a walk sees none of it, and remembers a gap. */
static void old_value_hides(void)
{
    char text[KEY_SIZE + 1];
    struct lsm_record record = fixture_record("", 1, "old");
    record.key = key_make(2000, text);
    old_write = (struct lsm_fixture_write){.write = {.records = &record,
                                                     .record_count = 1,
                                                     .durability = LSM_BUFFERED,
                                                     .done = fixture_write_done}};
    cr_assert_eq(lsm_write(fixture.lsm, &old_write.write), STATUS_OK);
    struct lsm_iterator_options options = {.skip_dead = true};
    uint32_t calls = 0;
    cr_assert_eq(walk_count(&options, &calls), 0);
    struct lsm_stats stats;
    lsm_stats(fixture.lsm, &stats);
    cr_assert_eq(stats.gap_count, 1);
}

/* The deletes are gone, and the gap does not hide it. */
static void old_value_shows(void)
{
    fixture_run_until(&fixture, &old_write.answered);
    char inside[KEY_SIZE + 1];
    struct lsm_iterator_options options = {.skip_dead = true, .lower = key_make(1000, inside)};
    uint32_t calls = 0;
    cr_assert_eq(walk_count(&options, &calls), 1);
}

Test(iterator, what_an_excise_uncovers_is_in_no_gap)
{
    /* The value is written after the excise was asked for, so it stays; until the excise is done
     * the delete, which is newer, hides it, and is then taken away. */
    clock_now = 1000;
    stretch_write(0, 5000, true, 0, LSM_BUFFERED);
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    struct excise_waiting waiting = {.excise.done = excise_finished};
    cr_assert_eq(lsm_excise(fixture.lsm, &waiting.excise), STATUS_OK);
    old_value_hides();
    fixture_run_until(&fixture, &waiting.answered);
    old_value_shows();
}

static bool keep_values(void *context, struct slice key, const struct cell *cell)
{
    (void)context;
    (void)key;
    return cell->kind != CELL_DELETE;
}

Test(iterator, what_a_filter_uncovers_is_in_no_gap)
{
    /* A merge leaves out the deletes, while a value that is older than they are came after them. */
    fixture_close(&fixture);
    fixture.options.keep = keep_values;
    fixture_open(&fixture);
    clock_now = 1000;
    stretch_write(0, 5000, true, 0, LSM_BUFFERED);
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    struct lsm_fixture_request compact = {.request.done = fixture_request_done};
    cr_assert_eq(lsm_compact(fixture.lsm, &compact.request), STATUS_OK);
    old_value_hides();
    fixture_run_until(&fixture, &compact.answered);
    cr_assert_eq(compact.status, STATUS_OK);
    old_value_shows();
}

/* One walk under test. */
struct walk {
    struct lsm_iterator *iterator;
    struct lsm_iterator_options options;
    char lower_text[KEY_SIZE + 1];
    char upper_text[KEY_SIZE + 1];
    uint32_t lower; /* Numbers not passed yet: [lower, upper). */
    uint32_t upper;
    bool own_budget;
};

static void walk_draw(struct walk *walk, struct prng *prng)
{
    uint32_t a = (uint32_t)prng_below(prng, KEY_COUNT);
    uint32_t b = a + 1 + (uint32_t)prng_below(prng, KEY_COUNT - a);
    walk->lower = a;
    walk->upper = b;
    walk->options = (struct lsm_iterator_options){
        .lower = key_make(a, walk->lower_text),
        .reverse = prng_chance(prng, 1, 2),
        .wait = prng_chance(prng, 1, 2) ? LSM_NOWAIT : LSM_MAY_BLOCK,
        .work_budget = prng_chance(prng, 1, 2) ? 1 + (uint32_t)prng_below(prng, 300) : 0,
        .skip_dead = prng_chance(prng, 4, 5),
        .now_ms = 1000 + prng_below(prng, 3),
    };
    if (prng_chance(prng, 1, 4)) {
        walk->lower = 0;
        walk->options.lower = slice_make(NULL, 0);
    }
    if (b < KEY_COUNT) {
        walk->options.upper = key_make(b, walk->upper_text);
    }
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        model[i].touched = false;
    }
}

/* Keys [from, to) were passed over: none of them may have to be shown. */
static void passed_check(const struct walk *walk, uint32_t from, uint32_t to, uint64_t seed)
{
    for (uint32_t i = from; i < to; i++) {
        bool missing = model[i].time != 0 && !model[i].touched &&
                       !(walk->options.skip_dead && is_dead(i, walk->options.now_ms));
        cr_assert_not(missing, "seed %lu: key %u is left out", seed, i);
    }
}

static void shown_check(struct walk *walk, struct slice key, const struct cell *cell, uint64_t seed)
{
    uint32_t number = key_number(key);
    cr_assert(number >= walk->lower && number < walk->upper, "seed %lu: %u", seed, number);
    cr_assert_neq(model[number].time, 0, "seed %lu: %u", seed, number);
    if (!model[number].touched) {
        cr_assert_eq(cell->version.time, model[number].time, "seed %lu: %u", seed, number);
        cr_assert_eq(cell->kind == CELL_DELETE, model[number].deleted);
        cr_assert_eq(cell->expiry_ms, model[number].expiry_ms);
    }
    bool dead = cell->kind == CELL_DELETE ||
                (cell->expiry_ms != 0 && cell->expiry_ms <= walk->options.now_ms);
    cr_assert_not(dead && walk->options.skip_dead, "seed %lu: %u is dead", seed, number);
    if (walk->options.reverse) {
        passed_check(walk, number + 1, walk->upper, seed);
        walk->upper = number;
    } else {
        passed_check(walk, walk->lower, number, seed);
        walk->lower = number + 1;
    }
}

static void model_write(struct prng *prng)
{
    uint32_t lower = (uint32_t)prng_below(prng, KEY_COUNT);
    uint32_t size = 1 + (uint32_t)prng_below(prng, 5);
    if (prng_chance(prng, 1, 4)) {
        size = (uint32_t)prng_below(prng, 5000);
    }
    uint32_t upper = lower + size > KEY_COUNT ? KEY_COUNT : lower + size;
    bool deleted = prng_chance(prng, 1, size > 5 ? 2 : 4);
    uint64_t expiry_ms = prng_chance(prng, 2, 3) ? 0 : 999 + prng_below(prng, 5);
    stretch_write(lower, upper, deleted, expiry_ms,
                  prng_chance(prng, 1, 3) ? LSM_SYNCED : LSM_BUFFERED);
}

/* Goes on by another iterator, from the resume key of the first. */
static void walk_resume(struct walk *walk, struct prng *prng)
{
    static struct buffer bound;
    struct slice resume;
    enum status status = lsm_iterator_resume_key(walk->iterator, &resume);
    cr_assert_eq(status, STATUS_OK);
    buffer_clear(&bound);
    buffer_append_slice(&bound, resume);
    if (walk->options.reverse) {
        walk->options.upper = buffer_slice(&bound);
    } else {
        walk->options.lower = buffer_slice(&bound);
    }
    if (prng_chance(prng, 1, 2)) {
        cr_assert_eq(lsm_iterator_reopen(walk->iterator, &walk->options), STATUS_OK);
        return;
    }
    lsm_iterator_close(walk->iterator);
    status = lsm_iterator_open(fixture.lsm, &walk->options, &walk->iterator);
    cr_assert_eq(status, STATUS_OK);
}

static void walk_run(struct walk *walk, struct prng *prng, uint64_t seed)
{
    struct slice key;
    struct cell cell;
    enum status status = STATUS_OK;
    bool writes = prng_chance(prng, 1, 2);
    while (status != STATUS_NOT_FOUND) {
        status = lsm_iterator_next(walk->iterator, &key, &cell);
        if (status == STATUS_OK) {
            shown_check(walk, key, &cell, seed);
        } else if (status == STATUS_BUDGET) {
            cr_assert(walk->options.skip_dead);
        } else if (status == STATUS_WOULD_BLOCK) {
            cr_assert_eq(walk->options.wait, LSM_NOWAIT);
            walk->options.wait = LSM_MAY_BLOCK;
            walk_resume(walk, prng);
        } else {
            cr_assert_eq(status, STATUS_NOT_FOUND, "%s", status_name(status));
        }
        if (writes && prng_chance(prng, 1, 200)) {
            model_write(prng);
        }
        if (status != STATUS_NOT_FOUND && prng_chance(prng, 1, 300)) {
            walk_resume(walk, prng);
        }
    }
    struct slice resume;
    status = lsm_iterator_resume_key(walk->iterator, &resume);
    cr_assert_eq(status, STATUS_NOT_FOUND);
    passed_check(walk, walk->lower, walk->upper, seed);
}

static void model_run(uint64_t seed)
{
    struct prng prng;
    prng_init(&prng, seed);
    memset(model, 0, sizeof(model));
    struct lsm_iterator *kept = NULL; /* Reopened, again and again. */
    for (uint32_t step = 0; step < 120; step++) {
        uint64_t kind = prng_below(&prng, 100);
        if (kind < 40) {
            model_write(&prng);
        } else if (kind < 45) {
            cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
        } else if (kind < 47) {
            cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
        } else {
            struct walk walk;
            walk_draw(&walk, &prng);
            walk.iterator = kept;
            enum status status = kept == NULL
                                     ? lsm_iterator_open(fixture.lsm, &walk.options, &walk.iterator)
                                     : lsm_iterator_reopen(kept, &walk.options);
            cr_assert_eq(status, STATUS_OK);
            walk_run(&walk, &prng, seed);
            kept = walk.iterator;
        }
    }
    lsm_iterator_close(kept);
}

Test(iterator, agrees_with_a_plain_array_while_others_write)
{
    const char *first = getenv("SEED");
    uint64_t from = first == NULL ? 1 : strtoull(first, NULL, 10);
    uint64_t to = first == NULL ? 8 : from;
    uint64_t jump_count = 0;
    for (uint64_t seed = from; seed <= to; seed++) {
        fixture_deinit(&fixture);
        setup();
        model_run(seed);
        struct lsm_stats stats;
        lsm_stats(fixture.lsm, &stats);
        jump_count += stats.gap_jump_count;
    }
    cr_assert(jump_count > 20 || first != NULL, "only %lu gaps were jumped over", jump_count);
}
