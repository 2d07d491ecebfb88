/*
 * base/file_uv.c -- files and names of a real disk, for the env of libuv.
 *
 * Plain blocking system calls, since file calls run inside jobs; nothing here speaks to the loop.
 * Invariants:
 *  (1) Calls cut short by a signal or by the kernel go on until all is done or an error comes.
 *  (2) A handle whose sync failed once never syncs again: the kernel has dropped the dirty pages
 *      and marked them clean, so a later success would promise bytes that are gone.
 *  (3) errno is logged where it is seen, with the path; what a caller expects (no such name, it is
 *      there already, not in memory, locked) is not.
 *
 * Source for (2): Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/env_uv_internal.h"
#include "base/log.h"
#include "base/memory.h"

#define FILE_MODE 0644
#define FOLDER_MODE 0755
#define LOCK_NAME "/LOCK"
/*
 * Bytes of one system call. The page cache makes its folios as large as the write, and those of 256
 * KiB are found with fewer waits for memory: measured on ext4, a read of 3 KiB at a random place of
 * 480 MiB costs 0.9 us there, and 1.4 us where the file was written in pieces of 64 KiB, or of 4.
 * Larger ones gain no more, and memory in such pieces is harder to come by.
 */
#define WRITE_PIECE_SIZE (256u << 10)
/* Zeros are written in pieces of this size where the file system cannot allocate. */
#define ZERO_CHUNK_SIZE (64u << 10)

struct env_file {
    struct env *env;
    int fd;
    atomic_bool poisoned; /* See (2). Lanes may share a handle. */
    char path[];          /* For the log. */
};

struct env_dir_lock {
    int fd;
};

/* What `error` means to the caller; see (3). */
static enum status file_failed(struct env *env, const char *call, const char *path, int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return STATUS_NOT_FOUND;
    case EEXIST:
    case ENOTEMPTY:
        return STATUS_EXISTS;
    default:
        log_error(env, "file.failed", "call=%s errno=%d path=%s", call, error, path);
        break;
    }
    switch (error) {
    case ENOSPC:
    case EDQUOT:
        return STATUS_NO_SPACE;
    case ENOMEM:
        return STATUS_NO_MEMORY;
    default:
        return STATUS_IO;
    }
}

