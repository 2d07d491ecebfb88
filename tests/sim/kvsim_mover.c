/*
 * tests/sim/kvsim_mover.c -- see kvsim_mover.h.
 *
 * A deed is a few changes that belong together:
 *
 *   REST --> STAGE (each change) --> SHOW --> COMMIT --> REST --> [ABORT] --> REST
 *                                      |         |
 *                                      +---------+--> CLEAR --> REST
 *
 * What it asks for is drawn from the newest topology of any node, as an operator looks before he
 * acts; that may be old by the time it is asked, and is refused then.
 */
#include "tests/sim/kvsim_mover.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/heap_sim.h"
#include "tests/sim/kvsim_asker.h"

#define NS_PER_MS UINT64_C(1000000)
#define CHANGE_COUNT_MAX 3
#define TOLD_COUNT_MAX 256
#define AGAIN_MS_MAX 300    /* Before something that was not done is asked again. */
#define QUIET_MS 200        /* Between two looks in the quiet. */
#define WEDGE_AFTER_MS 3000 /* The node of (3) catches up. */
#define FIRST_MS 3000       /* A cluster bootstraps meanwhile. */
#define WEDGE_MS_MAX 8000   /* Of a node of a move, while it is committed or taken back. */

enum mover_state { MOVER_REST, MOVER_STAGE, MOVER_SHOW, MOVER_COMMIT, MOVER_ABORT, MOVER_CLEAR };

struct deed {
    struct topology_change changes[CHANGE_COUNT_MAX];
    uint32_t count;
};

/* What was told of a plan. */
enum told_what { TOLD_COMMITTED, TOLD_ABORTED, TOLD_REFUSED /* To commit it. */ };

struct told {
    uint64_t plan_id;
    enum told_what what;
};

struct mover {
    struct asker asker;
    struct cluster *cluster;
    struct nemesis *nemesis;
    const struct plan *plan;
    struct env_timer pace;
    enum mover_state state;
    bool looking;   /* SHOW is asked, to learn what became of the request before. */
    bool first_try; /* No commit of the plan was asked before this one. */
    struct deed deed;
    uint32_t next;         /* Of its changes: the one that is staged. */
    uint32_t staged_count; /* Of the staged plan, as far as known. */
    uint64_t staged_id;    /* Likewise; 0: nothing is. */
    uint64_t asked_id;     /* The last one whose commit was asked. */
    uint64_t running_id;   /* The plan committed last; 0: it is not ours to abort any more. */
    bool again;            /* The deed was aborted, and is done again at once. */
    bool reversible;       /* The deed was committed, and can be taken back. */
    uint32_t victim;       /* The node that was given up; 0: none is. */
    bool last_wedge;       /* (3) is yet to come. */
    uint32_t wedge;  /* The node of (3), to be wedged when its moves are committed; 0: none. */
    uint32_t wedged; /* It is now; 0: none is. */
    bool quiet;
    uint64_t since_ns; /* Of the liveness that is owed. */
    uint64_t seen_plan_id;
    struct told told[TOLD_COUNT_MAX];
    uint32_t told_count;
    struct mover_counts counts;
};

static uint64_t draw(const struct mover *mover, uint64_t bound)
{
    return prng_below(mover->cluster->prng, bound);
}

static uint64_t now_ns(const struct mover *mover)
{
    return world_now_ns(mover->cluster->world);
}

static void rest(struct mover *mover, uint64_t ms)
{
    env_timer_start_ms(mover->asker.env, &mover->pace, ms);
}

/* ------------------------------------------------------------------ what there is */

/* A member of that state, drawn; NULL: there is none. */
static const struct topology_member *member_drawn(const struct mover *mover,
                                                  const struct topology *topology,
                                                  enum topology_member_state state)
{
    uint32_t drawn = (uint32_t)draw(mover, topology->member_count);
    for (uint32_t step = 0; step < topology->member_count; step++) {
        const struct topology_member *member =
            &topology->members[(drawn + step) % topology->member_count];
        if (member->state == state && member->id != mover->victim) {
            return member;
        }
    }
    return NULL;
}

