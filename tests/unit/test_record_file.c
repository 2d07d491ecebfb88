/* tests/unit/test_record_file.c -- the formats of import and export. */
#include <stdio.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/prng.h"
#include "client/record_file.h"

struct fixture {
    FILE *file;
    struct record_reader reader;
};

static void fixture_init(struct fixture *fixture, enum record_format format, struct slice bytes)
{
    fixture->file = tmpfile();
    cr_assert_not_null(fixture->file);
    cr_assert_eq(write(fileno(fixture->file), bytes.data, bytes.size), (ssize_t)bytes.size);
    cr_assert_eq(lseek(fileno(fixture->file), 0, SEEK_SET), 0);
    record_reader_init(&fixture->reader, format, fileno(fixture->file));
}

static void fixture_deinit(struct fixture *fixture)
{
    record_reader_deinit(&fixture->reader);
    fclose(fixture->file);
}

static void expect_record(struct fixture *fixture, const char *key, const char *value)
{
    struct record record;
    cr_assert_eq(record_next(&fixture->reader, &record), STATUS_OK, "key %s", key);
    cr_assert(slice_equal(record.key, slice_text(key)), "key %s, not %.*s", key,
              (int)record.key.size, (const char *)record.key.data);
    cr_assert(slice_equal(record.value, slice_text(value)), "value of %s", key);
}

static void expect_status(enum record_format format, struct slice bytes, enum status expected)
{
    struct fixture fixture;
    struct record record;
    fixture_init(&fixture, format, bytes);
    cr_assert_eq(record_next(&fixture.reader, &record), expected, "%.*s", (int)bytes.size,
                 (const char *)bytes.data);
    fixture_deinit(&fixture);
}

Test(record_file, stanzas_of_a_package_index)
{
    struct fixture fixture;
    struct record record;
    fixture_init(&fixture, RECORD_DEBIAN,
                 slice_text("Package: a\nVersion: 1\n\nSection: x\nPackage:  b \n text\n\n"));
    expect_record(&fixture, "a", "Package: a\nVersion: 1\n");
    expect_record(&fixture, "b", "Section: x\nPackage:  b \n text\n");
    cr_assert_eq(record_next(&fixture.reader, &record), STATUS_NOT_FOUND);
    fixture_deinit(&fixture);
}

Test(record_file, names_that_return_get_their_version_and_then_a_number)
{
    struct fixture fixture;
    fixture_init(&fixture, RECORD_DEBIAN,
                 slice_text("Package: a\nVersion: 1\n\nPackage: a\nVersion: 2\n\n"
                            "Package: a\nVersion: 2\nX: 1\n\nPackage: a\nVersion: 2\nX: 2\n"));
    expect_record(&fixture, "a", "Package: a\nVersion: 1\n");
    expect_record(&fixture, "a=2", "Package: a\nVersion: 2\n");
    expect_record(&fixture, "a=2#2", "Package: a\nVersion: 2\nX: 1\n");
    expect_record(&fixture, "a=2#3", "Package: a\nVersion: 2\nX: 2\n");
    fixture_deinit(&fixture);
}

/* Blank lines in front, doubled, none at the end, and a stanza longer than one read. */
Test(record_file, an_index_read_and_written_is_the_same_bytes)
{
    static const char *const ends[] = {"", "\n", "\n\n", "\n\n\n"};
    for (size_t end = 0; end < ARRAY_COUNT(ends); end++) {
        struct buffer index = {0};
        struct buffer written = {0};
        struct fixture fixture;
        struct record record;
        buffer_append_text(&index, "\n\n");
        for (int number = 0; number < 3000; number++) {
            buffer_append_format(&index, "Package: p%d\nDescription: x\n%s", number,
                                 number % 7 == 0 ? "\n\n" : "\n");
            if (number == 1500) {
                buffer_append_format(&index, "Package: long\nX: %0*d\n\n", 600000, 1);
            }
        }
        buffer_append_text(&index, "Package: last");
        buffer_append_text(&index, ends[end]);
        fixture_init(&fixture, RECORD_DEBIAN, buffer_slice(&index));
        enum status status;
        while ((status = record_next(&fixture.reader, &record)) == STATUS_OK) {
            record_append(&written, RECORD_DEBIAN, &record);
        }
        cr_assert_eq(status, STATUS_NOT_FOUND);
        buffer_append_slice(&written, fixture.reader.tail);
        cr_assert_eq(fixture.reader.count, 3002);
        cr_assert_eq(fixture.reader.read_size, index.size);
        cr_assert(slice_equal(buffer_slice(&written), buffer_slice(&index)));
        fixture_deinit(&fixture);
        buffer_deinit(&index);
        buffer_deinit(&written);
    }
}

