/*
 * node/stream_pace.h -- how fast bytes of streams may go in and out of this node.
 *
 * A bucket of tokens each way: what was sent is taken from it, also below nothing, and more may
 * follow once it is above. The rate is the configured one while clients are served well; each
 * second in which the 99th percentile of their latencies lay above a limit halves it, each other
 * one gives a part of it back, as TCP does (Chiu and Jain, 1989; here the other way round: it is
 * the increase that multiplies too, so that a rate of any size is back within seconds).
 */
#ifndef NODE_STREAM_PACE_H
#define NODE_STREAM_PACE_H

#include <stdint.h>

#include "base/histogram.h"

enum stream_way { STREAM_IN, STREAM_OUT };
#define STREAM_WAY_COUNT 2

#define STREAM_PACE_SHARE_MIN                                          \
    16u /* The rate never falls below this part of what is configured. \
         */

struct stream_pace {
    uint64_t rate_max; /* Bytes a second, each way. */
    uint64_t rate;
    uint64_t limit_us; /* Of the percentile. */
    uint64_t filled_ns;
    uint64_t looked_ns;
    int64_t tokens[STREAM_WAY_COUNT];
    const struct histogram *latencies[2]; /* Of reads and writes, since the start. */
    struct histogram seen[2];             /* What was in them at the last look. */
};

void stream_pace_init(struct stream_pace *pace, uint64_t rate, uint64_t limit_ms,
                      const struct histogram *reads_us, const struct histogram *writes_us,
                      uint64_t now_ns);
/* 0: now. Else so long until more may go that way. */
uint64_t stream_pace_wait_ns(struct stream_pace *pace, enum stream_way way, uint64_t now_ns);
void stream_pace_spend(struct stream_pace *pace, enum stream_way way, uint64_t size);

#endif
