/*
 * base/token.c -- tokens, and the engine's spelling of a key.
 *
 * Source: the hash tag rule and CRC16 slots of the Redis Cluster specification. Changed: 50 hash
 * bits below the slot, so that one slot can be cut further.
 */
#include "base/token.h"

#include <string.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/contract.h"

#define TOKEN_HASH_MASK ((UINT64_C(1) << TOKEN_HASH_BITS) - 1)
#define TOKEN_HASH_SIZE 7 /* Bytes that hold the 50 bits in an engine key. */

STATIC_ASSERT(TOKEN_SLOT_BITS + TOKEN_HASH_BITS == 64, "a token is 64 bits");
STATIC_ASSERT(2 + 2 + TOKEN_HASH_SIZE == ENGINE_KEY_PREFIX_SIZE, "slot, keyspace, hash");
STATIC_ASSERT((TOKEN_SLOT_COUNT - 1) >> 8 < ENGINE_KEY_LOCAL_FIRST, "slots lie below own records");

/* What of the key is hashed: the part between the first { and the first } after it, unless that
 * part is empty or missing. */
static struct slice hashed_part(struct slice key)
{
    const uint8_t *open = key.size != 0 ? memchr(key.data, '{', key.size) : NULL;
    if (open == NULL) {
        return key;
    }
    const uint8_t *part = open + 1;
    size_t rest = key.size - (size_t)(part - key.data);
    const uint8_t *close = rest != 0 ? memchr(part, '}', rest) : NULL;
    if (close == NULL || close == part) {
        return key;
    }
    return slice_make(part, (size_t)(close - part));
}

uint16_t token_slot(struct slice key)
{
    return checksum_crc16(hashed_part(key)) % TOKEN_SLOT_COUNT;
}

uint64_t token_of(uint16_t keyspace, struct slice key)
{
    uint64_t slot = token_slot(key);
    return slot << TOKEN_HASH_BITS | checksum64(key, keyspace) >> TOKEN_SLOT_BITS;
}

void token_engine_key(struct buffer *to, uint16_t keyspace, uint64_t token, struct slice key)
{
    token_engine_bound(to, keyspace, token);
    buffer_append_slice(to, key);
}

void token_engine_bound(struct buffer *to, uint16_t keyspace, uint64_t token)
{
    uint8_t prefix[ENGINE_KEY_PREFIX_SIZE];
    codec_store_be(prefix, token >> TOKEN_HASH_BITS, 2);
    codec_store_be(prefix + 2, keyspace, 2);
    codec_store_be(prefix + 4, token & TOKEN_HASH_MASK, TOKEN_HASH_SIZE);
    buffer_append(to, prefix, sizeof(prefix));
}

enum status token_engine_split(struct slice engine_key, uint16_t *keyspace, uint64_t *token,
                               struct slice *key)
{
    if (engine_key.size < ENGINE_KEY_PREFIX_SIZE) {
        return STATUS_CORRUPT;
    }
    const uint8_t *bytes = engine_key.data;
    uint64_t slot = codec_load_be(bytes, 2);
    uint64_t hash = codec_load_be(bytes + 4, TOKEN_HASH_SIZE);
    if (slot >= TOKEN_SLOT_COUNT || hash > TOKEN_HASH_MASK) {
        return STATUS_CORRUPT;
    }
    *keyspace = (uint16_t)codec_load_be(bytes + 2, 2);
    *token = slot << TOKEN_HASH_BITS | hash;
    *key = slice_make(bytes + ENGINE_KEY_PREFIX_SIZE, engine_key.size - ENGINE_KEY_PREFIX_SIZE);
    return STATUS_OK;
}
