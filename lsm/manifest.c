/*
 * lsm/manifest.c -- a checksummed log of edits, and the state they amount to.
 *
 * Invariants:
 *  (1) An edit that fails its check ends the log if nothing valid follows it: it was being written
 *      when the crash came. A valid edit behind it means that it was synced: damage.
 *  (2) After a torn tail was found, the file is rewritten before anything is appended (the engine
 *      does so at every open), so that (1) holds for the next reader.
 *  (3) The state in memory is made by decoding the very bytes that were written, and changes only
 *      once they are durable. (An open that cut the log changes it before it rewrites the file.)
 *  (4) After a write that failed nothing is appended to that file: it may hold the edit, or a part.
 */
#include "lsm/manifest.h"

#include <stdio.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/contract.h"
#include "base/file_load.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/wal_recovery.h"

#define MANIFEST_MAGIC UINT64_C(0x3146494e414d4b52) /* "RKMANIF1" */
#define MANIFEST_EDIT_MAGIC 0x5449444du             /* "MDIT" */
#define MANIFEST_ALIGNMENT 8u

enum manifest_tag {
    MANIFEST_TABLE = 1,
    MANIFEST_DROP = 2,
    MANIFEST_LOWER = 3, /* Of version 1. */
    MANIFEST_SEGMENT = 4,
    MANIFEST_REPLAY = 5,
    MANIFEST_NEXT_FILE = 6,
    MANIFEST_CUT = 7,
    MANIFEST_EXCISE = 8,
    MANIFEST_QUARANTINE = 9,
};

void manifest_put_table(struct buffer *edit, const struct manifest_table *table)
{
    const struct table_properties *properties = &table->properties;
    ASSERT(table->tier <= MANIFEST_TIER_MAX);
    codec_put_u8(edit, MANIFEST_TABLE);
    codec_put_u64(edit, table->file_id);
    codec_put_u64(edit, table->run_id);
    codec_put_u32(edit, table->tier);
    codec_put_bytes(edit, properties->key_min);
    codec_put_bytes(edit, properties->key_max);
    codec_put_u64(edit, properties->entry_count);
    codec_put_u64(edit, properties->tombstone_count);
    codec_put_u64(edit, properties->expiring_count);
    codec_put_u64(edit, properties->raw_size);
    version_put(edit, properties->version_min);
    version_put(edit, properties->version_max);
    codec_put_u64(edit, properties->stamp_max);
    codec_put_u64(edit, properties->expiry_min_ms);
    codec_put_u64(edit, properties->expiry_max_ms);
    codec_put_u64(edit, properties->nonce);
    codec_put_u64(edit, properties->file_size);
    codec_put_u64(edit, properties->file_checksum);
}

void manifest_put_drop(struct buffer *edit, uint64_t file_id)
{
    codec_put_u8(edit, MANIFEST_DROP);
    codec_put_u64(edit, file_id);
}

void manifest_put_cut(struct buffer *edit, uint64_t file_id, const struct clip *stretch)
{
    codec_put_u8(edit, MANIFEST_CUT);
    codec_put_u64(edit, file_id);
    codec_put_bytes(edit, stretch->lower);
    codec_put_bytes(edit, stretch->upper);
}

void manifest_put_gap(struct buffer *edit, uint64_t file_id, struct slice lower, struct slice upper)
{
    if (slice_compare(lower, upper) < 0) {
        manifest_put_cut(edit, file_id, &(struct clip){.lower = lower, .upper = upper});
    }
}

void manifest_put_excise(struct buffer *edit, const struct clip *stretch, uint64_t position)
{
    codec_put_u8(edit, MANIFEST_EXCISE);
    codec_put_bytes(edit, stretch->lower);
    codec_put_bytes(edit, stretch->upper);
    codec_put_u64(edit, position);
}

void manifest_put_quarantine(struct buffer *edit, const struct quarantine *quarantine)
{
    codec_put_u8(edit, MANIFEST_QUARANTINE);
    codec_put_bytes(edit, quarantine->stretch.lower);
    codec_put_bytes(edit, quarantine->stretch.upper);
    version_put(edit, quarantine->version_max);
}

