/* tests/unit/test_lsm.c -- the engine as a whole, on the real env. */
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