static struct cluster_node *spare_find(const struct mover *mover)
{
    for (uint32_t index = 0; index < mover->cluster->count; index++) {
        struct cluster_node *node = cluster_node_at(mover->cluster, index);
        if (node->spare) {
            return node;
        }
    }
    return NULL;
}

static bool set_survives(const struct ring_replicas *set)
{
    return set->count == 0 || set->count >= 3;
}

/* The first member that was declared dead; 0: none is. */
static uint32_t lost_find(const struct topology *topology)
{
    for (uint32_t index = 0; index < topology->member_count; index++) {
        if (topology->members[index].lost) {
            return topology->members[index].id;
        }
    }
    return 0;
}

/* Whether any node may be declared dead, and every range have its majorities all the same. */
static bool may_lose(const struct topology *topology)
{
    if (topology->replica_count < 3 || topology->staged.id != 0 || lost_find(topology) != 0) {
        return false;
    }
    for (uint32_t index = 0; index < topology->range_count; index++) {
        const struct topology_range *range = &topology->ranges[index];
        if (!set_survives(&range->replicas) || !set_survives(&range->next) ||
            !set_survives(&range->goal)) {
            return false;
        }
    }
    return true;
}

/* ------------------------------------------------------------------ deeds */

static void deed_add(struct deed *deed, struct topology_change change)
{
    if (deed->count < CHANGE_COUNT_MAX) {
        deed->changes[deed->count++] = change;
    }
}

static void move_draw(struct mover *mover, const struct topology *topology)
{
    const struct topology_member *to = member_drawn(mover, topology, TOPOLOGY_ACTIVE);
    uint32_t number = (uint32_t)draw(mover, topology->range_count);
    const struct ring_replicas *replicas = &topology->ranges[number].replicas;
    uint32_t from = replicas->ids[draw(mover, replicas->count)];
    if (to != NULL && !ring_replicas_contain(replicas, to->id)) {
        deed_add(&mover->deed,
                 (struct topology_change){
                     .type = TOPOLOGY_MOVE, .range = number, .id = from, .to_id = to->id});
    }
}

/* A joined one owns nothing until a plan says so; if none waits, the next spare is started. */
static void join_draw(struct mover *mover, const struct topology *topology)
{
    const struct topology_member *joining = member_drawn(mover, topology, TOPOLOGY_JOINING);
    struct cluster_node *spare = spare_find(mover);
    if (joining != NULL) {
        uint32_t weight = draw(mover, 2) == 0 ? 0 : 1 + (uint32_t)draw(mover, 3);
        deed_add(&mover->deed, (struct topology_change){
                                   .type = TOPOLOGY_JOIN, .id = joining->id, .weight = weight});
    } else if (spare != NULL) {
        cluster_node_join(spare);
        mover->counts.joins++;
    }
}

static void replace_add(struct mover *mover, const struct topology *topology, uint32_t id)
{
    const struct topology_member *joining = member_drawn(mover, topology, TOPOLOGY_JOINING);
    if (joining != NULL) {
        deed_add(&mover->deed, (struct topology_change){
                                   .type = TOPOLOGY_REPLACE, .id = id, .to_id = joining->id});
    }
}

static void zone_draw(struct mover *mover, uint32_t id)
{
    struct topology_change change = {.type = TOPOLOGY_ZONE, .id = id};
    (void)snprintf(change.zone, sizeof(change.zone), "zone-%u", (unsigned)draw(mover, 4));
    deed_add(&mover->deed, change);
}

