/*
 * node/report_load.h -- what a gathering brought together, as JSON: the load of nodes and ranges,
 * the keys asked for most, moves that would make load more even.
 *
 * The shapes are docs/reports.md. Bytes of keys that are not printable ASCII are escaped as \xNN.
 */
#ifndef NODE_REPORT_LOAD_H
#define NODE_REPORT_LOAD_H

#include <stdbool.h>

#include "base/buffer.h"
#include "node/load_gather.h"
#include "ring/balance.h"

#define REPORT_HOT_KEYS_MAX 100u /* Of the whole cluster. */

struct node;

/* Of a gathering that ended well. With `ranges` each range on each of its nodes too. */
void report_load(const struct node *node, const struct gathering *gathering, bool ranges,
                 struct buffer *to);
void report_hot_keys(const struct node *node, const struct gathering *gathering, struct buffer *to);
/* What was proposed for a topology, and what for. */
void report_balance(const struct topology *topology, const struct balance_input *input,
                    const struct balance *balance, struct buffer *to);

#endif
