/*
 * lsm/pace.c -- how fast answers of writes leave, by how far flushes and merges are behind.
 *
 * Invariants:
 *  (1) Each answer that was held is told exactly once, in the order in which they came.
 *  (2) While there is any, a timer runs, or the engine stops, or the env has ended: then lsm_close
 *      tells it.
 *  (3) Each leaves at most a second (and a tick) after the one before it, however large that was.
 *  (4) The rate depends on the engine's state alone, and is computed anew for each group and tick:
 *      there is no feedback that could swing. The debt settles where the rate is what flushes and
 *      merges can do.
 *
 * Source: Luo, Carey, "On Performance Stability in LSM-based Storage Systems", VLDB 2020: bound the
 * rate, do not stop. Changed: no rate is configured or learnt; debt gives it, halving by steps.
 */
#include "lsm/pace.h"

#include "base/contract.h"
#include "lsm/engine.h"
#include "lsm/mutant.h"

#define NS_PER_S UINT64_C(1000000000)
#define BURST_NS (UINT64_C(2000000) * PACE_TICK_MS) /* What was not used counts so long. */

/* How far `value` is from `first` to `last`, in PACE_ONE. */
static uint64_t share_of(uint64_t value, uint64_t first, uint64_t last)
{
    if (value <= first) {
        return 0;
    }
    if (value >= last) {
        return PACE_ONE;
    }
    uint64_t span = last - first;
    uint64_t part = value - first;
    return span > UINT64_MAX / PACE_ONE ? part / (span / PACE_ONE) : part * PACE_ONE / span;
}

static uint64_t tables_share(const struct pace_load *load)
{
    uint64_t runs = share_of(load->run_count, PACE_RUNS_FIRST, PACE_RUNS_LAST);
    uint64_t bytes =
        share_of(load->debt, load->unit * PACE_UNITS_FIRST, load->unit * PACE_UNITS_LAST);
    return runs > bytes ? runs : bytes;
}

uint64_t pace_rate(const struct pace_load *load)
{
    ASSERT(load->unit > 0);
    uint64_t share = share_of(load->waiting, PACE_WAITING_FIRST, PACE_WAITING_LAST);
    uint64_t used = load->room < PACE_ONE ? PACE_ONE - load->room : 0;
    uint64_t room = share_of(used, PACE_ONE - PACE_ROOM_FIRST, PACE_ONE - PACE_ROOM_LAST);
    uint64_t tables = tables_share(load);
    share = room > share ? room : share;
    share = tables > share ? tables : share;
    if (share == 0) {
        return 0;
    }
    uint64_t halvings = share * PACE_HALVING_COUNT; /* In PACE_ONE; straight between two. */
    uint64_t rate = PACE_RATE_MAX >> (halvings / PACE_ONE);
    return rate - rate / 2 * (halvings % PACE_ONE) / PACE_ONE;
}

static uint64_t fraction(uint64_t part, uint64_t whole)
{
    return part >= whole ? PACE_ONE : part * PACE_ONE / whole;
}

static void memtables_load_locked(const struct lsm *lsm, struct pace_load *load)
{
    const struct sources *sources = lsm->sources;
    const struct memtable *active = sources->active;
    uint64_t full = fraction(atomic_load_explicit(&active->size, memory_order_relaxed),
                             lsm->options.memtable_size);
    uint64_t logged = fraction(lsm->wal.position - active->log_start,
                               LSM_MEMTABLE_SEGMENT_COUNT * lsm->options.wal_segment_size);
    uint64_t count = sources->frozen_count * PACE_ONE + (full > logged ? full : logged);
    uint64_t count_max = (lsm->frozen_count_max + 1) * PACE_ONE;
    load->room = count < count_max ? count_max - count : 0;
    const struct flush *flush = &lsm->flush;
    if (sources->frozen_count > 0 && flush->memtable == sources->frozen[0]) {
        uint64_t keys = atomic_load_explicit(&flush->memtable->key_count, memory_order_relaxed);
        count -= fraction(flush->flushed_count, keys); /* One that is frozen has keys. */
    }
    load->waiting = count <= PACE_ONE ? 0 : (count - PACE_ONE) / lsm->frozen_count_max;
}

/* Sets are looked at once, memtables only when so many are frozen that it may matter. */
static bool is_in_debt_locked(struct lsm *lsm)
{
    struct pace *pace = &lsm->pace;
    const struct sources *sources = lsm->sources;
    const struct table_set *set = sources->tables;
    if (set->number != pace->set_number) {
        pace->set_number = set->number;
        pace->tables.run_count = set->run_count;
        pace->tables.debt = compaction_burden_locked(lsm, set, &pace->tables.unit);
        pace->tables_in_debt = tables_share(&pace->tables) > 0;
    }
    /* With the active one full, one more than are frozen. */
    uint64_t waiting_max = sources->frozen_count * PACE_ONE;
    return waiting_max > lsm->frozen_count_max * PACE_WAITING_FIRST || pace->tables_in_debt;
}

