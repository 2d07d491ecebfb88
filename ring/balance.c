/*
 * ring/balance.c -- moves of single ranges, the best first.
 *
 * Loads are whole numbers: all there is of one kind is LOAD_ONE, so that squares fit.
 */
#include "ring/balance.h"

#include <string.h>

#include "base/contract.h"
#include "base/memory.h"
#include "ring/goals.h"

#define LOAD_ONE (UINT64_C(1) << 30)
#define LOAD_BIT_COUNT_MAX 32 /* Totals are cut to so many bits before they are divided by. */
#define NO_MEMBER UINT32_MAX

/* A replica of a range that may move. */
struct holding {
    uint32_t range;
    uint32_t member; /* Index; of where it is by the moves so far. */
    uint64_t load;
    uint64_t bytes;
};

struct work {
    const struct balance_input *input;
    struct balance *balance;
    struct goals_zones zones;
    struct ring_replicas *places; /* Of all ranges, by the moves so far. */
    struct holding *holdings;
    uint32_t holding_count;
    uint64_t loads[RING_MEMBER_COUNT_MAX]; /* By index of the member, by the moves so far. */
    uint64_t fair[RING_MEMBER_COUNT_MAX];  /* What it is due of all load. */
    uint64_t total;
    bool moved[RING_RANGE_COUNT_MAX]; /* By range. */
};

/* ------------------------------------------------------------------ one figure from three */

/* All there is of one kind; cut so that a part of it can be scaled without overflow. */
struct whole {
    uint64_t total;
    uint32_t shift;
    uint32_t weight; /* 0: of this kind there is nothing, or it does not count. */
};

static struct whole whole_make(uint64_t total, uint32_t weight)
{
    struct whole whole = {.total = total, .weight = total == 0 ? 0 : weight};
    while (whole.total >> LOAD_BIT_COUNT_MAX != 0) {
        whole.total >>= 1;
        whole.shift++;
    }
    return whole;
}

static uint64_t part_of(uint64_t value, const struct whole *whole)
{
    return whole->weight == 0 ? 0 : (value >> whole->shift) * LOAD_ONE / whole->total;
}

struct wholes {
    struct whole bytes;
    struct whole reads;
    struct whole writes;
};

static uint64_t load_of(const struct balance_cost *cost, const struct wholes *wholes)
{
    uint64_t weights =
        (uint64_t)wholes->bytes.weight + wholes->reads.weight + wholes->writes.weight;
    if (weights == 0) {
        return 0;
    }
    uint64_t sum = part_of(cost->bytes, &wholes->bytes) * wholes->bytes.weight +
                   part_of(cost->reads, &wholes->reads) * wholes->reads.weight +
                   part_of(cost->writes, &wholes->writes) * wholes->writes.weight;
    return sum / weights;
}

/* ------------------------------------------------------------------ who takes part */

static uint32_t member_index(const struct topology *topology, uint32_t id)
{
    const struct topology_member *member = topology_member_find(topology, id);
    return member == NULL ? NO_MEMBER : (uint32_t)(member - topology->members);
}

static bool is_known(const struct balance_input *input, uint32_t id)
{
    for (uint32_t i = 0; i < input->known_count; i++) {
        if (input->known[i] == id) {
            return true;
        }
    }
    return false;
}

static enum status members_make(struct work *work)
{
    const struct topology *topology = work->input->topology;
    struct balance *balance = work->balance;
    balance->member_count = topology->member_count;
    balance->members = memory_allocate_zeroed(topology->member_count, sizeof(*balance->members));
    struct ring_node *nodes = memory_allocate_zeroed(topology->member_count, sizeof(*nodes));
    uint32_t shares[RING_MEMBER_COUNT_MAX] = {0};
    enum status status = STATUS_NO_MEMORY;
    if (balance->members != NULL && nodes != NULL) {
        goals_nodes(topology, nodes);
        const struct ring_input input = {.nodes = nodes,
                                         .node_count = topology->member_count,
                                         .range_count = topology->range_count,
                                         .replica_count = topology->replica_count};
        status = ring_feasible_shares(&input, shares);
        ASSERT(status != STATUS_INVALID); /* Some member is ACTIVE: see topology.h. */
    }
    memory_free(nodes);
    for (uint32_t i = 0; status == STATUS_OK && i < topology->member_count; i++) {
        const struct topology_member *member = &topology->members[i];
        balance->members[i] = (struct balance_member){
            .id = member->id,
            .counted = member->state == TOPOLOGY_ACTIVE && shares[i] > 0 &&
                       is_known(work->input, member->id),
            .due_ppm = shares[i],
        };
    }
    return status;
}

