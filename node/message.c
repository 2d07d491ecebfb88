/* node/message.c -- encoders and decoders of frame payloads; see docs/formats/rpc.md. */
#include "node/message.h"

#include <string.h>

#include "base/token.h"
#include "lsm/lsm.h"

#define HELLO_VERSION 1
#define FLAG_DIGEST 1u
#define FLAG_FOUND 2u
#define FLAG_REPAIR 1u
#define TOPOLOGY_WHOLE 1u
#define TOPOLOGY_COMMANDS 2u
#define SCAN_ENTRY 1u
#define SCAN_END 2u
#define SCAN_END_TRUNCATED 3u

static enum status decoded(const struct codec_reader *reader, bool valid)
{
    return codec_reader_done(reader) && valid ? STATUS_OK : STATUS_CORRUPT;
}

static void text_get(struct codec_reader *reader, char *text, size_t capacity)
{
    struct slice bytes = codec_get_bytes(reader);
    if (bytes.size >= capacity || (bytes.size > 0 && memchr(bytes.data, 0, bytes.size) != NULL)) {
        reader->failed = true;
        bytes.size = 0;
    }
    if (bytes.size > 0) {
        memcpy(text, bytes.data, bytes.size);
    }
    text[bytes.size] = '\0';
}

void message_hello_encode(struct buffer *to, const struct message_hello *hello)
{
    codec_put_u32(to, HELLO_VERSION);
    codec_put_u32(to, hello->id);
    codec_put_u64(to, hello->disk_id);
    codec_put_u64(to, hello->cluster_id);
    codec_put_u64(to, hello->bootstrap_digest);
    codec_put_u64(to, hello->connection);
    codec_put_u32(to, hello->features);
    codec_put_u32(to, hello->weight);
    codec_put_bytes(to, slice_text(hello->zone));
    codec_put_bytes(to, slice_text(hello->peer_address));
    codec_put_bytes(to, slice_text(hello->client_address));
    codec_put_bytes(to, slice_text(hello->admin_address));
}

enum status message_hello_decode(struct slice payload, struct message_hello *hello)
{
    struct codec_reader reader = codec_reader_make(payload);
    uint32_t version = codec_get_u32(&reader);
    hello->id = codec_get_u32(&reader);
    hello->disk_id = codec_get_u64(&reader);
    hello->cluster_id = codec_get_u64(&reader);
    hello->bootstrap_digest = codec_get_u64(&reader);
    hello->connection = codec_get_u64(&reader);
    hello->features = codec_get_u32(&reader);
    hello->weight = codec_get_u32(&reader);
    text_get(&reader, hello->zone, sizeof(hello->zone));
    text_get(&reader, hello->peer_address, sizeof(hello->peer_address));
    text_get(&reader, hello->client_address, sizeof(hello->client_address));
    text_get(&reader, hello->admin_address, sizeof(hello->admin_address));
    if (codec_reader_ok(&reader) && version != HELLO_VERSION) {
        return STATUS_UNSUPPORTED;
    }
    return decoded(&reader, hello->id != 0 && hello->weight <= RING_WEIGHT_MAX);
}

void message_ping_encode(struct buffer *to, const struct message_ping *ping)
{
    codec_put_u64(to, ping->key_estimate);
    codec_put_u64(to, ping->stored_size);
    codec_put_u64(to, ping->space_free);
    codec_put_u64(to, ping->request_rate);
}

enum status message_ping_decode(struct slice payload, struct message_ping *ping)
{
    struct codec_reader reader = codec_reader_make(payload);
    ping->key_estimate = codec_get_u64(&reader);
    ping->stored_size = codec_get_u64(&reader);
    ping->space_free = codec_get_u64(&reader);
    ping->request_rate = codec_get_u64(&reader);
    return decoded(&reader, true);
}

void message_probe_encode(struct buffer *to, uint32_t id)
{
    codec_put_u32(to, id);
}

enum status message_probe_decode(struct slice payload, uint32_t *id)
{
    struct codec_reader reader = codec_reader_make(payload);
    *id = codec_get_u32(&reader);
    return decoded(&reader, *id != 0);
}

void message_probe_reply_encode(struct buffer *to, const struct message_probe_reply *reply)
{
    codec_put_u8(to, reply->hears ? 1 : 0);
    codec_put_u64(to, reply->silence_ms);
}

