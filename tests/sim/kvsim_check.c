/*
 * tests/sim/kvsim_check.c -- the record of operations, and the rules of kvsim_check.h.
 *
 * Each key has the list of versions that were told or read for it, each with what it is of. A
 * request that met a newer value is written again by its node at a greater version, so one SET may
 * show at several versions, none of them above the one it is acknowledged with.
 */
#include "tests/sim/kvsim_check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/heap_sim.h"

/* A version of a key, and what it is of. */
struct check_version {
    struct version version;
    bool tombstone;
    uint32_t writer; /* Number of the operation; 0: one of those that could have. */
};

struct check_key {
    struct version floor_quorum; /* Greatest of ended operations at QUORUM or ALL. */
    struct version floor_all;    /* Of those at ALL, */
    uint64_t floor_all_epoch;    /* whose coordinators went by this topology at most. */
    struct version acknowledged; /* Of acknowledged writes at QUORUM or ALL. */
    uint64_t merged_epoch;       /* What was acknowledged at ONE before may be gone. */
    struct check_version *versions;
    uint32_t version_count;
    uint32_t version_capacity;
    bool may_delete; /* A delete was asked for and not refused. */
    bool may_expire; /* Likewise anything with an expiry. */
    bool may_hold;   /* Likewise a SET. */
};

struct check {
    uint32_t key_count;
    uint32_t operation_count;
    uint32_t operation_count_max;
    struct check_operation *operations; /* By number - 1. */
    struct check_key keys[CHECK_KEY_COUNT_MAX];
    struct check_counts counts;
    uint8_t scratch[CHECK_VALUE_SIZE_MAX];
    char violation[CHECK_MESSAGE_SIZE_MAX];
};

#define VERSION_FORMAT "%016" PRIx64 "-%" PRIu32
#define VERSION_ARGUMENTS(version) (version).time, (version).node

static const char *const kind_names[] = {"get", "set", "delete", "expire", "inspect"};

struct check *check_open(uint32_t key_count, uint32_t operation_count_max)
{
    ASSERT(key_count <= CHECK_KEY_COUNT_MAX);
    struct check *check = heap_sim_take(sizeof(*check));
    check->key_count = key_count;
    check->operation_count_max = operation_count_max;
    check->operations = heap_sim_take(operation_count_max * sizeof(*check->operations));
    return check;
}

void check_close(struct check *check)
{
    for (uint32_t key = 0; key < check->key_count; key++) {
        heap_sim_give(check->keys[key].versions);
    }
    heap_sim_give(check->operations);
    heap_sim_give(check);
}

const char *check_violation(const struct check *check)
{
    return check->violation[0] == '\0' ? NULL : check->violation;
}

void check_violate(struct check *check, const char *format, ...)
{
    if (check->violation[0] != '\0') {
        return; /* What was broken first tells most. */
    }
    va_list list;
    va_start(list, format);
    (void)vsnprintf(check->violation, sizeof(check->violation), format, list);
    va_end(list);
}

static void operation_violate(struct check *check, const struct check_operation *operation,
                              const char *what)
{
    check_violate(check, "operation %u (%s key-%u level %d, floor " VERSION_FORMAT "): %s",
                  operation->number, kind_names[operation->kind], operation->key,
                  (int)operation->level, VERSION_ARGUMENTS(operation->floor), what);
}

/* ------------------------------------------------------------------ operations */

static struct check_key *key_of(struct check *check, uint32_t key)
{
    ASSERT(key < check->key_count);
    return &check->keys[key];
}

/* (4). At ONE a node that slept through a move may ask itself, and no other is asked. */
static struct version floor_of(const struct check_key *key, enum level level, uint64_t epoch)
{
    if (level != LEVEL_ONE) {
        return key->floor_quorum;
    }
    return epoch >= key->floor_all_epoch ? key->floor_all : (struct version){0};
}