static uint64_t rate_locked(struct lsm *lsm)
{
    if (lsm->stopping || lsm->failed || lsm->cancelled || !is_in_debt_locked(lsm)) {
        return 0;
    }
    struct pace_load load = lsm->pace.tables;
    memtables_load_locked(lsm, &load);
    return pace_rate(&load);
}

/* One that leaves keeps the next from doing so for a while. */
static void answer_charge(struct pace *pace, const struct lsm_write *write, uint64_t now_ns,
                          uint64_t rate)
{
    uint64_t cost_ns = write->paced_size * NS_PER_S / rate;
    if (pace->next_ns + BURST_NS < now_ns) {
        pace->next_ns = now_ns - BURST_NS;
    }
    pace->next_ns += cost_ns < NS_PER_S ? cost_ns : NS_PER_S;
}

static void held_time_count(struct lsm *lsm, uint64_t now_ns)
{
    struct pace *pace = &lsm->pace;
    lsm->stats.stall_ns += pace->held_count * (now_ns - pace->stall_ns);
    pace->stall_ns = now_ns;
}

static void held_take_all(struct pace *pace, struct list_node *answered)
{
    struct list_node *node = NULL;
    while ((node = list_take_first(&pace->held)) != NULL) {
        list_append(answered, node);
    }
    pace->held_count = 0;
    pace->next_ns = 0;
}

/* Those whose time has come go to `answered`. */
static void held_release_locked(struct lsm *lsm, uint64_t now_ns, uint64_t rate,
                                struct list_node *answered)
{
    struct pace *pace = &lsm->pace;
    if (rate == 0) {
        held_take_all(pace, answered);
        return;
    }
    while (!list_empty(&pace->held) && pace->next_ns <= now_ns) {
        struct list_node *node = list_take_first(&pace->held);
        answer_charge(pace, container_of(node, struct lsm_write, node), now_ns, rate);
        pace->held_count--;
        list_append(answered, node);
    }
    if (!list_empty(&pace->held) && !pace->timer_running && !LSM_MUTANT(PACE_FORGETS)) {
        pace->timer_running = true;
        env_timer_start_ms(lsm->env, &pace->timer, PACE_TICK_MS);
    }
}

void pace_pass_locked(struct lsm *lsm, struct list_node *answered)
{
    struct pace *pace = &lsm->pace;
    uint64_t rate = rate_locked(lsm);
    if (rate == 0 && list_empty(&pace->held)) {
        return;
    }
    uint64_t now_ns = env_monotonic_ns(lsm->env);
    held_time_count(lsm, now_ns);
    uint64_t added = 0;
    list_for_each (node, following, answered) {
        if (!container_of(node, struct lsm_write, node)->vital) {
            list_remove(node);
            list_append(&pace->held, node);
            added++;
        }
    }
    pace->held_count += added;
    held_release_locked(lsm, now_ns, rate, answered);
    lsm->stats.stall_count += added < pace->held_count ? added : pace->held_count;
}

void pace_end_locked(struct lsm *lsm, struct list_node *answered)
{
    struct pace *pace = &lsm->pace;
    if (list_empty(&pace->held)) {
        return;
    }
    held_time_count(lsm, env_monotonic_ns(lsm->env));
    held_take_all(pace, answered);
}

static void timer_fired(struct env_timer *timer)
{
    struct pace *pace = container_of(timer, struct pace, timer);
    struct lsm *lsm = container_of(pace, struct lsm, pace);
    struct list_node answered;
    list_init(&answered);
    mutex_lock(&lsm->mutex);
    pace->timer_running = false;
    uint64_t now_ns = env_monotonic_ns(lsm->env);
    held_time_count(lsm, now_ns);
    held_release_locked(lsm, now_ns, rate_locked(lsm), &answered);
    mutex_unlock(&lsm->mutex);
    commit_tell(&answered, STATUS_OK);
}

void pace_stop_locked(struct lsm *lsm)
{
    lsm->env->ops->timer_stop(lsm->env, &lsm->pace.timer);
    lsm->pace.timer_running = false;
}

void pace_stats_locked(struct lsm *lsm, struct lsm_stats *stats)
{
    uint64_t now_ns = env_monotonic_ns(lsm->env);
    stats->pace_rate = rate_locked(lsm);
    stats->stalled_count = lsm->pace.held_count;
    stats->stall_ns += lsm->pace.held_count * (now_ns - lsm->pace.stall_ns);
}

void pace_init(struct lsm *lsm)
{
    lsm->pace.timer.fired = timer_fired;
    lsm->pace.set_number = UINT64_MAX; /* None was looked at. */
    list_init(&lsm->pace.held);
}
