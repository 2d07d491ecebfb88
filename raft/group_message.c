/*
 * raft/group_message.c -- encoding and strict decoding; the promises stand in group_message.h.
 */
#include "raft/group_message.h"

#include <stdio.h>

#include "base/checksum.h"
#include "base/codec.h"

#define MESSAGE_MAGIC UINT32_C(0x534d4752) /* "RGMS" */
#define HEADER_SIZE 32
#define CHECKSUM_OFFSET 24
#define ENTRY_HEADER_SIZE 16
#define FLAGS_OFFSET 6
#define FLAG_NEWCOMER 1u
#define VOTE_DISRUPT 1u
#define VOTE_PRE 2u
#define CONFIGURATION_FORMAT 1
#define ADDRESS_SIZE_MAX 11 /* Decimal digits of a 32-bit id, and a zero byte. */

STATIC_ASSERT((int)GROUP_ENTRY_COMMAND == (int)RAFT_COMMAND, "entry types stand on disk and wire");
STATIC_ASSERT((int)GROUP_ENTRY_BARRIER == (int)RAFT_BARRIER, "entry types stand on disk and wire");
STATIC_ASSERT((int)GROUP_ENTRY_CHANGE == (int)RAFT_CHANGE, "entry types stand on disk and wire");
STATIC_ASSERT(RAFT_IO_APPEND_ENTRIES == 1, "message types stand on the wire");
STATIC_ASSERT(RAFT_IO_INSTALL_SNAPSHOT == 5, "message types stand on the wire");
STATIC_ASSERT(RAFT_IO_TIMEOUT_NOW == 6, "message types stand on the wire");
STATIC_ASSERT(GROUP_COMMAND_SIZE_MAX + GROUP_ENVELOPE_SIZE + 8 <= GROUP_ENTRY_SIZE_MAX,
              "an entry holds the greatest command");

/* ---- commands ---- */

size_t group_command_size(size_t payload_size)
{
    return GROUP_ENVELOPE_SIZE + (payload_size + 7) / 8 * 8;
}

void group_command_encode(uint8_t *to, const struct group_command *command)
{
    memset(to, 0, group_command_size(command->payload.size));
    to[0] = GROUP_MESSAGE_VERSION;
    codec_store_u32(to + 4, (uint32_t)command->payload.size);
    codec_store_u64(to + 8, command->request);
    if (command->payload.size > 0) {
        memcpy(to + GROUP_ENVELOPE_SIZE, command->payload.data, command->payload.size);
    }
}

enum status group_command_decode(struct slice bytes, struct group_command *command)
{
    if (bytes.size < GROUP_ENVELOPE_SIZE || bytes.size > GROUP_ENTRY_SIZE_MAX) {
        return STATUS_CORRUPT;
    }
    if (bytes.data[0] != GROUP_MESSAGE_VERSION) {
        return STATUS_UNSUPPORTED;
    }
    uint32_t size = codec_load_u32(bytes.data + 4);
    if (bytes.data[1] != 0 || bytes.data[2] != 0 || bytes.data[3] != 0 ||
        size > GROUP_ENTRY_SIZE_MAX || group_command_size(size) != bytes.size) {
        return STATUS_CORRUPT;
    }
    for (size_t i = GROUP_ENVELOPE_SIZE + size; i < bytes.size; i++) {
        if (bytes.data[i] != 0) {
            return STATUS_CORRUPT;
        }
    }
    command->request = codec_load_u64(bytes.data + 8);
    command->payload = slice_make(bytes.data + GROUP_ENVELOPE_SIZE, size);
    return STATUS_OK;
}

struct slice group_entry_bytes(const struct raft_entry *entry)
{
    static const uint8_t zeros[GROUP_BARRIER_SIZE];
    if (entry->type == RAFT_BARRIER) {
        return slice_make(zeros, sizeof zeros);
    }
    return slice_make(entry->buf.base, entry->buf.len);
}

/* ---- configurations ---- */

void group_configuration_encode(struct buffer *to, const struct raft_configuration *configuration)
{
    size_t start = to->size;
    codec_put_u8(to, CONFIGURATION_FORMAT);
    codec_put_u64(to, configuration->n);
    for (unsigned i = 0; i < configuration->n; i++) {
        const struct raft_server *server = &configuration->servers[i];
        codec_put_u64(to, server->id);
        buffer_append(to, server->address, strlen(server->address) + 1);
        codec_put_u8(to, (uint8_t)server->role);
    }
    while (!to->failed && (to->size - start) % 8 != 0) {
        codec_put_u8(to, 0);
    }
}