struct check_operation *check_begin(struct check *check, enum check_kind kind, uint32_t key,
                                    enum level level, uint64_t epoch)
{
    ASSERT(check->operation_count < check->operation_count_max);
    struct check_operation *operation = &check->operations[check->operation_count++];
    const struct check_key *state = key_of(check, key);
    *operation = (struct check_operation){
        .number = check->operation_count,
        .kind = kind,
        .key = key,
        .level = level,
        .floor = floor_of(state, level, epoch),
        .epoch = epoch,
        .epoch_last = epoch,
    };
    check->counts.by_kind[kind]++;
    return operation;
}

void check_value(const struct check_operation *operation, uint8_t *to)
{
    char head[16];
    int size = snprintf(head, sizeof(head), "%u:", operation->number);
    ASSERT(operation->value_size >= (uint32_t)size);
    memcpy(to, head, (size_t)size);
    for (uint32_t index = (uint32_t)size; index < operation->value_size; index++) {
        to[index] = (uint8_t)('a' + (operation->number + index / 7) % 26);
    }
}

/* The SET that wrote exactly these bytes to that key; NULL: none did. */
static struct check_operation *writer_of(struct check *check, uint32_t key, struct slice value)
{
    uint64_t number = 0;
    size_t index = 0;
    while (index < value.size && index < 10 && value.data[index] >= '0' &&
           value.data[index] <= '9') {
        number = number * 10 + (value.data[index++] - (uint64_t)'0');
    }
    if (number == 0 || number > check->operation_count) {
        return NULL;
    }
    struct check_operation *writer = &check->operations[number - 1];
    if (writer->kind != CHECK_SET || writer->key != key || writer->value_size != value.size) {
        return NULL;
    }
    ASSERT(value.size <= sizeof(check->scratch));
    check_value(writer, check->scratch);
    return memcmp(check->scratch, value.data, value.size) == 0 ? writer : NULL;
}

/* ------------------------------------------------------------------ versions */

static struct check_version *version_find(struct check_key *key, struct version version)
{
    for (uint32_t index = 0; index < key->version_count; index++) {
        if (version_compare(key->versions[index].version, version) == 0) {
            return &key->versions[index];
        }
    }
    return NULL;
}

static void version_add(struct check_key *key, struct check_version added)
{
    if (key->version_count == key->version_capacity) {
        key->version_capacity = key->version_capacity == 0 ? 32 : key->version_capacity * 2;
        key->versions =
            heap_sim_retake(key->versions, key->version_capacity * sizeof(*key->versions));
    }
    key->versions[key->version_count++] = added;
}

/* (2). `writer` 0: not known which. */
static void version_note(struct check *check, const struct check_operation *operation,
                         struct version version, bool tombstone, uint32_t writer)
{
    struct check_key *key = key_of(check, operation->key);
    struct check_version *known = version_find(key, version);
    if (known == NULL) {
        version_add(key, (struct check_version){version, tombstone, writer});
        return;
    }
    if (known->tombstone != tombstone ||
        (known->writer != writer && known->writer != 0 && writer != 0)) {
        check_violate(check,
                      "key-%u: version " VERSION_FORMAT " is of operation %u%s and of %u%s (told "
                      "to operation %u)",
                      operation->key, VERSION_ARGUMENTS(version), known->writer,
                      known->tombstone ? ", a delete," : "", writer, tombstone ? ", a delete" : "",
                      operation->number);
        return;
    }
    known->writer = known->writer == 0 ? writer : known->writer;
}

static void version_raise(struct version *floor, struct version version)
{
    if (version_compare(version, *floor) > 0) {
        *floor = version;
    }
}

static void floors_raise(struct check_key *key, const struct check_operation *operation,
                         struct version version)
{
    if (operation->level != LEVEL_ONE) {
        version_raise(&key->floor_quorum, version);
    }
    if (operation->level == LEVEL_ALL) {
        version_raise(&key->floor_all, version);
        key->floor_all_epoch = operation->epoch_last > key->floor_all_epoch ? operation->epoch_last
                                                                            : key->floor_all_epoch;
    }
}

/* ------------------------------------------------------------------ ends */

