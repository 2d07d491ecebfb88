/* node/acceptor.c -- see acceptor.h. */
#include "node/acceptor.h"

#include "base/checksum.h"
#include "base/contract.h"
#include "base/token.h"

#define BUCKET_SEED 0
#define KEYSPACE_OFFSET 2u /* In an engine key, behind the slot; big-endian. */

void acceptor_init(struct acceptor *acceptor, struct replica *replica)
{
    acceptor->replica = replica;
    acceptor->operation_count = 0;
    for (uint32_t index = 0; index < ACCEPTOR_BUCKET_COUNT; index++) {
        list_init(&acceptor->buckets[index]);
    }
}

void acceptor_deinit(const struct acceptor *acceptor)
{
    ASSERT(acceptor->operation_count == 0);
}

void acceptor_operation_deinit(struct acceptor_operation *operation)
{
    buffer_deinit(&operation->engine_key);
    buffer_deinit(&operation->promise_key);
    buffer_deinit(&operation->proposed);
    buffer_deinit(&operation->scratch);
    buffer_deinit(&operation->promise_scratch);
}

/* ------------------------------------------------------------------ one key at a time */

static struct list_node *bucket_of(struct acceptor *acceptor, struct slice engine_key)
{
    return &acceptor->buckets[checksum64(engine_key, BUCKET_SEED) % ACCEPTOR_BUCKET_COUNT];
}

/* The first operation on the key, and how many there are. */
static struct acceptor_operation *key_first(struct acceptor *acceptor, struct slice engine_key,
                                            uint32_t *count)
{
    struct acceptor_operation *first = NULL;
    *count = 0;
    list_for_each (node, following, bucket_of(acceptor, engine_key)) {
        struct acceptor_operation *operation = container_of(node, struct acceptor_operation, node);
        if (slice_equal(buffer_slice(&operation->engine_key), engine_key)) {
            first = first == NULL ? operation : first;
            (*count)++;
        }
    }
    return first;
}

/* Ends an operation; the next one on its key, NULL: there is none. */
static struct acceptor_operation *operation_end(struct acceptor_operation *operation,
                                                enum status status)
{
    struct acceptor *acceptor = operation->acceptor;
    uint32_t count;
    list_remove(&operation->node);
    acceptor->operation_count--;
    struct acceptor_operation *next =
        key_first(acceptor, buffer_slice(&operation->engine_key), &count);
    operation->done(operation, status);
    return next;
}

/* ------------------------------------------------------------------ look, judge, write */

static void look(struct acceptor_operation *operation, enum lsm_wait wait)
{
    struct lsm *lsm = operation->acceptor->replica->lsm;
    operation->looked = lsm_get(lsm, buffer_slice(&operation->engine_key), wait,
                                &operation->scratch, &operation->cell);
    operation->looked_promise = lsm_get(lsm, buffer_slice(&operation->promise_key), wait,
                                        &operation->promise_scratch, &operation->promise);
}

static void look_run(struct env_job *job)
{
    look(container_of(job, struct acceptor_operation, job), LSM_MAY_BLOCK);
}

/* STATUS_OK: it is known what is there. */
static enum status look_status(const struct acceptor_operation *operation)
{
    if (operation->looked != STATUS_OK && operation->looked != STATUS_NOT_FOUND) {
        return operation->looked;
    }
    return operation->looked_promise == STATUS_NOT_FOUND ? STATUS_OK : operation->looked_promise;
}

static struct version promised_of(const struct acceptor_operation *operation)
{
    struct version promised = {0};
    if (operation->looked_promise == STATUS_OK) {
        promised = operation->promise.version;
    }
    if (operation->looked == STATUS_OK && version_compare(operation->cell.version, promised) > 0) {
        promised = operation->cell.version;
    }
    return promised;
}

static void write_done(struct lsm_write *write, enum status status);

/* STATUS_OK: `done` of the write comes. */
static enum status write_begin(struct acceptor_operation *operation)
{
    struct replica *replica = operation->acceptor->replica;
    struct cell cell = {.version = operation->ballot, .kind = CELL_PROMISE};
    struct slice key = buffer_slice(&operation->promise_key);
    if (!operation->prepares) {
        key = buffer_slice(&operation->engine_key);
        enum status status = cell_decode(buffer_slice(&operation->proposed), &cell);
        ASSERT(status == STATUS_OK); /* We encoded it. */
    }
    struct lsm_record record = {.key = key, .cell = cell};
    operation->write = (struct lsm_write){
        .records = &record, .record_count = 1, .durability = LSM_SYNCED, .done = write_done};
    enum status status = lsm_write(replica->lsm, &operation->write);
    if (status == STATUS_OK) {
        replica_time_note(replica, operation->range, operation->ballot.time);
    }
    return status;
}

/* With what was looked at, in the turn in which it may be written. STATUS_WOULD_BLOCK: it is being
 * written. */