enum status message_probe_reply_decode(struct slice payload, struct message_probe_reply *reply)
{
    struct codec_reader reader = codec_reader_make(payload);
    uint8_t hears = codec_get_u8(&reader);
    reply->hears = hears == 1;
    reply->silence_ms = codec_get_u64(&reader);
    return decoded(&reader, hears <= 1);
}

void message_raft_encode(struct buffer *to, uint64_t sequence, struct slice raft)
{
    codec_put_u64(to, sequence);
    buffer_append_slice(to, raft);
}

enum status message_raft_decode(struct slice payload, uint64_t *sequence, struct slice *raft)
{
    struct codec_reader reader = codec_reader_make(payload);
    *sequence = codec_get_u64(&reader);
    *raft = reader.rest;
    return codec_reader_ok(&reader) && raft->size > 0 ? STATUS_OK : STATUS_CORRUPT;
}

void message_topology_reply_encode(struct buffer *to, const struct message_topology_reply *reply)
{
    codec_put_u8(to, reply->whole ? TOPOLOGY_WHOLE : TOPOLOGY_COMMANDS);
    buffer_append_slice(to, reply->bytes);
}

enum status message_topology_reply_decode(struct slice payload,
                                          struct message_topology_reply *reply)
{
    struct codec_reader reader = codec_reader_make(payload);
    uint8_t form = codec_get_u8(&reader);
    bool known = form == TOPOLOGY_WHOLE || form == TOPOLOGY_COMMANDS;
    if (!codec_reader_ok(&reader) || !known || reader.rest.size == 0) {
        return STATUS_CORRUPT;
    }
    *reply = (struct message_topology_reply){.whole = form == TOPOLOGY_WHOLE, .bytes = reader.rest};
    return STATUS_OK;
}

void message_propose_reply_encode(struct buffer *to, const struct message_propose_reply *reply)
{
    ASSERT(reply->reason.size <= MESSAGE_REASON_SIZE_MAX);
    codec_put_u32(to, reply->leader_id);
    codec_put_u64(to, reply->epoch);
    codec_put_bytes(to, reply->reason);
}

enum status message_propose_reply_decode(struct slice payload, struct message_propose_reply *reply)
{
    struct codec_reader reader = codec_reader_make(payload);
    reply->leader_id = codec_get_u32(&reader);
    reply->epoch = codec_get_u64(&reader);
    reply->reason = codec_get_bytes(&reader);
    bool printable = reply->reason.size <= MESSAGE_REASON_SIZE_MAX;
    for (size_t index = 0; printable && index < reply->reason.size; index++) {
        printable = reply->reason.data[index] >= ' ' && reply->reason.data[index] <= '~';
    }
    return decoded(&reader, printable);
}

static bool engine_key_valid(struct slice engine_key)
{
    uint16_t keyspace;
    uint64_t token;
    struct slice key;
    return engine_key.size <= LSM_KEY_SIZE_MAX &&
           token_engine_split(engine_key, &keyspace, &token, &key) == STATUS_OK;
}

void message_read_encode(struct buffer *to, const struct message_read *read)
{
    codec_put_u8(to, read->digest ? FLAG_DIGEST : 0);
    codec_put_bytes(to, read->engine_key);
}

enum status message_read_decode(struct slice payload, struct message_read *read)
{
    struct codec_reader reader = codec_reader_make(payload);
    uint8_t flags = codec_get_u8(&reader);
    read->digest = (flags & FLAG_DIGEST) != 0;
    read->engine_key = codec_get_bytes(&reader);
    return decoded(&reader, (flags & ~FLAG_DIGEST) == 0 && engine_key_valid(read->engine_key));
}

static struct cell cell_without_value(const struct cell *cell)
{
    struct cell bare = *cell;
    bare.window = (struct slice){0};
    bare.value = (struct slice){0};
    return bare;
}

void message_read_reply_encode(struct buffer *to, const struct message_read_reply *reply)
{
    codec_put_u8(to,
                 (uint8_t)((reply->digest ? FLAG_DIGEST : 0) | (reply->found ? FLAG_FOUND : 0)));
    if (reply->found && reply->digest) {
        struct cell bare = cell_without_value(&reply->cell);
        cell_put(to, &bare);
    } else if (reply->found) {
        cell_put(to, &reply->cell);
    }
}