static bool range_may_move(const struct topology_range *range)
{
    return range->stage == TOPOLOGY_STABLE && range->goal.count == 0;
}

/* The replica that the cost is of; NO_MEMBER if it is none, or takes no part. */
static uint32_t counted_member(const struct work *work, const struct balance_cost *cost)
{
    const struct topology *topology = work->input->topology;
    if (cost->range >= topology->range_count) {
        return NO_MEMBER;
    }
    const struct topology_range *range = &topology->ranges[cost->range];
    uint32_t index = member_index(topology, cost->node);
    bool counted = index != NO_MEMBER && work->balance->members[index].counted &&
                   ring_replicas_contain(&range->replicas, cost->node);
    return counted ? index : NO_MEMBER;
}

static struct wholes wholes_make(const struct work *work)
{
    const struct balance_input *input = work->input;
    uint64_t bytes = 0;
    uint64_t reads = 0;
    uint64_t writes = 0;
    for (uint32_t i = 0; i < input->cost_count; i++) {
        if (counted_member(work, &input->costs[i]) != NO_MEMBER) {
            bytes += input->costs[i].bytes;
            reads += input->costs[i].reads;
            writes += input->costs[i].writes;
        }
    }
    return (struct wholes){.bytes = whole_make(bytes, input->bytes_weight),
                           .reads = whole_make(reads, input->reads_weight),
                           .writes = whole_make(writes, input->writes_weight)};
}

static void loads_make(struct work *work)
{
    const struct balance_input *input = work->input;
    const struct topology *topology = input->topology;
    const struct wholes wholes = wholes_make(work);
    for (uint32_t i = 0; i < input->cost_count; i++) {
        const struct balance_cost *cost = &input->costs[i];
        uint32_t index = counted_member(work, cost);
        if (index == NO_MEMBER) {
            continue;
        }
        uint64_t load = load_of(cost, &wholes);
        work->loads[index] += load;
        work->total += load;
        if (load > 0 && range_may_move(&topology->ranges[cost->range])) {
            work->holdings[work->holding_count++] = (struct holding){
                .range = cost->range, .member = index, .load = load, .bytes = cost->bytes};
        }
    }
}

/* Of what those that take part carry, each is due its share of their shares. */
static void fair_make(struct work *work)
{
    struct balance *balance = work->balance;
    uint64_t shares = 0;
    for (uint32_t i = 0; i < balance->member_count; i++) {
        shares += balance->members[i].counted ? balance->members[i].due_ppm : 0;
    }
    for (uint32_t i = 0; i < balance->member_count; i++) {
        struct balance_member *member = &balance->members[i];
        member->due_ppm = member->counted ? (uint32_t)(member->due_ppm * BALANCE_PPM / shares) : 0;
        work->fair[i] = work->total * member->due_ppm / BALANCE_PPM;
    }
}

static uint32_t load_ppm(const struct work *work, uint64_t load)
{
    return work->total == 0 ? 0 : (uint32_t)(load * BALANCE_PPM / work->total);
}

/* ------------------------------------------------------------------ how uneven it is */

static uint64_t ratio_of(const struct work *work, uint32_t member)
{
    return work->fair[member] == 0 ? 0 : work->loads[member] * BALANCE_PPM / work->fair[member];
}

static uint64_t imbalance_of(const struct work *work)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < work->balance->member_count; i++) {
        uint64_t ratio = ratio_of(work, i);
        most = ratio > most ? ratio : most;
    }
    return most;
}

/* What one member adds to the sum that each move is to make less. */
static uint64_t burden(const struct work *work, uint32_t member, uint64_t load)
{
    return load * load / (work->balance->members[member].due_ppm + UINT64_C(1));
}

