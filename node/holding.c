/* node/holding.c -- fences, entering and leaving: what is to be durable, and in which order. */
#include "node/holding.h"

#include <string.h>

#include "base/codec.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/token.h"
#include "node/mutant.h"

#define RETRY_MS 100 /* After the engine refused a record or an excise. */

enum holding_role {
    ROLE_NONE,
    ROLE_OLD, /* One of those that answer now; it may stay. */
    ROLE_NEW, /* One of those to come. */
};

struct holding_range {
    struct holding_record now; /* What this node goes by. */
    struct holding_record writing;
    struct holding_record durable; /* What a restart would find, at least. */
    uint64_t sequence;             /* Of the last record written. */
    uint32_t pin_count;
    bool dirty;    /* `now` is to be written. */
    bool in_batch; /* `writing` is. */
    bool excising;
};

/* ------------------------------------------------------------------ what the topology says */

static const struct topology_range *topology_says(const struct holding *holding, uint32_t index)
{
    return &holding->topology->ranges[index];
}

static uint32_t generation_now(const struct holding *holding)
{
    return holding->topology->stamp.generation.number;
}

static enum holding_role role_of(const struct holding *holding, uint32_t index)
{
    const struct topology_range *range = topology_says(holding, index);
    if (ring_replicas_contain(&range->replicas, holding->id)) {
        return ROLE_OLD;
    }
    return ring_replicas_contain(&range->next, holding->id) ? ROLE_NEW : ROLE_NONE;
}

/* The record knows of a change that the topology does not: it is one from before a restart. */
static bool is_ahead(const struct holding *holding, uint32_t index)
{
    const struct holding_record *record = &holding->ranges[index].now;
    uint32_t generation = generation_now(holding);
    return record->generation != generation ? record->generation > generation
                                            : record->epoch > topology_says(holding, index)->epoch;
}

static bool is_entering(const struct holding *holding, uint32_t index)
{
    const struct topology_range *range = topology_says(holding, index);
    return !is_ahead(holding, index) && role_of(holding, index) == ROLE_NEW &&
           range->stage == TOPOLOGY_WRITE_BOTH_READ_OLD &&
           holding->ranges[index].now.entered != range->session;
}

static bool is_leaving(const struct holding *holding, uint32_t index)
{
    const struct holding_record *record = &holding->ranges[index].now;
    return !is_ahead(holding, index) && role_of(holding, index) == ROLE_NONE && record->left != 0 &&
           record->cleared != record->left;
}

/* ------------------------------------------------------------------ the gates */

static enum holding_gate_state gate_wanted(const struct holding *holding, uint32_t index)
{
    const struct holding_range *own = &holding->ranges[index];
    enum holding_role role = role_of(holding, index);
    if (role == ROLE_NONE) {
        return HOLDING_OUT;
    }
    if (is_ahead(holding, index)) {
        return HOLDING_CLOSED;
    }
    if (role == ROLE_OLD) {
        /* What was left was excised: that this node owns it all the same is a history gone wrong,
         * and others must answer. */
        return own->now.left == 0 ? HOLDING_OPEN : HOLDING_CLOSED;
    }
    return own->durable.entered == topology_says(holding, index)->session ? HOLDING_OPEN
                                                                          : HOLDING_CLOSED;
}

static void gate_set(struct holding *holding, uint32_t index)
{
    struct holding_gate *gate = &holding->gates[index];
    enum holding_gate_state state = gate_wanted(holding, index);
    gate->turn += gate->state == HOLDING_OPEN && state != HOLDING_OPEN ? 1 : 0;
    gate->state = (uint8_t)state;
    gate->epoch = topology_says(holding, index)->epoch;
}

uint64_t holding_turn(const struct holding *holding, uint32_t first_range, uint32_t last_range)
{
    uint64_t sum = 0;
    ASSERT(last_range < holding->range_count);
    for (uint32_t index = first_range; index <= last_range; index++) {
        sum += holding->gates[index].turn;
    }
    return sum;
}

/* ------------------------------------------------------------------ records */

