/* tests/unit/test_message.c -- payloads: round trips, and cut or padded ones refused. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/token.h"
#include "node/message.h"

static void engine_key_of(struct buffer *to, const char *key)
{
    token_engine_key(to, 1, token_of(1, slice_text(key)), slice_text(key));
}

static struct cell sample_cell(void)
{
    return (struct cell){.version = {.time = 77, .node = 3, .sequence = 1},
                         .expiry_ms = 5000,
                         .kind = CELL_VALUE,
                         .value = slice_text("a value")};
}

/* Every proper prefix, and one byte more, must be refused where the layout has an end. */
#define EXPECT_WHOLE_ONLY(bytes, decode)                                                    \
    do {                                                                                    \
        for (size_t size = 0; size < (bytes).size; size++) {                                \
            struct slice cut = slice_make((bytes).data, size);                              \
            cr_expect_neq(decode(cut), STATUS_OK, "cut at %zu of %zu", size, (bytes).size); \
        }                                                                                   \
        uint8_t more = 0;                                                                   \
        buffer_append(&(bytes), &more, 1);                                                  \
        cr_expect_neq(decode(buffer_slice(&(bytes))), STATUS_OK, "one byte more");          \
    } while (0)

static enum status probe_decode(struct slice bytes)
{
    uint32_t id;
    return message_probe_decode(bytes, &id);
}

static enum status probe_reply_decode(struct slice bytes)
{
    struct message_probe_reply reply;
    return message_probe_reply_decode(bytes, &reply);
}

Test(message, probe_round_trips)
{
    struct buffer bytes = {0};
    uint32_t id = 0;
    message_probe_encode(&bytes, 9);
    cr_assert_eq(message_probe_decode(buffer_slice(&bytes), &id), STATUS_OK);
    cr_expect_eq(id, 9);
    EXPECT_WHOLE_ONLY(bytes, probe_decode);
    buffer_clear(&bytes);
    message_probe_encode(&bytes, 0);
    cr_expect_eq(probe_decode(buffer_slice(&bytes)), STATUS_CORRUPT, "no node has the id 0");
    buffer_clear(&bytes);
    struct message_probe_reply reply = {.hears = true, .silence_ms = 31};
    message_probe_reply_encode(&bytes, &reply);
    struct message_probe_reply out = {0};
    cr_assert_eq(message_probe_reply_decode(buffer_slice(&bytes), &out), STATUS_OK);
    cr_expect(out.hears);
    cr_expect_eq(out.silence_ms, 31);
    EXPECT_WHOLE_ONLY(bytes, probe_reply_decode);
    bytes.data[0] = 2;
    bytes.size--;
    cr_expect_eq(probe_reply_decode(buffer_slice(&bytes)), STATUS_CORRUPT, "neither yes nor no");
    buffer_deinit(&bytes);
}

static enum status hello_decode(struct slice bytes)
{
    struct message_hello hello;
    return message_hello_decode(bytes, &hello);
}

Test(message, hello_round_trip)
{
    struct message_hello in = {.id = 5,
                               .disk_id = 1,
                               .cluster_id = 2,
                               .bootstrap_digest = 3,
                               .connection = 4,
                               .weight = 8,
                               .zone = "east",
                               .peer_address = "10.0.0.1:7401",
                               .client_address = "10.0.0.1:7400",
                               .admin_address = "off"};
    struct message_hello out;
    struct buffer bytes = {0};
    message_hello_encode(&bytes, &in);
    cr_assert_eq(message_hello_decode(buffer_slice(&bytes), &out), STATUS_OK);
    cr_expect_eq(out.id, 5);
    cr_expect_eq(out.disk_id, 1);
    cr_expect_eq(out.cluster_id, 2);
    cr_expect_eq(out.bootstrap_digest, 3);
    cr_expect_eq(out.connection, 4);
    cr_expect_eq(out.weight, 8);
    cr_expect_str_eq(out.zone, in.zone);
    cr_expect_str_eq(out.peer_address, in.peer_address);
    cr_expect_str_eq(out.client_address, in.client_address);
    cr_expect_str_eq(out.admin_address, in.admin_address);
    EXPECT_WHOLE_ONLY(bytes, hello_decode);
    buffer_deinit(&bytes);
}

