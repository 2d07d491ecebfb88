/*
 * ring/placement.c -- which members hold which range, with exact quotas and the fewest copies.
 *
 * In four steps:
 *  - keep: of what a range has now, as many replicas as the zones allow;
 *  - walk: fill what is missing, clockwise from the start of the range, with members below quota;
 *  - repair: while a member is above its quota, pass one range on along the cheapest path to one
 *    that is below (ring/transfer.h). Cost is replicas to copy, so no placement with these quotas
 *    copies fewer;
 *  - prefer: choose the first replica of each range, evened out along paths again.
 * Invariants:
 *  (1) After `walk` every range has replica_count distinct members, and in each zone between its
 *      `least` and `most` of them; no step breaks that.
 *  (2) Keeping the most and filling the rest is cheapest for the loads it gives, so (1) of
 *      ring/transfer.h holds for every path of `repair`.
 *  (3) At the end every load is its quota. Paths exist until then, since giving each range to each
 *      member in proportion to its quota would meet the quotas in fractions, and the flow is
 *      integral.
 *
 * Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads" (SODA 2018) for
 * the walk. Changed: bounds are exact quotas, and what the walk leaves is repaired as a flow.
 */
#include <string.h>

#include "base/contract.h"
#include "base/memory.h"
#include "base/prng.h"
#include "ring/circle.h"
#include "ring/quota.h"
#include "ring/ring.h"
#include "ring/transfer.h"

/* Points looked at for one replica, before the member furthest below its quota is taken instead:
 * near the end of a walk most members are full. */
#define WALK_POINT_COUNT_MAX 4096
#define MEMBER_NONE UINT32_MAX

/* The replicas of a range, as indexes of members. */
struct place {
    uint8_t count;
    uint8_t members[RING_REPLICA_COUNT_MAX];
};

STATIC_ASSERT(RING_MEMBER_COUNT_MAX <= UINT8_MAX + 1, "an index of a member fits");

struct placement {
    uint32_t range_count;
    struct quota quota;
    struct circle circle;
    struct transfer transfer;
    struct place *before; /* The eligible part of what is now. Owned. */
    struct place *places; /* What is being made. Owned. */
    uint32_t loads[RING_MEMBER_COUNT_MAX];
    uint32_t quotas[RING_MEMBER_COUNT_MAX];
};

/* What one range holds, by member and by zone, so that questions about it take one look. */
struct range_view {
    uint32_t extra_count; /* Replicas beyond the `least` of their zones. */
    bool holds[RING_MEMBER_COUNT_MAX];
    bool held[RING_MEMBER_COUNT_MAX]; /* Before. */
    uint8_t in_zone[RING_MEMBER_COUNT_MAX];
};

static bool place_contains(const struct place *place, uint32_t member)
{
    for (uint32_t i = 0; i < place->count; i++) {
        if (place->members[i] == member) {
            return true;
        }
    }
    return false;
}

static void view_add(struct range_view *view, const struct quota *quota, uint32_t member)
{
    uint32_t zone = quota->members[member].zone;
    view->holds[member] = true;
    view->in_zone[zone]++;
    view->extra_count += view->in_zone[zone] > quota->zones[zone].least ? 1 : 0;
}

static void view_init(struct range_view *view, const struct placement *placement, uint32_t range)
{
    memset(view, 0, sizeof(*view));
    const struct place *place = &placement->places[range];
    for (uint32_t i = 0; i < place->count; i++) {
        view_add(view, &placement->quota, place->members[i]);
    }
    const struct place *before = &placement->before[range];
    for (uint32_t i = 0; i < before->count; i++) {
        view->held[before->members[i]] = true;
    }
}

/* Whether a range that is not full may take the member and still reach every zone's `least`. */
static bool view_takes(const struct range_view *view, const struct quota *quota, uint32_t member)
{
    uint32_t zone = quota->members[member].zone;
    if (view->holds[member] || view->in_zone[zone] >= quota->zones[zone].most) {
        return false;
    }
    return view->in_zone[zone] < quota->zones[zone].least || view->extra_count < quota->extra_count;
}

/* Whether in a full range `to` may stand in for `from`. */
static bool view_swaps(const struct range_view *view, const struct quota *quota, uint32_t from,
                       uint32_t to)
{
    uint32_t zone_from = quota->members[from].zone;
    uint32_t zone_to = quota->members[to].zone;
    if (!view->holds[from] || view->holds[to]) {
        return false;
    }
    return zone_from == zone_to || (view->in_zone[zone_from] > quota->zones[zone_from].least &&
                                    view->in_zone[zone_to] < quota->zones[zone_to].most);
}