void manifest_put_segment(struct buffer *edit, const struct manifest_segment *segment)
{
    codec_put_u8(edit, MANIFEST_SEGMENT);
    codec_put_u64(edit, segment->id);
    codec_put_u64(edit, segment->nonce);
    codec_put_u64(edit, segment->start_position);
}

void manifest_put_replay(struct buffer *edit, uint64_t replay_position, uint64_t segment_id)
{
    codec_put_u8(edit, MANIFEST_REPLAY);
    codec_put_u64(edit, replay_position);
    codec_put_u64(edit, segment_id);
}

void manifest_put_next_file(struct buffer *edit, uint64_t next_file_id)
{
    codec_put_u8(edit, MANIFEST_NEXT_FILE);
    codec_put_u64(edit, next_file_id);
}

/* The one place that frees what a slice of ours owns. */
static void key_free(struct slice key)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): the way past const, which the slice of it has. */
    memory_free((void *)(uintptr_t)key.data);
}

/* Makes room for one more element of `size`; NULL if there is no memory. */
static void *array_grow(void *array, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity) {
        return array;
    }
    uint32_t grown = *capacity == 0 ? 16 : *capacity * 2;
    void *moved = memory_resize(array, grown * size);
    if (moved != NULL) {
        *capacity = grown;
    }
    return moved;
}

static void table_free(struct manifest_table *table)
{
    for (uint32_t i = 0; i < table->clip_count; i++) {
        key_free(table->clips[i].lower);
        key_free(table->clips[i].upper);
    }
    memory_free(table->clips);
    memory_free(table->keys);
}

static enum status table_insert(struct manifest_state *state, const struct manifest_table *table)
{
    const struct table_properties *properties = &table->properties;
    uint32_t index = state->table_count;
    while (index > 0 && state->tables[index - 1].file_id > table->file_id) {
        index--;
    }
    if (state->table_count >= MANIFEST_TABLE_COUNT_MAX || table->tier > MANIFEST_TIER_MAX ||
        properties->key_min.size == 0 ||
        slice_compare(properties->key_min, properties->key_max) > 0 ||
        (index > 0 && state->tables[index - 1].file_id == table->file_id)) {
        return STATUS_CORRUPT;
    }
    struct manifest_table *tables = array_grow(state->tables, state->table_count,
                                               &state->table_capacity, sizeof(*state->tables));
    if (tables == NULL) {
        return STATUS_NO_MEMORY;
    }
    state->tables = tables;
    size_t min_size = properties->key_min.size;
    size_t max_size = properties->key_max.size;
    uint8_t *keys = memory_allocate(min_size + max_size);
    struct clip *clips = memory_allocate_zeroed(1, sizeof(*clips));
    if (keys == NULL || clips == NULL) {
        memory_free(keys);
        memory_free(clips);
        return STATUS_NO_MEMORY;
    }
    memcpy(keys, properties->key_min.data, min_size);
    memcpy(keys + min_size, properties->key_max.data, max_size);
    memmove(&tables[index + 1], &tables[index], (state->table_count - index) * sizeof(*tables));
    tables[index] = *table;
    tables[index].keys = keys;
    tables[index].clips = clips;
    tables[index].clip_count = 1;
    tables[index].properties.key_min = slice_make(keys, min_size);
    tables[index].properties.key_max = slice_make(keys + min_size, max_size);
    state->table_count++;
    return STATUS_OK;
}

static enum status table_apply(struct manifest_state *state, struct codec_reader *reader)
{
    struct manifest_table table = {0};
    struct table_properties *properties = &table.properties;
    table.file_id = codec_get_u64(reader);
    table.run_id = codec_get_u64(reader);
    table.tier = codec_get_u32(reader);
    properties->key_min = codec_get_bytes(reader);
    properties->key_max = codec_get_bytes(reader);
    properties->entry_count = codec_get_u64(reader);
    properties->tombstone_count = codec_get_u64(reader);
    properties->expiring_count = codec_get_u64(reader);
    properties->raw_size = codec_get_u64(reader);
    properties->version_min = version_get(reader);
    properties->version_max = version_get(reader);
    properties->stamp_max = codec_get_u64(reader);
    properties->expiry_min_ms = codec_get_u64(reader);
    properties->expiry_max_ms = codec_get_u64(reader);
    properties->nonce = codec_get_u64(reader);
    properties->file_size = codec_get_u64(reader);
    properties->file_checksum = codec_get_u64(reader);
    return codec_reader_ok(reader) ? table_insert(state, &table) : STATUS_CORRUPT;
}

