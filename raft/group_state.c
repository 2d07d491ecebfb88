/*
 * raft/group_state.c -- the memory image of a server's log, and its records.
 *
 * A record is type, entry type, two reserved bytes, size of data, two numbers, data; see
 * docs/formats/raft_log.md. Replay believes nothing: every number is checked against the state.
 */
#include "raft/group_state.h"

#include "base/codec.h"
#include "base/memory.h"

#define RECORD_HEADER_SIZE 24
#define MARK_SIZE 40
#define CAPACITY_FIRST 64

enum record_type {
    RECORD_VOTE = 1,
    RECORD_APPEND = 2,
    RECORD_TRUNCATE = 3,
    RECORD_BASE = 4,
    RECORD_NEWCOMER = 5,
};

void group_state_init(struct group_state *state)
{
    *state = (struct group_state){.start_index = 1};
}

void group_state_deinit(struct group_state *state)
{
    for (size_t i = 0; i < state->entry_count; i++) {
        memory_free(state->entries[i].data);
    }
    memory_free(state->entries);
    buffer_deinit(&state->configuration);
    *state = (struct group_state){.start_index = 1};
}

uint64_t group_state_last_index(const struct group_state *state)
{
    return state->start_index + state->entry_count - 1;
}

const struct group_entry *group_state_entry(const struct group_state *state, uint64_t index)
{
    if (index < state->start_index || index - state->start_index >= state->entry_count) {
        return NULL;
    }
    return &state->entries[index - state->start_index];
}

uint64_t group_state_term_of(const struct group_state *state, uint64_t index)
{
    const struct group_entry *entry = group_state_entry(state, index);
    if (entry != NULL) {
        return entry->term;
    }
    return index != 0 && index == state->mark.index ? state->mark.term : 0;
}

static enum status state_make_room(struct group_state *state)
{
    if (state->entry_count < state->entry_capacity) {
        return STATUS_OK;
    }
    size_t capacity = state->entry_capacity == 0 ? CAPACITY_FIRST : state->entry_capacity * 2;
    struct group_entry *entries =
        memory_resize(state->entries, capacity * sizeof(struct group_entry));
    if (entries == NULL) {
        return STATUS_NO_MEMORY;
    }
    state->entries = entries;
    state->entry_capacity = capacity;
    return STATUS_OK;
}

enum status group_state_append(struct group_state *state, uint64_t term, uint16_t type,
                               struct slice data)
{
    ASSERT(data.size > 0);
    ASSERT(data.size <= GROUP_ENTRY_SIZE_MAX);
    enum status status = state_make_room(state);
    if (status != STATUS_OK) {
        return status;
    }
    uint8_t *copy = memory_allocate(data.size);
    if (copy == NULL) {
        return STATUS_NO_MEMORY;
    }
    memcpy(copy, data.data, data.size);
    state->entries[state->entry_count++] =
        (struct group_entry){.term = term, .type = type, .data = copy, .size = (uint32_t)data.size};
    if (type == GROUP_ENTRY_CHANGE) {
        state->change_index = group_state_last_index(state);
    }
    return STATUS_OK;
}

/* Index of the last configuration entry below `limit`, by looking at each. */
static uint64_t change_find(const struct group_state *state, uint64_t limit)
{
    for (size_t i = state->entry_count; i > 0; i--) {
        uint64_t index = state->start_index + i - 1;
        if (index < limit && state->entries[i - 1].type == GROUP_ENTRY_CHANGE) {
            return index;
        }
    }
    return 0;
}

void group_state_truncate(struct group_state *state, uint64_t index)
{
    while (state->entry_count > 0 && group_state_last_index(state) >= index) {
        memory_free(state->entries[--state->entry_count].data);
    }
    if (state->change_index >= index) {
        state->change_index = change_find(state, index);
    }
}

