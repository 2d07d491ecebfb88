/* node/replica.c -- this node's part as one replica. */
#include "node/replica.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/token.h"
#include "node/mutant.h"

#define KEPT_BUFFER_SIZE_MAX (16u << 10)

enum status replica_init(struct replica *replica)
{
    replica->range_time_max = NULL;
    replica->range_counts = NULL;
    replica->range_count = 0;
    return replica_resize(replica);
}

void replica_deinit(struct replica *replica)
{
    memory_free(replica->range_time_max);
    memory_free(replica->range_counts);
    replica->range_time_max = NULL;
    replica->range_counts = NULL;
}

enum status replica_resize(struct replica *replica)
{
    uint32_t count = replica->topology->range_count;
    if (count == replica->range_count) {
        return STATUS_OK;
    }
    ASSERT(replica->range_count == 0); /* The count never changes after bootstrap. */
    uint64_t *times = memory_allocate(count * sizeof(*times));
    struct replica_count *counts = memory_allocate_zeroed(count, sizeof(*counts));
    if (times == NULL || counts == NULL) {
        memory_free(times);
        memory_free(counts);
        return STATUS_NO_MEMORY;
    }
    struct lsm_stats stats;
    lsm_stats(replica->lsm, &stats);
    for (uint32_t range = 0; range < count; range++) {
        times[range] = stats.version_max.time;
    }
    replica->range_time_max = times;
    replica->range_counts = counts;
    replica->range_count = count;
    return STATUS_OK;
}

/* Of a key that is known to be well-formed: its slot is all there is to look at. */
static struct replica_count *count_of(const struct replica *replica, struct slice engine_key)
{
    uint64_t slot = (uint64_t)engine_key.data[0] << 8 | engine_key.data[1];
    return &replica->range_counts[ring_range_of(slot << TOKEN_HASH_BITS, replica->range_count)];
}

enum status replica_check(const struct replica *replica, uint32_t first_range, uint32_t last_range,
                          const struct topology_stamp *stamp)
{
    const struct topology *topology = replica->topology;
    if (topology->cluster_id == 0) {
        return STATUS_BEHIND;
    }
    int order = topology_stamp_compare(stamp, &topology->stamp);
    if (order > 0) {
        replica->counters->behind_refused++;
        return STATUS_BEHIND;
    }
    if (order == 0 && (stamp->hash != topology->stamp.hash ||
                       stamp->generation.id != topology->stamp.generation.id)) {
        log_error(replica->env, "replica.split_history", "epoch=%llu ours=%016llx theirs=%016llx",
                  (unsigned long long)stamp->epoch, (unsigned long long)topology->stamp.hash,
                  (unsigned long long)stamp->hash);
        return STATUS_REFUSED;
    }
    if (last_range >= topology->range_count || first_range > last_range) {
        return STATUS_INVALID;
    }
    if (replica->holding->range_count == 0) {
        return STATUS_BEHIND; /* The first topology came when the node was stopping already. */
    }
    enum status worst = STATUS_OK;
    for (uint32_t index = first_range; index <= last_range && worst != STATUS_STALE; index++) {
        enum status status = holding_judge(replica->holding, index, stamp);
        worst = status == STATUS_OK ? worst : status;
    }
    if (worst == STATUS_STALE && MUTANT(STALE_EPOCH_APPLIED)) {
        return STATUS_OK;
    }
    replica->counters->stale_refused += worst == STATUS_STALE ? 1 : 0;
    replica->counters->behind_refused += worst == STATUS_BEHIND ? 1 : 0;
    return worst;
}

bool replica_clock_allows(const struct replica *replica, uint64_t issued, uint32_t node_id)
{
    uint64_t issued_ms = hlc_unix_ms(issued);
    uint64_t clock_ms = hlc_unix_ms(hlc_now(replica->hlc));
    if (issued_ms <= clock_ms + replica->config->clock_lead_ms) {
        return true;
    }
    log_warn(replica->env, "replica.clock_lead", "lead_ms=%llu node=%u",
             (unsigned long long)(issued_ms - clock_ms), node_id);
    return false;
}

