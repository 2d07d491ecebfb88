/* raft/group_message.h: what the library says comes back the same, and nothing else gets through.
 */
#include <stdio.h>

#include <criterion/criterion.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/prng.h"
#include "raft/group_message.h"

#define HEADER_SIZE 32
#define CHECKSUM_OFFSET 24
#define MESSAGE_MAGIC 0x534d4752u

static const struct group_message_ends ends = {.from = 3, .to = 7};

/* Makes the checksum fit again after a test has changed the bytes. */
static void reseal(struct buffer *bytes)
{
    struct slice pieces[2] = {
        slice_make(bytes->data, CHECKSUM_OFFSET),
        slice_make(bytes->data + HEADER_SIZE, bytes->size - HEADER_SIZE),
    };
    codec_store_u64(bytes->data + CHECKSUM_OFFSET, checksum64_pieces(pieces, 2, MESSAGE_MAGIC));
}

static struct buffer encode(const struct raft_message *message)
{
    struct buffer bytes = {0};
    cr_assert_eq(group_message_encode(&bytes, ends.from, message), STATUS_OK);
    return bytes;
}

static struct raft_message decode(struct buffer *bytes)
{
    struct raft_message message = {0};
    cr_assert_eq(group_message_decode(buffer_slice(bytes), ends, &message), STATUS_OK);
    cr_assert_eq(message.server_id, ends.from);
    return message;
}

static struct raft_configuration configuration_make(unsigned count)
{
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    for (unsigned id = 1; id <= count; id++) {
        char address[12];
        (void)snprintf(address, sizeof address, "%u", id);
        int role = id <= 3 ? RAFT_VOTER : RAFT_STANDBY;
        cr_assert_eq(raft_configuration_add(&configuration, id, address, role), 0);
    }
    return configuration;
}

/* An AppendEntries with a command, a barrier and a configuration. */
static struct buffer append_make(void)
{
    struct raft_configuration configuration = configuration_make(4);
    struct buffer change = {0};
    group_configuration_encode(&change, &configuration);
    uint8_t command[32];
    cr_assert_leq(group_command_size(13), sizeof command);
    group_command_encode(
        command, &(struct group_command){.request = 5, .payload = slice_text("hello, world!")});
    uint8_t barrier[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct raft_entry entries[3] = {
        {.term = 4, .type = RAFT_COMMAND, .buf = {command, group_command_size(13)}},
        {.term = 5, .type = RAFT_BARRIER, .buf = {barrier, sizeof barrier}},
        {.term = 5, .type = RAFT_CHANGE, .buf = {change.data, change.size}},
    };
    struct raft_message message = {.type = RAFT_IO_APPEND_ENTRIES, .server_id = ends.to};
    message.append_entries = (struct raft_append_entries){.term = 6,
                                                          .prev_log_index = 100,
                                                          .prev_log_term = 3,
                                                          .leader_commit = 99,
                                                          .entries = entries,
                                                          .n_entries = 3};
    struct buffer bytes = encode(&message);
    buffer_deinit(&change);
    raft_configuration_close(&configuration);
    return bytes;
}

static struct buffer install_make(void)
{
    struct raft_message message = {.type = RAFT_IO_INSTALL_SNAPSHOT, .server_id = ends.to};
    message.install_snapshot =
        (struct raft_install_snapshot){.term = 6,
                                       .last_index = 50,
                                       .last_term = 4,
                                       .conf = configuration_make(5),
                                       .conf_index = 1,
                                       .data = {.base = (char[]){"snapshot"}, .len = 8}};
    struct buffer bytes = encode(&message);
    raft_configuration_close(&message.install_snapshot.conf);
    return bytes;
}

Test(group_message, append_entries_come_back_in_one_block)
{
    struct buffer bytes = append_make();
    struct raft_message message = decode(&bytes);
    const struct raft_append_entries *append = &message.append_entries;
    cr_assert_eq(append->term, 6);
    cr_assert_eq(append->prev_log_index, 100);
    cr_assert_eq(append->prev_log_term, 3);
    cr_assert_eq(append->leader_commit, 99);
    cr_assert_eq(append->n_entries, 3);
    struct group_command command;
    struct slice data = slice_make(append->entries[0].buf.base, append->entries[0].buf.len);
    cr_assert_eq(group_command_decode(data, &command), STATUS_OK);
    cr_assert_eq(command.request, 5);
    cr_assert(slice_equal(command.payload, slice_text("hello, world!")));
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(append->entries[i].batch, append->entries[0].buf.base);
    }
    group_message_free(&message);
    buffer_deinit(&bytes);
}

