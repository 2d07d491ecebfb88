/*
 * node/hot_keys.h -- which keys are asked for most, in bounded memory, from a sample.
 *
 * One of `stride` operations, at distances drawn anew each time, goes into a table of
 * HOT_KEYS_COUNT keys. A key that finds no place takes that of the least counted one, together with
 * its count, which becomes the newcomer's error: it may have been counted by so much too high.
 * Counts and errors decay together, which keeps (1) and (2).
 * Invariants:
 *  (1) A key's count is at least what the sample had of it, and at most that plus its error.
 *  (2) Every key that makes up more than 1 / HOT_KEYS_COUNT of the (decayed) sample is in the
 * table. (3) No more than `bytes_max` bytes of a key are kept.
 *
 * Source: Metwally, Agrawal, El Abbadi, "Efficient computation of frequent and top-k elements in
 * data streams", ICDT 2005 (Space-Saving). Changed: sampled, decayed; keys are told apart by their
 * tokens.
 */
#ifndef NODE_HOT_KEYS_H
#define NODE_HOT_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/prng.h"
#include "base/slice.h"
#include "node/decay.h"

#define HOT_KEYS_COUNT 128u
#define HOT_KEYS_BYTES_MAX 64u
#define HOT_KEYS_STRIDE_MAX 65536u

struct hot_key {
    double error;  /* In its count. */
    double writes; /* Of its count, those surely writes. */
    uint16_t keyspace;
    uint8_t kept;  /* Bytes of it in `bytes`. */
    uint32_t size; /* Of the key. */
    uint8_t bytes[HOT_KEYS_BYTES_MAX];
};

struct hot_keys {
    uint32_t left; /* Operations until the next sample; 0: nothing is sampled. */
    uint32_t stride;
    uint32_t bytes_max;
    uint32_t used;
    struct prng prng;
    /* Of the keys; apart, since each sample searches them. */
    uint64_t tokens[HOT_KEYS_COUNT];
    double counts[HOT_KEYS_COUNT]; /* Of samples, decayed. */
    struct hot_key keys[HOT_KEYS_COUNT];
};

/* One key as it is told. Rates are operations a second, as coordinated here. */
struct hot_key_view {
    uint64_t token;
    uint16_t keyspace;
    uint32_t size;     /* Of the key, */
    struct slice key;  /* of which these bytes were kept. Borrows until the next operation. */
    double rate;       /* Estimated; */
    double error;      /* by so much too high at most, or off by chance of the sample (2 sigma). */
    double write_rate; /* Of rate. */
};

/* stride 0: off. */
void hot_keys_init(struct hot_keys *hot, uint32_t stride, uint32_t bytes_max, uint64_t seed);
void hot_keys_sample(struct hot_keys *hot, uint16_t keyspace, struct slice key, bool write);
/* After a decay_step(). */
void hot_keys_decay(struct hot_keys *hot, const struct decay *decay);
/* Fills at most `capacity` views, of the greatest rates, falling; returns how many. Keys whose rate
 * may be chance, being no greater than its error, are left out. */
uint32_t hot_keys_list(const struct hot_keys *hot, const struct decay *decay,
                       struct hot_key_view *views, uint32_t capacity);

/* One operation of a client on a key. */
static inline void hot_keys_note(struct hot_keys *hot, uint16_t keyspace, struct slice key,
                                 bool write)
{
    if (hot->left > 0 && --hot->left == 0) {
        hot_keys_sample(hot, keyspace, key, write);
    }
}

#endif