static void range_act(struct holding *holding, uint32_t index);
static void excises_begin(struct holding *holding);
static void batch_begin(struct holding *holding);

static void retry_later(struct holding *holding)
{
    if (!holding->stopped) {
        env_timer_start_ms(holding->env, &holding->retry, RETRY_MS);
    }
}

static void range_touch(struct holding *holding, struct holding_range *own)
{
    holding->dirty_count += own->dirty ? 0 : 1;
    own->dirty = true;
}

static void batch_end(struct holding *holding, enum status status)
{
    for (uint32_t index = 0; index < holding->range_count; index++) {
        struct holding_range *own = &holding->ranges[index];
        if (!own->in_batch) {
            continue;
        }
        own->in_batch = false;
        if (status == STATUS_OK) {
            own->durable = own->writing;
        } else {
            range_touch(holding, own);
        }
        range_act(holding, index);
    }
}

static void batch_done(struct records_write *write, enum status status)
{
    struct holding *holding = container_of(write, struct holding, write);
    holding->writing = false;
    if (holding->stopped) {
        return;
    }
    batch_end(holding, status);
    if (status != STATUS_OK) {
        log_warn(holding->env, "holding.record_failed", "status=\"%s\"", status_name(status));
        retry_later(holding);
        return;
    }
    batch_begin(holding);
    excises_begin(holding);
    if (holding->events.changed != NULL) {
        holding->events.changed(holding->events.context);
    }
}

/* Takes up to `capacity` ranges whose record is to be written; returns how many. */
static uint32_t batch_fill(struct holding *holding, struct records_entry *entries, uint8_t *bytes,
                           uint32_t capacity)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < holding->range_count && count < capacity; index++) {
        struct holding_range *own = &holding->ranges[index];
        if (!own->dirty) {
            continue;
        }
        own->writing = own->now;
        own->in_batch = true;
        own->dirty = false;
        own->sequence++;
        holding->dirty_count--;
        uint8_t *at = bytes + (size_t)count * HOLDING_RECORD_SIZE;
        holding_record_encode(at, &own->writing);
        entries[count++] = (struct records_entry){
            .id = index,
            .version = {.time = own->sequence, .node = 1},
            .value = slice_make(at, HOLDING_RECORD_SIZE),
        };
    }
    return count;
}

static void batch_begin(struct holding *holding)
{
    if (holding->writing || holding->stopped || holding->dirty_count == 0) {
        return;
    }
    uint32_t capacity = holding->dirty_count < RECORDS_ENTRY_COUNT_MAX ? holding->dirty_count
                                                                       : RECORDS_ENTRY_COUNT_MAX;
    struct records_entry *entries = memory_allocate_zeroed(capacity, sizeof(*entries));
    uint8_t *bytes = memory_allocate_zeroed(capacity, HOLDING_RECORD_SIZE);
    if (entries == NULL || bytes == NULL) {
        retry_later(holding);
    } else {
        uint32_t count = batch_fill(holding, entries, bytes, capacity);
        holding->write.done = batch_done;
        enum status status =
            records_put_many(holding->lsm, RECORDS_FENCE, entries, count, &holding->write);
        holding->writing = status == STATUS_OK;
        if (status != STATUS_OK) {
            batch_end(holding, status);
            retry_later(holding);
        }
    }
    memory_free(entries);
    memory_free(bytes);
}

/* ------------------------------------------------------------------ stretches */

struct holding_stretch holding_stretch_of(uint32_t range, uint32_t range_count)
{
    ASSERT(range < range_count);
    STATIC_ASSERT(RING_RANGE_COUNT_MAX <= TOKEN_SLOT_COUNT, "a range is a run of whole slots");
    uint32_t slot_count = TOKEN_SLOT_COUNT / range_count;
    struct holding_stretch stretch;
    codec_store_be(stretch.lower, (uint64_t)range * slot_count, sizeof(stretch.lower));
    codec_store_be(stretch.upper, (uint64_t)(range + 1) * slot_count, sizeof(stretch.upper));
    return stretch;
}

