/*
 * raft/group_io.c -- the raft_io the library runs on: log, messages and ticks over the env.
 *
 * Why the library never gets an error from here: its paths after a failed write or send free
 * things twice or truncate what is in flight. So a call always takes what it is given; a disk that
 * fails ends the group, and a message that cannot leave is lost, as on any network.
 * Why term and vote are queued like entries: the library calls for them synchronously, but a loop
 * must not wait for a disk. What was promised under them is held back instead; see (3) in
 * group_internal.h. One job at a time writes all that is queued, with one sync.
 */
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "raft/group_internal.h"
#include "raft/group_mutant.h"

static struct group *io_group(struct raft_io *io)
{
    return io->impl;
}

/* ---- the queue of writes ---- */

static struct group_op *op_new(struct group *group, enum group_op_kind kind)
{
    struct group_op *op = memory_allocate_zeroed(1, sizeof *op);
    if (op == NULL) {
        group_fail(group, STATUS_NO_MEMORY);
        return NULL;
    }
    op->kind = kind;
    op->term = group_guard_term(group);
    return op;
}

static void op_free(struct group_op *op)
{
    buffer_deinit(&op->records);
    buffer_deinit(&op->snapshot);
    memory_free(op);
}

static bool op_is_log(const struct group_op *op)
{
    return op->kind == GROUP_OP_APPEND || op->kind == GROUP_OP_TRUNCATE ||
           op->kind == GROUP_OP_SNAPSHOT;
}

static void op_push(struct group *group, struct group_op *op)
{
    if (buffer_status(&op->records) != STATUS_OK) {
        group_fail(group, STATUS_NO_MEMORY); /* It stays queued, to be completed at the end. */
    }
    op->ticket = ++group->ticket_queued;
    if (op->kind == GROUP_OP_VOTE) {
        group->ticket_metadata = op->ticket;
    }
    group->log_op_count += op_is_log(op) ? 1 : 0;
    list_append(&group->ops, &op->node);
}

void group_io_push_mark(struct group *group)
{
    struct group_op *op = op_new(group, GROUP_OP_MARK);
    if (op != NULL) {
        op_push(group, op);
    }
}

void group_io_push_arrived(struct group *group)
{
    struct group_op *op = op_new(group, GROUP_OP_ARRIVED);
    if (op != NULL) {
        group_record_newcomer(&op->records, false);
        op_push(group, op);
    }
}

/* Makes `op` start a generation with the state as it is now. */
static void op_generation(struct group *group, struct group_op *op)
{
    op->generation = ++group->generation;
    op->snapshot_generation = group->state.mark.generation;
    group_record_state(&op->records, &group->state);
}

static bool op_starts_generation(const struct group_op *op)
{
    return op->kind == GROUP_OP_SNAPSHOT || op->kind == GROUP_OP_ROTATE;
}

/* On the WAL lane: owns group->log, group->batch and the ops of group->running. */
static void write_run(struct env_job *job)
{
    struct group *group = container_of(job, struct group, job);
    struct group_op *first = container_of(group->running.next, struct group_op, node);
    if (op_starts_generation(first)) {
        group->job_status = group_log_rotate(
            &group->log, &(struct group_log_next){
                             .generation = first->generation,
                             .records = buffer_slice(&first->records),
                             .snapshot = first->snapshot.size > 0 ? &first->snapshot : NULL,
                             .snapshot_generation = first->snapshot_generation,
                         });
    } else {
        group->job_status = group_log_write(&group->log, buffer_slice(&group->batch));
    }
}

static void op_complete(struct group *group, struct group_op *op)
{
    group->ticket_durable = op->ticket;
    group->log_op_count -= op_is_log(op) ? 1 : 0;
    if (op->kind == GROUP_OP_APPEND) {
        group_enter(group);
        group_guard_append_done(group, op);
        group_leave(group);
    } else if (op->kind == GROUP_OP_SNAPSHOT) {
        buffer_deinit(&group->snapshot);
        group->snapshot = op->snapshot;
        op->snapshot = (struct buffer){0};
        group_enter(group);
        group_guard_snapshot_done(group, op);
        group_leave(group);
    }
}