static void table_remove(struct manifest_state *state, uint32_t index)
{
    ASSERT(state->tables != NULL);
    ASSERT(index < state->table_count);
    table_free(&state->tables[index]);
    memmove(&state->tables[index], &state->tables[index + 1],
            (state->table_count - index - 1) * sizeof(*state->tables));
    state->table_count--;
}

/* Index of the table, or table_count. */
static uint32_t table_find(const struct manifest_state *state, uint64_t file_id)
{
    uint32_t low = 0;
    uint32_t high = state->table_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (state->tables[middle].file_id < file_id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < state->table_count && state->tables[low].file_id == file_id;
    return found ? low : state->table_count;
}

static enum status drop_apply(struct manifest_state *state, struct codec_reader *reader)
{
    uint64_t file_id = codec_get_u64(reader);
    uint32_t index = table_find(state, file_id);
    if (!codec_reader_ok(reader) || index == state->table_count) {
        return STATUS_CORRUPT;
    }
    table_remove(state, index);
    return STATUS_OK;
}

/* A copy on the heap; an empty slice needs none. */
static enum status key_copy(struct slice from, struct slice *to)
{
    *to = slice_make(NULL, 0);
    if (from.size == 0) {
        return STATUS_OK;
    }
    uint8_t *copy = memory_allocate(from.size);
    if (copy == NULL) {
        return STATUS_NO_MEMORY;
    }
    memcpy(copy, from.data, from.size);
    *to = slice_make(copy, from.size);
    return STATUS_OK;
}

static enum status clip_copy(const struct clip *from, struct clip *to)
{
    struct clip copy = {0};
    enum status status = key_copy(from->lower, &copy.lower);
    if (status == STATUS_OK) {
        status = key_copy(from->upper, &copy.upper);
    }
    if (status != STATUS_OK) {
        key_free(copy.lower);
        return status;
    }
    *to = copy;
    return STATUS_OK;
}

/* May leave the table without a clip. On failure it is as it was. */
static enum status table_cut(struct manifest_table *table, const struct clip *stretch)
{
    const struct table_properties *properties = &table->properties;
    struct manifest_table cut = *table;
    cut.keys = NULL;
    cut.clip_count = 0;
    cut.clips = memory_allocate_zeroed(table->clip_count + 1, sizeof(*cut.clips));
    enum status status = cut.clips == NULL ? STATUS_NO_MEMORY : STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < table->clip_count; i++) {
        struct clip left[2];
        uint32_t count =
            clip_cut(&table->clips[i], properties->key_min, properties->key_max, stretch, left);
        for (uint32_t j = 0; status == STATUS_OK && j < count; j++) {
            status = clip_copy(&left[j], &cut.clips[cut.clip_count]);
            cut.clip_count += status == STATUS_OK ? 1 : 0;
        }
    }
    if (status != STATUS_OK) {
        table_free(&cut);
        return status;
    }
    cut.keys = table->keys;
    table->keys = NULL;
    table_free(table);
    *table = cut;
    return STATUS_OK;
}

static enum status cut_apply(struct manifest_state *state, struct codec_reader *reader)
{
    uint64_t file_id = codec_get_u64(reader);
    struct clip stretch = {.lower = codec_get_bytes(reader)};
    stretch.upper = codec_get_bytes(reader);
    uint32_t index = table_find(state, file_id);
    if (!codec_reader_ok(reader) || index == state->table_count || !clip_is_stretch(&stretch)) {
        return STATUS_CORRUPT;
    }
    ASSERT(state->tables != NULL);
    enum status status = table_cut(&state->tables[index], &stretch);
    if (status == STATUS_OK && state->tables[index].clip_count == 0) {
        table_remove(state, index);
    }
    return status;
}