/* The factor stays where it survives the loss of a node while one is given up. */
static void factor_draw(struct mover *mover, const struct topology *topology)
{
    uint32_t factor = 1 + (uint32_t)draw(mover, 5);
    bool replaces = mover->deed.count > 0 && mover->deed.changes[0].type == TOPOLOGY_REPLACE;
    if (mover->victim == 0 && lost_find(topology) == 0 && !replaces) {
        deed_add(&mover->deed,
                 (struct topology_change){.type = TOPOLOGY_FACTOR, .replica_count = factor});
    }
}

static void change_draw(struct mover *mover, const struct topology *topology)
{
    const struct topology_member *active = member_drawn(mover, topology, TOPOLOGY_ACTIVE);
    uint64_t roll = draw(mover, 100);
    if (active == NULL) {
        return;
    }
    if (roll < 40) {
        move_draw(mover, topology);
    } else if (roll < 60) {
        join_draw(mover, topology);
    } else if (roll < 70) {
        deed_add(&mover->deed, (struct topology_change){.type = TOPOLOGY_LEAVE, .id = active->id});
    } else if (roll < 73 && mover->deed.count == 0 && may_lose(topology)) {
        replace_add(mover, topology, active->id); /* It lives, and is declared dead all the same. */
    } else if (roll < 82) {
        deed_add(&mover->deed, (struct topology_change){.type = TOPOLOGY_WEIGHT,
                                                        .id = active->id,
                                                        .weight = 1 + (uint32_t)draw(mover, 4)});
    } else if (roll < 87) {
        zone_draw(mover, active->id);
    } else {
        factor_draw(mover, topology);
    }
}

/* What was moved goes where it came from; a node that it concerns may not notice for a while. */
static void deed_reverse(struct mover *mover)
{
    mover->reversible = false;
    for (uint32_t index = 0; index < mover->deed.count; index++) {
        struct topology_change *change = &mover->deed.changes[index];
        uint32_t from = change->id;
        change->id = change->to_id;
        change->to_id = from;
    }
}

static bool deed_is_moves(const struct deed *deed)
{
    bool moves = deed->count > 0;
    for (uint32_t index = 0; index < deed->count; index++) {
        moves = moves && deed->changes[index].type == TOPOLOGY_MOVE;
    }
    return moves;
}

/* One node dies for good, if one waits to take its place and its data is elsewhere. */
static void victim_draw(struct mover *mover, const struct topology *topology)
{
    const struct topology_member *victim = member_drawn(mover, topology, TOPOLOGY_ACTIVE);
    const struct topology_member *joining = member_drawn(mover, topology, TOPOLOGY_JOINING);
    if (victim != NULL && joining != NULL && may_lose(topology)) {
        mover->victim = victim->id;
        mover->counts.lost++;
        cluster_node_lose(cluster_node_find(mover->cluster, victim->id));
    }
}

/* Whether the lost node is still to be declared so; it is forgotten once it is no member. */
static bool victim_waits(struct mover *mover, const struct topology *topology)
{
    const struct topology_member *member =
        mover->victim == 0 ? NULL : topology_member_find(topology, mover->victim);
    if (member == NULL) {
        mover->victim = 0;
    }
    return member != NULL && !member->lost;
}

static void deed_draw(struct mover *mover, const struct topology *topology)
{
    bool waits = victim_waits(mover, topology);
    if (mover->again && !waits) {
        mover->again = false;
        return;
    }
    if (mover->reversible && !waits && draw(mover, 3) == 0) {
        deed_reverse(mover);
        return;
    }
    mover->deed.count = 0;
    mover->again = false;
    mover->reversible = false;
    if (mover->victim == 0 && draw(mover, 6) == 0) {
        victim_draw(mover, topology);
        waits = mover->victim != 0;
        topology = cluster_topology(mover->cluster); /* It may have been that node's. */
    }
    if (topology == NULL) {
        return;
    }
    if (waits) {
        replace_add(mover, topology, mover->victim);
        return;
    }
    for (uint64_t count = 1 + draw(mover, CHANGE_COUNT_MAX); count > 0; count--) {
        change_draw(mover, topology);
    }
}

