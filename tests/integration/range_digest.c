/*
 * tests/integration/range_digest.c -- what an engine holds of each range, as one checksum a range.
 *
 *   range_digest DIR RANGES    DIR: the engine of a node that is stopped; RANGES: of the cluster
 *
 * Prints `RANGE CELLS CHECKSUM` for each range of which there are cells, tombstones included. Every
 * byte that replicas agree upon is in the checksum: key, version, expiry and value, in order of
 * keys. So two replicas hold the same of a range if, and but for chance only if, they print the
 * same line. What a node keeps for itself is left out.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/checksum.h"
#include "base/contract.h"
#include "base/env_uv.h"
#include "base/token.h"
#include "lsm/lsm.h"

#define EXIT_USAGE 2
#define MEMORY_SIZE (64u << 20)

struct digest {
    uint32_t range_count;
    uint32_t range;
    uint64_t cell_count; /* Of the range so far. */
    uint64_t checksum;
};

static void range_print(const struct digest *digest)
{
    if (digest->cell_count > 0) {
        (void)printf("%" PRIu32 " %" PRIu64 " %016" PRIx64 "\n", digest->range, digest->cell_count,
                     digest->checksum);
    }
}

static enum status cell_add(struct digest *digest, struct slice key, const struct cell *cell)
{
    uint16_t keyspace;
    uint64_t token;
    struct slice user_key;
    enum status status = token_engine_split(key, &keyspace, &token, &user_key);
    if (status != STATUS_OK) {
        return status;
    }
    uint32_t slot = (uint32_t)(token >> TOKEN_HASH_BITS);
    uint32_t range = slot / (TOKEN_SLOT_COUNT / digest->range_count);
    if (range != digest->range) {
        range_print(digest);
        *digest = (struct digest){.range_count = digest->range_count, .range = range};
    }
    struct buffer bytes = {0};
    cell_put(&bytes, cell);
    status = buffer_status(&bytes);
    /* Each piece is seeded with all before it. */
    digest->checksum = checksum64(key, digest->checksum);
    digest->checksum = checksum64(buffer_slice(&bytes), digest->checksum);
    digest->cell_count++;
    buffer_deinit(&bytes);
    return status;
}

static enum status engine_walk(struct lsm *lsm, uint32_t range_count)
{
    static const uint8_t upper[] = {ENGINE_KEY_LOCAL_FIRST};
    struct lsm_iterator_options options = {.upper = slice_make(upper, sizeof(upper))};
    struct digest digest = {.range_count = range_count};
    struct lsm_iterator *iterator = NULL;
    enum status status = lsm_iterator_open(lsm, &options, &iterator);
    while (status == STATUS_OK || status == STATUS_BUDGET) {
        struct slice key;
        struct cell cell;
        status = lsm_iterator_next(iterator, &key, &cell);
        if (status == STATUS_OK) {
            status = cell_add(&digest, key, &cell);
        }
    }
    range_print(&digest);
    lsm_iterator_close(iterator);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

struct ending {
    struct lsm_stop stop;
    bool done;
};

static void stop_done(struct lsm_stop *stop)
{
    container_of(stop, struct ending, stop)->done = true;
}

static enum status engine_digest(struct env *env, const char *path, uint32_t range_count)
{
    const struct lsm_options options = {.path = path, .memory_size = MEMORY_SIZE};
    struct lsm *lsm = NULL;
    enum status status = lsm_open(env, &options, &lsm);
    if (status != STATUS_OK) {
        return status;
    }
    status = engine_walk(lsm, range_count);
    struct ending ending = {.stop.stopped = stop_done};
    lsm_stop(lsm, &ending.stop);
    while (!ending.done) {
        env_uv_run_once(env);
    }
    lsm_close(lsm);
    return status;
}

int main(int argc, char **argv)
{
    char *end = NULL;
    unsigned long range_count = argc == 3 ? strtoul(argv[2], &end, 10) : 0;
    if (range_count == 0 || *end != '\0' || TOKEN_SLOT_COUNT % range_count != 0) {
        (void)fputs("usage: range_digest DIR RANGES\n", stderr);
        return EXIT_USAGE;
    }
    struct env_uv_options env_options = {.log_level = LOG_WARN};
    struct env *env = NULL;
    enum status status = env_uv_open(&env_options, &env);
    if (status == STATUS_OK) {
        status = engine_digest(env, argv[1], (uint32_t)range_count);
        env_uv_close(env);
    }
    if (status != STATUS_OK) {
        (void)fprintf(stderr, "range_digest: %s: %s\n", argv[1], status_name(status));
        return EXIT_FAILURE;
    }
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
