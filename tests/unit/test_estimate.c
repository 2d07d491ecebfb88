/*
 * tests/unit/test_estimate.c -- what stretches weigh: exact in memtables, right to a block at each
 * bound in tables, and never more or less in sum than is there.
 */
#include "base/prng.h"
#include "tests/unit/lsm_fixture.h"

#define KEY_COUNT 4000u
#define STRETCH_COUNT 64u
#define VALUE_SIZE_MAX 120u

static struct lsm_fixture fixture;

static void estimate_init(void)
{
    fixture_init(&fixture);
    fixture.options.memtable_size = 8 << 20; /* Nothing is flushed unasked. */
    fixture.options.wal_segment_size = 4 << 20;
    fixture_open(&fixture);
}

static void estimate_deinit(void)
{
    fixture_deinit(&fixture);
}

TestSuite(estimate, .init = estimate_init, .fini = estimate_deinit, .timeout = 120);

/* Stretches are of the first byte, 4 values each; bounds[STRETCH_COUNT] is none. */
static struct slice bounds[STRETCH_COUNT + 1];
static uint8_t bound_bytes[STRETCH_COUNT];

static struct lsm_estimate wanted[STRETCH_COUNT];

static void bounds_make(void)
{
    for (uint32_t i = 0; i < STRETCH_COUNT; i++) {
        bound_bytes[i] = (uint8_t)(4 * i);
        bounds[i] = slice_make(&bound_bytes[i], 1);
    }
    bounds[STRETCH_COUNT] = slice_make(NULL, 0);
    memset(wanted, 0, sizeof(wanted));
}

/* Keys spread evenly, values of one size or of many; all are different. */
static void fill(uint64_t seed, bool even)
{
    struct prng prng;
    prng_init(&prng, seed);
    bounds_make();
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        uint8_t key[9];
        uint8_t value[VALUE_SIZE_MAX];
        for (uint32_t j = 0; j < 8; j++) {
            key[j] = (uint8_t)prng_next(&prng);
        }
        key[8] = (uint8_t)i;
        for (uint32_t j = 0; j < VALUE_SIZE_MAX; j++) { /* Nothing that packs. */
            value[j] = (uint8_t)prng_next(&prng);
        }
        uint32_t size = even ? VALUE_SIZE_MAX : 1 + (uint32_t)(prng_next(&prng) % VALUE_SIZE_MAX);
        struct lsm_record record = {
            .key = slice_make(key, sizeof(key)),
            .cell = {.version = {.time = 1 + i, .node = 1},
                     .kind = CELL_VALUE,
                     .value = slice_make(value, size)},
        };
        cr_assert_eq(fixture_write(&fixture, &record, 1, LSM_BUFFERED), STATUS_OK);
        wanted[key[0] / 4].cell_count++;
        wanted[key[0] / 4].size += sizeof(key) + cell_encoded_size(&record.cell);
    }
}

static void estimate(struct lsm_estimate *estimates)
{
    lsm_estimate(fixture.lsm, bounds, STRETCH_COUNT, estimates);
}

static uint64_t cells_in_all(const struct lsm_estimate *estimates)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < STRETCH_COUNT; i++) {
        sum += estimates[i].cell_count;
    }
    return sum;
}

static void assert_cells_near(const struct lsm_estimate *estimates, uint64_t error)
{
    for (uint32_t i = 0; i < STRETCH_COUNT; i++) {
        uint64_t got = estimates[i].cell_count;
        uint64_t true_count = wanted[i].cell_count;
        uint64_t off = got > true_count ? got - true_count : true_count - got;
        cr_assert_leq(off, error, "stretch %u: %lu cells, not %lu", i, got, true_count);
    }
}

Test(estimate, cells_in_memory_are_counted)
{
    struct lsm_estimate got[STRETCH_COUNT];
    fill(1, true);
    estimate(got);
    for (uint32_t i = 0; i < STRETCH_COUNT; i++) {
        cr_assert_eq(got[i].cell_count, wanted[i].cell_count, "stretch %u: %lu cells, %lu bytes", i,
                     got[i].cell_count, got[i].size);
        cr_assert_eq(got[i].size, wanted[i].size, "stretch %u: %lu cells, %lu bytes", i,
                     got[i].cell_count, got[i].size);
    }
}

