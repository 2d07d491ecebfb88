/* tests/unit/test_json.c -- a writer whose output any JSON reader takes. */
#include <math.h>
#include <signal.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "base/json.h"
#include "base/prng.h"

static void expect(const struct buffer *buffer, const char *text)
{
    cr_assert(slice_equal(buffer_slice(buffer), slice_text(text)), "got %.*s, want %s",
              (int)buffer->size, (const char *)buffer->data, text);
}

Test(json, commas_stand_between_and_nowhere_else)
{
    struct buffer buffer = {0};
    struct json_writer json;
    json_init(&json, &buffer);
    json_object_begin(&json);
    json_key(&json, "empty");
    json_array_begin(&json);
    json_array_end(&json);
    json_key(&json, "list");
    json_array_begin(&json);
    json_u64(&json, UINT64_MAX);
    json_i64(&json, INT64_MIN);
    json_object_begin(&json);
    json_object_end(&json);
    json_object_begin(&json);
    json_key(&json, "a");
    json_bool(&json, true);
    json_key(&json, "b");
    json_bool(&json, false);
    json_object_end(&json);
    json_null(&json);
    json_array_end(&json);
    json_key(&json, "token");
    json_hex64(&json, 0xabc);
    json_key(&json, "text");
    json_text(&json, "x");
    json_object_end(&json);
    expect(&buffer,
           "{\"empty\":[],\"list\":[18446744073709551615,-9223372036854775808,{},"
           "{\"a\":true,\"b\":false},null],\"token\":\"0000000000000abc\",\"text\":\"x\"}");
    buffer_deinit(&buffer);
}

static void text_expect(const char *text, size_t size, const char *written)
{
    struct buffer buffer = {0};
    struct json_writer json;
    json_init(&json, &buffer);
    json_slice(&json, slice_make(text, size));
    expect(&buffer, written);
    buffer_deinit(&buffer);
}

#define R "\xef\xbf\xbd"

Test(json, strings_are_escaped)
{
    text_expect("", 0, "\"\"");
    text_expect("a\"b\\c/d", 7, "\"a\\\"b\\\\c/d\"");
    text_expect("\n\r\t\0\x1f\x7f", 6, "\"\\n\\r\\t\\u0000\\u001f\x7f\"");
    text_expect("\"\"", 2, "\"\\\"\\\"\"");
}

Test(json, bytes_that_are_no_utf8_become_replacement)
{
    text_expect("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9,
                "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
    text_expect("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", 10,
                "\"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\"");
    text_expect("\x80", 1, "\"" R "\"");
    text_expect("a\xff"
                "b",
                3, "\"a" R "b\"");
    text_expect("\xc0\xaf", 2, "\"" R R "\"");
    text_expect("\xe0\x9f\xbf", 3, "\"" R R R "\"");
    text_expect("\xed\xa0\x80", 3, "\"" R R R "\"");
    text_expect("\xf0\x8f\xbf\xbf", 4, "\"" R R R R "\"");
    text_expect("\xf4\x90\x80\x80", 4, "\"" R R R R "\"");
    text_expect("\xf5\x80\x80\x80", 4, "\"" R R R R "\"");
    text_expect("\xe2\x82", 2, "\"" R R "\"");
    text_expect("\xc3\"", 2, "\"" R "\\\"\"");
}

Test(json, doubles_read_back_to_themselves)
{
    struct prng prng;
    prng_init(&prng, 41);
    for (int round = 0; round < 20000; round++) {
        union {
            uint64_t bits;
            double value;
        } drawn = {.bits = prng_next(&prng)};
        struct buffer buffer = {0};
        struct json_writer json;
        json_init(&json, &buffer);
        json_double(&json, drawn.value);
        buffer_append(&buffer, "", 1);
        if (isfinite(drawn.value)) {
            double back = strtod((const char *)buffer.data, NULL);
            cr_assert(back == drawn.value, "%s", (const char *)buffer.data);
        } else {
            cr_assert_str_eq((const char *)buffer.data, "null");
        }
        buffer_deinit(&buffer);
    }
}

Test(json, doubles_are_short)
{
    struct buffer buffer = {0};
    struct json_writer json;
    json_init(&json, &buffer);
    json_array_begin(&json);
    json_double(&json, 0.1);
    json_double(&json, 1.0);
    json_double(&json, -2.5);
    json_double(&json, 1e300);
    json_double(&json, HUGE_VAL);
    json_double(&json, -HUGE_VAL);
    json_double(&json, NAN);
    json_array_end(&json);
    expect(&buffer, "[0.1,1,-2.5,1e+300,null,null,null]");
    buffer_deinit(&buffer);
}

static void nest(int depth)
{
    struct buffer buffer = {0};
    struct json_writer json;
    json_init(&json, &buffer);
    for (int level = 0; level < depth; level++) {
        json_array_begin(&json);
    }
    json_null(&json);
    for (int level = 0; level < depth; level++) {
        json_array_end(&json);
    }
    cr_assert_eq(buffer.size, 2 * (size_t)depth + 4);
    buffer_deinit(&buffer);
}

Test(json, nests_up_to_the_bound)
{
    nest(JSON_DEPTH_MAX);
}

Test(json, nesting_above_the_bound_is_a_bug, .signal = SIGABRT)
{
    nest(JSON_DEPTH_MAX + 1);
}

Test(json, a_key_without_a_value_is_a_bug, .signal = SIGABRT)
{
    struct buffer buffer = {0};
    struct json_writer json;
    json_init(&json, &buffer);
    json_object_begin(&json);
    json_key(&json, "a");
    json_object_end(&json);
}
