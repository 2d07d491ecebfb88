/*
 * tests/integration/stress_env_uv.c -- jobs, posts, chance, reads and connections at once.
 *
 * Threads of its own and the lanes submit jobs and post calls while the loop echoes frames and
 * timers reopen connections, and the env is closed in the middle of it.
 * Checked: every job and post is done exactly once, WAL jobs of one submitter keep their order,
 * what a connection echoes is a prefix of what it sent, and every connection is closed once.
 * Exit 0 if so, 1 if not. Run it under the thread sanitizer for the rest.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/env_uv.h"

#define ROUND_COUNT 20
#define THREAD_COUNT 3
#define JOB_COUNT 1500
#define CLIENT_COUNT 6
#define FRAME_COUNT 400
#define ECHO_COUNT (20 * CLIENT_COUNT * FRAME_COUNT) /* Of a round that ends by itself. */
#define PORT_FIRST 20000
#define PORT_COUNT 40000

#define CHECK(condition) check((condition), #condition, __LINE__)

static void check(bool held, const char *condition, int line)
{
    if (!held) {
        (void)fprintf(stderr, "stress_env_uv: line %d: %s\n", line, condition);
        exit(1);
    }
}

struct round;

struct task {
    struct env_job job;
    struct env_uv_post post;
    struct submitter *submitter;
    enum env_lane lane;
    unsigned number;
    atomic_uint run_count;
    unsigned done_count; /* The loop's. */
    unsigned post_count; /* The loop's. */
};

struct submitter {
    struct round *round;
    struct task tasks[JOB_COUNT];
    atomic_uint wal_next; /* The WAL lane's: the least number that may run next. */
};

struct client {
    struct env_connection *connection;
    struct round *round;
    struct env_timer again;
    uint32_t sent;
    uint32_t received;
    unsigned opened;
    unsigned closed;
    unsigned started;
};

struct round {
    struct env *env;
    struct env_file *file;
    struct submitter submitters[THREAD_COUNT];
    struct client clients[CLIENT_COUNT];
    char address[32];
    unsigned served;   /* Opened by the listener. */
    unsigned unserved; /* And closed. */
    unsigned done;
    unsigned posted;
    uint32_t echoed;
};

/* --- jobs and posts --------------------------------------------------------------------------- */

static void task_posted(struct env_uv_post *post)
{
    struct task *task = container_of(post, struct task, post);
    task->post_count++;
    task->submitter->round->posted++;
}

static void task_run(struct env_job *job)
{
    struct task *task = container_of(job, struct task, job);
    struct round *round = task->submitter->round;
    (void)atomic_fetch_add(&task->run_count, 1);
    if (task->lane == ENV_LANE_WAL) {
        CHECK(atomic_exchange(&task->submitter->wal_next, task->number + 1) <= task->number);
    }
    uint64_t drawn = env_random(round->env);
    uint8_t bytes[64];
    size_t got;
    enum status status =
        round->env->ops->file_read_nowait(round->file, drawn % 4096, bytes, sizeof(bytes), &got);
    CHECK(status == STATUS_OK || status == STATUS_WOULD_BLOCK);
    env_uv_post(round->env, &task->post);
}

static void task_done(struct env_job *job, enum status status)
{
    struct task *task = container_of(job, struct task, job);
    task->done_count++;
    task->submitter->round->done++;
    CHECK(atomic_load(&task->run_count) == (status == STATUS_OK ? 1 : 0));
    CHECK(status == STATUS_OK || status == STATUS_CANCELLED);
}

static void *submitter_run(void *argument)
{
    struct submitter *submitter = argument;
    for (unsigned number = 0; number < JOB_COUNT; number++) {
        struct task *task = &submitter->tasks[number];
        task->job.run = task_run;
        task->job.done = task_done;
        task->post.run = task_posted;
        task->submitter = submitter;
        task->number = number;
        task->lane = number % 2 == 0 ? ENV_LANE_WAL : ENV_LANE_POOL;
        env_submit(submitter->round->env, task->lane, &task->job);
    }
    return NULL;
}

/* --- connections ------------------------------------------------------------------------------ */

static void served_opened(struct env_connection *connection)
{
    ((struct round *)connection->context)->served++;
}

static void served_received(struct env_connection *connection, struct slice data)
{
    struct round *round = connection->context;
    enum status status = round->env->ops->net_send(connection, data);
    CHECK(status == STATUS_OK || status == STATUS_OVERLOADED);
}

static void drained(struct env_connection *connection)
{
    (void)connection;
}

static void served_closed(struct env_connection *connection, enum status why)
{
    (void)why;
    ((struct round *)connection->context)->unserved++;
}

static const struct env_net_events served_events = {.opened = served_opened,
                                                    .received = served_received,
                                                    .drained = drained,
                                                    .closed = served_closed};

static void client_send(struct client *client)
{
    static const uint8_t padding[9000];
    uint8_t body[sizeof(uint32_t) + sizeof(padding)] = {0};
    memcpy(body, &client->sent, sizeof(client->sent));
    uint32_t scattered = client->sent * 977u;
    size_t size = sizeof(uint32_t) + scattered % sizeof(padding);
    enum status status =
        client->round->env->ops->net_send(client->connection, slice_make(body, size));
    CHECK(status == STATUS_OK || status == STATUS_OVERLOADED);
    client->sent++;
}

