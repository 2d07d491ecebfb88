/* tests/unit/test_mutex.c -- mutual exclusion, and what is a bug. */
#include <pthread.h>
#include <signal.h>

#include <criterion/criterion.h>

#include "base/mutex.h"

#define THREAD_COUNT 4
#define ROUND_COUNT 20000

struct shared {
    struct mutex mutex;
    unsigned count;
    bool taken;
};

static void *other_tries(void *context)
{
    struct shared *shared = context;
    shared->taken = mutex_try_lock(&shared->mutex);
    if (shared->taken) {
        mutex_unlock(&shared->mutex);
    }
    return NULL;
}

/* Whether another thread gets it now. */
static bool is_free(struct shared *shared)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, other_tries, shared), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    return shared->taken;
}

Test(mutex, is_free_only_while_nobody_has_it)
{
    struct shared shared = {0};
    mutex_init(&shared.mutex);
    cr_expect(is_free(&shared));
    mutex_lock(&shared.mutex);
    cr_expect_not(is_free(&shared));
    mutex_unlock(&shared.mutex);
    cr_assert(mutex_try_lock(&shared.mutex));
    cr_expect_not(is_free(&shared));
    mutex_unlock(&shared.mutex);
    cr_expect(is_free(&shared));
    mutex_deinit(&shared.mutex);
}

/* A read and a write apart, so that without the lock counts are lost. */
static void *count_up(void *context)
{
    struct shared *shared = context;
    for (unsigned round = 0; round < ROUND_COUNT; round++) {
        mutex_lock(&shared->mutex);
        unsigned count = *(volatile unsigned *)&shared->count;
        *(volatile unsigned *)&shared->count = count + 1;
        mutex_unlock(&shared->mutex);
    }
    return NULL;
}

Test(mutex, no_count_of_several_threads_is_lost)
{
    struct shared shared = {0};
    pthread_t threads[THREAD_COUNT];
    mutex_init(&shared.mutex);
    for (unsigned index = 0; index < THREAD_COUNT; index++) {
        cr_assert_eq(pthread_create(&threads[index], NULL, count_up, &shared), 0);
    }
    for (unsigned index = 0; index < THREAD_COUNT; index++) {
        cr_assert_eq(pthread_join(threads[index], NULL), 0);
    }
    cr_expect_eq(shared.count, THREAD_COUNT * ROUND_COUNT);
    mutex_deinit(&shared.mutex);
}

Test(mutex, deinit_while_locked_is_a_bug, .signal = SIGABRT)
{
    struct mutex mutex;
    mutex_init(&mutex);
    mutex_lock(&mutex);
    mutex_deinit(&mutex);
}
