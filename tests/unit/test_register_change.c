/*
 * tests/unit/test_register_change.c -- every action on every kind of cell that may stand.
 */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/contract.h"
#include "base/hlc.h"
#include "node/register_change.h"

#define NOW_MS UINT64_C(1000000)
#define VALUE_SIZE_MAX 64u

static struct version at_ms(uint64_t ms)
{
    return (struct version){.time = hlc_make(ms), .node = 3};
}

/* A key and the operations on it, one after the other, each above the last. */
struct key {
    struct cell cell;
    bool there;
    struct buffer bytes; /* Backs the cell. */
    uint64_t ms;         /* Of the last ballot. */
    struct register_outcome outcome;
    enum status status;
};

static void key_init(struct key *key)
{
    *key = (struct key){.ms = NOW_MS};
}

static void key_deinit(struct key *key)
{
    register_outcome_deinit(&key->outcome);
    buffer_deinit(&key->bytes);
}

/* What the change makes of the key is what stands then; the outcome stays to be looked at. */
static const struct register_result *change_with_id(struct key *key, struct register_change change,
                                                    struct version id)
{
    register_outcome_deinit(&key->outcome);
    key->outcome = (struct register_outcome){0};
    key->ms++;
    struct register_terms terms = {
        .ballot = at_ms(key->ms), .id = id, .value_size_max = VALUE_SIZE_MAX};
    key->status =
        register_change_apply(&change, &terms, key->there ? &key->cell : NULL, &key->outcome);
    if (key->status != STATUS_OK) {
        return NULL;
    }
    cr_assert_eq(version_compare(key->outcome.cell.version, terms.ballot), 0);
    static struct register_result result;
    static uint8_t value[VALUE_SIZE_MAX];
    result = key->outcome.result;
    cr_assert_leq(result.value.size, sizeof(value));
    if (result.value.size > 0) {
        memcpy(value, result.value.data, result.value.size);
        result.value.data = value;
    }
    struct buffer bytes = {0};
    cell_put(&bytes, &key->outcome.cell);
    cr_assert_eq(buffer_status(&bytes), STATUS_OK);
    buffer_deinit(&key->bytes);
    key->bytes = bytes;
    cr_assert_eq(cell_decode(buffer_slice(&key->bytes), &key->cell), STATUS_OK);
    key->there = true;
    return &result;
}

static const struct register_result *change(struct key *key, struct register_change change)
{
    return change_with_id(key, change, (struct version){0});
}

static void put(struct key *key, const char *value, uint64_t expiry_ms)
{
    const struct register_result *result = change(
        key, (struct register_change){
                 .action = REGISTER_PUT, .value = slice_text(value), .expiry_ms = expiry_ms});
    cr_assert_eq(result->verdict, REGISTER_DONE);
}

static void check_value(const struct key *key, const char *value)
{
    cr_assert_eq(key->cell.kind, CELL_VALUE, "wanted %s", value);
    cr_assert(slice_equal(key->cell.value, slice_text(value)), "%.*s, wanted %s",
              (int)key->cell.value.size, (const char *)key->cell.value.data, value);
}

/* ------------------------------------------------------------------ actions */

Test(register_change, a_put_and_a_delete_tell_what_stood)
{
    struct key key;
    key_init(&key);
    const struct register_result *result =
        change(&key, (struct register_change){
                         .action = REGISTER_PUT, .wants_old = true, .value = slice_text("one")});
    cr_assert_eq(result->verdict, REGISTER_DONE);
    cr_assert_eq(result->payload, REGISTER_NOTHING);
    check_value(&key, "one");
    result = change(&key, (struct register_change){.action = REGISTER_DELETE, .wants_old = true});
    cr_assert_eq(result->verdict, REGISTER_DONE);
    cr_assert_eq(result->payload, REGISTER_VALUE);
    cr_assert(slice_equal(result->value, slice_text("one")));
    cr_assert_eq(result->version.time, 0);
    cr_assert_eq(key.cell.kind, CELL_DELETE);
    result = change(&key, (struct register_change){.action = REGISTER_DELETE});
    cr_assert_eq(result->verdict, REGISTER_NOT_DONE);
    cr_assert_eq(key.cell.kind, CELL_DELETE);
    key_deinit(&key);
}

