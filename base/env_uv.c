/*
 * base/env_uv.c -- the loop: clocks, chance, log, timers, lanes of jobs, and shutdown.
 *
 * Why own lanes: libuv's pool is shared with name resolution and keeps no order, so a slow lookup
 * could hold back a sync. A lane is a queue with threads of its own.
 * Invariants:
 *  (1) A job lies in exactly one place: a lane's queue, a lane's thread, or one of the lists `done`
 *      and `dropped`; job_count counts all of them.
 *  (2) Whoever makes a list of completions non-empty wakes the loop, which takes whole lists. So a
 *      batch of completions costs one wake-up.
 *  (3) timers[] is a heap by (due_ns, order), and a running timer knows its place in it: its
 *      `implementation` is index + 1. Starting, restarting and stopping allocate nothing but the
 *      growth of the array.
 *  (4) timer_handle is armed no later than the first timer is due; it may fire early, and then
 *      finds nothing due. It counts whole milliseconds, so a timer that is due when it is started
 *      (a delay of 0: the next turn) goes without it: the next poll does not wait, and then it
 *      fires.
 */
#include "base/env_uv.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/env_uv_internal.h"
#include "base/log.h"
#include "base/memory.h"

#define POOL_THREADS_DEFAULT 2
#define POOL_THREADS_MAX 64
#define SEND_QUEUE_BYTES_DEFAULT ((size_t)16 << 20)
#define TIMER_CAPACITY_FIRST 256
#define NS_PER_MS UINT64_C(1000000)
/* Timestamp, level and line break beside the line itself. */
#define LOG_FRAME_SIZE_MAX 64

/* --- clocks, chance, log ---------------------------------------------------------------------- */

static uint64_t env_uv_monotonic_ns(struct env *env)
{
    (void)env;
    return uv_hrtime();
}

static int64_t env_uv_realtime_ms(struct env *env)
{
    (void)env;
    struct timespec now;
    int rc = clock_gettime(CLOCK_REALTIME, &now);
    ASSERT(rc == 0);
    return (int64_t)now.tv_sec * 1000 + (int64_t)now.tv_nsec / 1000000;
}

static enum status random_fill(struct env_uv *env)
{
    ssize_t got;
    do {
        got = getrandom(env->random_values, sizeof(env->random_values), 0);
    } while (got < 0 && errno == EINTR);
    if (got != (ssize_t)sizeof(env->random_values)) {
        return STATUS_IO;
    }
    env->random_left = ENV_RANDOM_COUNT;
    return STATUS_OK;
}

static uint64_t env_uv_random_u64(struct env *base)
{
    struct env_uv *env = env_uv_of(base);
    mutex_lock(&env->random_mutex);
    if (env->random_left == 0) {
        /* env_uv_open() has seen the call work, and it cannot stop working. */
        enum status status = random_fill(env);
        ASSERT(status == STATUS_OK);
    }
    env->random_left--;
    uint64_t value = env->random_values[env->random_left];
    mutex_unlock(&env->random_mutex);
    return value;
}

/* One write, so that lines of several threads and processes never mix. */
static void env_uv_log_write(struct env *base, enum log_level level, struct slice line)
{
    struct env_uv *env = env_uv_of(base);
    if (level > env->log_level) {
        return;
    }
    struct timespec now;
    int rc = clock_gettime(CLOCK_REALTIME, &now);
    ASSERT(rc == 0);
    struct tm utc;
    if (gmtime_r(&now.tv_sec, &utc) == NULL) {
        utc = (struct tm){.tm_mday = 1, .tm_year = 70};
    }
    char text[LOG_FRAME_SIZE_MAX + LOG_LINE_SIZE_MAX];
    size_t size = strftime(text, LOG_FRAME_SIZE_MAX, "%Y-%m-%dT%H:%M:%S", &utc);
    int more = snprintf(text + size, LOG_FRAME_SIZE_MAX - size, ".%03dZ %s ",
                        (int)(now.tv_nsec / 1000000), log_level_name(level));
    ASSERT(more > 0 && (size_t)more < LOG_FRAME_SIZE_MAX - size);
    size += (size_t)more;
    size_t room = sizeof(text) - size - 1;
    size_t line_size = line.size < room ? line.size : room;
    memcpy(text + size, line.data, line_size);
    size += line_size;
    text[size++] = '\n';
    /* A log that cannot be written has nobody to be told. */
    ssize_t written = write(STDERR_FILENO, text, size);
    (void)written;
}

