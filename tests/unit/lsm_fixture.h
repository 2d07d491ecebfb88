/*
 * tests/unit/lsm_fixture.h -- an engine on the real env, in a folder of its own.
 */
#ifndef TESTS_UNIT_LSM_FIXTURE_H
#define TESTS_UNIT_LSM_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/env_uv.h"
#include "lsm/lsm.h"

struct lsm_fixture {
    struct env *env;
    char root[64];
    char path[80];
    struct lsm_options options;
    struct lsm *lsm;
};

struct lsm_fixture_write {
    struct lsm_write write;
    bool answered;
    enum status status;
};

struct lsm_fixture_request {
    struct lsm_request request;
    bool answered;
    enum status status;
};

struct lsm_fixture_stop {
    struct lsm_stop stop;
    bool stopped;
};

static inline void fixture_env_open(struct lsm_fixture *fixture)
{
    struct env_uv_options options = {.log_level = LOG_ERROR};
    cr_assert_eq(env_uv_open(&options, &fixture->env), STATUS_OK);
}

static inline void fixture_init(struct lsm_fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    strcpy(fixture->root, "/tmp/lsm-test-XXXXXX");
    cr_assert(mkdtemp(fixture->root) != NULL);
    snprintf(fixture->path, sizeof(fixture->path), "%s/engine", fixture->root);
    fixture->options = (struct lsm_options){
        .path = fixture->path,
        .memtable_size = 64 << 10,
        .wal_segment_size = 64 << 10,
        .slice_size = 32 << 10,
        .table_size_max = 128 << 10,
        .block_size = 1 << 10,
    };
    fixture_env_open(fixture);
}

static inline void fixture_open(struct lsm_fixture *fixture)
{
    enum status status = lsm_open(fixture->env, &fixture->options, &fixture->lsm);
    cr_assert_eq(status, STATUS_OK, "open: %s", status_name(status));
}

static inline void fixture_stopped(struct lsm_stop *stop)
{
    container_of(stop, struct lsm_fixture_stop, stop)->stopped = true;
}

static inline void fixture_close(struct lsm_fixture *fixture)
{
    struct lsm_fixture_stop stop = {.stop.stopped = fixture_stopped};
    lsm_stop(fixture->lsm, &stop.stop);
    while (!stop.stopped) {
        env_uv_run_once(fixture->env);
    }
    lsm_close(fixture->lsm);
    fixture->lsm = NULL;
}

/* As a process that was killed: jobs that wait never run, and nothing is stopped. */
static inline void fixture_kill(struct lsm_fixture *fixture)
{
    env_uv_end(fixture->env);
    lsm_close(fixture->lsm);
    fixture->lsm = NULL;
    env_uv_close(fixture->env);
    fixture_env_open(fixture);
}

static inline void fixture_deinit(struct lsm_fixture *fixture)
{
    if (fixture->lsm != NULL) {
        fixture_close(fixture);
    }
    env_uv_close(fixture->env);
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", fixture->root);
    cr_assert_eq(system(command), 0);
}

static inline void fixture_write_done(struct lsm_write *write, enum status status)
{
    struct lsm_fixture_write *waiting = container_of(write, struct lsm_fixture_write, write);
    cr_assert(!waiting->answered, "a write is answered once");
    waiting->answered = true;
    waiting->status = status;
}

static inline void fixture_run_until(struct lsm_fixture *fixture, const bool *flag)
{
    while (!*flag) {
        env_uv_run_once(fixture->env);
    }
}

/* Writes and waits; waits also while the engine is overloaded. */
static inline enum status fixture_write(struct lsm_fixture *fixture,
                                        const struct lsm_record *records, uint32_t count,
                                        enum lsm_durability durability)
{
    struct lsm_fixture_write waiting = {
        .write = {.records = records,
                  .record_count = count,
                  .durability = durability,
                  .done = fixture_write_done},
    };
    enum status status = lsm_write(fixture->lsm, &waiting.write);
    while (status == STATUS_OVERLOADED) {
        env_uv_run_once(fixture->env);
        status = lsm_write(fixture->lsm, &waiting.write);
    }
    if (status != STATUS_OK) {
        return status;
    }
    fixture_run_until(fixture, &waiting.answered);
    return waiting.status;
}

static inline struct lsm_record fixture_record(const char *key, uint64_t time, const char *value)
{
    return (struct lsm_record){
        .key = slice_text(key),
        .cell = {.version = {.time = time, .node = 1},
                 .kind = value == NULL ? CELL_DELETE : CELL_VALUE,
                 .value = value == NULL ? slice_make(NULL, 0) : slice_text(value)},
    };
}

static inline enum status fixture_put(struct lsm_fixture *fixture, const char *key, uint64_t time,
                                      const char *value, enum lsm_durability durability)
{
    struct lsm_record record = fixture_record(key, time, value);
    return fixture_write(fixture, &record, 1, durability);
}

static inline void fixture_request_done(struct lsm_request *request, enum status status)
{
    struct lsm_fixture_request *waiting =
        container_of(request, struct lsm_fixture_request, request);
    cr_assert(!waiting->answered, "a request is answered once");
    waiting->answered = true;
    waiting->status = status;
}

static inline enum status fixture_flush(struct lsm_fixture *fixture)
{
    struct lsm_fixture_request waiting = {.request.done = fixture_request_done};
    enum status status = lsm_flush(fixture->lsm, &waiting.request);
    if (status == STATUS_OK) {
        fixture_run_until(fixture, &waiting.answered);
        status = waiting.status;
    }
    return status;
}

static inline enum status fixture_compact(struct lsm_fixture *fixture)
{
    struct lsm_fixture_request waiting = {.request.done = fixture_request_done};
    enum status status = lsm_compact(fixture->lsm, &waiting.request);
    if (status == STATUS_OK) {
        fixture_run_until(fixture, &waiting.answered);
        status = waiting.status;
    }
    return status;
}

#endif
