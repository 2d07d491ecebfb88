/*
 * lsm/wal_spare.c -- log segments before their time and after it.
 *
 * Invariants:
 *  (1) The header of the segment to be is synced before the file gets a segment's name, so a
 *      segment file has either no header that reads well, or its own.
 *  (2) A name is changed first and made durable later: whichever a crash leaves, the file holds
 *      nothing that counts, until the manifest names it.
 */
#include "lsm/wal_spare.h"

#include <stdio.h>
#include <string.h>

#include "base/contract.h"
#include "base/log.h"
#include "base/memory.h"

#define WAL_SPARE_NAME_SIZE 26u
#define WAL_ZERO_SIZE (64u << 10)

char *wal_spare_path(const char *folder, uint64_t id)
{
    size_t size = strlen(folder) + WAL_SPARE_NAME_SIZE;
    char *path = memory_allocate(size);
    if (path != NULL) {
        int length = snprintf(path, size, "%s/%016llx.spare", folder, (unsigned long long)id);
        ASSERT(length > 0 && (size_t)length < size);
    }
    return path;
}

enum status wal_spare_create(struct env *env, const char *folder, uint64_t id, uint64_t capacity,
                             struct wal_spare *spare)
{
    ASSERT(id != 0);
    ASSERT(capacity > WAL_SEGMENT_HEADER_SIZE);
    *spare = (struct wal_spare){.id = id, .capacity = capacity};
    char *path = wal_spare_path(folder, id);
    enum status status = path == NULL
                             ? STATUS_NO_MEMORY
                             : env->ops->file_open(env, path, ENV_OPEN_CREATE, &spare->file);
    memory_free(path);
    if (status != STATUS_OK) {
        *spare = (struct wal_spare){0};
        return status;
    }
    status = env->ops->file_reserve(spare->file, 0, capacity);
    if (status != STATUS_OK) {
        wal_spare_remove(env, folder, spare);
    }
    return status;
}

enum status wal_spare_open(struct env *env, const char *folder, uint64_t id, uint64_t capacity,
                           struct wal_spare *spare)
{
    *spare = (struct wal_spare){.id = id, .capacity = capacity, .written = capacity};
    char *path = wal_spare_path(folder, id);
    enum status status = path == NULL
                             ? STATUS_NO_MEMORY
                             : env->ops->file_open(env, path, ENV_OPEN_WRITE, &spare->file);
    memory_free(path);
    return status;
}

enum status wal_spare_fill(struct env *env, struct wal_spare *spare)
{
    static const uint8_t zeros[WAL_ZERO_SIZE];
    uint64_t rest = spare->capacity - spare->written;
    uint64_t slice = rest < WAL_SPARE_SLICE_SIZE ? rest : WAL_SPARE_SLICE_SIZE;
    for (uint64_t done = 0; done < slice;) {
        uint64_t piece = slice - done < WAL_ZERO_SIZE ? slice - done : WAL_ZERO_SIZE;
        enum status status = env->ops->file_write(spare->file, spare->written + done,
                                                  slice_make(zeros, (size_t)piece));
        if (status != STATUS_OK) {
            return status;
        }
        done += piece;
    }
    /* Each slice for itself: a sync of the log meanwhile waits for no more than that. */
    enum status status = env->ops->file_sync(spare->file);
    if (status == STATUS_OK) {
        spare->written += slice;
    }
    return status;
}

/* See (1) and (2). */
static enum status spare_rename(struct env *env, const char *folder, uint64_t from_id,
                                uint64_t to_id)
{
    char *from = wal_spare_path(folder, from_id);
    char *to = wal_segment_path(folder, to_id);
    enum status status = from == NULL || to == NULL ? STATUS_NO_MEMORY : STATUS_OK;
    if (status == STATUS_OK) {
        status = env->ops->name_rename(env, from, to);
    }
    if (status == STATUS_OK) {
        status = env->ops->dir_sync(env, folder);
        if (status != STATUS_OK) { /* So that the file has the name its owner knows. */
            enum status undone = env->ops->name_rename(env, to, from);
            if (undone != STATUS_OK) {
                log_warn(env, "lsm.rename_failed", "path=%s status=%s", to, status_name(undone));
            }
        }
    }
    memory_free(from);
    memory_free(to);
    return status;
}

enum status wal_spare_use(struct env *env, const char *folder,
                          const struct wal_segment_header *header, struct wal_spare *spare,
                          struct wal_segment **segment)
{
    ASSERT(spare->file != NULL);
    struct wal_segment *made = memory_allocate_zeroed(1, sizeof(*made));
    if (made == NULL) {
        return STATUS_NO_MEMORY;
    }
    uint8_t sector[WAL_SEGMENT_HEADER_SIZE];
    wal_segment_header_encode(header, sector);
    enum status status = env->ops->file_write(spare->file, 0, slice_make(sector, sizeof(sector)));
    if (status == STATUS_OK) {
        status = env->ops->file_sync(spare->file);
    }
    if (status == STATUS_OK) {
        status = spare_rename(env, folder, spare->id, header->id);
    }
    if (status != STATUS_OK) {
        memory_free(made);
        return status;
    }
    *made = (struct wal_segment){
        .env = env,
        .id = header->id,
        .nonce = header->nonce,
        .capacity = spare->capacity,
        .end_offset = WAL_SEGMENT_HEADER_SIZE,
        .file = spare->file,
    };
    list_init(&made->node);
    *spare = (struct wal_spare){0};
    *segment = made;
    return STATUS_OK;
}

void wal_spare_remove(struct env *env, const char *folder, struct wal_spare *spare)
{
    if (spare->file != NULL) {
        env->ops->file_close(spare->file);
    }
    char *path = wal_spare_path(folder, spare->id);
    enum status status = path == NULL ? STATUS_NO_MEMORY : env->ops->name_remove(env, path);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) { /* The next open sees it. */
        log_warn(env, "lsm.remove_failed", "path=%s status=%s", path == NULL ? "" : path,
                 status_name(status));
    }
    memory_free(path);
    *spare = (struct wal_spare){0};
}

enum status wal_spare_keep(struct env *env, const char *folder, uint64_t id)
{
    char *from = wal_segment_path(folder, id);
    char *to = wal_spare_path(folder, id);
    enum status status =
        from == NULL || to == NULL ? STATUS_NO_MEMORY : env->ops->name_rename(env, from, to);
    memory_free(from);
    memory_free(to);
    return status;
}
