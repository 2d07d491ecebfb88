/* base/file_load.c -- a whole file into memory. */
#include "base/file_load.h"

enum status file_load(struct env *env, const char *path, uint64_t size_max, struct buffer *bytes)
{
    struct env_file *file = NULL;
    enum status status = env->ops->file_open(env, path, ENV_OPEN_READ, &file);
    if (status != STATUS_OK) {
        return status;
    }
    uint64_t size = 0;
    status = env->ops->file_size(file, &size);
    if (status == STATUS_OK && size > size_max) {
        status = STATUS_CORRUPT;
    }
    if (status == STATUS_OK && size > 0) {
        size_t got = 0;
        uint8_t *to = buffer_reserve(bytes, size);
        status = to == NULL ? STATUS_NO_MEMORY : env->ops->file_read(file, 0, to, size, &got);
        if (status == STATUS_OK) {
            buffer_commit(bytes, got);
        }
    }
    env->ops->file_close(file);
    return status;
}
