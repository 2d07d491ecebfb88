/* tests/unit/test_env_uv.c -- clocks, timers, lanes, posts and shutdown of the real env. */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/env_uv.h"
#include "base/prng.h"

#define EVENTS_MAX 4096

TestSuite(env_uv, .timeout = 60);

static struct env *env_new(unsigned pool_threads)
{
    struct env *env = NULL;
    struct env_uv_options options = {.pool_threads = pool_threads, .log_level = LOG_INFO};
    cr_assert_eq(env_uv_open(&options, &env), STATUS_OK);
    return env;
}

/* What happened, in order. */
struct journal {
    int events[EVENTS_MAX];
    size_t count;
};

static void journal_add(struct journal *journal, int event)
{
    cr_assert_lt(journal->count, EVENTS_MAX);
    journal->events[journal->count++] = event;
}

/* --- timers --- */

struct alarm {
    struct env_timer timer;
    struct env *env;
    struct journal *journal;
    int number;
    uint64_t due_ns;
    unsigned again; /* Restarts with no delay this many times. */
    struct env_timer *stops;
};

static void alarm_fired(struct env_timer *timer)
{
    struct alarm *alarm = container_of(timer, struct alarm, timer);
    cr_assert_null(timer->implementation, "stopped by the time it fires");
    cr_assert_geq(env_monotonic_ns(alarm->env), alarm->due_ns, "fired early");
    journal_add(alarm->journal, alarm->number);
    if (alarm->stops != NULL) {
        alarm->env->ops->timer_stop(alarm->env, alarm->stops);
    }
    if (alarm->again > 0) {
        alarm->again--;
        alarm->env->ops->timer_start(alarm->env, timer, 0);
    }
}

static void alarm_start(struct alarm *alarm, struct env *env, uint64_t delay_ms)
{
    alarm->timer.fired = alarm_fired;
    alarm->env = env;
    alarm->due_ns = env_monotonic_ns(env) + delay_ms * 1000000;
    env_timer_start_ms(env, &alarm->timer, delay_ms);
}

Test(env_uv, timers_fire_in_order_of_time_and_then_of_start)
{
    struct env *env = env_new(1);
    struct journal journal = {0};
    static const uint64_t delays[] = {30, 10, 20, 0, 10, 40};
    struct alarm alarms[ARRAY_COUNT(delays)] = {0};
    for (size_t index = 0; index < ARRAY_COUNT(delays); index++) {
        alarms[index] = (struct alarm){.journal = &journal, .number = (int)index};
        alarm_start(&alarms[index], env, delays[index]);
    }
    cr_assert_eq(journal.count, 0, "never inside timer_start");
    env_uv_run(env);
    static const int expected[] = {3, 1, 4, 2, 0, 5};
    cr_assert_arr_eq(journal.events, expected, sizeof(expected));
    env_uv_close(env);
}

Test(env_uv, a_restarted_timer_counts_from_now_and_a_stopped_one_never_fires)
{
    struct env *env = env_new(1);
    struct journal journal = {0};
    struct alarm alarms[4] = {0};
    for (int index = 0; index < 4; index++) {
        alarms[index] = (struct alarm){.journal = &journal, .number = index};
        alarm_start(&alarms[index], env, 10 + (uint64_t)index);
    }
    alarm_start(&alarms[0], env, 60); /* Later than all. */
    alarm_start(&alarms[3], env, 1);  /* Earlier than all. */
    env->ops->timer_stop(env, &alarms[1].timer);
    env->ops->timer_stop(env, &alarms[1].timer); /* Harmless. */
    alarms[3].stops = &alarms[2].timer;          /* Stopped by another's event. */
    env_uv_run(env);
    cr_assert_eq(journal.count, 2);
    cr_assert_eq(journal.events[0], 3);
    cr_assert_eq(journal.events[1], 0);
    env_uv_close(env);
}

static void posted_stop(struct env_uv_post *post);

struct stop_post {
    struct env_uv_post post;
    struct env *env;
};

static void posted_stop(struct env_uv_post *post)
{
    env_uv_stop(container_of(post, struct stop_post, post)->env);
}

Test(env_uv, a_timer_without_delay_does_not_starve_the_loop)
{
    struct env *env = env_new(1);
    struct journal journal = {0};
    struct alarm alarm = {.journal = &journal, .again = EVENTS_MAX - 2};
    alarm_start(&alarm, env, 0);
    struct stop_post stop = {.post.run = posted_stop, .env = env};
    env_uv_post(env, &stop.post);
    env_uv_run(env);
    cr_assert_lt(journal.count, EVENTS_MAX - 2, "the post waited for %zu timers", journal.count);
    env_uv_close(env);
}

