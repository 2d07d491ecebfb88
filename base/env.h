/*
 * base/env.h -- time, chance, disk, network and background work, behind one table of functions.
 *
 * Why: lsm, raft, ring and node run unchanged under the simulator, so whatever two runs could see
 * differently comes through here. base/env_uv.c fills the table from libuv; tests/sim/env_sim.c
 * fills it from a seed.
 * Contract:
 *  (1) Completions and events run on the env's loop, never inside the call that asked for them.
 *  (2) File and name calls block, and run only inside jobs (or before the loop runs and after it
 *      ended); a job does a bounded slice of work. file_read_nowait may be called from any thread.
 *  (3) From submit to done the env owns the job struct and what it points to; before and after,
 *      the caller does. The same holds for a running timer.
 *  (4) Every job is done exactly once; at shutdown with STATUS_CANCELLED if it was never run.
 *  (5) Only job_submit, the clocks, random_u64, log_write and file_read_nowait may be called from
 *      another thread than the loop's; file calls from the lanes.
 *  (6) A written sector (512 bytes, aligned) that was not synced is after a crash old or new, never
 *      mixed. A created, renamed or removed name survives a crash only after dir_sync of its
 * folder.
 */
#ifndef BASE_ENV_H
#define BASE_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/list.h"
#include "base/slice.h"
#include "base/status.h"

#define ENV_SECTOR_SIZE 512
/* A frame larger than this closes the connection that brought it. */
#define ENV_FRAME_SIZE_MAX (96u << 20)

struct env;
struct env_file;     /* Open file; private to the implementation. */
struct env_dir_lock; /* A held directory lock; private to the implementation. */
struct env_listener; /* Listening address; private to the implementation. */

/* WAL: one thread, first in first out. POOL: a few threads, any order. */
enum env_lane { ENV_LANE_WAL, ENV_LANE_POOL };

/* One piece of background work. Embed it in the caller's own state; see (3). */
struct env_job {
    void (*run)(struct env_job *job);                      /* On the lane; may block on files. */
    void (*done)(struct env_job *job, enum status status); /* On the loop; OK or CANCELLED. */
    struct list_node node;                                 /* The implementation's. */
};

/* Zero it before first use. */
struct env_timer {
    void (*fired)(struct env_timer *timer); /* On the loop; the timer is stopped by then. */
    void *implementation;                   /* NULL while stopped for good. */
    uint64_t due_ns;                        /* The implementation's. */
    uint64_t order;                         /* The implementation's. */
};

enum env_open {
    ENV_OPEN_READ,   /* Must exist. */
    ENV_OPEN_WRITE,  /* Read and write; must exist. */
    ENV_OPEN_CREATE, /* Read and write; STATUS_EXISTS if it is there. */
};

/* Frames: whole messages in, whole messages out (a u32 size before each on a real wire).
 * Bytes: a stream in chunks of any size. */
enum env_framing { ENV_BYTES, ENV_FRAMES };

/*
 * One connection, made by connect or by a listener. Implementations place this first in their own
 * struct. Valid from `opened` (or from a successful net_connect) until `closed` returns.
 * Frames are best effort: they may be lost, repeated or overtaken by frames of another connection;
 * within one connection they keep their order.
 */
struct env_connection {
    const struct env_net_events *events;
    void *context; /* As given to listen or connect. */
    void *user;    /* The user's; NULL at first. */
};

