/*
 * raft/group_state.h -- what a server of the group must remember, and the records that change it.
 *
 * Why a memory image: the guard compares what comes in with our own log, the library is given its
 * log from here at start, and a new generation of the file is written from here. It holds every
 * record handed to the disk, also those not yet durable.
 * Invariants:
 *  (1) Replaying the records of a file gives the state that wrote them.
 *  (2) Entries are dense: the one after the last is last_index + 1; the log begins at or before
 *      the entry after the mark.
 *  (3) A term never goes back; a vote changes only with the term, or from none.
 */
#ifndef RAFT_GROUP_STATE_H
#define RAFT_GROUP_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/slice.h"
#include "base/status.h"

#define GROUP_ENTRY_SIZE_MAX ((1u << 20) + 64) /* A command with its envelope. */
#define GROUP_SNAPSHOT_SIZE_MAX (64u << 20)
#define GROUP_CONFIGURATION_SIZE_MAX 4096
/* No group gets here in a thousand years of elections; a forged or damaged one might. */
#define GROUP_TERM_MAX (UINT64_C(1) << 40)
#define GROUP_INDEX_MAX (UINT64_C(1) << 48)

/* The numbers are the library's and stand on disk and in messages. */
enum group_entry_type {
    GROUP_ENTRY_COMMAND = 1,
    GROUP_ENTRY_BARRIER = 2,
    GROUP_ENTRY_CHANGE = 3,
};

struct group_entry {
    uint64_t term;
    uint8_t *data; /* Owned by the state. */
    uint32_t size;
    uint16_t type; /* enum group_entry_type */
};

/* What a snapshot stands for; all 0 while there is none. */
struct group_mark {
    uint64_t generation; /* Names its file. */
    uint64_t index;      /* Of the last entry in it. */
    uint64_t term;
    uint64_t configuration_index;
    uint64_t checksum; /* Of its file. */
};

/* The memory image of the log file, every queued write included. */
struct group_state {
    uint64_t term;
    uint64_t vote;
    /* The log began empty and has not reached what was committed when this server was added: the
     * configurations in it are history, and it may have promised things it does not remember. */
    bool newcomer;
    struct group_entry *entries; /* Of the indices start_index, start_index + 1, ... */
    size_t entry_count;
    size_t entry_capacity;
    uint64_t start_index;
    uint64_t change_index; /* The last configuration entry among them; 0: none. */
    struct group_mark mark;
    struct buffer configuration; /* As of the mark. */
};

void group_state_init(struct group_state *state);
void group_state_deinit(struct group_state *state);
uint64_t group_state_last_index(const struct group_state *state);
uint64_t group_state_term_of(const struct group_state *state, uint64_t index); /* 0: unknown. */
/* The entry at `index`, or NULL; borrows until the state changes. */
const struct group_entry *group_state_entry(const struct group_state *state, uint64_t index);
/* Copies; the index is last_index + 1. */
MUST_USE enum status group_state_append(struct group_state *state, uint64_t term, uint16_t type,
                                        struct slice data);
void group_state_truncate(struct group_state *state, uint64_t index); /* Drops it and later ones. */
void group_state_drop_until(struct group_state *state, uint64_t index); /* Drops it and earlier. */
/* Index of the last configuration entry below `limit`, or 0. */
uint64_t group_state_configuration_index(const struct group_state *state, uint64_t limit);

/* Records, appended to a buffer in the order of their promises. */
void group_record_vote(struct buffer *to, uint64_t term, uint64_t vote);
void group_record_append(struct buffer *to, uint64_t index, const struct group_entry *entry);
void group_record_truncate(struct buffer *to, uint64_t index);
void group_record_newcomer(struct buffer *to, bool newcomer);
/* A base, then term, vote, entries and whether it is a newcomer: all that a new generation starts
 * with. */
void group_record_state(struct buffer *to, const struct group_state *state);
/* Applies the records of `payload`. STATUS_CORRUPT, STATUS_NO_MEMORY. */
MUST_USE enum status group_record_replay(struct group_state *state, struct slice payload);
/* Bytes of the longest run of whole records that fits `size_max`; all of one record at least. */
size_t group_record_split(struct slice records, size_t size_max);

#endif
