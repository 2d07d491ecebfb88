/* node/autoscaler.c -- the figures that autoscale.c judges. */
#include "node/autoscaler.h"

#include "node/node.h"

#define LOOK_MS 1000u
#define PERCENT 100u

static const struct node_peer_info *info_of(const struct node_peer_info *infos, uint32_t count,
                                            uint32_t id)
{
    for (uint32_t index = 0; index < count; index++) {
        if (infos[index].id == id) {
            return &infos[index];
        }
    }
    return NULL;
}

static void member_add(struct autoscale_usage *usage, const struct node_peer_info *info)
{
    usage->node_count++;
    if (info == NULL || info->state != NODE_PEER_UP) {
        usage->unsteady = "a node is silent";
        return;
    }
    if (info->space_free == 0) {
        usage->unsteady = "not all nodes have told of their disks yet";
        return;
    }
    uint64_t size = info->stored_size + info->space_free;
    uint32_t full_pct = (uint32_t)((double)info->stored_size * PERCENT / (double)size);
    usage->disk_used += info->stored_size;
    usage->disk_size += size;
    usage->disk_fullest_pct =
        full_pct > usage->disk_fullest_pct ? full_pct : usage->disk_fullest_pct;
    usage->requests += info->request_rate;
}

static void usage_take(struct autoscaler *autoscaler)
{
    const struct topology *topology = node_topology(autoscaler->node);
    struct node_peer_info infos[RING_MEMBER_COUNT_MAX];
    uint32_t info_count = node_peers(autoscaler->node, infos, RING_MEMBER_COUNT_MAX);
    struct autoscale_usage *usage = &autoscaler->usage;
    bool leaving = false;
    *usage = (struct autoscale_usage){.replica_count = topology->replica_count};
    autoscaler->joining_count = 0;
    for (uint32_t index = 0; index < topology->member_count; index++) {
        const struct topology_member *member = &topology->members[index];
        leaving = leaving || member->state == TOPOLOGY_LEAVING;
        if (member->state == TOPOLOGY_ACTIVE) {
            member_add(usage, info_of(infos, info_count, member->id));
        } else if (member->state == TOPOLOGY_JOINING) {
            autoscaler->joining_count++;
        }
    }
    if (topology->cluster_id == 0) {
        usage->unsteady = "there is no cluster yet";
    } else if (topology->running.id != 0) {
        usage->unsteady = "a plan runs";
    } else if (leaving) {
        usage->unsteady = "a node leaves";
    }
}

static void autoscaler_fired(struct env_timer *timer)
{
    struct autoscaler *autoscaler = container_of(timer, struct autoscaler, timer);
    usage_take(autoscaler);
    autoscale_judge(&autoscaler->judgement, &autoscaler->limits, &autoscaler->usage,
                    env_monotonic_ms(autoscaler->env));
    env_timer_start_ms(autoscaler->env, timer, LOOK_MS);
}

void autoscaler_start(struct autoscaler *autoscaler, struct env *env, const struct node *node)
{
    const struct config *config = node_config(node);
    *autoscaler = (struct autoscaler){
        .env = env,
        .node = node,
        .timer = {.fired = autoscaler_fired},
        .limits = {.disk_high_pct = config->disk_high_pct,
                   .request_high_pct = config->request_high_pct,
                   .target_pct = config->target_pct,
                   .node_requests = config->node_requests,
                   .nodes_min = config->nodes_min,
                   .nodes_max = config->nodes_max,
                   .grow_s = config->grow_s,
                   .shrink_s = config->shrink_s},
    };
    env_timer_start_ms(env, &autoscaler->timer, LOOK_MS);
}

void autoscaler_stop(struct autoscaler *autoscaler)
{
    if (autoscaler->env != NULL) {
        autoscaler->env->ops->timer_stop(autoscaler->env, &autoscaler->timer);
    }
}