Test(group_message, the_unset_body_of_a_barrier_is_zero)
{
    struct buffer bytes = append_make();
    struct raft_message message = decode(&bytes);
    static const uint8_t zeros[8];
    cr_assert_eq(memcmp(message.append_entries.entries[1].buf.base, zeros, 8), 0);
    group_message_free(&message);
    buffer_deinit(&bytes);
}

Test(group_message, a_heartbeat_has_no_entries)
{
    struct raft_message message = {.type = RAFT_IO_APPEND_ENTRIES, .server_id = ends.to};
    message.append_entries = (struct raft_append_entries){.term = 1, .leader_commit = 4};
    struct buffer bytes = encode(&message);
    struct raft_message back = decode(&bytes);
    cr_assert_eq(back.append_entries.n_entries, 0);
    cr_assert_null(back.append_entries.entries);
    cr_assert_eq(back.append_entries.leader_commit, 4);
    buffer_deinit(&bytes);
}

Test(group_message, votes_and_results_come_back)
{
    struct raft_message vote = {.type = RAFT_IO_REQUEST_VOTE, .server_id = ends.to};
    vote.request_vote = (struct raft_request_vote){.term = 9,
                                                   .candidate_id = ends.from,
                                                   .last_log_index = 70,
                                                   .last_log_term = 8,
                                                   .pre_vote = true};
    struct buffer bytes = encode(&vote);
    struct raft_message back = decode(&bytes);
    cr_assert_eq(back.request_vote.term, 9);
    cr_assert_eq(back.request_vote.candidate_id, ends.from);
    cr_assert_eq(back.request_vote.last_log_index, 70);
    cr_assert_eq(back.request_vote.last_log_term, 8);
    cr_assert(back.request_vote.pre_vote && !back.request_vote.disrupt_leader);
    buffer_deinit(&bytes);

    struct raft_message answer = {.type = RAFT_IO_REQUEST_VOTE_RESULT, .server_id = ends.to};
    answer.request_vote_result = (struct raft_request_vote_result){
        .term = 9, .vote_granted = true, .pre_vote = raft_tribool_false};
    bytes = encode(&answer);
    back = decode(&bytes);
    cr_assert(back.request_vote_result.vote_granted);
    cr_assert_eq(back.request_vote_result.pre_vote, raft_tribool_false);
    buffer_deinit(&bytes);

    struct raft_message result = {.type = RAFT_IO_APPEND_ENTRIES_RESULT, .server_id = ends.to};
    result.append_entries_result =
        (struct raft_append_entries_result){.term = 9, .rejected = 5, .last_log_index = 4};
    bytes = encode(&result);
    back = decode(&bytes);
    cr_assert_eq(back.append_entries_result.rejected, 5);
    cr_assert_eq(back.append_entries_result.last_log_index, 4);
    buffer_deinit(&bytes);
}

Test(group_message, a_snapshot_comes_back)
{
    struct buffer bytes = install_make();
    struct raft_message message = decode(&bytes);
    const struct raft_install_snapshot *install = &message.install_snapshot;
    cr_assert_eq(install->last_index, 50);
    cr_assert_eq(install->last_term, 4);
    cr_assert_eq(install->conf_index, 1);
    cr_assert_eq(install->conf.n, 5);
    cr_assert_eq(install->conf.servers[3].role, RAFT_STANDBY);
    cr_assert_eq(memcmp(install->data.base, "snapshot", 8), 0);
    group_message_free(&message);
    buffer_deinit(&bytes);
}

Test(group_message, timeout_now_round_trips)
{
    struct raft_message message = {.type = RAFT_IO_TIMEOUT_NOW, .server_id = ends.to};
    message.timeout_now =
        (struct raft_timeout_now){.term = 7, .last_log_index = 42, .last_log_term = 6};
    struct buffer bytes = {0};
    struct raft_message found;
    cr_assert_eq(group_message_encode(&bytes, ends.from, &message), STATUS_OK);
    cr_assert_eq(group_message_decode(buffer_slice(&bytes), ends, &found), STATUS_OK);
    cr_assert_eq(found.type, RAFT_IO_TIMEOUT_NOW);
    cr_assert_eq(found.timeout_now.term, 7);
    cr_assert_eq(found.timeout_now.last_log_index, 42);
    cr_assert_eq(found.timeout_now.last_log_term, 6);
    buffer_deinit(&bytes);
}

