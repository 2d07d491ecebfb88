/*
 * lsm/wal.c -- groups of batches, written in order into segments.
 *
 * Invariants:
 *  (1) wal->position is the end of the newest group, and each group starts where the one before
 *      ends; so the chain of positions over the files has no gap that a crash did not make.
 *  (2) synced_position only grows, after a sync that covers it.
 *  (3) After a failure the owner writes nothing more: what the failed range holds is unknown.
 *
 * Source: group commit as in DeWitt et al., "Implementation Techniques for Main Memory Database
 * Systems" (1984). Changed: seeded checksums and watermarks in every group.
 */
#include "lsm/wal.h"

#include <stdio.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/contract.h"
#include "base/memory.h"
#include "lsm/mutant.h"
#include "lsm/pack.h"
#include "lsm/wal_spare.h"

#define WAL_GROUP_MAGIC 0x47574b52u                    /* "RKWG" */
#define WAL_SEGMENT_MAGIC UINT64_C(0x314c4157474e4952) /* "RINGWAL1" */
#define WAL_GROUP_BUFFER_KEPT (2u << 20) /* A retired group keeps a buffer up to this. */
#define WAL_GROUP_ARENA_CHUNK (16u << 10)
#define WAL_SEGMENT_NAME_SIZE 24u

/* One record of a synced write that is not visible yet. */
struct wal_queued {
    struct list_node bucket_node;
    struct list_node group_node;
    struct wal_group *group;
    uint64_t hash;
    struct version version;
    uint32_t key_size;
    uint32_t key_offset; /* In the group's bytes, which may move while it fills. */
};

uint64_t wal_seed(uint64_t nonce, uint64_t offset)
{
    uint8_t bytes[8];
    codec_store_u64(bytes, offset);
    return checksum64(slice_make(bytes, sizeof(bytes)), nonce);
}

void wal_group_header_encode(const struct wal_group_header *header, uint64_t seed,
                             uint8_t to[WAL_GROUP_HEADER_SIZE])
{
    codec_store_u32(to, WAL_GROUP_MAGIC);
    codec_store_u32(to + 4, header->record_count);
    codec_store_u64(to + 8, header->position);
    codec_store_u64(to + 16, header->watermark);
    codec_store_u32(to + 24, header->body_size);
    codec_store_u32(to + 28, header->packed_size);
    codec_store_u64(to + 32, header->body_checksum);
    codec_store_u64(to + 40, checksum64(slice_make(to, 40), seed));
}

bool wal_group_begins(const uint8_t from[WAL_GROUP_HEADER_SIZE])
{
    return codec_load_u32(from) == WAL_GROUP_MAGIC;
}

enum status wal_group_header_decode(const uint8_t from[WAL_GROUP_HEADER_SIZE], uint64_t seed,
                                    struct wal_group_header *header)
{
    if (codec_load_u32(from) != WAL_GROUP_MAGIC ||
        codec_load_u64(from + 40) != checksum64(slice_make(from, 40), seed)) {
        return STATUS_NOT_FOUND;
    }
    *header = (struct wal_group_header){
        .record_count = codec_load_u32(from + 4),
        .position = codec_load_u64(from + 8),
        .watermark = codec_load_u64(from + 16),
        .body_size = codec_load_u32(from + 24),
        .packed_size = codec_load_u32(from + 28),
        .body_checksum = codec_load_u64(from + 32),
    };
    if (header->watermark > header->position || header->position > UINT64_MAX - header->body_size ||
        (header->packed_size > 0 && header->packed_size >= header->body_size)) {
        return STATUS_NOT_FOUND; /* No writer says so. */
    }
    return STATUS_OK;
}

