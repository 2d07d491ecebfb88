/*
 * lsm/table_file.c -- a ring of open files, and a hand that closes what was not read lately.
 *
 * Invariants:
 *  (1) `state` is OPEN and a count of readers. Who counts himself in and finds OPEN has the file
 *      until he counts himself out; it is closed only by who turned OPEN alone into nothing.
 *  (2) OPEN is set, and `file` changed, under the pool's mutex; a file is in the ring if and only
 *      if it is OPEN. The handle is taken out under the mutex and closed after it: from then on
 *      the struct may be anybody's.
 *
 * Source: CLOCK (Corbato, 1968).
 */
#include "lsm/table_file.h"

#include <string.h>

#include "base/log.h"
#include "base/memory.h"

#define STATE_OPEN (UINT32_C(1) << 31)

void table_files_init(struct table_files *pool, struct env *env, uint32_t open_max)
{
    ASSERT(pool != NULL);
    ASSERT(open_max > 0);
    memset(pool, 0, sizeof(*pool));
    pool->env = env;
    pool->open_max = open_max;
    mutex_init(&pool->mutex);
    list_init(&pool->ring);
}

void table_files_deinit(struct table_files *pool)
{
    ASSERT(list_empty(&pool->ring));
    mutex_deinit(&pool->mutex);
}

/* Takes one that nobody reads out of the ring, the first that the hand finds unused since it came
 * by; NULL if all are being read. */
static struct env_file *victim_take_locked(struct table_files *pool)
{
    uint64_t steps = 2 * atomic_load_explicit(&pool->open_count, memory_order_relaxed);
    for (; steps > 0; steps--) {
        struct list_node *node = list_take_first(&pool->ring);
        ASSERT(node != NULL);
        struct table_file *file = container_of(node, struct table_file, node);
        uint32_t idle = STATE_OPEN;
        /* Acquire: what readers did with the handle comes before its close. */
        if (!atomic_exchange_explicit(&file->used, false, memory_order_relaxed) &&
            atomic_compare_exchange_strong_explicit(&file->state, &idle, 0, memory_order_acquire,
                                                    memory_order_relaxed)) {
            struct env_file *handle = file->file;
            file->file = NULL;
            atomic_fetch_sub_explicit(&pool->open_count, 1, memory_order_relaxed);
            return handle;
        }
        list_append(&pool->ring, node);
    }
    return NULL;
}

/* Closes what the pool has open beyond its bound, one file at a time. */
static void pool_trim(struct table_files *pool)
{
    struct env_file *handle = NULL;
    do {
        mutex_lock(&pool->mutex);
        bool over = atomic_load_explicit(&pool->open_count, memory_order_relaxed) > pool->open_max;
        handle = over ? victim_take_locked(pool) : NULL;
        mutex_unlock(&pool->mutex);
        if (handle != NULL) {
            pool->env->ops->file_close(handle);
        }
    } while (handle != NULL);
}

/* `readers` of them have counted themselves in already. */
static void ring_join_locked(struct table_file *file, struct env_file *handle)
{
    struct table_files *pool = file->pool;
    file->file = handle;
    list_append(&pool->ring, &file->node);
    atomic_fetch_add_explicit(&pool->open_count, 1, memory_order_relaxed);
    /* Release: who finds OPEN sees the handle. */
    atomic_fetch_or_explicit(&file->state, STATE_OPEN, memory_order_release);
}

enum status table_file_open(struct env *env, const char *path, struct table_file **file)
{
    ASSERT(env != NULL);
    ASSERT(path != NULL);
    struct table_file *made = memory_allocate_zeroed(1, sizeof(*made));
    if (made == NULL) {
        return STATUS_NO_MEMORY;
    }
    made->env = env;
    list_init(&made->node);
    made->path = memory_copy_string(path);
    enum status status = made->path == NULL
                             ? STATUS_NO_MEMORY
                             : env->ops->file_open(env, path, ENV_OPEN_READ, &made->file);
    if (status != STATUS_OK) {
        table_file_close(made);
        return status;
    }
    *file = made;
    return STATUS_OK;
}