Test(group_message, a_newcomer_says_so)
{
    struct raft_message message = {.type = RAFT_IO_TIMEOUT_NOW, .server_id = ends.to};
    message.timeout_now.term = 7;
    struct buffer bytes = {0};
    struct raft_message found;
    cr_assert_eq(group_message_encode(&bytes, ends.from, &message), STATUS_OK);
    cr_assert_not(group_message_is_newcomer(buffer_slice(&bytes)));
    group_message_mark_newcomer(&bytes);
    cr_assert_eq(group_message_decode(buffer_slice(&bytes), ends, &found), STATUS_OK);
    cr_assert(group_message_is_newcomer(buffer_slice(&bytes)));
    buffer_deinit(&bytes);
}

Test(group_message, a_type_the_library_does_not_have_never_leaves)
{
    struct raft_message message = {.type = RAFT_IO_TIMEOUT_NOW + 1, .server_id = ends.to};
    struct buffer bytes = {0};
    cr_assert_eq(group_message_encode(&bytes, ends.from, &message), STATUS_UNSUPPORTED);
    buffer_deinit(&bytes);
}

Test(group_message, every_cut_and_every_flipped_bit_is_refused)
{
    struct buffer (*const makers[])(void) = {append_make, install_make};
    for (size_t maker = 0; maker < 2; maker++) {
        struct buffer bytes = makers[maker]();
        struct raft_message message;
        for (size_t size = 0; size < bytes.size; size++) {
            cr_assert_neq(group_message_decode(slice_make(bytes.data, size), ends, &message),
                          STATUS_OK, "cut at %zu", size);
        }
        for (size_t bit = 0; bit < bytes.size * 8; bit++) {
            bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            cr_assert_neq(group_message_decode(buffer_slice(&bytes), ends, &message), STATUS_OK,
                          "bit %zu", bit);
            bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        buffer_deinit(&bytes);
    }
}

/* A forger can make the checksum fit; then the bounds must hold. */
Test(group_message, forged_numbers_are_refused_though_the_checksum_fits)
{
    static const struct {
        size_t offset;
        size_t size;
        uint64_t value;
        const char *what;
    } forgeries[] = {
        {5, 1, 6, "the type of another message"},
        {5, 1, 7, "a type there is none of"},
        {5, 1, 0, "no type"},
        {6, 2, 2, "a flag there is none of"},
        {8, 4, 4, "another sender"},
        {12, 4, 8, "another receiver"},
        {16, 8, 0, "no term"},
        {16, 8, UINT64_C(1) << 50, "a term out of reach"},
        {32, 8, UINT64_C(1) << 60, "an index out of reach"},
        {40, 8, 7, "a term before that is later"},
        {40, 8, 0, "an index without a term"},
        {48, 8, UINT64_MAX, "a commit index out of reach"},
        {56, 4, 2, "fewer entries than bytes"},
        {56, 4, 4, "more entries than bytes"},
        {56, 4, UINT32_MAX, "a count out of reach"},
        {60, 4, 1, "reserved"},
        {64, 8, 2, "an entry older than the one before"},
        {64, 8, 7, "an entry newer than the term"},
        {72, 4, 31, "a size that is no multiple of 8"},
        {72, 4, 0, "an empty entry"},
        {72, 4, UINT32_MAX, "a size out of reach"},
        {76, 1, 4, "an unknown type of entry"},
        {76, 1, 3, "a command that is said to be a configuration"},
        {77, 1, 1, "reserved"},
        {80, 1, 2, "an unknown version of the envelope"},
        {84, 4, 17, "a longer command than its envelope"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(forgeries); i++) {
        struct buffer bytes = append_make();
        struct raft_message message;
        for (size_t byte = 0; byte < forgeries[i].size; byte++) {
            bytes.data[forgeries[i].offset + byte] = (uint8_t)(forgeries[i].value >> 8 * byte);
        }
        reseal(&bytes);
        cr_assert_neq(group_message_decode(buffer_slice(&bytes), ends, &message), STATUS_OK, "%s",
                      forgeries[i].what);
        buffer_deinit(&bytes);
    }
}

Test(group_message, random_changes_under_a_fitting_checksum_do_no_harm)
{
    struct prng prng;
    prng_init(&prng, 11);
    struct buffer (*const makers[])(void) = {append_make, install_make};
    for (int round = 0; round < 20000; round++) {
        struct buffer bytes = makers[round % 2]();
        for (uint64_t change = 0; change <= prng_below(&prng, 3); change++) {
            bytes.data[prng_below(&prng, bytes.size)] = (uint8_t)prng_next(&prng);
        }
        reseal(&bytes);
        struct raft_message message;
        if (group_message_decode(buffer_slice(&bytes), ends, &message) == STATUS_OK) {
            group_message_free(&message);
        }
        buffer_deinit(&bytes);
    }
}

/* The library sends all it has; a message carries a bounded part of it, in order. */
Test(group_message, a_long_append_is_cut_after_whole_entries)
{
    enum { COUNT = 1500 };
    static struct raft_entry entries[COUNT];
    static uint8_t command[GROUP_ENVELOPE_SIZE + 8192];
    group_command_encode(command, &(struct group_command){.payload = slice_make(command, 0)});
    struct raft_message message = {.type = RAFT_IO_APPEND_ENTRIES, .server_id = ends.to};
    for (size_t payload = 0; payload <= 8192; payload += 8192) {
        static uint8_t body[8192];
        group_command_encode(command,
                             &(struct group_command){.payload = slice_make(body, payload)});
        for (int i = 0; i < COUNT; i++) {
            entries[i] = (struct raft_entry){
                .term = 1, .type = RAFT_COMMAND, .buf = {command, group_command_size(payload)}};
        }
        message.append_entries =
            (struct raft_append_entries){.term = 1, .entries = entries, .n_entries = COUNT};
        struct buffer bytes = encode(&message);
        struct raft_message back = decode(&bytes);
        unsigned expected = payload == 0 ? GROUP_MESSAGE_ENTRY_COUNT_MAX : 510;
        cr_assert_eq(back.append_entries.n_entries, expected, "%u", back.append_entries.n_entries);
        group_message_free(&back);
        buffer_deinit(&bytes);
    }
}

Test(group_message, a_configuration_is_encoded_as_the_library_does)
{
    struct raft_configuration configuration = configuration_make(5);
    struct raft_buffer theirs;
    struct buffer ours = {0};
    group_configuration_encode(&ours, &configuration);
    cr_assert_eq(raft_configuration_encode(&configuration, &theirs), 0);
    cr_assert_eq(ours.size, theirs.len);
    size_t used = 1 + 8 + 5 * (8 + 2 + 1); /* Behind it the library leaves bytes unset. */
    cr_assert_eq(memcmp(ours.data, theirs.base, used), 0);
    raft_free(theirs.base);
    buffer_deinit(&ours);
    raft_configuration_close(&configuration);
}

Test(group_message, a_malformed_configuration_is_refused)
{
    struct raft_configuration configuration = configuration_make(3);
    struct raft_configuration back;
    struct buffer bytes = {0};
    group_configuration_encode(&bytes, &configuration);
    raft_configuration_close(&configuration);
    for (size_t size = 0; size < bytes.size; size++) {
        cr_assert_eq(group_configuration_decode(slice_make(bytes.data, size), &back),
                     STATUS_CORRUPT, "cut at %zu", size);
    }
    bytes.data[1] = 17; /* More servers than a group has. */
    cr_assert_eq(group_configuration_decode(buffer_slice(&bytes), &back), STATUS_CORRUPT);
    bytes.data[1] = 3;
    bytes.data[9 + 11] = 1; /* The second server has the id of the first, but not its address. */
    cr_assert_eq(group_configuration_decode(buffer_slice(&bytes), &back), STATUS_CORRUPT);
    buffer_deinit(&bytes);
}

Test(group_message, an_envelope_is_padded_to_eight_and_keeps_its_size)
{
    for (size_t size = 0; size < 40; size++) {
        uint8_t payload[40];
        uint8_t bytes[80];
        memset(payload, 0xaa, sizeof payload);
        size_t whole = group_command_size(size);
        cr_assert_eq(whole % 8, 0);
        group_command_encode(
            bytes, &(struct group_command){.request = size, .payload = slice_make(payload, size)});
        struct group_command command;
        cr_assert_eq(group_command_decode(slice_make(bytes, whole), &command), STATUS_OK);
        cr_assert_eq(command.request, size);
        cr_assert(slice_equal(command.payload, slice_make(payload, size)));
        if (whole > GROUP_ENVELOPE_SIZE + size) {
            bytes[whole - 1] = 1;
            cr_assert_eq(group_command_decode(slice_make(bytes, whole), &command), STATUS_CORRUPT);
        }
    }
}
