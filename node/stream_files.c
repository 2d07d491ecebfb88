/* node/stream_files.c -- names of files of streams, and their end. */
#include "node/stream_files.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"

#define STREAM_DIR "streams"

struct clearing {
    struct env *env;
    const char *dir;
    enum status status;
};

static void name_clear(void *context, const char *name)
{
    struct clearing *clearing = context;
    char path[STREAM_PATH_SIZE_MAX + CONFIG_PATH_SIZE_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", clearing->dir, name);
    enum status status = clearing->env->ops->name_remove(clearing->env, path);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        log_error(clearing->env, "streams.remove_failed", "path=%s status=\"%s\"", path,
                  status_name(status));
        clearing->status = status;
    }
}

enum status stream_files_open(struct env *env, const char *data_dir)
{
    char dir[STREAM_PATH_SIZE_MAX];
    struct clearing clearing = {.env = env, .dir = dir, .status = STATUS_OK};
    (void)snprintf(dir, sizeof(dir), "%s/%s", data_dir, STREAM_DIR);
    enum status status = env->ops->dir_create(env, dir);
    if (status != STATUS_OK && status != STATUS_EXISTS) {
        return status;
    }
    status = env->ops->dir_list(env, dir, name_clear, &clearing);
    return status == STATUS_OK ? clearing.status : status;
}

void stream_file_path(char path[STREAM_PATH_SIZE_MAX], const char *data_dir, enum stream_file kind,
                      uint64_t id)
{
    const char *prefix = kind == STREAM_FILE_IN ? "in" : "out";
    (void)snprintf(path, STREAM_PATH_SIZE_MAX, "%s/%s/%s-%" PRIu64 ".sst", data_dir, STREAM_DIR,
                   prefix, id);
}