void group_state_drop_until(struct group_state *state, uint64_t index)
{
    size_t count = 0;
    while (count < state->entry_count && state->start_index + count <= index) {
        memory_free(state->entries[count++].data);
    }
    memmove(state->entries, state->entries + count,
            (state->entry_count - count) * sizeof(struct group_entry));
    state->entry_count -= count;
    state->start_index += count;
    if (state->change_index < state->start_index) {
        state->change_index = 0;
    }
}

uint64_t group_state_configuration_index(const struct group_state *state, uint64_t limit)
{
    return state->change_index < limit ? state->change_index : change_find(state, limit);
}

/* ---- records ---- */

struct record {
    enum record_type type;
    uint16_t entry_type;
    uint64_t first;
    uint64_t second;
    struct slice data;
};

static void record_put(struct buffer *to, const struct record *record)
{
    codec_put_u8(to, (uint8_t)record->type);
    codec_put_u8(to, (uint8_t)record->entry_type);
    codec_put_u16(to, 0);
    codec_put_u32(to, (uint32_t)record->data.size);
    codec_put_u64(to, record->first);
    codec_put_u64(to, record->second);
    buffer_append_slice(to, record->data);
}

static bool record_get(struct codec_reader *reader, struct record *record)
{
    uint8_t type = codec_get_u8(reader);
    record->entry_type = codec_get_u8(reader);
    uint16_t reserved = codec_get_u16(reader);
    uint32_t size = codec_get_u32(reader);
    record->first = codec_get_u64(reader);
    record->second = codec_get_u64(reader);
    record->data = codec_get_raw(reader, size);
    if (!codec_reader_ok(reader) || reserved != 0 || type < RECORD_VOTE || type > RECORD_NEWCOMER) {
        return false;
    }
    record->type = (enum record_type)type;
    return true;
}

void group_record_vote(struct buffer *to, uint64_t term, uint64_t vote)
{
    ASSERT(term <= GROUP_TERM_MAX);
    record_put(to, &(struct record){.type = RECORD_VOTE, .first = term, .second = vote});
}

void group_record_append(struct buffer *to, uint64_t index, const struct group_entry *entry)
{
    ASSERT(index > 0);
    ASSERT(entry->size > 0);
    record_put(to, &(struct record){.type = RECORD_APPEND,
                                    .entry_type = entry->type,
                                    .first = index,
                                    .second = entry->term,
                                    .data = slice_make(entry->data, entry->size)});
}

void group_record_truncate(struct buffer *to, uint64_t index)
{
    record_put(to, &(struct record){.type = RECORD_TRUNCATE, .first = index});
}

void group_record_newcomer(struct buffer *to, bool newcomer)
{
    record_put(to, &(struct record){.type = RECORD_NEWCOMER, .first = newcomer ? 1 : 0});
}

void group_record_state(struct buffer *to, const struct group_state *state)
{
    struct buffer base = {0};
    codec_put_u64(&base, state->mark.generation);
    codec_put_u64(&base, state->mark.index);
    codec_put_u64(&base, state->mark.term);
    codec_put_u64(&base, state->mark.configuration_index);
    codec_put_u64(&base, state->mark.checksum);
    buffer_append_slice(&base, buffer_slice(&state->configuration));
    if (base.failed) {
        to->failed = true;
    }
    record_put(to, &(struct record){.type = RECORD_BASE,
                                    .first = state->start_index,
                                    .data = buffer_slice(&base)});
    buffer_deinit(&base);
    group_record_vote(to, state->term, state->vote);
    for (size_t i = 0; i < state->entry_count; i++) {
        group_record_append(to, state->start_index + i, &state->entries[i]);
    }
    if (state->newcomer) {
        group_record_newcomer(to, true);
    }
}