/* A node that the first change concerns. */
static void deed_wedge(struct mover *mover)
{
    const struct topology_change *change = &mover->deed.changes[0];
    uint32_t id = draw(mover, 2) == 0 ? change->id : change->to_id;
    struct cluster_node *node = cluster_node_find(mover->cluster, id);
    if (node != NULL && mover->plan->faults[FAULT_WEDGE] && draw(mover, 3) == 0) {
        nemesis_wedge(mover->nemesis, node, draw(mover, WEDGE_MS_MAX));
    }
}

/* ------------------------------------------------------------------ asking */

static void change_line(const struct topology_change *change, char *line, size_t size)
{
    switch (change->type) {
    case TOPOLOGY_JOIN:
        if (change->weight == 0) {
            (void)snprintf(line, size, "KV.PLAN JOIN %u", change->id);
        } else {
            (void)snprintf(line, size, "KV.PLAN JOIN %u %u", change->id, change->weight);
        }
        break;
    case TOPOLOGY_LEAVE:
        (void)snprintf(line, size, "KV.PLAN LEAVE %u", change->id);
        break;
    case TOPOLOGY_REPLACE:
        (void)snprintf(line, size, "KV.PLAN REPLACE %u %u", change->id, change->to_id);
        break;
    case TOPOLOGY_WEIGHT:
        (void)snprintf(line, size, "KV.PLAN WEIGHT %u %u", change->id, change->weight);
        break;
    case TOPOLOGY_ZONE:
        (void)snprintf(line, size, "KV.PLAN ZONE %u %s", change->id, change->zone);
        break;
    case TOPOLOGY_MOVE:
        (void)snprintf(line, size, "KV.PLAN MOVE %u %u %u", change->range, change->id,
                       change->to_id);
        break;
    case TOPOLOGY_FACTOR:
        (void)snprintf(line, size, "KV.PLAN FACTOR %u", change->replica_count);
        break;
    }
}

static void told_add(struct mover *mover, uint64_t plan_id, enum told_what what)
{
    if (mover->told_count < TOLD_COUNT_MAX) {
        mover->told[mover->told_count++] = (struct told){plan_id, what};
    }
}

/* That a commit was refused tells nothing once it is asked again. */
static void told_forget(struct mover *mover, uint64_t plan_id)
{
    for (uint32_t index = 0; index < mover->told_count; index++) {
        if (mover->told[index].plan_id == plan_id && mover->told[index].what == TOLD_REFUSED) {
            mover->told[index] = mover->told[--mover->told_count];
            return;
        }
    }
}

static void ask(struct mover *mover)
{
    char line[ASKER_LINE_SIZE_MAX] = "KV.PLAN SHOW";
    if (!mover->looking && mover->state == MOVER_STAGE) {
        change_line(&mover->deed.changes[mover->next], line, sizeof(line));
    } else if (!mover->looking && mover->state == MOVER_COMMIT) {
        (void)snprintf(line, sizeof(line), "KV.PLAN COMMIT %" PRIu64, mover->staged_id);
        mover->first_try = mover->staged_id > mover->asked_id;
        mover->asked_id = mover->first_try ? mover->staged_id : mover->asked_id;
        told_forget(mover, mover->staged_id);
    } else if (!mover->looking && mover->state == MOVER_ABORT) {
        (void)snprintf(line, sizeof(line), "KV.PLAN ABORT %" PRIu64, mover->running_id);
    } else if (!mover->looking && mover->state == MOVER_CLEAR) {
        (void)snprintf(line, sizeof(line), "KV.PLAN CLEAR");
    }
    asker_ask(&mover->asker, line);
}

static void go(struct mover *mover, enum mover_state state)
{
    mover->state = state;
    mover->looking = false;
    if (state == MOVER_REST) {
        rest(mover, mover->quiet ? QUIET_MS : draw(mover, mover->plan->move_pause_ms));
    } else {
        ask(mover);
    }
}

/* ------------------------------------------------------------------ answers */