/* By how much the move makes the sum less; 0: by nothing. */
static uint64_t gain_of(const struct work *work, const struct holding *holding, uint32_t to)
{
    uint64_t from_load = work->loads[holding->member];
    uint64_t to_load = work->loads[to];
    uint64_t before = burden(work, holding->member, from_load) + burden(work, to, to_load);
    uint64_t after = burden(work, holding->member, from_load - holding->load) +
                     burden(work, to, to_load + holding->load);
    return before > after ? before - after : 0;
}

/* ------------------------------------------------------------------ moves */

struct candidate {
    struct holding *holding; /* NULL: none. */
    uint32_t to;             /* Index of the member. */
    uint64_t gain;
};

static bool move_is_allowed(const struct work *work, const struct holding *holding, uint32_t to)
{
    const struct balance_member *members = work->balance->members;
    const struct topology_change change = {.type = TOPOLOGY_MOVE,
                                           .range = holding->range,
                                           .id = members[holding->member].id,
                                           .to_id = members[to].id};
    struct ring_replicas place = work->places[holding->range];
    return members[to].counted && goals_move_make(&work->zones, &change, &place) == NULL;
}

/* More gain; for the same, fewer bytes. */
static bool candidate_beats(const struct candidate *best, uint64_t gain,
                            const struct holding *holding)
{
    if (gain == 0 || best->holding == NULL || gain != best->gain) {
        return gain > best->gain;
    }
    return holding->bytes < best->holding->bytes;
}

static struct candidate best_from(struct work *work, uint32_t source)
{
    struct candidate best = {0};
    for (uint32_t i = 0; i < work->holding_count; i++) {
        struct holding *holding = &work->holdings[i];
        if (holding->member != source || work->moved[holding->range]) {
            continue;
        }
        for (uint32_t to = 0; to < work->balance->member_count; to++) {
            uint64_t gain = to == source ? 0 : gain_of(work, holding, to);
            if (candidate_beats(&best, gain, holding) && move_is_allowed(work, holding, to)) {
                best = (struct candidate){.holding = holding, .to = to, .gain = gain};
            }
        }
    }
    return best;
}

/* Of those not yet tried, the one with most over what it is due; NO_MEMBER if none has more. */
static uint32_t source_next(const struct work *work, const bool *tried)
{
    uint32_t source = NO_MEMBER;
    uint64_t most = BALANCE_PPM;
    for (uint32_t i = 0; i < work->balance->member_count; i++) {
        uint64_t ratio = ratio_of(work, i);
        if (!tried[i] && ratio > most) {
            source = i;
            most = ratio;
        }
    }
    return source;
}

static struct candidate best_move(struct work *work)
{
    bool tried[RING_MEMBER_COUNT_MAX] = {false};
    struct candidate best = {0};
    uint32_t source = source_next(work, tried);
    while (source != NO_MEMBER && best.holding == NULL) {
        best = best_from(work, source);
        tried[source] = true;
        source = source_next(work, tried);
    }
    return best;
}

static void move_take(struct work *work, const struct candidate *candidate)
{
    struct balance *balance = work->balance;
    struct holding *holding = candidate->holding;
    uint32_t from_id = balance->members[holding->member].id;
    uint32_t to_id = balance->members[candidate->to].id;
    struct ring_replicas *place = &work->places[holding->range];
    for (uint32_t i = 0; i < place->count; i++) {
        place->ids[i] = place->ids[i] == from_id ? to_id : place->ids[i];
    }
    work->loads[holding->member] -= holding->load;
    work->loads[candidate->to] += holding->load;
    holding->member = candidate->to;
    work->moved[holding->range] = true;
    balance->moves[balance->move_count++] =
        (struct balance_move){.range = holding->range,
                              .from = from_id,
                              .to = to_id,
                              .load_ppm = load_ppm(work, holding->load),
                              .bytes = holding->bytes};
}

/* As many of the moves as leave the least imbalance. */
static void moves_choose(struct work *work)
{
    struct balance *balance = work->balance;
    uint32_t kept = 0;
    balance->imbalance_ppm_after = balance->imbalance_ppm;
    while (balance->move_count < work->input->move_count) {
        const struct candidate best = best_move(work);
        if (best.holding == NULL) {
            break;
        }
        move_take(work, &best);
        uint64_t imbalance = imbalance_of(work);
        if (imbalance < balance->imbalance_ppm_after) {
            balance->imbalance_ppm_after = imbalance;
            kept = balance->move_count;
        }
    }
    balance->move_count = kept;
}