static enum status server_decode(struct codec_reader *reader,
                                 struct raft_configuration *configuration)
{
    uint64_t id = codec_get_u64(reader);
    char address[ADDRESS_SIZE_MAX] = {0};
    char expected[ADDRESS_SIZE_MAX + 10];
    size_t length = 0;
    while (length < sizeof address) {
        address[length] = (char)codec_get_u8(reader);
        if (address[length++] == '\0') {
            break;
        }
    }
    uint8_t role = codec_get_u8(reader);
    if (!codec_reader_ok(reader) || id == 0 || id > UINT32_MAX || role > RAFT_SPARE ||
        address[length - 1] != '\0') {
        return STATUS_CORRUPT;
    }
    (void)snprintf(expected, sizeof expected, "%u", (unsigned)id);
    if (strcmp(address, expected) != 0) {
        return STATUS_CORRUPT;
    }
    int rc = raft_configuration_add(configuration, id, address, role);
    if (rc == RAFT_NOMEM) {
        return STATUS_NO_MEMORY;
    }
    return rc == 0 ? STATUS_OK : STATUS_CORRUPT;
}

enum status group_configuration_decode(struct slice bytes, struct raft_configuration *configuration)
{
    struct codec_reader reader = codec_reader_make(bytes);
    struct raft_configuration found;
    raft_configuration_init(&found);
    uint8_t format = codec_get_u8(&reader);
    uint64_t count = codec_get_u64(&reader);
    enum status status = STATUS_OK;
    if (!codec_reader_ok(&reader) || format != CONFIGURATION_FORMAT || count == 0 ||
        count > GROUP_SERVER_COUNT_MAX || bytes.size % 8 != 0 ||
        bytes.size > GROUP_CONFIGURATION_SIZE_MAX) {
        status = STATUS_CORRUPT;
    }
    bool has_voter = false;
    for (uint64_t i = 0; status == STATUS_OK && i < count; i++) {
        status = server_decode(&reader, &found);
        has_voter = has_voter || (status == STATUS_OK && found.servers[i].role == RAFT_VOTER);
    }
    if (status == STATUS_OK && (reader.rest.size >= 8 || !has_voter)) {
        status = STATUS_CORRUPT; /* The library leaves the padding of its own entries unset. */
    }
    if (status == STATUS_OK) {
        *configuration = found;
    } else {
        raft_configuration_close(&found);
    }
    return status;
}

/* ---- encoding of messages ---- */

/* How many entries this message carries; see GROUP_MESSAGE_BATCH_SIZE_MAX. */
static unsigned batch_count(const struct raft_append_entries *append)
{
    size_t size = 0;
    unsigned count = 0;
    while (count < append->n_entries && count < GROUP_MESSAGE_ENTRY_COUNT_MAX) {
        size += ENTRY_HEADER_SIZE + group_entry_bytes(&append->entries[count]).size;
        if (count > 0 && size > GROUP_MESSAGE_BATCH_SIZE_MAX) {
            break;
        }
        count++;
    }
    return count;
}

static void append_encode(struct buffer *to, const struct raft_append_entries *append)
{
    unsigned count = batch_count(append);
    codec_put_u64(to, append->prev_log_index);
    codec_put_u64(to, append->prev_log_term);
    codec_put_u64(to, append->leader_commit);
    codec_put_u32(to, count);
    codec_put_u32(to, 0);
    for (unsigned i = 0; i < count; i++) {
        const struct raft_entry *entry = &append->entries[i];
        struct slice data = group_entry_bytes(entry);
        ASSERT(data.size % 8 == 0);
        codec_put_u64(to, entry->term);
        codec_put_u32(to, (uint32_t)data.size);
        codec_put_u8(to, (uint8_t)entry->type);
        codec_put_u8(to, 0);
        codec_put_u16(to, 0);
        buffer_append_slice(to, data);
    }
}

static void snapshot_encode(struct buffer *to, const struct raft_install_snapshot *install)
{
    struct buffer configuration = {0};
    group_configuration_encode(&configuration, &install->conf);
    codec_put_u64(to, install->last_index);
    codec_put_u64(to, install->last_term);
    codec_put_u64(to, install->conf_index);
    codec_put_u32(to, (uint32_t)configuration.size);
    codec_put_u32(to, (uint32_t)install->data.len);
    buffer_append_slice(to, buffer_slice(&configuration));
    buffer_append(to, install->data.base, install->data.len);
    to->failed = to->failed || configuration.failed;
    buffer_deinit(&configuration);
}

