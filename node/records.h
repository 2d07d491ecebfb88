/*
 * node/records.h -- the node's own records, kept as cells of the engine beside the users' keys.
 *
 * Their keys begin with 0xff, which is no slot (base/token.h). Like all cells they merge by
 * maximum, so a late or repeated write never takes one back.
 */
#ifndef NODE_RECORDS_H
#define NODE_RECORDS_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/cell.h"
#include "base/status.h"
#include "lsm/lsm.h"

#define RECORDS_KEY_SIZE_MAX 8

enum records_kind {
    RECORDS_CLOCK = 'c',    /* HLC high-water mark: version.time is the mark. */
    RECORDS_TOPOLOGY = 't', /* The newest topology adopted: an encoded topology. */
    RECORDS_DISK = 'd',     /* By node id: the disk id first heard of it, 8 bytes. */
    RECORDS_FENCE = 'f',    /* By range: holding_record.h. */
    RECORDS_STREAM = 's',   /* By range: stream_record.h. */
};

/* One record being written; the owner keeps it until `done`. */
struct records_write {
    void (*done)(struct records_write *write, enum status status);
    struct lsm_write write; /* records.c's. */
};

/* Blocks. STATUS_NOT_FOUND if it was never written; else as lsm_get. */
MUST_USE enum status records_read(struct lsm *lsm, enum records_kind kind, uint32_t id,
                                  struct buffer *scratch, struct cell *cell);
/* Synced. If this does not return STATUS_OK, `done` is not called. */
MUST_USE enum status records_put(struct lsm *lsm, enum records_kind kind, uint32_t id,
                                 struct version version, struct slice value,
                                 struct records_write *write);

struct records_entry {
    uint32_t id;
    struct version version;
    struct slice value;
};
#define RECORDS_ENTRY_COUNT_MAX 1024u
/* Several of one kind in one batch: over a crash all of them are there, or none. Entries and values
 * need to live only until the call returns. Else as records_put. */
MUST_USE enum status records_put_many(struct lsm *lsm, enum records_kind kind,
                                      const struct records_entry *entries, uint32_t count,
                                      struct records_write *write);
/* Blocks. Every record of a kind in order of ids; a status of `each` ends the walk and is returned.
 * `cell` borrows until `each` returns. */
MUST_USE enum status records_walk(struct lsm *lsm, enum records_kind kind,
                                  enum status (*each)(void *context, uint32_t id,
                                                      const struct cell *cell),
                                  void *context);

#endif
