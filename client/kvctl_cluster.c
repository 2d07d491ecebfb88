/* client/kvctl_cluster.c -- status, node list, ring show, ring locate. */
#include <inttypes.h>
#include <stdio.h>

#include "base/memory.h"
#include "client/kvctl.h"

/* The answer as the node sent it. */
static enum kvctl_exit json_pass(struct slice json)
{
    enum kvctl_exit code = output_bytes(json);
    return code == KVCTL_OK ? output_bytes(slice_text("\n")) : code;
}

static const struct kv_member_status *member_find(const struct kv_status *status, uint32_t id)
{
    for (uint32_t index = 0; index < status->member_count; index++) {
        if (status->members[index].id == id) {
            return &status->members[index];
        }
    }
    return NULL;
}

static bool is_up(const struct kv_status *status, uint32_t id)
{
    const struct kv_member_status *member = member_find(status, id);
    return member != NULL && strcmp(member->state, "up") == 0;
}

/* ------------------------------------------------------------------ status */

/* Ranges whose replicas that are up make no quorum, and how many more nodes may fail, whichever
 * they are, before one more has none. */
struct tolerance {
    uint32_t lost_range_count;
    uint32_t spare;
};

static struct tolerance tolerance_of(const struct kv_ring *ring, const struct kv_status *status)
{
    struct tolerance tolerance = {.spare = UINT32_MAX};
    for (uint32_t range = 0; range < ring->range_count; range++) {
        const struct kv_replicas *replicas = &ring->ranges[range];
        uint32_t up = 0;
        for (uint32_t index = 0; index < replicas->count; index++) {
            up += is_up(status, replicas->ids[index]) ? 1 : 0;
        }
        uint32_t quorum = replicas->count / 2 + 1;
        if (up < quorum) {
            tolerance.lost_range_count++;
        } else if (up - quorum < tolerance.spare) {
            tolerance.spare = up - quorum;
        }
    }
    return tolerance;
}

static void tolerance_print(const struct kv_ring *ring, const struct tolerance *tolerance)
{
    if (tolerance->lost_range_count == ring->range_count) {
        (void)printf("NO QUORUM: no key can be read or written at level quorum\n");
    } else if (tolerance->lost_range_count > 0) {
        (void)printf("NO QUORUM for %" PRIu32 " of %" PRIu32 " ranges of the ring\n",
                     tolerance->lost_range_count, ring->range_count);
    } else if (tolerance->spare == 0) {
        (void)printf("every key has its quorum; if one more node fails, some will not\n");
    } else {
        (void)printf("every key has its quorum, and keeps it if any %" PRIu32
                     " of the nodes that are up fail%s\n",
                     tolerance->spare, tolerance->spare == 1 ? "s" : "");
    }
}

/* One letter for what is heard of a node, one for its part in the cluster; ? is unknown. */
static const char *heard_letter(const struct kv_member_status *member)
{
    return strcmp(member->state, "up") == 0        ? "U"
           : strcmp(member->state, "suspect") == 0 ? "S"
           : strcmp(member->state, "down") == 0    ? "D"
                                                   : "?";
}

static const char *part_letter(const struct kv_ring *ring, uint32_t id)
{
    const struct kv_member *member = ring == NULL ? NULL : kv_ring_member(ring, id);
    if (member == NULL) {
        return "?";
    }
    return strcmp(member->state, "active") == 0    ? "N"
           : strcmp(member->state, "joining") == 0 ? "J"
           : strcmp(member->state, "leaving") == 0 ? "L"
                                                   : "?";
}

/* `ring` is NULL while there is no cluster. */
static enum kvctl_exit status_rows(struct kvctl *kvctl, const struct kv_ring *ring,
                                   const struct kv_status *status)
{
    static const struct output_column columns[] = {
        {"is", false},  {"node", true},   {"state", false}, {"heard", true},
        {"keys", true}, {"stored", true}, {"epoch", true},  {"raft", false}};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    for (uint32_t index = 0; index < status->member_count; index++) {
        const struct kv_member_status *member = &status->members[index];
        char size[OUTPUT_NUMBER_SIZE_MAX];
        bool table = kvctl->output == KVCTL_TABLE;
        output_cell(&rows, "%s%s", heard_letter(member), part_letter(ring, member->id));
        output_cell(&rows, "%" PRIu32, member->id);
        output_cell(&rows, "%s", member->state);
        if (member->heard) {
            output_cell(&rows, table ? "%" PRIu64 " ms" : "%" PRIu64, member->heard_ms_ago);
        } else {
            output_cell(&rows, "-");
        }
        output_cell(&rows, "%" PRIu64, member->key_count);
        if (table) {
            output_cell(&rows, "%s", output_size(member->stored_size, size));
        } else {
            output_cell(&rows, "%" PRIu64, member->stored_size);
        }
        output_cell(&rows, "%" PRIu64, member->epoch);
        output_cell(&rows, "%s", member->id == status->raft_leader ? "leader" : "");
    }
    return output_print(kvctl, &rows);
}