/* What SHOW tells of the staged plan: "staged":null, or {"id":N,"changes":[{"change":...},...]}. */
static void show_take(struct mover *mover, struct slice text)
{
    static const char staged[] = "\"staged\":{\"id\":";
    static const char change[] = "{\"change\":";
    struct buffer copy = {0};
    buffer_append_slice(&copy, text);
    buffer_append_slice(&copy, slice_make("", 1));
    ASSERT(buffer_status(&copy) == STATUS_OK);
    const char *from = strstr((const char *)copy.data, staged);
    mover->staged_id = 0;
    mover->staged_count = 0;
    if (from != NULL) {
        mover->staged_id = strtoull(from + strlen(staged), NULL, 10);
        const char *end = strchr(from, ']');
        while ((from = strstr(from, change)) != NULL && from < end) {
            mover->staged_count++;
            from += strlen(change);
        }
    } else if (strstr((const char *)copy.data, "\"staged\":null") == NULL) {
        check_violate(mover->cluster->check, "KV.PLAN SHOW does not tell what is staged");
    }
    buffer_deinit(&copy);
}

static void clear_or_rest(struct mover *mover)
{
    go(mover, mover->staged_id == 0 ? MOVER_REST : MOVER_CLEAR);
}

static void stage_on(struct mover *mover)
{
    go(mover, mover->next < mover->deed.count ? MOVER_STAGE : MOVER_SHOW);
}

/* (3) */
static void wedge_begin(struct mover *mover)
{
    struct cluster_node *node = cluster_node_find(mover->cluster, mover->wedge);
    if (node != NULL && cluster_node_runs(node)) {
        mover->wedged = mover->wedge;
        mover->since_ns = now_ns(mover);
        world_node_pause(node->host, true);
    }
    mover->wedge = 0;
}

static void committed(struct mover *mover)
{
    mover->counts.committed++;
    mover->running_id = mover->staged_id;
    mover->staged_id = 0;
    mover->staged_count = 0;
    mover->reversible = deed_is_moves(&mover->deed);
    wedge_begin(mover);
    go(mover, MOVER_REST);
}

static void aborted(struct mover *mover)
{
    mover->counts.aborted++;
    mover->running_id = 0;
    mover->reversible = false;
    mover->again = draw(mover, 2) == 0;
    go(mover, MOVER_REST);
}

/* The request is answered, and what it asked is done. */
static void done(struct mover *mover)
{
    switch (mover->state) {
    case MOVER_STAGE:
        mover->counts.staged++;
        mover->staged_count++;
        mover->next++;
        stage_on(mover);
        break;
    case MOVER_SHOW:
        if (mover->staged_id != 0 && (mover->quiet || draw(mover, 10) != 0)) {
            deed_wedge(mover);
            go(mover, MOVER_COMMIT);
        } else {
            clear_or_rest(mover);
        }
        break;
    case MOVER_COMMIT:
        committed(mover);
        break;
    case MOVER_ABORT:
        aborted(mover);
        break;
    case MOVER_CLEAR:
        mover->counts.cleared++;
        mover->staged_id = 0;
        mover->staged_count = 0;
        go(mover, MOVER_REST);
        break;
    case MOVER_REST:
        UNREACHABLE("nothing is asked at rest");
    }
}

static void refused(struct mover *mover)
{
    mover->counts.refused++;
    if (mover->state == MOVER_STAGE) {
        mover->next++;
        stage_on(mover);
    } else if (mover->state == MOVER_COMMIT) {
        if (mover->first_try) {
            told_add(mover, mover->staged_id, TOLD_REFUSED);
        }
        go(mover, MOVER_CLEAR);
    } else {
        mover->running_id = mover->state == MOVER_ABORT ? 0 : mover->running_id;
        go(mover, MOVER_REST);
    }
}

