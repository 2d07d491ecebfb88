/* node/stream_pace.c -- tokens, and the rate at which they come. */
#include "node/stream_pace.h"

#include <stdbool.h>

#include "base/contract.h"

#define SECOND_NS UINT64_C(1000000000)
#define LOOK_NS SECOND_NS
#define FILL_NS_MAX (10 * SECOND_NS)
#define BURST_PARTS 8u    /* At most an eighth of a second is saved up. */
#define INCREASE_PARTS 8u /* Of the rate, for each second that clients had no trouble. */
#define QUANTILE 0.99

void stream_pace_init(struct stream_pace *pace, uint64_t rate, uint64_t limit_ms,
                      const struct histogram *reads_us, const struct histogram *writes_us,
                      uint64_t now_ns)
{
    ASSERT(rate > 0);
    *pace = (struct stream_pace){.rate_max = rate,
                                 .rate = rate,
                                 .limit_us = limit_ms * 1000,
                                 .filled_ns = now_ns,
                                 .looked_ns = now_ns,
                                 .latencies = {reads_us, writes_us}};
    for (uint32_t way = 0; way < STREAM_WAY_COUNT; way++) {
        pace->tokens[way] = (int64_t)(rate / BURST_PARTS);
    }
}

/* Of what came since the last look; 0 if nothing did. */
static uint64_t latency_lately_us(struct stream_pace *pace, uint32_t which)
{
    const struct histogram *now = pace->latencies[which];
    struct histogram *seen = &pace->seen[which];
    for (uint32_t index = 0; index < HISTOGRAM_BUCKET_COUNT; index++) {
        seen->counts[index] = now->counts[index] - seen->counts[index];
    }
    seen->count = now->count - seen->count;
    seen->max = now->max;
    uint64_t latency_us = seen->count == 0 ? 0 : histogram_quantile(seen, QUANTILE);
    *seen = *now;
    return latency_us;
}

static void rate_look(struct stream_pace *pace, uint64_t now_ns)
{
    uint64_t reads_us = latency_lately_us(pace, 0);
    uint64_t writes_us = latency_lately_us(pace, 1);
    bool slow = reads_us > pace->limit_us || writes_us > pace->limit_us;
    uint64_t rate = slow ? pace->rate / 2 : pace->rate + pace->rate / INCREASE_PARTS + 1;
    uint64_t low = pace->rate_max / STREAM_PACE_SHARE_MIN + 1;
    rate = rate < low ? low : rate;
    pace->rate = rate < pace->rate_max ? rate : pace->rate_max;
    pace->looked_ns = now_ns;
}

static void tokens_fill(struct stream_pace *pace, uint64_t now_ns)
{
    uint64_t passed_ns = now_ns - pace->filled_ns;
    passed_ns = passed_ns < FILL_NS_MAX ? passed_ns : FILL_NS_MAX;
    /* In microseconds: bytes a second times nanoseconds would not fit. */
    uint64_t passed_us = passed_ns / 1000;
    if (passed_us == 0) {
        return;
    }
    int64_t burst = (int64_t)(pace->rate / BURST_PARTS) + 1;
    for (uint32_t way = 0; way < STREAM_WAY_COUNT; way++) {
        int64_t tokens = pace->tokens[way] + (int64_t)(pace->rate * passed_us / 1000000);
        pace->tokens[way] = tokens < burst ? tokens : burst;
    }
    pace->filled_ns = now_ns;
}

uint64_t stream_pace_wait_ns(struct stream_pace *pace, enum stream_way way, uint64_t now_ns)
{
    if (now_ns - pace->looked_ns >= LOOK_NS) {
        rate_look(pace, now_ns);
    }
    tokens_fill(pace, now_ns);
    if (pace->tokens[way] > 0) {
        return 0;
    }
    uint64_t missing = (uint64_t)(1 - pace->tokens[way]);
    return missing * 1000000 / pace->rate * 1000 + 1000000;
}

void stream_pace_spend(struct stream_pace *pace, enum stream_way way, uint64_t size)
{
    pace->tokens[way] -= (int64_t)size;
}
