/* base/mutex.c -- pthread mutexes, whose failures can only be bugs. */
#include "base/mutex.h"

#include <errno.h>
#include <stddef.h>

#include "base/contract.h"

void mutex_init(struct mutex *mutex)
{
    ASSERT(mutex != NULL);
    int rc = pthread_mutex_init(&mutex->native, NULL);
    ASSERT(rc == 0);
}

void mutex_deinit(struct mutex *mutex)
{
    ASSERT(mutex != NULL);
    int rc = pthread_mutex_destroy(&mutex->native);
    ASSERT(rc == 0);
}

void mutex_lock(struct mutex *mutex)
{
    int rc = pthread_mutex_lock(&mutex->native);
    ASSERT(rc == 0);
}

bool mutex_try_lock(struct mutex *mutex)
{
    int rc = pthread_mutex_trylock(&mutex->native);
    ASSERT(rc == 0 || rc == EBUSY);
    return rc == 0;
}

void mutex_unlock(struct mutex *mutex)
{
    int rc = pthread_mutex_unlock(&mutex->native);
    ASSERT(rc == 0);
}
