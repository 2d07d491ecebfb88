/*
 * raft/group_log.c -- frames, generations and snapshots on the disk.
 *
 * The promises stand in group_log.h. Two things deserve a word here.
 *  - The frame checksum is seeded with the file's nonce and the frame's offset, so that bytes of
 *    an older file in the same sectors never pass for a frame; see (3).
 *  - Where frames end and bytes follow, the rest is searched sector by sector for a frame whose
 *    watermark lies above the damage: such a frame proves that synced bytes were lost; see (2).
 */
#include "raft/group_log.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/file_load.h"
#include "base/log.h"
#include "base/memory.h"

#define FILE_MAGIC UINT64_C(0x31474f4c564b4752) /* "RGKVLOG1" */
#define FRAME_MAGIC UINT32_C(0x464c4752)        /* "RGLF" */
#define HEADER_SIZE 48
#define FRAME_HEADER_SIZE 32
#define NAME_SIZE_MAX 32

/* ---- files: names, whole reads ---- */

static char *log_path(const struct group_log *log, const char *name)
{
    size_t size = strlen(log->path) + 1 + strlen(name) + 1;
    char *path = memory_allocate(size);
    if (path != NULL) {
        (void)snprintf(path, size, "%s/%s", log->path, name);
    }
    return path;
}

static void name_of(char name[NAME_SIZE_MAX], const char *kind, uint64_t generation)
{
    (void)snprintf(name, NAME_SIZE_MAX, "%s-%016" PRIx64, kind, generation);
}

/* The generation in a name of this kind, or 0 if it is none. */
static uint64_t name_generation(const char *name, const char *kind)
{
    size_t prefix = strlen(kind);
    if (strncmp(name, kind, prefix) != 0 || name[prefix] != '-' || strlen(name) != prefix + 17) {
        return 0;
    }
    uint64_t generation = 0;
    for (const char *digit = name + prefix + 1; *digit != '\0'; digit++) {
        if (*digit >= '0' && *digit <= '9') {
            generation = generation << 4 | (uint64_t)(*digit - '0');
        } else if (*digit >= 'a' && *digit <= 'f') {
            generation = generation << 4 | (uint64_t)(*digit - 'a' + 10);
        } else {
            return 0;
        }
    }
    return generation;
}

/* ---- frames ---- */

static size_t sector_align(size_t size)
{
    return (size + ENV_SECTOR_SIZE - 1) / ENV_SECTOR_SIZE * ENV_SECTOR_SIZE;
}

static uint64_t frame_checksum(struct slice frame, uint64_t nonce, uint64_t offset)
{
    struct slice pieces[2] = {
        slice_make(frame.data, 16),
        slice_make(frame.data + FRAME_HEADER_SIZE, frame.size - FRAME_HEADER_SIZE),
    };
    return checksum64_pieces(pieces, 2, nonce + offset);
}

static void frame_append(struct buffer *to, struct slice payload, uint64_t nonce, uint64_t offset,
                         uint64_t watermark)
{
    ASSERT(payload.size <= GROUP_LOG_FRAME_SIZE_MAX);
    ASSERT(offset % ENV_SECTOR_SIZE == 0);
    size_t size = sector_align(FRAME_HEADER_SIZE + payload.size);
    uint8_t *frame = buffer_reserve(to, size);
    if (frame == NULL) {
        return;
    }
    memset(frame, 0, size);
    codec_store_u32(frame, FRAME_MAGIC);
    codec_store_u32(frame + 4, (uint32_t)payload.size);
    codec_store_u64(frame + 8, watermark);
    if (payload.size > 0) {
        memcpy(frame + FRAME_HEADER_SIZE, payload.data, payload.size);
    }
    codec_store_u64(frame + 16, frame_checksum(slice_make(frame, size), nonce, offset));
    buffer_commit(to, size);
}

struct frame {
    struct slice payload;
    uint64_t watermark;
    size_t size; /* On disk. */
};

static bool frame_parse(struct slice file, uint64_t offset, uint64_t nonce, struct frame *frame)
{
    if (offset > file.size || file.size - offset < ENV_SECTOR_SIZE) {
        return false;
    }
    const uint8_t *at = file.data + offset;
    uint32_t payload_size = codec_load_u32(at + 4);
    if (codec_load_u32(at) != FRAME_MAGIC || payload_size > GROUP_LOG_FRAME_SIZE_MAX ||
        codec_load_u64(at + 24) != 0) {
        return false;
    }
    size_t size = sector_align(FRAME_HEADER_SIZE + (size_t)payload_size);
    if (size > file.size - offset || codec_load_u64(at + 8) > offset ||
        codec_load_u64(at + 16) != frame_checksum(slice_make(at, size), nonce, offset)) {
        return false;
    }
    frame->payload = slice_make(at + FRAME_HEADER_SIZE, payload_size);
    frame->watermark = codec_load_u64(at + 8);
    frame->size = size;
    return true;
}

