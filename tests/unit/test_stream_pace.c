/* tests/unit/test_stream_pace.c -- bytes over a virtual time, and rates that follow latencies. */
#include <criterion/criterion.h>

#include "node/stream_pace.h"

#define SECOND_NS UINT64_C(1000000000)
#define RATE (1u << 20)
#define PIECE (16u << 10)

static struct stream_pace pace;
static struct histogram reads;
static struct histogram writes;
static uint64_t now_ns;

static void begin(void)
{
    now_ns = SECOND_NS;
    stream_pace_init(&pace, RATE, 50, &reads, &writes, now_ns);
}

/* Bytes that went in so many seconds by one who sends as soon as it may. */
static uint64_t sent_in(enum stream_way way, uint64_t seconds)
{
    uint64_t size = 0;
    uint64_t end_ns = now_ns + seconds * SECOND_NS;
    while (now_ns < end_ns) {
        uint64_t wait_ns = stream_pace_wait_ns(&pace, way, now_ns);
        now_ns += wait_ns;
        if (wait_ns == 0) {
            stream_pace_spend(&pace, way, PIECE);
            size += PIECE;
        }
    }
    return size;
}

Test(stream_pace, the_rate_is_kept)
{
    begin();
    uint64_t size = sent_in(STREAM_OUT, 10);
    cr_expect_geq(size, UINT64_C(10) * RATE * 95 / 100);
    cr_expect_leq(size, UINT64_C(10) * RATE + RATE / 8 + PIECE);
}

Test(stream_pace, ways_do_not_share)
{
    begin();
    stream_pace_spend(&pace, STREAM_IN, 10 * RATE);
    cr_expect_eq(stream_pace_wait_ns(&pace, STREAM_OUT, now_ns), 0);
    cr_expect_gt(stream_pace_wait_ns(&pace, STREAM_IN, now_ns), 9 * SECOND_NS);
}

Test(stream_pace, a_pause_saves_up_little)
{
    begin();
    now_ns += 60 * SECOND_NS;
    uint64_t size = sent_in(STREAM_OUT, 1);
    cr_expect_leq(size, UINT64_C(1) * RATE + RATE / 8 + 2 * PIECE);
}

static void clients_take_us(struct histogram *latencies, uint64_t latency_us)
{
    for (uint32_t count = 0; count < 1000; count++) {
        histogram_add(latencies, latency_us);
    }
}

Test(stream_pace, slow_clients_come_first)
{
    begin();
    struct histogram *const all[] = {&reads, &writes};
    for (uint32_t which = 0; which < 2; which++) {
        begin();
        for (uint32_t second = 0; second < 3; second++) {
            clients_take_us(all[which], 60000);
            (void)sent_in(STREAM_IN, 1);
        }
        cr_expect_leq(pace.rate, RATE / 4, "after two looks");
        for (uint32_t second = 0; second < 10; second++) {
            clients_take_us(all[which], 60000);
            (void)sent_in(STREAM_IN, 1);
        }
        cr_expect_eq(pace.rate, RATE / STREAM_PACE_SHARE_MIN + 1, "and never stops");
    }
}

Test(stream_pace, the_rate_comes_back)
{
    begin();
    for (uint32_t second = 0; second < 10; second++) {
        clients_take_us(&reads, 60000);
        (void)sent_in(STREAM_IN, 1);
    }
    for (uint32_t second = 0; second < 30; second++) {
        clients_take_us(&reads, 1000); /* What was slow before counts no more. */
        (void)sent_in(STREAM_IN, 1);
    }
    cr_expect_eq(pace.rate, RATE);
}

Test(stream_pace, without_clients_nothing_slows_it)
{
    begin();
    uint64_t size = sent_in(STREAM_OUT, 20);
    cr_expect_geq(size, UINT64_C(20) * RATE * 95 / 100);
    cr_expect_eq(pace.rate, RATE);
}
