/* tests/unit/test_resp.c -- replies, read and written. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/resp.h"

/* From a heap block of exactly the size, so that a read past it is seen. */
static enum status item_parse(const void *input, size_t size, struct resp_item *item, size_t *used)
{
    static uint8_t *copy; /* Kept until the next call: items borrow from it. */
    free(copy);
    copy = malloc(size != 0 ? size : 1);
    if (size != 0) {
        memcpy(copy, input, size);
    }
    return resp_parse_item(slice_make(copy, size), item, used);
}

Test(resp, every_type_at_every_split)
{
    static const struct {
        const char *input;
        enum resp_type type;
        const char *text;
        int64_t integer;
    } cases[] = {
        {"+OK\r\n", RESP_SIMPLE, "OK", 0},
        {"+\r\n", RESP_SIMPLE, "", 0},
        {"-ERR no\r\n", RESP_ERROR, "ERR no", 0},
        {"!6\r\nERR no\r\n", RESP_ERROR, "ERR no", 0},
        {":-12\r\n", RESP_INTEGER, "", -12},
        {":9223372036854775807\r\n", RESP_INTEGER, "", INT64_MAX},
        {":-9223372036854775808\r\n", RESP_INTEGER, "", INT64_MIN},
        {"$5\r\na\r\nbc\r\n", RESP_BULK, "a\r\nbc", 0},
        {"$0\r\n\r\n", RESP_BULK, "", 0},
        {"=6\r\ntxt:hi\r\n", RESP_BULK, "hi", 0},
        {"$-1\r\n", RESP_NULL, "", 0},
        {"*-1\r\n", RESP_NULL, "", 0},
        {"_\r\n", RESP_NULL, "", 0},
        {"*3\r\n", RESP_ARRAY, "", 3},
        {"%2\r\n", RESP_MAP, "", 2},
        {"~0\r\n", RESP_SET, "", 0},
        {">2147483647\r\n", RESP_PUSH, "", 2147483647},
        {",1.5e-3\r\n", RESP_DOUBLE, "1.5e-3", 0},
        {",-inf\r\n", RESP_DOUBLE, "-inf", 0},
        {"#t\r\n", RESP_BOOLEAN, "", 1},
        {"#f\r\n", RESP_BOOLEAN, "", 0},
        {"(-123456789012345678901234567890\r\n", RESP_BIG, "-123456789012345678901234567890", 0},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        const char *input = cases[index].input;
        size_t size = strlen(input);
        struct resp_item item;
        size_t used = 0;
        for (size_t cut = 0; cut < size; cut++) {
            cr_assert_eq(item_parse(input, cut, &item, &used), STATUS_WOULD_BLOCK, "%s cut %zu",
                         input, cut);
        }
        char longer[64];
        int length = snprintf(longer, sizeof(longer), "%s+more\r\n", input);
        cr_assert_eq(item_parse(longer, (size_t)length, &item, &used), STATUS_OK, "%s", input);
        cr_assert_eq(used, size, "%s", input);
        cr_assert_eq(item.type, cases[index].type, "%s", input);
        cr_assert_eq(item.integer, cases[index].integer, "%s", input);
        cr_assert(slice_equal(item.text, slice_text(cases[index].text)), "%s", input);
    }
}

Test(resp, malformed_items_are_refused)
{
    static const char *const inputs[] = {
        "x",
        "\r\n",
        "+a\rb\r\n",
        ":\r\n",
        ":1a\r\n",
        ":01\r\n",
        ":-0\r\n",
        ":+1\r\n",
        "$-2\r\n",
        "$x\r\n",
        "$?\r\n",
        "$3\r\nabcX\n",
        "$3\r\nabc\rX",
        "*-2\r\n",
        "%-1\r\n",
        "~-1\r\n",
        ">-1\r\n",
        "*2147483648\r\n",
        "_x\r\n",
        "#x\r\n",
        "#\r\n",
        "#tt\r\n",
        ",\r\n",
        ",1.\r\n",
        ",.5\r\n",
        ",1e\r\n",
        ",1e+\r\n",
        ",0x1\r\n",
        ",1 \r\n",
        ",infinity\r\n",
        "(\r\n",
        "(-\r\n",
        "(1.5\r\n",
        "=3\r\nabc\r\n",
        "=4\r\nabcd\r\n",
        "!-1\r\n",
        "$536870913\r\n",
        "|1\r\n",
        ":9223372036854775808\r\n",
    };
    for (size_t index = 0; index < sizeof(inputs) / sizeof(inputs[0]); index++) {
        struct resp_item item;
        size_t used = 0;
        cr_assert_eq(item_parse(inputs[index], strlen(inputs[index]), &item, &used), STATUS_INVALID,
                     "%s", inputs[index]);
    }
}

Test(resp, a_line_without_end_is_refused)
{
    static char input[RESP_INLINE_SIZE_MAX + 1];
    memset(input, '+', sizeof(input));
    struct resp_item item;
    size_t used = 0;
    cr_assert_eq(item_parse(input, RESP_INLINE_SIZE_MAX - 1, &item, &used), STATUS_WOULD_BLOCK);
    cr_assert_eq(item_parse(input, sizeof(input), &item, &used), STATUS_INVALID);
}