static enum status judge(struct acceptor_operation *operation)
{
    enum status status = look_status(operation);
    if (status != STATUS_OK) {
        return status;
    }
    status = replica_check(operation->acceptor->replica, operation->range, operation->range,
                           &operation->stamp);
    if (status != STATUS_OK) {
        return status;
    }
    operation->promised = promised_of(operation);
    int order = version_compare(operation->ballot, operation->promised);
    if (order < 0 || (order == 0 && operation->prepares)) {
        return STATUS_PREEMPTED;
    }
    operation->found = operation->looked == STATUS_OK;
    if (operation->found && version_compare(operation->ballot, operation->cell.version) == 0) {
        return STATUS_OK; /* The very cell is accepted: one ballot never carries two. */
    }
    status = write_begin(operation);
    return status == STATUS_OK ? STATUS_WOULD_BLOCK : status;
}

static void look_done(struct env_job *job, enum status status);

/* STATUS_WOULD_BLOCK: it waits for a job or for the log. */
static enum status operation_step(struct acceptor_operation *operation)
{
    look(operation, LSM_NOWAIT);
    if (operation->looked == STATUS_WOULD_BLOCK ||
        operation->looked_promise == STATUS_WOULD_BLOCK) {
        operation->job = (struct env_job){.run = look_run, .done = look_done};
        env_submit(operation->acceptor->replica->env, ENV_LANE_POOL, &operation->job);
        return STATUS_WOULD_BLOCK;
    }
    return judge(operation);
}

/* Ends it, and runs those that waited for it as far as they get. Not by recursion: a queue of
 * refusals would be as deep as it is long. If it was cancelled, so are they: the engine closes. */
static void key_go_on(struct acceptor_operation *operation, enum status status)
{
    while (operation != NULL && status != STATUS_WOULD_BLOCK) {
        operation = operation_end(operation, status);
        if (operation != NULL && status != STATUS_CANCELLED) {
            status = operation_step(operation);
        }
    }
}

static void look_done(struct env_job *job, enum status status)
{
    struct acceptor_operation *operation = container_of(job, struct acceptor_operation, job);
    key_go_on(operation, status == STATUS_OK ? judge(operation) : status);
}

static void write_done(struct lsm_write *write, enum status status)
{
    key_go_on(container_of(write, struct acceptor_operation, write), status);
}

/* ------------------------------------------------------------------ begin */

/* Of a sound engine key of a user's keyspace. STATUS_INVALID, STATUS_NO_MEMORY. */
static enum status keys_keep(struct acceptor_operation *operation, struct slice engine_key)
{
    uint16_t keyspace;
    uint64_t token;
    struct slice key;
    if (token_engine_split(engine_key, &keyspace, &token, &key) != STATUS_OK ||
        keyspace >= ACCEPTOR_PROMISE_KEYSPACE) {
        return STATUS_INVALID;
    }
    operation->range = ring_range_of(token, operation->acceptor->replica->range_count);
    buffer_append_slice(&operation->engine_key, engine_key);
    buffer_append_slice(&operation->promise_key, engine_key);
    enum status status = buffer_status(&operation->engine_key);
    status = status == STATUS_OK ? buffer_status(&operation->promise_key) : status;
    if (status == STATUS_OK) {
        codec_store_be(operation->promise_key.data + KEYSPACE_OFFSET,
                       keyspace | ACCEPTOR_PROMISE_KEYSPACE, sizeof(keyspace));
    }
    return status;
}

/* Whether it may stand behind those that are there already. */
static enum status begin_check(struct acceptor *acceptor, const struct acceptor_request *request,
                               struct acceptor_operation *operation)
{
    const struct version *ballot = &operation->ballot;
    if (!request->copy && !replica_clock_allows(acceptor->replica, ballot->time, ballot->node)) {
        return STATUS_REFUSED;
    }
    if (acceptor->operation_count >= ACCEPTOR_OPERATION_COUNT_MAX) {
        return STATUS_OVERLOADED;
    }
    return keys_keep(operation, request->engine_key);
}

static void operation_begin(struct acceptor *acceptor, const struct acceptor_request *request,
                            struct acceptor_operation *operation)
{
    operation->acceptor = acceptor;
    operation->stamp = request->stamp;
    enum status status = begin_check(acceptor, request, operation);
    status = status == STATUS_OK ? buffer_status(&operation->proposed) : status;
    uint32_t count = 0;
    if (status == STATUS_OK) {
        (void)key_first(acceptor, request->engine_key, &count);
        status = count < ACCEPTOR_KEY_COUNT_MAX ? STATUS_OK : STATUS_OVERLOADED;
    }
    if (status != STATUS_OK) {
        operation->done(operation, status);
        return;
    }
    list_append(bucket_of(acceptor, request->engine_key), &operation->node);
    acceptor->operation_count++;
    if (count == 0) {
        key_go_on(operation, operation_step(operation));
    }
}

void acceptor_prepare(struct acceptor *acceptor, const struct acceptor_request *request,
                      struct version ballot, struct acceptor_operation *operation)
{
    ASSERT(!request->copy);
    operation->prepares = true;
    operation->ballot = ballot;
    operation_begin(acceptor, request, operation);
}

void acceptor_accept(struct acceptor *acceptor, const struct acceptor_request *request,
                     const struct cell *cell, struct acceptor_operation *operation)
{
    operation->prepares = false;
    operation->ballot = cell->version;
    cell_put(&operation->proposed, cell);
    operation_begin(acceptor, request, operation);
}
