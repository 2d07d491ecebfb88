/* tests/unit/test_identity.c -- a data folder belongs to one node, and counts its opens. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/env_uv.h"
#include "node/identity.h"

static struct env *env;
static char root[64];
static char dir[80];

static void setup(void)
{
    struct env_uv_options options = {.log_level = LOG_ERROR};
    cr_assert_eq(env_uv_open(&options, &env), STATUS_OK);
    (void)snprintf(root, sizeof(root), "/tmp/ringkv_identity_XXXXXX");
    cr_assert_not_null(mkdtemp(root));
    (void)snprintf(dir, sizeof(dir), "%s/data", root);
}

static void teardown(void)
{
    char command[128];
    env_uv_close(env);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
    cr_expect_eq(system(command), 0);
}

TestSuite(identity, .init = setup, .fini = teardown);

Test(identity, opens_are_counted_and_the_disk_id_stays)
{
    struct identity first;
    struct identity again;
    cr_assert_eq(identity_open(env, dir, 3, &first), STATUS_OK);
    cr_assert_eq(identity_open(env, dir, 3, &again), STATUS_OK);
    cr_expect_eq(first.boot, 1);
    cr_expect_eq(again.boot, 2);
    cr_expect_neq(first.disk_id, 0);
    cr_expect_eq(first.disk_id, again.disk_id);
}

Test(identity, another_node_id_is_refused)
{
    struct identity identity;
    cr_assert_eq(identity_open(env, dir, 3, &identity), STATUS_OK);
    cr_expect_eq(identity_open(env, dir, 4, &identity), STATUS_REFUSED);
}

Test(identity, a_folder_with_files_but_no_identity_is_refused)
{
    struct identity identity;
    char path[96];
    cr_assert_eq(mkdir(dir, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/precious", dir);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    cr_assert_eq(fclose(file), 0);
    cr_expect_eq(identity_open(env, dir, 3, &identity), STATUS_REFUSED);
    cr_expect_eq(access(path, F_OK), 0);
}

Test(identity, every_flipped_byte_is_noticed)
{
    struct identity identity;
    char path[96];
    cr_assert_eq(identity_open(env, dir, 3, &identity), STATUS_OK);
    (void)snprintf(path, sizeof(path), "%s/NODE", dir);
    for (long index = 0; index < 40; index++) {
        FILE *file = fopen(path, "r+");
        cr_assert_not_null(file);
        cr_assert_eq(fseek(file, index, SEEK_SET), 0);
        int byte = fgetc(file);
        cr_assert_eq(fseek(file, index, SEEK_SET), 0);
        cr_assert_neq(fputc(byte ^ 0x10, file), EOF);
        cr_assert_eq(fclose(file), 0);
        cr_expect_neq(identity_open(env, dir, 3, &identity), STATUS_OK, "byte %ld", index);
        file = fopen(path, "r+");
        cr_assert_not_null(file);
        cr_assert_eq(fseek(file, index, SEEK_SET), 0);
        cr_assert_neq(fputc(byte, file), EOF);
        cr_assert_eq(fclose(file), 0);
    }
    cr_expect_eq(identity_open(env, dir, 3, &identity), STATUS_OK);
}
