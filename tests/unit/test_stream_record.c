/* tests/unit/test_stream_record.c -- where a stream goes on, and what passes for that. */
#include <criterion/criterion.h>

#include "node/stream_record.h"

static void sample(struct stream_record *record)
{
    record->session = 9;
    struct stream_progress *first = stream_record_of(record, 4);
    first->size_done = 1000;
    buffer_append_text(&first->next, "a key");
    struct stream_progress *second = stream_record_of(record, 2);
    second->done = true;
    second->size_done = 2000;
}

Test(stream_record, round_trip)
{
    struct stream_record in = {0};
    struct stream_record out = {0};
    struct buffer bytes = {0};
    sample(&in);
    stream_record_encode(&bytes, &in);
    cr_assert_eq(stream_record_decode(buffer_slice(&bytes), &out), STATUS_OK);
    cr_expect_eq(out.session, 9);
    cr_assert_eq(out.source_count, 2);
    cr_expect_eq(out.sources[0].id, 4);
    cr_expect_not(out.sources[0].done);
    cr_expect_eq(out.sources[0].size_done, 1000);
    cr_expect(slice_equal(buffer_slice(&out.sources[0].next), slice_text("a key")));
    cr_expect_eq(out.sources[1].id, 2);
    cr_expect(out.sources[1].done);
    cr_expect_eq(out.sources[1].size_done, 2000);
    stream_record_deinit(&out);
    for (size_t size = 0; size < bytes.size; size++) {
        cr_expect_eq(stream_record_decode(slice_make(bytes.data, size), &out), STATUS_CORRUPT,
                     "cut at %zu", size);
        stream_record_deinit(&out);
    }
    bytes.data[0]++;
    cr_expect_eq(stream_record_decode(buffer_slice(&bytes), &out), STATUS_UNSUPPORTED);
    stream_record_deinit(&out);
    stream_record_deinit(&in);
    buffer_deinit(&bytes);
}

Test(stream_record, a_source_is_named_once)
{
    struct stream_record record = {0};
    struct buffer bytes = {0};
    sample(&record);
    cr_expect_eq(stream_record_of(&record, 4), &record.sources[0]);
    record.sources[1].id = 4;
    stream_record_encode(&bytes, &record);
    stream_record_deinit(&record);
    cr_expect_eq(stream_record_decode(buffer_slice(&bytes), &record), STATUS_CORRUPT);
    stream_record_deinit(&record);
    buffer_deinit(&bytes);
}

Test(stream_record, there_are_no_more_sources_than_replicas)
{
    struct stream_record record = {0};
    for (uint32_t id = 1; id <= RING_REPLICA_COUNT_MAX; id++) {
        cr_assert_not_null(stream_record_of(&record, id));
    }
    cr_expect_null(stream_record_of(&record, 100));
    cr_expect_not_null(stream_record_of(&record, 1));
    stream_record_deinit(&record);
}