/* Replicas to copy if `to` stands in for `from`. */
static int view_cost(const struct range_view *view, uint32_t from, uint32_t to)
{
    return (view->held[from] ? 1 : 0) - (view->held[to] ? 1 : 0);
}

static void place_append(struct placement *placement, uint32_t range, struct range_view *view,
                         uint32_t member)
{
    struct place *place = &placement->places[range];
    ASSERT(place->count < placement->quota.replica_count);
    place->members[place->count++] = (uint8_t)member;
    placement->loads[member]++;
    view_add(view, &placement->quota, member);
}

static uint32_t member_find(const struct quota *quota, uint32_t id)
{
    uint32_t low = 0;
    uint32_t high = quota->member_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (quota->members[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < quota->member_count && quota->members[low].id == id ? low : MEMBER_NONE;
}

/* Step 1. Members that are gone and repetitions are passed over. */
static void keep(struct placement *placement, const struct ring_replicas *current)
{
    for (uint32_t range = 0; range < placement->range_count; range++) {
        struct place *before = &placement->before[range];
        for (uint32_t i = 0; i < current[range].count; i++) {
            uint32_t member = member_find(&placement->quota, current[range].ids[i]);
            if (member != MEMBER_NONE && !place_contains(before, member)) {
                before->members[before->count++] = (uint8_t)member;
            }
        }
        struct range_view view;
        view_init(&view, placement, range);
        for (uint32_t i = 0; i < before->count; i++) {
            if (placement->places[range].count < placement->quota.replica_count &&
                view_takes(&view, &placement->quota, before->members[i])) {
                place_append(placement, range, &view, before->members[i]);
            }
        }
    }
}

static uint32_t walk_next(const struct placement *placement, const struct range_view *view,
                          uint32_t start)
{
    const struct circle *circle = &placement->circle;
    uint32_t step_count = circle->point_count;
    if (step_count > WALK_POINT_COUNT_MAX) {
        step_count = WALK_POINT_COUNT_MAX;
    }
    for (uint32_t i = 0; i < step_count; i++) {
        uint32_t at = start + i;
        at = at < circle->point_count ? at : at - circle->point_count;
        uint32_t member = circle->points[at].member;
        if (placement->loads[member] < placement->quotas[member] &&
            view_takes(view, &placement->quota, member)) {
            return member;
        }
    }
    /* Signed: members may be above their quota until the repair. */
    uint32_t best = MEMBER_NONE;
    int64_t best_room = 0;
    for (uint32_t member = 0; member < placement->quota.member_count; member++) {
        int64_t room = (int64_t)placement->quotas[member] - placement->loads[member];
        if (view_takes(view, &placement->quota, member) &&
            (best == MEMBER_NONE || room > best_room)) {
            best = member;
            best_room = room;
        }
    }
    ASSERT(best != MEMBER_NONE);
    return best;
}

/* Step 2. */
static void walk(struct placement *placement)
{
    for (uint32_t range = 0; range < placement->range_count; range++) {
        if (placement->places[range].count == placement->quota.replica_count) {
            continue;
        }
        struct range_view view;
        view_init(&view, placement, range);
        uint32_t start =
            circle_find(&placement->circle, ring_range_first(range, placement->range_count));
        while (placement->places[range].count < placement->quota.replica_count) {
            place_append(placement, range, &view, walk_next(placement, &view, start));
        }
    }
}

typedef void transfer_change(struct transfer *transfer, uint32_t from, uint32_t to, int cost);

/* Every swap the range allows, counted in or out. */
static void swaps_count(struct placement *placement, uint32_t range, transfer_change *change)
{
    const struct place *place = &placement->places[range];
    struct range_view view;
    view_init(&view, placement, range);
    for (uint32_t i = 0; i < place->count; i++) {
        uint32_t from = place->members[i];
        for (uint32_t to = 0; to < placement->quota.member_count; to++) {
            if (view_swaps(&view, &placement->quota, from, to)) {
                change(&placement->transfer, from, to, view_cost(&view, from, to));
            }
        }
    }
}

/* Ranges are tried from a scattered start on, so that a new member is given no single stretch. */
static uint32_t scattered_range(const struct placement *placement, uint32_t from, uint32_t to)
{
    ASSERT(placement->range_count > 0);
    uint64_t seed =
        ((uint64_t)placement->quota.members[from].id << 32) | placement->quota.members[to].id;
    return (uint32_t)(prng_mix(prng_mix(seed) + placement->loads[to]) % placement->range_count);
}

static uint32_t swap_find(const struct placement *placement, uint32_t from, uint32_t to, int cost)
{
    uint32_t range = scattered_range(placement, from, to);
    for (uint32_t i = 0; i < placement->range_count; i++) {
        if (place_contains(&placement->places[range], from)) {
            struct range_view view;
            view_init(&view, placement, range);
            if (view_swaps(&view, &placement->quota, from, to) &&
                view_cost(&view, from, to) == cost) {
                return range;
            }
        }
        range = (range + 1) % placement->range_count;
    }
    UNREACHABLE("a counted swap exists");
}

static void swap_apply(struct placement *placement, uint32_t range, uint32_t from, uint32_t to)
{
    struct place *place = &placement->places[range];
    for (uint32_t i = 0; i < place->count; i++) {
        if (place->members[i] == from) {
            place->members[i] = (uint8_t)to;
        }
    }
    placement->loads[from]--;
    placement->loads[to]++;
}

static bool loads_are_quotas(const struct placement *placement)
{
    size_t size = placement->quota.member_count * sizeof(placement->loads[0]);
    return memcmp(placement->loads, placement->quotas, size) == 0;
}

/* Step 3. */
static enum status repair(struct placement *placement)
{
    if (loads_are_quotas(placement)) {
        return STATUS_OK;
    }
    enum status status = transfer_init(&placement->transfer, placement->quota.member_count);
    if (status != STATUS_OK) {
        return status;
    }
    for (uint32_t range = 0; range < placement->range_count; range++) {
        swaps_count(placement, range, transfer_add);
    }
    struct transfer_path path;
    while (transfer_find(&placement->transfer, placement->loads, placement->quotas, &path)) {
        for (uint32_t i = 0; i + 1 < path.member_count; i++) {
            uint32_t from = path.members[i];
            uint32_t to = path.members[i + 1];
            uint32_t range = swap_find(placement, from, to, path.costs[i]);
            swaps_count(placement, range, transfer_remove);
            swap_apply(placement, range, from, to);
            swaps_count(placement, range, transfer_add);
        }
    }
    ASSERT(loads_are_quotas(placement));
    transfer_deinit(&placement->transfer);
    return STATUS_OK;
}

/* The first replica as it was, 1 for yes: keeping it is what a preference costs. */
static int was_first(const struct placement *placement, uint32_t range, uint32_t member)
{
    const struct place *before = &placement->before[range];
    return before->count > 0 && before->members[0] == member ? 1 : 0;
}

static int first_cost(const struct placement *placement, uint32_t range, uint32_t from, uint32_t to)
{
    return was_first(placement, range, from) - was_first(placement, range, to);
}

static void firsts_count(struct placement *placement, uint32_t range, transfer_change *change)
{
    const struct place *place = &placement->places[range];
    for (uint32_t i = 1; i < place->count; i++) {
        uint32_t from = place->members[0];
        uint32_t to = place->members[i];
        change(&placement->transfer, from, to, first_cost(placement, range, from, to));
    }
}

static void first_make(struct place *place, uint32_t member)
{
    for (uint32_t i = 1; i < place->count; i++) {
        if (place->members[i] == member) {
            place->members[i] = place->members[0];
            place->members[0] = (uint8_t)member;
        }
    }
    ASSERT(place->members[0] == member);
}

static uint32_t first_find(const struct placement *placement, uint32_t from, uint32_t to, int cost)
{
    uint32_t range = scattered_range(placement, from, to);
    for (uint32_t i = 0; i < placement->range_count; i++) {
        const struct place *place = &placement->places[range];
        if (place->members[0] == from && place_contains(place, to) &&
            first_cost(placement, range, from, to) == cost) {
            return range;
        }
        range = (range + 1) % placement->range_count;
    }
    UNREACHABLE("a counted preference exists");
}

static void firsts_choose(struct placement *placement)
{
    memset(placement->loads, 0, sizeof(placement->loads));
    for (uint32_t range = 0; range < placement->range_count; range++) {
        struct place *place = &placement->places[range];
        const struct place *before = &placement->before[range];
        if (before->count > 0 && place_contains(place, before->members[0])) {
            first_make(place, before->members[0]);
            placement->loads[before->members[0]]++;
        }
    }
    for (uint32_t range = 0; range < placement->range_count; range++) {
        struct place *place = &placement->places[range];
        if (was_first(placement, range, place->members[0]) != 0) {
            continue;
        }
        uint32_t best = place->members[0];
        for (uint32_t i = 1; i < place->count; i++) {
            uint32_t member = place->members[i];
            if ((int64_t)placement->quotas[member] - placement->loads[member] >
                (int64_t)placement->quotas[best] - placement->loads[best]) {
                best = member;
            }
        }
        first_make(place, best);
        placement->loads[best]++;
    }
}

/* Until no member is above its quota, or none below. */
static void firsts_repair(struct placement *placement)
{
    struct transfer_path path;
    while (transfer_find(&placement->transfer, placement->loads, placement->quotas, &path)) {
        for (uint32_t i = 0; i + 1 < path.member_count; i++) {
            uint32_t from = path.members[i];
            uint32_t to = path.members[i + 1];
            uint32_t range = first_find(placement, from, to, path.costs[i]);
            firsts_count(placement, range, transfer_remove);
            first_make(&placement->places[range], to);
            firsts_count(placement, range, transfer_add);
            placement->loads[from]--;
            placement->loads[to]++;
        }
    }
}

/*
 * Step 4. Each member should come first in one of replica_count of its ranges, rounded down or up.
 * Which way cannot be chosen freely, so first what is above the upper figures goes, then what is
 * below the lower ones is filled. From here on loads and quotas are those of first replicas.
 */
static enum status prefer(struct placement *placement)
{
    uint32_t member_count = placement->quota.member_count;
    uint32_t replica_count = placement->quota.replica_count;
    uint32_t held[RING_MEMBER_COUNT_MAX];
    enum status status = transfer_init(&placement->transfer, member_count);
    if (status != STATUS_OK) {
        return status;
    }
    memcpy(held, placement->quotas, sizeof(held));
    for (uint32_t i = 0; i < member_count; i++) {
        placement->quotas[i] = (held[i] + replica_count - 1) / replica_count;
    }
    firsts_choose(placement);
    for (uint32_t range = 0; range < placement->range_count; range++) {
        firsts_count(placement, range, transfer_add);
    }
    firsts_repair(placement);
    for (uint32_t i = 0; i < member_count; i++) {
        ASSERT(placement->loads[i] <= placement->quotas[i]);
        placement->quotas[i] = held[i] / replica_count;
    }
    firsts_repair(placement);
    for (uint32_t i = 0; i < member_count; i++) {
        ASSERT(placement->loads[i] >= placement->quotas[i]);
    }
    transfer_deinit(&placement->transfer);
    return STATUS_OK;
}

static void write_out(const struct placement *placement, struct ring_replicas *to)
{
    for (uint32_t range = 0; range < placement->range_count; range++) {
        const struct place *place = &placement->places[range];
        to[range] = (struct ring_replicas){.count = place->count};
        for (uint32_t i = 0; i < place->count; i++) {
            to[range].ids[i] = placement->quota.members[place->members[i]].id;
        }
    }
}

static enum status place_all(struct placement *placement, const struct ring_input *input)
{
    placement->range_count = input->range_count;
    enum status status = quota_init(&placement->quota, input);
    if (status != STATUS_OK) {
        return status;
    }
    placement->before = memory_allocate_zeroed(input->range_count, sizeof(struct place));
    placement->places = memory_allocate_zeroed(input->range_count, sizeof(struct place));
    if (placement->before == NULL || placement->places == NULL) {
        return STATUS_NO_MEMORY;
    }
    status = circle_init(&placement->circle, &placement->quota);
    if (status != STATUS_OK) {
        return status;
    }
    if (input->current != NULL) {
        keep(placement, input->current);
    }
    quota_round(&placement->quota, input->range_count, placement->loads, placement->quotas);
    walk(placement);
    status = repair(placement);
    if (status != STATUS_OK) {
        return status;
    }
    return prefer(placement);
}

enum status ring_place(const struct ring_input *input, struct ring_replicas *to)
{
    ASSERT(input != NULL);
    ASSERT(to != NULL);
    struct placement *placement = memory_allocate_zeroed(1, sizeof(*placement));
    if (placement == NULL) {
        return STATUS_NO_MEMORY;
    }
    enum status status = place_all(placement, input);
    if (status == STATUS_OK) {
        write_out(placement, to);
    }
    transfer_deinit(&placement->transfer);
    circle_deinit(&placement->circle);
    memory_free(placement->before);
    memory_free(placement->places);
    memory_free(placement);
    return status;
}