enum status wal_group_body(const struct wal_group_header *header, uint64_t seed, struct slice rest,
                           struct buffer *unpacked, struct slice *body)
{
    uint32_t stored_size = wal_group_stored_size(header);
    if (stored_size > rest.size) {
        return STATUS_NOT_FOUND;
    }
    *body = slice_make(rest.data, stored_size);
    if (checksum64(*body, seed) != header->body_checksum) {
        return STATUS_NOT_FOUND;
    }
    if (header->packed_size == 0) {
        return STATUS_OK;
    }
    if (!pack_may_hold(header->packed_size, header->body_size)) {
        return STATUS_CORRUPT;
    }
    buffer_clear(unpacked);
    uint8_t *to = buffer_reserve(unpacked, header->body_size);
    if (to == NULL) {
        unpacked->failed = false;
        return STATUS_NO_MEMORY;
    }
    if (!unpack(*body, to, header->body_size)) {
        return STATUS_CORRUPT;
    }
    buffer_commit(unpacked, header->body_size);
    *body = buffer_slice(unpacked);
    return STATUS_OK;
}

void wal_segment_header_encode(const struct wal_segment_header *header,
                               uint8_t to[WAL_SEGMENT_HEADER_SIZE])
{
    memset(to, 0, WAL_SEGMENT_HEADER_SIZE);
    codec_store_u64(to, WAL_SEGMENT_MAGIC);
    codec_store_u32(to + 8, WAL_FORMAT_VERSION);
    codec_store_u64(to + 16, header->id);
    codec_store_u64(to + 24, header->nonce);
    codec_store_u64(to + WAL_SEGMENT_HEADER_SIZE - 8,
                    checksum64(slice_make(to, WAL_SEGMENT_HEADER_SIZE - 8), 0));
}

enum status wal_segment_header_decode(const uint8_t from[WAL_SEGMENT_HEADER_SIZE],
                                      struct wal_segment_header *header)
{
    if (codec_load_u64(from) != WAL_SEGMENT_MAGIC ||
        codec_load_u64(from + WAL_SEGMENT_HEADER_SIZE - 8) !=
            checksum64(slice_make(from, WAL_SEGMENT_HEADER_SIZE - 8), 0)) {
        return STATUS_CORRUPT;
    }
    if (codec_load_u32(from + 8) > WAL_FORMAT_VERSION) {
        return STATUS_UNSUPPORTED;
    }
    for (size_t i = 32; i < WAL_SEGMENT_HEADER_SIZE - 8; i++) {
        if (from[i] != 0) {
            return STATUS_CORRUPT;
        }
    }
    *header = (struct wal_segment_header){
        .id = codec_load_u64(from + 16),
        .nonce = codec_load_u64(from + 24),
    };
    return STATUS_OK;
}

void wal_record_get(struct codec_reader *reader, struct slice *key, struct slice *cell)
{
    *key = codec_get_bytes(reader);
    *cell = codec_get_bytes(reader);
    if (codec_reader_ok(reader) && (key->size == 0 || key->size > LSM_KEY_SIZE_MAX)) {
        reader->failed = true;
    }
}

static size_t varint_size(uint64_t value)
{
    uint8_t bytes[CODEC_VARINT_SIZE_MAX];
    return codec_store_varint(bytes, value);
}

enum status wal_batch_size(const struct lsm_record *records, uint32_t record_count, uint64_t *size)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < record_count; i++) {
        size_t key_size = records[i].key.size;
        if (key_size == 0 || key_size > LSM_KEY_SIZE_MAX) {
            return STATUS_INVALID;
        }
        size_t cell_size = cell_encoded_size(&records[i].cell);
        if (cell_size > LSM_VALUE_SIZE_MAX) {
            return STATUS_TOO_LARGE;
        }
        sum += varint_size(key_size) + key_size + varint_size(cell_size) + cell_size;
    }
    if (sum > LSM_BATCH_SIZE_MAX) {
        return STATUS_TOO_LARGE;
    }
    *size = sum;
    return STATUS_OK;
}

char *wal_segment_path(const char *folder, uint64_t id)
{
    size_t size = strlen(folder) + WAL_SEGMENT_NAME_SIZE;
    char *path = memory_allocate(size);
    if (path != NULL) {
        int length = snprintf(path, size, "%s/%016llx.wal", folder, (unsigned long long)id);
        ASSERT(length > 0 && (size_t)length < size);
    }
    return path;
}

