/*
 * tests/sim/kvsim_ownership.c -- see kvsim_ownership.h.
 *
 * A topology that is newer than all before is compared with the one before it, range by range: the
 * leader goes by each as it applies its command, so that no step is missed. What a node has durable
 * is read after each of its events, and remembered over its death.
 */
#include "tests/sim/kvsim_ownership.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/token.h"
#include "lsm/lsm.h"
#include "node/frame.h"
#include "node/holding.h"
#include "node/message_stream.h"
#include "tests/sim/heap_sim.h"

#define RANGE_COUNT_MAX 256
/* Requests remembered of each node. Those for data lie where their hash says, and now and then one
 * takes the place of another, which is not judged then. Of those for chunks the last ones are all
 * there: (3) must miss none. */
#define ASKED_COUNT 512
#define FRAME_TYPE_OFFSET 5

/* What one node had durable of one range. */
struct part {
    uint32_t generation; /* Of the fence. */
    uint64_t fence;      /* Epoch. */
    uint64_t entered;    /* Sessions. */
    uint64_t streamed;
};

/* A request as it arrived. */
struct asked {
    uint64_t request_id;
    uint32_t asker; /* Index. */
    uint32_t incarnation;
    uint32_t range;
    uint64_t epoch;   /* Of the request. */
    uint64_t fence;   /* Of the range then, in memory. */
    uint64_t session; /* Of a chunk. */
    uint64_t time;    /* Of the asker as it sent it: one request that comes twice has one. */
    bool entering;    /* The replica had not recorded that it emptied the stretch. */
    bool ambiguous;   /* An earlier life of the asker had sent another of this id. */
};

/* Whole streams of a session. */
struct streams {
    uint64_t session;
    uint64_t sources[PLAN_HOST_COUNT_MAX]; /* By target: bit n, from node n. */
};

struct ownership {
    struct cluster *cluster;
    struct check *check;
    uint32_t generation;
    uint64_t epoch; /* Of `ranges`. */
    uint32_t range_count;
    struct topology_range ranges[RANGE_COUNT_MAX];
    struct streams streams[RANGE_COUNT_MAX];
    struct part parts[PLAN_HOST_COUNT_MAX][RANGE_COUNT_MAX];
    struct asked asked[PLAN_HOST_COUNT_MAX][ASKED_COUNT];
    struct asked chunks[PLAN_HOST_COUNT_MAX][ASKED_COUNT];
    uint32_t chunk_count[PLAN_HOST_COUNT_MAX]; /* Ever asked; the next goes there, modulo. */
    struct ownership_counts counts;
};

struct ownership *ownership_open(struct cluster *cluster)
{
    struct ownership *ownership = heap_sim_take(sizeof(*ownership));
    ownership->cluster = cluster;
    ownership->check = cluster->check;
    ASSERT(cluster->plan->config.ranges <= RANGE_COUNT_MAX);
    return ownership;
}

void ownership_close(struct ownership *ownership)
{
    heap_sim_give(ownership);
}

void ownership_count(const struct ownership *ownership, struct ownership_counts *counts)
{
    *counts = ownership->counts;
}

/* ------------------------------------------------------------------ steps */

static const struct part *part_of(const struct ownership *ownership, uint32_t id, uint32_t range)
{
    ASSERT(id >= 1);
    ASSERT(id <= ownership->cluster->count);
    return &ownership->parts[id - 1][range];
}

static bool fenced(const struct ownership *ownership, const struct ring_replicas *set,
                   uint32_t range, uint64_t epoch)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < set->count; index++) {
        count += part_of(ownership, set->ids[index], range)->fence >= epoch;
    }
    return count > set->count / 2u;
}

/* The member of `from` that is not in `but`, `nth` of those; 0: there are not so many. */
static uint32_t nth_beyond(const struct ring_replicas *from, const struct ring_replicas *but,
                           uint32_t nth)
{
    for (uint32_t index = 0; index < from->count; index++) {
        if (!ring_replicas_contain(but, from->ids[index]) && nth-- == 0) {
            return from->ids[index];
        }
    }
    return 0;
}