/* What became of the request that had no answer, by what is staged now. */
static void looked(struct mover *mover, uint64_t staged_id, uint32_t staged_count)
{
    mover->looking = false;
    bool same = staged_id == mover->staged_id;
    switch ((int)mover->state) {
    case MOVER_STAGE:
        if (same && staged_count == mover->staged_count && mover->staged_id == staged_id) {
            ask(mover);
            return;
        }
        mover->staged_id = staged_id;
        mover->staged_count = staged_count;
        mover->next++;
        stage_on(mover);
        break;
    case MOVER_COMMIT:
        if (same) {
            ask(mover);
        } else {
            committed(mover);
        }
        break;
    case MOVER_CLEAR:
        mover->staged_id = staged_id;
        mover->staged_count = staged_count;
        clear_or_rest(mover);
        break;
    default:
        go(mover, MOVER_REST); /* An abort may have come too late as well. */
    }
}

static void answered(void *context, enum asker_outcome outcome, struct slice text)
{
    struct mover *mover = context;
    uint64_t staged_id = mover->staged_id;
    uint32_t staged_count = mover->staged_count;
    if (outcome == ASKER_UNKNOWN) {
        mover->counts.unknown++;
        mover->looking = true;
        rest(mover, draw(mover, AGAIN_MS_MAX));
    } else if (outcome == ASKER_NOT_DONE) {
        rest(mover, draw(mover, AGAIN_MS_MAX));
    } else if (outcome == ASKER_REFUSED) {
        refused(mover);
    } else if (mover->looking) {
        show_take(mover, text);
        uint64_t shown_id = mover->staged_id;
        uint32_t shown_count = mover->staged_count;
        mover->staged_id = staged_id;
        mover->staged_count = staged_count;
        looked(mover, shown_id, shown_count);
    } else {
        if (mover->state == MOVER_SHOW) {
            show_take(mover, text);
        } else if (mover->state == MOVER_COMMIT || mover->state == MOVER_ABORT) {
            bool aborts = mover->state == MOVER_ABORT;
            told_add(mover, aborts ? mover->running_id : mover->staged_id,
                     aborts ? TOLD_ABORTED : TOLD_COMMITTED);
        }
        done(mover);
    }
}

/* ------------------------------------------------------------------ pace */

/* (3): moves away from a node that is wedged as they are committed. */
static void wedge_draw(struct mover *mover, const struct topology *topology)
{
    const struct topology_member *from = member_drawn(mover, topology, TOPOLOGY_ACTIVE);
    mover->deed.count = 0;
    for (uint32_t number = 0; from != NULL && number < topology->range_count; number++) {
        const struct ring_replicas *replicas = &topology->ranges[number].replicas;
        const struct topology_member *to = member_drawn(mover, topology, TOPOLOGY_ACTIVE);
        if (replicas->count >= 3 && ring_replicas_contain(replicas, from->id) &&
            !ring_replicas_contain(replicas, to->id)) {
            mover->wedge = from->id;
            deed_add(&mover->deed,
                     (struct topology_change){
                         .type = TOPOLOGY_MOVE, .range = number, .id = from->id, .to_id = to->id});
        }
    }
    mover->counts.without += mover->deed.count;
}

/* What must not stay: a staged plan, and a node declared dead whose replacing was aborted. */
static void quiet_turn(struct mover *mover, const struct topology *topology)
{
    if (topology->staged.id != 0) {
        go(mover, MOVER_CLEAR);
        return;
    }
    uint32_t lost = lost_find(topology);
    if (topology->running.id == 0 && lost != 0) {
        mover->deed.count = 0;
        deed_add(&mover->deed, (struct topology_change){.type = TOPOLOGY_LEAVE, .id = lost});
        mover->next = 0;
        stage_on(mover);
        return;
    }
    if (topology->running.id == 0 && lost == 0 && mover->last_wedge) {
        mover->last_wedge = false;
        wedge_draw(mover, topology);
        mover->next = 0;
        if (mover->deed.count > 0) {
            stage_on(mover);
            return;
        }
    }
    go(mover, MOVER_REST);
}