/* Off all tables, or those of one run; what is left empty is dropped. */
static enum status tables_cut(struct manifest_state *state, const uint64_t *run_id,
                              const struct clip *stretch)
{
    for (uint32_t i = state->table_count; i > 0; i--) {
        struct manifest_table *table = &state->tables[i - 1];
        enum status status =
            run_id == NULL || table->run_id == *run_id ? table_cut(table, stretch) : STATUS_OK;
        if (status != STATUS_OK) {
            return status;
        }
        if (table->clip_count == 0) {
            table_remove(state, i - 1);
        }
    }
    return STATUS_OK;
}

static enum status excise_apply(struct manifest_state *state, struct codec_reader *reader)
{
    struct manifest_excise excise = {.stretch.lower = codec_get_bytes(reader)};
    excise.stretch.upper = codec_get_bytes(reader);
    excise.position = codec_get_u64(reader);
    if (!codec_reader_ok(reader) || !clip_is_stretch(&excise.stretch)) {
        return STATUS_CORRUPT;
    }
    enum status status = tables_cut(state, NULL, &excise.stretch);
    quarantine_list_cut(&state->quarantines, &excise.stretch);
    if (state->quarantines.failed) {
        return STATUS_NO_MEMORY;
    }
    if (status != STATUS_OK || excise.position <= state->replay_position) {
        return status;
    }
    struct manifest_excise *excises = array_grow(state->excises, state->excise_count,
                                                 &state->excise_capacity, sizeof(*state->excises));
    if (excises == NULL) {
        return STATUS_NO_MEMORY;
    }
    state->excises = excises;
    status = clip_copy(&excise.stretch, &excises[state->excise_count].stretch);
    if (status == STATUS_OK) {
        excises[state->excise_count++].position = excise.position;
    }
    return status;
}

static enum status quarantine_apply(struct manifest_state *state, struct codec_reader *reader)
{
    struct clip stretch = {.lower = codec_get_bytes(reader)};
    stretch.upper = codec_get_bytes(reader);
    struct version version_max = version_get(reader);
    if (!codec_reader_ok(reader) || !clip_is_stretch(&stretch)) {
        return STATUS_CORRUPT;
    }
    quarantine_list_add(&state->quarantines, &stretch, version_max);
    return state->quarantines.failed ? STATUS_NO_MEMORY : STATUS_OK;
}

/* Nothing that is replayed lies before the position any more. */
static void excises_prune(struct manifest_state *state)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < state->excise_count; i++) {
        struct manifest_excise *excise = &state->excises[i];
        if (excise->position > state->replay_position) {
            state->excises[kept++] = *excise;
        } else {
            key_free(excise->stretch.lower);
            key_free(excise->stretch.upper);
        }
    }
    state->excise_count = kept;
}

/* Of version 1: keys below a bound went from all tables of a run. */
static enum status lower_apply(struct manifest_state *state, struct codec_reader *reader)
{
    uint64_t run_id = codec_get_u64(reader);
    struct clip stretch = {.upper = codec_get_bytes(reader)};
    if (!codec_reader_ok(reader) || stretch.upper.size == 0 || !clip_is_stretch(&stretch)) {
        return STATUS_CORRUPT;
    }
    return tables_cut(state, &run_id, &stretch);
}

static enum status segment_apply(struct manifest_state *state, struct codec_reader *reader)
{
    struct manifest_segment segment = {
        .id = codec_get_u64(reader),
    };
    segment.nonce = codec_get_u64(reader);
    segment.start_position = codec_get_u64(reader);
    if (!codec_reader_ok(reader) ||
        (state->segment_count > 0 && state->segments[state->segment_count - 1].id >= segment.id)) {
        return STATUS_CORRUPT;
    }
    struct manifest_segment *segments = array_grow(
        state->segments, state->segment_count, &state->segment_capacity, sizeof(*state->segments));
    if (segments == NULL) {
        return STATUS_NO_MEMORY;
    }
    state->segments = segments;
    segments[state->segment_count++] = segment;
    return STATUS_OK;
}