/* Thousands of timers, started, restarted and stopped at random, against a model. */
Test(env_uv, many_timers_fire_exactly_if_not_stopped)
{
    struct env *env = env_new(1);
    static struct alarm alarms[2000];
    static struct journal journal;
    static bool expected[ARRAY_COUNT(alarms)];
    struct prng prng;
    prng_init(&prng, 7);
    for (int step = 0; step < 20000; step++) {
        size_t index = prng_below(&prng, ARRAY_COUNT(alarms));
        alarms[index].journal = &journal;
        alarms[index].number = (int)index;
        expected[index] = !prng_chance(&prng, 1, 4);
        if (expected[index]) {
            alarm_start(&alarms[index], env, prng_below(&prng, 50));
        } else {
            env->ops->timer_stop(env, &alarms[index].timer);
        }
    }
    env_uv_run(env);
    uint64_t due_ns = 0;
    for (size_t at = 0; at < journal.count; at++) {
        struct alarm *alarm = &alarms[journal.events[at]];
        cr_assert(expected[journal.events[at]], "alarm %d, seed 7", journal.events[at]);
        expected[journal.events[at]] = false;
        cr_assert_geq(alarm->timer.due_ns, due_ns, "order at %zu, seed 7", at);
        due_ns = alarm->timer.due_ns;
    }
    for (size_t index = 0; index < ARRAY_COUNT(alarms); index++) {
        cr_assert(!expected[index], "alarm %zu never fired, seed 7", index);
    }
    env_uv_close(env);
}

Test(env_uv, run_once_returns_after_a_timer_that_was_due)
{
    struct env *env = env_new(1);
    struct journal journal = {0};
    struct alarm soon = {.journal = &journal, .number = 1};
    struct alarm late = {.journal = &journal, .number = 2};
    alarm_start(&late, env, 50000);
    alarm_start(&soon, env, 1);
    while (journal.count == 0) {
        env_uv_run_once(env);
    }
    cr_assert_eq(journal.events[0], 1);
    env_uv_close(env); /* Drops the other. */
    cr_assert_eq(journal.count, 1);
    cr_assert_null(late.timer.implementation);
}

/* --- jobs --- */

struct work {
    struct env_job job;
    struct env *env;
    struct journal *ran;  /* Written on the lane. */
    struct journal *done; /* Written on the loop. */
    int number;
    sem_t *started; /* Posted by run, if given. */
    sem_t *gate;    /* Waited for by run, if given. */
    pthread_t runner;
    enum status status;
    unsigned done_count;
    struct work *then; /* Submitted by done, if given. */
};

static void work_run(struct env_job *job)
{
    struct work *work = container_of(job, struct work, job);
    work->runner = pthread_self();
    if (work->ran != NULL) {
        journal_add(work->ran, work->number);
    }
    if (work->started != NULL) {
        sem_post(work->started);
    }
    if (work->gate != NULL) {
        sem_wait(work->gate);
    }
}

static void work_done(struct env_job *job, enum status status)
{
    struct work *work = container_of(job, struct work, job);
    work->status = status;
    work->done_count++;
    journal_add(work->done, work->number);
    if (work->then != NULL) {
        env_submit(work->env, ENV_LANE_POOL, &work->then->job);
    }
}

static struct work work_make(struct env *env, int number, struct journal *done)
{
    return (struct work){.job = {.run = work_run, .done = work_done},
                         .env = env,
                         .number = number,
                         .done = done,
                         .status = STATUS_INVALID};
}

Test(env_uv, the_wal_lane_is_one_thread_and_keeps_the_order)
{
    struct env *env = env_new(2);
    static struct work works[1000];
    static struct journal ran;
    static struct journal done;
    for (int index = 0; index < 1000; index++) {
        works[index] = work_make(env, index, &done);
        works[index].ran = &ran;
        env_submit(env, ENV_LANE_WAL, &works[index].job);
    }
    cr_assert_eq(done.count, 0, "never inside job_submit");
    env_uv_run(env); /* Ends by itself once all jobs are done. */
    cr_assert_eq(ran.count, 1000);
    cr_assert_eq(done.count, 1000);
    for (int index = 0; index < 1000; index++) {
        cr_assert_eq(ran.events[index], index);
        cr_assert_eq(done.events[index], index);
        cr_assert_eq(works[index].status, STATUS_OK);
        cr_assert(pthread_equal(works[index].runner, works[0].runner) != 0);
    }
    cr_assert(pthread_equal(works[0].runner, pthread_self()) == 0);
    env_uv_close(env);
}