static void rest_over(struct mover *mover)
{
    const struct topology *topology = cluster_topology(mover->cluster);
    if (topology == NULL) {
        go(mover, MOVER_REST);
    } else if (mover->quiet) {
        quiet_turn(mover, topology);
    } else if (mover->running_id != 0 && draw(mover, 4) == 0) {
        go(mover, MOVER_ABORT);
    } else {
        deed_draw(mover, topology);
        mover->next = 0;
        if (mover->deed.count == 0) {
            go(mover, MOVER_REST);
        } else {
            stage_on(mover);
        }
    }
}

static void pace_fired(struct env_timer *timer)
{
    struct mover *mover = container_of(timer, struct mover, pace);
    if (check_violation(mover->cluster->check) != NULL) {
        return;
    }
    if (mover->state == MOVER_REST) {
        rest_over(mover);
    } else {
        ask(mover);
    }
}

static void boot(void *context)
{
    struct mover *mover = context;
    rest(mover, FIRST_MS);
}

struct mover *mover_open(struct cluster *cluster, struct nemesis *nemesis, bool verbose)
{
    struct mover *mover = heap_sim_take(sizeof(*mover));
    mover->cluster = cluster;
    mover->nemesis = nemesis;
    mover->plan = cluster->plan;
    mover->pace.fired = pace_fired;
    mover->asker = (struct asker){
        .cluster = cluster, .verbose = verbose, .answered = answered, .context = mover};
    asker_init(&mover->asker, boot);
    return mover;
}

void mover_close(struct mover *mover)
{
    heap_sim_give(mover);
}

void mover_count(const struct mover *mover, struct mover_counts *counts)
{
    *counts = mover->counts;
}

/* ------------------------------------------------------------------ the end */

/* Whether a range that comes to these replicas has to wait for that node: it enters, or all of them
 * must merge. */
static bool set_needs(const struct topology_range *range, const struct ring_replicas *to,
                      uint32_t id)
{
    bool stays = ring_replicas_contain(&range->replicas, id) && !range->merge_all &&
                 to->count == range->replicas.count;
    return ring_replicas_contain(to, id) && !stays;
}

/* Whether a range under way waits for that node alone: as above, or the others are no majority. */
static bool range_needs(const struct topology_range *range, uint32_t id)
{
    const struct ring_replicas *sets[] = {&range->replicas, &range->next, &range->goal};
    for (size_t index = 0; index < ARRAY_COUNT(sets); index++) {
        if (ring_replicas_contain(sets[index], id) && sets[index]->count <= 2) {
            return true;
        }
    }
    return set_needs(range, &range->next, id) || set_needs(range, &range->goal, id);
}

static bool range_is_over(const struct topology_range *range)
{
    return range->stage == TOPOLOGY_STABLE && range->goal.count == 0;
}

/* Of ranges under way: those that can do without the node, and whether there are any others. */
static uint32_t ranges_without(const struct topology *topology, uint32_t id, bool *others)
{
    uint32_t count = 0;
    *others = false;
    for (uint32_t number = 0; number < topology->range_count; number++) {
        const struct topology_range *range = &topology->ranges[number];
        if (!range_is_over(range)) {
            count += !range_needs(range, id);
            *others = *others || range_needs(range, id);
        }
    }
    return count;
}

static void wedge_end(struct mover *mover)
{
    struct cluster_node *node = cluster_node_find(mover->cluster, mover->wedged);
    if (world_node_alive(node->host)) {
        world_node_pause(node->host, false);
    }
    node->busy_until_ns = now_ns(mover) + WEDGE_AFTER_MS * NS_PER_MS;
    mover->wedged = 0;
    mover->since_ns = now_ns(mover);
}

