/* tools/bench/engines.c -- the engines this program was built with. */
#include "tools/bench/engines.h"

#include <time.h>

uint32_t engines_list(const struct engine_ops *engines[ENGINE_COUNT_MAX])
{
    uint32_t count = 0;
    engines[count++] = &engine_ringkv;
    if (engine_rocksdb != NULL) {
        engines[count++] = engine_rocksdb;
    }
    if (engine_leveldb != NULL) {
        engines[count++] = engine_leveldb;
    }
    return count;
}

void engine_sleep(struct engine *engine, uint64_t nanoseconds)
{
    (void)engine; /* It has threads of its own. */
    struct timespec rest = {.tv_sec = (time_t)(nanoseconds / 1000000000),
                            .tv_nsec = (long)(nanoseconds % 1000000000)};
    while (nanosleep(&rest, &rest) != 0) {
    }
}