/* --- timers ----------------------------------------------------------------------------------- */

static bool timer_before(const struct env_timer *a, const struct env_timer *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static size_t timer_index(const struct env_timer *timer)
{
    ASSERT(timer->implementation != NULL);
    return (size_t)(uintptr_t)timer->implementation - 1;
}

static void timer_place(struct env_uv *env, struct env_timer *timer, size_t index)
{
    env->timers[index] = timer;
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): an index, which nothing follows. */
    timer->implementation = (void *)(uintptr_t)(index + 1);
}

static void timer_sift_up(struct env_uv *env, struct env_timer *timer, size_t index)
{
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (!timer_before(timer, env->timers[parent])) {
            break;
        }
        timer_place(env, env->timers[parent], index);
        index = parent;
    }
    timer_place(env, timer, index);
}

static void timer_sift_down(struct env_uv *env, struct env_timer *timer, size_t index)
{
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= env->timer_count) {
            break;
        }
        if (child + 1 < env->timer_count &&
            timer_before(env->timers[child + 1], env->timers[child])) {
            child++;
        }
        if (!timer_before(env->timers[child], timer)) {
            break;
        }
        timer_place(env, env->timers[child], index);
        index = child;
    }
    timer_place(env, timer, index);
}

static void timer_take(struct env_uv *env, struct env_timer *timer)
{
    size_t index = timer_index(timer);
    ASSERT(index < env->timer_count);
    ASSERT(env->timers[index] == timer);
    timer->implementation = NULL;
    env->timer_count--;
    struct env_timer *last = env->timers[env->timer_count];
    if (last == timer) {
        return;
    }
    if (index > 0 && timer_before(last, env->timers[(index - 1) / 2])) {
        timer_sift_up(env, last, index);
    } else {
        timer_sift_down(env, last, index);
    }
}

static void timers_fired(uv_timer_t *handle);

static bool timer_is_due(const struct env_uv *env)
{
    return env->timer_count > 0 && env->timers[0]->due_ns <= uv_hrtime();
}

static void timers_arm(struct env_uv *env)
{
    if (env->timer_count == 0) {
        if (env->timer_armed != UINT64_MAX) {
            (void)uv_timer_stop(&env->timer_handle);
            env->timer_armed = UINT64_MAX;
        }
        return;
    }
    uint64_t due_ns = env->timers[0]->due_ns;
    if (due_ns >= env->timer_armed || timer_is_due(env)) {
        return;
    }
    /* The loop counts the same clock in whole milliseconds; rounding up never fires early. */
    uint64_t due_ms = due_ns / NS_PER_MS + (due_ns % NS_PER_MS != 0);
    uint64_t now_ms = uv_now(&env->loop);
    int rc =
        uv_timer_start(&env->timer_handle, timers_fired, due_ms > now_ms ? due_ms - now_ms : 0, 0);
    ASSERT(rc == 0);
    env->timer_armed = due_ns;
}

/* Those that are due and were started before `order`. */
static void timers_run(struct env_uv *env, uint64_t order)
{
    uint64_t now = uv_hrtime();
    while (env->timer_count > 0 && env->timers[0]->due_ns <= now && env->timers[0]->order < order) {
        struct env_timer *timer = env->timers[0];
        timer_take(env, timer);
        env->once_seen = env->once;
        timer->fired(timer);
    }
}

static void timers_fired(uv_timer_t *handle)
{
    struct env_uv *env = handle->data;
    env->timer_armed = UINT64_MAX;
    /* One that is started meanwhile waits for the next turn, or a delay of 0 would never end. */
    timers_run(env, env->turn_order);
    timers_arm(env);
}