static enum status read_decode(struct slice bytes)
{
    struct message_read read;
    return message_read_decode(bytes, &read);
}

static enum status propose_reply_decode(struct slice bytes)
{
    struct message_propose_reply reply;
    return message_propose_reply_decode(bytes, &reply);
}

Test(message, propose_reply_round_trip)
{
    struct message_propose_reply in = {
        .leader_id = 3, .epoch = 77, .reason = slice_text("a member has this id already")};
    struct message_propose_reply out;
    struct buffer bytes = {0};
    message_propose_reply_encode(&bytes, &in);
    cr_assert_eq(message_propose_reply_decode(buffer_slice(&bytes), &out), STATUS_OK);
    cr_expect_eq(out.leader_id, 3);
    cr_expect_eq(out.epoch, 77);
    cr_expect(slice_equal(out.reason, in.reason));
    EXPECT_WHOLE_ONLY(bytes, propose_reply_decode);
    buffer_deinit(&bytes);
}

Test(message, reasons_are_printable_and_bounded)
{
    static uint8_t text[MESSAGE_REASON_SIZE_MAX + 1];
    memset(text, 'x', sizeof(text));
    for (size_t size = MESSAGE_REASON_SIZE_MAX; size <= sizeof(text); size++) {
        struct buffer bytes = {0};
        codec_put_u32(&bytes, 0);
        codec_put_u64(&bytes, 0);
        codec_put_bytes(&bytes, slice_make(text, size));
        cr_expect_eq(propose_reply_decode(buffer_slice(&bytes)) == STATUS_OK,
                     size <= MESSAGE_REASON_SIZE_MAX);
        bytes.data[bytes.size - 1] = '\n';
        cr_expect_neq(propose_reply_decode(buffer_slice(&bytes)), STATUS_OK);
        buffer_deinit(&bytes);
    }
}

Test(message, topology_replies_are_a_snapshot_or_commands)
{
    for (unsigned form = 0; form < 256; form++) {
        const uint8_t bytes[] = {(uint8_t)form, 'x'};
        struct message_topology_reply reply;
        enum status status = message_topology_reply_decode(slice_make(bytes, 2), &reply);
        cr_expect_eq(status == STATUS_OK, form == 1 || form == 2, "form %u", form);
        cr_expect_neq(message_topology_reply_decode(slice_make(bytes, 1), &reply), STATUS_OK);
        if (status == STATUS_OK) {
            struct buffer again = {0};
            message_topology_reply_encode(&again, &reply);
            cr_expect(slice_equal(buffer_slice(&again), slice_make(bytes, 2)));
            cr_expect_eq(reply.whole, form == 1);
            buffer_deinit(&again);
        }
    }
}

Test(message, read_round_trip)
{
    struct buffer key = {0};
    struct buffer bytes = {0};
    engine_key_of(&key, "user:1");
    struct message_read in = {.digest = true, .engine_key = buffer_slice(&key)};
    struct message_read out;
    message_read_encode(&bytes, &in);
    cr_assert_eq(message_read_decode(buffer_slice(&bytes), &out), STATUS_OK);
    cr_expect(out.digest);
    cr_expect(slice_equal(out.engine_key, in.engine_key));
    EXPECT_WHOLE_ONLY(bytes, read_decode);
    buffer_deinit(&bytes);
    buffer_deinit(&key);
}

