/*
 * node/detector.h -- how sure a node may be that a peer is gone.
 *
 * Why: a fixed time-out is either late for a peer that always answers at once, or false for one
 * whose answers always come late. So each peer is held against its own rhythm: `phi` says how
 * unlikely it is that a peer that lives is silent for so long, as minus the decimal logarithm of
 * that chance. And before a peer is DOWN others are asked whether they hear it, so that one bad
 * link does not take a node away from the view of everybody behind it.
 *
 *   UP ----> SUSPECT ----> DOWN     (later: silence; DOWN also needs that nobody vouches)
 *    ^          |  ^         |
 *    +----------+  +---------+      (it is heard again; somebody vouches)
 *
 * Invariants:
 *  (1) Time passes only as the caller's monotonic clock does; a `now_ns` before the last word is as
 *      that word. What the caller itself slept through (detector_slept) is nobody's silence.
 *  (2) No state but UP while the connection is lost, or before the first word.
 *  (3) Nobody is DOWN before others could have answered the question about it.
 *  (4) Views, routing and alarms follow it. Who owns what never does: ring/ and raft/ know nothing
 *      of it, and no command of the topology is decided by it.
 *
 * Source: Hayashibara, Defago, Yared, Katayama, "The phi accrual failure detector", SRDS 2004; the
 * question to others: Das, Gupta, Motivala, "SWIM", DSN 2002.
 * Changed: fixed point, from a table; only heartbeats make the rhythm, any word breaks the silence;
 * the deviation has a lower bound, and both states a ceiling in time.
 */
#ifndef NODE_DETECTOR_H
#define NODE_DETECTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "node/node.h"

#define DETECTOR_WINDOW 64          /* Intervals remembered. */
#define DETECTOR_WINDOW_MIN 8       /* With fewer the rhythm is the one that was configured. */
#define DETECTOR_PHI_MAX 15         /* Above, it is not told apart any more. */
#define DETECTOR_HELPER_COUNT_MAX 3 /* Others that are asked about one peer at a time. */

struct detector_options {
    uint32_t heartbeat_ms; /* Between two of them; also the least deviation believed in. */
    uint32_t suspect_phi;
    uint32_t down_phi;   /* At least suspect_phi. */
    uint32_t suspect_ms; /* Silence that is suspect in any rhythm. */
    uint32_t down_ms;
};

struct detector {
    struct detector_options options;
    bool linked;
    uint64_t heard_ns;   /* The last word, moved by what was slept through; 0: none. */
    uint64_t beat_ns;    /* The last heartbeat of this connection; 0: none. */
    uint64_t asked_ns;   /* When others were first asked since the last word; 0: not yet. */
    uint64_t vouched_ns; /* When one last said that it hears the peer; 0: none did. */
    uint32_t intervals_us[DETECTOR_WINDOW];
    uint32_t interval_count;
    uint32_t next;         /* Where the next interval goes. */
    uint64_t sum_us;       /* Of the intervals, */
    uint64_t square_sum;   /* and of their squares. */
    uint64_t mean_us;      /* Of what is known of the rhythm, or as configured. */
    uint64_t deviation_us; /* Likewise; never below the bound. */
};

void detector_init(struct detector *detector, const struct detector_options *options);

/* A connection stands, or is gone: the time between two connections is no interval. */
void detector_linked(struct detector *detector);
void detector_lost(struct detector *detector);
void detector_heard(struct detector *detector, uint64_t now_ns); /* Any word of the peer's own. */
void detector_beat(struct detector *detector, uint64_t now_ns);  /* Its answer to a heartbeat. */
/* Others are asked about it (also if there is nobody to ask); one of them hears it itself. */
void detector_asked(struct detector *detector, uint64_t now_ns);
void detector_vouched(struct detector *detector, uint64_t now_ns);
/* The caller did not run for this long: a pause of its own, not of the peer. */
void detector_slept(struct detector *detector, uint64_t slept_ns, uint64_t now_ns);

/* In thousandths, at most DETECTOR_PHI_MAX * 1000; 0 while nothing is late. */
uint32_t detector_phi_milli(const struct detector *detector, uint64_t now_ns);
enum node_peer_state detector_state(const struct detector *detector, uint64_t now_ns);

#endif