/* False if there is no memory. */
static bool timers_reserve(struct env_uv *env)
{
    if (env->timer_count < env->timer_capacity) {
        return true;
    }
    size_t capacity = env->timer_capacity == 0 ? TIMER_CAPACITY_FIRST : env->timer_capacity * 2;
    struct env_timer **timers = memory_resize(env->timers, capacity * sizeof(*timers));
    if (timers == NULL) {
        return false;
    }
    env->timers = timers;
    env->timer_capacity = capacity;
    return true;
}

void env_uv_timer_start(struct env *base, struct env_timer *timer, uint64_t delay_ns)
{
    ASSERT(timer != NULL);
    ASSERT(timer->fired != NULL);
    struct env_uv *env = env_uv_of(base);
    if (env->closing) {
        return;
    }
    if (timer->implementation != NULL) {
        timer_take(env, timer);
    }
    /* A program whose time-outs never come would hang in odd places; better to stop here. */
    bool reserved = timers_reserve(env);
    ASSERT(reserved);
    uint64_t now = uv_hrtime();
    timer->due_ns = delay_ns > UINT64_MAX - 1 - now ? UINT64_MAX - 1 : now + delay_ns;
    timer->order = env->timer_order++;
    env->timer_count++;
    timer_sift_up(env, timer, env->timer_count - 1);
    timers_arm(env);
}

void env_uv_timer_stop(struct env *base, struct env_timer *timer)
{
    ASSERT(timer != NULL);
    struct env_uv *env = env_uv_of(base);
    if (timer->implementation == NULL) {
        return;
    }
    timer_take(env, timer);
    if (env->timer_count == 0 && !env->closing) {
        timers_arm(env);
    }
}

static void timers_drop(struct env_uv *env)
{
    for (size_t index = 0; index < env->timer_count; index++) {
        env->timers[index]->implementation = NULL;
    }
    env->timer_count = 0;
}

/* --- jobs and posts --------------------------------------------------------------------------- */

/* Adds to one of the lists of completions. */
static void env_uv_wake(struct env_uv *env, struct list_node *list, struct list_node *node)
{
    uv_mutex_lock(&env->wake_mutex);
    bool first = list_empty(&env->done) && list_empty(&env->dropped) && list_empty(&env->posts);
    list_append(list, node);
    if (first && !env->wake_closed) {
        /* Under the mutex, so that the handle cannot be closed in between. */
        int rc = uv_async_send(&env->wake);
        ASSERT(rc == 0);
    }
    uv_mutex_unlock(&env->wake_mutex);
}

static void lane_run(void *argument)
{
    struct lane_uv *lane = argument;
    for (;;) {
        uv_sem_wait(&lane->work); /* One of each job and of each thread's end. */
        uv_mutex_lock(&lane->mutex);
        struct list_node *node = list_take_first(&lane->queue);
        uv_mutex_unlock(&lane->mutex);
        if (node == NULL) {
            break; /* lane_stop() took the queue. */
        }
        struct env_job *job = container_of(node, struct env_job, node);
        job->run(job);
        env_uv_wake(lane->env, &lane->env->done, &job->node);
    }
}

static void env_uv_job_submit(struct env *base, enum env_lane lane_name, struct env_job *job)
{
    ASSERT(job != NULL);
    ASSERT(job->run != NULL);
    ASSERT(job->done != NULL);
    struct env_uv *env = env_uv_of(base);
    struct lane_uv *lane = lane_name == ENV_LANE_WAL ? &env->wal : &env->pool;
    (void)atomic_fetch_add_explicit(&env->job_count, 1, memory_order_relaxed);
    uv_mutex_lock(&lane->mutex);
    bool stopping = lane->stopping;
    if (!stopping) {
        list_append(&lane->queue, &job->node);
    }
    uv_mutex_unlock(&lane->mutex);
    if (stopping) {
        env_uv_wake(env, &env->dropped, &job->node);
    } else {
        uv_sem_post(&lane->work); /* Who wakes finds the mutex free. */
    }
}

static void jobs_finish(struct env_uv *env, struct list_node *jobs, enum status status)
{
    for (struct list_node *node; (node = list_take_first(jobs)) != NULL;) {
        struct env_job *job = container_of(node, struct env_job, node);
        (void)atomic_fetch_sub_explicit(&env->job_count, 1, memory_order_relaxed);
        job->done(job, status);
    }
}