Test(message, a_key_that_lies_outside_the_slots_is_refused)
{
    static const uint8_t local[] = {0xff, 'c', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    struct buffer bytes = {0};
    struct message_read in = {.engine_key = slice_make(local, sizeof(local))};
    struct message_read out;
    message_read_encode(&bytes, &in);
    cr_expect_eq(message_read_decode(buffer_slice(&bytes), &out), STATUS_CORRUPT,
                 "a peer must not reach the node's own records");
    buffer_deinit(&bytes);
}

Test(message, digest_replies_carry_no_value)
{
    struct message_read_reply in = {.found = true, .digest = true, .cell = sample_cell()};
    struct message_read_reply out;
    struct buffer bytes = {0};
    message_read_reply_encode(&bytes, &in);
    cr_assert_eq(message_read_reply_decode(buffer_slice(&bytes), &out), STATUS_OK);
    cr_expect(out.found);
    cr_expect_eq(out.cell.value.size, 0);
    cr_expect_eq(version_compare(out.cell.version, in.cell.version), 0);
    cr_expect_eq(out.cell.expiry_ms, in.cell.expiry_ms);
    buffer_deinit(&bytes);
}

/* docs/formats/rpc.md, byte by byte; and cut anywhere it is corrupt. */
Test(message, a_prepare_is_a_ballot_and_a_key)
{
    struct buffer key = {0};
    struct buffer bytes = {0};
    engine_key_of(&key, "k");
    struct message_prepare in = {.ballot = {0x0102, 3, 4}, .engine_key = buffer_slice(&key)};
    struct message_prepare out;
    message_prepare_encode(&bytes, &in);
    static const uint8_t ballot[] = {2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0};
    cr_assert_eq(bytes.size, sizeof(ballot) + 1 + key.size);
    cr_assert_eq(memcmp(bytes.data, ballot, sizeof(ballot)), 0);
    cr_assert_eq(bytes.data[sizeof(ballot)], key.size);
    cr_assert_eq(message_prepare_decode(buffer_slice(&bytes), &out), STATUS_OK);
    cr_expect_eq(version_compare(out.ballot, in.ballot), 0);
    cr_expect(slice_equal(out.engine_key, in.engine_key));
    for (size_t size = 0; size < bytes.size; size++) {
        cr_expect_eq(message_prepare_decode(slice_make(bytes.data, size), &out), STATUS_CORRUPT,
                     "cut at %zu", size);
    }
    buffer_deinit(&bytes);
    buffer_deinit(&key);
}

Test(message, write_round_trip)
{
    struct buffer key = {0};
    struct buffer bytes = {0};
    engine_key_of(&key, "k");
    struct message_write in = {
        .repair = true, .engine_key = buffer_slice(&key), .cell = sample_cell()};
    struct message_write out;
    message_write_encode(&bytes, &in);
    cr_assert_eq(message_write_decode(buffer_slice(&bytes), &out), STATUS_OK);
    cr_expect(out.repair);
    cr_expect_eq(cell_compare(&out.cell, &in.cell), 0);
    cr_expect(slice_equal(out.cell.value, in.cell.value));
    buffer_deinit(&bytes);
    buffer_deinit(&key);
}

Test(message, scan_pages_say_how_far_they_reach)
{
    struct buffer bytes = {0};
    char name[16];
    for (int index = 0; index < 3; index++) {
        struct buffer key = {0};
        (void)snprintf(name, sizeof(name), "key%d", index);
        engine_key_of(&key, name);
        struct message_scan_entry entry = {.engine_key = buffer_slice(&key), .cell = sample_cell()};
        message_scan_entry_encode(&bytes, &entry);
        buffer_deinit(&key);
    }
    message_scan_end_encode(&bytes, true, 123456);
    struct message_scan_cursor cursor;
    struct message_scan_entry entry;
    message_scan_cursor_init(&cursor, buffer_slice(&bytes));
    for (int index = 0; index < 3; index++) {
        cr_assert_eq(message_scan_cursor_next(&cursor, &entry), STATUS_OK);
        cr_expect_eq(entry.cell.value.size, 0, "a page carries no values");
    }
    cr_assert_eq(message_scan_cursor_next(&cursor, &entry), STATUS_NOT_FOUND);
    cr_expect(cursor.truncated);
    cr_expect_eq(cursor.end_token, 123456);
    for (size_t size = 0; size < bytes.size; size++) {
        enum status status = STATUS_OK;
        message_scan_cursor_init(&cursor, slice_make(bytes.data, size));
        while (status == STATUS_OK) {
            status = message_scan_cursor_next(&cursor, &entry);
        }
        cr_expect_eq(status, STATUS_CORRUPT, "cut at %zu", size);
    }
    buffer_deinit(&bytes);
}