enum status wal_segment_create(struct env *env, const char *folder,
                               const struct wal_segment_header *header, uint64_t capacity,
                               struct wal_segment **segment)
{
    struct wal_spare spare;
    enum status status = wal_spare_create(env, folder, header->id, capacity, &spare);
    if (status != STATUS_OK) {
        return status;
    }
    while (status == STATUS_OK && spare.written < spare.capacity) {
        status = wal_spare_fill(env, &spare);
    }
    if (status == STATUS_OK) {
        status = wal_spare_use(env, folder, header, &spare, segment);
    }
    if (status != STATUS_OK) {
        wal_spare_remove(env, folder, &spare);
    }
    return status;
}

enum status wal_segment_grow(struct wal_segment *segment, uint64_t capacity)
{
    ASSERT(capacity > segment->capacity);
    struct env *env = segment->env;
    enum status status = env->ops->file_reserve(segment->file, 0, capacity);
    if (status == STATUS_OK) {
        segment->capacity = capacity;
    }
    return status;
}

void wal_segment_destroy(struct wal_segment *segment)
{
    if (segment == NULL) {
        return;
    }
    if (segment->file != NULL) {
        segment->env->ops->file_close(segment->file);
    }
    memory_free(segment);
}

enum status wal_init(struct wal *wal, struct env *env, uint64_t segment_size, uint64_t position)
{
    ASSERT(segment_size >= WAL_SEGMENT_SIZE_MIN);
    *wal = (struct wal){
        .env = env,
        .segment_size = segment_size,
        .group_size_max =
            segment_size / 4 < WAL_GROUP_SIZE_MAX ? segment_size / 4 : WAL_GROUP_SIZE_MAX,
        .position = position,
        .written_position = position,
        .synced_position = position,
        .watermark = position,
    };
    list_init(&wal->filling);
    list_init(&wal->written);
    list_init(&wal->free_groups);
    list_init(&wal->segments);
    wal->buckets = memory_allocate_zeroed(WAL_BUCKET_COUNT, sizeof(*wal->buckets));
    if (wal->buckets == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < WAL_BUCKET_COUNT; i++) {
        list_init(&wal->buckets[i]);
    }
    return STATUS_OK;
}

static void group_destroy(struct wal_group *group)
{
    arena_deinit(&group->arena);
    buffer_deinit(&group->bytes);
    memory_free(group);
}

void wal_deinit(struct wal *wal)
{
    if (wal->env == NULL) {
        return; /* Never made. */
    }
    ASSERT(wal->in_flight == NULL);
    ASSERT(list_empty(&wal->filling));
    struct list_node *node = NULL;
    while ((node = list_take_first(&wal->free_groups)) != NULL) {
        group_destroy(container_of(node, struct wal_group, node));
    }
    while ((node = list_take_first(&wal->segments)) != NULL) {
        wal_segment_destroy(container_of(node, struct wal_segment, node));
    }
    wal_segment_destroy(wal->ready);
    memory_free(wal->buckets);
    buffer_deinit(&wal->packed);
    *wal = (struct wal){0};
}

void wal_segment_add(struct wal *wal, struct wal_segment *segment)
{
    ASSERT(wal->in_flight == NULL);
    list_append(&wal->segments, &segment->node);
    wal->current = segment;
    wal->used_offset = segment->end_offset;
}

static void list_move_all(struct list_node *to, struct list_node *from)
{
    struct list_node *node = NULL;
    while ((node = list_take_first(from)) != NULL) {
        list_append(to, node);
    }
}