Test(estimate, sizes_in_memory_are_told_by_samples)
{
    struct lsm_estimate got[STRETCH_COUNT];
    fill(2, false);
    estimate(got);
    uint64_t sum = 0;
    uint64_t wanted_sum = 0;
    for (uint32_t i = 0; i < STRETCH_COUNT; i++) {
        cr_assert_eq(got[i].cell_count, wanted[i].cell_count, "stretch %u: %lu cells, %lu bytes", i,
                     got[i].cell_count, got[i].size);
        sum += got[i].size;
        wanted_sum += wanted[i].size;
    }
    cr_assert_gt(sum, wanted_sum - wanted_sum / 10, "%lu of %lu", sum, wanted_sum);
    cr_assert_lt(sum, wanted_sum + wanted_sum / 10, "%lu of %lu", sum, wanted_sum);
}

/* A block of 1 KiB holds at most this many of these cells; each of two bounds may be off by so many
 * in each run, and each table's part is rounded. */
#define BLOCK_CELL_COUNT 12u

Test(estimate, a_table_is_right_to_a_block_at_each_bound)
{
    struct lsm_estimate got[STRETCH_COUNT];
    fill(3, true);
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    struct lsm_stats stats;
    lsm_stats(fixture.lsm, &stats);
    cr_assert_gt(stats.table_count, 2, "several tables in one run");
    estimate(got);
    assert_cells_near(got, 2 * BLOCK_CELL_COUNT);
    uint64_t sum = cells_in_all(got);
    cr_assert_lt(sum > KEY_COUNT ? sum - KEY_COUNT : KEY_COUNT - sum, STRETCH_COUNT, "%lu", sum);
    uint64_t size = 0;
    for (uint32_t i = 0; i < STRETCH_COUNT; i++) {
        size += got[i].size;
    }
    cr_assert_leq(size, stats.table_size);
    cr_assert_gt(size, stats.table_size - stats.table_size / 50);
}

Test(estimate, what_lies_in_several_sources_counts_in_each)
{
    struct lsm_estimate got[STRETCH_COUNT];
    fill(4, true);
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    estimate(got);
    uint64_t flushed = cells_in_all(got);
    struct lsm_record record = fixture_record("some key", 1, "value");
    cr_assert_eq(fixture_write(&fixture, &record, 1, LSM_SYNCED), STATUS_OK);
    record.cell.version.time = 2;
    cr_assert_eq(fixture_write(&fixture, &record, 1, LSM_SYNCED), STATUS_OK);
    estimate(got);
    cr_assert_eq(cells_in_all(got), flushed + 1, "one cell a key in a memtable");
}

static void excise_done(struct lsm_excise *excise, enum status status)
{
    cr_assert_eq(status, STATUS_OK);
    excise->lower = slice_make(NULL, 0);
}

Test(estimate, what_was_excised_is_not_there)
{
    struct lsm_estimate got[STRETCH_COUNT];
    fill(5, true);
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    cr_assert_eq(fixture_compact(&fixture), STATUS_OK);
    struct lsm_excise excise = {.lower = bounds[10], .upper = bounds[20], .done = excise_done};
    cr_assert_eq(lsm_excise(fixture.lsm, &excise), STATUS_OK);
    while (excise.lower.size > 0) {
        env_uv_run_once(fixture.env);
    }
    for (uint32_t i = 10; i < 20; i++) {
        wanted[i] = (struct lsm_estimate){0};
    }
    estimate(got);
    for (uint32_t i = 10; i < 20; i++) {
        cr_assert_eq(got[i].cell_count, 0, "stretch %u: %lu cells, %lu bytes", i, got[i].cell_count,
                     got[i].size);
        cr_assert_eq(got[i].size, 0, "stretch %u: %lu cells, %lu bytes", i, got[i].cell_count,
                     got[i].size);
    }
    assert_cells_near(got, 2 * BLOCK_CELL_COUNT);
}

Test(estimate, stretches_may_lie_beside_all_there_is)
{
    fill(6, true);
    cr_assert_eq(fixture_flush(&fixture), STATUS_OK);
    struct lsm_record record = fixture_record("\xff\xff\xff", 1, "value");
    cr_assert_eq(fixture_write(&fixture, &record, 1, LSM_SYNCED), STATUS_OK);
    static const uint8_t high[] = {0xff, 0xff, 0xff, 0xff};
    const struct slice beside[] = {slice_make(high, 2), slice_make(high, 3), slice_make(high, 4),
                                   slice_make(NULL, 0)};
    struct lsm_estimate got[3];
    lsm_estimate(fixture.lsm, beside, 3, got);
    cr_assert_eq(got[1].cell_count, 1);
    cr_assert_eq(got[2].cell_count, 0);
}
