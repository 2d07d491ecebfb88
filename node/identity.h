/*
 * node/identity.h -- whose data folder this is, and how often it was opened.
 *
 * A folder belongs to one node id for ever. `disk_id` is drawn when the folder is made, so that
 * peers notice a node that comes back wiped under its old id; `boot` counts the opens, so that
 * numbers made from it never repeat even when clocks go back.
 * The file NODE is written aside, synced and renamed; see docs/formats/identity.md.
 */
#ifndef NODE_IDENTITY_H
#define NODE_IDENTITY_H

#include <stdint.h>

#include "base/env.h"
#include "base/status.h"

struct identity {
    uint32_t id;
    uint32_t boot; /* 1 at the first open. */
    uint64_t disk_id;
};

/*
 * Blocks. Makes the folder if its parent exists; counts this open durably.
 * STATUS_REFUSED  the folder belongs to another node id, or holds files but no identity: logged.
 * STATUS_CORRUPT, STATUS_UNSUPPORTED, STATUS_IO, STATUS_NO_SPACE, STATUS_NO_MEMORY
 */
MUST_USE enum status identity_open(struct env *env, const char *data_dir, uint32_t id,
                                   struct identity *identity);

/* Blocks. Whose folder it is; counts nothing. STATUS_NOT_FOUND, STATUS_CORRUPT, STATUS_UNSUPPORTED,
 * STATUS_IO */
MUST_USE enum status identity_look(struct env *env, const char *data_dir,
                                   struct identity *identity);

#endif