static void seen_by_print(const struct kv_status *status)
{
    (void)printf("as seen by node %" PRIu32 " (%s, version %s, raft %s of term %" PRIu64 ")\n\n",
                 status->id, status->state, status->version, status->raft_role, status->raft_term);
    (void)printf("U up, S suspect, D down / N normal, J joining, L leaving\n");
}

/* The summary above the table, which needs the ring. */
static void summary_print(const struct kv_ring *ring, const struct kv_status *status)
{
    char count[OUTPUT_NUMBER_SIZE_MAX];
    uint32_t up = 0;
    for (uint32_t index = 0; index < ring->member_count; index++) {
        up += is_up(status, ring->members[index].id) ? 1 : 0;
    }
    const struct tolerance tolerance = tolerance_of(ring, status);
    tolerance_print(ring, &tolerance);
    (void)printf("cluster %016" PRIx64 ", epoch %" PRIu64 ", %" PRIu32 " of %" PRIu32
                 " nodes up, %" PRIu32 " replicas, about %s keys\n",
                 status->cluster_id, status->epoch, up, ring->member_count, status->replica_count,
                 output_count(status->key_count, count));
    seen_by_print(status);
}

static enum kvctl_exit status_run(struct kvctl *kvctl, struct kv_status *status)
{
    struct kv_result result;
    const struct kv_ring *ring = NULL;
    if (kv_status(kvctl->client, NULL, status, &result) != KV_OK) {
        return kvctl_judge(&result, "status");
    }
    if (kvctl->output == KVCTL_JSON || kvctl->output == KVCTL_RAW) {
        return json_pass(result.value);
    }
    if (status->epoch > 0 && kv_ring(kvctl->client, &ring, &result) != KV_OK) {
        return kvctl_judge(&result, "status");
    }
    if (kvctl->output == KVCTL_TABLE && ring == NULL) {
        (void)printf("NO CLUSTER YET: it begins once all nodes of --bootstrap have met\n");
        seen_by_print(status);
    } else if (kvctl->output == KVCTL_TABLE) {
        summary_print(ring, status);
    }
    return status_rows(kvctl, ring, status);
}

enum kvctl_exit command_status(struct kvctl *kvctl)
{
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code != KVCTL_OK) {
        return code;
    }
    struct kv_status *status = memory_allocate_zeroed(1, sizeof(*status));
    if (status == NULL) {
        kvctl_complain("out of memory");
        return KVCTL_FAILURE;
    }
    code = status_run(kvctl, status);
    memory_free(status);
    return code;
}

/* ------------------------------------------------------------------ nodes and ring */

struct holding {
    uint32_t range_count; /* Ranges the node is a replica of. */
    uint32_t first_count; /* Of those, the ones it is the preferred replica of. */
    uint32_t total;       /* Replicas of all ranges. */
};

static struct holding holding_of(const struct kv_ring *ring, uint32_t id)
{
    struct holding holding = {0};
    for (uint32_t range = 0; range < ring->range_count; range++) {
        const struct kv_replicas *replicas = &ring->ranges[range];
        holding.total += replicas->count;
        for (uint32_t index = 0; index < replicas->count; index++) {
            holding.range_count += replicas->ids[index] == id ? 1 : 0;
            holding.first_count += index == 0 && replicas->ids[0] == id ? 1 : 0;
        }
    }
    return holding;
}

static double share_of(const struct holding *holding)
{
    return holding->total == 0 ? 0 : 100.0 * holding->range_count / holding->total;
}

static enum kvctl_exit node_rows(struct kvctl *kvctl, const struct kv_ring *ring,
                                 const struct kv_status *status)
{
    static const struct output_column columns[] = {
        {"node", true},    {"up", false},    {"state", false},  {"zone", false}, {"weight", true},
        {"share_%", true}, {"voter", false}, {"client", false}, {"peer", false}, {"admin", false}};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    for (uint32_t index = 0; index < ring->member_count; index++) {
        const struct kv_member *member = &ring->members[index];
        const struct kv_member_status *heard = member_find(status, member->id);
        const struct holding holding = holding_of(ring, member->id);
        output_cell(&rows, "%" PRIu32, member->id);
        output_cell(&rows, "%s", heard != NULL ? heard->state : "unknown");
        output_cell(&rows, "%s", member->state);
        output_cell(&rows, "%s", member->zone);
        output_cell(&rows, "%" PRIu32, member->weight);
        output_cell(&rows, "%.1f", share_of(&holding));
        output_cell(&rows, "%s", member->voter ? "yes" : "no");
        output_cell(&rows, "%s", member->client);
        output_cell(&rows, "%s", member->peer);
        output_cell(&rows, "%s", member->admin);
    }
    return output_print(kvctl, &rows);
}