/* How many of `from` are not in `but`. */
static uint32_t beyond_count(const struct ring_replicas *from, const struct ring_replicas *but)
{
    uint32_t count = 0;
    while (nth_beyond(from, but, count) != 0) {
        count++;
    }
    return count;
}

/* Whether `target` of `range` has merged in full whom it must have. */
static bool fed(const struct ownership *ownership, const struct topology_range *range,
                uint32_t number, uint32_t target)
{
    const struct streams *streams = &ownership->streams[number];
    uint64_t sources = streams->session == range->session ? streams->sources[target - 1] : 0;
    uint32_t entering = beyond_count(&range->next, &range->replicas);
    bool stays = ring_replicas_contain(&range->replicas, target);
    if (!range->merge_all && entering == beyond_count(&range->replicas, &range->next)) {
        if (stays) {
            return true;
        }
        uint32_t nth = 0;
        while (nth_beyond(&range->next, &range->replicas, nth) != target) {
            nth++;
        }
        uint32_t source = nth_beyond(&range->replicas, &range->next, nth);
        return (sources >> (source - 1) & 1) != 0 &&
               part_of(ownership, target, number)->streamed == range->session;
    }
    uint32_t count = stays ? 1 : 0;
    for (uint32_t index = 0; index < range->replicas.count; index++) {
        uint32_t id = range->replicas.ids[index];
        count += id != target && (sources >> (id - 1) & 1) != 0;
    }
    bool alone = stays && range->replicas.count == 1; /* It is the majority. */
    return count > range->replicas.count / 2u &&
           (alone || part_of(ownership, target, number)->streamed == range->session);
}

static void step_violate(struct ownership *ownership, const struct topology_range *range,
                         uint32_t number, uint64_t epoch, const char *what)
{
    check_violate(ownership->check,
                  "epoch %" PRIu64 ", range %u (session %" PRIu64
                  ", %u replicas, %u to come%s): %s",
                  epoch, number, range->session, range->replicas.count, range->next.count,
                  range->merge_all ? ", merging all" : "", what);
}

static bool sets_equal(const struct ring_replicas *a, const struct ring_replicas *b)
{
    return a->count == b->count && beyond_count(a, b) == 0;
}

/* (2) */
static void begin_judge(struct ownership *ownership, const struct topology_range *now,
                        uint32_t number, uint64_t epoch)
{
    ownership->counts.begins++;
    if (now->replicas.count != now->next.count && !now->merge_all) {
        step_violate(ownership, now, number, epoch, "another number of replicas, not merging all");
    }
}

/* (3) */
static void read_new_judge(struct ownership *ownership, const struct topology_range *was,
                           uint32_t number, uint64_t epoch)
{
    ownership->counts.read_news++;
    if (!fenced(ownership, &was->replicas, number, was->session) ||
        !fenced(ownership, &was->next, number, was->session)) {
        step_violate(ownership, was, number, epoch, "READ_NEW without its fences");
    }
    for (uint32_t index = 0; index < was->next.count; index++) {
        uint32_t target = was->next.ids[index];
        if (!fed(ownership, was, number, target)) {
            char what[128];
            (void)snprintf(what, sizeof(what),
                           "READ_NEW before node %u had streamed (session %" PRIu64
                           ", from nodes %" PRIx64 ")",
                           target, part_of(ownership, target, number)->streamed,
                           ownership->streams[number].sources[target - 1] << 1);
            step_violate(ownership, was, number, epoch, what);
        }
    }
}

/* Tells which keys have new replicas of which each merged a majority of the old. */
static void merged_tell(struct ownership *ownership, const struct topology_range *was,
                        uint32_t number)
{
    char name[24];
    for (uint32_t key = 0; key < ownership->cluster->plan->key_count; key++) {
        uint32_t size = check_key_name(key, name, sizeof(name));
        uint64_t token = token_of(0, slice_make(name, size));
        if (ring_range_of(token, ownership->range_count) == number) {
            check_merged(ownership->check, key, was->session);
        }
    }
}

/* (4) */
static void end_judge(struct ownership *ownership, const struct topology_range *was,
                      uint32_t number, uint64_t epoch)
{
    ownership->counts.ends++;
    if (!fenced(ownership, &was->replicas, number, was->epoch) ||
        !fenced(ownership, &was->next, number, was->epoch)) {
        step_violate(ownership, was, number, epoch, "ended without its fences");
    }
}