Test(register_change, an_add_counts_from_0_and_keeps_the_expiry)
{
    struct key key;
    key_init(&key);
    const struct register_change up = {.action = REGISTER_ADD, .delta = 7};
    cr_assert_eq(change(&key, up)->integer, 7);
    check_value(&key, "7");
    put(&key, "-10", NOW_MS + 5000);
    const struct register_result *result = change(&key, up);
    cr_assert_eq(result->payload, REGISTER_INTEGER);
    cr_assert_eq(result->integer, -3);
    check_value(&key, "-3");
    cr_assert_eq(key.cell.expiry_ms, NOW_MS + 5000);
    key_deinit(&key);
}

Test(register_change, an_add_that_cannot_be_changes_nothing)
{
    static const struct {
        const char *value;
        int64_t delta;
        enum register_verdict verdict;
    } cases[] = {
        {"", 1, REGISTER_NOT_INTEGER},
        {"1.5", 1, REGISTER_NOT_INTEGER},
        {" 1", 1, REGISTER_NOT_INTEGER},
        {"01", 1, REGISTER_NOT_INTEGER},
        {"9223372036854775808", 1, REGISTER_NOT_INTEGER},
        {"9223372036854775807", 1, REGISTER_OVERFLOW},
        {"-9223372036854775808", -1, REGISTER_OVERFLOW},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct key key;
        key_init(&key);
        put(&key, cases[i].value, 0);
        const struct register_result *result =
            change(&key, (struct register_change){.action = REGISTER_ADD, .delta = cases[i].delta});
        cr_assert_eq(result->verdict, cases[i].verdict, "%s", cases[i].value);
        check_value(&key, cases[i].value);
        key_deinit(&key);
    }
}

Test(register_change, an_append_ends_at_the_limit_on_values)
{
    struct key key;
    key_init(&key);
    char full[VALUE_SIZE_MAX + 1];
    memset(full, 'x', VALUE_SIZE_MAX);
    full[VALUE_SIZE_MAX] = '\0';
    struct register_change append = {.action = REGISTER_APPEND, .value = slice_text(full)};
    cr_assert_eq(change(&key, append)->integer, VALUE_SIZE_MAX);
    append.value = slice_text("y");
    cr_assert_eq(change(&key, append)->verdict, REGISTER_TOO_LARGE);
    check_value(&key, full);
    append.value = slice_text("");
    cr_assert_eq(change(&key, append)->integer, VALUE_SIZE_MAX);
    put(&key, "ab", NOW_MS + 5000);
    append.value = slice_text("c");
    cr_assert_eq(change(&key, append)->integer, 3);
    check_value(&key, "abc");
    cr_assert_eq(key.cell.expiry_ms, NOW_MS + 5000);
    key_deinit(&key);
}

Test(register_change, a_put_keeps_the_expiry_only_if_told_and_if_there_is_a_value)
{
    struct key key;
    key_init(&key);
    struct register_change kept = {.action = REGISTER_PUT,
                                   .keep_expiry = true,
                                   .value = slice_text("v"),
                                   .expiry_ms = NOW_MS + 9000};
    change(&key, kept);
    cr_assert_eq(key.cell.expiry_ms, NOW_MS + 9000);
    put(&key, "w", 0);
    change(&key, kept);
    cr_assert_eq(key.cell.expiry_ms, 0);
    put(&key, "w", NOW_MS + 5000);
    change(&key, kept);
    cr_assert_eq(key.cell.expiry_ms, NOW_MS + 5000);
    put(&key, "w", 0);
    cr_assert_eq(key.cell.expiry_ms, 0);
    key_deinit(&key);
}

/* ------------------------------------------------------------------ expiry */

Test(register_change, what_has_expired_by_the_ballot_counts_as_none_and_is_written_as_none)
{
    struct key key;
    key_init(&key);
    put(&key, "v", NOW_MS + 100);
    key.ms = NOW_MS + 98; /* The next ballot is at 99 ms, then at 100. */
    change(&key, (struct register_change){.action = REGISTER_CONFIRM});
    check_value(&key, "v");
    change(&key, (struct register_change){.action = REGISTER_CONFIRM});
    cr_assert_eq(key.cell.kind, CELL_DELETE);
    cr_assert_eq(key.cell.expiry_ms, 0);
    key_deinit(&key);
}