static void excise_done(struct lsm_excise *request, enum status status);

static bool excise_is_due(const struct holding *holding, uint32_t index)
{
    const struct holding_range *own = &holding->ranges[index];
    if (own->excising || own->pin_count > 0) {
        return false;
    }
    if (is_entering(holding, index)) {
        return true;
    }
    return is_leaving(holding, index) && own->durable.left == own->now.left;
}

static struct holding_excise *excise_free(struct holding *holding)
{
    for (uint32_t index = 0; index < HOLDING_EXCISE_COUNT_MAX; index++) {
        if (!holding->excises[index].busy) {
            return &holding->excises[index];
        }
    }
    return NULL;
}

static enum status excise_begin(struct holding *holding, struct holding_excise *excise,
                                uint32_t index)
{
    struct holding_range *own = &holding->ranges[index];
    struct holding_stretch stretch = holding_stretch_of(index, holding->range_count);
    bool entering = is_entering(holding, index);
    *excise = (struct holding_excise){
        .request = {.lower = slice_make(stretch.lower, sizeof(stretch.lower)),
                    .upper = slice_make(stretch.upper, sizeof(stretch.upper)),
                    .done = excise_done},
        .holding = holding,
        .range = index,
        .session = entering ? topology_says(holding, index)->session : 0,
        .left = entering ? 0 : own->now.left,
        .busy = true,
    };
    enum status status = lsm_excise(holding->lsm, &excise->request);
    excise->busy = status == STATUS_OK;
    own->excising = excise->busy;
    return status;
}

static void excises_begin(struct holding *holding)
{
    enum status status = STATUS_OK;
    struct holding_excise *excise = excise_free(holding);
    if (holding->stopped) {
        return;
    }
    for (uint32_t index = 0; index < holding->range_count && excise != NULL && status == STATUS_OK;
         index++) {
        if (excise_is_due(holding, index)) {
            status = excise_begin(holding, excise, index);
            excise = excise_free(holding);
        }
    }
    if (status != STATUS_OK) {
        log_warn(holding->env, "holding.excise_failed", "status=\"%s\"", status_name(status));
        retry_later(holding);
    }
}

static void range_entered(struct holding *holding, uint32_t index)
{
    struct holding_range *own = &holding->ranges[index];
    own->now.entered = topology_says(holding, index)->session;
    own->now.streamed = 0;
    own->now.left = 0;
    own->now.cleared = 0;
    range_touch(holding, own);
}

static void excise_done(struct lsm_excise *request, enum status status)
{
    struct holding_excise *excise = container_of(request, struct holding_excise, request);
    struct holding *holding = excise->holding;
    struct holding_range *own = &holding->ranges[excise->range];
    excise->busy = false;
    own->excising = false;
    if (holding->stopped) {
        return;
    }
    if (status != STATUS_OK) {
        retry_later(holding);
        return;
    }
    bool entering = is_entering(holding, excise->range);
    if (entering && topology_says(holding, excise->range)->session == excise->session) {
        range_entered(holding, excise->range);
    } else if (excise->left != 0 && own->now.left == excise->left) {
        own->now.cleared = own->now.left;
        range_touch(holding, own);
    }
    range_act(holding, excise->range);
    excises_begin(holding);
    batch_begin(holding);
}

/* ------------------------------------------------------------------ what follows from what */

/* After anything that this range goes by has changed. */
static void range_act(struct holding *holding, uint32_t index)
{
    if (MUTANT(ENTER_WITHOUT_EXCISE) && is_entering(holding, index)) {
        range_entered(holding, index);
    }
    gate_set(holding, index);
}

static void fence_raise(struct holding *holding, uint32_t index)
{
    struct holding_range *own = &holding->ranges[index];
    uint32_t generation = generation_now(holding);
    uint64_t epoch = topology_says(holding, index)->epoch;
    if (holding_record_below(&own->now, generation, epoch)) {
        own->now.generation = generation;
        own->now.epoch = epoch;
        range_touch(holding, own);
    }
}