/* (1), and with it the others. */
static void step_judge(struct ownership *ownership, const struct topology_range *now,
                       uint32_t number, uint64_t epoch)
{
    const struct topology_range *was = &ownership->ranges[number];
    bool same = sets_equal(&was->replicas, &now->replicas);
    if (was->stage == now->stage && was->session == now->session) {
        if (!same || !sets_equal(&was->next, &now->next)) {
            step_violate(ownership, was, number, epoch, "other replicas without a step");
        }
    } else if (was->stage == TOPOLOGY_STABLE && now->stage == TOPOLOGY_WRITE_BOTH_READ_OLD &&
               same) {
        begin_judge(ownership, now, number, epoch);
    } else if (was->stage == TOPOLOGY_WRITE_BOTH_READ_OLD && now->stage == TOPOLOGY_STABLE &&
               same) {
        ownership->counts.backs++;
    } else if (was->stage == TOPOLOGY_WRITE_BOTH_READ_OLD &&
               now->stage == TOPOLOGY_WRITE_BOTH_READ_NEW && same && was->session == now->session &&
               sets_equal(&was->next, &now->next)) {
        read_new_judge(ownership, was, number, epoch);
        if (was->merge_all) {
            merged_tell(ownership, was, number);
        }
    } else if (was->stage == TOPOLOGY_WRITE_BOTH_READ_NEW && now->stage == TOPOLOGY_STABLE &&
               sets_equal(&was->next, &now->replicas)) {
        end_judge(ownership, was, number, epoch);
    } else {
        step_violate(ownership, was, number, epoch, "a step that there is not");
    }
}

static void topology_judge(struct ownership *ownership, const struct topology *topology)
{
    uint32_t generation = topology->stamp.generation.number;
    bool newer = generation > ownership->generation ||
                 (generation == ownership->generation && topology->stamp.epoch > ownership->epoch);
    if (topology->cluster_id == 0 || !newer) {
        return;
    }
    ASSERT(topology->range_count <= RANGE_COUNT_MAX);
    bool first = ownership->range_count == 0;
    ownership->range_count = topology->range_count;
    for (uint32_t number = 0; number < topology->range_count; number++) {
        if (!first) {
            step_judge(ownership, &topology->ranges[number], number, topology->stamp.epoch);
        }
        ownership->ranges[number] = topology->ranges[number];
    }
    ownership->generation = generation;
    ownership->epoch = topology->stamp.epoch;
}

/* ------------------------------------------------------------------ parts */

struct emptied {
    struct lsm *lsm;
    uint32_t range;
    uint32_t range_count;
    enum status status; /* NOT_FOUND: it is empty. */
};

static void emptied_look(void *context)
{
    struct emptied *emptied = context;
    struct holding_stretch stretch = holding_stretch_of(emptied->range, emptied->range_count);
    struct lsm_iterator_options options = {
        .lower = slice_make(stretch.lower, sizeof(stretch.lower)),
        .upper = slice_make(stretch.upper, sizeof(stretch.upper)),
        .wait = LSM_NOWAIT,
    };
    struct lsm_iterator *iterator;
    emptied->status = lsm_iterator_open(emptied->lsm, &options, &iterator);
    if (emptied->status == STATUS_OK) {
        struct slice key;
        struct cell cell;
        emptied->status = lsm_iterator_next(iterator, &key, &cell);
        lsm_iterator_close(iterator);
    }
}

/* (8). Nothing is taken for the range before the record of it is durable, which was in this event.
 */
static void entry_judge(struct ownership *ownership, const struct cluster_node *node,
                        uint32_t number)
{
    struct emptied emptied = {
        .lsm = node_engine(node->node), .range = number, .range_count = ownership->range_count};
    ownership->counts.entries++;
    world_node_call(node->host, emptied_look, &emptied);
    ownership->counts.entries_unread += emptied.status == STATUS_WOULD_BLOCK;
    if (emptied.status == STATUS_OK) {
        check_violate(ownership->check, "node %u enters range %u, and has cells there", node->id,
                      number);
    }
}