void replica_time_note(struct replica *replica, uint32_t range, uint64_t time)
{
    uint64_t *time_max = &replica->range_time_max[range];
    *time_max = time > *time_max ? time : *time_max;
}

void replica_merged(struct replica *replica, uint32_t range)
{
    struct lsm_stats stats;
    lsm_stats(replica->lsm, &stats);
    replica_time_note(replica, range, stats.version_max.time);
}

/* Before a job looks at the stretches of these ranges, and after: see (5). */
static void turn_note(struct replica_operation *operation, uint32_t first_range,
                      uint32_t last_range)
{
    operation->first_range = first_range;
    operation->last_range = last_range;
    operation->turn = holding_turn(operation->replica->holding, first_range, last_range);
}

static enum status turn_check(const struct replica_operation *operation, enum status status)
{
    uint64_t turn =
        holding_turn(operation->replica->holding, operation->first_range, operation->last_range);
    return turn == operation->turn || MUTANT(STALE_EPOCH_APPLIED) ? status : STATUS_STALE;
}

void replica_operation_deinit(struct replica_operation *operation)
{
    buffer_deinit(&operation->scratch);
    buffer_deinit(&operation->engine_key);
    buffer_deinit(&operation->payload);
}

static void buffer_reset(struct buffer *buffer)
{
    buffer_clear(buffer);
    if (buffer->capacity > KEPT_BUFFER_SIZE_MAX || buffer->failed) {
        buffer_deinit(buffer);
    }
}

void replica_operation_reset(struct replica_operation *operation)
{
    buffer_reset(&operation->scratch);
    buffer_reset(&operation->engine_key);
    buffer_deinit(&operation->payload);
    operation->found = false;
    operation->standing = (struct version){0};
    operation->look = false;
}

static enum status engine_key_keep(struct replica_operation *operation, struct slice engine_key)
{
    buffer_clear(&operation->engine_key);
    buffer_append_slice(&operation->engine_key, engine_key);
    return buffer_status(&operation->engine_key);
}

/* ------------------------------------------------------------------ read */

static void get_run(struct env_job *job)
{
    struct replica_operation *operation = container_of(job, struct replica_operation, job);
    operation->result = lsm_get(operation->replica->lsm, buffer_slice(&operation->engine_key),
                                LSM_MAY_BLOCK, &operation->scratch, &operation->cell);
}

static void read_job_done(struct env_job *job, enum status status);

static void read_finish(struct replica_operation *operation, enum status status)
{
    operation->found = status == STATUS_OK;
    operation->done(operation, status == STATUS_NOT_FOUND ? STATUS_OK : status);
}

static uint32_t range_of_key(const struct replica *replica, struct slice engine_key)
{
    uint16_t keyspace;
    uint64_t token;
    struct slice key;
    enum status status = token_engine_split(engine_key, &keyspace, &token, &key);
    ASSERT(status == STATUS_OK); /* Whoever asks has checked it. */
    return ring_range_of(token, replica->range_count);
}

static void read_take(struct replica_operation *operation, enum status status)
{
    if (status == STATUS_WOULD_BLOCK) {
        uint32_t range = range_of_key(operation->replica, buffer_slice(&operation->engine_key));
        turn_note(operation, range, range);
        operation->job = (struct env_job){.run = get_run, .done = read_job_done};
        env_submit(operation->replica->env, ENV_LANE_POOL, &operation->job);
        return;
    }
    read_finish(operation, status);
}

static void read_job_done(struct env_job *job, enum status status)
{
    struct replica_operation *operation = container_of(job, struct replica_operation, job);
    read_finish(operation, status == STATUS_OK ? turn_check(operation, operation->result) : status);
}

