/*
 * lsm/wal.h -- the log: what was written is here before it is anywhere else on disk.
 *
 * Why groups: one write and one sync carry every batch that gathered while the last ones were
 * under way, so the cost of a sync is shared without anybody waiting for company.
 * Contract:
 *  (1) A position counts encoded record bytes since the engine was made; headers and padding do
 *      not count, so a batch knows its position before it is known where in a file it will lie.
 *  (2) Groups are written one after another. One is in flight at most; the next fills meanwhile.
 *  (3) A segment is synced whole before the first group of the next is written. So damage below
 *      the first position of a later segment is never a torn tail.
 *  (4) All functions run under the owner's write lock, except wal_run() and wal_segment_create(),
 *      which run on lanes and touch only what is in flight. A group is chosen on the lane, by
 *      wal_next(), just before it is written: so it takes all that came until then.
 * The layout is docs/formats/wal.md.
 */
#ifndef LSM_WAL_H
#define LSM_WAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/cell.h"
#include "base/env.h"
#include "base/list.h"
#include "lsm/arena.h"
#include "lsm/lsm.h"

#define WAL_FORMAT_VERSION 2
#define WAL_SEGMENT_HEADER_SIZE 512u /* One sector: written whole or not at all. */
#define WAL_GROUP_HEADER_SIZE 48u
#define WAL_GROUP_SIZE_MAX (1u << 20) /* Of several batches; a larger batch is a group alone. */
#define WAL_SEGMENT_SIZE_MIN (64u << 10)
#define WAL_BUCKET_COUNT 4096u
#define WAL_FREE_GROUP_COUNT_MAX 4u
#define WAL_SYNC_DISTANCE_MAX (256u << 10) /* Records between syncs that come often. */
#define WAL_PACK_SIZE_MIN 1024u            /* Smaller groups would not save a sector. */
#define WAL_PACK_RECORD_SIZE_MAX 4096u     /* On average; larger ones are packed in tables alone. */
#define WAL_RECORD_HEADER_SIZE_MAX (2u * CODEC_VARINT_SIZE_MAX)

struct wal_group_header {
    uint64_t position;  /* Of its first record. */
    uint64_t watermark; /* All before it was synced when this was written. */
    uint32_t record_count;
    uint32_t body_size;
    uint32_t packed_size;   /* Of the body as it stands in the file, packed; 0: it is not. */
    uint64_t body_checksum; /* As it stands there. */
};

/* The seed of all checksums at one place: bytes of another file or offset never pass. */
uint64_t wal_seed(uint64_t nonce, uint64_t offset);
void wal_group_header_encode(const struct wal_group_header *header, uint64_t seed,
                             uint8_t to[WAL_GROUP_HEADER_SIZE]);
/* STATUS_NOT_FOUND: no group begins here. */
MUST_USE enum status wal_group_header_decode(const uint8_t from[WAL_GROUP_HEADER_SIZE],
                                             uint64_t seed, struct wal_group_header *header);
/* A cheap look: whether a group may begin here. */
bool wal_group_begins(const uint8_t from[WAL_GROUP_HEADER_SIZE]);
/* Bytes of the body as it stands in the file. */
static inline uint32_t wal_group_stored_size(const struct wal_group_header *header)
{
    return header->packed_size > 0 ? header->packed_size : header->body_size;
}
/* Bytes a group takes in its segment. */
static inline uint64_t wal_group_room(uint64_t stored_size)
{
    uint64_t size = WAL_GROUP_HEADER_SIZE + stored_size;
    return (size + ENV_SECTOR_SIZE - 1) / ENV_SECTOR_SIZE * ENV_SECTOR_SIZE;
}
/*
 * The records of a group, of which `rest` is what follows its header in the file; they lie there,
 * or in `unpacked`, until its next use.
 * STATUS_NOT_FOUND: torn or damaged; STATUS_CORRUPT: written so; STATUS_NO_MEMORY.
 */
MUST_USE enum status wal_group_body(const struct wal_group_header *header, uint64_t seed,
                                    struct slice rest, struct buffer *unpacked, struct slice *body);

struct wal_segment_header {
    uint64_t id;
    uint64_t nonce;
};
void wal_segment_header_encode(const struct wal_segment_header *header,
                               uint8_t to[WAL_SEGMENT_HEADER_SIZE]);
/* STATUS_CORRUPT, STATUS_UNSUPPORTED */
MUST_USE enum status wal_segment_header_decode(const uint8_t from[WAL_SEGMENT_HEADER_SIZE],
                                               struct wal_segment_header *header);

/* One record of a group's body; both slices borrow from it. */
void wal_record_get(struct codec_reader *reader, struct slice *key, struct slice *cell);
/* Encoded size of a batch; STATUS_INVALID for a bad key, STATUS_TOO_LARGE. */
MUST_USE enum status wal_batch_size(const struct lsm_record *records, uint32_t record_count,
                                    uint64_t *size);

struct wal_segment {
    uint64_t id;
    uint64_t nonce;
    struct env *env;
    uint64_t capacity;      /* Bytes reserved on the disk. */
    uint64_t end_offset;    /* Where the next group goes. */
    uint64_t last_position; /* All its records end at or before it. */
    struct env_file *file;  /* NULL once it is written full. */
    struct list_node node;
};

