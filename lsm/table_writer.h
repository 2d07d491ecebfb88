/*
 * lsm/table_writer.h -- writes a table, entry by entry, in order.
 *
 * Memory is bounded by one block, one chunk, the hashes of one filter and the index, whatever the
 * size of the table. All calls block, as file calls do, and run in jobs; a writer may go from job
 * to job, and from thread to thread between them.
 * Invariants:
 *  (1) Keys strictly ascend.
 *  (2) After finish the file's bytes are synced, unless it is passing; its name is durable only
 * after the caller's dir_sync.
 */
#ifndef LSM_TABLE_WRITER_H
#define LSM_TABLE_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "lsm/table.h"

#define TABLE_BLOCK_SIZE_MIN 512u
/* A cached block and the cache's header fill a page. */
#define TABLE_BLOCK_SIZE_DEFAULT (4096u - CACHE_ENTRY_HEADER_SIZE)
#define TABLE_BLOCK_SIZE_MAX (1u << 20)
/* Bytes of a sealed index part: small enough to be cached one by one. */
#define TABLE_INDEX_PART_SIZE 4096u
/* A filter is closed at the end of the first block that brings it to so many keys. */
#define TABLE_FILTER_KEY_COUNT 16384u

struct table_writer;

/*
 * Bits per key of a filter, where `average` is meant over all tables. A get for a key that is not
 * there asks every run, so a false "maybe" costs the same in the bottom, which has four fifths of
 * the keys, as in a run of a tier, which has a few hundredths: bits are moved to where few keys
 * need them. Eight runs of tiers over a bottom: 2 false ones in 100 such gets, and not 8.
 *
 * Source: Dayan, Athanassoulis, Idreos, "Monkey: Optimal Navigable Key-Value Store" (2017).
 * Changed: two classes are enough, as lines of 512 bits gain little from bits beyond 14 a key.
 */
uint32_t table_filter_bits(uint32_t average, bool bottom);

struct table_writer_options {
    uint32_t block_size;         /* Raw bytes aimed at; 0: the default. */
    uint32_t bloom_bits_per_key; /* 0: no filters. */
    bool compress;               /* lz4, for blocks where it pays. */
    uint64_t nonce;              /* 0: drawn from the env. Anything else is for golden files. */
    bool passing;                /* Not synced: the file need not outlive a crash. */
};

/* Creates the file. STATUS_EXISTS, STATUS_NO_SPACE, STATUS_IO, STATUS_NO_MEMORY */
MUST_USE enum status table_writer_open(struct env *env, const char *path,
                                       const struct table_writer_options *options,
                                       struct table_writer **writer);
/*
 * `cell` as cell_encode() writes it. After a failure only table_writer_close() may follow.
 * STATUS_CORRUPT  the cell does not decode.
 * STATUS_NO_SPACE, STATUS_IO, STATUS_NO_MEMORY
 */
MUST_USE enum status table_writer_add(struct table_writer *writer, struct slice key,
                                      struct slice cell);
uint64_t table_writer_entry_count(const struct table_writer *writer);
/* Bytes the file would have if finished now, about. */
uint64_t table_writer_size(const struct table_writer *writer);
/* Ends the file and syncs it, unless it is passing; at least one entry. *properties is complete;
 * its key bounds borrow from the writer until it is closed. */
MUST_USE enum status table_writer_finish(struct table_writer *writer,
                                         struct table_properties *properties);
/* Frees all. A file that was not finished is removed. Harmless on NULL. */
void table_writer_close(struct table_writer *writer);

#endif
