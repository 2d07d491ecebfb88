/*
 * node/report_plan.h -- plans and ring changes as JSON; the shapes are docs/reports.md.
 */
#ifndef NODE_REPORT_PLAN_H
#define NODE_REPORT_PLAN_H

#include "base/buffer.h"
#include "ring/topology.h"

struct node;

/* The staged and the running plan of `topology`, and what committing the staged one would do; with
 * `preview` NULL, why it cannot be (`refused`). */
void report_plan_show(const struct node *node, const struct topology *topology,
                      const struct topology_preview *preview, const char *refused,
                      struct buffer *to);
void report_plan_history(const struct node *node, struct buffer *to);
/* What each range under way waits for: known where the leader is, so elsewhere only where it is. */
void report_plan_explain(const struct node *node, struct buffer *to);

#endif