enum status message_read_reply_decode(struct slice payload, struct message_read_reply *reply)
{
    struct codec_reader reader = codec_reader_make(payload);
    uint8_t flags = codec_get_u8(&reader);
    *reply = (struct message_read_reply){.found = (flags & FLAG_FOUND) != 0,
                                         .digest = (flags & FLAG_DIGEST) != 0};
    if (!codec_reader_ok(&reader) || (flags & ~(FLAG_FOUND | FLAG_DIGEST)) != 0) {
        return STATUS_CORRUPT;
    }
    if (!reply->found) {
        return decoded(&reader, true);
    }
    return cell_decode(reader.rest, &reply->cell);
}

void message_prepare_encode(struct buffer *to, const struct message_prepare *prepare)
{
    version_put(to, prepare->ballot);
    codec_put_bytes(to, prepare->engine_key);
}

enum status message_prepare_decode(struct slice payload, struct message_prepare *prepare)
{
    struct codec_reader reader = codec_reader_make(payload);
    prepare->ballot = version_get(&reader);
    prepare->engine_key = codec_get_bytes(&reader);
    return decoded(&reader, engine_key_valid(prepare->engine_key));
}

void message_write_encode(struct buffer *to, const struct message_write *write)
{
    codec_put_u8(to, write->repair ? FLAG_REPAIR : 0);
    codec_put_bytes(to, write->engine_key);
    cell_put(to, &write->cell);
}

enum status message_write_decode(struct slice payload, struct message_write *write)
{
    struct codec_reader reader = codec_reader_make(payload);
    uint8_t flags = codec_get_u8(&reader);
    write->repair = (flags & FLAG_REPAIR) != 0;
    write->engine_key = codec_get_bytes(&reader);
    if (!codec_reader_ok(&reader) || (flags & ~FLAG_REPAIR) != 0 ||
        !engine_key_valid(write->engine_key)) {
        return STATUS_CORRUPT;
    }
    return cell_decode(reader.rest, &write->cell);
}

void message_write_reply_encode(struct buffer *to, struct version standing)
{
    version_put(to, standing);
}

enum status message_write_reply_decode(struct slice payload, struct version *standing)
{
    struct codec_reader reader = codec_reader_make(payload);
    *standing = payload.size == 0 ? (struct version){0} : version_get(&reader);
    return decoded(&reader, true);
}

void message_scan_encode(struct buffer *to, const struct message_scan *scan)
{
    codec_put_u16(to, scan->keyspace);
    codec_put_u64(to, scan->first);
    codec_put_u64(to, scan->last);
    codec_put_u32(to, scan->count);
}

enum status message_scan_decode(struct slice payload, struct message_scan *scan)
{
    struct codec_reader reader = codec_reader_make(payload);
    scan->keyspace = codec_get_u16(&reader);
    scan->first = codec_get_u64(&reader);
    scan->last = codec_get_u64(&reader);
    scan->count = codec_get_u32(&reader);
    return decoded(&reader, scan->first <= scan->last && scan->count > 0);
}

void message_scan_entry_encode(struct buffer *to, const struct message_scan_entry *entry)
{
    struct cell bare = cell_without_value(&entry->cell);
    codec_put_u8(to, SCAN_ENTRY);
    codec_put_bytes(to, entry->engine_key);
    codec_put_varint(to, cell_encoded_size(&bare));
    cell_put(to, &bare);
}

void message_scan_end_encode(struct buffer *to, bool truncated, uint64_t end_token)
{
    codec_put_u8(to, truncated ? SCAN_END_TRUNCATED : SCAN_END);
    codec_put_u64(to, end_token);
}

void message_scan_cursor_init(struct message_scan_cursor *cursor, struct slice payload)
{
    *cursor = (struct message_scan_cursor){.reader = codec_reader_make(payload)};
}

enum status message_scan_cursor_next(struct message_scan_cursor *cursor,
                                     struct message_scan_entry *entry)
{
    struct codec_reader *reader = &cursor->reader;
    uint8_t kind = codec_get_u8(reader);
    if (kind == SCAN_END || kind == SCAN_END_TRUNCATED) {
        cursor->truncated = kind == SCAN_END_TRUNCATED;
        cursor->end_token = codec_get_u64(reader);
        return codec_reader_done(reader) ? STATUS_NOT_FOUND : STATUS_CORRUPT;
    }
    entry->engine_key = codec_get_bytes(reader);
    struct slice cell = codec_get_bytes(reader);
    if (!codec_reader_ok(reader) || kind != SCAN_ENTRY || !engine_key_valid(entry->engine_key)) {
        return STATUS_CORRUPT;
    }
    return cell_decode(cell, &entry->cell);
}