static void write_done(struct env_job *job, enum status status)
{
    struct group *group = container_of(job, struct group, job);
    group->job_running = false;
    if (status != STATUS_OK) {
        group_fail(group, status);
    } else if (group->job_status != STATUS_OK) {
        group_fail(group, group->job_status);
    }
    while (group->failure == STATUS_OK && !list_empty(&group->running)) {
        struct list_node *node = list_take_first(&group->running);
        struct group_op *op = container_of(node, struct group_op, node);
        op_complete(group, op);
        op_free(op);
    }
    group_settle(group);
}

/* Moves to `running` what one job does: one generation, or the records up to the next. */
static void batch_take(struct group *group)
{
    buffer_clear(&group->batch);
    list_for_each (node, following, &group->ops) {
        struct group_op *op = container_of(node, struct group_op, node);
        bool first = list_empty(&group->running);
        if (!first && (op_starts_generation(op) ||
                       group->batch.size + op->records.size > GROUP_WRITE_SIZE_MAX)) {
            break;
        }
        list_remove(&op->node);
        list_append(&group->running, &op->node);
        if (op_starts_generation(op)) {
            break;
        }
        buffer_append_slice(&group->batch, buffer_slice(&op->records));
    }
}

static void rotate_if_long(struct group *group)
{
    uint64_t base = group->log.base_size * 4;
    uint64_t limit = base > GROUP_ROTATE_SIZE ? base : GROUP_ROTATE_SIZE;
    if (group->log.offset < limit || group->log.generation != group->generation) {
        return; /* Short enough, or the next generation is queued already. */
    }
    struct group_op *op = op_new(group, GROUP_OP_ROTATE);
    if (op != NULL) {
        op_generation(group, op);
        op_push(group, op);
    }
}

static void write_start(struct group *group)
{
    if (group->job_running || group->failure != STATUS_OK) {
        return;
    }
    ASSERT(list_empty(&group->running));
    if (!list_empty(&group->ops)) {
        rotate_if_long(group);
        batch_take(group);
        if (buffer_status(&group->batch) != STATUS_OK) {
            group_fail(group, STATUS_NO_MEMORY);
            return;
        }
        group->job_running = true;
        env_submit(group->env, ENV_LANE_WAL, &group->job);
    }
}

/* ---- messages ---- */

static void held_free(struct group *group, struct group_held *held)
{
    group->held_count--;
    group->held_size -= held->bytes.size;
    list_remove(&held->node);
    buffer_deinit(&held->bytes);
    memory_free(held);
}

static void held_release(struct group *group, struct list_node *queue)
{
    list_for_each (node, following, queue) {
        struct group_held *held = container_of(node, struct group_held, node);
        if (held->ticket > group->ticket_durable) {
            break;
        }
        group->events.send(group->context, held->to, buffer_slice(&held->bytes));
        held_free(group, held);
    }
}

void group_io_flush(struct group *group)
{
    if (group->failure == STATUS_OK && group->phase == GROUP_RUNNING) {
        held_release(group, &group->held_promises);
        held_release(group, &group->held_leading);
    }
    write_start(group);
}

void group_io_send(struct group *group, const struct raft_message *message)
{
    bool leading =
        message->type == RAFT_IO_APPEND_ENTRIES || message->type == RAFT_IO_INSTALL_SNAPSHOT;
    struct group_held *held = memory_allocate_zeroed(1, sizeof *held);
    enum status status = STATUS_NO_MEMORY;
    if (held != NULL) {
        status = group_message_encode(&held->bytes, group->id, message);
        if (status == STATUS_OK && group->state.newcomer) {
            group_message_mark_newcomer(&held->bytes);
        }
    }
    if (status != STATUS_OK || group->held_count >= GROUP_HELD_COUNT_MAX ||
        group->held_size + held->bytes.size > GROUP_HELD_SIZE_MAX) {
        log_warn(group->env, "group.send.dropped", "id=%u to=%u type=%u status=%s", group->id,
                 (unsigned)message->server_id, message->type, status_name(status));
        if (held != NULL) {
            buffer_deinit(&held->bytes);
        }
        memory_free(held);
        return;
    }
    held->to = (uint32_t)message->server_id;
    held->ticket = leading ? group->ticket_metadata : group->ticket_queued;
    if (!leading && GROUP_WITHOUT(PROMISES)) {
        held->ticket = 0;
    }
    group->held_count++;
    group->held_size += held->bytes.size;
    list_append(leading ? &group->held_leading : &group->held_promises, &held->node);
}

