/*
 * tests/unit/test_resp_request.c -- requests as Redis 7.0 reads them.
 *
 * The tables of refusals and inline lines hold what a redis-server 7.0.15 answered to these bytes.
 * Every input lies in a heap block of its exact size, so that a read past it is seen.
 */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/prng.h"
#include "base/resp.h"

#define ARGUMENT_CAPACITY 64

static const struct resp_limits limits = {
    .argument_count_max = ARGUMENT_CAPACITY,
    .argument_size_max = 1u << 20,
    .request_size_max = 8u << 20,
};

struct parse {
    uint8_t *bytes; /* A copy of exactly the input's size; owned. */
    struct slice arguments[ARGUMENT_CAPACITY];
    uint32_t count;
    size_t used;
    size_t needed;
    const char *reason;
    enum status status;
};

static void parse_run(struct parse *parse, const struct resp_limits *with, const void *input,
                      size_t size)
{
    *parse = (struct parse){.bytes = malloc(size != 0 ? size : 1)};
    if (size != 0) {
        memcpy(parse->bytes, input, size);
    }
    struct resp_parse found = {.arguments = parse->arguments,
                               .argument_capacity = ARGUMENT_CAPACITY};
    parse->status = resp_parse_request(parse->bytes, size, with, &found);
    parse->count = found.argument_count;
    parse->used = found.used;
    parse->needed = found.needed;
    parse->reason = found.reason;
}

static void parse_end(struct parse *parse)
{
    free(parse->bytes);
}

/* `words` ends with NULL. */
static void words_expect(const struct parse *parse, const char *const *words, const char *what)
{
    cr_assert_eq(parse->status, STATUS_OK, "%s: %s", what, status_name(parse->status));
    uint32_t count = 0;
    for (; words[count] != NULL; count++) {
        cr_assert_lt(count, parse->count, "%s", what);
        cr_assert(slice_equal(parse->arguments[count], slice_text(words[count])), "%s: word %u",
                  what, count);
    }
    cr_assert_eq(parse->count, count, "%s", what);
}

/* Every prefix waits, asks for more than it has and no more than the whole takes; the whole is
 * read, and bytes behind it change nothing. */
