/* node/identity.c -- the file NODE of a data folder; see docs/formats/identity.md. */
#include "node/identity.h"

#include <stdio.h>
#include <string.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/log.h"
#include "node/config.h"

/*
 * OFFSET  SIZE  FIELD
 *      0     8  magic "RKVNODE\0"
 *      8     4  format version
 *     12     4  node id
 *     16     4  boot count
 *     20     4  zero
 *     24     8  disk id
 *     32     8  checksum of bytes 0-31
 */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 8,
    AT_ID = 12,
    AT_BOOT = 16,
    AT_ZERO = 20,
    AT_DISK_ID = 24,
    AT_CHECKSUM = 32,
    IDENTITY_SIZE = 40,
};

#define IDENTITY_VERSION 1
#define IDENTITY_PATH_SIZE_MAX (CONFIG_PATH_SIZE_MAX + 16)

static const char identity_magic[8] = "RKVNODE";

static void path_in(char *path, const char *data_dir, const char *name)
{
    (void)snprintf(path, IDENTITY_PATH_SIZE_MAX, "%s/%s", data_dir, name);
}

static void identity_encode(uint8_t *to, const struct identity *identity)
{
    memcpy(to + AT_MAGIC, identity_magic, sizeof(identity_magic));
    codec_store_u32(to + AT_VERSION, IDENTITY_VERSION);
    codec_store_u32(to + AT_ID, identity->id);
    codec_store_u32(to + AT_BOOT, identity->boot);
    codec_store_u32(to + AT_ZERO, 0);
    codec_store_u64(to + AT_DISK_ID, identity->disk_id);
    codec_store_u64(to + AT_CHECKSUM, checksum64(slice_make(to, AT_CHECKSUM), IDENTITY_VERSION));
}

static enum status identity_decode(struct slice bytes, struct identity *identity)
{
    const uint8_t *at = bytes.data;
    if (bytes.size != IDENTITY_SIZE ||
        memcmp(at + AT_MAGIC, identity_magic, sizeof(identity_magic)) != 0) {
        return STATUS_CORRUPT;
    }
    if (codec_load_u32(at + AT_VERSION) > IDENTITY_VERSION) {
        return STATUS_UNSUPPORTED;
    }
    if (codec_load_u64(at + AT_CHECKSUM) !=
        checksum64(slice_make(at, AT_CHECKSUM), IDENTITY_VERSION)) {
        return STATUS_CORRUPT;
    }
    *identity = (struct identity){.id = codec_load_u32(at + AT_ID),
                                  .boot = codec_load_u32(at + AT_BOOT),
                                  .disk_id = codec_load_u64(at + AT_DISK_ID)};
    return STATUS_OK;
}

static enum status identity_read(struct env *env, const char *path, struct identity *identity)
{
    struct env_file *file = NULL;
    enum status status = env->ops->file_open(env, path, ENV_OPEN_READ, &file);
    if (status != STATUS_OK) {
        return status;
    }
    uint8_t bytes[IDENTITY_SIZE + 1];
    size_t got = 0;
    status = env->ops->file_read(file, 0, bytes, sizeof(bytes), &got);
    env->ops->file_close(file);
    if (status != STATUS_OK) {
        return status;
    }
    return identity_decode(slice_make(bytes, got), identity);
}

static enum status identity_write(struct env *env, const char *data_dir,
                                  const struct identity *identity)
{
    char path[IDENTITY_PATH_SIZE_MAX];
    char aside[IDENTITY_PATH_SIZE_MAX];
    path_in(path, data_dir, "NODE");
    path_in(aside, data_dir, "NODE.new");
    uint8_t bytes[IDENTITY_SIZE];
    identity_encode(bytes, identity);
    enum status status = env->ops->name_remove(env, aside);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        return status;
    }
    struct env_file *file = NULL;
    status = env->ops->file_open(env, aside, ENV_OPEN_CREATE, &file);
    if (status != STATUS_OK) {
        return status;
    }
    status = env->ops->file_write(file, 0, slice_make(bytes, sizeof(bytes)));
    if (status == STATUS_OK) {
        status = env->ops->file_sync(file);
    }
    env->ops->file_close(file);
    if (status == STATUS_OK) {
        status = env->ops->name_rename(env, aside, path);
    }
    return status == STATUS_OK ? env->ops->dir_sync(env, data_dir) : status;
}

/* Counts the names that are not left-overs of a first open that crashed. */
static void foreign_count(void *context, const char *name)
{
    uint32_t *count = context;
    *count += strcmp(name, "NODE.new") != 0 && strcmp(name, "LOCK") != 0;
}

static enum status identity_make(struct env *env, const char *data_dir, uint32_t id,
                                 struct identity *identity)
{
    uint32_t foreign = 0;
    enum status status = env->ops->dir_list(env, data_dir, foreign_count, &foreign);
    if (status != STATUS_OK) {
        return status;
    }
    if (foreign > 0) {
        log_error(env, "identity.missing", "dir=%s files=%u reason=\"not empty and no NODE file\"",
                  data_dir, foreign);
        return STATUS_REFUSED;
    }
    *identity = (struct identity){.id = id, .boot = 0, .disk_id = env_random(env) | 1};
    return STATUS_OK;
}

/* Before anything is in the folder its name is made durable: otherwise a crash could take the whole
 * folder. Also if it was there: whoever made it may have ended before that. */
static enum status folder_settle(struct env *env, const char *data_dir)
{
    char parent[IDENTITY_PATH_SIZE_MAX];
    (void)snprintf(parent, sizeof(parent), "%s", data_dir);
    char *slash = strrchr(parent, '/');
    if (slash == NULL) {
        (void)snprintf(parent, sizeof(parent), ".");
    } else {
        slash[slash == parent ? 1 : 0] = '\0';
    }
    return env->ops->dir_sync(env, parent);
}

enum status identity_look(struct env *env, const char *data_dir, struct identity *identity)
{
    char path[IDENTITY_PATH_SIZE_MAX];
    path_in(path, data_dir, "NODE");
    return identity_read(env, path, identity);
}

enum status identity_open(struct env *env, const char *data_dir, uint32_t id,
                          struct identity *identity)
{
    ASSERT(id != 0);
    enum status status = env->ops->dir_create(env, data_dir);
    if (status != STATUS_OK && status != STATUS_EXISTS) {
        return status;
    }
    char path[IDENTITY_PATH_SIZE_MAX];
    path_in(path, data_dir, "NODE");
    status = identity_read(env, path, identity);
    if (status == STATUS_NOT_FOUND) {
        status = folder_settle(env, data_dir);
        if (status == STATUS_OK) {
            status = identity_make(env, data_dir, id, identity);
        }
    }
    if (status != STATUS_OK) {
        log_error(env, "identity.unreadable", "path=%s status=\"%s\"", path, status_name(status));
        return status;
    }
    if (identity->id != id) {
        log_error(env, "identity.other_node", "dir=%s belongs_to=%u asked=%u", data_dir,
                  identity->id, id);
        return STATUS_REFUSED;
    }
    identity->boot++;
    return identity_write(env, data_dir, identity);
}