static void header_append(struct buffer *to, const struct group_log *log)
{
    uint8_t *header = buffer_reserve(to, ENV_SECTOR_SIZE);
    if (header == NULL) {
        return;
    }
    memset(header, 0, ENV_SECTOR_SIZE);
    codec_store_u64(header, FILE_MAGIC);
    codec_store_u32(header + 8, GROUP_LOG_VERSION);
    codec_store_u32(header + 12, log->id);
    codec_store_u64(header + 16, log->generation);
    codec_store_u64(header + 24, log->nonce);
    codec_store_u64(header + 32, log->base_size);
    codec_store_u64(header + 40, checksum64(slice_make(header, 40), FILE_MAGIC));
    buffer_commit(to, ENV_SECTOR_SIZE);
}

static bool bytes_are_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

/* The damage at `end` hides synced bytes if a frame behind it says so. */
static bool damage_is_below_watermark(struct slice file, uint64_t nonce, uint64_t end)
{
    struct frame frame;
    for (uint64_t at = end + ENV_SECTOR_SIZE; at < file.size; at += ENV_SECTOR_SIZE) {
        if (frame_parse(file, at, nonce, &frame) && frame.watermark > end) {
            return true;
        }
    }
    return false;
}

enum status group_log_decode(struct slice bytes, struct group_state *state,
                             struct group_log_image *image)
{
    ASSERT(state->entry_count == 0);
    if (bytes.size < ENV_SECTOR_SIZE || codec_load_u64(bytes.data) != FILE_MAGIC ||
        codec_load_u64(bytes.data + 40) != checksum64(slice_make(bytes.data, 40), FILE_MAGIC) ||
        !bytes_are_zero(bytes.data + HEADER_SIZE, ENV_SECTOR_SIZE - HEADER_SIZE)) {
        return STATUS_CORRUPT;
    }
    if (codec_load_u32(bytes.data + 8) != GROUP_LOG_VERSION) {
        return STATUS_UNSUPPORTED;
    }
    uint64_t nonce = codec_load_u64(bytes.data + 24);
    uint64_t base_size = codec_load_u64(bytes.data + 32);
    uint64_t offset = ENV_SECTOR_SIZE;
    struct frame frame;
    while (frame_parse(bytes, offset, nonce, &frame)) {
        enum status status = group_record_replay(state, frame.payload);
        if (status != STATUS_OK) {
            return status;
        }
        offset += frame.size;
    }
    /* The base was synced before the file got its name; the watermarks tell of what came after. */
    if (offset < base_size || damage_is_below_watermark(bytes, nonce, offset)) {
        return STATUS_CORRUPT;
    }
    image->id = codec_load_u32(bytes.data + 12);
    image->generation = codec_load_u64(bytes.data + 16);
    image->end = offset;
    return STATUS_OK;
}

/* ---- snapshots ---- */

#define SNAPSHOT_MAGIC UINT64_C(0x3150414e534b5652) /* "RVKSNAP1" */
#define SNAPSHOT_HEADER_SIZE 72

static uint64_t snapshot_checksum(struct slice bytes)
{
    struct slice pieces[2] = {
        slice_make(bytes.data, SNAPSHOT_HEADER_SIZE - 8),
        slice_make(bytes.data + SNAPSHOT_HEADER_SIZE, bytes.size - SNAPSHOT_HEADER_SIZE),
    };
    return checksum64_pieces(pieces, 2, SNAPSHOT_MAGIC);
}

