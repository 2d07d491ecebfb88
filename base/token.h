/*
 * base/token.h -- where a key lies on the ring, and how it is spelled in the engine.
 *
 * A token is 64 bits: 14 of Redis Cluster slot (CRC16 of the key, or of the part in {...}), then 50
 * bits of XXH3 of keyspace number and key. So a range of tokens is a run of slots.
 * In the engine a key is slot (2 bytes, big-endian), keyspace (2), hash (50 bits in 7), key: a ring
 * range is one stretch, and a keyspace one stretch per slot.
 * First bytes 0x40 to 0xff are no slot: the node keeps its own records there.
 */
#ifndef BASE_TOKEN_H
#define BASE_TOKEN_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/slice.h"
#include "base/status.h"

#define TOKEN_SLOT_BITS 14
#define TOKEN_SLOT_COUNT 16384
#define TOKEN_HASH_BITS 50
#define ENGINE_KEY_PREFIX_SIZE 11
#define ENGINE_KEY_LOCAL_FIRST 0x40 /* First byte of the node's own records, and above. */

uint16_t token_slot(struct slice key);
uint64_t token_of(uint16_t keyspace, struct slice key);
/* Appends the engine's spelling of the key. */
void token_engine_key(struct buffer *to, uint16_t keyspace, uint64_t token, struct slice key);
/* Appends the least engine key at or above a token of a keyspace: for bounds of stretches. */
void token_engine_bound(struct buffer *to, uint16_t keyspace, uint64_t token);
/* STATUS_CORRUPT if too short or a slot out of range. *key borrows from engine_key. */
MUST_USE enum status token_engine_split(struct slice engine_key, uint16_t *keyspace,
                                        uint64_t *token, struct slice *key);

#endif
