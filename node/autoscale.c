/* node/autoscale.c -- how many nodes the cluster should have. */
#include "node/autoscale.h"

#include <stddef.h>

#include "base/contract.h"

#define MS_PER_S UINT64_C(1000)
#define PERCENT 100.0

static uint32_t percent_of(double used, double size)
{
    if (size <= 0.0) {
        return used > 0.0 ? UINT32_MAX : 0;
    }
    double percent = used * PERCENT / size;
    return percent >= (double)UINT32_MAX ? UINT32_MAX : (uint32_t)percent;
}

uint32_t autoscale_disk_pct(const struct autoscale_usage *usage, uint32_t node_count)
{
    double size =
        usage->node_count == 0 ? 0.0 : (double)usage->disk_size * node_count / usage->node_count;
    return percent_of((double)usage->disk_used, size);
}

uint32_t autoscale_request_pct(const struct autoscale_limits *limits,
                               const struct autoscale_usage *usage, uint32_t node_count)
{
    if (limits->node_requests == 0) {
        return 0;
    }
    return percent_of((double)usage->requests, (double)limits->node_requests * node_count);
}

/* ------------------------------------------------------------------ numbers of nodes */

static uint32_t bounded(const struct autoscale_limits *limits, const struct autoscale_usage *usage,
                        uint32_t wanted)
{
    uint32_t least =
        usage->replica_count > limits->nodes_min ? usage->replica_count : limits->nodes_min;
    if (limits->nodes_max > 0 && wanted > limits->nodes_max) {
        wanted = limits->nodes_max;
    }
    return wanted < least ? least : wanted;
}

static bool exceeds(const struct autoscale_limits *limits, const struct autoscale_usage *usage,
                    uint32_t node_count, uint32_t percent)
{
    return autoscale_disk_pct(usage, node_count) > percent ||
           autoscale_request_pct(limits, usage, node_count) > percent;
}

/* The least number, above what there is, with which all is within the target. */
static uint32_t grown(const struct autoscale_limits *limits, const struct autoscale_usage *usage)
{
    uint32_t count = usage->node_count + 1;
    uint32_t most = bounded(limits, usage, UINT32_MAX);
    while (count < most && count < 2 * usage->node_count &&
           exceeds(limits, usage, count, limits->target_pct)) {
        count++;
    }
    return count;
}

/* ------------------------------------------------------------------ directions */

static bool grows(const struct autoscale_limits *limits, const struct autoscale_usage *usage,
                  const char **reason)
{
    uint32_t count = usage->node_count;
    if (autoscale_disk_pct(usage, count) > limits->disk_high_pct) {
        *reason = "disks are fuller than they should be";
        return true;
    }
    if (usage->disk_fullest_pct > limits->disk_high_pct) {
        *reason = "a disk is fuller than it should be";
        return true;
    }
    if (autoscale_request_pct(limits, usage, count) > limits->request_high_pct) {
        *reason = "there are more requests than nodes should serve";
        return true;
    }
    return false;
}

static bool grows_still(const struct autoscale_limits *limits, const struct autoscale_usage *usage)
{
    return exceeds(limits, usage, usage->node_count, limits->target_pct) ||
           usage->disk_fullest_pct > limits->target_pct;
}

static bool shrinks(const struct autoscale_limits *limits, const struct autoscale_usage *usage)
{
    uint32_t count = usage->node_count;
    return count > 1 && bounded(limits, usage, count - 1) < count &&
           !exceeds(limits, usage, count - 1, limits->target_pct) &&
           usage->disk_fullest_pct <= limits->target_pct;
}

static bool shrinks_still(const struct autoscale_limits *limits,
                          const struct autoscale_usage *usage)
{
    uint32_t count = usage->node_count - 1;
    uint32_t disk = (limits->target_pct + limits->disk_high_pct) / 2;
    uint32_t requests = (limits->target_pct + limits->request_high_pct) / 2;
    return autoscale_disk_pct(usage, count) <= disk && usage->disk_fullest_pct <= disk &&
           autoscale_request_pct(limits, usage, count) <= requests;
}

/* What the figures say now, given what was said last. */
static enum autoscale_direction direction_now(const struct autoscale *autoscale,
                                              const struct autoscale_limits *limits,
                                              const struct autoscale_usage *usage,
                                              const char **reason)
{
    *reason = "within the limits";
    if (bounded(limits, usage, usage->node_count) > usage->node_count) {
        *reason = "fewer nodes than there should be at least";
        return AUTOSCALE_GROW;
    }
    bool may_grow = bounded(limits, usage, usage->node_count + 1) > usage->node_count;
    if (may_grow && grows(limits, usage, reason)) {
        return AUTOSCALE_GROW;
    }
    if (autoscale->direction == AUTOSCALE_GROW && may_grow && grows_still(limits, usage)) {
        *reason = "not yet back at what is aimed at";
        return AUTOSCALE_GROW;
    }
    bool fewer = autoscale->direction == AUTOSCALE_SHRINK ? shrinks_still(limits, usage)
                                                          : shrinks(limits, usage);
    if (fewer) {
        *reason = "one node fewer would do";
        return AUTOSCALE_SHRINK;
    }
    if (!may_grow && grows(limits, usage, reason)) {
        *reason = "above the limits, but there are as many nodes as there may be";
    }
    return AUTOSCALE_HOLD;
}

static uint32_t wanted_of(const struct autoscale_limits *limits,
                          const struct autoscale_usage *usage, enum autoscale_direction direction)
{
    switch (direction) {
    case AUTOSCALE_GROW:
        return bounded(limits, usage, grown(limits, usage));
    case AUTOSCALE_SHRINK:
        return bounded(limits, usage, usage->node_count - 1);
    case AUTOSCALE_HOLD:
        return usage->node_count;
    }
    UNREACHABLE("direction");
}

/* How long it must hold before it is said. Back to HOLD at once: its band is wide. */
static uint64_t patience_ms(const struct autoscale_limits *limits,
                            enum autoscale_direction direction)
{
    return direction == AUTOSCALE_GROW     ? limits->grow_s * MS_PER_S
           : direction == AUTOSCALE_SHRINK ? limits->shrink_s * MS_PER_S
                                           : 0;
}

void autoscale_judge(struct autoscale *autoscale, const struct autoscale_limits *limits,
                     const struct autoscale_usage *usage, uint64_t now_ms)
{
    if (!autoscale->begun || autoscale->node_count != usage->node_count) {
        *autoscale = (struct autoscale){.begun = true,
                                        .node_count = usage->node_count,
                                        .wanted = usage->node_count,
                                        .direction_ms = now_ms,
                                        .pending_ms = now_ms};
    }
    if (usage->unsteady != NULL) {
        autoscale->reason = usage->unsteady;
        autoscale->pending = autoscale->direction;
        autoscale->pending_ms = now_ms;
        return;
    }
    enum autoscale_direction now = direction_now(autoscale, limits, usage, &autoscale->reason);
    if (now != autoscale->pending) {
        autoscale->pending = now;
        autoscale->pending_ms = now_ms;
    }
    if (now != autoscale->direction && now_ms - autoscale->pending_ms >= patience_ms(limits, now)) {
        autoscale->direction = now;
        autoscale->direction_ms = now_ms;
        autoscale->wanted = wanted_of(limits, usage, now);
    } else if (now == AUTOSCALE_GROW && now == autoscale->direction) {
        uint32_t wanted = wanted_of(limits, usage, now); /* It may come to need yet more. */
        autoscale->wanted = wanted > autoscale->wanted ? wanted : autoscale->wanted;
    }
}