/* What a write that was not refused may leave behind. */
static void key_may(struct check *check, const struct check_operation *operation)
{
    struct check_key *key = key_of(check, operation->key);
    key->may_hold = key->may_hold || operation->kind == CHECK_SET;
    key->may_delete = key->may_delete || operation->kind == CHECK_DELETE;
    key->may_expire = key->may_expire || operation->expires || operation->kind == CHECK_EXPIRE;
}

/* Reads may see what is still under way, so that counts as much as what ended. */
static bool key_might(const struct check *check, uint32_t key, enum check_kind kind)
{
    ASSERT(key < check->key_count);
    const struct check_key *state = &check->keys[key];
    if (kind == CHECK_DELETE ? state->may_delete
                             : (kind == CHECK_SET ? state->may_hold : state->may_expire)) {
        return true;
    }
    for (uint32_t index = 0; index < check->operation_count; index++) {
        const struct check_operation *operation = &check->operations[index];
        bool fits = operation->kind == kind || (kind == CHECK_EXPIRE && operation->expires);
        if (operation->key == key && fits && operation->outcome == CHECK_PENDING) {
            return true;
        }
    }
    return false;
}

static void write_acknowledged(struct check *check, struct check_operation *operation,
                               struct version version)
{
    struct check_key *key = key_of(check, operation->key);
    operation->version = version;
    version_note(check, operation, version, operation->kind == CHECK_DELETE, operation->number);
    if (version_compare(version, operation->floor) <= 0) {
        char what[128];
        (void)snprintf(what, sizeof(what), "acknowledged at " VERSION_FORMAT ", not above it",
                       VERSION_ARGUMENTS(version));
        operation_violate(check, operation, what);
    }
    if (version_compare(operation->seen_max, version) > 0) {
        operation_violate(check, operation, "its value was read at a version above its own");
    }
    if (operation->level != LEVEL_ONE) {
        version_raise(&key->acknowledged, version);
    }
    floors_raise(key, operation, version);
}

void check_merged(struct check *check, uint32_t key, uint64_t epoch)
{
    struct check_key *state = key_of(check, key);
    state->merged_epoch = epoch > state->merged_epoch ? epoch : state->merged_epoch;
}

/* (6): what the last read of a key must at least return. */
static struct version acknowledged_of(const struct check *check, uint32_t number)
{
    const struct check_key *key = &check->keys[number];
    struct version acknowledged = key->acknowledged;
    for (uint32_t index = 0; index < check->operation_count; index++) {
        const struct check_operation *operation = &check->operations[index];
        if (operation->key == number && operation->outcome == CHECK_OK &&
            operation->level == LEVEL_ONE && operation->epoch >= key->merged_epoch) {
            version_raise(&acknowledged, operation->version);
        }
    }
    return acknowledged;
}

void check_end(struct check *check, struct check_operation *operation, enum check_outcome outcome,
               struct version version)
{
    ASSERT(operation->outcome == CHECK_PENDING);
    ASSERT(outcome != CHECK_PENDING);
    operation->outcome = outcome;
    check->counts.by_outcome[outcome]++;
    if (outcome == CHECK_DEFINITE && operation->seen) {
        operation_violate(check, operation, "refused, and its value had been read");
    }
    if (outcome != CHECK_DEFINITE) {
        key_may(check, operation);
    }
    bool writes = operation->kind == CHECK_SET || operation->kind == CHECK_DELETE;
    if (outcome == CHECK_OK && writes && version.time != 0) {
        write_acknowledged(check, operation, version);
    }
}

/* ------------------------------------------------------------------ reads */

/* (1) and (3) of a value. */
static void value_judge(struct check *check, const struct check_operation *operation,
                        const struct check_result *result)
{
    check->counts.values_read++;
    struct check_operation *writer = writer_of(check, operation->key, result->value);
    if (writer == NULL) {
        operation_violate(check, operation, "returned a value that no SET of this key wrote");
        return;
    }
    writer->seen = true;
    if (writer->outcome == CHECK_DEFINITE) {
        check_violate(check, "operation %u read what operation %u wrote, which was refused",
                      operation->number, writer->number);
        return;
    }
    bool told = writer->version.time != 0;
    if (!result->versioned) {
        if (told && version_compare(writer->version, operation->floor) < 0) {
            operation_violate(check, operation, "returned an older value");
        }
        return;
    }
    version_note(check, operation, result->version, false, writer->number);
    version_raise(&writer->seen_max, result->version);
    if (told && version_compare(result->version, writer->version) > 0) {
        check_violate(check, "operation %u read the value of %u above its version",
                      operation->number, writer->number);
    }
}