static void held_ask(struct replica *replica)
{
    struct replica_operation *operations[REPLICA_HELD_COUNT_MAX];
    struct lsm_get_many_item items[REPLICA_HELD_COUNT_MAX];
    uint32_t count = replica->held_count;
    ASSERT(!replica->asking);
    for (uint32_t index = 0; index < count; index++) {
        operations[index] = replica->held[index];
        items[index].key = buffer_slice(&operations[index]->engine_key);
        items[index].scratch = operations[index]->scratch; /* Lent. */
    }
    lsm_get_many(replica->lsm, items, count, LSM_NOWAIT);
    replica->held_count = 0;
    replica->asking = true;
    for (uint32_t index = 0; index < count; index++) {
        operations[index]->scratch = items[index].scratch;
        operations[index]->cell = items[index].cell;
    }
    for (uint32_t index = 0; index < count; index++) {
        read_take(operations[index], items[index].status);
    }
    replica->asking = false;
}

void replica_read(struct replica *replica, struct slice engine_key,
                  struct replica_operation *operation)
{
    operation->replica = replica;
    replica->counters->replica_reads++;
    count_of(replica, engine_key)->reads++;
    bool held = replica->hold_depth > 0 && replica->held_count < REPLICA_HELD_COUNT_MAX;
    if (held && engine_key_keep(operation, engine_key) == STATUS_OK) {
        replica->held[replica->held_count++] = operation;
        /* Not from within an answer: what it asks may ask more, without an end in sight. */
        if (replica->held_count == REPLICA_HELD_COUNT_MAX && !replica->asking) {
            held_ask(replica);
        }
        return;
    }
    enum status status =
        lsm_get(replica->lsm, engine_key, LSM_NOWAIT, &operation->scratch, &operation->cell);
    if (status == STATUS_WOULD_BLOCK && engine_key_keep(operation, engine_key) != STATUS_OK) {
        status = STATUS_NO_MEMORY;
    }
    read_take(operation, status);
}

void replica_hold(struct replica *replica)
{
    replica->hold_depth++;
}

void replica_release(struct replica *replica)
{
    ASSERT(replica->hold_depth > 0);
    if (replica->hold_depth == 1 && !replica->asking) {
        while (replica->held_count > 0) {
            held_ask(replica);
        }
    }
    replica->hold_depth--;
}

/* ------------------------------------------------------------------ write */

/* After the write is durable: does something greater stand? */
static void write_judge(struct replica_operation *operation, enum status found)
{
    if (found == STATUS_OK && version_compare(operation->cell.version, operation->version) > 0) {
        operation->standing = operation->cell.version;
        operation->done(operation, STATUS_SUPERSEDED);
        return;
    }
    /* A look that failed takes nothing from the write: ours is durable, and no less than before. */
    operation->done(operation, STATUS_OK);
}

static void write_job_done(struct env_job *job, enum status status)
{
    struct replica_operation *operation = container_of(job, struct replica_operation, job);
    write_judge(operation, status == STATUS_OK ? operation->result : status);
}

static void write_done(struct lsm_write *write, enum status status)
{
    struct replica_operation *operation = container_of(write, struct replica_operation, write);
    struct replica *replica = operation->replica;
    if (status != STATUS_OK || !operation->look) {
        operation->done(operation, status);
        return;
    }
    enum status found = lsm_get(replica->lsm, buffer_slice(&operation->engine_key), LSM_NOWAIT,
                                &operation->scratch, &operation->cell);
    if (found == STATUS_WOULD_BLOCK) {
        operation->job = (struct env_job){.run = get_run, .done = write_job_done};
        env_submit(replica->env, ENV_LANE_POOL, &operation->job);
        return;
    }
    write_judge(operation, found);
}