static void splits_expect(const void *input, size_t size, const char *const *words)
{
    const char *what = input;
    struct parse parse;
    for (size_t cut = 0; cut < size; cut++) {
        parse_run(&parse, &limits, input, cut);
        cr_assert_eq(parse.status, STATUS_WOULD_BLOCK, "%s cut %zu: %s", what, cut,
                     status_name(parse.status));
        cr_assert_gt(parse.needed, cut, "%s", what);
        cr_assert_leq(parse.needed, size, "%s cut %zu", what, cut);
        cr_assert(cut == 0 || memcmp(parse.bytes, input, cut) == 0, "bytes were changed");
        parse_end(&parse);
    }
    char longer[512];
    cr_assert_leq(size + 16, sizeof(longer));
    memcpy(longer, input, size);
    memcpy(longer + size, "*1\r\n$4\r\nPING\r\n\"'", 16);
    for (size_t extra = 0; extra <= 16; extra++) {
        parse_run(&parse, &limits, longer, size + extra);
        words_expect(&parse, words, what);
        cr_assert_eq(parse.used, size, "%s extra %zu", what, extra);
        parse_end(&parse);
    }
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NO_WORDS ((const char *const[]){NULL})

Test(resp_request, multibulk_at_every_split)
{
    static const char *const cases[] = {
        "*1\r\n$4\r\nPING\r\n",
        "*2\r\n$3\r\nGET\r\n$0\r\n\r\n",
        "*3\r\n$3\r\nSET\r\n$5\r\nk\r\n$1\r\n$12\r\nhello world!\r\n",
        "*0\r\n",
        "*-1\r\n",
        "*-5\r\n",
    };
    splits_expect(cases[0], strlen(cases[0]), WORDS("PING"));
    splits_expect(cases[1], strlen(cases[1]), WORDS("GET", ""));
    splits_expect(cases[2], strlen(cases[2]), WORDS("SET", "k\r\n$1", "hello world!"));
    for (int index = 3; index < 6; index++) {
        splits_expect(cases[index], strlen(cases[index]), NO_WORDS);
    }
}

Test(resp_request, two_bytes_after_header_and_argument_are_skipped_as_redis_does)
{
    splits_expect("*1\rX$4\rYPINGxx", 14, WORDS("PING"));
}

Test(resp_request, inline_at_every_split)
{
    static const struct {
        const char *line;
        const char *words[5];
    } cases[] = {
        {"PING\n", {"PING"}},
        {"PING\r\n", {"PING"}},
        {"\r\n", {NULL}},
        {"\n", {NULL}},
        {"  \t \r\n", {NULL}},
        {" \t PING \v\r\n", {"PING"}},
        {"SET k  v\r\n", {"SET", "k", "v"}},
        {"ECHO \"a\\x41\\n\\q\"\r\n", {"ECHO", "aA\nq"}},
        {"ECHO \"\\r\\t\\b\\a\\\\\\\"\"\r\n", {"ECHO", "\r\t\b\a\\\""}},
        {"ECHO 'a\\'b\\n'\r\n", {"ECHO", "a'b\\n"}},
        {"ECHO foo\"bar\"\r\n", {"ECHO", "foobar"}},
        {"ECHO \"\" ''\r\n", {"ECHO", "", ""}},
        {"ECHO \"a\\x4\"\r\n", {"ECHO", "ax4"}},
        {"ECHO \"\\xZZ\\xff\\xAb\"\r\n", {"ECHO", "xZZ\xff\xab"}},
        {"ECHO a\vb\r\n", {"ECHO", "a\vb"}},
        {"ECHO a\rb\r\n", {"ECHO", "a", "b"}},
        {"ECHO \"a\rb\"\r\n", {"ECHO", "a\rb"}},
        {"ECHO 'a'\v\r\n", {"ECHO", "a"}},
        {"ECHO a\\x41\r\n", {"ECHO", "a\\x41"}},
        {"\xff\xfe\r\n", {"\xff\xfe"}},
        {"$3\r\n", {"$3"}},
        {"a 'b c' \"d e\" f'g'\r\n", {"a", "b c", "d e", "fg"}},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        splits_expect(cases[index].line, strlen(cases[index].line), cases[index].words);
    }
}

Test(resp_request, nul_is_a_byte_like_any_other)
{
    struct parse parse;
    parse_run(&parse, &limits, "a\0b \"c\0d\"\r\n", 11);
    cr_assert_eq(parse.status, STATUS_OK);
    cr_assert_eq(parse.count, 2);
    cr_assert(slice_equal(parse.arguments[0], slice_make("a\0b", 3)));
    cr_assert(slice_equal(parse.arguments[1], slice_make("c\0d", 3)));
    parse_end(&parse);
}

/* Refused as a whole, never before the last byte given here, and with anything after it. */
static void refusal_expect(const char *input, size_t size, const char *reason)
{
    struct parse parse;
    for (size_t cut = 0; cut < size; cut++) {
        parse_run(&parse, &limits, input, cut);
        cr_assert_eq(parse.status, STATUS_WOULD_BLOCK, "%s cut %zu", input, cut);
        cr_assert_gt(parse.needed, cut);
        parse_end(&parse);
    }
    parse_run(&parse, &limits, input, size);
    cr_assert(parse.status == STATUS_INVALID || parse.status == STATUS_TOO_LARGE, "%s", input);
    cr_assert_str_eq(parse.reason, reason);
    parse_end(&parse);
}

Test(resp_request, refusals_have_the_words_of_redis)
{
    static const struct {
        const char *input;
        const char *reason;
    } cases[] = {
        {"*abc\r\n", "invalid multibulk length"},
        {"*+1\r\n", "invalid multibulk length"},
        {"*01\r\n", "invalid multibulk length"},
        {"*-0\r\n", "invalid multibulk length"},
        {"*\r\n", "invalid multibulk length"},
        {"* 1\r\n", "invalid multibulk length"},
        {"*1 \r\n", "invalid multibulk length"},
        {"*2147483648\r\n", "invalid multibulk length"},
        {"*9223372036854775808\r\n", "invalid multibulk length"},
        {"*18446744073709551617\r\n", "invalid multibulk length"},
        {"*-9223372036854775809\r\n", "invalid multibulk length"},
        {"*65\r\n", "invalid multibulk length"},
        {"*1\r\nfoo\r\n", "expected '$', got 'f'"},
        {"*1\r\n\r\n", "expected '$', got ' '"},
        {"*1\r\n\n\r\n", "expected '$', got ' '"},
        {"*1\r\n:4\r\n", "expected '$', got ':'"},
        {"*1\r\n~4\r\n", "expected '$', got '~'"},
        {"*1\r\n 4\r\n", "expected '$', got ' '"},
        {"*1\r\n*4\r\n", "expected '$', got '*'"},
        {"*1\r\n\x01\r\n", "expected '$', got '?'"},
        {"*1\r\n\xff\r\n", "expected '$', got '?'"},
        {"*1\r\n\x7f\r\n", "expected '$', got '?'"},
        {"*1\r\n$-1\r\n", "invalid bulk length"},
        {"*1\r\n$x\r\n", "invalid bulk length"},
        {"*1\r\n$\r\n", "invalid bulk length"},
        {"*1\r\n$04\r\n", "invalid bulk length"},
        {"*1\r\n$1048577\r\n", "invalid bulk length"},
        {"*1\r\n$9223372036854775807\r\n", "invalid bulk length"},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        refusal_expect(cases[index].input, strlen(cases[index].input), cases[index].reason);
    }
}

Test(resp_request, unbalanced_quotes_have_the_words_of_redis)
{
    static const char *const lines[] = {
        "ECHO \"a\"b\r\n", "ECHO \"abc\r\n", "ECHO 'abc\n", "ECHO 'a'b\r\n",
        "ECHO \"a\\\r\n",  "\"\n",           "'\n",         "a\"\"\"\n",
        "ECHO 'a\\'\r\n",  "\"\\x\n",        "\"\\x4\r\n",
    };
    for (size_t index = 0; index < sizeof(lines) / sizeof(lines[0]); index++) {
        refusal_expect(lines[index], strlen(lines[index]), "unbalanced quotes in request");
    }
}

/* At the bound the bytes still wait; one more is refused. Redis 7.0 draws the line there too. */
static void endless_expect(const char *head, char byte, const char *reason)
{
    size_t head_size = strlen(head);
    size_t begin = head_size > 0 && head[0] == '*' && head_size > 4 ? 4 : 0;
    size_t size = begin + RESP_INLINE_SIZE_MAX + 1;
    char *input = malloc(size);
    memset(input, byte, size);
    memcpy(input, head, head_size);
    struct parse parse;
    parse_run(&parse, &limits, input, size - 1);
    cr_assert_eq(parse.status, STATUS_WOULD_BLOCK, "%s", reason);
    parse_end(&parse);
    parse_run(&parse, &limits, input, size);
    cr_assert_eq(parse.status, STATUS_TOO_LARGE, "%s", reason);
    cr_assert_str_eq(parse.reason, reason);
    parse_end(&parse);
    free(input);
}

Test(resp_request, lines_without_end_are_refused_at_the_bound)
{
    endless_expect("*1", '1', "too big mbulk count string");
    endless_expect("*1\r\n$1", '1', "too big bulk count string");
    endless_expect("", 'x', "too big inline request");
}

/* A line of just the bound is taken, whether or not more came with it. */
Test(resp_request, inline_of_the_greatest_size_is_taken)
{
    static char input[RESP_INLINE_SIZE_MAX + 100];
    memset(input, 'x', sizeof(input));
    input[RESP_INLINE_SIZE_MAX] = '\n';
    struct parse parse;
    parse_run(&parse, &limits, input, sizeof(input));
    cr_assert_eq(parse.status, STATUS_OK);
    cr_assert_eq(parse.arguments[0].size, RESP_INLINE_SIZE_MAX);
    parse_end(&parse);
    input[RESP_INLINE_SIZE_MAX] = 'x';
    input[RESP_INLINE_SIZE_MAX + 1] = '\n';
    parse_run(&parse, &limits, input, sizeof(input));
    cr_assert_eq(parse.status, STATUS_TOO_LARGE);
    parse_end(&parse);
}

Test(resp_request, limits_hold_before_a_body_is_awaited)
{
    static const struct resp_limits small = {
        .argument_count_max = 3, .argument_size_max = 20, .request_size_max = 40};
    static const struct {
        const char *input;
        enum status status;
    } cases[] = {
        {"*3\r\n", STATUS_WOULD_BLOCK},
        {"*4\r\n", STATUS_TOO_LARGE},
        {"*1\r\n$20\r\n", STATUS_WOULD_BLOCK},
        {"*1\r\n$21\r\n", STATUS_TOO_LARGE},
        {"*2\r\n$20\r\n", STATUS_WOULD_BLOCK},
        {"*3\r\n$20\r\n", STATUS_TOO_LARGE}, /* 4 + 27 + 2 * 6 is over 40. */
        {"*3\r\n$16\r\n", STATUS_WOULD_BLOCK},
        {"*3\r\n$18\r\n", STATUS_TOO_LARGE},
        {"a b c\n", STATUS_OK},
        {"a b c d\n", STATUS_TOO_LARGE},
        {"aaaaaaaaaaaaaaaaaaaaa\n", STATUS_TOO_LARGE},
        {"a                                      ", STATUS_WOULD_BLOCK},
        {"a                                        ", STATUS_TOO_LARGE},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        struct parse parse;
        parse_run(&parse, &small, cases[index].input, strlen(cases[index].input));
        cr_assert_eq(parse.status, cases[index].status, "%s: %s", cases[index].input,
                     status_name(parse.status));
        parse_end(&parse);
    }
}

Test(resp_request, no_more_arguments_than_there_is_room_for)
{
    struct slice arguments[2];
    struct resp_parse parse = {.arguments = arguments, .argument_capacity = 2};
    char three[] = "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n";
    cr_assert_eq(resp_parse_request((uint8_t *)three, strlen(three), &limits, &parse),
                 STATUS_TOO_LARGE);
    char words[] = "a b c\r\n";
    cr_assert_eq(resp_parse_request((uint8_t *)words, strlen(words), &limits, &parse),
                 STATUS_TOO_LARGE);
}

/* `needed` of a waiting body is the whole: a reader sleeps until then. */
Test(resp_request, needed_counts_the_body_and_the_least_of_what_follows)
{
    struct parse parse;
    parse_run(&parse, &limits, "*3\r\n$100\r\nab", 12);
    cr_assert_eq(parse.status, STATUS_WOULD_BLOCK);
    cr_assert_eq(parse.needed, 4 + 6 + 100 + 2 + 2 * 6);
    parse_end(&parse);
}

static void request_draw(struct prng *prng, struct buffer *to, struct buffer *bodies,
                         struct slice *arguments, uint32_t count)
{
    static const size_t sizes[] = {0, 1, 9, 10, 99, 100, 999, 1000, 9999, 10000, 10001};
    buffer_clear(bodies);
    size_t offsets[ARGUMENT_CAPACITY + 1] = {0};
    for (uint32_t index = 0; index < count; index++) {
        size_t size = sizes[prng_below(prng, sizeof(sizes) / sizeof(sizes[0]))];
        for (size_t at = 0; at < size; at++) {
            uint8_t byte = (uint8_t) "\r\n$*1a \0"[prng_below(prng, 8)];
            buffer_append(bodies, &byte, 1);
        }
        offsets[index + 1] = bodies->size;
    }
    for (uint32_t index = 0; index < count; index++) {
        arguments[index] =
            slice_make(bodies->data + offsets[index], offsets[index + 1] - offsets[index]);
    }
    resp_request(to, arguments, count);
}

/* What the client writes, the node reads, also one after another. */
Test(resp_request, written_requests_come_back)
{
    struct prng prng;
    prng_init(&prng, 31);
    struct buffer bodies = {0};
    struct buffer wire = {0};
    for (int round = 0; round < 60; round++) {
        struct slice expected[ARGUMENT_CAPACITY];
        uint32_t count = (uint32_t)prng_below(&prng, 12);
        buffer_clear(&wire);
        cr_assert_not_null(buffer_reserve(&bodies, 1));
        request_draw(&prng, &wire, &bodies, expected, count);
        size_t size = wire.size;
        buffer_append_text(&wire, "*1\r\n$1\r\n");
        struct parse parse;
        parse_run(&parse, &limits, wire.data, wire.size);
        cr_assert_eq(parse.status, STATUS_OK, "round %d", round);
        cr_assert_eq(parse.used, size);
        cr_assert_eq(parse.count, count);
        for (uint32_t index = 0; index < count; index++) {
            cr_assert(slice_equal(parse.arguments[index], expected[index]));
        }
        parse_end(&parse);
        size_t cut = (size_t)prng_below(&prng, size);
        parse_run(&parse, &limits, wire.data, cut);
        cr_assert_eq(parse.status, STATUS_WOULD_BLOCK, "round %d cut %zu", round, cut);
        cr_assert(parse.needed > cut && parse.needed <= size);
        parse_end(&parse);
    }
    buffer_deinit(&bodies);
    buffer_deinit(&wire);
}