struct env_net_events {
    void (*opened)(struct env_connection *connection);
    /* `data` borrows until the callback returns. The callback may send and close. */
    void (*received)(struct env_connection *connection, struct slice data);
    /* The queue of unsent bytes fell below half its bound, after net_send said OVERLOADED. */
    void (*drained)(struct env_connection *connection);
    /* The last event; also after net_close, and after a connect that failed (without `opened`). */
    void (*closed)(struct env_connection *connection, enum status why);
};

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct env_ops {
    uint64_t (*monotonic_ns)(struct env *env); /* Never goes back; for durations. */
    int64_t (*realtime_ms)(struct env *env);   /* Unix time, may jump; only for the HLC. */
    uint64_t (*random_u64)(struct env *env);   /* Seeded in simulation. */
    void (*log_write)(struct env *env, enum log_level level, struct slice line);

    /* Starts, or starts again from now. A delay of 0 ends in the next turn of the loop. */
    void (*timer_start)(struct env *env, struct env_timer *timer, uint64_t delay_ns);
    void (*timer_stop)(struct env *env, struct env_timer *timer); /* Harmless if not running. */

    void (*job_submit)(struct env *env, enum env_lane lane, struct env_job *job);

    /* STATUS_NOT_FOUND, STATUS_EXISTS, STATUS_NO_SPACE, STATUS_IO. */
    enum status (*file_open)(struct env *env, const char *path, enum env_open mode,
                             struct env_file **file);
    void (*file_close)(struct env_file *file); /* Does not sync. */
    enum status (*file_size)(struct env_file *file, uint64_t *size);
    /* Reads up to `size` bytes; *got is less only at the end of the file. */
    enum status (*file_read)(struct env_file *file, uint64_t offset, void *to, size_t size,
                             size_t *got);
    /* As file_read, but STATUS_WOULD_BLOCK if the bytes are not in memory; never waits. */
    enum status (*file_read_nowait)(struct env_file *file, uint64_t offset, void *to, size_t size,
                                    size_t *got);
    /* Writes all or fails. Not durable until file_sync; on failure the bytes of that range are
     * unknown. Extends the file as needed. */
    enum status (*file_write)(struct env_file *file, uint64_t offset, struct slice data);
    /* Data and size. After a failure every later sync of this handle fails too. */
    enum status (*file_sync)(struct env_file *file);
    enum status (*file_truncate)(struct env_file *file, uint64_t size);
    /* Allocates the range on the disk, extending the size; where STATUS_NO_SPACE arises. */
    enum status (*file_reserve)(struct env_file *file, uint64_t offset, uint64_t size);

    enum status (*name_link)(struct env *env, const char *from, const char *to);
    enum status (*name_rename)(struct env *env, const char *from, const char *to); /* Replaces. */
    enum status (*name_remove)(struct env *env, const char *path); /* A file or an empty folder. */
    enum status (*dir_create)(struct env *env, const char *path);  /* STATUS_EXISTS if there. */
    /* Calls `each` for every entry but . and .., sorted bytewise. */
    enum status (*dir_list)(struct env *env, const char *path,
                            void (*each)(void *context, const char *name), void *context);
    enum status (*dir_sync)(struct env *env, const char *path);
    /* STATUS_LOCKED if another process, or another lock of this one, holds it. */
    enum status (*dir_lock)(struct env *env, const char *path, struct env_dir_lock **lock);
    void (*dir_unlock)(struct env_dir_lock *lock);
    enum status (*space_free)(struct env *env, const char *path, uint64_t *bytes);

    /* "host:port" with a literal IPv4 address, an IPv6 address in [], or a name to resolve.
     * STATUS_EXISTS if the address is in use. The struct of events must outlive the listener. */
    enum status (*net_listen)(struct env *env, const char *address, enum env_framing framing,
                              const struct env_net_events *events, void *context,
                              struct env_listener **listener);
    void (*net_listener_close)(struct env_listener *listener); /* Its connections live on. */
    /* Comes back at once; then `opened`, or `closed` with the reason. */
    enum status (*net_connect)(struct env *env, const char *address, enum env_framing framing,
                               const struct env_net_events *events, void *context,
                               struct env_connection **connection);
    /* Copies. STATUS_OVERLOADED: taken, but the queue of unsent bytes is over its bound, so wait
     * for `drained` before sending more that can wait. STATUS_CLOSED: not taken. What is sent in
     * one turn of the loop leaves together. */
    enum status (*net_send)(struct env_connection *connection, struct slice data);
    /* Sends what is queued, then closes; `closed` follows. No `received` comes after the call. */
    void (*net_close)(struct env_connection *connection);
    /* While paused no `received` comes, and the sender is held back. */
    void (*net_pause)(struct env_connection *connection, bool paused);
    /* "host:port" of the other side; borrows until closed. */
    const char *(*net_remote)(const struct env_connection *connection);
};

/* Implementations place this first in their own struct. */
struct env {
    const struct env_ops *ops;
};

/* The calls every layer makes so often that the table would be in the way. */
static inline uint64_t env_monotonic_ns(struct env *env)
{
    return env->ops->monotonic_ns(env);
}

static inline uint64_t env_monotonic_ms(struct env *env)
{
    return env->ops->monotonic_ns(env) / UINT64_C(1000000);
}

static inline uint64_t env_random(struct env *env)
{
    return env->ops->random_u64(env);
}

static inline void env_timer_start_ms(struct env *env, struct env_timer *timer, uint64_t delay_ms)
{
    env->ops->timer_start(env, timer, delay_ms * UINT64_C(1000000));
}

static inline void env_submit(struct env *env, enum env_lane lane, struct env_job *job)
{
    env->ops->job_submit(env, lane, job);
}

#endif