/* (1) of an absent value that has a version: deleted, or expired. */
static void absence_judge(struct check *check, const struct check_operation *operation,
                          const struct check_result *result)
{
    struct check_key *key = key_of(check, operation->key);
    const struct check_version *known = version_find(key, result->version);
    if (result->expiry_ms != 0) {
        check->counts.expired_read++;
        if (!key_might(check, operation->key, CHECK_EXPIRE) ||
            (known != NULL && known->tombstone)) {
            operation_violate(check, operation, "expired, and nothing of this key expires");
        } else if (result->expiry_ms > result->clock_ms_max) {
            operation_violate(check, operation, "counted as expired before its time");
        }
        return;
    }
    check->counts.tombstones_read++;
    if (known == NULL && !key_might(check, operation->key, CHECK_DELETE)) {
        operation_violate(check, operation, "deleted, and nobody asked for that");
        return;
    }
    version_note(check, operation, result->version, true, 0);
}

static void floor_judge(struct check *check, const struct check_operation *operation,
                        const struct check_result *result)
{
    char what[160];
    struct version acknowledged = {0};
    if (version_compare(result->version, operation->floor) < 0) {
        (void)snprintf(what, sizeof(what), "read " VERSION_FORMAT ", which is older",
                       VERSION_ARGUMENTS(result->version));
        operation_violate(check, operation, what);
    }
    if (result->last) {
        acknowledged = acknowledged_of(check, operation->key);
    }
    if (version_compare(result->version, acknowledged) < 0) {
        (void)snprintf(what, sizeof(what),
                       "the last read has " VERSION_FORMAT ", but " VERSION_FORMAT
                       " was acknowledged",
                       VERSION_ARGUMENTS(result->version), VERSION_ARGUMENTS(acknowledged));
        operation_violate(check, operation, what);
    }
}

void check_read(struct check *check, struct check_operation *operation,
                const struct check_result *result)
{
    ASSERT(operation->kind == CHECK_GET);
    struct check_key *key = key_of(check, operation->key);
    if (result->found) {
        value_judge(check, operation, result);
    } else if (result->versioned && result->version.time != 0) {
        absence_judge(check, operation, result);
    } else if (!result->versioned && operation->floor.time != 0 &&
               !key_might(check, operation->key, CHECK_DELETE) &&
               !key_might(check, operation->key, CHECK_EXPIRE)) {
        operation_violate(check, operation, "absent, and nothing deletes or expires this key");
    }
    if (result->versioned) {
        floor_judge(check, operation, result);
        floors_raise(key, operation, result->version);
    }
    check_end(check, operation, CHECK_OK, (struct version){0});
}

/* ------------------------------------------------------------------ views */

uint32_t check_operation_count(const struct check *check)
{
    return check->operation_count;
}

uint32_t check_key_name(uint32_t key, char *to, size_t size)
{
    int length = snprintf(to, size, "key-%u", key);
    ASSERT(length > 0);
    ASSERT((size_t)length < size);
    return (uint32_t)length;
}

bool check_key_of(const struct check *check, struct slice name, uint32_t *key)
{
    char expected[24];
    for (uint32_t index = 0; index < check->key_count; index++) {
        uint32_t size = check_key_name(index, expected, sizeof(expected));
        if (slice_equal(name, slice_make(expected, size))) {
            *key = index;
            return true;
        }
    }
    return false;
}

bool check_key_written(const struct check *check, uint32_t key)
{
    return key_might(check, key, CHECK_SET);
}

void check_count(const struct check *check, struct check_counts *counts)
{
    *counts = check->counts;
}