static void range_adopt(struct holding *holding, uint32_t index)
{
    struct holding_range *own = &holding->ranges[index];
    if (is_ahead(holding, index)) {
        return;
    }
    enum holding_role role = role_of(holding, index);
    if (role != ROLE_NONE) {
        fence_raise(holding, index);
        if (role == ROLE_OLD && own->now.left != 0) {
            log_error(holding->env, "holding.lost", "range=%u left_epoch=%llu", index,
                      (unsigned long long)own->now.left);
        }
    } else if (own->now.epoch != 0 && own->now.left == 0) {
        fence_raise(holding, index);
        own->now.left = own->now.epoch;
        own->now.cleared = 0;
        own->now.entered = 0;
        own->now.streamed = 0;
        range_touch(holding, own);
    }
}

static void all_act(struct holding *holding)
{
    for (uint32_t index = 0; index < holding->range_count; index++) {
        range_act(holding, index);
    }
    batch_begin(holding); /* First: records of what is left come before its excise. */
    excises_begin(holding);
}

static void retry_fired(struct env_timer *timer)
{
    all_act(container_of(timer, struct holding, retry));
}

/* ------------------------------------------------------------------ for others */

void holding_state(const struct holding *holding, uint32_t range, struct message_range_state *state)
{
    const struct holding_range *own = &holding->ranges[range];
    const struct holding_record *told = MUTANT(FENCE_NOT_DURABLE) ? &own->now : &own->durable;
    ASSERT(range < holding->range_count);
    *state = (struct message_range_state){
        .range = range,
        .fence = told->generation == generation_now(holding) ? told->epoch : 0,
        .entered = own->durable.entered,
        .streamed = own->durable.streamed,
    };
}

static bool fence_covers(const struct holding *holding, uint32_t range, uint64_t session)
{
    const struct holding_record *durable = &holding->ranges[range].durable;
    return !holding_record_below(durable, generation_now(holding), session);
}

enum status holding_source_check(const struct holding *holding, uint32_t range, uint64_t session)
{
    if (range >= holding->range_count) {
        return holding->range_count == 0 ? STATUS_BEHIND : STATUS_INVALID;
    }
    const struct topology_range *says = topology_says(holding, range);
    bool other = says->stage != TOPOLOGY_WRITE_BOTH_READ_OLD || says->session != session;
    if (role_of(holding, range) != ROLE_OLD || (other && !MUTANT(SESSION_IGNORED))) {
        return STATUS_STALE;
    }
    if (holding->gates[range].state != HOLDING_OPEN) {
        return STATUS_BEHIND;
    }
    bool covered = fence_covers(holding, range, session) || MUTANT(STREAM_WITHOUT_FENCE);
    return covered ? STATUS_OK : STATUS_BEHIND;
}

bool holding_hungry(const struct holding *holding, uint32_t range)
{
    const struct topology_range *says = topology_says(holding, range);
    return says->stage == TOPOLOGY_WRITE_BOTH_READ_OLD &&
           ring_replicas_contain(&says->next, holding->id) &&
           holding->gates[range].state == HOLDING_OPEN &&
           fence_covers(holding, range, says->session) &&
           holding->ranges[range].now.streamed != says->session;
}

void holding_fed(struct holding *holding, uint32_t range, uint64_t session)
{
    const struct topology_range *says = topology_says(holding, range);
    if (holding->stopped || !holding_hungry(holding, range) ||
        (says->session != session && !MUTANT(SESSION_IGNORED))) {
        return;
    }
    holding->ranges[range].now.streamed = says->session;
    range_touch(holding, &holding->ranges[range]);
    batch_begin(holding);
}

void holding_pin(struct holding *holding, uint32_t range)
{
    ASSERT(range < holding->range_count);
    ASSERT(!holding->ranges[range].excising);
    holding->ranges[range].pin_count++;
}

void holding_unpin(struct holding *holding, uint32_t range)
{
    ASSERT(holding->ranges[range].pin_count > 0);
    holding->ranges[range].pin_count--;
    excises_begin(holding);
}

