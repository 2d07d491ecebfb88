/*
 * base/cell.h -- versions and cells: what a key holds, and which of two wins.
 *
 * Everything merges by maximum: of two cells for one key the one that cell_compare() puts higher
 * wins, everywhere and always, so merging is idempotent and its order never matters.
 * Invariants:
 *  (1) A version is never used for two different values.
 *  (2) cell_compare() is a total order on (version, stamp, kind, expiry): greater version, then
 *      greater expiry stamp, then a delete, then the later expiry (two nodes may stamp in the same
 *      instant). Two cells equal in all four hold the same bytes.
 * The encoding is docs/formats/cell.md.
 */
#ifndef BASE_CELL_H
#define BASE_CELL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/codec.h"
#include "base/slice.h"
#include "base/status.h"

/* Zero sorts below every version that was ever issued, and means "none". */
struct version {
    uint64_t time;     /* HLC: 48 bits of Unix milliseconds, 16 of counter (base/hlc.h). */
    uint32_t node;     /* Who issued it; 0 for none. */
    uint32_t sequence; /* Successive ballots of one run; 0 otherwise. */
};

enum cell_kind {
    CELL_VALUE = 0,
    CELL_DELETE = 1,  /* A tombstone; its value is empty. */
    CELL_PROMISE = 2, /* Of strong keyspaces; kept beside the value under a key of its own. */
};

struct cell {
    struct version version;
    uint64_t stamp;     /* HLC of the last expiry change alone; 0 if there was none. */
    uint64_t expiry_ms; /* Unix milliseconds from which the cell counts as deleted; 0 never. */
    enum cell_kind kind;
    struct slice window; /* Operation window of strong keyspaces, opaque here; may be empty. */
    struct slice value;  /* Borrows from what it was decoded from or given. */
};

#define VERSION_SIZE 16
#define CELL_HEADER_SIZE_MAX (1 + VERSION_SIZE + 8 + 8 + CODEC_VARINT_SIZE_MAX)

/* Negative, 0 or positive. */
int version_compare(struct version a, struct version b);
void version_put(struct buffer *buffer, struct version version);
struct version version_get(struct codec_reader *reader);

int cell_compare(const struct cell *a, const struct cell *b);
/* Whether a reader at `now_ms` sees a value in it. */
bool cell_is_live(const struct cell *cell, uint64_t now_ms);
size_t cell_encoded_size(const struct cell *cell);
/* Writes exactly cell_encoded_size() bytes. */
void cell_encode(const struct cell *cell, uint8_t *to);
void cell_put(struct buffer *buffer, const struct cell *cell);
/* Takes all of `bytes`; slices of *cell borrow from it.
 * STATUS_CORRUPT  malformed, a reserved bit set, or a delete that carries a value. */
MUST_USE enum status cell_decode(struct slice bytes, struct cell *cell);
/* Whether encoded bytes are a cell that is dead at `now_ms`, a delete or expired, by looking at its
 * first bytes alone; false for any other, and for most malformed bytes. *dead_ms: from when on it
 * is; 0 for a delete. */
bool cell_peek_dead(struct slice bytes, uint64_t now_ms, uint64_t *dead_ms);
/* Whether it is a value without expiry, like nearly every cell: then it is not dead. */
static inline bool cell_peek_plain(struct slice bytes)
{
    return bytes.size > 0 && bytes.data[0] == CELL_VALUE;
}

/* The version alone, of bytes that may be anything; false if there is none in them. */
static inline bool cell_version_peek(struct slice bytes, struct version *version)
{
    if (bytes.size < 1 + VERSION_SIZE) {
        return false;
    }
    *version = (struct version){
        .time = codec_load_u64(bytes.data + 1),
        .node = codec_load_u32(bytes.data + 9),
        .sequence = codec_load_u32(bytes.data + 13),
    };
    return true;
}

#endif
