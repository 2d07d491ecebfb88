/*
 * tools/examples/embedded.c -- the storage engine inside a program of one's own: no node, no
 * network.
 *
 *   embedded DIR put KEY VALUE...     synced to disk when it returns; several pairs are one batch
 *   embedded DIR delete KEY...
 *   embedded DIR get KEY
 *   embedded DIR list [PREFIX]
 *
 * What it shows: an env and its loop, opening, a write and its completion, versions, forgetting,
 * a get, an iterator, and closing in two steps. docs/engine.md tells the rest.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/contract.h"
#include "base/env_uv.h"
#include "lsm/lsm.h"

#define RECORD_COUNT_MAX 256
#define EXIT_USAGE 2
#define EXIT_NOT_FOUND 4

struct store {
    struct env *env;
    struct lsm *lsm;
    /* Versions order writes; a program that is the only writer just counts. */
    _Atomic uint64_t version_time;
};

struct waiting {
    union {
        struct lsm_write write;
        struct lsm_stop stop;
    };
    bool done;
    enum status status;
};

static int complain(const char *what, enum status status)
{
    (void)fprintf(stderr, "embedded: %s: %s\n", what, status_name(status));
    return EXIT_FAILURE;
}

/*
 * What may be forgotten: a deleted key, once nothing older of it can arrive any more. Whoever
 * replicates must wait for the slowest replica; a single writer, whose every new version is
 * greater than all before, may forget at once.
 */
static struct version store_floor(void *context, struct slice key)
{
    struct store *store = context;
    (void)key;
    return (struct version){.time = atomic_load(&store->version_time), .node = UINT32_MAX};
}

static enum status store_open(struct store *store, const char *path)
{
    struct env_uv_options env_options = {.log_level = LOG_WARN};
    enum status status = env_uv_open(&env_options, &store->env);
    if (status != STATUS_OK) {
        return status;
    }
    struct lsm_options options = {
        .path = path,
        .memory_size = 64u << 20,
        .floor = store_floor,
        .context = store,
    };
    status = lsm_open(store->env, &options, &store->lsm);
    if (status == STATUS_OK) {
        struct lsm_stats stats;
        lsm_stats(store->lsm, &stats);
        atomic_store(&store->version_time, stats.version_max.time);
    }
    return status;
}

static void stop_done(struct lsm_stop *stop)
{
    container_of(stop, struct waiting, stop)->done = true;
}

/* First whatever runs comes to its end, on the loop; then memory and files go. */
static void store_close(struct store *store)
{
    if (store->lsm != NULL) {
        struct waiting waiting = {.stop.stopped = stop_done};
        lsm_stop(store->lsm, &waiting.stop);
        while (!waiting.done) {
            env_uv_run_once(store->env);
        }
        lsm_close(store->lsm);
    }
    if (store->env != NULL) {
        env_uv_close(store->env);
    }
}

static void write_done(struct lsm_write *write, enum status status)
{
    struct waiting *waiting = container_of(write, struct waiting, write);
    waiting->done = true;
    waiting->status = status;
}

/* All of the batch or nothing of it survives a crash. */
static int store_write(struct store *store, struct lsm_record *records, uint32_t record_count)
{
    struct version version = {.time = atomic_load(&store->version_time) + 1};
    for (uint32_t i = 0; i < record_count; i++) {
        records[i].cell.version = version;
    }
    struct waiting waiting = {.write = {.records = records,
                                        .record_count = record_count,
                                        .durability = LSM_SYNCED,
                                        .done = write_done}};
    enum status status = lsm_write(store->lsm, &waiting.write);
    if (status != STATUS_OK) {
        return complain("refused, nothing happened", status);
    }
    while (!waiting.done) { /* A program with more to do would return to its loop here. */
        env_uv_run_once(store->env);
    }
    if (waiting.status != STATUS_OK) {
        return complain("perhaps written", waiting.status);
    }
    atomic_store(&store->version_time, version.time);
    return EXIT_SUCCESS;
}

