/* node/detector.c -- phi of a silence, from the rhythm of heartbeats; see detector.h. */
#include "node/detector.h"

#include "base/contract.h"

#define US_PER_MS UINT64_C(1000)
#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define MILLI 1000
#define INTERVAL_US_MAX (UINT64_C(1) << 28) /* A window of squares of it fits 64 bits. */
#define ANSWER_HEARTBEATS 2 /* Those asked have this long to answer before a peer is DOWN. */
#define VOUCH_HEARTBEATS 5  /* So long one word for it counts; they are asked every heartbeat. */

/*
 * Phi in thousandths at every quarter of a standard deviation above the mean: minus log10 of the
 * upper tail of the normal distribution, erfc(x / sqrt 2) / 2. It is read linearly in between,
 * which is at most 4 thousandths too much (a 128th of its second derivative, below 0.5).
 */
static const uint16_t tail_phi_milli[] = {
    301,  397,  511,  645,  800,   976,   1175,  1397,  1643,  1913,  2207,
    2526, 2870, 3239, 3633, 4053,  4499,  4971,  5469,  5993,  6543,  7119,
    7721, 8350, 9006, 9688, 10396, 11131, 11893, 12681, 13496, 14338, 15206};
#define TAIL_STEP_MILLI 250

void detector_init(struct detector *detector, const struct detector_options *options)
{
    ASSERT(options->heartbeat_ms > 0);
    ASSERT(options->suspect_phi <= options->down_phi);
    ASSERT(options->down_phi <= DETECTOR_PHI_MAX);
    *detector = (struct detector){.options = *options,
                                  .mean_us = options->heartbeat_ms * US_PER_MS,
                                  .deviation_us = options->heartbeat_ms * US_PER_MS};
}

void detector_linked(struct detector *detector)
{
    detector->linked = true;
}

void detector_lost(struct detector *detector)
{
    detector->linked = false;
    detector->beat_ns = 0;
}

void detector_heard(struct detector *detector, uint64_t now_ns)
{
    detector->heard_ns = now_ns;
    detector->asked_ns = 0;
    detector->vouched_ns = 0;
}

/* The greatest integer whose square is at most `value`. */
static uint64_t square_root(uint64_t value)
{
    uint64_t root = 0;
    for (uint64_t bit = UINT64_C(1) << 31; bit > 0; bit >>= 1) {
        uint64_t tried = root | bit;
        root = tried * tried <= value ? tried : root;
    }
    return root;
}

static void rhythm_take(struct detector *detector)
{
    uint64_t count = detector->interval_count;
    uint64_t least_us = detector->options.heartbeat_ms * US_PER_MS;
    if (count < DETECTOR_WINDOW_MIN) {
        return;
    }
    detector->mean_us = detector->sum_us / count;
    /* Both divisions round down; of the mean that can only add to the variance. */
    uint64_t mean_square = detector->mean_us * detector->mean_us;
    uint64_t square_mean = detector->square_sum / count;
    uint64_t deviation_us = square_root(square_mean > mean_square ? square_mean - mean_square : 0);
    detector->deviation_us = deviation_us > least_us ? deviation_us : least_us;
}

static void interval_add(struct detector *detector, uint64_t interval_us)
{
    /* One long pause must not excuse the next for the length of the window. */
    uint64_t interval_us_max = detector->options.suspect_ms * US_PER_MS;
    interval_us_max = interval_us_max < INTERVAL_US_MAX ? interval_us_max : INTERVAL_US_MAX;
    interval_us = interval_us < interval_us_max ? interval_us : interval_us_max;
    if (detector->interval_count == DETECTOR_WINDOW) {
        uint64_t oldest_us = detector->intervals_us[detector->next];
        detector->sum_us -= oldest_us;
        detector->square_sum -= oldest_us * oldest_us;
    } else {
        detector->interval_count++;
    }
    detector->intervals_us[detector->next] = (uint32_t)interval_us;
    detector->next = (detector->next + 1) % DETECTOR_WINDOW;
    detector->sum_us += interval_us;
    detector->square_sum += interval_us * interval_us;
    rhythm_take(detector);
}

