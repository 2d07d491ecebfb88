/*
 * lsm/block.h -- the unit tables are read in: sorted entries, sealed by a checksum.
 *
 * A block's entries are prefix-compressed against the one before, with full keys at restarts for
 * binary search. Blocks of cells also carry a tag per entry, a byte of its key's hash, by which a
 * get finds the run of entries that may hold its key. Sealing compresses where that pays and adds a
 * checksum bound to file and place. Indexes, filters and properties are sealed the same way, so no
 * byte of a table goes unchecked. The layout is docs/formats/table.md.
 * Invariants:
 *  (1) Whatever the bytes, no function here reads outside them; malformed ones are STATUS_CORRUPT.
 *  (2) A sealed block opens only under the nonce and offset it was sealed with.
 */
#ifndef LSM_BLOCK_H
#define LSM_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/slice.h"
#include "base/status.h"
#include "lsm/lsm.h"

#define BLOCK_RESTART_INTERVAL 8
#define BLOCK_TRAILER_SIZE 13
/* A block of one greatest entry, and anything smaller. */
#define BLOCK_RAW_SIZE_MAX (LSM_VALUE_SIZE_MAX + LSM_KEY_SIZE_MAX + (1u << 20))
#define BLOCK_SEALED_SIZE_MAX (BLOCK_RAW_SIZE_MAX + BLOCK_TRAILER_SIZE)

/* Collects entries. A zeroed struct is an empty builder. */
struct block_builder {
    struct buffer entries;
    struct buffer restarts; /* u32 each */
    struct buffer tags;     /* One byte each; empty if the block has none. */
    struct buffer raw;      /* A finished tagged block. */
    struct buffer last_key;
    uint32_t entry_count;
};

void block_builder_deinit(struct block_builder *builder);
void block_builder_clear(struct block_builder *builder); /* Keeps the memory. */
/* Bytes that block_builder_finish() would give. */
size_t block_builder_size(const struct block_builder *builder);
/* Keys strictly ascend. Memory failure shows at finish. */
void block_builder_add(struct block_builder *builder, struct slice key, struct slice cell);
/* The same, in a block all of whose entries are added so; `key_hash` is checksum64(key, 0). */
void block_builder_add_tagged(struct block_builder *builder, struct slice key, uint64_t key_hash,
                              struct slice cell);
/* *raw borrows until the builder's next call; at least one entry. STATUS_NO_MEMORY. */
MUST_USE enum status block_builder_finish(struct block_builder *builder, struct slice *raw);

struct block_place {
    uint64_t nonce;  /* Of the file. */
    uint64_t offset; /* Of the sealed block in it. */
};

/* Appends the sealed form of `raw`; compressed only if asked and if it saves enough. */
void block_seal(struct buffer *to, struct slice raw, bool compress, struct block_place place);
/*
 * `sealed` holds a sealed block and nothing else; a compressed one is decompressed behind it in
 * the same buffer. *raw borrows from the buffer. STATUS_CORRUPT, STATUS_NO_MEMORY
 */
MUST_USE enum status block_unseal(struct buffer *sealed, struct block_place place,
                                  struct slice *raw);

/* Both of sealed bytes that no check has been through yet, so what they say may be wrong: bytes of
 * the raw block in them; whether its tags, as far as they are not packed, know no such key. */
size_t block_sealed_raw_size(struct slice sealed);
bool block_sealed_excludes(struct slice sealed, uint64_t key_hash);

/* The cell of `key` in a raw block, by tags or else by binary search; borrows from it.
 * STATUS_NOT_FOUND, STATUS_CORRUPT */
MUST_USE enum status block_get(struct slice raw, struct slice key, uint64_t key_hash,
                               struct slice *cell);
/* Both in one, for who wants nothing else of the block: unpacks no more than it takes, and nothing
 * if the tags know no such key. STATUS_NOT_FOUND, STATUS_CORRUPT, STATUS_NO_MEMORY */
MUST_USE enum status block_get_sealed(struct buffer *sealed, struct block_place place,
                                      struct slice key, uint64_t key_hash, struct slice *cell);

#endif