static int command_put(struct store *store, int count, char **words)
{
    struct lsm_record records[RECORD_COUNT_MAX];
    uint32_t record_count = 0;
    for (int i = 0; i + 1 < count; i += 2) {
        records[record_count++] = (struct lsm_record){
            .key = slice_text(words[i]),
            .cell = {.kind = CELL_VALUE, .value = slice_text(words[i + 1])},
        };
    }
    return store_write(store, records, record_count);
}

static int command_delete(struct store *store, int count, char **words)
{
    struct lsm_record records[RECORD_COUNT_MAX];
    for (int i = 0; i < count; i++) {
        records[i] =
            (struct lsm_record){.key = slice_text(words[i]), .cell = {.kind = CELL_DELETE}};
    }
    return store_write(store, records, (uint32_t)count);
}

static void print(struct slice text)
{
    (void)fwrite(text.data, 1, text.size, stdout);
}

static int command_get(struct store *store, const char *key)
{
    struct buffer scratch = {0}; /* Used again from get to get, it makes no allocation. */
    struct cell cell;
    enum status status = lsm_get(store->lsm, slice_text(key), LSM_MAY_BLOCK, &scratch, &cell);
    int code = EXIT_SUCCESS;
    if (status == STATUS_NOT_FOUND || (status == STATUS_OK && cell.kind == CELL_DELETE)) {
        (void)fprintf(stderr, "embedded: %s: not there\n", key);
        code = EXIT_NOT_FOUND;
    } else if (status != STATUS_OK) {
        code = complain(key, status);
    } else {
        print(cell.value);
        (void)putchar('\n');
    }
    buffer_deinit(&scratch);
    return code;
}

/* The least text above every text that begins with `prefix`; empty if there is none. */
static void prefix_end(struct buffer *end, struct slice prefix)
{
    buffer_append_slice(end, prefix);
    while (end->size > 0 && end->data[end->size - 1] == UINT8_MAX) {
        end->size--;
    }
    if (end->size > 0) {
        end->data[end->size - 1]++;
    }
}

static int command_list(struct store *store, const char *prefix)
{
    struct buffer upper = {0};
    prefix_end(&upper, slice_text(prefix));
    struct lsm_iterator_options options = {
        .lower = slice_text(prefix),
        .upper = buffer_slice(&upper),
    };
    struct lsm_iterator *iterator = NULL;
    enum status status = lsm_iterator_open(store->lsm, &options, &iterator);
    while (status == STATUS_OK || status == STATUS_BUDGET) {
        struct slice key;
        struct cell cell;
        status = lsm_iterator_next(iterator, &key, &cell);
        if (status == STATUS_OK && cell.kind == CELL_VALUE) {
            print(key);
            (void)putchar('\t');
            print(cell.value);
            (void)putchar('\n');
        }
    }
    lsm_iterator_close(iterator);
    buffer_deinit(&upper);
    return status == STATUS_NOT_FOUND ? EXIT_SUCCESS : complain("list", status);
}

/* The command's answer, or -1 if there is no such command. */
static int command_run(struct store *store, const char *command, int count, char **words)
{
    if (strcmp(command, "put") == 0 && count > 0 && count % 2 == 0 &&
        count <= 2 * RECORD_COUNT_MAX) {
        return command_put(store, count, words);
    }
    if (strcmp(command, "delete") == 0 && count > 0 && count <= RECORD_COUNT_MAX) {
        return command_delete(store, count, words);
    }
    if (strcmp(command, "get") == 0 && count == 1) {
        return command_get(store, words[0]);
    }
    if (strcmp(command, "list") == 0 && count <= 1) {
        return command_list(store, count == 1 ? words[0] : "");
    }
    (void)fputs("usage: embedded DIR put KEY VALUE... | delete KEY... | get KEY | list [PREFIX]\n",
                stderr);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        return command_run(NULL, "", 0, NULL);
    }
    struct store store = {0};
    enum status status = store_open(&store, argv[1]);
    int code = status == STATUS_OK ? command_run(&store, argv[2], argc - 3, argv + 3)
                                   : complain(argv[1], status);
    store_close(&store);
    return code;
}
