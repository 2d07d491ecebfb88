/*
 * raft/group_message.h -- the library's messages, configurations and our command envelope as bytes.
 *
 * Why strict: the library is built without assertions and believes every number it is given; a
 * forged count is a crash there, a forged term is adopted for ever. So a message reaches it only if
 * its checksum fits and every count, size, index and term lies within its bound.
 * Invariants:
 *  (1) Decoding what was encoded gives the same message; nothing else is accepted.
 *  (2) A decoded message is the library's to free: one block for all entries of an AppendEntries
 *      (it frees the block of the first one), all taken from raft_malloc.
 *  (3) Bytes the library leaves unset (the body of a barrier) are zero on the wire and on disk.
 * Formats: docs/formats/raft_message.md.
 */
#ifndef RAFT_GROUP_MESSAGE_H
#define RAFT_GROUP_MESSAGE_H

#include <stdint.h>

#include <raft.h>

#include "base/buffer.h"
#include "base/slice.h"
#include "base/status.h"
#include "raft/group.h"
#include "raft/group_state.h"

#define GROUP_MESSAGE_VERSION 1
#define GROUP_MESSAGE_ENTRY_COUNT_MAX 1024
/* An AppendEntries carries as many entries as fit, and one at least; the library sends the rest
 * once it learns that they are missing. */
#define GROUP_MESSAGE_BATCH_SIZE_MAX (4u << 20)
#define GROUP_MESSAGE_SIZE_MAX (80u << 20) /* A snapshot of the greatest size. */
#define GROUP_BARRIER_SIZE 8
#define GROUP_ENVELOPE_SIZE 16

/*
 * Appends `message`, from server `from` to message->server_id.
 * STATUS_NO_MEMORY, STATUS_UNSUPPORTED (no message of the library)
 */
MUST_USE enum status group_message_encode(struct buffer *to, uint32_t from,
                                          const struct raft_message *message);
/*
 * `message` is complete but for server_address. Free it with group_message_free(), or give it to
 * the library, which then frees what it holds.
 * STATUS_CORRUPT, STATUS_UNSUPPORTED, STATUS_INVALID (not from `from` to `to`), STATUS_NO_MEMORY
 */
struct group_message_ends {
    uint32_t from;
    uint32_t to;
};
MUST_USE enum status group_message_decode(struct slice bytes, struct group_message_ends ends,
                                          struct raft_message *message);
void group_message_free(struct raft_message *message);
/* The sender is a newcomer (group_state.h): said of an encoded message, and asked of a decoded one.
 */
void group_message_mark_newcomer(struct buffer *bytes);
bool group_message_is_newcomer(struct slice bytes);

/* The bytes of an entry as they go to disk and wire; see (3). */
struct slice group_entry_bytes(const struct raft_entry *entry);

/* In the library's own format, zero-padded. */
void group_configuration_encode(struct buffer *to, const struct raft_configuration *configuration);
/* STATUS_CORRUPT, STATUS_NO_MEMORY: then nothing is held. */
MUST_USE enum status group_configuration_decode(struct slice bytes,
                                                struct raft_configuration *configuration);

/* A command in its envelope, a multiple of 8 bytes long: the library loses others unasked. */
struct group_command {
    uint64_t request; /* Number of the proposal; for logs. */
    struct slice payload;
};
size_t group_command_size(size_t payload_size);
/* `to` has room for group_command_size(). */
void group_command_encode(uint8_t *to, const struct group_command *command);
/* STATUS_CORRUPT, STATUS_UNSUPPORTED */
MUST_USE enum status group_command_decode(struct slice bytes, struct group_command *command);

#endif