static int open_retry(const char *path, int flags)
{
    int fd;
    do {
        fd = open(path, flags | O_CLOEXEC, FILE_MODE);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

/* --- files ------------------------------------------------------------------------------------ */

static enum status file_uv_open(struct env *env, const char *path, enum env_open mode,
                                struct env_file **file_out)
{
    static const int flags[] = {
        [ENV_OPEN_READ] = O_RDONLY,
        [ENV_OPEN_WRITE] = O_RDWR,
        [ENV_OPEN_CREATE] = O_RDWR | O_CREAT | O_EXCL,
    };
    ASSERT(path != NULL);
    ASSERT((size_t)mode < ARRAY_COUNT(flags));
    size_t path_size = strlen(path) + 1;
    struct env_file *file = memory_allocate(sizeof(*file) + path_size);
    if (file == NULL) {
        return STATUS_NO_MEMORY;
    }
    file->env = env;
    atomic_init(&file->poisoned, false);
    memcpy(file->path, path, path_size);
    file->fd = open_retry(path, flags[mode]);
    if (file->fd < 0) {
        enum status status = file_failed(env, "open", path, errno);
        memory_free(file);
        return status;
    }
    *file_out = file;
    return STATUS_OK;
}

static void file_uv_close(struct env_file *file)
{
    ASSERT(file != NULL);
    /* Whatever it says, the descriptor is gone, and nothing unsynced was promised. */
    (void)close(file->fd);
    memory_free(file);
}

static enum status file_uv_size(struct env_file *file, uint64_t *size)
{
    struct stat about;
    if (fstat(file->fd, &about) != 0) {
        return file_failed(file->env, "fstat", file->path, errno);
    }
    *size = (uint64_t)about.st_size;
    return STATUS_OK;
}

static enum status file_uv_read(struct env_file *file, uint64_t offset, void *to, size_t size,
                                size_t *got)
{
    size_t done = 0;
    while (done < size) {
        ssize_t count = pread(file->fd, (uint8_t *)to + done, size - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return file_failed(file->env, "pread", file->path, errno);
        }
        if (count == 0) {
            break;
        }
        done += (size_t)count;
    }
    *got = done;
    return STATUS_OK;
}

static enum status file_uv_read_nowait(struct env_file *file, uint64_t offset, void *to,
                                       size_t size, size_t *got)
{
    size_t done = 0;
    while (done < size) {
        struct iovec piece = {.iov_base = (uint8_t *)to + done, .iov_len = size - done};
        ssize_t count = preadv2(file->fd, &piece, 1, (off_t)(offset + done), RWF_NOWAIT);
        if (count > 0) {
            done += (size_t)count;
            continue;
        }
        if (count == 0) {
            break;
        }
        switch (errno) {
        case EINTR:
            continue;
        case EAGAIN:
        case EOPNOTSUPP: /* As tmpfs says; a kernel may also not know the call. */
        case ENOSYS:
            return STATUS_WOULD_BLOCK;
        default:
            return file_failed(file->env, "preadv2", file->path, errno);
        }
    }
    *got = done;
    return STATUS_OK;
}

static enum status file_uv_write(struct env_file *file, uint64_t offset, struct slice data)
{
    size_t done = 0;
    while (done < data.size) {
        size_t piece = data.size - done < WRITE_PIECE_SIZE ? data.size - done : WRITE_PIECE_SIZE;
        ssize_t count = pwrite(file->fd, data.data + done, piece, (off_t)(offset + done));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            return file_failed(file->env, "pwrite", file->path, count < 0 ? errno : EIO);
        }
        done += (size_t)count;
    }
    return STATUS_OK;
}

static enum status file_uv_sync(struct env_file *file)
{
    if (atomic_load(&file->poisoned)) {
        return STATUS_IO; /* Logged when it happened. */
    }
    int rc;
    do {
        rc = fdatasync(file->fd);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0) {
        int error = errno;
        atomic_store(&file->poisoned, true);
        return file_failed(file->env, "fdatasync", file->path, error);
    }
    /* A sync of another thread may have failed and taken our pages with it. */
    return atomic_load(&file->poisoned) ? STATUS_IO : STATUS_OK;
}

static enum status file_uv_truncate(struct env_file *file, uint64_t size)
{
    int rc;
    do {
        rc = ftruncate(file->fd, (off_t)size);
    } while (rc != 0 && errno == EINTR);
    return rc == 0 ? STATUS_OK : file_failed(file->env, "ftruncate", file->path, errno);
}

/* Where the file system cannot allocate: zeros from the end of the file on. What lies below the
 * end stays as it is, since a range may be reserved while its bytes are in use. */
static enum status file_extend(struct env_file *file, uint64_t end)
{
    uint64_t size;
    enum status status = file_uv_size(file, &size);
    if (status != STATUS_OK || size >= end) {
        return status;
    }
    uint8_t *zeros = memory_allocate_zeroed(1, ZERO_CHUNK_SIZE);
    if (zeros == NULL) {
        return STATUS_NO_MEMORY;
    }
    while (status == STATUS_OK && size < end) {
        uint64_t rest = end - size;
        size_t piece = rest < ZERO_CHUNK_SIZE ? (size_t)rest : ZERO_CHUNK_SIZE;
        status = file_uv_write(file, size, slice_make(zeros, piece));
        size += piece;
    }
    memory_free(zeros);
    return status;
}

static enum status file_uv_reserve(struct env_file *file, uint64_t offset, uint64_t size)
{
    if (size == 0) {
        return STATUS_OK;
    }
    int rc;
    do {
        rc = fallocate(file->fd, 0, (off_t)offset, (off_t)size);
    } while (rc != 0 && errno == EINTR);
    if (rc == 0) {
        return STATUS_OK;
    }
    if (errno == EOPNOTSUPP) {
        return file_extend(file, offset + size);
    }
    return file_failed(file->env, "fallocate", file->path, errno);
}

/* --- names ------------------------------------------------------------------------------------ */

static enum status file_uv_name_link(struct env *env, const char *from, const char *to)
{
    return link(from, to) == 0 ? STATUS_OK : file_failed(env, "link", to, errno);
}

static enum status file_uv_name_rename(struct env *env, const char *from, const char *to)
{
    return rename(from, to) == 0 ? STATUS_OK : file_failed(env, "rename", to, errno);
}

static enum status file_uv_name_remove(struct env *env, const char *path)
{
    return remove(path) == 0 ? STATUS_OK : file_failed(env, "remove", path, errno);
}

static enum status file_uv_dir_create(struct env *env, const char *path)
{
    return mkdir(path, FOLDER_MODE) == 0 ? STATUS_OK : file_failed(env, "mkdir", path, errno);
}

/* The entries of a folder, to be sorted before anybody sees them. */
struct names {
    char **names;
    size_t count;
    size_t capacity;
};

static enum status names_add(struct names *names, const char *name)
{
    if (names->count == names->capacity) {
        size_t capacity = names->capacity == 0 ? 64 : names->capacity * 2;
        char **grown = memory_resize(names->names, capacity * sizeof(*grown));
        if (grown == NULL) {
            return STATUS_NO_MEMORY;
        }
        names->names = grown;
        names->capacity = capacity;
    }
    char *copy = memory_copy_string(name);
    if (copy == NULL) {
        return STATUS_NO_MEMORY;
    }
    names->names[names->count++] = copy;
    return STATUS_OK;
}

static void names_deinit(struct names *names)
{
    for (size_t index = 0; index < names->count; index++) {
        memory_free(names->names[index]);
    }
    memory_free(names->names);
}

static int names_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum status names_read(struct env *env, const char *path, DIR *dir, struct names *names)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            return errno == 0 ? STATUS_OK : file_failed(env, "readdir", path, errno);
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        enum status status = names_add(names, entry->d_name);
        if (status != STATUS_OK) {
            return status;
        }
    }
}

