/*
 * tests/sim/kvsim_check.h -- what clients asked and were told, and the rules that must hold of it.
 *
 * The harness tells of each operation as it begins and ends; a rule that is broken is noted at once
 * and ends the run. Every value names the operation that wrote it, and META answers carry versions,
 * so order is compared exactly and nothing has to be searched for.
 * That answers are also where later quorums find them is kvsim_held.h.
 * Rules (docs/simulator.md says why each must hold):
 *  (1) A read returns bytes that one SET of that key was given, at a version of that SET; a
 *      tombstone only if a delete was asked for; an expired value only if it could have expired.
 *  (2) One version, one operation.
 *  (3) What was refused definitely is never seen.
 *  (4) A read at QUORUM or ALL returns at least the greatest version that any operation at such a
 *      level had ended with before the read began; a read at ONE, that of operations at ALL, unless
 *      its coordinator goes by an older topology than theirs did.
 *  (5) An acknowledged write at QUORUM or ALL has a greater version than those of (4).
 *  (6) The last read of a key, at ALL, returns at least every acknowledged version, of any level;
 * but for one of level ONE that lay on a replica which others merged a majority without.
 */
#ifndef TESTS_SIM_KVSIM_CHECK_H
#define TESTS_SIM_KVSIM_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cell.h"
#include "base/slice.h"
#include "node/config.h"

#define CHECK_KEY_COUNT_MAX 256
#define CHECK_MESSAGE_SIZE_MAX 512
#define CHECK_VALUE_SIZE_MAX (64u << 10)

struct check;

enum check_kind {
    CHECK_GET,
    CHECK_SET,
    CHECK_DELETE,
    CHECK_EXPIRE,  /* PEXPIRE and PERSIST: the value and its version stay. */
    CHECK_INSPECT, /* PTTL and SCAN: nothing is written, no version is told. */
    CHECK_KIND_COUNT,
};

enum check_outcome {
    CHECK_PENDING,
    CHECK_OK,
    CHECK_DEFINITE,      /* Refused; nothing was done. */
    CHECK_INDETERMINATE, /* A time-out, a lost connection, or an error that says so. */
};

struct check_operation {
    uint32_t number; /* From 1. */
    enum check_kind kind;
    uint32_t key;
    enum level level;
    uint32_t value_size; /* Of a SET. */
    bool expires;        /* A SET with a time to live. */
    enum check_outcome outcome;
    bool seen;               /* Its value or tombstone was read. */
    struct version version;  /* Of an acknowledged write, once told; else zero. */
    struct version seen_max; /* The greatest version its value was read at. */
    struct version floor;    /* (4) and (5), as of its begin. */
    uint64_t epoch;          /* Its coordinator goes by this topology, or a later one; */
    uint64_t epoch_last;     /* by this one as it answered. */
};

struct check *check_open(uint32_t key_count, uint32_t operation_count_max);
void check_close(struct check *check);

/* NULL while every rule holds; else what was broken first. */
const char *check_violation(const struct check *check);
void check_violate(struct check *check, const char *format, ...) PRINTF_LIKE(2, 3);

/* `epoch`: of the topology that the node which is asked goes by. */
struct check_operation *check_begin(struct check *check, enum check_kind kind, uint32_t key,
                                    enum level level, uint64_t epoch);
/* The bytes a SET writes; `to` holds operation->value_size. */
void check_value(const struct check_operation *operation, uint8_t *to);
/* It ended without a result that is judged otherwise. `version` zero: not told. */
void check_end(struct check *check, struct check_operation *operation, enum check_outcome outcome,
               struct version version);

/* What a read was told. */
struct check_result {
    bool found;
    struct slice value;
    bool versioned; /* `version` and `expiry_ms` were told too. */
    struct version version;
    uint64_t expiry_ms;
    uint64_t clock_ms_max; /* No node's clock shows more. */
    bool last;             /* The last read of this key; see (6). */
};
void check_read(struct check *check, struct check_operation *operation,
                const struct check_result *result);

/* The replicas of a key were followed by others, each of which merged a majority of them, in an
 * operation that began with that epoch: see (6). */
void check_merged(struct check *check, uint32_t key, uint64_t epoch);

uint32_t check_operation_count(const struct check *check);
uint32_t check_key_name(uint32_t key, char *to, size_t size); /* Returns its length. */
/* The number of a key with that name; false if there is none. */
bool check_key_of(const struct check *check, struct slice name, uint32_t *key);
/* Some SET of the key was asked for, and was not refused. */
bool check_key_written(const struct check *check, uint32_t key);
/* How operations ended. */
struct check_counts {
    uint32_t by_outcome[CHECK_INDETERMINATE + 1];
    uint32_t by_kind[CHECK_KIND_COUNT];
    uint32_t values_read;
    uint32_t tombstones_read;
    uint32_t expired_read;
};
void check_count(const struct check *check, struct check_counts *counts);

#endif
