/*
 * lsm/wal_recovery.c -- replay of the log.
 *
 * Invariants:
 *  (1) A record is handed out only if every byte of its group passed its checksum, and the group
 *      continues the chain: its position is the end of the one before.
 *  (2) A gap in the chain is harmless only below replay_position.
 *  (3) A valid header speaks for itself: its watermark counts even if the group's body is torn.
 */
#include "lsm/wal_recovery.h"

#include "base/buffer.h"
#include "base/cell.h"
#include "base/checksum.h"
#include "base/codec.h"
#include "base/contract.h"
#include "base/file_load.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/mutant.h"
#include "lsm/wal.h"

static enum status body_replay(struct wal_recovery *recovery, struct slice body,
                               const struct wal_group_header *header)
{
    struct codec_reader reader = codec_reader_make(body);
    for (uint32_t i = 0; i < header->record_count; i++) {
        struct slice key;
        struct slice cell;
        struct cell decoded;
        wal_record_get(&reader, &key, &cell);
        if (!codec_reader_ok(&reader) || cell_decode(cell, &decoded) != STATUS_OK) {
            return STATUS_CORRUPT;
        }
        uint64_t end = header->position + (body.size - reader.rest.size);
        enum status status = recovery->record(recovery->context, key, cell, end);
        if (status != STATUS_OK) {
            return status;
        }
        recovery->record_count++;
    }
    return codec_reader_done(&reader) ? STATUS_OK : STATUS_CORRUPT;
}

static void broken_note(struct wal_recovery *recovery, uint32_t segment_index, uint64_t offset)
{
    if (recovery->broken_segment == recovery->segment_count) {
        recovery->broken_segment = segment_index;
        recovery->broken_offset = offset;
    }
}

struct segment_scan {
    uint32_t index;
    uint64_t limit;    /* Records from here on are void. */
    uint64_t expected; /* Offset at which the chain goes on. */
    struct slice bytes;
    struct buffer *unpacked;
};

/* What holds the records handed out so far goes. */
static enum status records_end(const struct wal_recovery *recovery)
{
    return recovery->records_end == NULL ? STATUS_OK : recovery->records_end(recovery->context);
}

/* One group with a valid header at `offset`. */
static enum status group_visit(struct wal_recovery *recovery, struct segment_scan *scan,
                               uint64_t offset, uint64_t seed,
                               const struct wal_group_header *header)
{
    bool whole = recovery->broken_segment == recovery->segment_count;
    uint64_t end = header->position + header->body_size;
    if (header->watermark > recovery->watermark) {
        recovery->watermark = header->watermark;
    }
    if (end <= recovery->replay_position) { /* See (2). */
        if (end > recovery->position) {
            recovery->position = end;
        }
        recovery->segments[scan->index].last_position = end;
        scan->expected = offset + wal_group_room(wal_group_stored_size(header));
        return STATUS_OK;
    }
    if (header->position > recovery->position && header->position <= recovery->replay_position) {
        recovery->position = header->position;
        scan->expected = offset;
    }
    uint64_t start = offset + WAL_GROUP_HEADER_SIZE;
    struct slice body = slice_make(scan->bytes.data + start, scan->bytes.size - start);
    enum status status = STATUS_NOT_FOUND;
    if (whole && offset == scan->expected && header->position == recovery->position) {
        status = header->packed_size > 0 ? records_end(recovery) : STATUS_OK;
    }
    if (status == STATUS_OK) {
        status = wal_group_body(header, seed, body, scan->unpacked, &body);
    }
    if (status == STATUS_NOT_FOUND) {
        broken_note(recovery, scan->index, scan->expected);
        return STATUS_OK;
    }
    if (status == STATUS_OK) {
        status = body_replay(recovery, body, header);
    }
    if (status != STATUS_OK) {
        if (status == STATUS_CORRUPT) {
            log_error(recovery->env, "wal.malformed", "segment=%llx offset=%llu",
                      (unsigned long long)recovery->segments[scan->index].id,
                      (unsigned long long)offset);
        }
        return status;
    }
    recovery->position = end;
    recovery->segments[scan->index].last_position = end;
    scan->expected = offset + wal_group_room(wal_group_stored_size(header));
    return STATUS_OK;
}

static enum status segment_scan(struct wal_recovery *recovery, struct segment_scan *scan)
{
    uint64_t nonce = recovery->segments[scan->index].nonce;
    uint64_t offset = WAL_SEGMENT_HEADER_SIZE;
    while (offset + WAL_GROUP_HEADER_SIZE <= scan->bytes.size) {
        uint64_t seed = 0;
        struct wal_group_header header;
        const uint8_t *from = scan->bytes.data + offset;
        enum status status = STATUS_NOT_FOUND;
        if (wal_group_begins(from)) {
            seed = wal_seed(nonce, offset);
            status = wal_group_header_decode(from, seed, &header);
        }
        if (status != STATUS_OK) {
            offset += ENV_SECTOR_SIZE;
            continue;
        }
        if (header.position > scan->limit ||
            (header.position == scan->limit && header.body_size > 0)) {
            return STATUS_OK; /* A tail that an earlier recovery cut. */
        }
        status = group_visit(recovery, scan, offset, seed, &header);
        if (status != STATUS_OK) {
            return status;
        }
        offset += wal_group_room(wal_group_stored_size(&header));
    }
    return STATUS_OK;
}

/*
 * What is visible again must be durable: the crash may have been of the process alone. A sync is
 * not enough: after one that failed, bytes may stand in the page cache alone and count as clean
 * there. So what was read is written again, in place: each sector stays what it was, or becomes
 * that.
 */