/* Both wait inside run until the other has started, so both must be running. */
Test(env_uv, the_pool_runs_jobs_side_by_side_and_apart_from_the_wal_lane)
{
    struct env *env = env_new(2);
    struct journal done = {0};
    sem_t started;
    sem_t gate;
    sem_init(&started, 0, 0);
    sem_init(&gate, 0, 0);
    struct work works[3];
    for (int index = 0; index < 3; index++) {
        works[index] = work_make(env, index, &done);
        works[index].started = &started;
        works[index].gate = &gate;
        env_submit(env, index == 0 ? ENV_LANE_WAL : ENV_LANE_POOL, &works[index].job);
    }
    for (int index = 0; index < 3; index++) {
        sem_wait(&started);
    }
    for (int index = 0; index < 3; index++) {
        sem_post(&gate);
    }
    env_uv_run(env);
    cr_assert_eq(done.count, 3);
    env_uv_close(env);
}

Test(env_uv, close_cancels_queued_jobs_and_waits_for_running_ones)
{
    struct env *env = env_new(1);
    struct journal done = {0};
    sem_t started;
    sem_t gate;
    sem_init(&started, 0, 0);
    sem_init(&gate, 0, 1); /* Goes on at once: close does not depend on anyone else. */
    static struct work works[20];
    struct work after = work_make(env, 99, &done);
    struct work blocked = work_make(env, 98, &done);
    sem_t later;
    sem_init(&later, 0, 0);
    blocked.started = &started;
    blocked.gate = &gate;
    env_submit(env, ENV_LANE_POOL, &blocked.job);
    sem_wait(&started);
    for (int index = 0; index < 20; index++) {
        works[index] = work_make(env, index, &done);
        env_submit(env, index % 2 == 0 ? ENV_LANE_POOL : ENV_LANE_WAL, &works[index].job);
    }
    works[19].then = &after; /* Submitted while closing: cancelled too, or run if it was. */
    env_uv_close(env);
    cr_assert_eq(blocked.status, STATUS_OK);
    cr_assert_eq(blocked.done_count, 1);
    cr_assert_eq(after.status, STATUS_CANCELLED);
    cr_assert_eq(after.done_count, 1);
    for (int index = 0; index < 20; index++) {
        cr_assert_eq(works[index].done_count, 1, "job %d", index);
        cr_assert(works[index].status == STATUS_OK || works[index].status == STATUS_CANCELLED);
    }
    cr_assert_eq(done.count, 22);
}

struct opener {
    sem_t *gate;
};

static void *gate_open_later(void *argument)
{
    struct opener *opener = argument;
    struct timespec delay = {.tv_nsec = 50 * 1000 * 1000};
    nanosleep(&delay, NULL); /* Only so that close is likely to be waiting by then. */
    sem_post(opener->gate);
    return NULL;
}

/* The pool's one thread is held while close begins, so what queues behind it cannot have run. */
Test(env_uv, a_job_queued_behind_a_running_one_is_cancelled_at_close)
{
    struct env *env = env_new(1);
    struct journal done = {0};
    struct journal ran = {0};
    sem_t started;
    sem_t gate;
    sem_init(&started, 0, 0);
    sem_init(&gate, 0, 0);
    struct work running = work_make(env, 1, &done);
    running.started = &started;
    running.gate = &gate;
    struct work queued = work_make(env, 2, &done);
    queued.ran = &ran;
    env_submit(env, ENV_LANE_POOL, &running.job);
    sem_wait(&started);
    env_submit(env, ENV_LANE_POOL, &queued.job);
    struct opener opener = {.gate = &gate};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, gate_open_later, &opener), 0);
    env_uv_close(env);
    pthread_join(thread, NULL);
    cr_assert_eq(running.status, STATUS_OK);
    cr_assert_eq(queued.status, STATUS_CANCELLED);
    cr_assert_eq(ran.count, 0);
}

/* --- posts, stop, signals --- */

struct counting_post {
    struct env_uv_post post;
    unsigned *count;
    struct env *env;
    unsigned stop_at;
};

static void posted_count(struct env_uv_post *post)
{
    struct counting_post *counting = container_of(post, struct counting_post, post);
    (*counting->count)++;
    if (*counting->count == counting->stop_at) {
        env_uv_stop(counting->env);
    }
}

struct poster {
    struct env *env;
    struct counting_post posts[500];
};

static void *poster_run(void *argument)
{
    struct poster *poster = argument;
    for (size_t index = 0; index < ARRAY_COUNT(poster->posts); index++) {
        env_uv_post(poster->env, &poster->posts[index].post);
    }
    return NULL;
}