size_t group_record_split(struct slice records, size_t size_max)
{
    struct codec_reader reader = codec_reader_make(records);
    size_t taken = 0;
    struct record record;
    while (reader.rest.size > 0) {
        bool whole = record_get(&reader, &record);
        ASSERT(whole); /* Ours, just written. */
        size_t end = records.size - reader.rest.size;
        if (end > size_max && taken > 0) {
            break;
        }
        taken = end;
    }
    return taken;
}

static enum status replay_vote(struct group_state *state, const struct record *record)
{
    bool renewed = record->first > state->term;
    bool voted =
        record->first == state->term && (state->vote == 0 || state->vote == record->second);
    if (record->first > GROUP_TERM_MAX || (!renewed && !voted) || record->data.size != 0) {
        return STATUS_CORRUPT;
    }
    state->term = record->first;
    state->vote = record->second;
    return STATUS_OK;
}

static enum status replay_append(struct group_state *state, const struct record *record)
{
    if (record->first != group_state_last_index(state) + 1 || record->first > GROUP_INDEX_MAX ||
        record->second == 0 || record->second > state->term || record->data.size == 0 ||
        record->data.size > GROUP_ENTRY_SIZE_MAX || record->entry_type < GROUP_ENTRY_COMMAND ||
        record->entry_type > GROUP_ENTRY_CHANGE) {
        return STATUS_CORRUPT;
    }
    return group_state_append(state, record->second, record->entry_type, record->data);
}

static enum status replay_base(struct group_state *state, const struct record *record)
{
    struct codec_reader reader = codec_reader_make(record->data);
    struct group_mark mark = {0};
    mark.generation = codec_get_u64(&reader);
    mark.index = codec_get_u64(&reader);
    mark.term = codec_get_u64(&reader);
    mark.configuration_index = codec_get_u64(&reader);
    mark.checksum = codec_get_u64(&reader);
    bool empty = mark.generation == 0;
    if (!codec_reader_ok(&reader) || record->first == 0 || record->first > mark.index + 1 ||
        mark.index > GROUP_INDEX_MAX || mark.term > GROUP_TERM_MAX ||
        mark.configuration_index > mark.index || empty != (mark.index == 0) ||
        empty != (mark.term == 0) || empty != (reader.rest.size == 0) ||
        reader.rest.size > GROUP_CONFIGURATION_SIZE_MAX) {
        return STATUS_CORRUPT;
    }
    /* Only at the very beginning. */
    if (state->term != 0 || state->entry_count != 0 || state->mark.generation != 0) {
        return STATUS_CORRUPT;
    }
    state->mark = mark;
    state->start_index = record->first;
    buffer_append_slice(&state->configuration, reader.rest);
    return buffer_status(&state->configuration);
}

static enum status replay_record(struct group_state *state, const struct record *record)
{
    if (record->type != RECORD_APPEND && record->entry_type != 0) {
        return STATUS_CORRUPT;
    }
    switch (record->type) {
    case RECORD_VOTE:
        return replay_vote(state, record);
    case RECORD_APPEND:
        return replay_append(state, record);
    case RECORD_TRUNCATE:
        if (record->data.size != 0 || record->second != 0 || record->first <= state->mark.index ||
            record->first > group_state_last_index(state) + 1) {
            return STATUS_CORRUPT;
        }
        group_state_truncate(state, record->first);
        return STATUS_OK;
    case RECORD_BASE:
        return replay_base(state, record);
    case RECORD_NEWCOMER:
        if (record->data.size != 0 || record->second != 0 || record->first > 1) {
            return STATUS_CORRUPT;
        }
        state->newcomer = record->first == 1;
        return STATUS_OK;
    }
    return STATUS_CORRUPT;
}

enum status group_record_replay(struct group_state *state, struct slice payload)
{
    struct codec_reader reader = codec_reader_make(payload);
    enum status status = STATUS_OK;
    struct record record;
    while (status == STATUS_OK && reader.rest.size > 0) {
        status = record_get(&reader, &record) ? replay_record(state, &record) : STATUS_CORRUPT;
    }
    return status;
}