static enum status replay_apply(struct manifest_state *state, struct codec_reader *reader)
{
    uint64_t position = codec_get_u64(reader);
    uint64_t segment_id = codec_get_u64(reader);
    if (!codec_reader_ok(reader) || position < state->replay_position) {
        return STATUS_CORRUPT;
    }
    state->replay_position = position;
    excises_prune(state);
    uint32_t dead = 0;
    while (dead < state->segment_count && state->segments[dead].id < segment_id) {
        dead++;
    }
    if (dead > 0) {
        memmove(state->segments, &state->segments[dead],
                (state->segment_count - dead) * sizeof(*state->segments));
        state->segment_count -= dead;
    }
    return STATUS_OK;
}

static enum status next_file_apply(struct manifest_state *state, struct codec_reader *reader)
{
    uint64_t next = codec_get_u64(reader);
    if (!codec_reader_ok(reader)) {
        return STATUS_CORRUPT;
    }
    if (next > state->next_file_id) {
        state->next_file_id = next;
    }
    return STATUS_OK;
}

enum status manifest_state_apply(struct manifest_state *state, struct slice edit)
{
    struct codec_reader reader = codec_reader_make(edit);
    enum status status = STATUS_OK;
    while (status == STATUS_OK && reader.rest.size > 0) {
        switch (codec_get_u8(&reader)) {
        case MANIFEST_TABLE:
            status = table_apply(state, &reader);
            break;
        case MANIFEST_DROP:
            status = drop_apply(state, &reader);
            break;
        case MANIFEST_LOWER:
            status = lower_apply(state, &reader);
            break;
        case MANIFEST_SEGMENT:
            status = segment_apply(state, &reader);
            break;
        case MANIFEST_REPLAY:
            status = replay_apply(state, &reader);
            break;
        case MANIFEST_NEXT_FILE:
            status = next_file_apply(state, &reader);
            break;
        case MANIFEST_CUT:
            status = cut_apply(state, &reader);
            break;
        case MANIFEST_EXCISE:
            status = excise_apply(state, &reader);
            break;
        case MANIFEST_QUARANTINE:
            status = quarantine_apply(state, &reader);
            break;
        default:
            status = STATUS_CORRUPT;
            break;
        }
    }
    return status;
}

/* A table and what is cut off it. */
static void table_put(struct buffer *edit, const struct manifest_table *table)
{
    struct slice from = {0};
    manifest_put_table(edit, table);
    for (uint32_t i = 0; i < table->clip_count; i++) {
        manifest_put_gap(edit, table->file_id, from, table->clips[i].lower);
        from = table->clips[i].upper;
    }
    if (from.size > 0) {
        manifest_put_cut(edit, table->file_id, &(struct clip){.lower = from});
    }
}

void manifest_state_put(struct buffer *edit, const struct manifest_state *state)
{
    for (uint32_t i = 0; i < state->excise_count; i++) { /* First: there is nothing to cut yet. */
        manifest_put_excise(edit, &state->excises[i].stretch, state->excises[i].position);
    }
    for (uint32_t i = 0; i < state->table_count; i++) {
        table_put(edit, &state->tables[i]);
    }
    for (uint32_t i = 0; i < state->quarantines.count; i++) {
        manifest_put_quarantine(edit, &state->quarantines.items[i]);
    }
    for (uint32_t i = 0; i < state->segment_count; i++) {
        manifest_put_segment(edit, &state->segments[i]);
    }
    manifest_put_replay(edit, state->replay_position, 0);
    manifest_put_next_file(edit, state->next_file_id);
}

void manifest_state_deinit(struct manifest_state *state)
{
    for (uint32_t i = 0; i < state->table_count; i++) {
        table_free(&state->tables[i]);
    }
    for (uint32_t i = 0; i < state->excise_count; i++) {
        key_free(state->excises[i].stretch.lower);
        key_free(state->excises[i].stretch.upper);
    }
    quarantine_list_deinit(&state->quarantines);
    memory_free(state->excises);
    memory_free(state->tables);
    memory_free(state->segments);
    *state = (struct manifest_state){0};
}

