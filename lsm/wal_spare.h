/*
 * lsm/wal_spare.h -- files that wait to be log segments.
 *
 * Why: the sync of a group flushes data alone if the file's length and extents stay as they are,
 * and that takes less than half as long; so while syncs come, a segment's bytes are all written
 * before it takes its first group. A segment that is dead has that behind it: it is kept under
 * another name, and used again. What its old bytes say is not looked at, since checksums are seeded
 * by the new nonce. Who keeps how many, and when, is segment.h's.
 * Contract:
 *  (1) All functions block, and run in jobs.
 *  (2) A spare file holds nothing that counts: it may be removed at any time, and after a crash it
 *      may have any content and size.
 *  (3) One writes at most WAL_SPARE_SLICE_SIZE bytes a call.
 */
#ifndef LSM_WAL_SPARE_H
#define LSM_WAL_SPARE_H

#include <stdint.h>

#include "base/env.h"
#include "lsm/wal.h"

#define WAL_SPARE_COUNT_MAX 4u
#define WAL_SPARE_SLICE_SIZE (1u << 20)

/* One that is being made or taken into use. Zeroed: none. */
struct wal_spare {
    uint64_t id; /* 0: none. */
    uint64_t capacity;
    uint64_t written;      /* Bytes from the start that are written and synced. */
    struct env_file *file; /* NULL if none is open. */
};

/* "<folder>/<16 hex digits>.spare"; the caller frees. */
MUST_USE char *wal_spare_path(const char *folder, uint64_t id);
/* Makes the file and reserves its space. STATUS_NO_SPACE, STATUS_IO, STATUS_NO_MEMORY, and then
 * there is none. */
MUST_USE enum status wal_spare_create(struct env *env, const char *folder, uint64_t id,
                                      uint64_t capacity, struct wal_spare *spare);
/* One that is there already, and whole. */
MUST_USE enum status wal_spare_open(struct env *env, const char *folder, uint64_t id,
                                    uint64_t capacity, struct wal_spare *spare);
/* Writes the next slice of zeros, until `written` is `capacity`. */
MUST_USE enum status wal_spare_fill(struct env *env, struct wal_spare *spare);
/* It becomes a segment, filled to its end or not, its name durable; then *spare is none. On failure
 * it is as it was, and only fit to be removed. */
MUST_USE enum status wal_spare_use(struct env *env, const char *folder,
                                   const struct wal_segment_header *header, struct wal_spare *spare,
                                   struct wal_segment **segment);
/* Closes it and removes the file; then *spare is none. */
void wal_spare_remove(struct env *env, const char *folder, struct wal_spare *spare);
/* The file of a dead segment, that nobody has open, becomes a spare one of the same id. */
MUST_USE enum status wal_spare_keep(struct env *env, const char *folder, uint64_t id);

#endif