enum kvctl_exit command_node_list(struct kvctl *kvctl)
{
    struct kv_result result;
    const struct kv_ring *ring;
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code != KVCTL_OK) {
        return code;
    }
    struct kv_status *status = memory_allocate_zeroed(1, sizeof(*status));
    if (status == NULL) {
        kvctl_complain("out of memory");
        return KVCTL_FAILURE;
    }
    if (kv_status(kvctl->client, NULL, status, &result) != KV_OK ||
        kv_ring(kvctl->client, &ring, &result) != KV_OK) {
        code = kvctl_judge(&result, "node list");
    } else {
        code = node_rows(kvctl, ring, status);
    }
    memory_free(status);
    return code;
}

static enum kvctl_exit range_rows(struct kvctl *kvctl, const struct kv_ring *ring)
{
    static const struct output_column columns[] = {
        {"range", true}, {"first_token", false}, {"last_token", false}, {"replicas", false}};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    uint64_t last_offset = UINT64_MAX / ring->range_count;
    for (uint32_t range = 0; range < ring->range_count; range++) {
        const struct kv_replicas *replicas = &ring->ranges[range];
        uint64_t first = range * (last_offset + 1);
        char text[KV_REPLICA_COUNT_MAX * 12] = "";
        size_t used = 0;
        for (uint32_t index = 0; index < replicas->count; index++) {
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%" PRIu32,
                                     index == 0 ? "" : ",", replicas->ids[index]);
        }
        output_cell(&rows, "%" PRIu32, range);
        output_cell(&rows, "%016" PRIx64, first);
        output_cell(&rows, "%016" PRIx64, first + last_offset);
        output_cell(&rows, "%s", text);
    }
    return output_print(kvctl, &rows);
}

static enum kvctl_exit holding_rows(struct kvctl *kvctl, const struct kv_ring *ring)
{
    static const struct output_column columns[] = {{"node", true},      {"zone", false},
                                                   {"weight", true},    {"ranges", true},
                                                   {"preferred", true}, {"share_%", true}};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    if (kvctl->output == KVCTL_TABLE) {
        (void)printf("epoch %" PRIu64 ", %" PRIu32 " ranges, %" PRIu32 " replicas of each\n\n",
                     ring->epoch, ring->range_count, ring->replica_count);
    }
    for (uint32_t index = 0; index < ring->member_count; index++) {
        const struct kv_member *member = &ring->members[index];
        const struct holding holding = holding_of(ring, member->id);
        output_cell(&rows, "%" PRIu32, member->id);
        output_cell(&rows, "%s", member->zone);
        output_cell(&rows, "%" PRIu32, member->weight);
        output_cell(&rows, "%" PRIu32, holding.range_count);
        output_cell(&rows, "%" PRIu32, holding.first_count);
        output_cell(&rows, "%.2f", share_of(&holding));
    }
    return output_print(kvctl, &rows);
}

enum kvctl_exit command_ring_show(struct kvctl *kvctl)
{
    struct kv_result result;
    const struct kv_ring *ring;
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code != KVCTL_OK) {
        return code;
    }
    if (kv_ring(kvctl->client, &ring, &result) != KV_OK) {
        return kvctl_judge(&result, "ring show");
    }
    if (kvctl->output == KVCTL_JSON || kvctl->output == KVCTL_RAW) {
        return json_pass(result.value);
    }
    return kvctl->values[OPTION_RANGES] != NULL ? range_rows(kvctl, ring)
                                                : holding_rows(kvctl, ring);
}

enum kvctl_exit command_ring_locate(struct kvctl *kvctl)
{
    static const struct output_column columns[] = {
        {"replica", true}, {"node", true}, {"client", false}};
    struct kv_result result;
    struct kv_location location;
    const struct kv_ring *ring;
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code != KVCTL_OK) {
        return code;
    }
    if (kv_locate(kvctl->client, slice_text(kvctl->operands[0]), &location, &result) != KV_OK) {
        return kvctl_judge(&result, kvctl->operands[0]);
    }
    if (kvctl->output == KVCTL_JSON || kvctl->output == KVCTL_RAW) {
        return json_pass(result.value);
    }
    if (kv_ring(kvctl->client, &ring, &result) != KV_OK) {
        return kvctl_judge(&result, "ring locate");
    }
    if (kvctl->output == KVCTL_TABLE) {
        (void)printf("slot %" PRIu32 ", token %016" PRIx64 ", range %" PRIu32 "\n\n", location.slot,
                     location.token, location.range);
    }
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    for (uint32_t index = 0; index < location.replicas.count; index++) {
        const struct kv_member *member = kv_ring_member(ring, location.replicas.ids[index]);
        output_cell(&rows, "%" PRIu32, index + 1);
        output_cell(&rows, "%" PRIu32, location.replicas.ids[index]);
        output_cell(&rows, "%s", member != NULL ? member->client : "unknown");
    }
    return output_print(kvctl, &rows);
}
