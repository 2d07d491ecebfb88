/* tests/unit/test_operation.c -- what answers and losses mean for reads and for writes. */
#include <criterion/criterion.h>

#include "client/operation.h"

struct fixture {
    struct operation operation;
};

static void fixture_init(struct fixture *fixture, bool writes, bool retry_writes)
{
    const struct slice arguments[] = {slice_text("KV.X"), slice_text("the key"),
                                      slice_text("value")};
    *fixture = (struct fixture){0};
    operation_encode(&fixture->operation, arguments, 3);
    fixture->operation.writes = writes;
    fixture->operation.retry_writes = retry_writes;
    fixture->operation.answer = writes ? OPERATION_ANSWER_OK : OPERATION_ANSWER_VALUE;
    fixture->operation.try_count_max = 4;
    fixture->operation.result.try_count = 1;
}

static enum operation_verdict answer(struct fixture *fixture, const char *reply)
{
    return operation_answered(&fixture->operation, slice_text(reply), "host:1");
}

static void fixture_deinit(struct fixture *fixture)
{
    operation_deinit(&fixture->operation);
}

Test(operation, the_key_is_found_in_the_request)
{
    struct fixture fixture;
    fixture_init(&fixture, true, false);
    cr_assert(slice_equal(fixture.operation.key, slice_text("the key")));
    fixture_deinit(&fixture);
}

Test(operation, first_words_of_errors_decide)
{
    static const struct {
        const char *reply;
        enum kv_reason reason;
        enum operation_verdict read;
        enum operation_verdict write;
        enum operation_verdict write_retried; /* With retry_writes. */
        enum kv_outcome write_outcome;
    } cases[] = {
        {"-UNAVAILABLE 1 replicas up, 2 needed; nothing was done\r\n", KV_REASON_UNAVAILABLE,
         OPERATION_AGAIN, OPERATION_AGAIN, OPERATION_AGAIN, KV_FAILED},
        {"-OVERLOADED too much\r\n", KV_REASON_OVERLOADED, OPERATION_AGAIN, OPERATION_AGAIN,
         OPERATION_AGAIN, KV_FAILED},
        {"-LOADING wait\r\n", KV_REASON_LOADING, OPERATION_AGAIN, OPERATION_AGAIN, OPERATION_AGAIN,
         KV_FAILED},
        {"-TIMEOUT maybe applied, acks=1/2, op=0123-4\r\n", KV_REASON_TIMEOUT, OPERATION_AGAIN,
         OPERATION_FINAL, OPERATION_AGAIN, KV_INDETERMINATE},
        {"-NOQUORUM maybe applied, acks=1/2, op=0123-4\r\n", KV_REASON_UNAVAILABLE, OPERATION_AGAIN,
         OPERATION_FINAL, OPERATION_AGAIN, KV_INDETERMINATE},
        {"-SUPERSEDED newer\r\n", KV_REASON_CONFLICT, OPERATION_FINAL, OPERATION_FINAL,
         OPERATION_FINAL, KV_FAILED},
        {"-NOAUTH log in\r\n", KV_REASON_DENIED, OPERATION_FINAL, OPERATION_FINAL, OPERATION_FINAL,
         KV_FAILED},
        {"-ERR a key has 1 to 65536 bytes\r\n", KV_REASON_REFUSED, OPERATION_FINAL, OPERATION_FINAL,
         OPERATION_FINAL, KV_FAILED},
        /* A word of tomorrow says nothing about what was done. */
        {"-ERRATIC what\r\n", KV_REASON_REFUSED, OPERATION_FINAL, OPERATION_FINAL, OPERATION_FINAL,
         KV_INDETERMINATE},
        {":5\r\n", KV_REASON_PROTOCOL, OPERATION_FINAL, OPERATION_FINAL, OPERATION_FINAL,
         KV_INDETERMINATE},
    };
    for (size_t index = 0; index < ARRAY_COUNT(cases); index++) {
        struct fixture fixture;
        fixture_init(&fixture, false, false);
        cr_expect_eq(answer(&fixture, cases[index].reply), cases[index].read, "read %s",
                     cases[index].reply);
        cr_expect_eq(fixture.operation.result.outcome, KV_FAILED, "read %s", cases[index].reply);
        cr_expect_eq(fixture.operation.result.reason, cases[index].reason, "read %s",
                     cases[index].reply);
        fixture_deinit(&fixture);
        fixture_init(&fixture, true, false);
        cr_expect_eq(answer(&fixture, cases[index].reply), cases[index].write, "write %s",
                     cases[index].reply);
        cr_expect_eq(fixture.operation.result.outcome, cases[index].write_outcome, "write %s",
                     cases[index].reply);
        fixture_deinit(&fixture);
        fixture_init(&fixture, true, true);
        cr_expect_eq(answer(&fixture, cases[index].reply), cases[index].write_retried,
                     "retried write %s", cases[index].reply);
        fixture_deinit(&fixture);
    }
}

