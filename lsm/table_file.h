/*
 * lsm/table_file.h -- the files of tables, of which only so many are open at a time.
 *
 * Why: a large store has more tables than a process may have files open. What is read is opened
 * again when it is; which tables there are does not depend on it.
 * Contract:
 *  (1) A file that stands in no pool stays open until table_file_close(). In a pool it may be
 *      closed whenever nobody reads it, and is opened again by the next read that may block.
 *  (2) A pool has at most `open_max` files open beside those that are being read at that moment.
 *  (3) Reads come from any threads. No lock is held over I/O, and a read that may not block waits
 *      for nothing: it says STATUS_WOULD_BLOCK of a file that is closed.
 *  (4) The name must lead to the same file for as long as it may be read.
 */
#ifndef LSM_TABLE_FILE_H
#define LSM_TABLE_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/contract.h"
#include "base/env.h"
#include "base/list.h"
#include "base/mutex.h"
#include "base/status.h"
#include "lsm/lsm.h"

struct table_files {
    struct env *env;
    uint32_t open_max;
    struct mutex mutex;              /* Guards the next three, and which files are open. */
    struct list_node ring;           /* table_file.node of open ones; the hand is at the first. */
    _Atomic uint64_t open_count;     /* Changed under the mutex. */
    _Atomic uint64_t reopened_count; /* Times a file that was closed was opened again. */
};

struct table_file {
    struct env *env;
    char *path;               /* Owned. */
    struct env_file *file;    /* While it is open. */
    struct table_files *pool; /* NULL: none. */
    struct list_node node;    /* In the pool's ring while it is open. */
    _Atomic uint32_t state;   /* How many read it, and whether it is open. */
    _Atomic bool used;        /* Read again since it was opened, or since the hand came by. */
};

void table_files_init(struct table_files *pool, struct env *env, uint32_t open_max);
void table_files_deinit(struct table_files *pool); /* All of its files were closed. */

/* STATUS_NOT_FOUND, STATUS_IO, STATUS_NO_MEMORY */
MUST_USE enum status table_file_open(struct env *env, const char *path, struct table_file **file);
/* Puts an open file into the pool, where another one may be closed for it. Before it is shared. */
void table_file_pool(struct table_file *file, struct table_files *pool);
/* Harmless on NULL. Nobody reads it. */
void table_file_close(struct table_file *file);
/* Of one that stands in no pool yet. STATUS_IO */
MUST_USE enum status table_file_size(const struct table_file *file, uint64_t *size);
/* Bytes of heap it holds. */
uint64_t table_file_memory(const struct table_file *file);

/*
 * As file_read, or with LSM_NOWAIT as file_read_nowait.
 * STATUS_WOULD_BLOCK  only with LSM_NOWAIT.
 * STATUS_IO           also if it cannot be opened again; logged.
 */
MUST_USE enum status table_file_read(struct table_file *file, uint64_t offset, void *to,
                                     size_t size, enum lsm_wait wait, size_t *got);

#endif
