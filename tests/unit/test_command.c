/* tests/unit/test_command.c -- the command table, numbers in arguments, and patterns. */
#include <string.h>

#include <criterion/criterion.h>

#include "node/command.h"

Test(command, every_name_is_found_in_any_case)
{
    uint32_t count;
    const struct command *table = command_table(&count);
    cr_assert_gt(count, 40);
    for (uint32_t index = 0; index < count; index++) {
        char upper[32];
        size_t size = strlen(table[index].name);
        for (size_t at = 0; at <= size; at++) {
            char byte = table[index].name[at];
            upper[at] = byte >= 'a' && byte <= 'z' ? (char)(byte - 32) : byte;
        }
        cr_expect_eq(command_find(slice_text(upper)), &table[index], "%s", upper);
        cr_expect_null(command_absent_reason(slice_text(upper)), "%s is offered", upper);
        cr_expect((table[index].flags & (COMMAND_READ | COMMAND_WRITE)) == 0 ||
                      (table[index].flags & COMMAND_DATA) != 0,
                  "%s", upper);
    }
    cr_expect_null(command_find(slice_text("nonsense")));
    cr_expect_null(command_find(slice_text("")));
    cr_expect_not_null(command_absent_reason(slice_text("LPUSH")));
    cr_expect_not_null(command_absent_reason(slice_text("FlushAll")));
}

Test(command, integers_are_decimals_and_nothing_else)
{
    static const struct {
        const char *text;
        bool valid;
        int64_t value;
    } cases[] = {
        {"0", true, 0},
        {"-1", true, -1},
        {"007", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"-0", false, 0},
        {"1 ", false, 0},
        {"9223372036854775807", true, INT64_MAX},
        {"9223372036854775808", false, 0},
        {"-9223372036854775808", true, INT64_MIN},
        {"-9223372036854775809", false, 0},
        {"12345678901234567890123", false, 0},
        {"+5", false, 0},
        {"0x10", false, 0},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        int64_t value = 0;
        cr_expect_eq(argument_integer(slice_text(cases[index].text), &value), cases[index].valid,
                     "\"%s\"", cases[index].text);
        if (cases[index].valid) {
            cr_expect_eq(value, cases[index].value, "\"%s\"", cases[index].text);
        }
    }
}

Test(command, patterns_match_as_redis_matches)
{
    static const struct {
        const char *pattern;
        const char *text;
        bool match;
    } cases[] = {
        {"*", "", true},
        {"", "", true},
        {"", "a", false},
        {"a*", "abc", true},
        {"*c", "abc", true},
        {"a*c", "abbbc", true},
        {"a*c", "abbb", false},
        {"h?llo", "hello", true},
        {"h?llo", "hllo", false},
        {"h[ae]llo", "hallo", true},
        {"h[ae]llo", "hillo", false},
        {"h[^e]llo", "hallo", true},
        {"h[^e]llo", "hello", false},
        {"h[a-c]llo", "hbllo", true},
        {"h[c-a]llo", "hbllo", true},
        {"h[a-c]llo", "hdllo", false},
        {"a\\*b", "a*b", true},
        {"a\\*b", "axb", false},
        {"[\\]]", "]", true},
        {"a[", "a[", false},
        {"**a**", "bab", true},
        {"*a*b*c", "xaxbxbxc", true},
        {"*a*b*c", "xaxbxbx", false},
        {"user:*:name", "user:12:name", true},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        cr_expect_eq(command_glob(slice_text(cases[index].pattern), slice_text(cases[index].text)),
                     cases[index].match, "%s against %s", cases[index].pattern, cases[index].text);
    }
}

Test(command, a_hostile_pattern_takes_no_exponential_time, .timeout = 5)
{
    char pattern[257];
    char text[2001];
    for (size_t index = 0; index < 256; index++) {
        pattern[index] = index % 2 == 0 ? '*' : 'a';
    }
    pattern[256] = '\0';
    memset(text, 'a', 2000);
    text[2000] = '\0';
    pattern[255] = 'b';
    cr_expect_not(command_glob(slice_text(pattern), slice_text(text)));
}