/* ------------------------------------------------------------------ what came of it */

static const char *obstacle(const struct work *work)
{
    const struct topology *topology = work->input->topology;
    if (topology->running.id != 0) {
        return "a plan runs: load will lie elsewhere when it is done";
    }
    if (topology->staged.id != 0) {
        return "a plan is staged: commit or clear it first";
    }
    if (work->total == 0) {
        return "there is no load to speak of";
    }
    return NULL;
}

static void moves_judge(struct balance *balance, uint32_t gain_ppm)
{
    if (balance->move_count == 0) {
        balance->reason = "no single move makes it more even";
    } else if (balance->imbalance_ppm - balance->imbalance_ppm_after < gain_ppm) {
        balance->reason = "it would gain less than is asked for";
        balance->move_count = 0;
        balance->imbalance_ppm_after = balance->imbalance_ppm;
    }
}

static struct balance_member *member_of(struct balance *balance, uint32_t id)
{
    uint32_t index = 0;
    while (balance->members[index].id != id) {
        index++;
    }
    return &balance->members[index];
}

static void sums_fill(struct work *work)
{
    struct balance *balance = work->balance;
    for (uint32_t i = 0; i < balance->member_count; i++) {
        balance->members[i].load_ppm_after = balance->members[i].load_ppm;
    }
    for (uint32_t i = 0; i < balance->move_count; i++) {
        const struct balance_move *move = &balance->moves[i];
        struct balance_member *from = member_of(balance, move->from);
        struct balance_member *to = member_of(balance, move->to);
        uint32_t load =
            move->load_ppm < from->load_ppm_after ? move->load_ppm : from->load_ppm_after;
        from->load_ppm_after -= load;
        to->load_ppm_after += load;
        from->out_count++;
        from->out_bytes += move->bytes;
        to->in_count++;
        to->in_bytes += move->bytes;
        balance->bytes += move->bytes;
    }
}

static enum status work_init(struct work *work)
{
    const struct balance_input *input = work->input;
    const struct topology *topology = input->topology;
    goals_zones_init(&work->zones, topology);
    work->places = memory_allocate_zeroed(topology->range_count, sizeof(*work->places));
    work->holdings = memory_allocate_zeroed(input->cost_count + (size_t)1, sizeof(*work->holdings));
    if (work->places == NULL || work->holdings == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t range = 0; range < topology->range_count; range++) {
        work->places[range] = topology->ranges[range].replicas;
    }
    return members_make(work);
}

static void work_run(struct work *work)
{
    struct balance *balance = work->balance;
    loads_make(work);
    fair_make(work);
    for (uint32_t i = 0; i < balance->member_count; i++) {
        balance->members[i].load_ppm = load_ppm(work, work->loads[i]);
    }
    balance->imbalance_ppm = imbalance_of(work);
    balance->imbalance_ppm_after = balance->imbalance_ppm;
    balance->reason = obstacle(work);
    if (balance->reason == NULL) {
        moves_choose(work);
        moves_judge(balance, work->input->gain_ppm);
    }
    sums_fill(work);
}

enum status balance_init(struct balance *balance, const struct balance_input *input)
{
    ASSERT(balance != NULL);
    ASSERT(input->topology->cluster_id != 0);
    ASSERT(input->move_count <= TOPOLOGY_CHANGE_COUNT_MAX);
    ASSERT(input->bytes_weight <= BALANCE_WEIGHT_MAX);
    ASSERT(input->reads_weight <= BALANCE_WEIGHT_MAX);
    ASSERT(input->writes_weight <= BALANCE_WEIGHT_MAX);
    memset(balance, 0, sizeof(*balance));
    struct work *work = memory_allocate_zeroed(1, sizeof(*work));
    if (work == NULL) {
        return STATUS_NO_MEMORY;
    }
    work->input = input;
    work->balance = balance;
    enum status status = work_init(work);
    if (status == STATUS_OK) {
        work_run(work);
    } else {
        balance_deinit(balance);
    }
    memory_free(work->places);
    memory_free(work->holdings);
    memory_free(work);
    return status;
}

void balance_deinit(struct balance *balance)
{
    memory_free(balance->members);
    balance->members = NULL;
    balance->member_count = 0;
}
