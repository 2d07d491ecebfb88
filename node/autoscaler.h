/*
 * node/autoscaler.h -- looks at the cluster once a second, as this node hears of it, and judges how
 * many nodes there should be (autoscale.h).
 *
 * Every node judges by itself, from what heartbeats say, so any of them may be asked; they agree
 * but for a few seconds. Nothing is done about it here: whoever asks starts and stops machines.
 */
#ifndef NODE_AUTOSCALER_H
#define NODE_AUTOSCALER_H

#include "base/env.h"
#include "node/autoscale.h"
#include "node/config.h"

struct node;

struct autoscaler {
    struct env *env;
    const struct node *node;
    struct env_timer timer;
    struct autoscale_limits limits;
    struct autoscale_usage usage; /* As it was last looked at. */
    struct autoscale judgement;
    uint32_t joining_count; /* Members that wait to be given ranges. */
};

void autoscaler_start(struct autoscaler *autoscaler, struct env *env, const struct node *node);
void autoscaler_stop(struct autoscaler *autoscaler); /* Harmless if it never started. */

#endif