/* Magic, size and checksum of an edit; the checksum covers the first eight bytes and the body. */
static uint64_t edit_checksum(const uint8_t head[8], struct slice body, uint64_t nonce,
                              uint64_t offset)
{
    uint8_t place[8];
    codec_store_u64(place, offset);
    struct slice pieces[] = {slice_make(place, 8), slice_make(head, 8), body};
    return checksum64_pieces(pieces, ARRAY_COUNT(pieces), nonce);
}

/* Appends the framed edit, padded, for its place in the file. */
static void edit_put(struct buffer *to, struct slice edit, uint64_t nonce, uint64_t offset)
{
    static const uint8_t padding[MANIFEST_ALIGNMENT] = {0};
    ASSERT(edit.size <= MANIFEST_EDIT_SIZE_MAX);
    uint8_t head[8];
    codec_store_u32(head, MANIFEST_EDIT_MAGIC);
    codec_store_u32(head + 4, (uint32_t)edit.size);
    buffer_append(to, head, sizeof(head));
    codec_put_u64(to, edit_checksum(head, edit, nonce, offset));
    buffer_append_slice(to, edit);
    size_t odd = edit.size % MANIFEST_ALIGNMENT;
    if (odd != 0) {
        buffer_append(to, padding, MANIFEST_ALIGNMENT - odd);
    }
}

/* Whether a whole edit begins at `offset`; *edit borrows. */
static bool edit_get(struct slice bytes, uint64_t offset, uint64_t nonce, struct slice *edit)
{
    if (offset + MANIFEST_EDIT_HEADER_SIZE > bytes.size) {
        return false;
    }
    const uint8_t *head = bytes.data + offset;
    uint32_t size = codec_load_u32(head + 4);
    if (codec_load_u32(head) != MANIFEST_EDIT_MAGIC ||
        size > bytes.size - offset - MANIFEST_EDIT_HEADER_SIZE) {
        return false;
    }
    *edit = slice_make(head + MANIFEST_EDIT_HEADER_SIZE, size);
    return codec_load_u64(head + 8) == edit_checksum(head, *edit, nonce, offset);
}

static uint64_t edit_room(uint64_t size)
{
    uint64_t whole = MANIFEST_EDIT_HEADER_SIZE + size;
    return (whole + MANIFEST_ALIGNMENT - 1) / MANIFEST_ALIGNMENT * MANIFEST_ALIGNMENT;
}

static void header_put(struct buffer *to, uint64_t nonce)
{
    uint8_t header[MANIFEST_HEADER_SIZE] = {0};
    codec_store_u64(header, MANIFEST_MAGIC);
    codec_store_u32(header + 8, MANIFEST_FORMAT_VERSION);
    codec_store_u64(header + 16, nonce);
    codec_store_u64(header + 24, checksum64(slice_make(header, 24), 0));
    buffer_append(to, header, sizeof(header));
}

void manifest_encode(struct buffer *to, uint64_t nonce, struct slice edit)
{
    header_put(to, nonce);
    edit_put(to, edit, nonce, MANIFEST_HEADER_SIZE);
}

enum status manifest_decode(struct slice bytes, struct manifest_state *state, uint64_t *offset)
{
    *offset = 0;
    if (bytes.size < MANIFEST_HEADER_SIZE || codec_load_u64(bytes.data) != MANIFEST_MAGIC ||
        codec_load_u64(bytes.data + 24) != checksum64(slice_make(bytes.data, 24), 0)) {
        return STATUS_CORRUPT;
    }
    if (codec_load_u32(bytes.data + 8) > MANIFEST_FORMAT_VERSION) {
        return STATUS_UNSUPPORTED;
    }
    if (codec_load_u32(bytes.data + 12) != 0) {
        return STATUS_CORRUPT;
    }
    uint64_t nonce = codec_load_u64(bytes.data + 16);
    struct slice edit;
    *offset = MANIFEST_HEADER_SIZE;
    while (edit_get(bytes, *offset, nonce, &edit)) {
        enum status status = manifest_state_apply(state, edit);
        if (status != STATUS_OK) {
            return status;
        }
        *offset += edit_room(edit.size);
    }
    /* The first edit was synced before the file got its name; for later ones see (1). */
    if (*offset == MANIFEST_HEADER_SIZE) {
        return STATUS_CORRUPT;
    }
    for (uint64_t at = *offset; at < bytes.size; at += MANIFEST_ALIGNMENT) {
        if (edit_get(bytes, at, nonce, &edit)) {
            return STATUS_CORRUPT;
        }
    }
    return STATUS_OK;
}