/* ---- completions on the next turn ---- */

static struct group_owed *owed_push(struct group *group)
{
    struct group_owed *owed = memory_allocate_zeroed(1, sizeof *owed);
    if (owed == NULL) {
        group_fail(group, STATUS_NO_MEMORY);
        return NULL;
    }
    if (list_empty(&group->owed)) {
        env_timer_start_ms(group->env, &group->owed_timer, 0);
    }
    list_append(&group->owed, &owed->node);
    return owed;
}

/* A copy for the library, of memory it frees; NULL if there is none, or no memory. */
static struct raft_snapshot *snapshot_copy(struct group *group)
{
    struct group_snapshot found;
    struct raft_snapshot *copy = raft_calloc(1, sizeof *copy);
    if (copy == NULL || group->snapshot.size == 0 ||
        group_snapshot_decode(buffer_slice(&group->snapshot), &found) != STATUS_OK ||
        group_configuration_decode(found.configuration, &copy->configuration) != STATUS_OK) {
        raft_free(copy);
        return NULL;
    }
    copy->index = found.mark.index;
    copy->term = found.mark.term;
    copy->configuration_index = found.mark.configuration_index;
    copy->n_bufs = 1;
    copy->bufs = raft_calloc(1, sizeof *copy->bufs);
    void *data = raft_malloc(found.data.size > 0 ? found.data.size : 1);
    if (copy->bufs == NULL || data == NULL) {
        raft_configuration_close(&copy->configuration);
        raft_free(copy->bufs);
        raft_free(data);
        raft_free(copy);
        return NULL;
    }
    if (found.data.size > 0) {
        memcpy(data, found.data.data, found.data.size);
    }
    copy->bufs[0] = (struct raft_buffer){.base = data, .len = found.data.size};
    return copy;
}

static void owed_complete(struct group *group, struct group_owed *owed, int rc)
{
    if (owed->send != NULL) {
        owed->send->cb(owed->send, 0);
    } else {
        struct raft_snapshot *snapshot = rc == 0 ? snapshot_copy(group) : NULL;
        owed->get->cb(owed->get, snapshot, snapshot != NULL ? 0 : RAFT_IOERR);
    }
    memory_free(owed);
}

static void owed_fired(struct env_timer *timer)
{
    struct group *group = container_of(timer, struct group, owed_timer);
    struct list_node now; /* What these bring forth waits for the next turn. */
    list_init(&now);
    while (!list_empty(&group->owed)) {
        list_append(&now, list_take_first(&group->owed));
    }
    while (group->failure == STATUS_OK && !list_empty(&now)) {
        struct list_node *node = list_take_first(&now);
        group_enter(group);
        owed_complete(group, container_of(node, struct group_owed, node), 0);
        group_leave(group);
    }
    while (!list_empty(&now)) {
        list_append(&group->owed, list_take_first(&now)); /* Failed: completed at the end. */
    }
    group_settle(group);
    group_stop_continue(group);
}

/* ---- time ---- */

static void tick_fired(struct env_timer *timer)
{
    struct group *group = container_of(timer, struct group, tick_timer);
    if (group->phase != GROUP_RUNNING) {
        return;
    }
    env_timer_start_ms(group->env, timer, group->heartbeat_timeout_ms);
    group_enter(group);
    group_guard_tick(group);
    group_leave(group);
    if (!group->job_running && list_empty(&group->ops) && !group->log.witnessed) {
        group_io_push_mark(group);
    }
    enum status status = group_guard_check_configuration(group);
    if (status != STATUS_OK) {
        group_fail(group, status);
    }
    group_settle(group);
}

