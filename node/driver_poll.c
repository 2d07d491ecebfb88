/*
 * node/driver_poll.c -- asks the nodes how far their ranges are.
 *
 * Each node is asked about all its ranges at once, one question at a time: right after a step, then
 * in growing intervals while it has no news. A question that is not answered is forgotten and asked
 * anew; it keeps no other node waiting.
 */
#include "base/log.h"
#include "node/driver_internal.h"

#define DELAY_MS_MIN 2
#define DELAY_MS_MAX 64
#define UNREACHABLE_MS 100 /* Until a node that cannot be asked is tried again. */
#define ANSWER_MS_MAX 2000 /* Until a question is given up. */

static void answered(struct driver_ask *ask, enum status status,
                     const struct message_range_state *states)
{
    struct driver_node *node = container_of(ask, struct driver_node, ask);
    struct driver *driver = node->driver;
    const struct topology *topology = driver->options.topology;
    uint64_t now_ms = env_monotonic_ms(driver->env);
    ASSERT(node->asking);
    node->asking = false;
    node->due_ms = now_ms + UNREACHABLE_MS;
    bool news = false;
    for (uint32_t index = 0; status == STATUS_OK && index < ask->range_count; index++) {
        struct driver_move *move = driver_move_find(driver, ask->ranges[index]);
        if (move == NULL || driver->followed_epoch != topology->stamp.epoch) {
            continue; /* Over meanwhile, or about to be looked at anew. */
        }
        bool asked_before = driver_move_asks(move, topology, node->id);
        if (driver_move_hear(move, topology, node->id, node->asked_epoch, &states[index])) {
            driver_begin_streamed(driver, move, node->id);
        }
        news = news || asked_before != driver_move_asks(move, topology, node->id);
    }
    if (status == STATUS_OK) {
        uint32_t slower = 2 * node->delay_ms < DELAY_MS_MAX ? 2 * node->delay_ms : DELAY_MS_MAX;
        node->delay_ms = news ? DELAY_MS_MIN : slower;
        node->due_ms = now_ms + (node->again ? 0 : node->delay_ms);
    }
    node->again = false;
    driver_wake(driver);
}

static void ask_send(struct driver_node *node, uint64_t now_ms)
{
    struct driver *driver = node->driver;
    node->asking = true;
    node->again = false;
    node->asked_ms = now_ms;
    node->asked_epoch = driver->options.topology->stamp.epoch;
    node->ask.node = node->id;
    node->ask.ranges = node->ask_ranges;
    node->ask.done = answered;
    enum status status = driver->options.events->ask(driver->options.context, &node->ask);
    if (status != STATUS_OK) {
        node->asking = false;
        node->due_ms = now_ms + UNREACHABLE_MS;
    }
}

/* Who has something to say goes on the list of its node, if that may be asked now. */
static void move_list(struct driver *driver, const struct driver_move *move, uint64_t now_ms)
{
    for (uint32_t index = 0; index < move->fact_count; index++) {
        uint32_t id = move->facts[index].node;
        struct driver_node *node = driver_node_of(driver, id);
        if (node == NULL || node->asking || node->due_ms > now_ms ||
            node->ask.range_count == DRIVER_ASK_COUNT_MAX ||
            !driver_move_asks(move, driver->options.topology, id)) {
            continue;
        }
        node->ask_ranges[node->ask.range_count++] = move->range;
    }
}

uint64_t driver_poll_run(struct driver *driver, uint64_t now_ms)
{
    for (uint32_t index = 0; index < driver->node_count; index++) {
        struct driver_node *node = driver->nodes[index];
        if (node->asking && now_ms - node->asked_ms >= ANSWER_MS_MAX) {
            driver->options.events->forget(driver->options.context, &node->ask);
            node->asking = false;
            node->due_ms = now_ms;
        }
        if (!node->asking) {
            node->ask.range_count = 0;
        }
    }
    for (uint32_t index = 0; index < driver->move_count; index++) {
        move_list(driver, &driver->moves[index], now_ms);
    }
    uint64_t next_ms = UINT64_MAX;
    for (uint32_t index = 0; index < driver->node_count; index++) {
        struct driver_node *node = driver->nodes[index];
        if (!node->asking && node->ask.range_count > 0) {
            ask_send(node, now_ms);
        }
        uint64_t due_ms = node->asking ? node->asked_ms + ANSWER_MS_MAX : node->due_ms;
        if (due_ms > now_ms && due_ms < next_ms) {
            next_ms = due_ms;
        }
    }
    return next_ms;
}

void driver_poll_hurry(struct driver *driver, uint64_t now_ms)
{
    for (uint32_t index = 0; index < driver->node_count; index++) {
        struct driver_node *node = driver->nodes[index];
        node->again = node->asking;
        node->due_ms = now_ms;
        node->delay_ms = DELAY_MS_MIN;
    }
}

void driver_poll_forget(struct driver *driver)
{
    for (uint32_t index = 0; index < driver->node_count; index++) {
        struct driver_node *node = driver->nodes[index];
        if (node->asking) {
            driver->options.events->forget(driver->options.context, &node->ask);
            node->asking = false;
        }
    }
}
