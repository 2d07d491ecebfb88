/*
 * raft/group_recovery.c -- the promises stand in group_recovery.h.
 *
 * The new configuration and the command go to the end of the log, in a term of their own, and all
 * of it is written as the next generation, as every opening does: one rename decides. The server
 * finds itself the only voter then, and leads.
 */
#include "raft/group_recovery.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "raft/group_log.h"
#include "raft/group_message.h"

#define ADDRESS_SIZE_MAX 12

/* What is read of a folder, and made of it. */
struct remains {
    struct group_log log;
    struct group_state state;
    struct buffer snapshot; /* Its file. */
};

static enum status remains_open(struct remains *remains, struct env *env,
                                const struct group_folder *folder)
{
    *remains = (struct remains){0};
    group_state_init(&remains->state);
    return group_log_open(&remains->log, env, folder->path, folder->id, &remains->state,
                          &remains->snapshot);
}

static void remains_close(struct remains *remains)
{
    group_state_deinit(&remains->state);
    buffer_deinit(&remains->snapshot);
    group_log_close(&remains->log);
}

/* ---- looking ---- */

static uint32_t voters_of(const struct group_state *state)
{
    struct raft_configuration configuration;
    uint64_t index = group_state_configuration_index(state, UINT64_MAX);
    struct slice bytes = buffer_slice(&state->configuration);
    if (index != 0) {
        const struct group_entry *entry = group_state_entry(state, index);
        bytes = slice_make(entry->data, entry->size);
    }
    uint32_t count = 0;
    if (group_configuration_decode(bytes, &configuration) == STATUS_OK) {
        for (unsigned i = 0; i < configuration.n; i++) {
            count += configuration.servers[i].role == RAFT_VOTER ? 1 : 0;
        }
        raft_configuration_close(&configuration);
    }
    return count;
}

static enum status entries_apply(const struct group_state *state,
                                 const struct group_examination *examination)
{
    enum status status = STATUS_OK;
    uint64_t last = group_state_last_index(state);
    for (uint64_t index = state->mark.index + 1; status == STATUS_OK && index <= last; index++) {
        const struct group_entry *entry = group_state_entry(state, index);
        struct group_command command;
        if (entry == NULL) {
            return STATUS_CORRUPT;
        }
        if (entry->type == GROUP_ENTRY_COMMAND) {
            status = group_command_decode(slice_make(entry->data, entry->size), &command);
            if (status == STATUS_OK) {
                status = examination->applied(examination->context, index, command.payload);
            }
        }
    }
    return status;
}

enum status group_examine(struct env *env, const struct group_folder *folder,
                          struct group_examination *examination)
{
    struct remains remains;
    struct group_snapshot snapshot;
    enum status status = remains_open(&remains, env, folder);
    if (status == STATUS_OK && remains.snapshot.size > 0) {
        status = group_snapshot_decode(buffer_slice(&remains.snapshot), &snapshot);
        if (status == STATUS_OK) {
            status = examination->restored(examination->context, snapshot.data);
        }
    }
    if (status == STATUS_OK) {
        status = entries_apply(&remains.state, examination);
    }
    if (status == STATUS_OK) {
        examination->term = remains.state.term;
        examination->last_index = group_state_last_index(&remains.state);
        examination->snapshot_index = remains.state.mark.index;
        examination->voter_count = voters_of(&remains.state);
    }
    remains_close(&remains);
    return status;
}

/* ---- recovering ---- */

static enum status configuration_build(uint32_t id, struct buffer *to)
{
    struct raft_configuration configuration;
    char address[ADDRESS_SIZE_MAX];
    (void)snprintf(address, sizeof address, "%" PRIu32, id);
    raft_configuration_init(&configuration);
    enum status status = raft_configuration_add(&configuration, id, address, RAFT_VOTER) == 0
                             ? STATUS_OK
                             : STATUS_NO_MEMORY;
    if (status == STATUS_OK) {
        group_configuration_encode(to, &configuration);
        status = buffer_status(to);
    }
    raft_configuration_close(&configuration);
    return status;
}

/* The given state takes the place of the log, one entry after it. */
static enum status snapshot_place(struct remains *remains, struct slice data,
                                  struct slice configuration)
{
    struct group_state *state = &remains->state;
    struct group_snapshot snapshot = {
        .mark = {.generation = remains->log.generation + 1,
                 .index = group_state_last_index(state) + 1,
                 .term = state->term,
                 .configuration_index = group_state_last_index(state) + 1},
        .configuration = configuration,
        .data = data,
    };
    buffer_clear(&remains->snapshot);
    enum status status = group_snapshot_encode(&remains->snapshot, &snapshot);
    if (status == STATUS_OK) {
        group_state_truncate(state, 0);
        state->mark = snapshot.mark;
        state->start_index = snapshot.mark.index + 1;
        buffer_clear(&state->configuration);
        buffer_append_slice(&state->configuration, configuration);
        status = buffer_status(&state->configuration);
    }
    return status;
}

static enum status remains_recover(struct remains *remains, uint32_t id, struct slice data)
{
    struct buffer configuration = {0};
    if (remains->state.term >= GROUP_TERM_MAX - 1) {
        return STATUS_CORRUPT;
    }
    remains->state.term++;
    remains->state.vote = id;
    remains->state.newcomer = false;
    enum status status = configuration_build(id, &configuration);
    if (status == STATUS_OK) {
        status = snapshot_place(remains, data, buffer_slice(&configuration));
    }
    buffer_deinit(&configuration);
    return status;
}

static enum status remains_write(struct remains *remains)
{
    struct buffer records = {0};
    group_record_state(&records, &remains->state);
    enum status status = buffer_status(&records);
    if (status == STATUS_OK) {
        status = group_log_rotate(&remains->log,
                                  &(struct group_log_next){
                                      .generation = remains->log.generation + 1,
                                      .records = buffer_slice(&records),
                                      .snapshot = &remains->snapshot,
                                      .snapshot_generation = remains->state.mark.generation,
                                  });
    }
    buffer_deinit(&records);
    return status;
}

enum status group_recover(struct env *env, const struct group_folder *folder, struct slice state)
{
    struct remains remains;
    if (state.size > GROUP_SNAPSHOT_SIZE_MAX) {
        return STATUS_TOO_LARGE;
    }
    enum status status = remains_open(&remains, env, folder);
    if (status == STATUS_NOT_FOUND) {
        remains.state.term = 1; /* The first that a founder has, too. */
        status = STATUS_OK;
    }
    if (status == STATUS_OK) {
        status = remains_recover(&remains, folder->id, state);
    }
    if (status == STATUS_OK) {
        status = remains_write(&remains);
    }
    if (status == STATUS_OK) {
        log_warn(env, "group.recovered", "id=%" PRIu32 " term=%" PRIu64 " index=%" PRIu64,
                 folder->id, remains.state.term, remains.state.mark.index);
    }
    remains_close(&remains);
    return status;
}