enum status group_snapshot_encode(struct buffer *to, struct group_snapshot *snapshot)
{
    ASSERT(to->size == 0);
    ASSERT(snapshot->data.size <= GROUP_SNAPSHOT_SIZE_MAX);
    ASSERT(snapshot->configuration.size <= GROUP_CONFIGURATION_SIZE_MAX);
    codec_put_u64(to, SNAPSHOT_MAGIC);
    codec_put_u32(to, GROUP_LOG_VERSION);
    codec_put_u32(to, (uint32_t)snapshot->configuration.size);
    codec_put_u64(to, snapshot->mark.generation);
    codec_put_u64(to, snapshot->mark.index);
    codec_put_u64(to, snapshot->mark.term);
    codec_put_u64(to, snapshot->mark.configuration_index);
    codec_put_u64(to, snapshot->data.size);
    codec_put_u64(to, 0);
    codec_put_u64(to, 0); /* The checksum. */
    buffer_append_slice(to, snapshot->configuration);
    buffer_append_slice(to, snapshot->data);
    enum status status = buffer_status(to);
    if (status == STATUS_OK) {
        snapshot->mark.checksum = snapshot_checksum(buffer_slice(to));
        codec_store_u64(to->data + SNAPSHOT_HEADER_SIZE - 8, snapshot->mark.checksum);
    }
    return status;
}

enum status group_snapshot_decode(struct slice bytes, struct group_snapshot *snapshot)
{
    if (bytes.size < SNAPSHOT_HEADER_SIZE || codec_load_u64(bytes.data) != SNAPSHOT_MAGIC ||
        codec_load_u64(bytes.data + SNAPSHOT_HEADER_SIZE - 8) != snapshot_checksum(bytes)) {
        return STATUS_CORRUPT;
    }
    struct codec_reader reader = codec_reader_make(bytes);
    (void)codec_get_u64(&reader);
    if (codec_get_u32(&reader) != GROUP_LOG_VERSION) {
        return STATUS_UNSUPPORTED;
    }
    struct group_snapshot found = {0};
    uint32_t configuration_size = codec_get_u32(&reader);
    found.mark.generation = codec_get_u64(&reader);
    found.mark.index = codec_get_u64(&reader);
    found.mark.term = codec_get_u64(&reader);
    found.mark.configuration_index = codec_get_u64(&reader);
    uint64_t data_size = codec_get_u64(&reader);
    uint64_t reserved = codec_get_u64(&reader);
    found.mark.checksum = codec_get_u64(&reader);
    if (reserved != 0 || configuration_size > GROUP_CONFIGURATION_SIZE_MAX ||
        data_size > GROUP_SNAPSHOT_SIZE_MAX || found.mark.index == 0 || found.mark.term == 0 ||
        found.mark.index > GROUP_INDEX_MAX || found.mark.term > GROUP_TERM_MAX) {
        return STATUS_CORRUPT;
    }
    found.configuration = codec_get_raw(&reader, configuration_size);
    found.data = codec_get_raw(&reader, (size_t)data_size);
    if (!codec_reader_done(&reader)) {
        return STATUS_CORRUPT;
    }
    *snapshot = found;
    return STATUS_OK;
}

/* ---- the folder ---- */

struct folder {
    uint64_t newest; /* Greatest generation with a log under its final name. */
};

static void folder_newest(void *context, const char *name)
{
    struct folder *folder = context;
    uint64_t generation = name_generation(name, "log");
    if (generation > folder->newest) {
        folder->newest = generation;
    }
}

static enum status snapshot_load(struct group_log *log, const struct group_state *state,
                                 struct buffer *to)
{
    char name[NAME_SIZE_MAX];
    name_of(name, "snapshot", state->mark.generation);
    char *path = log_path(log, name);
    if (path == NULL) {
        return STATUS_NO_MEMORY;
    }
    uint64_t size_max =
        GROUP_SNAPSHOT_SIZE_MAX + GROUP_CONFIGURATION_SIZE_MAX + SNAPSHOT_HEADER_SIZE;
    enum status status = file_load(log->env, path, size_max, to);
    memory_free(path);
    if (status == STATUS_NOT_FOUND) {
        return STATUS_CORRUPT;
    }
    struct group_snapshot snapshot;
    if (status == STATUS_OK) {
        status = group_snapshot_decode(buffer_slice(to), &snapshot);
    }
    if (status == STATUS_OK &&
        (snapshot.mark.checksum != state->mark.checksum ||
         snapshot.mark.generation != state->mark.generation ||
         snapshot.mark.index != state->mark.index || snapshot.mark.term != state->mark.term)) {
        status = STATUS_CORRUPT;
    }
    return status;
}