void replica_write(struct replica *replica, const struct message_write *write,
                   struct replica_operation *operation)
{
    operation->replica = replica;
    operation->version = write->cell.version;
    replica->counters->replica_writes++;
    uint16_t keyspace;
    uint64_t token;
    struct slice key;
    enum status status = token_engine_split(write->engine_key, &keyspace, &token, &key);
    ASSERT(status == STATUS_OK); /* Checked where the request was decoded or made. */
    uint64_t time = write->cell.version.time;
    /* A change of the expiry keeps its version; what its coordinator issued is the stamp. */
    uint64_t issued = time > write->cell.stamp ? time : write->cell.stamp;
    if (!write->repair && !replica_clock_allows(replica, issued, write->cell.version.node)) {
        operation->done(operation, STATUS_REFUSED);
        return;
    }
    uint32_t range = ring_range_of(token, replica->range_count);
    operation->look = !write->repair && time <= replica->range_time_max[range];
    if (operation->look && engine_key_keep(operation, write->engine_key) != STATUS_OK) {
        operation->done(operation, STATUS_NO_MEMORY);
        return;
    }
    struct lsm_record record = {.key = write->engine_key, .cell = write->cell};
    operation->write = (struct lsm_write){
        .records = &record, .record_count = 1, .durability = LSM_SYNCED, .done = write_done};
    status = lsm_write(replica->lsm, &operation->write);
    if (status != STATUS_OK) {
        operation->done(operation, status);
        return;
    }
    replica->range_counts[range].writes++;
    replica_time_note(replica, range, time);
}

/* ------------------------------------------------------------------ scan */

/* Cells of other keyspaces in a row after which they are jumped over: a seek costs about so many.
 */
#define SCAN_FOREIGN_COUNT_MAX 16u

struct scan_walk {
    struct lsm_iterator *iterator;
    struct lsm_iterator_options options;
};

/*
 * All tokens of the scanned keyspace up to the result are passed once the iterator stands at an
 * entry: in the engine a slot holds its keyspaces one after another, each in token order.
 */
static uint64_t scan_passed(uint16_t wanted, uint16_t keyspace, uint64_t token)
{
    uint64_t slot_first = token >> TOKEN_HASH_BITS << TOKEN_HASH_BITS;
    if (keyspace > wanted) {
        return slot_first | ((UINT64_C(1) << TOKEN_HASH_BITS) - 1);
    }
    uint64_t first_open = keyspace == wanted ? token : slot_first;
    return first_open == 0 ? 0 : first_open - 1;
}

/* The next place of the wanted keyspace behind an entry of another one, in whose slot it lies
 * before or behind it. False: there is none in the ring. */
static bool scan_next_place(uint16_t wanted, uint16_t keyspace, uint64_t token, uint64_t *place)
{
    uint64_t slot = token >> TOKEN_HASH_BITS;
    slot += keyspace > wanted ? 1 : 0;
    *place = slot << TOKEN_HASH_BITS;
    return slot <= UINT64_MAX >> TOKEN_HASH_BITS;
}

/* Over the rest of another keyspace's stretch. STATUS_NOT_FOUND: nothing can follow. */
static enum status scan_jump(const struct message_scan *scan, struct scan_walk *walk,
                             uint16_t keyspace, uint64_t token)
{
    uint64_t place;
    if (!scan_next_place(scan->keyspace, keyspace, token, &place) || place > scan->last) {
        return STATUS_NOT_FOUND;
    }
    struct buffer lower = {0};
    token_engine_bound(&lower, scan->keyspace, place);
    enum status status = buffer_status(&lower);
    if (status == STATUS_OK) {
        walk->options.lower = buffer_slice(&lower);
        status = lsm_iterator_reopen(walk->iterator, &walk->options);
    }
    buffer_deinit(&lower); /* The bounds are copied. */
    return status;
}

