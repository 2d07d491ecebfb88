/*
 * base/env_uv.h -- the env of real programs: libuv's loop, real files, real clocks.
 *
 * One loop, run by the thread that calls env_uv_run(); one WAL thread; a pool of `pool_threads`.
 * Only programs link this (it is a target of its own).
 */
#ifndef BASE_ENV_UV_H
#define BASE_ENV_UV_H

#include "base/env.h"

struct env_uv_options {
    unsigned pool_threads;       /* 0: 2 */
    enum log_level log_level;    /* Lines above it are dropped. */
    size_t send_queue_bytes_max; /* Per connection, before OVERLOADED; 0: 16 MiB. */
};

/* One call made on the loop from another thread; the caller's until `run` is called. */
struct env_uv_post {
    void (*run)(struct env_uv_post *post);
    struct list_node node;
};

MUST_USE enum status env_uv_open(const struct env_uv_options *options, struct env **env);
/* Runs until env_uv_stop(), or until nothing is left that could happen. */
void env_uv_run(struct env *base);
/* One turn: waits for at least one event. For programs that wait for a completion. */
void env_uv_run_once(struct env *base);
void env_uv_stop(struct env *base); /* From the loop's thread; after the current event. */
void env_uv_post(struct env *base, struct env_uv_post *post); /* From any thread. */
/* `received` runs on the loop at each SIGINT or SIGTERM. */
void env_uv_on_terminate(struct env *base, void (*received)(void *context), void *context);
/* Cancels queued jobs, waits for running ones, calls their done, closes connections and listeners
 * (with their `closed`). After it only clocks, chance, the log and file calls work: what is left to
 * the owners is to close their files. */
void env_uv_end(struct env *base);
void env_uv_close(struct env *base); /* Ends it if that was not done, and frees. */

#endif