static enum status log_load(struct group_log *log, uint64_t generation, struct group_state *state,
                            struct buffer *snapshot)
{
    char name[NAME_SIZE_MAX];
    name_of(name, "log", generation);
    char *path = log_path(log, name);
    if (path == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct buffer bytes = {0};
    struct group_log_image image = {0};
    enum status status = file_load(log->env, path, GROUP_LOG_FILE_SIZE_MAX, &bytes);
    if (status == STATUS_OK) {
        status = group_log_decode(buffer_slice(&bytes), state, &image);
    }
    if (status == STATUS_OK && image.generation != generation) {
        status = STATUS_CORRUPT;
    }
    if (status == STATUS_OK && image.id != log->id) {
        log_error(log->env, "group.log.foreign", "path=%s id=%u expected=%u", path, image.id,
                  log->id);
        status = STATUS_INVALID;
    }
    if (status == STATUS_OK && image.end < bytes.size) {
        log_warn(log->env, "group.log.torn", "path=%s cut_at=%" PRIu64 " size=%zu", path, image.end,
                 bytes.size);
    }
    if (status == STATUS_OK && state->mark.generation != 0) {
        status = snapshot_load(log, state, snapshot);
    }
    if (status != STATUS_OK) {
        log_error(log->env, "group.log.load", "path=%s status=%s", path, status_name(status));
    }
    buffer_deinit(&bytes);
    memory_free(path);
    return status;
}

/* Its name is made durable in its parent too, or a loss of power could take all of it; also if it
 * was there, for whoever made it may have ended before that. */
static enum status folder_make(const struct group_log *log)
{
    enum status status = log->env->ops->dir_create(log->env, log->path);
    if (status != STATUS_OK && status != STATUS_EXISTS) {
        return status;
    }
    char *parent = memory_copy_string(log->path);
    if (parent == NULL) {
        return STATUS_NO_MEMORY;
    }
    char *slash = strrchr(parent, '/');
    if (slash != NULL) {
        slash[slash == parent ? 1 : 0] = '\0';
    }
    status = log->env->ops->dir_sync(log->env, slash == NULL ? "." : parent);
    memory_free(parent);
    return status;
}

enum status group_log_open(struct group_log *log, struct env *env, const char *path, uint32_t id,
                           struct group_state *state, struct buffer *snapshot)
{
    *log = (struct group_log){.env = env, .id = id};
    log->path = memory_copy_string(path);
    if (log->path == NULL) {
        return STATUS_NO_MEMORY;
    }
    enum status status = folder_make(log);
    if (status != STATUS_OK) {
        return status;
    }
    status = env->ops->dir_lock(env, path, &log->lock);
    if (status != STATUS_OK) {
        log->lock = NULL;
        return status;
    }
    struct folder folder = {0};
    status = env->ops->dir_list(env, path, folder_newest, &folder);
    if (status != STATUS_OK) {
        return status;
    }
    if (folder.newest == 0) {
        return STATUS_NOT_FOUND;
    }
    log->generation = folder.newest;
    return log_load(log, folder.newest, state, snapshot);
}

struct sweep {
    struct group_log *log;
    uint64_t snapshot_generation;
    enum status status;
};

/* Whatever looks like a file of ours and is not the current one. */
static void sweep_name(void *context, const char *name)
{
    struct sweep *sweep = context;
    uint64_t log_generation = name_generation(name, "log");
    uint64_t snapshot_generation = name_generation(name, "snapshot");
    bool stale = (log_generation != 0 && log_generation < sweep->log->generation) ||
                 (snapshot_generation != 0 && snapshot_generation != sweep->snapshot_generation);
    if (!stale) {
        return;
    }
    char *path = log_path(sweep->log, name);
    if (path == NULL) {
        sweep->status = STATUS_NO_MEMORY;
        return;
    }
    enum status status = sweep->log->env->ops->name_remove(sweep->log->env, path);
    if (status != STATUS_OK) {
        sweep->status = status;
    }
    memory_free(path);
}

/* Under a temporary name, synced, then renamed. *file stays open if asked for. */
static enum status file_publish(struct group_log *log, const char *name, struct slice bytes,
                                struct env_file **file)
{
    struct env *env = log->env;
    char *temporary = log_path(log, "new.tmp");
    char *path = log_path(log, name);
    struct env_file *opened = NULL;
    enum status status = temporary == NULL || path == NULL ? STATUS_NO_MEMORY : STATUS_OK;
    if (status == STATUS_OK) {
        status = env->ops->name_remove(env, temporary); /* Of an attempt that crashed. */
        status = status == STATUS_NOT_FOUND ? STATUS_OK : status;
    }
    if (status == STATUS_OK) {
        status = env->ops->file_open(env, temporary, ENV_OPEN_CREATE, &opened);
    }
    if (status == STATUS_OK) {
        status = env->ops->file_write(opened, 0, bytes);
    }
    if (status == STATUS_OK) {
        status = env->ops->file_sync(opened);
    }
    if (status == STATUS_OK) {
        status = env->ops->name_rename(env, temporary, path);
    }
    if (status == STATUS_OK) {
        status = env->ops->dir_sync(env, log->path);
    }
    if (status == STATUS_OK && file != NULL) {
        *file = opened;
    } else if (opened != NULL) {
        env->ops->file_close(opened);
    }
    memory_free(temporary);
    memory_free(path);
    return status;
}

static enum status base_build(const struct group_log *log, struct slice records, struct buffer *to)
{
    struct group_log next = *log;
    struct buffer frames = {0};
    while (records.size > 0) {
        size_t step = group_record_split(records, GROUP_LOG_FRAME_SIZE_MAX);
        uint64_t offset = ENV_SECTOR_SIZE + frames.size;
        frame_append(&frames, slice_make(records.data, step), log->nonce, offset, 0);
        records = slice_make(records.data + step, records.size - step);
    }
    next.base_size = ENV_SECTOR_SIZE + frames.size;
    header_append(to, &next);
    buffer_append_slice(to, buffer_slice(&frames));
    enum status status = buffer_status(&frames);
    buffer_deinit(&frames);
    return status == STATUS_OK ? buffer_status(to) : status;
}

enum status group_log_rotate(struct group_log *log, const struct group_log_next *next)
{
    ASSERT(next->generation > log->generation || log->file == NULL);
    if (log->failure != STATUS_OK) {
        return log->failure;
    }
    char name[NAME_SIZE_MAX];
    enum status status = STATUS_OK;
    struct buffer bytes = {0};
    if (next->snapshot != NULL) {
        name_of(name, "snapshot", next->snapshot_generation);
        status = file_publish(log, name, buffer_slice(next->snapshot), NULL);
    }
    struct group_log renewed = *log;
    renewed.generation = next->generation;
    renewed.nonce = env_random(log->env);
    renewed.file = NULL;
    if (status == STATUS_OK) {
        status = base_build(&renewed, next->records, &bytes);
    }
    if (status == STATUS_OK) {
        name_of(name, "log", next->generation);
        status = file_publish(log, name, buffer_slice(&bytes), &renewed.file);
    }
    if (status == STATUS_OK) {
        if (log->file != NULL) {
            log->env->ops->file_close(log->file);
        }
        *log = renewed;
        log->offset = bytes.size;
        log->base_size = bytes.size;
        log->witnessed = true; /* base_size in the header is its witness. */
        struct sweep sweep = {.log = log, .snapshot_generation = next->snapshot_generation};
        status = log->env->ops->dir_list(log->env, log->path, sweep_name, &sweep);
        if (status != STATUS_OK || sweep.status != STATUS_OK) {
            log_warn(log->env, "group.log.sweep", "path=%s status=%s", log->path,
                     status_name(status != STATUS_OK ? status : sweep.status));
            status = STATUS_OK; /* Left-over files cost space only; the next sweep tries again. */
        }
    }
    buffer_deinit(&bytes);
    log->failure = status;
    return status;
}

enum status group_log_write(struct group_log *log, struct slice records)
{
    ASSERT(log->file != NULL);
    if (log->failure != STATUS_OK) {
        return log->failure;
    }
    struct buffer frames = {0};
    bool mere_watermark = records.size == 0;
    do {
        size_t step = group_record_split(records, GROUP_LOG_FRAME_SIZE_MAX);
        frame_append(&frames, slice_make(records.data, step), log->nonce, log->offset + frames.size,
                     log->offset);
        records = slice_make(records.data + step, records.size - step);
    } while (records.size > 0 && !frames.failed);
    enum status status = buffer_status(&frames);
    if (status == STATUS_OK) {
        status = log->env->ops->file_write(log->file, log->offset, buffer_slice(&frames));
    }
    if (status == STATUS_OK) {
        status = log->env->ops->file_sync(log->file);
    }
    if (status == STATUS_OK) {
        log->offset += frames.size;
        log->witnessed = mere_watermark;
    } else {
        log_error(log->env, "group.log.write", "path=%s offset=%" PRIu64 " status=%s", log->path,
                  log->offset, status_name(status));
    }
    buffer_deinit(&frames);
    log->failure = status;
    return status;
}

void group_log_close(struct group_log *log)
{
    if (log->file != NULL) {
        log->env->ops->file_close(log->file);
    }
    if (log->lock != NULL) {
        log->env->ops->dir_unlock(log->lock);
    }
    memory_free(log->path);
    *log = (struct group_log){.failure = STATUS_CLOSED};
}
