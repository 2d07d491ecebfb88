/*
 * node/report.h -- what a node tells of itself and of the ring: JSON pages and metrics.
 *
 * Read by the client port (KV.RING, KV.STATUS, KV.LOCATE, KV.KEYSPACE), the admin port and nothing
 * else; the shapes are docs/reports.md. Each appends to a buffer whose sticky failure the caller
 * checks.
 */
#ifndef NODE_REPORT_H
#define NODE_REPORT_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/slice.h"

#define REPORT_VERSION RINGKV_VERSION /* Of the build: the project's version in CMakeLists.txt. */

struct node;

void report_keyspaces(const struct node *node, struct buffer *to);
void report_ring(const struct node *node, struct buffer *to);
void report_status(const struct node *node, struct buffer *to);
void report_locate(const struct node *node, uint16_t keyspace, struct slice key, struct buffer *to);
/* How many nodes there should be, and why; docs/autoscale.md. */
void report_autoscale(const struct node *node, struct buffer *to);
/* Prometheus text exposition, version 0.0.4. */
void report_metrics(const struct node *node, struct buffer *to);

const char *report_state_name(const struct node *node);

#endif
