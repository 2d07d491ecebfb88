/*
 * base/env_uv_internal.h -- what env_uv.c, file_uv.c and net_uv.c share of one env.
 *
 * Threads: the loop's thread owns everything except what a comment gives to a mutex. Lane threads
 * touch a lane's queue (under its mutex) and the completions (under completion_mutex).
 */
#ifndef BASE_ENV_UV_INTERNAL_H
#define BASE_ENV_UV_INTERNAL_H

#include <stdatomic.h>

#include <uv.h>

#include "base/env_uv.h"
#include "base/list.h"
#include "base/mutex.h"

/* One read takes at most this much; smaller frames are delivered from this buffer in place. */
#define NET_READ_SIZE (64u << 10)
/* Values taken from the kernel at once; getrandom never gives less for up to 256 bytes. */
#define ENV_RANDOM_COUNT 32

/* The threads of one lane and their queue. */
struct lane_uv {
    struct env_uv *env;
    uv_mutex_t mutex;       /* Holds queue and stopping. */
    uv_sem_t work;          /* Posted after a job is queued. */
    struct list_node queue; /* env_job.node, oldest first. */
    bool stopping;          /* From now on jobs are cancelled. */
    uv_thread_t *threads;
    unsigned thread_count; /* Of those started. */
};

struct env_uv {
    struct env base;
    struct env_ops ops; /* base.ops points here. */
    uv_loop_t loop;
    bool loop_open;
    enum log_level log_level;
    size_t send_queue_bytes_max;
    bool stopped;   /* env_uv_stop() was called in this run. */
    bool once;      /* In env_uv_run_once(): after the first event the poll does not wait. */
    bool once_seen; /* Such an event came before the poll. */
    bool closing;   /* env_uv_end() has begun: no new timers, connections or listeners. */
    bool ended;     /* env_uv_end() was called. */

    uv_async_t wake;          /* Something lies in one of the three lists below. */
    uv_mutex_t wake_mutex;    /* Holds the three lists and wake_closed. */
    struct list_node done;    /* env_job.node: run, to be told so. */
    struct list_node dropped; /* env_job.node: never run. */
    struct list_node posts;   /* env_uv_post.node */
    bool wake_closed;         /* The handle is gone; env_uv_close() looks at the lists itself. */
    atomic_size_t job_count;  /* Submitted and not yet done. */
    struct lane_uv wal;
    struct lane_uv pool;

    struct env_timer **timers; /* A binary heap by (due_ns, order). */
    size_t timer_count;
    size_t timer_capacity;
    uint64_t timer_order; /* Of the timer started next. */
    uint64_t turn_order;  /* The same, when this turn of the loop began. */
    uint64_t timer_armed; /* When timer_handle fires, in ns; UINT64_MAX if it is stopped. */
    uv_timer_t timer_handle;

    struct mutex random_mutex; /* Holds the two below. */
    uint64_t random_values[ENV_RANDOM_COUNT];
    unsigned random_left;

    uv_prepare_t before_poll; /* Both end a turn: see net_turn_end(). */
    uv_check_t after_poll;
    uv_idle_t again; /* Running while a turn left work for the next: the poll does not wait. */
    struct list_node connections; /* struct connection_uv.node */
    struct list_node listeners;   /* struct env_listener.node */
    struct list_node flushes;     /* struct connection_uv.flush_node: has bytes to send. */
    struct list_node resumes;     /* struct connection_uv.resume_node: has frames kept back. */

    uv_signal_t signals[2];
    void (*terminate)(void *context);
    void *terminate_context;

    uint8_t read_buffer[NET_READ_SIZE]; /* Of the read that is being delivered. */
};

static inline struct env_uv *env_uv_of(struct env *env)
{
    return container_of(env, struct env_uv, base);
}

/* Moves all of `from` to `to`, which is set up by this. */
static inline void list_move(struct list_node *from, struct list_node *to)
{
    list_init(to);
    if (!list_empty(from)) {
        list_insert_before(from, to);
        list_remove(from);
    }
}

void env_uv_timer_start(struct env *base, struct env_timer *timer, uint64_t delay_ns);
void env_uv_timer_stop(struct env *base, struct env_timer *timer);

void net_uv_init(struct env_uv *env);
/* Sends what this turn queued and delivers frames kept back by a pause. True if something is left
 * for the next turn, which then comes at once. */
MUST_USE bool net_uv_turn_end(struct env_uv *env);
/* Closes all; their `closed` follows from the loop. */
void net_uv_close_all(struct env_uv *env);

/* Fill in their part of the table. */
void file_uv_ops(struct env_ops *ops);
void net_uv_ops(struct env_ops *ops);

#endif