/* Appends entries until the page is full; a token is never split over two pages. */
static enum status scan_fill(struct replica_operation *operation, struct scan_walk *walk)
{
    const struct message_scan *scan = &operation->scan;
    uint32_t looked = 0;
    uint32_t foreign = 0;
    uint32_t taken = 0;
    uint64_t last_token = scan->first;
    for (;;) {
        struct message_scan_entry entry;
        enum status status = lsm_iterator_next(walk->iterator, &entry.engine_key, &entry.cell);
        if (status == STATUS_BUDGET) {
            continue;
        }
        if (status == STATUS_NOT_FOUND) {
            message_scan_end_encode(&operation->payload, false, scan->last);
            return STATUS_OK;
        }
        uint16_t keyspace = 0;
        uint64_t token = 0;
        struct slice key;
        if (status == STATUS_OK) {
            status = token_engine_split(entry.engine_key, &keyspace, &token, &key);
        }
        if (status != STATUS_OK) {
            return status;
        }
        uint64_t passed = scan_passed(scan->keyspace, keyspace, token);
        bool full = taken >= scan->count || looked >= REPLICA_SCAN_CELL_COUNT_MAX ||
                    operation->payload.size >= REPLICA_SCAN_PAGE_SIZE_MAX;
        if (full && passed >= last_token) {
            message_scan_end_encode(&operation->payload, true, passed);
            return STATUS_OK;
        }
        looked++;
        if (keyspace == scan->keyspace) {
            foreign = 0;
            taken++;
            last_token = token;
            message_scan_entry_encode(&operation->payload, &entry);
        } else if (++foreign >= SCAN_FOREIGN_COUNT_MAX) {
            foreign = 0;
            status = scan_jump(scan, walk, keyspace, token);
            if (status == STATUS_NOT_FOUND) {
                message_scan_end_encode(&operation->payload, false, scan->last);
                return STATUS_OK;
            }
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
}

static void scan_run(struct env_job *job)
{
    struct replica_operation *operation = container_of(job, struct replica_operation, job);
    const struct message_scan *scan = &operation->scan;
    struct buffer lower = {0};
    struct buffer upper = {0};
    struct scan_walk walk = {0};
    token_engine_bound(&lower, scan->keyspace, scan->first);
    if (scan->last == UINT64_MAX) {
        uint8_t first_local = ENGINE_KEY_LOCAL_FIRST;
        buffer_append(&upper, &first_local, 1);
    } else {
        token_engine_bound(&upper, scan->keyspace, scan->last + 1);
    }
    enum status status = buffer_status(&lower);
    if (status == STATUS_OK) {
        status = buffer_status(&upper);
    }
    if (status == STATUS_OK) {
        walk.options = (struct lsm_iterator_options){
            .lower = buffer_slice(&lower), .upper = buffer_slice(&upper), .wait = LSM_MAY_BLOCK};
        status = lsm_iterator_open(operation->replica->lsm, &walk.options, &walk.iterator);
    }
    if (status == STATUS_OK) {
        status = scan_fill(operation, &walk);
        lsm_iterator_close(walk.iterator);
    }
    if (status == STATUS_OK) {
        status = buffer_status(&operation->payload);
    }
    buffer_deinit(&lower);
    buffer_deinit(&upper);
    operation->result = status;
}

static void scan_job_done(struct env_job *job, enum status status)
{
    struct replica_operation *operation = container_of(job, struct replica_operation, job);
    operation->done(operation,
                    status == STATUS_OK ? turn_check(operation, operation->result) : status);
}

void replica_scan(struct replica *replica, const struct message_scan *scan,
                  struct replica_operation *operation)
{
    operation->replica = replica;
    operation->scan = *scan;
    replica->counters->replica_scans++;
    turn_note(operation, ring_range_of(scan->first, replica->range_count),
              ring_range_of(scan->last, replica->range_count));
    for (uint32_t range = operation->first_range; range <= operation->last_range; range++) {
        replica->range_counts[range].reads++;
    }
    operation->job = (struct env_job){.run = scan_run, .done = scan_job_done};
    env_submit(replica->env, ENV_LANE_POOL, &operation->job);
}