static raft_time io_time(struct raft_io *io)
{
    return env_monotonic_ms(io_group(io)->env);
}

static int io_random(struct raft_io *io, int low, int high)
{
    ASSERT(low < high);
    return low + (int)(env_random(io_group(io)->env) % (uint64_t)(high - low));
}

/* ---- the table of the library ---- */

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    (void)io;
    (void)id;
    (void)address;
    return 0;
}

static void io_close(struct raft_io *io, raft_io_close_cb done)
{
    group_io_abandon(io_group(io));
    done(io);
}

enum status group_io_check(const struct group *group)
{
    const struct group_state *state = &group->state;
    struct raft_configuration configuration;
    bool empty = state->entry_count == 0; /* Of a server that was not added yet. */
    bool begins =
        state->mark.index != 0 ||
        (state->start_index == 1 && (empty || state->entries[0].type == GROUP_ENTRY_CHANGE));
    if (!begins || state->term == 0 || group_state_last_index(state) < state->mark.index) {
        log_error(group->env, "group.gap",
                  "id=%u term=%" PRIu64 " start=%" PRIu64 " last=%" PRIu64 " snapshot=%" PRIu64,
                  group->id, state->term, state->start_index, group_state_last_index(state),
                  state->mark.index);
        return STATUS_CORRUPT;
    }
    enum status status = STATUS_OK;
    if (state->mark.index != 0) {
        status = group_configuration_decode(buffer_slice(&state->configuration), &configuration);
        if (status == STATUS_OK) {
            raft_configuration_close(&configuration);
        }
    }
    for (size_t i = 0; status == STATUS_OK && i < state->entry_count; i++) {
        struct slice data = slice_make(state->entries[i].data, state->entries[i].size);
        if (state->entries[i].type == GROUP_ENTRY_CHANGE) {
            status = group_configuration_decode(data, &configuration);
            if (status == STATUS_OK) {
                raft_configuration_close(&configuration);
            }
        } else if (state->entries[i].type == GROUP_ENTRY_COMMAND) {
            struct group_command command;
            status = group_command_decode(data, &command);
        }
    }
    return status;
}

/* Rule "own buffers": each entry in a block of its own, no batch. */
static int entries_copy(const struct group_state *state, struct raft_entry **to)
{
    struct raft_entry *entries = raft_calloc(state->entry_count, sizeof *entries);
    if (entries == NULL) {
        return RAFT_NOMEM;
    }
    for (size_t i = 0; i < state->entry_count; i++) {
        const struct group_entry *entry = &state->entries[i];
        void *data = raft_malloc(entry->size);
        if (data == NULL) {
            while (i > 0) {
                raft_free(entries[--i].buf.base);
            }
            raft_free(entries);
            return RAFT_NOMEM;
        }
        memcpy(data, entry->data, entry->size);
        entries[i] = (struct raft_entry){
            .term = entry->term, .type = entry->type, .buf = {.base = data, .len = entry->size}};
    }
    *to = entries;
    return 0;
}

/* NOLINTNEXTLINE(readability-function-size): the parameters are those of struct raft_io. */
static int io_load(struct raft_io *io, raft_term *term, raft_id *vote,
                   struct raft_snapshot **snapshot, raft_index *start_index,
                   struct raft_entry **entries, size_t *entry_count)
{
    struct group *group = io_group(io);
    const struct group_state *state = &group->state;
    *snapshot = NULL;
    *entries = NULL;
    if (state->entry_count > 0) {
        int rc = entries_copy(state, entries);
        if (rc != 0) {
            return rc;
        }
    }
    if (state->mark.index != 0) {
        *snapshot = snapshot_copy(group);
        if (*snapshot == NULL) {
            for (size_t i = 0; i < state->entry_count; i++) {
                raft_free((*entries)[i].buf.base);
            }
            raft_free(*entries);
            return RAFT_NOMEM;
        }
    }
    *term = state->term;
    *vote = state->vote;
    *start_index = state->start_index;
    *entry_count = state->entry_count;
    return 0;
}