static void vote_encode(struct buffer *to, const struct raft_request_vote *vote)
{
    codec_put_u64(to, vote->last_log_index);
    codec_put_u64(to, vote->last_log_term);
    codec_put_u64(to,
                  (vote->disrupt_leader ? VOTE_DISRUPT : 0u) | (vote->pre_vote ? VOTE_PRE : 0u));
}

static uint64_t message_term(const struct raft_message *message)
{
    switch (message->type) {
    case RAFT_IO_APPEND_ENTRIES:
        return message->append_entries.term;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        return message->append_entries_result.term;
    case RAFT_IO_REQUEST_VOTE:
        return message->request_vote.term;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        return message->request_vote_result.term;
    case RAFT_IO_INSTALL_SNAPSHOT:
        return message->install_snapshot.term;
    case RAFT_IO_TIMEOUT_NOW:
        return message->timeout_now.term;
    default:
        return 0;
    }
}

static uint64_t message_checksum(struct slice bytes)
{
    struct slice pieces[2] = {
        slice_make(bytes.data, CHECKSUM_OFFSET),
        slice_make(bytes.data + HEADER_SIZE, bytes.size - HEADER_SIZE),
    };
    return checksum64_pieces(pieces, 2, MESSAGE_MAGIC);
}

enum status group_message_encode(struct buffer *to, uint32_t from,
                                 const struct raft_message *message)
{
    ASSERT(to->size == 0);
    codec_put_u32(to, MESSAGE_MAGIC);
    codec_put_u8(to, GROUP_MESSAGE_VERSION);
    codec_put_u8(to, (uint8_t)message->type);
    codec_put_u16(to, 0);
    codec_put_u32(to, from);
    codec_put_u32(to, (uint32_t)message->server_id);
    codec_put_u64(to, message_term(message));
    codec_put_u64(to, 0);
    switch (message->type) {
    case RAFT_IO_APPEND_ENTRIES:
        append_encode(to, &message->append_entries);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        codec_put_u64(to, message->append_entries_result.rejected);
        codec_put_u64(to, message->append_entries_result.last_log_index);
        break;
    case RAFT_IO_REQUEST_VOTE:
        vote_encode(to, &message->request_vote);
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        codec_put_u32(to, message->request_vote_result.vote_granted ? 1 : 0);
        codec_put_u32(to, (uint32_t)message->request_vote_result.pre_vote);
        break;
    case RAFT_IO_INSTALL_SNAPSHOT:
        snapshot_encode(to, &message->install_snapshot);
        break;
    case RAFT_IO_TIMEOUT_NOW:
        codec_put_u64(to, message->timeout_now.last_log_index);
        codec_put_u64(to, message->timeout_now.last_log_term);
        break;
    default:
        return STATUS_UNSUPPORTED;
    }
    enum status status = buffer_status(to);
    if (status == STATUS_OK) {
        codec_store_u64(to->data + CHECKSUM_OFFSET, message_checksum(buffer_slice(to)));
    }
    return status;
}

void group_message_mark_newcomer(struct buffer *bytes)
{
    ASSERT(bytes->size >= HEADER_SIZE);
    bytes->data[FLAGS_OFFSET] = FLAG_NEWCOMER;
    codec_store_u64(bytes->data + CHECKSUM_OFFSET, message_checksum(buffer_slice(bytes)));
}

bool group_message_is_newcomer(struct slice bytes)
{
    return (bytes.data[FLAGS_OFFSET] & FLAG_NEWCOMER) != 0;
}

/* ---- decoding of messages ---- */

static bool entry_is_sound(const struct raft_entry *entry, struct slice data)
{
    if (data.size == 0 || data.size % 8 != 0 || data.size > GROUP_ENTRY_SIZE_MAX) {
        return false;
    }
    struct group_command command;
    struct raft_configuration configuration;
    switch (entry->type) {
    case RAFT_COMMAND:
        return group_command_decode(data, &command) == STATUS_OK;
    case RAFT_BARRIER:
        return data.size == GROUP_BARRIER_SIZE;
    case RAFT_CHANGE:
        if (group_configuration_decode(data, &configuration) != STATUS_OK) {
            return false;
        }
        raft_configuration_close(&configuration);
        return true;
    default:
        return false;
    }
}

/* One entry, its data still in the message. */
static bool entry_decode(struct codec_reader *reader, struct raft_entry *entry, struct slice *data)
{
    entry->term = codec_get_u64(reader);
    uint32_t size = codec_get_u32(reader);
    entry->type = codec_get_u8(reader);
    uint32_t reserved = codec_get_u8(reader);
    reserved |= codec_get_u16(reader);
    *data = codec_get_raw(reader, size);
    return codec_reader_ok(reader) && reserved == 0 && entry_is_sound(entry, *data);
}