Test(register_change, an_expiry_that_has_passed_deletes)
{
    struct key key;
    key_init(&key);
    put(&key, "v", 0);
    const struct register_result *result =
        change(&key, (struct register_change){.action = REGISTER_EXPIRE, .expiry_ms = NOW_MS - 1});
    cr_assert_eq(result->verdict, REGISTER_DONE);
    cr_assert_eq(result->version.time, 0);
    cr_assert_eq(key.cell.kind, CELL_DELETE);
    result =
        change(&key, (struct register_change){.action = REGISTER_EXPIRE, .expiry_ms = 2 * NOW_MS});
    cr_assert_eq(result->verdict, REGISTER_NOT_DONE);
    cr_assert_eq(key.cell.kind, CELL_DELETE);
    key_deinit(&key);
}

/* ------------------------------------------------------------------ conditions */

enum state { STATE_NONE, STATE_DELETED, STATE_EXPIRED, STATE_LASTING, STATE_EXPIRING, STATE_COUNT };

static void state_make(struct key *key, enum state state)
{
    key_init(key);
    if (state != STATE_NONE) {
        bool expires = state == STATE_EXPIRED || state == STATE_EXPIRING;
        put(key, "v", expires ? NOW_MS + 1000 : 0);
    }
    if (state == STATE_DELETED) {
        change(key, (struct register_change){.action = REGISTER_DELETE});
    }
    if (state == STATE_EXPIRED) {
        key->ms = NOW_MS + 1000;
    }
}

/* One row a condition, one column a state. The change is of an expiry to NOW_MS + 2000, or of the
 * value to "new"; compared with "v". */
Test(register_change, conditions_hold_where_they_should)
{
    static const struct {
        enum register_condition condition;
        bool holds[STATE_COUNT];
    } rows[] = {
        {REGISTER_ALWAYS, {true, true, true, true, true}},
        {REGISTER_IF_ABSENT, {true, true, true, false, false}},
        {REGISTER_IF_PRESENT, {false, false, false, true, true}},
        {REGISTER_IF_EQUAL, {false, false, false, true, true}},
        {REGISTER_IF_DIFFERENT, {true, true, true, false, false}},
        {REGISTER_IF_VERSION, {true, true, true, false, false}},
        {REGISTER_IF_LASTING, {false, false, false, true, false}},
        {REGISTER_IF_EXPIRING, {false, false, false, false, true}},
        {REGISTER_IF_LATER, {false, false, false, false, true}},
        {REGISTER_IF_EARLIER, {false, false, false, true, false}},
    };
    for (size_t row = 0; row < ARRAY_COUNT(rows); row++) {
        for (enum state state = STATE_NONE; state < STATE_COUNT; state++) {
            struct key key;
            state_make(&key, state);
            const struct register_result *result =
                change(&key, (struct register_change){.action = REGISTER_PUT,
                                                      .condition = rows[row].condition,
                                                      .value = slice_text("new"),
                                                      .compare = slice_text("v"),
                                                      .expiry_ms = NOW_MS + 2000});
            bool done = result->verdict == REGISTER_DONE;
            cr_assert_eq(done, rows[row].holds[state], "condition %zu, state %d", row, (int)state);
            bool live = state == STATE_LASTING || state == STATE_EXPIRING;
            cr_assert_eq(key.cell.kind, done || live ? CELL_VALUE : CELL_DELETE);
            if (done || live) {
                check_value(&key, done ? "new" : "v");
            }
            key_deinit(&key);
        }
    }
}

/* A ballot that only confirms is no change to a client that compares versions. */
Test(register_change, the_version_that_clients_compare_changes_with_the_value_alone)
{
    struct key key;
    key_init(&key);
    put(&key, "v", 0);
    struct version version = key.outcome.result.version;
    cr_assert_eq(version_compare(version, key.cell.version), 0);
    change(&key, (struct register_change){.action = REGISTER_CONFIRM});
    change(&key, (struct register_change){.action = REGISTER_PUT,
                                          .condition = REGISTER_IF_ABSENT,
                                          .value = slice_text("w")});
    cr_assert_eq(version_compare(key.outcome.result.version, version), 0);
    cr_assert_gt(version_compare(key.cell.version, version), 0);
    struct register_change swap = {.action = REGISTER_PUT,
                                   .condition = REGISTER_IF_VERSION,
                                   .version = version,
                                   .value = slice_text("x")};
    cr_assert_eq(change(&key, swap)->verdict, REGISTER_DONE);
    cr_assert_eq(change(&key, swap)->verdict, REGISTER_NOT_DONE);
    check_value(&key, "x");
    key_deinit(&key);
}

/* ------------------------------------------------------------------ once */

