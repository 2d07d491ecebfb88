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

#endif