/* Tells all that is to be told; false if there was nothing. */
static bool completions_run(struct env_uv *env)
{
    struct list_node done;
    struct list_node dropped;
    struct list_node posts;
    uv_mutex_lock(&env->wake_mutex);
    list_move(&env->done, &done);
    list_move(&env->dropped, &dropped);
    list_move(&env->posts, &posts);
    uv_mutex_unlock(&env->wake_mutex);
    if (list_empty(&done) && list_empty(&dropped) && list_empty(&posts)) {
        return false;
    }
    jobs_finish(env, &done, STATUS_OK);
    jobs_finish(env, &dropped, STATUS_CANCELLED);
    for (struct list_node *node; (node = list_take_first(&posts)) != NULL;) {
        struct env_uv_post *post = container_of(node, struct env_uv_post, node);
        post->run(post);
    }
    return true;
}

static void wake_done(uv_async_t *handle)
{
    (void)completions_run(handle->data);
}

void env_uv_post(struct env *base, struct env_uv_post *post)
{
    ASSERT(post != NULL);
    ASSERT(post->run != NULL);
    struct env_uv *env = env_uv_of(base);
    env_uv_wake(env, &env->posts, &post->node);
}

static enum status lane_start(struct lane_uv *lane, struct env_uv *env, unsigned thread_count)
{
    *lane = (struct lane_uv){.env = env};
    list_init(&lane->queue);
    int rc = uv_mutex_init(&lane->mutex);
    ASSERT(rc == 0);
    rc = uv_sem_init(&lane->work, 0);
    ASSERT(rc == 0);
    lane->threads = memory_allocate_zeroed(thread_count, sizeof(*lane->threads));
    if (lane->threads == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (unsigned index = 0; index < thread_count; index++) {
        rc = uv_thread_create(&lane->threads[index], lane_run, lane);
        if (rc != 0) {
            log_error(&env->base, "env.thread", "error=%s", uv_err_name(rc));
            return STATUS_NO_MEMORY;
        }
        lane->thread_count++;
    }
    return STATUS_OK;
}

/* Queued jobs are dropped, running ones waited for. */
static void lane_stop(struct lane_uv *lane)
{
    if (lane->env == NULL) {
        return; /* Never started. */
    }
    struct list_node queued;
    uv_mutex_lock(&lane->mutex);
    lane->stopping = true;
    list_move(&lane->queue, &queued);
    uv_mutex_unlock(&lane->mutex);
    for (unsigned index = 0; index < lane->thread_count; index++) {
        uv_sem_post(&lane->work);
    }
    for (struct list_node *node; (node = list_take_first(&queued)) != NULL;) {
        env_uv_wake(lane->env, &lane->env->dropped, node);
    }
    for (unsigned index = 0; index < lane->thread_count; index++) {
        int rc = uv_thread_join(&lane->threads[index]);
        ASSERT(rc == 0);
    }
    lane->thread_count = 0;
}

static void lane_deinit(struct lane_uv *lane)
{
    if (lane->env == NULL) {
        return;
    }
    ASSERT(list_empty(&lane->queue));
    memory_free(lane->threads);
    uv_sem_destroy(&lane->work);
    uv_mutex_destroy(&lane->mutex);
}

/* --- the loop --------------------------------------------------------------------------------- */

/* Jobs on their way keep the loop alive; waiting for posts alone does not. */
static void wake_ref(struct env_uv *env)
{
    if (atomic_load_explicit(&env->job_count, memory_order_relaxed) > 0) {
        uv_ref((uv_handle_t *)&env->wake);
    } else {
        uv_unref((uv_handle_t *)&env->wake);
    }
}

static void again_done(uv_idle_t *handle)
{
    (void)handle; /* That it runs is enough: the poll does not wait. */
}

static void turn_end(struct env_uv *env)
{
    bool again = net_uv_turn_end(env) || env->once_seen || timer_is_due(env);
    env->once_seen = false;
    if (again) {
        int rc = uv_idle_start(&env->again, again_done);
        ASSERT(rc == 0);
    } else {
        (void)uv_idle_stop(&env->again);
    }
    wake_ref(env);
}

static void before_poll_done(uv_prepare_t *handle)
{
    struct env_uv *env = handle->data;
    env->turn_order = env->timer_order;
    turn_end(env);
}

static void after_poll_done(uv_check_t *handle)
{
    struct env_uv *env = handle->data;
    timers_run(env, env->turn_order);
    timers_arm(env);
    turn_end(env);
}

void env_uv_run(struct env *base)
{
    struct env_uv *env = env_uv_of(base);
    do {
        turn_end(env);
        (void)uv_run(&env->loop, UV_RUN_DEFAULT);
        /* Callbacks of closing handles run last, and what they ask for must not be missed. */
        turn_end(env);
    } while (!env->stopped && uv_loop_alive(&env->loop) != 0);
    env->stopped = false;
}

void env_uv_run_once(struct env *base)
{
    struct env_uv *env = env_uv_of(base);
    env->once = true;
    wake_ref(env);
    (void)uv_run(&env->loop, UV_RUN_ONCE);
    turn_end(env);
    env->once = false;
    env->once_seen = false;
    env->stopped = false;
}

void env_uv_stop(struct env *base)
{
    struct env_uv *env = env_uv_of(base);
    env->stopped = true;
    uv_stop(&env->loop);
}

static void terminate_received(uv_signal_t *handle, int number)
{
    (void)number;
    struct env_uv *env = handle->data;
    env->terminate(env->terminate_context);
}

void env_uv_on_terminate(struct env *base, void (*received)(void *context), void *context)
{
    ASSERT(received != NULL);
    struct env_uv *env = env_uv_of(base);
    env->terminate = received;
    env->terminate_context = context;
    static const int numbers[] = {SIGINT, SIGTERM};
    STATIC_ASSERT(ARRAY_COUNT(numbers) == ARRAY_COUNT(env->signals), "a handle per signal");
    for (size_t index = 0; index < ARRAY_COUNT(numbers); index++) {
        int rc = uv_signal_start(&env->signals[index], terminate_received, numbers[index]);
        ASSERT(rc == 0);
        /* A program that has nothing else to wait for does not wait for a signal. */
        uv_unref((uv_handle_t *)&env->signals[index]);
    }
}

/* --- open and close --------------------------------------------------------------------------- */

static const struct env_ops *env_uv_ops(struct env_uv *env)
{
    struct env_ops *ops = &env->ops;
    ops->monotonic_ns = env_uv_monotonic_ns;
    ops->realtime_ms = env_uv_realtime_ms;
    ops->random_u64 = env_uv_random_u64;
    ops->log_write = env_uv_log_write;
    ops->timer_start = env_uv_timer_start;
    ops->timer_stop = env_uv_timer_stop;
    ops->job_submit = env_uv_job_submit;
    file_uv_ops(ops);
    net_uv_ops(ops);
    return ops;
}

/* Initialising a handle that is no stream only links it into the loop. */
static void handles_init(struct env_uv *env)
{
    int rc = uv_timer_init(&env->loop, &env->timer_handle);
    ASSERT(rc == 0);
    env->timer_handle.data = env;
    env->timer_armed = UINT64_MAX;
    rc = uv_prepare_init(&env->loop, &env->before_poll);
    ASSERT(rc == 0);
    env->before_poll.data = env;
    rc = uv_prepare_start(&env->before_poll, before_poll_done);
    ASSERT(rc == 0);
    uv_unref((uv_handle_t *)&env->before_poll);
    rc = uv_check_init(&env->loop, &env->after_poll);
    ASSERT(rc == 0);
    env->after_poll.data = env;
    rc = uv_check_start(&env->after_poll, after_poll_done);
    ASSERT(rc == 0);
    uv_unref((uv_handle_t *)&env->after_poll);
    rc = uv_idle_init(&env->loop, &env->again);
    ASSERT(rc == 0);
    env->again.data = env;
}

/* These two take descriptors. */
static int handles_open(struct env_uv *env)
{
    int rc = uv_async_init(&env->loop, &env->wake, wake_done);
    if (rc != 0) {
        return rc;
    }
    env->wake.data = env;
    for (size_t index = 0; index < ARRAY_COUNT(env->signals); index++) {
        rc = uv_signal_init(&env->loop, &env->signals[index]);
        if (rc != 0) {
            return rc;
        }
        env->signals[index].data = env;
    }
    return 0;
}

static enum status loop_open(struct env_uv *env)
{
    int rc = uv_loop_init(&env->loop);
    if (rc != 0) {
        log_error(&env->base, "env.loop", "error=%s", uv_err_name(rc));
        return STATUS_IO;
    }
    env->loop_open = true;
    handles_init(env);
    rc = handles_open(env);
    if (rc != 0) {
        log_error(&env->base, "env.loop", "error=%s", uv_err_name(rc));
        return STATUS_IO;
    }
    return STATUS_OK;
}

static void handle_close(uv_handle_t *handle, void *argument)
{
    (void)argument;
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

/* All handles that are left, and everything their callbacks still ask for. */
static void loop_close(struct env_uv *env)
{
    uv_walk(&env->loop, handle_close, NULL);
    do {
        (void)uv_run(&env->loop, UV_RUN_DEFAULT);
    } while (completions_run(env) || uv_loop_alive(&env->loop) != 0);
    int rc = uv_loop_close(&env->loop);
    ASSERT(rc == 0);
}

enum status env_uv_open(const struct env_uv_options *options, struct env **env_out)
{
    ASSERT(options != NULL);
    ASSERT(options->pool_threads <= POOL_THREADS_MAX);
    struct env_uv *env = memory_allocate_zeroed(1, sizeof(*env));
    if (env == NULL) {
        return STATUS_NO_MEMORY;
    }
    env->base.ops = env_uv_ops(env);
    env->log_level = options->log_level;
    env->send_queue_bytes_max = options->send_queue_bytes_max != 0 ? options->send_queue_bytes_max
                                                                   : SEND_QUEUE_BYTES_DEFAULT;
    list_init(&env->done);
    list_init(&env->dropped);
    list_init(&env->posts);
    net_uv_init(env);
    mutex_init(&env->random_mutex);
    int rc = uv_mutex_init(&env->wake_mutex);
    ASSERT(rc == 0);
    /* A write to a connection whose peer is gone is an error code, not the end of the program. */
    (void)signal(SIGPIPE, SIG_IGN);
    enum status status = random_fill(env);
    if (status == STATUS_OK) {
        status = loop_open(env);
    }
    if (status == STATUS_OK) {
        status = lane_start(&env->wal, env, 1);
    }
    if (status == STATUS_OK) {
        unsigned threads = options->pool_threads;
        status = lane_start(&env->pool, env, threads != 0 ? threads : POOL_THREADS_DEFAULT);
    }
    if (status != STATUS_OK) {
        env_uv_close(&env->base);
        return status;
    }
    *env_out = &env->base;
    return STATUS_OK;
}

/* Also of an env that was opened in part. */
void env_uv_end(struct env *base)
{
    ASSERT(base != NULL);
    struct env_uv *env = env_uv_of(base);
    if (env->ended) {
        return;
    }
    env->ended = true;
    env->closing = true;
    lane_stop(&env->wal);
    lane_stop(&env->pool);
    if (env->loop_open) {
        while (completions_run(env)) {
            /* What is told may drop further jobs. */
        }
        timers_drop(env);
        net_uv_close_all(env);
        uv_mutex_lock(&env->wake_mutex);
        env->wake_closed = true;
        uv_mutex_unlock(&env->wake_mutex);
        loop_close(env);
    }
    ASSERT(atomic_load(&env->job_count) == 0);
}

void env_uv_close(struct env *base)
{
    env_uv_end(base);
    struct env_uv *env = env_uv_of(base);
    lane_deinit(&env->wal);
    lane_deinit(&env->pool);
    uv_mutex_destroy(&env->wake_mutex);
    mutex_deinit(&env->random_mutex);
    memory_free(env->timers);
    memory_free(env);
}
