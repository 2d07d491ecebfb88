/*
 * node/driver.c -- see driver.h: follows the topology, gathers what is due, proposes it.
 *
 * One timer runs it all: whatever happens sets the timer to now, so that things that happen
 * together are answered together, and nothing that calls in is called back.
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "node/driver_internal.h"

#define BUSY_TICK_MS                                                                              \
    100                   /* While ranges have a goal: whether nodes came back, or are long gone. \
                           */
#define IDLE_TICK_MS 1000 /* For what members say of themselves. */
#define RETRY_MS 50       /* After a proposal that came to nothing. */
#define GATHER_MS 40      /* Between proposals: each costs all nodes an epoch, however few steps. */

/* ------------------------------------------------------------------ nodes */

static struct driver_node *node_find(const struct driver *driver, uint32_t id, uint32_t *at)
{
    uint32_t low = 0;
    uint32_t high = driver->node_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (driver->nodes[middle]->id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *at = low;
    bool found = low < driver->node_count && driver->nodes[low]->id == id;
    return found ? driver->nodes[low] : NULL;
}

struct driver_node *driver_node_of(struct driver *driver, uint32_t id)
{
    uint32_t at;
    struct driver_node *node = node_find(driver, id, &at);
    if (node != NULL) {
        return node;
    }
    node = memory_allocate_zeroed(1, sizeof(*node));
    struct driver_node **nodes =
        memory_resize(driver->nodes, (driver->node_count + 1) * sizeof(struct driver_node *));
    if (nodes != NULL) {
        driver->nodes = nodes;
    }
    if (node == NULL || nodes == NULL) {
        memory_free(node);
        return NULL;
    }
    *node = (struct driver_node){.driver = driver, .id = id, .window = driver->options.streams_max};
    for (uint32_t index = driver->node_count++; index > at; index--) {
        nodes[index] = nodes[index - 1];
    }
    nodes[at] = node;
    return node;
}

uint64_t driver_silence_ms(const struct driver *driver, uint32_t node)
{
    uint64_t silence_ms = driver->options.events->silence_ms(driver->options.context, node);
    uint64_t led_ms = env_monotonic_ms(driver->env) - driver->led_ms;
    return silence_ms < led_ms ? silence_ms : led_ms;
}

static bool node_is_gone(const void *context, uint32_t node)
{
    return driver_silence_ms(context, node) >= DRIVER_PATIENCE_MS;
}

struct driver_health driver_health_of(const struct driver *driver)
{
    return (struct driver_health){.gone = node_is_gone, .context = driver};
}

/* ------------------------------------------------------------------ following the topology */

struct driver_move *driver_move_find(const struct driver *driver, uint32_t range)
{
    uint32_t low = 0;
    uint32_t high = driver->move_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (driver->moves[middle].range < range) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < driver->move_count && driver->moves[low].range == range;
    return found ? &driver->moves[low] : NULL;
}

static uint32_t operation_count(const struct topology *topology)
{
    uint32_t count = 0;
    for (uint32_t range = 0; range < topology->range_count; range++) {
        count += topology->ranges[range].stage != TOPOLOGY_STABLE ? 1 : 0;
    }
    return count;
}

/* Room for twice the operations, so that the next ones find it. */
static bool moves_reserve(struct driver *driver, uint32_t count)
{
    if (count <= driver->move_capacity) {
        return true;
    }
    struct driver_move *moves = memory_resize(driver->moves, 2 * (size_t)count * sizeof(*moves));
    if (moves == NULL) {
        return false;
    }
    driver->moves = moves;
    driver->move_capacity = 2 * count;
    return true;
}

static bool corrupt_reserve(struct driver *driver, uint32_t range_count)
{
    if (driver->range_count == range_count) {
        return true;
    }
    memory_free(driver->corrupt);
    driver->range_count = 0;
    driver->corrupt = memory_allocate_zeroed((range_count + 7) / 8, 1);
    if (driver->corrupt != NULL) {
        driver->range_count = range_count;
    }
    return driver->corrupt != NULL;
}

/* Operations that ended go, those that go on keep what was heard of them, new ones come in. */
static bool moves_follow(struct driver *driver, uint64_t now_ms)
{
    const struct topology *topology = driver->options.topology;
    uint32_t count = operation_count(topology);
    if (!corrupt_reserve(driver, topology->range_count) || !moves_reserve(driver, count)) {
        return false;
    }
    uint32_t kept = 0;
    for (uint32_t index = 0; index < driver->move_count; index++) {
        const struct driver_move *move = &driver->moves[index];
        if (topology->ranges[move->range].session == move->session) {
            driver->moves[kept++] = *move;
        }
    }
    /* From the back, so that what is kept is read before its place is written. */
    uint32_t at = count;
    for (uint32_t range = topology->range_count; range-- > 0;) {
        if (topology->ranges[range].stage == TOPOLOGY_STABLE) {
            continue;
        }
        at--;
        if (kept > 0 && driver->moves[kept - 1].range == range) {
            driver->moves[at] = driver->moves[--kept];
        } else {
            driver->moves[at] = (struct driver_move){0};
        }
        driver_move_follow(&driver->moves[at], topology, range, now_ms);
    }
    ASSERT(at == 0);
    ASSERT(kept == 0);
    driver->move_count = count;
    return true;
}

static bool follow(struct driver *driver, uint64_t now_ms)
{
    const struct topology *topology = driver->options.topology;
    if (driver->followed_epoch == topology->stamp.epoch) {
        return true;
    }
    if (!moves_follow(driver, now_ms)) {
        return false;
    }
    driver->followed_epoch = topology->stamp.epoch;
    driver_poll_hurry(driver, now_ms);
    return true;
}

/* ------------------------------------------------------------------ what is due */

static int compare_steps(const void *left, const void *right)
{
    const struct topology_step *a = left;
    const struct topology_step *b = right;
    return (a->range > b->range) - (a->range < b->range);
}

/* Why a range is taken back; after damage, not from one source alone again. */
static void back_note(struct driver *driver, const struct driver_move *move)
{
    const struct topology *topology = driver->options.topology;
    bool asked = topology_range_goes_back(&topology->ranges[move->range]);
    bool corrupt = false;
    for (uint32_t index = 0; index < move->fact_count; index++) {
        corrupt = corrupt || move->facts[index].state.problem == STATUS_CORRUPT;
    }
    if (corrupt && !asked) {
        driver->corrupt[move->range / 8] |= (uint8_t)BIT(move->range % 8);
    }
    log_warn(driver->env, "driver.back", "range=%u session=%llu why=\"%s\"", move->range,
             (unsigned long long)move->session,
             asked     ? "its plan was aborted"
             : corrupt ? "its source is damaged"
                       : "its source or target is gone");
}

static void step_add(struct driver *driver, struct driver_steps *steps,
                     const struct driver_move *move, enum topology_step_type type)
{
    steps->steps[steps->count++] =
        (struct topology_step){.type = type, .range = move->range, .session = move->session};
    steps->finish_count += type != TOPOLOGY_READ_NEW ? 1 : 0;
    if (type == TOPOLOGY_BACK) {
        back_note(driver, move);
    } else if (type == TOPOLOGY_FINISH) {
        driver->corrupt[move->range / 8] &= (uint8_t)~BIT(move->range % 8);
    }
}

/* Steps of operations under way, from the cursor on. */
static void steps_next(struct driver *driver, struct driver_steps *steps)
{
    struct driver_health health = driver_health_of(driver);
    uint32_t first = 0;
    while (first < driver->move_count && driver->moves[first].range < driver->cursor) {
        first++;
    }
    for (uint32_t index = 0; index < driver->move_count && steps->count < driver->batch_max;
         index++) {
        const struct driver_move *move = &driver->moves[(first + index) % driver->move_count];
        struct driver_wait wait = driver_move_next(move, driver->options.topology, &health);
        if (wait.type == DRIVER_WAIT_NONE) {
            step_add(driver, steps, move, wait.step);
        }
    }
}

static void steps_gather(struct driver *driver, struct driver_steps *steps)
{
    steps->count = 0;
    steps->finish_count = 0;
    if (driver->begins_first) {
        driver_begin_choose(driver, steps);
        steps_next(driver, steps);
    } else {
        steps_next(driver, steps);
        driver_begin_choose(driver, steps);
    }
    driver->proposed_range = steps->count > 0 ? steps->steps[0].range : 0;
    qsort(steps->steps, steps->count, sizeof(*steps->steps), compare_steps);
}

/* ------------------------------------------------------------------ proposing */

static void propose(struct driver *driver, struct topology_command *command, uint64_t now_ms)
{
    struct buffer bytes = {0};
    command->request_id = env_random(driver->env);
    topology_command_encode(&bytes, command);
    enum status status = buffer_status(&bytes);
    driver->proposing = true;
    driver->next_ms = now_ms + GATHER_MS;
    driver->proposed_type = command->type;
    if (status == STATUS_OK) {
        status = driver->options.events->propose(driver->options.context, buffer_slice(&bytes));
    }
    if (status != STATUS_OK) {
        driver->proposing = false;
        driver->next_ms = now_ms + RETRY_MS;
    }
    buffer_deinit(&bytes);
}

static void propose_due(struct driver *driver, uint64_t now_ms)
{
    struct topology_command command;
    if (driver_member_command(driver, &command)) {
        propose(driver, &command, now_ms);
        return;
    }
    struct driver_steps steps;
    steps_gather(driver, &steps);
    if (steps.count > 0) {
        command = (struct topology_command){
            .type = TOPOLOGY_STEPS, .steps = steps.steps, .step_count = steps.count};
        log_debug(driver->env, "driver.steps", "count=%u first=%u operations=%u", steps.count,
                  steps.steps[0].range, driver->move_count);
        propose(driver, &command, now_ms);
    }
}

/*
 * What was refused is not asked again as it was. All of a command's steps fall with one, so they
 * are tried in ever smaller parts; and when it is one alone, the others go first.
 */
static void refused(struct driver *driver, enum status status, const char *reason)
{
    log_info(driver->env, "driver.refused", "status=\"%s\" why=\"%s\"", status_name(status),
             reason != NULL ? reason : "");
    if (driver->proposed_type != TOPOLOGY_STEPS) {
        struct driver_node *node = driver_node_of(driver, driver->proposed_node);
        if (node != NULL) {
            node->refused_epoch = driver->options.topology->stamp.epoch;
        }
        return;
    }
    driver->batch_max = driver->batch_max > 1 ? driver->batch_max / 2 : 1;
    driver->cursor = driver->proposed_range + 1;
    driver->begins_first = !driver->begins_first;
}

void driver_proposed(struct driver *driver, enum status status, const char *reason)
{
    ASSERT(driver->proposing);
    driver->proposing = false;
    if (status == STATUS_OK) {
        driver->batch_max = DRIVER_BATCH_COUNT_MAX;
        driver->begins_first = false;
    } else {
        driver->next_ms = env_monotonic_ms(driver->env) + RETRY_MS;
    }
    if (status == STATUS_REFUSED || status == STATUS_STALE) {
        refused(driver, status, reason);
    }
    driver_wake(driver);
}

/* ------------------------------------------------------------------ the timer */

void driver_wake(struct driver *driver)
{
    driver->woken = true;
    if (driver->leads) {
        env_timer_start_ms(driver->env, &driver->timer, 0);
    }
}

static bool is_busy(const struct driver *driver)
{
    const struct topology *topology = driver->options.topology;
    for (uint32_t range = 0; range < topology->range_count; range++) {
        if (topology->ranges[range].stage != TOPOLOGY_STABLE ||
            topology->ranges[range].goal.count > 0) {
            return true;
        }
    }
    return false;
}

static void driver_fired(struct env_timer *timer)
{
    struct driver *driver = container_of(timer, struct driver, timer);
    uint64_t now_ms = env_monotonic_ms(driver->env);
    if (!driver->leads) {
        return;
    }
    driver->woken = false;
    uint64_t wait_ms = IDLE_TICK_MS;
    if (driver->options.topology->cluster_id != 0 && follow(driver, now_ms)) {
        wait_ms = is_busy(driver) ? BUSY_TICK_MS : IDLE_TICK_MS;
        uint64_t due_ms = driver_poll_run(driver, now_ms);
        if (!driver->proposing && now_ms >= driver->next_ms) {
            propose_due(driver, now_ms);
        }
        if (!driver->proposing && driver->next_ms > now_ms && driver->next_ms < due_ms) {
            due_ms = driver->next_ms;
        }
        wait_ms = due_ms - now_ms < wait_ms ? due_ms - now_ms : wait_ms;
    }
    env_timer_start_ms(driver->env, timer, driver->woken ? 0 : wait_ms);
}

/* ------------------------------------------------------------------ events */

void driver_lead(struct driver *driver, bool leads)
{
    if (driver->leads == leads || driver->stopped) {
        return;
    }
    log_info(driver->env, "driver.leads", "leads=%d", leads);
    driver_poll_forget(driver);
    driver->leads = leads;
    driver->move_count = 0;
    driver->followed_epoch = 0;
    driver->led_ms = env_monotonic_ms(driver->env);
    driver->next_ms = 0;
    driver->batch_max = DRIVER_BATCH_COUNT_MAX;
    if (leads) {
        driver_wake(driver);
    } else {
        driver->env->ops->timer_stop(driver->env, &driver->timer);
    }
}

void driver_adopted(struct driver *driver)
{
    driver_wake(driver);
}

void driver_greeted(struct driver *driver, const struct message_hello *hello)
{
    struct driver_node *node = driver_node_of(driver, hello->id);
    if (node != NULL) {
        node->hello = *hello;
        node->greeted = true;
        node->refused_epoch = 0;
        driver_wake(driver);
    }
}

/* ------------------------------------------------------------------ life */

enum status driver_open(struct env *env, const struct driver_options *options,
                        struct driver **opened)
{
    ASSERT(options->moves_max > 0);
    ASSERT(options->streams_max > 0);
    struct driver *driver = memory_allocate_zeroed(1, sizeof(*driver));
    if (driver == NULL) {
        return STATUS_NO_MEMORY;
    }
    driver->env = env;
    driver->options = *options;
    driver->timer.fired = driver_fired;
    *opened = driver;
    return STATUS_OK;
}

void driver_stop(struct driver *driver)
{
    driver_lead(driver, false);
    driver->stopped = true;
}

void driver_close(struct driver *driver)
{
    if (driver == NULL) {
        return;
    }
    for (uint32_t index = 0; index < driver->node_count; index++) {
        memory_free(driver->nodes[index]);
    }
    memory_free(driver->nodes);
    memory_free(driver->moves);
    memory_free(driver->corrupt);
    memory_free(driver);
}

/* ------------------------------------------------------------------ views */

bool driver_leads(const struct driver *driver)
{
    return driver->leads;
}

const struct driver_move *driver_moves(const struct driver *driver, uint32_t *count)
{
    bool followed = driver->followed_epoch == driver->options.topology->stamp.epoch;
    *count = driver->leads && followed ? driver->move_count : 0;
    return driver->moves;
}

struct driver_wait driver_wait_of(const struct driver *driver, const struct driver_move *move)
{
    struct driver_health health = driver_health_of(driver);
    return driver_move_next(move, driver->options.topology, &health);
}

uint32_t driver_held_up_by(const struct driver *driver, uint32_t node)
{
    uint32_t at;
    const struct driver_node *found = node_find(driver, node, &at);
    if (!driver->leads) {
        return 0;
    }
    return node == UINT32_MAX ? driver->crowded_count : found != NULL ? found->held_up_count : 0;
}
