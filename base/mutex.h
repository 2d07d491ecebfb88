/*
 * base/mutex.h -- mutual exclusion for the few places two threads meet.
 *
 * A mutex is no source of difference between two runs: under the simulator there is one thread and
 * every lock is free. Waiting for another thread is not offered: a loop never waits.
 */
#ifndef BASE_MUTEX_H
#define BASE_MUTEX_H

#include <pthread.h>
#include <stdbool.h>

struct mutex {
    pthread_mutex_t native;
};

void mutex_init(struct mutex *mutex);
void mutex_deinit(struct mutex *mutex);
void mutex_lock(struct mutex *mutex);
bool mutex_try_lock(struct mutex *mutex);
void mutex_unlock(struct mutex *mutex);

#endif
