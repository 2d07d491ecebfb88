/*
 * base/file_load.h -- a whole file into memory, for the small ones: logs and manifests at open.
 */
#ifndef BASE_FILE_LOAD_H
#define BASE_FILE_LOAD_H

#include "base/buffer.h"
#include "base/env.h"
#include "base/status.h"

/* Blocks, as all file calls. Appends what the file holds; an empty file appends nothing.
 * STATUS_CORRUPT    it is larger than `size_max`.
 * STATUS_NO_MEMORY, and as file_open and file_read. */
MUST_USE enum status file_load(struct env *env, const char *path, uint64_t size_max,
                               struct buffer *bytes);

#endif