void table_file_pool(struct table_file *file, struct table_files *pool)
{
    ASSERT(file->pool == NULL);
    ASSERT(file->file != NULL);
    file->pool = pool;
    mutex_lock(&pool->mutex);
    ring_join_locked(file, file->file);
    mutex_unlock(&pool->mutex);
    pool_trim(pool);
}

void table_file_close(struct table_file *file)
{
    if (file == NULL) {
        return;
    }
    struct env_file *handle = NULL;
    if (file->pool != NULL) {
        mutex_lock(&file->pool->mutex);
        handle = file->file;
        if (handle != NULL) {
            list_remove(&file->node);
            atomic_fetch_sub_explicit(&file->pool->open_count, 1, memory_order_relaxed);
        }
        mutex_unlock(&file->pool->mutex);
    } else {
        handle = file->file;
    }
    if (handle != NULL) {
        file->env->ops->file_close(handle);
    }
    memory_free(file->path);
    memory_free(file);
}

enum status table_file_size(const struct table_file *file, uint64_t *size)
{
    ASSERT(file->pool == NULL);
    return file->env->ops->file_size(file->file, size);
}

uint64_t table_file_memory(const struct table_file *file)
{
    return sizeof(*file) + strlen(file->path) + 1;
}

/* Counts the caller in; false, and not counted, if the file is closed. */
static bool reader_enter(struct table_file *file)
{
    uint32_t before = atomic_fetch_add_explicit(&file->state, 1, memory_order_acquire);
    if ((before & STATE_OPEN) != 0) {
        if (!atomic_load_explicit(&file->used, memory_order_relaxed)) {
            atomic_store_explicit(&file->used, true, memory_order_relaxed);
        }
        return true;
    }
    atomic_fetch_sub_explicit(&file->state, 1, memory_order_relaxed);
    return false;
}

static void reader_leave(struct table_file *file)
{
    /* Release: the read comes before a close. */
    uint32_t before = atomic_fetch_sub_explicit(&file->state, 1, memory_order_release);
    ASSERT((before & ~STATE_OPEN) > 0);
}

/* Opens it, unless another thread was first, and counts the caller in. */
static enum status reader_reopen(struct table_file *file)
{
    struct table_files *pool = file->pool;
    const struct env_ops *ops = file->env->ops;
    struct env_file *handle = NULL;
    enum status status = ops->file_open(file->env, file->path, ENV_OPEN_READ, &handle);
    if (status != STATUS_OK) {
        log_error(file->env, "table.reopen_failed", "path=%s status=%s", file->path,
                  status_name(status));
        return status == STATUS_NO_MEMORY ? status : STATUS_IO;
    }
    mutex_lock(&pool->mutex);
    atomic_fetch_add_explicit(&file->state, 1, memory_order_relaxed);
    if (file->file == NULL) {
        ring_join_locked(file, handle);
        handle = NULL;
        atomic_fetch_add_explicit(&pool->reopened_count, 1, memory_order_relaxed);
    }
    mutex_unlock(&pool->mutex);
    if (handle != NULL) {
        ops->file_close(handle);
    }
    pool_trim(pool);
    return STATUS_OK;
}

enum status table_file_read(struct table_file *file, uint64_t offset, void *to, size_t size,
                            enum lsm_wait wait, size_t *got)
{
    const struct env_ops *ops = file->env->ops;
    bool pooled = file->pool != NULL;
    if (pooled && !reader_enter(file)) {
        if (wait == LSM_NOWAIT) {
            return STATUS_WOULD_BLOCK;
        }
        enum status status = reader_reopen(file);
        if (status != STATUS_OK) {
            return status;
        }
    }
    enum status status = wait == LSM_NOWAIT
                             ? ops->file_read_nowait(file->file, offset, to, size, got)
                             : ops->file_read(file->file, offset, to, size, got);
    if (pooled) {
        reader_leave(file);
    }
    return status;
}
