/* tests/unit/test_token.c -- slots, tokens, and the engine's spelling of keys. */
#include <string.h>

#include <criterion/criterion.h>

#include "base/checksum.h"
#include "base/prng.h"
#include "base/token.h"

/* Values that CLUSTER KEYSLOT of Redis answers. */
Test(token, slots_are_those_of_redis_cluster)
{
    static const struct {
        const char *key;
        uint16_t slot;
    } cases[] = {
        {"foo", 12182},
        {"bar", 5061},
        {"", 0},
        {"user1000", 3443},
        {"{user1000}.following", 3443},
        {"{user1000}.followers", 3443},
        {"foo{}{bar}", 8363},    /* Empty braces: the whole key. */
        {"foo{{bar}}zap", 4015}, /* Between are "{bar". */
        {"foo{bar}{zap}", 5061}, /* The first pair decides. */
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        cr_assert_eq(token_slot(slice_text(cases[index].key)), cases[index].slot, "key %s",
                     cases[index].key);
    }
}

Test(token, braces_that_make_no_pair_are_ordinary)
{
    static const char *const keys[] = {"{", "}", "a{", "a}b{", "}{", "{abc", "a{b", "{}", "x{}"};
    for (size_t index = 0; index < sizeof(keys) / sizeof(keys[0]); index++) {
        struct slice key = slice_text(keys[index]);
        cr_assert_eq(token_slot(key), checksum_crc16(key) % TOKEN_SLOT_COUNT, "key %s",
                     keys[index]);
    }
}

/* Golden: data lies where these say. */
Test(token, golden_tokens)
{
    cr_assert_eq(token_of(0, slice_text("foo")), UINT64_C(0xbe5aadb97d901df9));
    cr_assert_eq(token_of(1, slice_text("foo")), UINT64_C(0xbe595155e8b22d8c));
    cr_assert_eq(token_of(0, slice_make(NULL, 0)), UINT64_C(0x2d06800538d394c2) >> TOKEN_SLOT_BITS);
    cr_assert_eq(token_of(0, slice_text("foo")) >> TOKEN_HASH_BITS, 12182);
    cr_assert_eq(token_of(1, slice_text("foo")) >> TOKEN_HASH_BITS, 12182);
}

Test(token, golden_engine_key)
{
    static const uint8_t bytes[] = {0x12, 0x34, 0xab, 0xcd, 0x01, 0x02, 0x03,
                                    0x04, 0x05, 0x06, 0x07, 'k',  'e',  'y'};
    struct buffer buffer = {0};
    uint64_t token = UINT64_C(0x1234) << 50 | UINT64_C(0x01020304050607);
    token_engine_key(&buffer, 0xabcd, token, slice_text("key"));
    cr_assert(slice_equal(buffer_slice(&buffer), slice_make(bytes, sizeof(bytes))));
    buffer_deinit(&buffer);
}

Test(token, engine_keys_come_back)
{
    struct prng prng;
    prng_init(&prng, 21);
    for (int round = 0; round < 2000; round++) {
        uint8_t key_bytes[40];
        for (size_t index = 0; index < sizeof(key_bytes); index++) {
            key_bytes[index] = (uint8_t)prng_next(&prng);
        }
        struct slice key = slice_make(key_bytes, (size_t)prng_below(&prng, sizeof(key_bytes)));
        uint16_t keyspace = (uint16_t)prng_next(&prng);
        uint64_t token = token_of(keyspace, key);
        struct buffer buffer = {0};
        token_engine_key(&buffer, keyspace, token, key);
        cr_assert_eq(buffer.size, ENGINE_KEY_PREFIX_SIZE + key.size);
        cr_assert_lt(buffer.data[0], ENGINE_KEY_LOCAL_FIRST);
        uint16_t keyspace_read = 0;
        uint64_t token_read = 0;
        struct slice key_read;
        cr_assert_eq(
            token_engine_split(buffer_slice(&buffer), &keyspace_read, &token_read, &key_read),
            STATUS_OK);
        cr_assert_eq(keyspace_read, keyspace);
        cr_assert_eq(token_read, token, "round %d", round);
        cr_assert(slice_equal(key_read, key));
        buffer_deinit(&buffer);
    }
}

/* Within a keyspace and slot, engine keys sort as tokens, and a bound is at or below its key. */
Test(token, engine_order_is_token_order)
{
    struct prng prng;
    prng_init(&prng, 22);
    for (int round = 0; round < 5000; round++) {
        uint64_t slot = prng_below(&prng, 2) << TOKEN_HASH_BITS;
        uint64_t a = slot | prng_next(&prng) >> TOKEN_SLOT_BITS;
        uint64_t b = slot | prng_next(&prng) >> TOKEN_SLOT_BITS;
        struct buffer a_key = {0};
        struct buffer b_bound = {0};
        token_engine_key(&a_key, 3, a, slice_text("key"));
        token_engine_bound(&b_bound, 3, b);
        int order = slice_compare(buffer_slice(&a_key), buffer_slice(&b_bound));
        cr_assert_eq(order >= 0, a >= b, "round %d", round);
        buffer_deinit(&a_key);
        buffer_deinit(&b_bound);
    }
}

Test(token, split_refuses_what_is_no_engine_key)
{
    uint8_t bytes[12] = {0x3f, 0xff, 0, 0, 0x03, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 'k'};
    uint16_t keyspace = 0;
    uint64_t token = 0;
    struct slice key;
    cr_assert_eq(token_engine_split(slice_make(bytes, 12), &keyspace, &token, &key), STATUS_OK);
    cr_assert_eq(token, UINT64_MAX);
    cr_assert_eq(token_engine_split(slice_make(bytes, 11), &keyspace, &token, &key), STATUS_OK);
    cr_assert_eq(key.size, 0);
    for (size_t size = 0; size < 11; size++) {
        cr_assert_eq(token_engine_split(slice_make(bytes, size), &keyspace, &token, &key),
                     STATUS_CORRUPT, "size %zu", size);
    }
    bytes[4] = 0x04; /* A 51st bit of hash. */
    cr_assert_eq(token_engine_split(slice_make(bytes, 12), &keyspace, &token, &key),
                 STATUS_CORRUPT);
    bytes[4] = 0;
    bytes[0] = ENGINE_KEY_LOCAL_FIRST;
    cr_assert_eq(token_engine_split(slice_make(bytes, 12), &keyspace, &token, &key),
                 STATUS_CORRUPT);
}