void mover_quiet(struct mover *mover)
{
    mover->quiet = true;
    mover->since_ns = now_ns(mover);
    const struct topology *topology = cluster_topology(mover->cluster);
    if (mover->victim != 0 && (topology == NULL || victim_waits(mover, topology))) {
        cluster_node_revive(cluster_node_find(mover->cluster, mover->victim));
        mover->victim = 0;
    }
    mover->last_wedge = draw(mover, 4) == 0;
}

/* (1) */
static void told_judge(const struct mover *mover, const struct topology *topology,
                       const struct told *told)
{
    const struct topology_plan *found = NULL;
    for (uint32_t index = 0; index < topology->history_count; index++) {
        if (topology->history[index].id == told->plan_id) {
            found = &topology->history[index];
        }
    }
    bool forgotten = topology->history_count == TOPOLOGY_HISTORY_COUNT_MAX &&
                     told->plan_id < topology->history[0].id;
    if (found == NULL && !forgotten && told->what != TOLD_REFUSED) {
        check_violate(mover->cluster->check, "plan %" PRIu64 " was %s, and is not in the history",
                      told->plan_id, told->what == TOLD_ABORTED ? "aborted" : "committed");
    } else if (found != NULL && told->what == TOLD_REFUSED) {
        check_violate(mover->cluster->check,
                      "plan %" PRIu64 " is in the history, and its commit was refused",
                      told->plan_id);
    } else if (found != NULL && told->what == TOLD_ABORTED && found->outcome != TOPOLOGY_ABORTED) {
        check_violate(mover->cluster->check, "plan %" PRIu64 " was aborted, and ended as %d",
                      told->plan_id, (int)found->outcome);
    }
}

/* The first range that is not where it is to be; range_count: there is none. */
static uint32_t range_under_way(const struct topology *topology)
{
    uint32_t number = 0;
    while (number < topology->range_count && range_is_over(&topology->ranges[number])) {
        number++;
    }
    return number;
}

/* (3). What may have begun since then, and needs the node, excuses the rest. */
static void wedge_judge(struct mover *mover, const struct topology *topology)
{
    bool others;
    uint32_t count = ranges_without(topology, mover->wedged, &others);
    bool late = now_ns(mover) >= mover->since_ns + MOVER_LIVENESS_MS * NS_PER_MS;
    if (late && count > 0 && !others) {
        check_violate(mover->cluster->check,
                      "%u ranges wait, and all that is wrong is that node %u is wedged", count,
                      mover->wedged);
    } else if (late || count == 0) {
        wedge_end(mover);
    }
}

bool mover_over(struct mover *mover)
{
    struct check *check = mover->cluster->check;
    const struct topology *topology = cluster_topology(mover->cluster);
    if (topology != NULL && mover->wedged != 0) {
        wedge_judge(mover, topology);
        return false;
    }
    if (topology != NULL && topology->running.id != mover->seen_plan_id) {
        mover->seen_plan_id = topology->running.id;
        mover->since_ns = now_ns(mover);
    }
    uint32_t number = topology == NULL ? 0 : range_under_way(topology);
    if (topology != NULL && topology->staged.id == 0 && topology->running.id == 0 &&
        number == topology->range_count && lost_find(topology) == 0 && mover->state == MOVER_REST &&
        !mover->last_wedge) {
        for (uint32_t index = 0; index < mover->told_count; index++) {
            told_judge(mover, topology, &mover->told[index]);
        }
        return true;
    }
    if (now_ns(mover) < mover->since_ns + MOVER_LIVENESS_MS * NS_PER_MS) {
        return false;
    }
    if (topology == NULL) {
        check_violate(check, "in quiet, no node has a topology");
    } else if (number < topology->range_count) {
        check_violate(check, "in quiet, range %u stays in stage %d (epoch %" PRIu64 ")", number,
                      (int)topology->ranges[number].stage, topology->ranges[number].epoch);
    } else {
        check_violate(
            check, "in quiet, no plan ends: running %" PRIu64 ", staged %" PRIu64 ", lost node %u",
            topology->running.id, topology->staged.id, lost_find(topology));
    }
    return false;
}