Test(record_file, tsv_escapes)
{
    struct fixture fixture;
    fixture_init(&fixture, RECORD_TSV, slice_text("a\\tb\tc\\nd\\\\e\\r\nplain\t\nlast\tx"));
    expect_record(&fixture, "a\tb", "c\nd\\e\r");
    expect_record(&fixture, "plain", "");
    expect_record(&fixture, "last", "x");
    fixture_deinit(&fixture);
}

Test(record_file, what_is_not_the_format_is_corrupt)
{
    expect_status(RECORD_DEBIAN, slice_text("Version: 1\n\n"), STATUS_CORRUPT);
    expect_status(RECORD_DEBIAN, slice_text("Package:\n\n"), STATUS_CORRUPT);
    expect_status(RECORD_TSV, slice_text("no tab\n"), STATUS_CORRUPT);
    expect_status(RECORD_TSV, slice_text("\n"), STATUS_CORRUPT);
    expect_status(RECORD_TSV, slice_text("\tno key\n"), STATUS_CORRUPT);
    expect_status(RECORD_TSV, slice_text("k\tbad \\x\n"), STATUS_CORRUPT);
    expect_status(RECORD_TSV, slice_text("k\tcut \\"), STATUS_CORRUPT);
    expect_status(RECORD_LEN, slice_make("\1\0\0\0\1\0\0\0kv", 10), STATUS_OK);
    for (size_t size = 1; size < 10; size++) {
        expect_status(RECORD_LEN, slice_make("\1\0\0\0\1\0\0\0kv", size), STATUS_CORRUPT);
    }
    expect_status(RECORD_LEN, slice_make("\0\0\0\0\1\0\0\0v", 9), STATUS_CORRUPT);
    expect_status(RECORD_LEN, slice_make("\1\0\1\0\0\0\0\0", 8), STATUS_TOO_LARGE);
    expect_status(RECORD_LEN, slice_make("\1\0\0\0\1\0\0\4", 8), STATUS_TOO_LARGE);
    expect_status(RECORD_DEBIAN, slice_make("", 0), STATUS_NOT_FOUND);
    expect_status(RECORD_TSV, slice_make("", 0), STATUS_NOT_FOUND);
    expect_status(RECORD_LEN, slice_make("", 0), STATUS_NOT_FOUND);
}

Test(record_file, random_records_survive_tsv_and_len)
{
    static const enum record_format formats[] = {RECORD_TSV, RECORD_LEN};
    for (size_t index = 0; index < ARRAY_COUNT(formats); index++) {
        struct prng prng;
        struct buffer bytes = {0};
        uint8_t data[600];
        prng_init(&prng, 11);
        for (int round = 0; round < 2000; round++) {
            size_t key_size = 1 + prng_below(&prng, 40);
            size_t value_size = prng_below(&prng, 500);
            for (size_t at = 0; at < key_size + value_size; at++) {
                /* Mostly what needs an escape. */
                data[at] = prng_chance(&prng, 1, 2) ? (uint8_t)prng_next(&prng)
                                                    : (uint8_t) "\t\n\r\\\0t"[prng_below(&prng, 6)];
            }
            record_append(&bytes, formats[index],
                          &(struct record){.key = slice_make(data, key_size),
                                           .value = slice_make(data + key_size, value_size)});
        }
        struct fixture fixture;
        struct record record;
        struct buffer again = {0};
        fixture_init(&fixture, formats[index], buffer_slice(&bytes));
        while (record_next(&fixture.reader, &record) == STATUS_OK) {
            record_append(&again, formats[index], &record);
        }
        cr_assert_eq(fixture.reader.count, 2000, "format %zu", index);
        cr_assert(slice_equal(buffer_slice(&again), buffer_slice(&bytes)), "format %zu", index);
        fixture_deinit(&fixture);
        buffer_deinit(&bytes);
        buffer_deinit(&again);
    }
}