/* (5). After a recovery all fences are laid anew, in the new generation. */
static void fence_observe(struct ownership *ownership, const struct cluster_node *node,
                          uint32_t number, uint64_t fence)
{
    struct part *part = &ownership->parts[node->id - 1][number];
    uint32_t generation = node_topology(node->node)->stamp.generation.number;
    if (generation < part->generation) {
        return; /* It came back with an older topology, by which none of its fences counts. */
    }
    if (generation == part->generation && fence < part->fence) {
        check_violate(ownership->check,
                      "node %u, range %u: a fence of epoch %" PRIu64
                      " was durable, and is %" PRIu64,
                      node->id, number, part->fence, fence);
    }
    part->generation = generation;
    part->fence = fence;
}

static void part_observe(struct ownership *ownership, const struct cluster_node *node,
                         const struct holding *holding, uint32_t number)
{
    struct part *part = &ownership->parts[node->id - 1][number];
    struct message_range_state state;
    holding_state(holding, number, &state);
    fence_observe(ownership, node, number, state.fence);
    if (state.entered > part->entered) {
        entry_judge(ownership, node, number);
    }
    part->entered = state.entered;
    part->streamed = state.streamed;
}

void ownership_observe(struct ownership *ownership, struct cluster_node *node)
{
    if (!cluster_node_runs(node) || node->state == NODE_OPENING || node->state == NODE_FAILED) {
        return;
    }
    topology_judge(ownership, node_topology(node->node));
    const struct holding *holding = node_holding(node->node);
    if (holding == NULL || holding->range_count == 0) {
        return;
    }
    for (uint32_t number = 0; number < ownership->range_count; number++) {
        part_observe(ownership, node, holding, number);
    }
}

/* ------------------------------------------------------------------ frames */

/* Whether the frame is of a kind that is judged here; then decoded. */
static bool frame_take(struct slice bytes, struct frame *frame)
{
    if (bytes.size < FRAME_HEADER_SIZE) {
        return false;
    }
    uint8_t type = bytes.data[FRAME_TYPE_OFFSET];
    return (type == FRAME_READ || type == FRAME_WRITE || type == FRAME_STREAM_CHUNK) &&
           frame_decode(bytes, frame) == STATUS_OK;
}

static struct asked *asked_place(struct ownership *ownership, const struct world_node *server,
                                 const struct world_node *asker, const struct frame *frame)
{
    uint32_t index = world_node_index(server);
    if (frame->type == FRAME_STREAM_CHUNK) {
        return &ownership->chunks[index][ownership->chunk_count[index]++ % ASKED_COUNT];
    }
    uint64_t hash = prng_mix(frame->request_id ^ (uint64_t)world_node_index(asker) << 56);
    return &ownership->asked[index][hash % ASKED_COUNT];
}

static bool asked_is(const struct asked *asked, const struct world_node *asker,
                     const struct frame *frame)
{
    return asked->request_id == frame->request_id && asked->asker == world_node_index(asker) &&
           asked->incarnation == world_node_incarnation(asker);
}

/* NULL: not remembered. */
static struct asked *asked_find(struct ownership *ownership, const struct world_node *server,
                                const struct world_node *asker, const struct frame *frame)
{
    if (frame->type != FRAME_STREAM_CHUNK) {
        struct asked *asked = asked_place(ownership, server, asker, frame);
        return asked_is(asked, asker, frame) ? asked : NULL;
    }
    for (uint32_t index = 0; index < ASKED_COUNT; index++) {
        struct asked *asked = &ownership->chunks[world_node_index(server)][index];
        if (asked_is(asked, asker, frame)) {
            return asked;
        }
    }
    return NULL;
}

static bool is_node(const struct ownership *ownership, const struct world_node *host)
{
    return world_node_index(host) < ownership->cluster->count;
}