/* First pass: is every entry sound, and how many bytes are there? */
static bool entries_check(struct codec_reader reader, const struct raft_append_entries *append,
                          size_t *total)
{
    uint64_t term = append->prev_log_term;
    *total = 0;
    for (unsigned i = 0; i < append->n_entries; i++) {
        struct raft_entry entry = {0};
        struct slice data;
        if (!entry_decode(&reader, &entry, &data) || entry.term < term || entry.term == 0 ||
            entry.term > append->term) {
            return false;
        }
        term = entry.term;
        *total += data.size;
    }
    return codec_reader_done(&reader);
}

static enum status append_decode(struct codec_reader *reader, struct raft_append_entries *append)
{
    append->prev_log_index = codec_get_u64(reader);
    append->prev_log_term = codec_get_u64(reader);
    append->leader_commit = codec_get_u64(reader);
    append->n_entries = codec_get_u32(reader);
    uint32_t reserved = codec_get_u32(reader);
    size_t total = 0;
    if (!codec_reader_ok(reader) || reserved != 0 ||
        append->n_entries > GROUP_MESSAGE_ENTRY_COUNT_MAX ||
        append->prev_log_index > GROUP_INDEX_MAX || append->leader_commit > GROUP_INDEX_MAX ||
        append->prev_log_term > append->term ||
        (append->prev_log_index == 0) != (append->prev_log_term == 0) ||
        !entries_check(*reader, append, &total)) {
        append->n_entries = 0;
        return STATUS_CORRUPT;
    }
    if (append->n_entries == 0) {
        return STATUS_OK;
    }
    uint8_t *batch = raft_malloc(total);
    struct raft_entry *entries = raft_calloc(append->n_entries, sizeof *entries);
    if (batch == NULL || entries == NULL) {
        raft_free(batch);
        raft_free(entries);
        append->n_entries = 0;
        return STATUS_NO_MEMORY;
    }
    size_t used = 0;
    for (unsigned i = 0; i < append->n_entries; i++) {
        struct slice data;
        bool sound = entry_decode(reader, &entries[i], &data);
        ASSERT(sound);
        memcpy(batch + used, data.data, data.size);
        entries[i].buf = (struct raft_buffer){.base = batch + used, .len = data.size};
        entries[i].batch = batch;
        used += data.size;
    }
    append->entries = entries;
    return STATUS_OK;
}

static enum status snapshot_decode(struct codec_reader *reader,
                                   struct raft_install_snapshot *install)
{
    install->last_index = codec_get_u64(reader);
    install->last_term = codec_get_u64(reader);
    install->conf_index = codec_get_u64(reader);
    uint32_t configuration_size = codec_get_u32(reader);
    uint32_t data_size = codec_get_u32(reader);
    struct slice configuration = codec_get_raw(reader, configuration_size);
    struct slice data = codec_get_raw(reader, data_size);
    if (!codec_reader_done(reader) || data_size > GROUP_SNAPSHOT_SIZE_MAX ||
        install->last_index == 0 || install->last_index > GROUP_INDEX_MAX ||
        install->last_term == 0 || install->last_term > install->term || install->conf_index == 0 ||
        install->conf_index > install->last_index) {
        return STATUS_CORRUPT;
    }
    enum status status = group_configuration_decode(configuration, &install->conf);
    if (status != STATUS_OK) {
        return status;
    }
    install->data.len = data.size;
    install->data.base = raft_malloc(data.size > 0 ? data.size : 1);
    if (install->data.base == NULL) {
        raft_configuration_close(&install->conf);
        return STATUS_NO_MEMORY;
    }
    if (data.size > 0) {
        memcpy(install->data.base, data.data, data.size);
    }
    return STATUS_OK;
}

static enum status vote_decode(struct codec_reader *reader, struct raft_request_vote *vote)
{
    vote->last_log_index = codec_get_u64(reader);
    vote->last_log_term = codec_get_u64(reader);
    uint64_t flags = codec_get_u64(reader);
    if (!codec_reader_done(reader) || flags > (VOTE_DISRUPT | VOTE_PRE) ||
        vote->last_log_index > GROUP_INDEX_MAX || vote->last_log_term > vote->term) {
        return STATUS_CORRUPT;
    }
    vote->disrupt_leader = (flags & VOTE_DISRUPT) != 0;
    vote->pre_vote = (flags & VOTE_PRE) != 0;
    return STATUS_OK;
}