static int io_start(struct raft_io *io, unsigned period_ms, raft_io_tick_cb tick,
                    raft_io_recv_cb recv)
{
    struct group *group = io_group(io);
    group->tick_cb = tick;
    group->recv_cb = recv;
    group_guard_loaded(group);
    /* Servers started together do not tick together. */
    env_timer_start_ms(group->env, &group->tick_timer, 1 + env_random(group->env) % period_ms);
    return 0;
}

/* group_open() writes the first configuration, and recovery is a matter of the node. */
static int io_bootstrap(struct raft_io *io, const struct raft_configuration *configuration)
{
    (void)io;
    (void)configuration;
    return RAFT_CANTBOOTSTRAP;
}

static int vote_write(struct group *group)
{
    struct group_op *op = op_new(group, GROUP_OP_VOTE);
    if (op != NULL) {
        group_record_vote(&op->records, group->state.term, group->state.vote);
        op_push(group, op);
    }
    return 0;
}

static int io_set_term(struct raft_io *io, raft_term term)
{
    struct group *group = io_group(io);
    ASSERT(term > group->state.term);
    group->state.term = term;
    group->state.vote = 0;
    return vote_write(group);
}

static int io_set_vote(struct raft_io *io, raft_id vote)
{
    struct group *group = io_group(io);
    ASSERT(group->state.vote == 0 || group->state.vote == vote);
    group->state.vote = vote;
    return vote_write(group);
}

static int io_send(struct raft_io *io, struct raft_io_send *request,
                   const struct raft_message *message, raft_io_send_cb done)
{
    struct group *group = io_group(io);
    struct raft_message copy = *message;
    if (group->phase == GROUP_RUNNING && group->failure == STATUS_OK &&
        !group_guard_drops_outgoing(group, &copy)) {
        group_io_send(group, &copy);
    }
    if (done != NULL) {
        struct group_owed *owed = owed_push(group);
        if (owed != NULL) {
            request->cb = done;
            owed->send = request;
        }
    }
    return 0;
}

static int io_append(struct raft_io *io, struct raft_io_append *request,
                     const struct raft_entry entries[], unsigned count, raft_io_append_cb done)
{
    struct group *group = io_group(io);
    struct group_op *op = op_new(group, GROUP_OP_APPEND);
    if (op == NULL) {
        return 0;
    }
    request->cb = done;
    op->append = request;
    for (unsigned i = 0; i < count; i++) {
        uint64_t index = group_state_last_index(&group->state) + 1;
        struct slice data = group_entry_bytes(&entries[i]);
        if (group_state_append(&group->state, entries[i].term, entries[i].type, data) !=
            STATUS_OK) {
            op->records.failed = true;
            break;
        }
        group_record_append(&op->records, index, group_state_entry(&group->state, index));
    }
    op->last_index = group_state_last_index(&group->state);
    op_push(group, op);
    return 0;
}

static int io_truncate(struct raft_io *io, raft_index index)
{
    struct group *group = io_group(io);
    struct group_op *op = op_new(group, GROUP_OP_TRUNCATE);
    if (op != NULL) {
        group_state_truncate(&group->state, index);
        group_record_truncate(&op->records, index);
        op_push(group, op);
    }
    return 0;
}

static enum status snapshot_build(struct group *group, struct group_op *op,
                                  const struct raft_snapshot *snapshot)
{
    struct buffer data = {0};
    struct buffer configuration = {0};
    for (unsigned i = 0; i < snapshot->n_bufs; i++) {
        buffer_append(&data, snapshot->bufs[i].base, snapshot->bufs[i].len);
    }
    group_configuration_encode(&configuration, &snapshot->configuration);
    enum status status = buffer_status(&data);
    if (status == STATUS_OK) {
        status = buffer_status(&configuration);
    }
    struct group_snapshot built = {
        .mark = {.generation = group->generation + 1,
                 .index = snapshot->index,
                 .term = snapshot->term,
                 .configuration_index = snapshot->configuration_index},
        .configuration = buffer_slice(&configuration),
        .data = buffer_slice(&data),
    };
    if (status == STATUS_OK) {
        status = group_snapshot_encode(&op->snapshot, &built);
    }
    buffer_deinit(&data);
    if (status == STATUS_OK) {
        buffer_deinit(&group->state.configuration);
        group->state.configuration = configuration;
        group->state.mark = built.mark;
    } else {
        buffer_deinit(&configuration);
    }
    return status;
}