static void request_arrives(struct ownership *ownership, const struct world_node *from,
                            const struct cluster_node *node, const struct frame *frame)
{
    if (!cluster_node_runs(node) || node->state == NODE_OPENING || node->state == NODE_FAILED) {
        return;
    }
    const struct topology *topology = node_topology(node->node);
    struct asked *asked = asked_find(ownership, node->host, from, frame);
    if (frame->range >= topology->range_count || (asked != NULL && asked->time == frame->time)) {
        return; /* One that comes twice is judged by the first. */
    }
    /* What a node sent before it died may come when it lives again, and counts from the start. */
    bool ambiguous = asked != NULL;
    asked = ambiguous ? asked : asked_place(ownership, node->host, from, frame);
    const struct topology_range *range = &topology->ranges[frame->range];
    const struct part *part = part_of(ownership, node->id, frame->range);
    bool enters = ring_replicas_contain(&range->next, node->id) &&
                  !ring_replicas_contain(&range->replicas, node->id);
    *asked = (struct asked){
        .request_id = frame->request_id,
        .asker = world_node_index(from),
        .incarnation = world_node_incarnation(from),
        .range = frame->range,
        .epoch = frame->stamp.epoch,
        .fence = range->epoch > part->fence ? range->epoch : part->fence,
        .time = frame->time,
        .ambiguous = ambiguous,
        .entering = enters && part->entered != range->session,
    };
    ownership->counts.stale += asked->epoch < asked->fence;
    struct message_chunk chunk;
    if (frame->type == FRAME_STREAM_CHUNK &&
        message_chunk_decode(frame->payload, &chunk) == STATUS_OK) {
        asked->session = chunk.session;
    }
}

/* A source's answer that there is nothing behind this chunk. */
static void last_chunk_arrives(struct ownership *ownership, const struct asked *asked,
                               const struct world_node *source, const struct world_node *target)
{
    struct streams *streams = &ownership->streams[asked->range];
    if (streams->session < asked->session) {
        *streams = (struct streams){.session = asked->session};
    }
    if (streams->session == asked->session) {
        streams->sources[world_node_index(target)] |= UINT64_C(1) << world_node_index(source);
        ownership->counts.streams++;
    }
}

void ownership_frame_arrives(struct ownership *ownership, const struct world_node *from,
                             const struct world_node *to, struct slice bytes)
{
    struct frame frame;
    if (!is_node(ownership, from) || !is_node(ownership, to) || !frame_take(bytes, &frame)) {
        return;
    }
    if ((frame.flags & FRAME_FLAG_REPLY) == 0) {
        request_arrives(ownership, from, &ownership->cluster->nodes[world_node_index(to)], &frame);
        return;
    }
    const struct asked *asked = asked_find(ownership, from, to, &frame);
    struct message_chunk_reply chunk;
    if (asked != NULL && frame.type == FRAME_STREAM_CHUNK && frame.status == STATUS_OK &&
        message_chunk_reply_decode(frame.payload, &chunk) == STATUS_OK && chunk.last) {
        last_chunk_arrives(ownership, asked, from, to);
    }
}

/* (6) and (7) */
static void reply_judge(struct ownership *ownership, const struct cluster_node *node,
                        const struct asked *asked, const struct frame *frame)
{
    if (frame->type == FRAME_STREAM_CHUNK) {
        if (part_of(ownership, node->id, asked->range)->fence < asked->session) {
            check_violate(ownership->check,
                          "node %u gives out chunks of range %u for session %" PRIu64
                          ", before its fence is durable",
                          node->id, asked->range, asked->session);
        }
        return;
    }
    if (asked->epoch < asked->fence) {
        check_violate(ownership->check,
                      "node %u, range %u: a request of epoch %" PRIu64
                      " was served below the fence of %" PRIu64,
                      node->id, asked->range, asked->epoch, asked->fence);
    } else if (asked->entering) {
        check_violate(ownership->check, "node %u serves range %u before it entered", node->id,
                      asked->range);
    }
}

void ownership_frame_sent(struct ownership *ownership, const struct world_node *from,
                          const struct world_node *to, struct slice bytes)
{
    struct frame frame;
    if (!is_node(ownership, from) || !is_node(ownership, to) || !frame_take(bytes, &frame)) {
        return;
    }
    const struct asked *asked = asked_find(ownership, from, to, &frame);
    bool served = frame.status == STATUS_OK || frame.status == STATUS_SUPERSEDED;
    if ((frame.flags & FRAME_FLAG_REPLY) != 0 && asked != NULL && !asked->ambiguous && served) {
        reply_judge(ownership, &ownership->cluster->nodes[world_node_index(from)], asked, &frame);
    }
}