void wal_restart(struct wal *wal, struct wal_segment *segment, struct list_node *dead)
{
    ASSERT(wal->in_flight == NULL);
    ASSERT(list_empty(&wal->filling));
    list_move_all(dead, &wal->segments);
    if (wal->ready != NULL) {
        list_append(dead, &wal->ready->node);
        wal->ready = NULL;
    }
    wal->failed = false;
    wal->written_position = wal->position;
    wal->synced_position = wal->position;
    wal->watermark = wal->position;
    wal_segment_add(wal, segment);
}

/* A fresh group at the end of those that fill. */
static struct wal_group *group_add(struct wal *wal)
{
    struct list_node *node = list_take_first(&wal->free_groups);
    struct wal_group *group = NULL;
    if (node != NULL) {
        group = container_of(node, struct wal_group, node);
        wal->free_group_count--;
    } else {
        group = memory_allocate_zeroed(1, sizeof(*group));
        if (group == NULL) {
            return NULL;
        }
        arena_init(&group->arena, WAL_GROUP_ARENA_CHUNK, NULL);
        list_init(&group->writes);
        list_init(&group->queued);
    }
    group->start_position = wal->position;
    group->end_position = wal->position;
    group->record_count = 0;
    group->buffered = false;
    group->sync = false;
    group->idle = false;
    buffer_clear(&group->bytes);
    list_append(&wal->filling, &group->node);
    return group;
}

/* The group a batch of `size` goes to. */
static struct wal_group *group_for(struct wal *wal, uint64_t size)
{
    if (!list_empty(&wal->filling)) {
        struct wal_group *last = container_of(wal->filling.previous, struct wal_group, node);
        uint64_t filled = last->end_position - last->start_position;
        if (!last->idle && (filled + size <= wal->group_size_max || size == 0)) {
            return last;
        }
    }
    return group_add(wal);
}

static size_t record_encode(const struct lsm_record *record, uint8_t *to, size_t *key_offset)
{
    size_t size = codec_store_varint(to, record->key.size);
    *key_offset = size;
    memcpy(to + size, record->key.data, record->key.size);
    size += record->key.size;
    size_t cell_size = cell_encoded_size(&record->cell);
    size += codec_store_varint(to + size, cell_size);
    cell_encode(&record->cell, to + size);
    return size + cell_size;
}

/* Room in group->bytes for the header, if it is empty, and `size` more. */
static uint8_t *group_reserve(struct wal_group *group, size_t size)
{
    uint8_t *to = NULL;
    if (group->bytes.size == 0) {
        to = buffer_reserve(&group->bytes, WAL_GROUP_HEADER_SIZE + size);
        if (to != NULL) {
            memset(to, 0, WAL_GROUP_HEADER_SIZE);
            buffer_commit(&group->bytes, WAL_GROUP_HEADER_SIZE);
            to += WAL_GROUP_HEADER_SIZE;
        }
    } else {
        to = buffer_reserve(&group->bytes, size);
    }
    if (to == NULL) {
        group->bytes.failed = false; /* This batch is refused; those before it are whole. */
    }
    return to;
}

/* One entry per record, for wal_queued_version(). NULL if there is no memory. */
static struct wal_queued *queued_allocate(struct wal_group *group, uint32_t count)
{
    return arena_allocate(&group->arena, count * sizeof(struct wal_queued));
}

static void buffered_note(struct wal_group *group, const struct lsm_write *write)
{
    for (uint32_t i = 0; i < write->record_count; i++) {
        struct version version = write->records[i].cell.version;
        if (!group->buffered || version_compare(version, group->buffered_version_min) < 0) {
            group->buffered_version_min = version;
            group->buffered = true;
        }
    }
}

