/*
 * tests/unit/test_table_file.c -- lsm/table_file.h: a file that was closed to make room is read as
 * if it never had been.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/env_uv.h"
#include "base/prng.h"
#include "lsm/table_file.h"

#define FILE_COUNT 12u
#define FILE_SIZE 64u

struct fixture {
    struct env *env;
    char folder[64];
    struct table_files pool;
    struct table_file *files[FILE_COUNT];
};

static void path_of(const struct fixture *fixture, uint32_t index, char path[96])
{
    snprintf(path, 96, "%s/%u", fixture->folder, index);
}

/* Files whose bytes tell which they are, all in the pool. */
static void fixture_open(struct fixture *fixture, uint32_t open_max)
{
    memset(fixture, 0, sizeof(*fixture));
    strcpy(fixture->folder, "/tmp/ringkv-table-file-XXXXXX");
    cr_assert_not_null(mkdtemp(fixture->folder));
    struct env_uv_options options = {.log_level = LOG_ERROR};
    cr_assert_eq(env_uv_open(&options, &fixture->env), STATUS_OK);
    table_files_init(&fixture->pool, fixture->env, open_max);
    for (uint32_t i = 0; i < FILE_COUNT; i++) {
        char path[96];
        path_of(fixture, i, path);
        FILE *file = fopen(path, "wb");
        cr_assert_not_null(file);
        for (uint32_t j = 0; j < FILE_SIZE; j++) {
            fputc((int)i, file);
        }
        cr_assert_eq(fclose(file), 0);
        cr_assert_eq(table_file_open(fixture->env, path, &fixture->files[i]), STATUS_OK);
        table_file_pool(fixture->files[i], &fixture->pool);
    }
}

static void fixture_close(struct fixture *fixture)
{
    for (uint32_t i = 0; i < FILE_COUNT; i++) {
        table_file_close(fixture->files[i]);
        char path[96];
        path_of(fixture, i, path);
        unlink(path);
    }
    cr_assert_eq(fixture->pool.open_count, 0);
    table_files_deinit(&fixture->pool);
    env_uv_close(fixture->env);
    rmdir(fixture->folder);
}

static enum status read_one(struct fixture *fixture, uint32_t index, enum lsm_wait wait)
{
    uint8_t bytes[FILE_SIZE] = {0xff};
    size_t got = 0;
    enum status status = table_file_read(fixture->files[index], 0, bytes, FILE_SIZE, wait, &got);
    if (status == STATUS_OK) {
        cr_assert_eq(got, FILE_SIZE);
        cr_assert(bytes[0] == index && bytes[FILE_SIZE - 1] == index, "file %u", index);
    }
    return status;
}

Test(table_file, no_more_are_open_than_the_pool_allows)
{
    struct fixture fixture;
    fixture_open(&fixture, 3);
    cr_assert_eq(fixture.pool.open_count, 3);
    struct prng prng;
    prng_init(&prng, 5);
    for (uint32_t round = 0; round < 500; round++) {
        cr_assert_eq(read_one(&fixture, (uint32_t)prng_below(&prng, FILE_COUNT), LSM_MAY_BLOCK),
                     STATUS_OK);
        cr_assert_eq(fixture.pool.open_count, 3);
    }
    cr_assert_gt(fixture.pool.reopened_count, 100);
    fixture_close(&fixture);
}

Test(table_file, what_fits_is_never_closed)
{
    struct fixture fixture;
    fixture_open(&fixture, FILE_COUNT);
    for (uint32_t round = 0; round < 3 * FILE_COUNT; round++) {
        cr_assert_eq(read_one(&fixture, round % FILE_COUNT, LSM_MAY_BLOCK), STATUS_OK);
    }
    cr_assert_eq(fixture.pool.open_count, FILE_COUNT);
    cr_assert_eq(fixture.pool.reopened_count, 0);
    fixture_close(&fixture);
}

Test(table_file, a_read_that_may_not_block_opens_nothing)
{
    struct fixture fixture;
    fixture_open(&fixture, 1);
    cr_assert_eq(read_one(&fixture, 4, LSM_MAY_BLOCK), STATUS_OK);
    for (uint32_t i = 0; i < FILE_COUNT; i++) {
        enum status status = read_one(&fixture, i, LSM_NOWAIT);
        /* (A file system without such reads says so of the open one too.) */
        cr_assert(status == STATUS_WOULD_BLOCK || (i == 4 && status == STATUS_OK), "file %u", i);
    }
    cr_assert_eq(fixture.pool.reopened_count, 1);
    fixture_close(&fixture);
}

Test(table_file, what_is_read_again_and_again_stays_open)
{
    struct fixture fixture;
    fixture_open(&fixture, 3);
    cr_assert_eq(read_one(&fixture, 0, LSM_MAY_BLOCK), STATUS_OK);
    uint64_t reopened = fixture.pool.reopened_count;
    for (uint32_t i = 1; i < FILE_COUNT; i++) {
        cr_assert_eq(read_one(&fixture, 0, LSM_MAY_BLOCK), STATUS_OK);
        cr_assert_eq(read_one(&fixture, i, LSM_MAY_BLOCK), STATUS_OK);
    }
    cr_assert_leq(fixture.pool.reopened_count, reopened + FILE_COUNT - 1,
                  "only the others were opened again");
    fixture_close(&fixture);
}

/* Its cells are not known to be gone: so neither NOT_FOUND nor an answer. */
Test(table_file, a_file_that_cannot_be_opened_again_is_an_error)
{
    struct fixture fixture;
    fixture_open(&fixture, 1);
    cr_assert_eq(read_one(&fixture, 1, LSM_MAY_BLOCK), STATUS_OK);
    char path[96];
    char aside[100];
    path_of(&fixture, 0, path);
    snprintf(aside, sizeof(aside), "%s.x", path);
    cr_assert_eq(rename(path, aside), 0);
    cr_assert_eq(read_one(&fixture, 0, LSM_MAY_BLOCK), STATUS_IO);
    cr_assert_eq(read_one(&fixture, 1, LSM_MAY_BLOCK), STATUS_OK);
    cr_assert_eq(rename(aside, path), 0);
    cr_assert_eq(read_one(&fixture, 0, LSM_MAY_BLOCK), STATUS_OK);
    fixture_close(&fixture);
}

struct reader {
    struct fixture *fixture;
    uint64_t seed;
};

static void *reader_run(void *context)
{
    struct reader *reader = context;
    struct prng prng;
    prng_init(&prng, reader->seed);
    for (uint32_t round = 0; round < 3000; round++) {
        uint32_t index = (uint32_t)prng_below(&prng, FILE_COUNT);
        enum lsm_wait wait = prng_chance(&prng, 1, 4) ? LSM_NOWAIT : LSM_MAY_BLOCK;
        enum status status = read_one(reader->fixture, index, wait);
        cr_assert(status == STATUS_OK || (wait == LSM_NOWAIT && status == STATUS_WOULD_BLOCK));
    }
    return NULL;
}

Test(table_file, threads_close_and_open_under_one_another, .timeout = 60)
{
    struct fixture fixture;
    fixture_open(&fixture, 2);
    pthread_t threads[4];
    struct reader readers[4];
    for (uint64_t i = 0; i < 4; i++) {
        readers[i] = (struct reader){.fixture = &fixture, .seed = i};
        cr_assert_eq(pthread_create(&threads[i], NULL, reader_run, &readers[i]), 0);
    }
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    }
    cr_assert_leq(fixture.pool.open_count, 2 + 4);
    fixture_close(&fixture);
}