static enum status segment_settle(struct wal_recovery *recovery, const char *path,
                                  struct slice bytes)
{
    struct env *env = recovery->env;
    struct env_file *file = NULL;
    enum status status = env->ops->file_open(env, path, ENV_OPEN_WRITE, &file);
    if (status == STATUS_OK) {
        status = env->ops->file_write(file, 0, bytes);
        if (status == STATUS_OK) {
            status = env->ops->file_sync(file);
        }
        env->ops->file_close(file);
    }
    return status;
}

static enum status segment_recover(struct wal_recovery *recovery, uint32_t index)
{
    struct wal_recovery_segment *segment = &recovery->segments[index];
    struct segment_scan scan = {
        .index = index,
        .limit = UINT64_MAX,
        .expected = WAL_SEGMENT_HEADER_SIZE,
    };
    for (uint32_t i = index + 1; i < recovery->segment_count; i++) {
        if (recovery->segments[i].start_position < scan.limit) {
            scan.limit = recovery->segments[i].start_position;
        }
    }
    if (segment->start_position != WAL_START_UNKNOWN) {
        if (recovery->position < segment->start_position &&
            recovery->replay_position < segment->start_position) {
            /* All before it was synced when it was made. */
            broken_note(recovery, index, 0);
            recovery->watermark = segment->start_position;
        } else if (recovery->position < segment->start_position) {
            recovery->position = segment->start_position;
        }
    }
    char *path = wal_segment_path(recovery->folder, segment->id);
    if (path == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct buffer bytes = {0};
    struct buffer unpacked = {0};
    segment->last_position = recovery->position;
    uint64_t position_before = recovery->position;
    enum status status = file_load(recovery->env, path, UINT64_MAX, &bytes);
    if (status == STATUS_NOT_FOUND) {
        log_error(recovery->env, "wal.segment_missing", "path=%s", path);
        status = STATUS_CORRUPT;
    }
    if (status == STATUS_OK) {
        scan.bytes = buffer_slice(&bytes);
        scan.unpacked = &unpacked;
        segment->file_size = bytes.size;
        status = segment_scan(recovery, &scan);
    }
    if (status == STATUS_OK) {
        status = records_end(recovery);
    }
    if (status == STATUS_OK && recovery->position > position_before && !recovery->read_only &&
        !LSM_MUTANT(SEGMENT_NOT_SETTLED)) {
        size_t used = scan.expected < bytes.size ? (size_t)scan.expected : bytes.size;
        status = segment_settle(recovery, path, slice_make(bytes.data, used));
    }
    buffer_deinit(&bytes);
    buffer_deinit(&unpacked);
    memory_free(path);
    return status;
}

enum status wal_recover(struct wal_recovery *recovery)
{
    ASSERT(recovery != NULL);
    ASSERT(recovery->record != NULL);
    recovery->broken_segment = recovery->segment_count;
    recovery->position = 0;
    recovery->watermark = 0;
    recovery->record_count = 0;
    for (uint32_t i = 0; i < recovery->segment_count; i++) {
        enum status status = segment_recover(recovery, i);
        if (status != STATUS_OK) {
            return status;
        }
    }
    uint64_t end = recovery->position > recovery->replay_position ? recovery->position
                                                                  : recovery->replay_position;
    if (recovery->watermark > end) {
        uint32_t index = recovery->broken_segment;
        log_error(recovery->env, "wal.corrupt",
                  "folder=%s segment=%016llx offset=%llu position=%llu synced_position=%llu",
                  recovery->folder,
                  index < recovery->segment_count ? (unsigned long long)recovery->segments[index].id
                                                  : 0ULL,
                  (unsigned long long)recovery->broken_offset, (unsigned long long)end,
                  (unsigned long long)recovery->watermark);
        return STATUS_CORRUPT;
    }
    if (recovery->broken_segment < recovery->segment_count) {
        log_info(recovery->env, "wal.tail_cut", "segment=%016llx offset=%llu position=%llu",
                 (unsigned long long)recovery->segments[recovery->broken_segment].id,
                 (unsigned long long)recovery->broken_offset, (unsigned long long)end);
    }
    recovery->end_position = end;
    return STATUS_OK;
}

enum status wal_check_orphan(struct env *env, const char *path, uint64_t replay_position)
{
    struct env_file *file = NULL;
    uint8_t bytes[WAL_SEGMENT_HEADER_SIZE + WAL_GROUP_HEADER_SIZE];
    size_t got = 0;
    enum status status = env->ops->file_open(env, path, ENV_OPEN_READ, &file);
    if (status != STATUS_OK) {
        return status;
    }
    status = env->ops->file_read(file, 0, bytes, sizeof(bytes), &got);
    env->ops->file_close(file);
    struct wal_segment_header segment;
    struct wal_group_header group;
    if (status != STATUS_OK || got < sizeof(bytes) ||
        wal_segment_header_decode(bytes, &segment) != STATUS_OK) {
        return status;
    }
    const uint8_t *from = bytes + WAL_SEGMENT_HEADER_SIZE;
    uint64_t seed = wal_seed(segment.nonce, WAL_SEGMENT_HEADER_SIZE);
    if (wal_group_header_decode(from, seed, &group) == STATUS_OK && group.body_size > 0 &&
        group.position >= replay_position) {
        log_error(env, "wal.unknown_segment", "path=%s position=%llu", path,
                  (unsigned long long)group.position);
        return STATUS_CORRUPT;
    }
    return STATUS_OK;
}