/* Makes an empty segment file, writes all of it and syncs it; its name too. Blocks for as long as
 * that takes: the pool goes by wal_spare.h, slice by slice. */
MUST_USE enum status wal_segment_create(struct env *env, const char *folder,
                                        const struct wal_segment_header *header, uint64_t capacity,
                                        struct wal_segment **segment);
/* Reserves more, for a group larger than a segment usually is. Blocks. */
MUST_USE enum status wal_segment_grow(struct wal_segment *segment, uint64_t capacity);
void wal_segment_destroy(struct wal_segment *segment); /* Closes, leaves the file. */
/* "<folder>/<16 hex digits>.wal"; the caller frees. */
MUST_USE char *wal_segment_path(const char *folder, uint64_t id);

struct wal_group {
    struct buffer bytes;     /* Room for the header, then records. */
    struct list_node writes; /* lsm_write.node, in order. */
    struct list_node queued; /* wal_queued.group_node */
    struct arena arena;      /* Of the queued entries. */
    uint64_t start_position;
    uint64_t end_position;
    uint32_t record_count;
    bool buffered; /* Some of its records are of buffered writes. */
    struct version buffered_version_min;
    bool sync;
    bool idle; /* No records: syncs what is unsynced, then writes a watermark. */
    struct list_node node;
};

struct wal {
    struct env *env;
    uint64_t segment_size;
    uint64_t group_size_max;
    uint64_t position;        /* Just after the last batch accepted. */
    uint64_t queue_size;      /* Bytes accepted and not yet applied. */
    struct list_node filling; /* wal_group.node, oldest first. */
    struct wal_group *in_flight;
    struct list_node written; /* Not retired yet. */
    struct list_node free_groups;
    uint32_t free_group_count;
    struct list_node *buckets; /* wal_queued.bucket_node by key hash. */

    struct list_node segments;    /* Live, oldest first; the last is written to. */
    struct wal_segment *current;  /* That one; wal_run() must not look at the list. */
    struct wal_segment *ready;    /* The next one, prepared; NULL while there is none. */
    struct wal_segment *retiring; /* Full: the group in flight syncs and closes it. */

    uint64_t sync_asked_position; /* Of the last write that asked for a sync; 0: none did. */
    bool failed;                  /* A run failed: nothing more is written. */
    uint64_t used_offset;         /* Of the current segment, when the last group was done. */

    /* Owned by the group in flight. */
    uint64_t written_position;
    uint64_t synced_position;
    uint64_t watermark;   /* The last one written. */
    struct buffer packed; /* The group, if it is written packed. */
    uint64_t bytes_written;
    uint64_t sync_count;
};

/* STATUS_NO_MEMORY. The first segment is added by wal_segment_add(). */
MUST_USE enum status wal_init(struct wal *wal, struct env *env, uint64_t segment_size,
                              uint64_t position);
/* Closes all files. Nothing may be in flight, and no write be left: see wal_take_writes(). */
void wal_deinit(struct wal *wal);
void wal_segment_add(struct wal *wal, struct wal_segment *segment);
/* After a failure: the log goes on at its position in `segment`. All others go to `dead`. Nothing
 * may be in flight or fill. */
void wal_restart(struct wal *wal, struct wal_segment *segment, struct list_node *dead);

/* Copies the batch; `size` as wal_batch_size() said. STATUS_NO_MEMORY. */
MUST_USE enum status wal_append(struct wal *wal, struct lsm_write *write, uint64_t size);
/* The bytes of the records appended last, `size` of them; until the next call. */
struct slice wal_last_bytes(const struct wal *wal, uint32_t size);
/* Whether callers wait for syncs so often that what a sync costs matters. */
static inline bool wal_is_synced_often(const struct wal *wal)
{
    return wal->sync_asked_position != 0 &&
           wal->position - wal->sync_asked_position <= WAL_SYNC_DISTANCE_MAX;
}
/* A group without records; see wal_group.idle. STATUS_NO_MEMORY. */
MUST_USE enum status wal_append_idle(struct wal *wal);

enum wal_next {
    WAL_NOTHING,        /* A group is in flight, none waits, or a run failed. */
    WAL_RUN,            /* There is one to write. */
    WAL_SEGMENT_NEEDED, /* Set wal->ready to a segment of at least *capacity, then ask again. */
};
/* What wal_next() would say now. */
enum wal_next wal_look(const struct wal *wal, uint64_t *capacity);
/* WAL_RUN: wal->in_flight is set: wal_run() follows. */
enum wal_next wal_next(struct wal *wal, uint64_t *capacity);
/* Writes the group in flight, and syncs if it asks for it. Any failure is final. */
MUST_USE enum status wal_run(struct wal *wal);
/* The group just written leaves, `status` being what wal_run() said; its writes are the caller's.
 */
struct wal_group *wal_take_done(struct wal *wal, enum status status);
/* After its records are applied. */
void wal_group_retire(struct wal *wal, struct wal_group *group);
/* Moves every write not yet answered to `writes`, in order, and forgets their records. */
void wal_take_writes(struct wal *wal, struct list_node *writes);
/* The least version among queued records of buffered writes; false if there is none. */
bool wal_buffered_version_min(const struct wal *wal, struct version *version_min);
/* Of synced writes that are accepted and not yet retired; zero if none. */
struct version wal_queued_version(const struct wal *wal, struct slice key);

#endif