static void alarm_ignored(struct env_timer *timer)
{
    (void)timer;
}

Test(env_uv, posts_of_several_threads_all_run_on_the_loop)
{
    struct env *env = env_new(1);
    static struct poster posters[4];
    unsigned count = 0;
    struct env_timer alive = {.fired = alarm_ignored};
    env_timer_start_ms(env, &alive, 50000);
    pthread_t threads[4];
    for (size_t index = 0; index < 4; index++) {
        posters[index].env = env;
        for (size_t at = 0; at < 500; at++) {
            posters[index].posts[at] = (struct counting_post){
                .post.run = posted_count, .count = &count, .env = env, .stop_at = 2000};
        }
        pthread_create(&threads[index], NULL, poster_run, &posters[index]);
    }
    env_uv_run(env); /* Until the last post stops it. */
    cr_assert_eq(count, 2000);
    for (size_t index = 0; index < 4; index++) {
        pthread_join(threads[index], NULL);
    }
    env_uv_close(env);
}

Test(env_uv, a_post_left_at_close_is_still_run)
{
    struct env *env = env_new(1);
    unsigned count = 0;
    struct counting_post post = {.post.run = posted_count, .count = &count, .env = env};
    env_uv_post(env, &post.post);
    env_uv_close(env);
    cr_assert_eq(count, 1);
}

struct terminated {
    struct env *env;
    unsigned count;
};

static void terminated_received(void *context)
{
    struct terminated *terminated = context;
    terminated->count++;
    if (terminated->count == 2) {
        env_uv_stop(terminated->env);
    } else {
        raise(SIGINT);
    }
}

static void alarm_raise(struct env_timer *timer)
{
    (void)timer;
    raise(SIGTERM);
}

Test(env_uv, sigterm_and_sigint_arrive_on_the_loop)
{
    struct env *env = env_new(1);
    struct terminated terminated = {.env = env};
    env_uv_on_terminate(env, terminated_received, &terminated);
    struct env_timer raiser = {.fired = alarm_raise};
    struct env_timer alive = {.fired = alarm_ignored};
    env_timer_start_ms(env, &raiser, 1);
    env_timer_start_ms(env, &alive, 50000);
    env_uv_run(env);
    cr_assert_eq(terminated.count, 2);
    env_uv_close(env);
}

Test(env_uv, run_returns_when_nothing_can_happen)
{
    struct env *env = env_new(0);
    env_uv_run(env);
    env_uv_run_once(env);
    env_uv_close(env);
}

/* --- clocks, chance, log --- */

Test(env_uv, clocks_and_chance_are_sane)
{
    struct env *env = env_new(1);
    uint64_t before = env_monotonic_ns(env);
    cr_assert_geq(env_monotonic_ns(env), before);
    int64_t apart = env->ops->realtime_ms(env) - (int64_t)time(NULL) * 1000;
    cr_assert(apart > -2000 && apart < 2000, "%ld ms from time()", (long)apart);
    uint64_t all_or = 0;
    uint64_t all_and = UINT64_MAX;
    uint64_t previous = env_random(env);
    for (int draw = 0; draw < 1000; draw++) {
        uint64_t value = env_random(env);
        cr_assert_neq(value, previous);
        previous = value;
        all_or |= value;
        all_and &= value;
    }
    cr_assert_eq(all_or, UINT64_MAX, "every bit is set at times");
    cr_assert_eq(all_and, 0, "and clear at others");
    env_uv_close(env);
}

Test(env_uv, a_log_line_is_one_write_with_time_and_level)
{
    struct env *env = env_new(1);
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    int saved = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    env->ops->log_write(env, LOG_WARN, slice_text("test.event key=1"));
    env->ops->log_write(env, LOG_DEBUG, slice_text("above the level"));
    dup2(saved, STDERR_FILENO);
    char text[256] = {0};
    ssize_t got = read(ends[0], text, sizeof(text) - 1);
    cr_assert_gt(got, 0);
    int year, month, day, hour, minute, second, ms;
    char level[16];
    char rest[64];
    int fields = sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %15s %63[^\n]", &year, &month, &day,
                        &hour, &minute, &second, &ms, level, rest);
    cr_assert_eq(fields, 9, "%s", text);
    cr_assert_str_eq(level, "warn");
    cr_assert_str_eq(rest, "test.event key=1");
    cr_assert_eq(text[got - 1], '\n');
    cr_assert_eq(strchr(text, '\n'), text + got - 1, "one line alone");
    env_uv_close(env);
}
