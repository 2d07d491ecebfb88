/*
 * tests/fuzz/fuzz_wal.c -- whatever bytes come as a log segment: replayed in part, or refused.
 *
 * The segment lies in memory, behind an env that reads, and lets the same be written again in
 * place. Each input is read as it is, and again with the checksums of every group in it made right:
 * no mutation would get past them. Properties: only the statuses of the contract; every record
 * handed out has a key and a cell that decodes; the end is never below the replay position.
 */
#include <string.h>

#include "base/cell.h"
#include "base/checksum.h"
#include "base/codec.h"
#include "base/contract.h"
#include "lsm/wal.h"
#include "lsm/wal_recovery.h"
#include "tests/fuzz/fuzz.h"

#define FUZZ_NONCE 7

struct env_file {
    struct slice bytes;
};

struct fuzz_env {
    struct env base; /* First, as env.h asks. */
    struct env_file file;
};

static enum status fuzz_open(struct env *env, const char *path, enum env_open mode,
                             struct env_file **file)
{
    (void)path;
    (void)mode;
    *file = &((struct fuzz_env *)env)->file;
    return STATUS_OK;
}

static void fuzz_close(struct env_file *file)
{
    (void)file;
}

static enum status fuzz_size(struct env_file *file, uint64_t *size)
{
    *size = file->bytes.size;
    return STATUS_OK;
}

static enum status fuzz_read(struct env_file *file, uint64_t offset, void *to, size_t size,
                             size_t *got)
{
    ASSERT(offset <= file->bytes.size);
    size_t rest = file->bytes.size - offset;
    *got = size < rest ? size : rest;
    if (*got > 0) {
        memcpy(to, file->bytes.data + offset, *got);
    }
    return STATUS_OK;
}

static enum status fuzz_write(struct env_file *file, uint64_t offset, struct slice data)
{
    ASSERT(offset <= file->bytes.size);
    ASSERT(data.size <= file->bytes.size - offset);
    ASSERT(slice_equal(data, slice_make(file->bytes.data + offset, data.size)));
    return STATUS_OK;
}

static enum status fuzz_sync(struct env_file *file)
{
    (void)file;
    return STATUS_OK;
}

static void fuzz_log(struct env *env, enum log_level level, struct slice line)
{
    (void)env;
    (void)level;
    (void)line;
}

static const struct env_ops fuzz_ops = {
    .file_open = fuzz_open,
    .file_close = fuzz_close,
    .file_size = fuzz_size,
    .file_read = fuzz_read,
    .file_write = fuzz_write,
    .file_sync = fuzz_sync,
    .log_write = fuzz_log,
};

static enum status record_check(void *context, struct slice key, struct slice cell, uint64_t end)
{
    (void)end;
    struct cell decoded;
    (void)context;
    ASSERT(key.size >= 1);
    ASSERT(key.size <= LSM_KEY_SIZE_MAX);
    enum status status = cell_decode(cell, &decoded);
    ASSERT(status == STATUS_OK);
    return STATUS_OK;
}

static void segment_check(struct slice bytes, uint64_t replay_position)
{
    struct fuzz_env env = {.base.ops = &fuzz_ops, .file.bytes = bytes};
    struct wal_recovery_segment segment = {
        .id = 1, .nonce = FUZZ_NONCE, .start_position = WAL_START_UNKNOWN};
    struct wal_recovery recovery = {
        .env = &env.base,
        .folder = "fuzz",
        .segments = &segment,
        .segment_count = 1,
        .replay_position = replay_position,
        .record = record_check,
    };
    enum status status = wal_recover(&recovery);
    ASSERT(status == STATUS_OK || status == STATUS_CORRUPT);
    ASSERT(status != STATUS_OK || recovery.end_position >= replay_position);
    status = wal_check_orphan(&env.base, "fuzz", replay_position);
    ASSERT(status == STATUS_OK || status == STATUS_CORRUPT);
}

/* Seals every group as a writer would have, whatever it holds. */
static void checksums_mend(struct buffer *file)
{
    uint64_t offset = WAL_SEGMENT_HEADER_SIZE;
    while (offset + WAL_GROUP_HEADER_SIZE <= file->size) {
        uint8_t *at = file->data + offset;
        uint32_t packed_size = codec_load_u32(at + 28);
        uint32_t stored_size = packed_size > 0 ? packed_size : codec_load_u32(at + 24);
        uint64_t rest = file->size - offset - WAL_GROUP_HEADER_SIZE;
        uint64_t seed = wal_seed(FUZZ_NONCE, offset);
        if (!wal_group_begins(at)) {
            offset += ENV_SECTOR_SIZE;
            continue;
        }
        if (stored_size <= rest) {
            struct slice body = slice_make(at + WAL_GROUP_HEADER_SIZE, stored_size);
            codec_store_u64(at + 32, checksum64(body, seed));
        }
        codec_store_u64(at + 40, checksum64(slice_make(at, 40), seed));
        offset += stored_size <= rest ? wal_group_room(stored_size) : ENV_SECTOR_SIZE;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t replay_position = size == 0 ? 0 : data[0];
    struct buffer file = {0};
    segment_check(slice_make(data, size), 0);
    buffer_append(&file, data, size);
    checksums_mend(&file);
    segment_check(buffer_slice(&file), 0);
    segment_check(buffer_slice(&file), replay_position);
    buffer_deinit(&file);
    return 0;
}