static char *name_in(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = memory_allocate(size);
    if (path != NULL) {
        int length = snprintf(path, size, "%s/%s", folder, name);
        ASSERT(length > 0 && (size_t)length < size);
    }
    return path;
}

enum status manifest_open(struct manifest *manifest, struct env *env, const char *folder)
{
    *manifest =
        (struct manifest){.env = env, .folder = folder, .rewrite_size = MANIFEST_REWRITE_SIZE};
    mutex_init(&manifest->mutex);
    char *path = name_in(folder, MANIFEST_NAME);
    if (path == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct buffer bytes = {0};
    uint64_t offset = 0;
    enum status status = file_load(env, path, UINT64_MAX, &bytes);
    if (status == STATUS_OK) {
        status = manifest_decode(buffer_slice(&bytes), &manifest->state, &offset);
        if (status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED) {
            log_error(env, "manifest.unreadable", "path=%s offset=%llu status=%s", path,
                      (unsigned long long)offset, status_name(status));
        }
    }
    buffer_deinit(&bytes);
    memory_free(path);
    return status;
}

void manifest_close(struct manifest *manifest)
{
    if (manifest->env == NULL) {
        return; /* Never opened. */
    }
    if (manifest->file != NULL) {
        manifest->env->ops->file_close(manifest->file);
    }
    manifest_state_deinit(&manifest->state);
    mutex_deinit(&manifest->mutex);
    *manifest = (struct manifest){0};
}

void manifest_cut_log(struct manifest *manifest, uint64_t position)
{
    mutex_lock(&manifest->mutex);
    struct manifest_state *state = &manifest->state;
    ASSERT(position >= state->replay_position);
    for (uint32_t i = 0; i < state->excise_count; i++) {
        if (state->excises[i].position > position) {
            state->excises[i].position = position;
        }
    }
    excises_prune(state);
    mutex_unlock(&manifest->mutex);
}

/* Writes and syncs the new file under its temporary name. */
static enum status temporary_write(struct env *env, const char *path, struct slice bytes,
                                   struct env_file **file)
{
    enum status status = env->ops->name_remove(env, path);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        return status;
    }
    status = env->ops->file_open(env, path, ENV_OPEN_CREATE, file);
    if (status != STATUS_OK) {
        *file = NULL;
        return status;
    }
    status = env->ops->file_write(*file, 0, bytes);
    if (status == STATUS_OK) {
        status = env->ops->file_sync(*file);
    }
    return status;
}

/* What the state will be with `edit` applied. On failure *after is empty. */
static enum status state_after(const struct manifest_state *state, struct slice edit,
                               struct manifest_state *after)
{
    struct buffer copy = {0};
    *after = (struct manifest_state){0};
    manifest_state_put(&copy, state);
    enum status status = buffer_status(&copy);
    if (status == STATUS_OK) {
        status = manifest_state_apply(after, buffer_slice(&copy));
    }
    if (status == STATUS_OK) {
        status = manifest_state_apply(after, edit);
    }
    ASSERT(status != STATUS_CORRUPT); /* We made both. */
    if (status != STATUS_OK) {
        manifest_state_deinit(after);
    }
    buffer_deinit(&copy);
    return status;
}

static void state_replace(struct manifest *manifest, const struct manifest_state *after)
{
    manifest_state_deinit(&manifest->state);
    manifest->state = *after;
}

