/*
 * node/stream_files.h -- the folder of files on their way between engines, <data>/streams.
 *
 * None of them is worth anything to another process: what was merged is in the engine, and where a
 * stream goes on in a record. So all are removed at open.
 */
#ifndef NODE_STREAM_FILES_H
#define NODE_STREAM_FILES_H

#include <stdint.h>

#include "base/env.h"
#include "base/status.h"
#include "node/config.h"

#define STREAM_PATH_SIZE_MAX (CONFIG_PATH_SIZE_MAX + 64)

/* Blocks. Makes the folder if need be, and empties it. */
MUST_USE enum status stream_files_open(struct env *env, const char *data_dir);

enum stream_file { STREAM_FILE_IN, STREAM_FILE_OUT };
void stream_file_path(char path[STREAM_PATH_SIZE_MAX], const char *data_dir, enum stream_file kind,
                      uint64_t id);

#endif