enum status wal_append(struct wal *wal, struct lsm_write *write, uint64_t size)
{
    ASSERT(write->durability != LSM_NONE || size == 0);
    struct wal_group *group = group_for(wal, size);
    if (group == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct wal_queued *queued = NULL;
    if (size > 0) {
        uint8_t *to = group_reserve(group, size);
        if (write->durability == LSM_SYNCED && to != NULL) {
            queued = queued_allocate(group, write->record_count);
        }
        if (to == NULL || (write->durability == LSM_SYNCED && queued == NULL)) {
            return STATUS_NO_MEMORY; /* An empty group may stay; it fills later. */
        }
        for (uint32_t i = 0; i < write->record_count; i++) {
            size_t key_offset = 0;
            size_t record_size = record_encode(&write->records[i], to, &key_offset);
            if (queued != NULL) {
                struct slice key = write->records[i].key;
                queued[i] = (struct wal_queued){
                    .group = group,
                    .hash = checksum64(key, 0),
                    .version = write->records[i].cell.version,
                    .key_size = (uint32_t)key.size,
                    .key_offset = (uint32_t)(group->bytes.size + key_offset),
                };
                list_append(&wal->buckets[queued[i].hash % WAL_BUCKET_COUNT],
                            &queued[i].bucket_node);
                list_append(&group->queued, &queued[i].group_node);
            }
            to += record_size;
            buffer_commit(&group->bytes, record_size);
        }
        group->record_count += write->record_count;
        if (write->durability == LSM_BUFFERED) {
            buffered_note(group, write);
        }
    }
    group->sync = group->sync || write->durability == LSM_SYNCED;
    group->end_position += size;
    wal->position += size;
    wal->queue_size += size;
    if (write->durability == LSM_SYNCED) {
        wal->sync_asked_position = wal->position;
    }
    write->size = (uint32_t)size;
    write->position = wal->position;
    list_append(&group->writes, &write->node);
    return STATUS_OK;
}

struct slice wal_last_bytes(const struct wal *wal, uint32_t size)
{
    ASSERT(!list_empty(&wal->filling));
    const struct wal_group *last = container_of(wal->filling.previous, struct wal_group, node);
    ASSERT(last->bytes.size >= WAL_GROUP_HEADER_SIZE + size || size == 0);
    return size == 0 ? slice_make(NULL, 0)
                     : slice_make(last->bytes.data + last->bytes.size - size, size);
}

enum status wal_append_idle(struct wal *wal)
{
    struct wal_group *group = group_add(wal);
    if (group == NULL) {
        return STATUS_NO_MEMORY;
    }
    group->idle = true;
    return STATUS_OK;
}

/* Whether running the group writes bytes. A group of unlogged writes only carries their done. */
static bool group_writes(const struct wal *wal, const struct wal_group *group)
{
    if (group->idle) {
        return wal->watermark < wal->written_position;
    }
    return group->end_position > group->start_position;
}

enum wal_next wal_look(const struct wal *wal, uint64_t *capacity)
{
    if (wal->in_flight != NULL || list_empty(&wal->filling) || wal->failed) {
        return WAL_NOTHING;
    }
    const struct wal_group *group = container_of(wal->filling.next, struct wal_group, node);
    if (!group_writes(wal, group)) {
        return WAL_RUN;
    }
    uint64_t room = wal_group_room(group->end_position - group->start_position);
    if (wal->current->end_offset + room <= wal->current->capacity) {
        return WAL_RUN;
    }
    uint64_t needed = WAL_SEGMENT_HEADER_SIZE + room;
    if (wal->ready == NULL || wal->ready->capacity < needed) {
        *capacity = needed > wal->segment_size ? needed : wal->segment_size;
        return WAL_SEGMENT_NEEDED;
    }
    return WAL_RUN;
}

enum wal_next wal_next(struct wal *wal, uint64_t *capacity)
{
    enum wal_next next = wal_look(wal, capacity);
    if (next != WAL_RUN) {
        return next;
    }
    struct wal_group *group = container_of(wal->filling.next, struct wal_group, node);
    uint64_t room = wal_group_room(group->end_position - group->start_position);
    struct wal_segment *current = wal->current;
    if (group_writes(wal, group) && current->end_offset + room > current->capacity) {
        ASSERT(wal->retiring == NULL);
        wal->retiring = current;
        wal_segment_add(wal, wal->ready);
        wal->ready = NULL;
    }
    list_remove(&group->node);
    wal->in_flight = group;
    return WAL_RUN;
}

static enum status retiring_sync(struct wal *wal)
{
    struct wal_segment *retiring = wal->retiring;
    if (wal->written_position > wal->synced_position) {
        enum status status = wal->env->ops->file_sync(retiring->file);
        wal->sync_count++;
        if (status != STATUS_OK) {
            return status;
        }
        wal->synced_position = wal->written_position;
    }
    wal->env->ops->file_close(retiring->file);
    retiring->file = NULL;
    return STATUS_OK;
}

static enum status segment_sync(struct wal *wal, struct wal_segment *segment)
{
    enum status status = wal->env->ops->file_sync(segment->file);
    wal->sync_count++;
    if (status == STATUS_OK) {
        wal->synced_position = wal->written_position;
    }
    return status;
}

/* The body packed into wal->packed, behind room for the header; empty if it stays as it is: small,
 * or nothing is saved, or there is no memory. */
static struct slice group_pack(struct wal *wal, const struct wal_group *group, struct slice body)
{
    struct slice none = {0};
    if (body.size < WAL_PACK_SIZE_MIN ||
        body.size / group->record_count > WAL_PACK_RECORD_SIZE_MAX) {
        return none;
    }
    buffer_clear(&wal->packed);
    uint8_t *to = buffer_reserve(&wal->packed, WAL_GROUP_HEADER_SIZE + pack_size_max(body.size));
    if (to == NULL) {
        wal->packed.failed = false;
        return none;
    }
    size_t size = pack(body, to + WAL_GROUP_HEADER_SIZE);
    if (size == 0) {
        return none;
    }
    buffer_commit(&wal->packed, WAL_GROUP_HEADER_SIZE + size);
    return slice_make(to + WAL_GROUP_HEADER_SIZE, size);
}

/* What is to be written of the group, with the header for its place. The group's own bytes are not
 * moved: others look up keys in them. Not padded: the rest of the last sector says nothing. */
static enum status group_seal(struct wal *wal, struct wal_group *group,
                              const struct wal_segment *segment, struct slice *sealed)
{
    if (group->bytes.size == 0 && group_reserve(group, 0) == NULL) {
        return STATUS_NO_MEMORY; /* Only an idle group gets here, and no key lies in it. */
    }
    size_t body_size = group->bytes.size - WAL_GROUP_HEADER_SIZE;
    ASSERT(body_size == group->end_position - group->start_position);
    uint64_t seed = wal_seed(segment->nonce, segment->end_offset);
    struct slice body = slice_make(group->bytes.data + WAL_GROUP_HEADER_SIZE, body_size);
    struct slice packed = group_pack(wal, group, body);
    uint8_t *to = packed.size > 0 ? wal->packed.data : group->bytes.data;
    struct wal_group_header header = {
        .position = group->start_position,
        .watermark = LSM_MUTANT(WATERMARK_AHEAD) ? group->start_position : wal->synced_position,
        .record_count = group->record_count,
        .body_size = (uint32_t)body_size,
        .packed_size = (uint32_t)packed.size,
        .body_checksum = checksum64(packed.size > 0 ? packed : body, seed),
    };
    wal_group_header_encode(&header, seed, to);
    *sealed = slice_make(to, WAL_GROUP_HEADER_SIZE + wal_group_stored_size(&header));
    return STATUS_OK;
}

enum status wal_run(struct wal *wal)
{
    struct wal_group *group = wal->in_flight;
    ASSERT(group != NULL);
    enum status status = STATUS_OK;
    if (wal->retiring != NULL) {
        status = retiring_sync(wal);
    }
    if (status != STATUS_OK || !group_writes(wal, group)) {
        return status;
    }
    struct wal_segment *segment = wal->current;
    struct slice sealed = {0};
    if (group->idle && wal->written_position > wal->synced_position) {
        status = segment_sync(wal, segment);
    }
    if (status == STATUS_OK) {
        status = group_seal(wal, group, segment, &sealed);
    }
    if (status == STATUS_OK) {
        status = wal->env->ops->file_write(segment->file, segment->end_offset, sealed);
    }
    if (status != STATUS_OK) {
        return status;
    }
    wal->watermark = wal->synced_position;
    wal->bytes_written += sealed.size;
    wal->written_position = group->end_position;
    segment->end_offset += wal_group_room(sealed.size - WAL_GROUP_HEADER_SIZE);
    segment->last_position = group->end_position;
    if (wal->packed.capacity > WAL_GROUP_BUFFER_KEPT) {
        buffer_deinit(&wal->packed);
    }
    if (group->sync) {
        status = segment_sync(wal, segment);
    }
    return status;
}

struct wal_group *wal_take_done(struct wal *wal, enum status status)
{
    ASSERT(wal->in_flight != NULL);
    struct wal_group *group = wal->in_flight;
    wal->in_flight = NULL;
    wal->retiring = NULL; /* Closed by the run, or at the end if that failed. */
    list_append(&wal->written, &group->node);
    wal->failed = status != STATUS_OK;
    wal->used_offset = wal->current->end_offset;
    return group;
}

static void queued_forget(struct wal_group *group)
{
    struct list_node *node = NULL;
    while ((node = list_take_first(&group->queued)) != NULL) {
        struct wal_queued *queued = container_of(node, struct wal_queued, group_node);
        list_remove(&queued->bucket_node);
    }
    arena_reset(&group->arena);
}

void wal_group_retire(struct wal *wal, struct wal_group *group)
{
    ASSERT(list_empty(&group->writes));
    list_remove(&group->node);
    queued_forget(group);
    uint64_t size = group->end_position - group->start_position;
    ASSERT(wal->queue_size >= size);
    wal->queue_size -= size;
    if (wal->free_group_count >= WAL_FREE_GROUP_COUNT_MAX ||
        group->bytes.capacity > WAL_GROUP_BUFFER_KEPT) {
        group_destroy(group);
        return;
    }
    list_append(&wal->free_groups, &group->node);
    wal->free_group_count++;
}

void wal_take_writes(struct wal *wal, struct list_node *writes)
{
    ASSERT(wal->in_flight == NULL);
    list_for_each (node, following, &wal->filling) {
        struct wal_group *group = container_of(node, struct wal_group, node);
        list_move_all(writes, &group->writes);
        wal_group_retire(wal, group);
    }
}

struct version wal_queued_version(const struct wal *wal, struct slice key)
{
    struct version greatest = {0};
    uint64_t hash = checksum64(key, 0);
    const struct list_node *bucket = &wal->buckets[hash % WAL_BUCKET_COUNT];
    list_for_each (node, following, bucket) {
        const struct wal_queued *queued = container_of(node, struct wal_queued, bucket_node);
        struct slice queued_key =
            slice_make(queued->group->bytes.data + queued->key_offset, queued->key_size);
        if (queued->hash == hash && slice_equal(queued_key, key) &&
            version_compare(queued->version, greatest) > 0) {
            greatest = queued->version;
        }
    }
    return greatest;
}

static void buffered_min_take(const struct wal_group *group, bool *any, struct version *version_min)
{
    if (group->buffered &&
        (!*any || version_compare(group->buffered_version_min, *version_min) < 0)) {
        *version_min = group->buffered_version_min;
        *any = true;
    }
}

bool wal_buffered_version_min(const struct wal *wal, struct version *version_min)
{
    if (wal->env == NULL) {
        return false; /* Not begun: a recovery reads the old log still. */
    }
    bool any = false;
    list_for_each (node, following, &wal->written) {
        buffered_min_take(container_of(node, struct wal_group, node), &any, version_min);
    }
    if (wal->in_flight != NULL) {
        buffered_min_take(wal->in_flight, &any, version_min);
    }
    list_for_each (node, following, &wal->filling) {
        buffered_min_take(container_of(node, struct wal_group, node), &any, version_min);
    }
    return any;
}