void holding_counts(const struct holding *holding, uint32_t *entering, uint32_t *leaving)
{
    *entering = 0;
    *leaving = 0;
    for (uint32_t index = 0; index < holding->range_count; index++) {
        *entering += role_of(holding, index) == ROLE_NEW ? 1 : 0;
        *leaving += is_leaving(holding, index) ? 1 : 0;
    }
}

/* ------------------------------------------------------------------ life */

/* Before a topology is known the records say how many ranges there are, at least. */
static enum status ranges_grow(struct holding *holding, uint32_t capacity)
{
    if (capacity <= holding->capacity) {
        return STATUS_OK;
    }
    struct holding_range *ranges = memory_resize(holding->ranges, capacity * sizeof(*ranges));
    if (ranges == NULL) {
        return STATUS_NO_MEMORY;
    }
    memset(ranges + holding->capacity, 0, (capacity - holding->capacity) * sizeof(*ranges));
    holding->ranges = ranges;
    holding->capacity = capacity;
    return STATUS_OK;
}

static enum status record_load(void *context, uint32_t id, const struct cell *cell)
{
    struct holding *holding = context;
    struct holding_record record;
    enum status status = id < RING_RANGE_COUNT_MAX ? STATUS_OK : STATUS_CORRUPT;
    if (status == STATUS_OK) {
        status = holding_record_decode(cell->value, &record);
    }
    if (status != STATUS_OK) {
        log_error(holding->env, "holding.bad_record", "range=%u status=\"%s\"", id,
                  status_name(status));
        return status;
    }
    uint32_t capacity = holding->capacity == 0 ? 1 : holding->capacity;
    while (capacity <= id) {
        capacity *= 2;
    }
    status = ranges_grow(holding, capacity);
    if (status == STATUS_OK) {
        holding->ranges[id].now = record;
        holding->ranges[id].durable = record;
        holding->ranges[id].sequence = cell->version.time;
    }
    return status;
}

enum status holding_open(struct holding *holding, struct env *env, struct lsm *lsm, uint32_t id)
{
    holding->env = env;
    holding->lsm = lsm;
    holding->id = id;
    holding->retry.fired = retry_fired;
    enum status status = records_walk(lsm, RECORDS_FENCE, record_load, holding);
    if (status != STATUS_OK) {
        log_error(env, "holding.records_unread", "status=\"%s\"", status_name(status));
    }
    return status;
}

void holding_start(struct holding *holding, const struct topology *topology,
                   const struct holding_events *events)
{
    holding->topology = topology;
    if (events != NULL) {
        holding->events = *events;
    }
}

static enum status gates_make(struct holding *holding, uint32_t count)
{
    enum status status = ranges_grow(holding, count);
    if (status == STATUS_OK) {
        holding->gates = memory_allocate_zeroed(count, sizeof(*holding->gates));
        status = holding->gates == NULL ? STATUS_NO_MEMORY : STATUS_OK;
    }
    if (status == STATUS_OK) {
        holding->range_count = count;
    }
    return status;
}

enum status holding_adopted(struct holding *holding)
{
    uint32_t count = holding->topology->range_count;
    if (holding->stopped) {
        return STATUS_OK;
    }
    if (holding->range_count == 0) {
        enum status status = gates_make(holding, count);
        if (status != STATUS_OK) {
            return status;
        }
    }
    ASSERT(count == holding->range_count); /* It never changes after bootstrap. */
    for (uint32_t index = 0; index < count; index++) {
        range_adopt(holding, index);
    }
    all_act(holding);
    return STATUS_OK;
}

void holding_stop(struct holding *holding)
{
    if (holding->env != NULL && !holding->stopped) {
        holding->env->ops->timer_stop(holding->env, &holding->retry);
    }
    holding->stopped = true;
}

void holding_close(struct holding *holding)
{
    memory_free(holding->gates);
    memory_free(holding->ranges);
    holding->gates = NULL;
    holding->ranges = NULL;
}