/* Puts a whole new file in the place of the old one. */
static enum status file_replace(struct manifest *manifest, struct slice bytes,
                                struct env_file **file)
{
    struct env *env = manifest->env;
    char *path = name_in(manifest->folder, MANIFEST_NAME);
    char *temporary = name_in(manifest->folder, MANIFEST_TEMPORARY_NAME);
    enum status status = path == NULL || temporary == NULL ? STATUS_NO_MEMORY : STATUS_OK;
    if (status == STATUS_OK) {
        status = temporary_write(env, temporary, bytes, file);
    }
    if (status == STATUS_OK) {
        status = env->ops->name_rename(env, temporary, path);
    }
    if (status == STATUS_OK) {
        status = env->ops->dir_sync(env, manifest->folder);
    }
    memory_free(path);
    memory_free(temporary);
    return status;
}

/* The mutex is held. */
static enum status rewrite_locked(struct manifest *manifest, struct slice edit)
{
    struct env_file *file = NULL;
    struct buffer whole = {0};
    struct buffer bytes = {0};
    struct manifest_state after;
    uint64_t nonce = env_random(manifest->env);
    enum status status = state_after(&manifest->state, edit, &after);
    if (status == STATUS_OK) {
        manifest_state_put(&whole, &after);
        status = whole.size > MANIFEST_EDIT_SIZE_MAX ? STATUS_TOO_LARGE : buffer_status(&whole);
    }
    if (status == STATUS_OK) {
        manifest_encode(&bytes, nonce, buffer_slice(&whole));
        status = buffer_status(&bytes);
    }
    if (status == STATUS_OK) {
        status = file_replace(manifest, buffer_slice(&bytes), &file);
        manifest->unsettled = status != STATUS_OK;
    }
    if (status == STATUS_OK) {
        if (manifest->file != NULL) {
            manifest->env->ops->file_close(manifest->file);
        }
        manifest->file = file;
        manifest->nonce = nonce;
        manifest->size = bytes.size;
        manifest->snapshot_size = bytes.size;
        state_replace(manifest, &after);
    } else {
        manifest_state_deinit(&after);
        if (file != NULL) {
            manifest->env->ops->file_close(file);
        }
    }
    buffer_deinit(&whole);
    buffer_deinit(&bytes);
    return status;
}

enum status manifest_rewrite(struct manifest *manifest, struct slice edit)
{
    mutex_lock(&manifest->mutex);
    enum status status = rewrite_locked(manifest, edit);
    mutex_unlock(&manifest->mutex);
    return status;
}

/* The mutex is held. */
static enum status append_locked(struct manifest *manifest, struct slice edit)
{
    struct env *env = manifest->env;
    struct buffer bytes = {0};
    struct manifest_state after;
    enum status status = state_after(&manifest->state, edit, &after);
    edit_put(&bytes, edit, manifest->nonce, manifest->size);
    if (status == STATUS_OK) {
        status = buffer_status(&bytes);
    }
    if (status == STATUS_OK) {
        status = env->ops->file_write(manifest->file, manifest->size, buffer_slice(&bytes));
        if (status == STATUS_OK) {
            status = env->ops->file_sync(manifest->file);
        }
        manifest->unsettled = status != STATUS_OK;
    }
    if (status == STATUS_OK) {
        manifest->size += bytes.size;
        state_replace(manifest, &after);
    } else {
        manifest_state_deinit(&after);
    }
    buffer_deinit(&bytes);
    return status;
}

enum status manifest_commit(struct manifest *manifest, const struct buffer *edit)
{
    enum status status = buffer_status(edit);
    if (status == STATUS_OK && edit->size > MANIFEST_EDIT_SIZE_MAX) {
        status = STATUS_TOO_LARGE;
    }
    if (status != STATUS_OK) {
        return status;
    }
    mutex_lock(&manifest->mutex);
    bool long_grown =
        manifest->size > manifest->rewrite_size && manifest->size > 4 * manifest->snapshot_size;
    status = manifest->unsettled || long_grown ? rewrite_locked(manifest, buffer_slice(edit))
                                               : append_locked(manifest, buffer_slice(edit));
    if (manifest->unsettled) {
        log_warn(manifest->env, "manifest.unsettled", "folder=%s status=%s", manifest->folder,
                 status_name(status));
    }
    mutex_unlock(&manifest->mutex);
    return status;
}