Test(register_change, an_operation_that_is_asked_again_is_not_done_again)
{
    struct key key;
    key_init(&key);
    const struct register_change up = {.action = REGISTER_ADD, .delta = 1};
    cr_assert_eq(change_with_id(&key, up, at_ms(1))->integer, 1);
    cr_assert_not(key.outcome.again);
    cr_assert_eq(change_with_id(&key, up, at_ms(2))->integer, 2);
    cr_assert_eq(change_with_id(&key, up, at_ms(1))->integer, 1);
    cr_assert(key.outcome.again);
    check_value(&key, "2");
    change(&key, (struct register_change){.action = REGISTER_DELETE});
    cr_assert_eq(change_with_id(&key, up, at_ms(2))->integer, 2, "a delete keeps the window");
    cr_assert_eq(key.cell.kind, CELL_DELETE);
    key_deinit(&key);
}

Test(register_change, a_condition_that_failed_once_has_failed_for_good)
{
    struct key key;
    key_init(&key);
    put(&key, "v", 0);
    const struct register_change set = {
        .action = REGISTER_PUT, .condition = REGISTER_IF_ABSENT, .value = slice_text("w")};
    cr_assert_eq(change_with_id(&key, set, at_ms(1))->verdict, REGISTER_NOT_DONE);
    change(&key, (struct register_change){.action = REGISTER_DELETE});
    cr_assert_eq(change_with_id(&key, set, at_ms(1))->verdict, REGISTER_NOT_DONE);
    cr_assert_eq(key.cell.kind, CELL_DELETE);
    key_deinit(&key);
}

Test(register_change, what_was_forgotten_is_never_done)
{
    struct key key;
    key_init(&key);
    const struct register_change up = {.action = REGISTER_ADD, .delta = 1};
    for (uint64_t id = 1; id <= REGISTER_WINDOW_COUNT_MAX + 2; id++) {
        change_with_id(&key, up, at_ms(10 + id));
    }
    struct cell before = key.cell;
    change_with_id(&key, up, at_ms(11));
    cr_assert_eq(key.status, STATUS_FORGOTTEN);
    change_with_id(&key, up, at_ms(5));
    cr_assert_eq(key.status, STATUS_FORGOTTEN, "older than any that was ever known");
    cr_assert_eq(cell_compare(&before, &key.cell), 0);
    cr_assert_eq(change_with_id(&key, up, at_ms(13))->integer, 3, "still in the window");
    key_deinit(&key);
}

Test(register_change, what_was_cancelled_is_never_done_and_what_was_done_is_not_cancelled)
{
    struct key key;
    key_init(&key);
    const struct register_change up = {.action = REGISTER_ADD, .delta = 1};
    const struct register_change cancel = {.action = REGISTER_CANCEL};
    cr_assert_eq(change_with_id(&key, cancel, at_ms(1))->verdict, REGISTER_CANCELLED);
    cr_assert_eq(change_with_id(&key, up, at_ms(1))->verdict, REGISTER_CANCELLED);
    cr_assert_eq(key.cell.kind, CELL_DELETE);
    change_with_id(&key, up, at_ms(2));
    cr_assert_eq(change_with_id(&key, cancel, at_ms(2))->verdict, REGISTER_DONE);
    check_value(&key, "1");
    key_deinit(&key);
}

Test(register_change, an_old_value_too_large_for_the_window_is_told_once)
{
    struct key key;
    key_init(&key);
    for (size_t size = 46; size <= 47; size++) {
        char value[64] = {0};
        memset(value, 'a', size);
        put(&key, value, 0);
        const struct register_change swap = {
            .action = REGISTER_PUT, .wants_old = true, .value = slice_text("b")};
        const struct register_result *result = change_with_id(&key, swap, at_ms(size));
        cr_assert(slice_equal(result->value, slice_text(value)));
        result = change_with_id(&key, swap, at_ms(size));
        cr_assert_eq(result->verdict, REGISTER_DONE);
        cr_assert_eq(result->payload, size == 46 ? REGISTER_VALUE : REGISTER_OMITTED);
    }
    key_deinit(&key);
}

Test(register_change, a_window_that_cannot_be_read_is_corrupt)
{
    struct cell cell = {.version = at_ms(1), .kind = CELL_DELETE, .window = slice_text("x")};
    struct register_terms terms = {.ballot = at_ms(2), .value_size_max = VALUE_SIZE_MAX};
    struct register_outcome outcome = {0};
    cr_assert_eq(register_change_apply(&(struct register_change){.action = REGISTER_CONFIRM},
                                       &terms, &cell, &outcome),
                 STATUS_CORRUPT);
    register_outcome_deinit(&outcome);
}