void detector_beat(struct detector *detector, uint64_t now_ns)
{
    if (detector->beat_ns != 0 && now_ns > detector->beat_ns) {
        interval_add(detector, (now_ns - detector->beat_ns) / NS_PER_US);
    }
    detector->beat_ns = now_ns;
    detector_heard(detector, now_ns);
}

void detector_asked(struct detector *detector, uint64_t now_ns)
{
    detector->asked_ns = detector->asked_ns == 0 ? now_ns : detector->asked_ns;
}

void detector_vouched(struct detector *detector, uint64_t now_ns)
{
    detector->vouched_ns = now_ns;
}

static uint64_t since(uint64_t moment_ns, uint64_t now_ns)
{
    return now_ns > moment_ns ? now_ns - moment_ns : 0;
}

static void moment_move(uint64_t *moment_ns, uint64_t by_ns, uint64_t now_ns)
{
    uint64_t age_ns = since(*moment_ns, now_ns);
    if (*moment_ns != 0) {
        *moment_ns += by_ns < age_ns ? by_ns : age_ns;
    }
}

void detector_slept(struct detector *detector, uint64_t slept_ns, uint64_t now_ns)
{
    moment_move(&detector->heard_ns, slept_ns, now_ns);
    moment_move(&detector->beat_ns, slept_ns, now_ns);
    moment_move(&detector->asked_ns, slept_ns, now_ns);
    moment_move(&detector->vouched_ns, slept_ns, now_ns);
}

/* ------------------------------------------------------------------ judging */

uint32_t detector_phi_milli(const struct detector *detector, uint64_t now_ns)
{
    const uint32_t last = ARRAY_COUNT(tail_phi_milli) - 1;
    const uint32_t greatest = DETECTOR_PHI_MAX * MILLI;
    if (detector->heard_ns == 0) {
        return greatest;
    }
    uint64_t silence_us = since(detector->heard_ns, now_ns) / NS_PER_US;
    if (silence_us <= detector->mean_us) {
        return 0;
    }
    uint64_t late_us = silence_us - detector->mean_us;
    uint64_t step_us = detector->deviation_us * TAIL_STEP_MILLI / MILLI;
    uint64_t step = late_us / step_us; /* The deviation is a millisecond at least. */
    if (step >= last) {
        return greatest;
    }
    uint64_t rise = tail_phi_milli[step + 1] - tail_phi_milli[step];
    uint64_t phi = tail_phi_milli[step] + rise * (late_us % step_us) / step_us;
    return phi < greatest ? (uint32_t)phi : greatest;
}

static bool later_than(const struct detector *detector, uint32_t phi, uint32_t silence_ms,
                       uint64_t now_ns)
{
    return detector_phi_milli(detector, now_ns) >= phi * MILLI ||
           since(detector->heard_ns, now_ns) >= silence_ms * NS_PER_MS;
}

/* Others were asked, had time to answer, and nobody has heard it lately. */
static bool disowned(const struct detector *detector, uint64_t now_ns)
{
    uint64_t heartbeat_ns = detector->options.heartbeat_ms * NS_PER_MS;
    if (detector->asked_ns == 0 ||
        since(detector->asked_ns, now_ns) < ANSWER_HEARTBEATS * heartbeat_ns) {
        return false;
    }
    return detector->vouched_ns == 0 ||
           since(detector->vouched_ns, now_ns) >= VOUCH_HEARTBEATS * heartbeat_ns;
}

enum node_peer_state detector_state(const struct detector *detector, uint64_t now_ns)
{
    const struct detector_options *options = &detector->options;
    bool heard = detector->linked && detector->heard_ns != 0;
    if (heard && !later_than(detector, options->suspect_phi, options->suspect_ms, now_ns)) {
        return NODE_PEER_UP;
    }
    bool late = later_than(detector, options->down_phi, options->down_ms, now_ns);
    return late && disowned(detector, now_ns) ? NODE_PEER_DOWN : NODE_PEER_SUSPECT;
}