Test(operation, an_open_write_never_becomes_a_definite_failure)
{
    struct fixture fixture;
    fixture_init(&fixture, true, true);
    (void)answer(&fixture, "-NOQUORUM maybe applied, acks=1/2, op=00ab-7\r\n");
    cr_assert_eq(answer(&fixture, "-ERR no\r\n"), OPERATION_FINAL);
    cr_assert_eq(fixture.operation.result.outcome, KV_INDETERMINATE);
    cr_assert_str_eq(fixture.operation.result.operation, "00ab-7");
    cr_assert_str_eq(fixture.operation.result.message, "host:1: ERR no");
    fixture_deinit(&fixture);
}

Test(operation, a_good_answer_clears_what_failed_before)
{
    struct fixture fixture;
    fixture_init(&fixture, true, true);
    (void)answer(&fixture, "-NOQUORUM maybe applied, acks=1/2, op=00ab-7\r\n");
    cr_assert_eq(answer(&fixture, "+OK\r\n"), OPERATION_FINAL);
    cr_assert_eq(fixture.operation.result.outcome, KV_OK);
    cr_assert_str_eq(fixture.operation.result.operation, "");
    cr_assert_str_eq(fixture.operation.result.message, "");
    fixture_deinit(&fixture);
}

Test(operation, a_loss_before_any_byte_left_is_definite)
{
    struct fixture fixture;
    fixture_init(&fixture, true, false);
    cr_assert_eq(operation_lost(&fixture.operation, KV_REASON_BROKEN, false, "gone"),
                 OPERATION_AGAIN);
    cr_assert_eq(fixture.operation.result.outcome, KV_FAILED);
    cr_assert_eq(operation_lost(&fixture.operation, KV_REASON_BROKEN, true, "gone"),
                 OPERATION_FINAL);
    cr_assert_eq(fixture.operation.result.outcome, KV_INDETERMINATE);
    fixture_deinit(&fixture);
}

Test(operation, tries_are_bounded)
{
    struct fixture fixture;
    fixture_init(&fixture, false, false);
    fixture.operation.result.try_count = 4;
    cr_assert_eq(answer(&fixture, "-LOADING\r\n"), OPERATION_FINAL);
    fixture_deinit(&fixture);
}

Test(operation, meta_is_read_in_both_protocols_and_in_any_order)
{
    static const char *const replies[] = {
        "*6\r\n$5\r\nvalue\r\n$2\r\nhi\r\n$7\r\nversion\r\n$4\r\n01-2\r\n$9\r\nexpiry_ms\r\n:"
        "77\r\n",
        "%3\r\n$9\r\nexpiry_ms\r\n:77\r\n$7\r\nversion\r\n$4\r\n01-2\r\n$5\r\nvalue\r\n$"
        "2\r\nhi\r\n",
    };
    for (size_t index = 0; index < ARRAY_COUNT(replies); index++) {
        struct fixture fixture;
        fixture_init(&fixture, false, false);
        fixture.operation.answer = OPERATION_ANSWER_META;
        cr_assert_eq(answer(&fixture, replies[index]), OPERATION_FINAL);
        const struct kv_result *result = &fixture.operation.result;
        cr_assert_eq(result->outcome, KV_OK);
        cr_assert(slice_equal(result->value, slice_text("hi")));
        cr_assert_str_eq(result->version, "01-2");
        cr_assert_eq(result->expiry_ms, 77);
        fixture_deinit(&fixture);
    }
}

Test(operation, meta_of_an_absent_key_is_not_found)
{
    struct fixture fixture;
    fixture_init(&fixture, false, false);
    fixture.operation.answer = OPERATION_ANSWER_META;
    (void)answer(&fixture, "*4\r\n$5\r\nvalue\r\n$-1\r\n$7\r\nversion\r\n$4\r\n01-2\r\n");
    cr_assert_eq(fixture.operation.result.outcome, KV_NOT_FOUND);
    fixture_deinit(&fixture);
}
