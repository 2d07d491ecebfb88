/*
 * node/report_load.h -- what a gathering brought together, as JSON: the load of nodes and ranges,
 * and the keys asked for most.
 *
 * The shapes are docs/reports.md. Bytes of keys that are not printable ASCII are escaped as \xNN.
 */
#ifndef NODE_REPORT_LOAD_H
#define NODE_REPORT_LOAD_H

#include <stdbool.h>

#include "base/buffer.h"
#include "node/load_gather.h"

#define REPORT_HOT_KEYS_MAX 100u /* Of the whole cluster. */

struct node;

/* Of a gathering that ended well. With `ranges` each range on each of its nodes too. */
void report_load(const struct node *node, const struct gathering *gathering, bool ranges,
                 struct buffer *to);
void report_hot_keys(const struct node *node, const struct gathering *gathering, struct buffer *to);

#endif