static enum status file_uv_dir_list(struct env *env, const char *path,
                                    void (*each)(void *context, const char *name), void *context)
{
    ASSERT(each != NULL);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return file_failed(env, "opendir", path, errno);
    }
    struct names names = {0};
    enum status status = names_read(env, path, dir, &names);
    (void)closedir(dir);
    if (status == STATUS_OK && names.count > 0) {
        qsort(names.names, names.count, sizeof(*names.names), names_compare);
        for (size_t index = 0; index < names.count; index++) {
            each(context, names.names[index]);
        }
    }
    names_deinit(&names);
    return status;
}

static enum status file_uv_dir_sync(struct env *env, const char *path)
{
    int fd = open_retry(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return file_failed(env, "open", path, errno);
    }
    int rc;
    do {
        rc = fsync(fd);
    } while (rc != 0 && errno == EINTR);
    enum status status = rc == 0 ? STATUS_OK : file_failed(env, "fsync", path, errno);
    (void)close(fd);
    return status;
}

/* flock belongs to the open descriptor, so a second lock of this process conflicts as well, and
 * the lock goes with the process however it ends. The file stays: removing it would race. */
static enum status lock_take(struct env *env, const char *name, struct env_dir_lock *lock)
{
    lock->fd = open_retry(name, O_RDWR | O_CREAT);
    if (lock->fd < 0) {
        return file_failed(env, "open", name, errno);
    }
    int rc;
    do {
        rc = flock(lock->fd, LOCK_EX | LOCK_NB);
    } while (rc != 0 && errno == EINTR);
    if (rc == 0) {
        return STATUS_OK;
    }
    enum status status =
        errno == EWOULDBLOCK ? STATUS_LOCKED : file_failed(env, "flock", name, errno);
    (void)close(lock->fd);
    return status;
}

static enum status file_uv_dir_lock(struct env *env, const char *path, struct env_dir_lock **lock)
{
    struct buffer name = {0};
    buffer_append_text(&name, path);
    buffer_append(&name, LOCK_NAME, sizeof(LOCK_NAME)); /* With its terminator. */
    struct env_dir_lock *taken = memory_allocate(sizeof(*taken));
    enum status status = taken == NULL ? STATUS_NO_MEMORY : buffer_status(&name);
    if (status == STATUS_OK) {
        status = lock_take(env, (const char *)name.data, taken);
    }
    buffer_deinit(&name);
    if (status != STATUS_OK) {
        memory_free(taken);
        return status;
    }
    *lock = taken;
    return STATUS_OK;
}

static void file_uv_dir_unlock(struct env_dir_lock *lock)
{
    ASSERT(lock != NULL);
    (void)close(lock->fd);
    memory_free(lock);
}

static enum status file_uv_space_free(struct env *env, const char *path, uint64_t *bytes)
{
    struct statvfs about;
    int rc;
    do {
        rc = statvfs(path, &about);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0) {
        return file_failed(env, "statvfs", path, errno);
    }
    *bytes = (uint64_t)about.f_bavail * (uint64_t)about.f_frsize;
    return STATUS_OK;
}

void file_uv_ops(struct env_ops *ops)
{
    ops->file_open = file_uv_open;
    ops->file_close = file_uv_close;
    ops->file_size = file_uv_size;
    ops->file_read = file_uv_read;
    ops->file_read_nowait = file_uv_read_nowait;
    ops->file_write = file_uv_write;
    ops->file_sync = file_uv_sync;
    ops->file_truncate = file_uv_truncate;
    ops->file_reserve = file_uv_reserve;
    ops->name_link = file_uv_name_link;
    ops->name_rename = file_uv_name_rename;
    ops->name_remove = file_uv_name_remove;
    ops->dir_create = file_uv_dir_create;
    ops->dir_list = file_uv_dir_list;
    ops->dir_sync = file_uv_dir_sync;
    ops->dir_lock = file_uv_dir_lock;
    ops->dir_unlock = file_uv_dir_unlock;
    ops->space_free = file_uv_space_free;
}