Test(resp, reply_size_counts_what_is_nested)
{
    static const char reply[] = "*3\r\n%2\r\n+a\r\n:1\r\n+b\r\n*0\r\n~1\r\n$3\r\nxyz\r\n_\r\n";
    size_t whole = sizeof(reply) - 1;
    size_t size = 0;
    for (size_t cut = 0; cut < whole; cut++) {
        cr_assert_eq(resp_reply_size(slice_make(reply, cut), &size), STATUS_WOULD_BLOCK, "cut %zu",
                     cut);
    }
    cr_assert_eq(resp_reply_size(slice_make(reply, whole), &size), STATUS_OK);
    cr_assert_eq(size, whole);
    cr_assert_eq(resp_reply_size(slice_make(NULL, 0), &size), STATUS_WOULD_BLOCK);
}

Test(resp, replies_nest_up_to_the_bound)
{
    for (int depth = 30; depth <= 35; depth++) {
        struct buffer buffer = {0};
        for (int level = 0; level < depth; level++) {
            buffer_append_text(&buffer, "*1\r\n");
        }
        buffer_append_text(&buffer, ":1\r\n");
        size_t size = 0;
        enum status expected = depth <= 32 ? STATUS_OK : STATUS_INVALID;
        cr_assert_eq(resp_reply_size(buffer_slice(&buffer), &size), expected, "depth %d", depth);
        buffer_deinit(&buffer);
    }
}

/* Writes everything in one protocol. */
static void all_write(struct buffer *to, int protocol)
{
    struct resp_writer writer = {.to = to, .protocol = protocol};
    resp_simple(&writer, "OK");
    resp_error(&writer, "ERR bad '%s'", "x\r\ny");
    resp_integer(&writer, 0);
    resp_integer(&writer, -1);
    resp_integer(&writer, INT64_MIN);
    resp_integer(&writer, INT64_MAX);
    resp_bulk(&writer, slice_make("a\0b", 3));
    resp_bulk(&writer, slice_make(NULL, 0));
    resp_bulk_text(&writer, "0123456789");
    resp_null(&writer);
    resp_null_array(&writer);
    resp_double(&writer, 0.5);
    resp_double(&writer, HUGE_VAL);
    resp_double(&writer, -HUGE_VAL);
    resp_array(&writer, 12);
    resp_map(&writer, 3);
    resp_set(&writer, 2);
}

Test(resp, writers_of_protocol_2)
{
    static const char expected[] =
        "+OK\r\n-ERR bad 'x  y'\r\n:0\r\n:-1\r\n:-9223372036854775808\r\n:9223372036854775807\r\n"
        "$3\r\na\0b\r\n$0\r\n\r\n$10\r\n0123456789\r\n$-1\r\n*-1\r\n$3\r\n0.5\r\n$3\r\ninf\r\n"
        "$4\r\n-inf\r\n*12\r\n*6\r\n*2\r\n";
    struct buffer buffer = {0};
    all_write(&buffer, 2);
    cr_assert(slice_equal(buffer_slice(&buffer), slice_make(expected, sizeof(expected) - 1)));
    buffer_deinit(&buffer);
}

Test(resp, writers_of_protocol_3)
{
    static const char expected[] =
        "+OK\r\n-ERR bad 'x  y'\r\n:0\r\n:-1\r\n:-9223372036854775808\r\n:9223372036854775807\r\n"
        "$3\r\na\0b\r\n$0\r\n\r\n$10\r\n0123456789\r\n_\r\n_\r\n,0.5\r\n,inf\r\n"
        ",-inf\r\n*12\r\n%3\r\n~2\r\n";
    struct buffer buffer = {0};
    all_write(&buffer, 3);
    cr_assert(slice_equal(buffer_slice(&buffer), slice_make(expected, sizeof(expected) - 1)));
    buffer_deinit(&buffer);
}

Test(resp, written_integers_of_every_length_come_back)
{
    struct buffer buffer = {0};
    struct resp_writer writer = {.to = &buffer, .protocol = 2};
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int delta = -1; delta <= 1; delta++) {
            int64_t value = (int64_t)((UINT64_C(1) << bit) + (uint64_t)(int64_t)delta);
            buffer_clear(&buffer);
            resp_integer(&writer, value);
            struct resp_item item;
            size_t used = 0;
            cr_assert_eq(resp_parse_item(buffer_slice(&buffer), &item, &used), STATUS_OK);
            cr_assert_eq(item.integer, value, "bit %u", bit);
            cr_assert_eq(used, buffer.size);
        }
    }
    buffer_deinit(&buffer);
}

Test(resp, a_long_error_is_cut_and_stays_one_line)
{
    static char text[5000];
    memset(text, '\n', sizeof(text) - 1);
    struct buffer buffer = {0};
    struct resp_writer writer = {.to = &buffer, .protocol = 2};
    resp_error(&writer, "ERR %s", text);
    struct resp_item item;
    size_t used = 0;
    cr_assert_eq(resp_parse_item(buffer_slice(&buffer), &item, &used), STATUS_OK);
    cr_assert_eq(used, buffer.size);
    cr_assert_eq(item.type, RESP_ERROR);
    cr_assert_lt(item.text.size, 1100);
    cr_assert_null(memchr(item.text.data, '\n', item.text.size));
    buffer_deinit(&buffer);
}