static enum status vote_result_decode(struct codec_reader *reader,
                                      struct raft_request_vote_result *result)
{
    uint32_t granted = codec_get_u32(reader);
    uint32_t pre_vote = codec_get_u32(reader);
    if (!codec_reader_done(reader) || granted > 1 || pre_vote > raft_tribool_false) {
        return STATUS_CORRUPT;
    }
    result->vote_granted = granted == 1;
    result->pre_vote = (raft_tribool)pre_vote;
    return STATUS_OK;
}

static enum status append_result_decode(struct codec_reader *reader,
                                        struct raft_append_entries_result *result)
{
    result->rejected = codec_get_u64(reader);
    result->last_log_index = codec_get_u64(reader);
    if (!codec_reader_done(reader) || result->rejected > GROUP_INDEX_MAX ||
        result->last_log_index > GROUP_INDEX_MAX) {
        return STATUS_CORRUPT;
    }
    return STATUS_OK;
}

static enum status timeout_now_decode(struct codec_reader *reader, struct raft_timeout_now *now)
{
    now->last_log_index = codec_get_u64(reader);
    now->last_log_term = codec_get_u64(reader);
    if (!codec_reader_done(reader) || now->last_log_index > GROUP_INDEX_MAX ||
        now->last_log_term > now->term) {
        return STATUS_CORRUPT;
    }
    return STATUS_OK;
}

static enum status body_decode(struct codec_reader *reader, uint64_t term,
                               struct raft_message *message)
{
    switch (message->type) {
    case RAFT_IO_APPEND_ENTRIES:
        message->append_entries.term = term;
        return append_decode(reader, &message->append_entries);
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        message->append_entries_result.term = term;
        return append_result_decode(reader, &message->append_entries_result);
    case RAFT_IO_REQUEST_VOTE:
        message->request_vote.term = term;
        message->request_vote.candidate_id = message->server_id;
        return vote_decode(reader, &message->request_vote);
    case RAFT_IO_REQUEST_VOTE_RESULT:
        message->request_vote_result.term = term;
        return vote_result_decode(reader, &message->request_vote_result);
    case RAFT_IO_INSTALL_SNAPSHOT:
        message->install_snapshot.term = term;
        return snapshot_decode(reader, &message->install_snapshot);
    case RAFT_IO_TIMEOUT_NOW:
        message->timeout_now.term = term;
        return timeout_now_decode(reader, &message->timeout_now);
    default:
        return STATUS_UNSUPPORTED;
    }
}

enum status group_message_decode(struct slice bytes, struct group_message_ends ends,
                                 struct raft_message *message)
{
    if (bytes.size < HEADER_SIZE || bytes.size > GROUP_MESSAGE_SIZE_MAX ||
        codec_load_u32(bytes.data) != MESSAGE_MAGIC ||
        codec_load_u64(bytes.data + CHECKSUM_OFFSET) != message_checksum(bytes)) {
        return STATUS_CORRUPT;
    }
    struct codec_reader reader = codec_reader_make(bytes);
    (void)codec_get_u32(&reader);
    if (codec_get_u8(&reader) != GROUP_MESSAGE_VERSION) {
        return STATUS_UNSUPPORTED;
    }
    struct raft_message found;
    memset(&found, 0, sizeof found);
    found.type = codec_get_u8(&reader);
    uint16_t flags = codec_get_u16(&reader);
    uint32_t from = codec_get_u32(&reader);
    uint32_t to = codec_get_u32(&reader);
    uint64_t term = codec_get_u64(&reader);
    (void)codec_get_u64(&reader);
    if (flags > FLAG_NEWCOMER || from == 0 || term == 0 || term > GROUP_TERM_MAX) {
        return STATUS_CORRUPT;
    }
    if (from != ends.from || to != ends.to) {
        return STATUS_INVALID;
    }
    found.server_id = from;
    enum status status = body_decode(&reader, term, &found);
    if (status == STATUS_OK) {
        *message = found;
    }
    return status;
}

void group_message_free(struct raft_message *message)
{
    if (message->type == RAFT_IO_APPEND_ENTRIES && message->append_entries.n_entries > 0) {
        raft_free(message->append_entries.entries[0].batch);
        raft_free(message->append_entries.entries);
        message->append_entries.n_entries = 0;
    } else if (message->type == RAFT_IO_INSTALL_SNAPSHOT) {
        raft_configuration_close(&message->install_snapshot.conf);
        raft_free(message->install_snapshot.data.base);
    }
}
