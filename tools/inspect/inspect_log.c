/*
 * tools/inspect/inspect_log.c -- segments of the log: group by group, and as one chain.
 *
 * Whether a broken chain is a torn tail or damage is judged by the same code that an open uses.
 */
#include "base/codec.h"
#include "base/file_load.h"
#include "base/memory.h"
#include "lsm/wal.h"
#include "lsm/wal_recovery.h"
#include "tools/inspect/inspect.h"

struct segment_walk {
    struct inspect *inspect;
    const char *path;
    struct slice bytes;
    struct buffer unpacked;
    uint64_t nonce;
    uint64_t group_count;
    uint64_t record_count;
    uint64_t watermark; /* The greatest. */
    uint64_t end_position;
};

static void records_show(struct segment_walk *walk, uint64_t offset, struct slice body,
                         uint32_t record_count)
{
    struct inspect_row *row = &walk->inspect->row;
    struct codec_reader reader = codec_reader_make(body);
    for (uint32_t i = 0; i < record_count; i++) {
        struct slice key;
        struct slice encoded;
        struct cell cell;
        wal_record_get(&reader, &key, &encoded);
        if (!codec_reader_ok(&reader) || cell_decode(encoded, &cell) != STATUS_OK) {
            inspect_damage(walk->inspect, walk->path, offset, "record of an intact group");
            return;
        }
        row_begin(row, "record");
        row_bytes(row, "key", key);
        row_cell(row, &cell, walk->inspect->values);
        row_end(row);
    }
}

static void group_show(struct segment_walk *walk, uint64_t offset,
                       const struct wal_group_header *header, enum status status)
{
    struct inspect_row *row = &walk->inspect->row;
    row_begin(row, "group");
    row_number(row, "offset", offset);
    row_number(row, "position", header->position);
    row_number(row, "watermark", header->watermark);
    row_number(row, "records", header->record_count);
    row_number(row, "size", header->body_size);
    row_number(row, "stored_size", wal_group_stored_size(header));
    row_text(row, "body",
             status == STATUS_OK          ? "ok"
             : status == STATUS_NOT_FOUND ? "torn or damaged"
                                          : status_name(status));
    row_end(row);
}

/* The offset to look at next. */
static uint64_t group_visit(struct segment_walk *walk, uint64_t offset)
{
    const uint8_t *from = walk->bytes.data + offset;
    struct wal_group_header header;
    uint64_t seed = wal_seed(walk->nonce, offset);
    if (!wal_group_begins(from) || wal_group_header_decode(from, seed, &header) != STATUS_OK) {
        return offset + ENV_SECTOR_SIZE;
    }
    uint64_t start = offset + WAL_GROUP_HEADER_SIZE;
    struct slice body = slice_make(walk->bytes.data + start, walk->bytes.size - start);
    enum status status = wal_group_body(&header, seed, body, &walk->unpacked, &body);
    bool whole = status == STATUS_OK;
    if (status == STATUS_CORRUPT) {
        inspect_damage(walk->inspect, walk->path, offset, "packed body of an intact group");
    }
    if (header.watermark > walk->watermark) {
        walk->watermark = header.watermark;
    }
    if (whole) {
        walk->group_count++;
        walk->record_count += header.record_count;
        walk->end_position = header.position + header.body_size;
    }
    if (walk->inspect->dump) {
        group_show(walk, offset, &header, status);
        if (whole) {
            records_show(walk, offset, body, header.record_count);
        }
    }
    return whole ? offset + wal_group_room(wal_group_stored_size(&header))
                 : offset + ENV_SECTOR_SIZE;
}

static void segment_walk(struct segment_walk *walk, const struct wal_segment_header *header)
{
    uint64_t offset = WAL_SEGMENT_HEADER_SIZE;
    while (offset + WAL_GROUP_HEADER_SIZE <= walk->bytes.size) {
        offset = group_visit(walk, offset);
    }
    struct inspect_row *row = &walk->inspect->row;
    row_begin(row, "segment");
    row_text(row, "path", walk->path);
    row_hex(row, "id", header->id);
    row_number(row, "size", walk->bytes.size);
    row_number(row, "groups", walk->group_count);
    row_number(row, "records", walk->record_count);
    row_number(row, "watermark", walk->watermark);
    row_number(row, "end_position", walk->end_position);
    row_end(row);
}

void inspect_segment(struct inspect *inspect, const char *path)
{
    struct buffer bytes = {0};
    struct wal_segment_header header;
    enum status status = file_load(inspect->env, path, UINT64_MAX, &bytes);
    if (status == STATUS_OK) {
        status = bytes.size < WAL_SEGMENT_HEADER_SIZE
                     ? STATUS_CORRUPT
                     : wal_segment_header_decode(bytes.data, &header);
        if (status == STATUS_CORRUPT) {
            inspect_damage(inspect, path, 0, "segment header");
        } else if (status == STATUS_OK) {
            struct segment_walk walk = {.inspect = inspect,
                                        .path = path,
                                        .bytes = buffer_slice(&bytes),
                                        .nonce = header.nonce};
            segment_walk(&walk, &header);
            buffer_deinit(&walk.unpacked);
        }
    }
    if (status != STATUS_OK && status != STATUS_CORRUPT) {
        inspect_failure(inspect, path, status);
    }
    buffer_deinit(&bytes);
}

static enum status record_pass(void *context, struct slice key, struct slice cell, uint64_t end)
{
    (void)end;
    (void)context;
    (void)key;
    (void)cell;
    return STATUS_OK;
}

void inspect_log(struct inspect *inspect, const char *folder, const struct manifest_state *state)
{
    struct wal_recovery_segment *segments =
        memory_allocate_zeroed(state->segment_count + 1, sizeof(*segments));
    if (segments == NULL) {
        inspect_failure(inspect, folder, STATUS_NO_MEMORY);
        return;
    }
    for (uint32_t i = 0; i < state->segment_count; i++) {
        segments[i] =
            (struct wal_recovery_segment){.id = state->segments[i].id,
                                          .nonce = state->segments[i].nonce,
                                          .start_position = state->segments[i].start_position};
    }
    struct wal_recovery recovery = {
        .env = inspect->env,
        .folder = folder,
        .segments = segments,
        .segment_count = state->segment_count,
        .replay_position = state->replay_position,
        .record = record_pass,
        .read_only = true,
    };
    enum status status = wal_recover(&recovery);
    if (status == STATUS_OK) {
        bool torn = recovery.broken_segment < recovery.segment_count;
        row_begin(&inspect->row, "log");
        row_number(&inspect->row, "replay_position", state->replay_position);
        row_number(&inspect->row, "end_position", recovery.end_position);
        row_number(&inspect->row, "records", recovery.record_count);
        row_text(&inspect->row, "tail", torn ? "torn" : "whole");
        row_end(&inspect->row);
    } else if (status == STATUS_CORRUPT) {
        inspect_damage(inspect, folder, recovery.broken_offset, "log below its synced position");
    } else {
        inspect_failure(inspect, folder, status);
    }
    memory_free(segments);
}