static int io_snapshot_put(struct raft_io *io, unsigned trailing,
                           struct raft_io_snapshot_put *request,
                           const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb done)
{
    struct group *group = io_group(io);
    struct group_op *op = op_new(group, GROUP_OP_SNAPSHOT);
    if (op == NULL) {
        return 0;
    }
    request->cb = done;
    op->put = request;
    op->install = trailing == 0; /* The library asks for none of the log to stay. */
    enum status status = snapshot_build(group, op, snapshot);
    if (status != STATUS_OK) {
        group_fail(group, status);
    } else if (op->install) {
        group_state_truncate(&group->state, 0);
        group->state.start_index = snapshot->index + 1;
    } else if (snapshot->index > trailing) {
        group_state_drop_until(&group->state, snapshot->index - trailing);
    }
    op_generation(group, op);
    op_push(group, op);
    return 0;
}

static int io_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *request,
                           raft_io_snapshot_get_cb done)
{
    struct group_owed *owed = owed_push(io_group(io));
    if (owed != NULL) {
        request->cb = done;
        owed->get = request;
    }
    return 0;
}

void group_io_init(struct group *group)
{
    list_init(&group->ops);
    list_init(&group->running);
    list_init(&group->held_promises);
    list_init(&group->held_leading);
    list_init(&group->owed);
    group->job.run = write_run;
    group->job.done = write_done;
    group->tick_timer.fired = tick_fired;
    group->owed_timer.fired = owed_fired;
    group->io = (struct raft_io){
        .version = 1,
        .impl = group,
        .init = io_init,
        .close = io_close,
        .load = io_load,
        .start = io_start,
        .bootstrap = io_bootstrap,
        .recover = io_bootstrap,
        .set_term = io_set_term,
        .set_vote = io_set_vote,
        .send = io_send,
        .append = io_append,
        .truncate = io_truncate,
        .snapshot_put = io_snapshot_put,
        .snapshot_get = io_snapshot_get,
        .time = io_time,
        .random = io_random,
    };
}

bool group_io_drained(const struct group *group)
{
    return !group->job_running && list_empty(&group->ops) && list_empty(&group->running) &&
           list_empty(&group->owed);
}

static void ops_abandon(struct group *group, struct list_node *ops)
{
    for (struct list_node *node = list_take_first(ops); node != NULL; node = list_take_first(ops)) {
        struct group_op *op = container_of(node, struct group_op, node);
        /* The library is UNAVAILABLE: told of success it only lets go of what the append held. */
        if (op->append != NULL) {
            op->append->cb(op->append, 0);
        }
        if (op->put != NULL) {
            op->put->cb(op->put, RAFT_CANCELED);
        }
        op_free(op);
    }
    (void)group;
}

void group_io_abandon(struct group *group)
{
    ASSERT(!group->job_running);
    ops_abandon(group, &group->running);
    ops_abandon(group, &group->ops);
    for (struct list_node *node = list_take_first(&group->owed); node != NULL;
         node = list_take_first(&group->owed)) {
        owed_complete(group, container_of(node, struct group_owed, node), RAFT_CANCELED);
    }
}

static void held_clear(struct group *group, struct list_node *queue)
{
    list_for_each (node, following, queue) {
        held_free(group, container_of(node, struct group_held, node));
    }
}

void group_io_deinit(struct group *group)
{
    if (group->phase != GROUP_OPEN) { /* An open that failed ends in a job, and no timer ran yet. */
        group->env->ops->timer_stop(group->env, &group->tick_timer);
        group->env->ops->timer_stop(group->env, &group->owed_timer);
    }
    held_clear(group, &group->held_promises);
    held_clear(group, &group->held_leading);
    buffer_deinit(&group->batch);
    buffer_deinit(&group->snapshot);
    group_state_deinit(&group->state);
    group_log_close(&group->log);
}