static void client_opened(struct env_connection *connection)
{
    struct client *client = connection->context;
    client->opened++;
    for (unsigned burst = 0; burst < 16; burst++) {
        client_send(client);
    }
}

static void client_received(struct env_connection *connection, struct slice data)
{
    struct client *client = connection->context;
    uint32_t number;
    CHECK(data.size >= sizeof(number));
    memcpy(&number, data.data, sizeof(number));
    CHECK(number == client->received);
    CHECK(data.size == sizeof(number) + (number * 977u) % 9000);
    client->received++;
    client->round->echoed++;
    if (client->received == FRAME_COUNT) {
        client->round->env->ops->net_close(connection);
    } else {
        client_send(client);
    }
}

static void client_closed(struct env_connection *connection, enum status why)
{
    struct client *client = connection->context;
    client->closed++;
    client->connection = NULL;
    if (why != STATUS_CANCELLED) {
        env_timer_start_ms(client->round->env, &client->again, 1);
    }
}

static const struct env_net_events client_events = {.opened = client_opened,
                                                    .received = client_received,
                                                    .drained = drained,
                                                    .closed = client_closed};

static void client_start(struct env_timer *timer)
{
    struct client *client = container_of(timer, struct client, again);
    client->sent = 0;
    client->received = 0;
    client->started++;
    enum status status =
        client->round->env->ops->net_connect(client->round->env, client->round->address, ENV_FRAMES,
                                             &client_events, client, &client->connection);
    CHECK(status == STATUS_OK);
}

/* --- rounds ----------------------------------------------------------------------------------- */

static void round_open(struct round *round, unsigned number)
{
    struct env_uv_options options = {.pool_threads = 3, .log_level = LOG_ERROR};
    CHECK(env_uv_open(&options, &round->env) == STATUS_OK);
    const struct env_ops *ops = round->env->ops;
    char path[64];
    (void)snprintf(path, sizeof(path), "/tmp/stress_env_uv.%ld.%u", (long)getpid(), number);
    CHECK(ops->file_open(round->env, path, ENV_OPEN_CREATE, &round->file) == STATUS_OK);
    CHECK(ops->name_remove(round->env, path) == STATUS_OK);
    CHECK(ops->file_reserve(round->file, 0, 8192) == STATUS_OK);
    struct env_listener *listener;
    enum status status;
    do {
        unsigned port = PORT_FIRST + (unsigned)(env_random(round->env) % PORT_COUNT);
        (void)snprintf(round->address, sizeof(round->address), "127.0.0.1:%u", port);
        status = ops->net_listen(round->env, round->address, ENV_FRAMES, &served_events, round,
                                 &listener);
    } while (status == STATUS_EXISTS);
    CHECK(status == STATUS_OK);
    for (unsigned index = 0; index < CLIENT_COUNT; index++) {
        struct client *client = &round->clients[index];
        client->round = round;
        client->again.fired = client_start;
        env_timer_start_ms(round->env, &client->again, index);
    }
}

static void round_check(const struct round *round)
{
    unsigned ran = 0;
    for (unsigned index = 0; index < THREAD_COUNT; index++) {
        for (unsigned number = 0; number < JOB_COUNT; number++) {
            const struct task *task = &round->submitters[index].tasks[number];
            unsigned runs = atomic_load(&task->run_count);
            CHECK(task->done_count == 1);
            CHECK(task->post_count == runs);
            ran += runs;
        }
    }
    CHECK(round->done == THREAD_COUNT * JOB_COUNT);
    CHECK(round->posted == ran);
    CHECK(round->served == round->unserved);
    for (unsigned index = 0; index < CLIENT_COUNT; index++) {
        CHECK(round->clients[index].closed == round->clients[index].started);
    }
}

/* Two of three rounds close the env while lanes or connections still have work. */
static void round_run(unsigned number)
{
    struct round *round = calloc(1, sizeof(*round));
    CHECK(round != NULL);
    round_open(round, number);
    pthread_t threads[THREAD_COUNT];
    for (unsigned index = 0; index < THREAD_COUNT; index++) {
        round->submitters[index].round = round;
        CHECK(pthread_create(&threads[index], NULL, submitter_run, &round->submitters[index]) == 0);
    }
    static const struct {
        unsigned done;
        unsigned echoed;
    } ends[] = {{THREAD_COUNT * JOB_COUNT, ECHO_COUNT}, {JOB_COUNT / 2, 0}, {0, FRAME_COUNT}};
    unsigned end = number % (unsigned)ARRAY_COUNT(ends);
    while (round->done < ends[end].done || round->echoed < ends[end].echoed) {
        env_uv_run_once(round->env);
    }
    for (unsigned index = 0; index < THREAD_COUNT; index++) {
        CHECK(pthread_join(threads[index], NULL) == 0);
    }
    /* Jobs read the file until the env is closed, which takes its table along. */
    void (*file_close)(struct env_file * file) = round->env->ops->file_close;
    env_uv_close(round->env);
    file_close(round->file);
    round_check(round);
    (void)printf("round %u: %u jobs, %u posts, %u frames echoed, %u connections\n", number,
                 round->done, round->posted, round->echoed, round->served);
    free(round);
}

int main(void)
{
    for (unsigned number = 0; number < ROUND_COUNT; number++) {
        round_run(number);
    }
    return 0;
}
