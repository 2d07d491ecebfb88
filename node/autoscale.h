/*
 * node/autoscale.h -- how many nodes the cluster should have: a pure judgement with a memory.
 *
 * Why: whoever starts and stops machines asks for one number, and acts on it; a number that goes up
 * and down with every burst costs more than it saves. So it changes only after the reason for it
 * has held for a while, and what made it go up must fall well below before it comes down again.
 *
 *            a resource above its limit, for grow_s
 *   HOLD --------------------------------------------> GROW
 *     ^  <-------------------------------------------- all within the target
 *     |
 *     |      one node fewer would do, for shrink_s
 *     +----------------------------------------------> SHRINK
 *        <-------------------------------------------- one node fewer would be half-way to a limit
 *
 * Contract:
 *  (1) Limits and target are parts of what all nodes have together; the target lies below each
 *      limit, so the same load cannot want both more and fewer.
 *  (2) As many as there are replicas at least, and between nodes_min and nodes_max; one fewer at a
 *      time.
 *  (3) While the cluster is not steady (members that are silent, joining or leaving, a plan that
 *      runs, figures not known yet) the last answer stands and nothing counts as having held.
 *  (4) When the number of nodes changes, all begins anew.
 */
#ifndef NODE_AUTOSCALE_H
#define NODE_AUTOSCALE_H

#include <stdbool.h>
#include <stdint.h>

enum autoscale_direction { AUTOSCALE_HOLD, AUTOSCALE_GROW, AUTOSCALE_SHRINK };

struct autoscale_limits {
    uint32_t disk_high_pct;    /* Of the disks; also of the fullest one. */
    uint32_t request_high_pct; /* Of node_requests. */
    uint32_t target_pct;       /* What a new number of nodes is to come to. */
    uint32_t node_requests;    /* A second, that a node is good for; 0: they are not judged. */
    uint32_t nodes_min;
    uint32_t nodes_max; /* 0: no bound. */
    uint32_t grow_s;
    uint32_t shrink_s;
};

/* Of all nodes that hold ranges. */
struct autoscale_usage {
    uint32_t node_count;
    uint32_t replica_count;
    const char *unsteady; /* Why not; NULL: it is. */
    uint64_t disk_used;
    uint64_t disk_size;        /* Used and free. */
    uint32_t disk_fullest_pct; /* Of the node whose disk is fullest. */
    uint64_t requests;         /* A second. */
};

struct autoscale {
    bool begun;
    uint32_t node_count; /* All below is about so many. */
    uint32_t wanted;
    enum autoscale_direction direction; /* Of wanted. */
    uint64_t direction_ms;              /* Since when. */
    enum autoscale_direction
        pending;         /* What holds now, and is not long enough; else as direction. */
    uint64_t pending_ms; /* Since when. */
    const char *reason;  /* A constant. */
};

/* Zero `autoscale` before the first call. Call about every second. */
void autoscale_judge(struct autoscale *autoscale, const struct autoscale_limits *limits,
                     const struct autoscale_usage *usage, uint64_t now_ms);

/* In per cent of what so many nodes like these have together; UINT32_MAX if they have nothing. */
uint32_t autoscale_disk_pct(const struct autoscale_usage *usage, uint32_t node_count);
uint32_t autoscale_request_pct(const struct autoscale_limits *limits,
                               const struct autoscale_usage *usage, uint32_t node_count);

#endif
