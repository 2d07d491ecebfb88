/* tests/sim/group_lab.c -- the promises stand in group_lab.h. */
#include "tests/sim/group_lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/contract.h"

struct lab_event {
    uint64_t time_ns;
    uint64_t order;
    struct lab_host *host;
    uint32_t incarnation;
    void (*run)(void *context);
    void *context;
};

void lab_mix(struct lab *lab, uint64_t number)
{
    lab->trace = prng_mix(lab->trace ^ number) + UINT64_C(0x9e3779b97f4a7c15);
}

uint64_t lab_below(struct lab *lab, uint64_t bound)
{
    return prng_below(&lab->prng, bound);
}

/* ---- events ---- */

static bool event_before(const struct lab_event *a, const struct lab_event *b)
{
    return a->time_ns < b->time_ns || (a->time_ns == b->time_ns && a->order < b->order);
}

static void event_swap(struct lab *lab, size_t a, size_t b)
{
    struct lab_event event = lab->events[a];
    lab->events[a] = lab->events[b];
    lab->events[b] = event;
}

void lab_at(struct lab *lab, uint64_t delay_ns, struct lab_host *host, void (*run)(void *context),
            void *context)
{
    if (lab->event_count == lab->event_capacity) {
        lab->event_capacity = lab->event_capacity == 0 ? 256 : lab->event_capacity * 2;
        lab->events = realloc(lab->events, lab->event_capacity * sizeof *lab->events);
        ASSERT(lab->events != NULL);
    }
    size_t at = lab->event_count++;
    lab->events[at] = (struct lab_event){
        .time_ns = lab->now_ns + delay_ns,
        .order = ++lab->order,
        .host = host,
        .incarnation = host == NULL ? 0 : host->incarnation,
        .run = run,
        .context = context,
    };
    for (; at > 0 && event_before(&lab->events[at], &lab->events[(at - 1) / 2]);
         at = (at - 1) / 2) {
        event_swap(lab, at, (at - 1) / 2);
    }
}

static struct lab_event event_take(struct lab *lab)
{
    struct lab_event first = lab->events[0];
    lab->events[0] = lab->events[--lab->event_count];
    for (size_t at = 0;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2; child++) {
            if (child < lab->event_count &&
                event_before(&lab->events[child], &lab->events[least])) {
                least = child;
            }
        }
        if (least == at) {
            return first;
        }
        event_swap(lab, at, least);
        at = least;
    }
}

void lab_run(struct lab *lab, uint64_t until_ns)
{
    while (lab->event_count > 0 && lab->events[0].time_ns <= until_ns) {
        struct lab_event event = event_take(lab);
        lab->now_ns = event.time_ns;
        struct lab_host *host = event.host;
        if (host != NULL && (!host->up || host->incarnation != event.incarnation)) {
            continue;
        }
        lab->step_count++;
        lab_mix(lab, event.time_ns);
        lab_mix(lab, host == NULL ? 0 : host->index + 1);
        event.run(event.context);
    }
    lab->now_ns = until_ns;
}

/* ---- disk: names and images ---- */

struct env_file {
    struct lab_host *host;
    unsigned index;
};

struct env_dir_lock {
    struct lab_host *host;
};

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static int file_find(const struct lab_disk *disk, const char *name)
{
    for (int i = 0; i < LAB_FILE_COUNT_MAX; i++) {
        if (disk->files[i].used && strcmp(disk->files[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

static void file_forget_if_gone(struct lab_disk *disk, unsigned index)
{
    struct lab_file *file = &disk->files[index];
    bool pending = false;
    for (unsigned i = 0; i < disk->rename_count; i++) {
        pending = pending || disk->renames[i].file == index;
    }
    if (file->used && file->name[0] == '\0' && file->durable_name[0] == '\0' && !pending) {
        buffer_deinit(&file->now);
        buffer_deinit(&file->durable);
        *file = (struct lab_file){0};
    }
}

static void rename_apply(struct lab_disk *disk, const struct lab_rename *change)
{
    for (unsigned i = 0; change->to[0] != '\0' && i < LAB_FILE_COUNT_MAX; i++) {
        if (disk->files[i].used && strcmp(disk->files[i].durable_name, change->to) == 0) {
            disk->files[i].durable_name[0] = '\0'; /* Replaced. */
        }
    }
    memcpy(disk->files[change->file].durable_name, change->to, LAB_NAME_SIZE_MAX);
}

static void renames_settle(struct lab_disk *disk, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        rename_apply(disk, &disk->renames[i]);
    }
    disk->rename_count = 0;
    for (unsigned i = 0; i < LAB_FILE_COUNT_MAX; i++) {
        file_forget_if_gone(disk, i);
    }
}

static void rename_note(struct lab_disk *disk, unsigned file, const char *to)
{
    ASSERT(disk->rename_count < ARRAY_COUNT(disk->renames));
    struct lab_rename *change = &disk->renames[disk->rename_count++];
    *change = (struct lab_rename){.file = file};
    (void)snprintf(change->to, sizeof change->to, "%s", to);
}

static void file_crash(struct lab *lab, struct lab_file *file)
{
    size_t low = file->now.size < file->durable.size ? file->now.size : file->durable.size;
    size_t high = file->now.size > file->durable.size ? file->now.size : file->durable.size;
    size_t size = low + (size_t)lab_below(lab, high - low + 1);
    struct buffer result = {0};
    for (size_t at = 0; at < size; at += ENV_SECTOR_SIZE) {
        size_t step = size - at < ENV_SECTOR_SIZE ? size - at : ENV_SECTOR_SIZE;
        const struct buffer *from = prng_chance(&lab->prng, 1, 2) ? &file->now : &file->durable;
        uint8_t sector[ENV_SECTOR_SIZE] = {0}; /* Beyond an old end lie zeros. */
        size_t there = from->size > at ? from->size - at : 0;
        memcpy(sector, from->data == NULL ? sector : from->data + (there > 0 ? at : 0),
               there < step ? there : step);
        buffer_append(&result, sector, step);
    }
    buffer_clear(&file->now);
    buffer_append_slice(&file->now, buffer_slice(&result));
    buffer_deinit(&file->durable);
    file->durable = result;
}

static void disk_crash(struct lab *lab, struct lab_disk *disk)
{
    renames_settle(disk, (unsigned)lab_below(lab, disk->rename_count + 1));
    for (unsigned i = 0; i < LAB_FILE_COUNT_MAX; i++) {
        struct lab_file *file = &disk->files[i];
        if (!file->used) {
            continue;
        }
        memcpy(file->name, file->durable_name, LAB_NAME_SIZE_MAX);
        file_crash(lab, file);
        file_forget_if_gone(disk, i);
    }
}

static struct lab_disk *disk_copy(const struct lab_disk *disk)
{
    struct lab_disk *copy = malloc(sizeof *copy);
    ASSERT(copy != NULL);
    *copy = *disk;
    for (unsigned i = 0; i < LAB_FILE_COUNT_MAX; i++) {
        copy->files[i].now = (struct buffer){0};
        copy->files[i].durable = (struct buffer){0};
        buffer_append_slice(&copy->files[i].now, buffer_slice(&disk->files[i].now));
        buffer_append_slice(&copy->files[i].durable, buffer_slice(&disk->files[i].durable));
    }
    return copy;
}

/* Before each changing call: is this where the power goes? Then it counts no more. True if this
 * is the call that is to fail. */
static bool disk_touch(struct lab_host *host)
{
    if (host->crash_in > 0 && --host->crash_in == 0) {
        host->crashed = disk_copy(&host->disk);
        disk_crash(host->lab, host->crashed);
    }
    return host->fail_in > 0 && --host->fail_in == 0;
}

/* ---- the file half of the table ---- */

static struct lab_host *host_of(struct env *env)
{
    return (struct lab_host *)(void *)env;
}

static enum status sim_file_open(struct env *env, const char *path, enum env_open mode,
                                 struct env_file **file)
{
    struct lab_host *host = host_of(env);
    int found = file_find(&host->disk, base_name(path));
    if (mode == ENV_OPEN_CREATE) {
        if (found >= 0) {
            return STATUS_EXISTS;
        }
        if (disk_touch(host)) {
            return STATUS_NO_SPACE;
        }
        for (found = 0; found < LAB_FILE_COUNT_MAX && host->disk.files[found].used; found++) {
        }
        ASSERT(found < LAB_FILE_COUNT_MAX);
        struct lab_file *created = &host->disk.files[found];
        *created = (struct lab_file){.used = true};
        (void)snprintf(created->name, sizeof created->name, "%s", base_name(path));
        rename_note(&host->disk, (unsigned)found, created->name);
    }
    if (found < 0) {
        return STATUS_NOT_FOUND;
    }
    *file = malloc(sizeof **file);
    ASSERT(*file != NULL);
    **file = (struct env_file){.host = host, .index = (unsigned)found};
    return STATUS_OK;
}

static void sim_file_close(struct env_file *file)
{
    free(file);
}

static struct lab_file *file_of(struct env_file *file)
{
    return &file->host->disk.files[file->index];
}

static enum status sim_file_size(struct env_file *file, uint64_t *size)
{
    *size = file_of(file)->now.size;
    return STATUS_OK;
}

static enum status sim_file_read(struct env_file *file, uint64_t offset, void *to, size_t size,
                                 size_t *got)
{
    const struct buffer *bytes = &file_of(file)->now;
    size_t there = bytes->size > offset ? bytes->size - (size_t)offset : 0;
    *got = there < size ? there : size;
    memcpy(to, *got == 0 ? to : bytes->data + offset, *got);
    return STATUS_OK;
}

static bool fault(struct lab_host *host)
{
    return host->error_ppm > 0 && prng_chance(&host->lab->prng, host->error_ppm, 1000000);
}

static enum status sim_file_write(struct env_file *file, uint64_t offset, struct slice data)
{
    struct buffer *bytes = &file_of(file)->now;
    bool failed = disk_touch(file->host);
    failed = fault(file->host) || failed;
    lab_mix(file->host->lab, checksum64(data, offset));
    size_t written = data.size;
    if (failed) {
        written = (size_t)lab_below(file->host->lab, data.size + 1);
    }
    while (bytes->size < offset + written) {
        static const uint8_t zeros[4096];
        size_t step = (size_t)(offset + written - bytes->size);
        buffer_append(bytes, zeros, step < sizeof zeros ? step : sizeof zeros);
    }
    if (written > 0) {
        memcpy(bytes->data + offset, data.data, written);
    }
    return failed ? STATUS_IO : STATUS_OK;
}

static enum status sim_file_sync(struct env_file *file)
{
    struct lab_file *synced = file_of(file);
    bool failed = disk_touch(file->host);
    if (failed || file->host->failed_sync || fault(file->host)) {
        file->host->failed_sync = true;
        return STATUS_IO;
    }
    buffer_clear(&synced->durable);
    buffer_append_slice(&synced->durable, buffer_slice(&synced->now));
    return STATUS_OK;
}

static enum status sim_name_rename(struct env *env, const char *from, const char *to)
{
    struct lab_host *host = host_of(env);
    int source = file_find(&host->disk, base_name(from));
    int target = file_find(&host->disk, base_name(to));
    if (source < 0) {
        return STATUS_NOT_FOUND;
    }
    if (disk_touch(host)) {
        return STATUS_IO;
    }
    if (target >= 0) {
        host->disk.files[target].name[0] = '\0';
    }
    (void)snprintf(host->disk.files[source].name, LAB_NAME_SIZE_MAX, "%s", base_name(to));
    rename_note(&host->disk, (unsigned)source, base_name(to));
    return STATUS_OK;
}

static enum status sim_name_remove(struct env *env, const char *path)
{
    struct lab_host *host = host_of(env);
    int found = file_find(&host->disk, base_name(path));
    if (found < 0) {
        return STATUS_NOT_FOUND;
    }
    if (disk_touch(host)) {
        return STATUS_IO;
    }
    host->disk.files[found].name[0] = '\0';
    rename_note(&host->disk, (unsigned)found, "");
    return STATUS_OK;
}

static enum status sim_dir_create(struct env *env, const char *path)
{
    (void)env;
    (void)path;
    return STATUS_EXISTS;
}

static int names_compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static enum status sim_dir_list(struct env *env, const char *path,
                                void (*each)(void *context, const char *name), void *context)
{
    struct lab_host *host = host_of(env);
    char names[LAB_FILE_COUNT_MAX][LAB_NAME_SIZE_MAX];
    size_t count = 0;
    (void)path;
    for (unsigned i = 0; i < LAB_FILE_COUNT_MAX; i++) {
        if (host->disk.files[i].used && host->disk.files[i].name[0] != '\0') {
            memcpy(names[count++], host->disk.files[i].name, LAB_NAME_SIZE_MAX);
        }
    }
    qsort(names, count, LAB_NAME_SIZE_MAX, names_compare);
    for (size_t i = 0; i < count; i++) {
        each(context, names[i]);
    }
    return STATUS_OK;
}

static enum status sim_dir_sync(struct env *env, const char *path)
{
    struct lab_host *host = host_of(env);
    (void)path;
    if (disk_touch(host)) {
        return STATUS_IO;
    }
    renames_settle(&host->disk, host->disk.rename_count);
    return STATUS_OK;
}

static enum status sim_dir_lock(struct env *env, const char *path, struct env_dir_lock **lock)
{
    struct lab_host *host = host_of(env);
    (void)path;
    if (host->locked) {
        return STATUS_LOCKED;
    }
    host->locked = true;
    *lock = malloc(sizeof **lock);
    ASSERT(*lock != NULL);
    (*lock)->host = host;
    return STATUS_OK;
}

static void sim_dir_unlock(struct env_dir_lock *lock)
{
    lock->host->locked = false;
    free(lock);
}

/* ---- time, chance, timers, jobs ---- */

static uint64_t sim_monotonic_ns(struct env *env)
{
    return host_of(env)->lab->now_ns;
}

static uint64_t sim_random(struct env *env)
{
    struct lab *lab = host_of(env)->lab;
    uint64_t number = prng_next(&lab->prng);
    lab_mix(lab, number);
    return number;
}

static void sim_log(struct env *env, enum log_level level, struct slice line)
{
    struct lab_host *host = host_of(env);
    lab_mix(host->lab, checksum64(line, (uint64_t)level));
    if (host->lab->verbose) {
        (void)fprintf(stderr, "%10.3f s%u %.*s\n", (double)host->lab->now_ns / 1e6, host->index + 1,
                      (int)line.size, (const char *)line.data);
    }
}

struct timer_token {
    struct env_timer *timer; /* NULL: stopped. */
};

static void timer_run(void *context)
{
    struct timer_token *token = context;
    struct env_timer *timer = token->timer;
    free(token);
    if (timer != NULL) {
        timer->implementation = NULL;
        timer->fired(timer);
    }
}

static void sim_timer_stop(struct env *env, struct env_timer *timer)
{
    (void)env;
    struct timer_token *token = timer->implementation;
    if (token != NULL) {
        token->timer = NULL;
        timer->implementation = NULL;
    }
}

static void sim_timer_start(struct env *env, struct env_timer *timer, uint64_t delay_ns)
{
    struct lab_host *host = host_of(env);
    sim_timer_stop(env, timer);
    struct timer_token *token = malloc(sizeof *token);
    ASSERT(token != NULL);
    token->timer = timer;
    timer->implementation = token;
    lab_at(host->lab, delay_ns, host, timer_run, token);
}

struct job_token {
    struct lab_host *host;
    struct env_job *job;
};

static void job_done(void *context)
{
    struct job_token *token = context;
    struct env_job *job = token->job;
    free(token);
    job->done(job, STATUS_OK);
}

static void job_run(void *context)
{
    struct job_token *token = context;
    struct lab_host *host = token->host;
    struct lab *lab = host->lab;
    token->job->run(token->job);
    if (host->crashed != NULL) {
        host->disk = *host->crashed;
        host->crashed = NULL;
        host->up = false;
        host->incarnation++;
        host->locked = false;
        lab->crashed(lab->context, host);
        return;
    }
    lab_at(lab, 20000 + lab_below(lab, 100000), host, job_done, token);
}

static void sim_job_submit(struct env *env, enum env_lane lane, struct env_job *job)
{
    struct lab_host *host = host_of(env);
    struct lab *lab = host->lab;
    ASSERT(lane == ENV_LANE_WAL);
    uint64_t span_us = lab_below(lab, 10) == 0 ? 40000 : 4000;
    uint64_t took_ns = (500 + lab_below(lab, span_us)) * 1000;
    if (lab->stall_one_in > 0 && lab_below(lab, lab->stall_one_in) == 0) {
        took_ns += lab_below(lab, 600) * 1000000;
    }
    uint64_t from_ns = host->lane_free_ns > lab->now_ns ? host->lane_free_ns : lab->now_ns;
    host->lane_free_ns = from_ns + took_ns;
    struct job_token *token = malloc(sizeof *token);
    ASSERT(token != NULL);
    *token = (struct job_token){.host = host, .job = job};
    lab_at(lab, host->lane_free_ns - lab->now_ns, host, job_run, token);
}

static const struct env_ops lab_ops = {
    .monotonic_ns = sim_monotonic_ns,
    .random_u64 = sim_random,
    .log_write = sim_log,
    .timer_start = sim_timer_start,
    .timer_stop = sim_timer_stop,
    .job_submit = sim_job_submit,
    .file_open = sim_file_open,
    .file_close = sim_file_close,
    .file_size = sim_file_size,
    .file_read = sim_file_read,
    .file_write = sim_file_write,
    .file_sync = sim_file_sync,
    .name_rename = sim_name_rename,
    .name_remove = sim_name_remove,
    .dir_create = sim_dir_create,
    .dir_list = sim_dir_list,
    .dir_sync = sim_dir_sync,
    .dir_lock = sim_dir_lock,
    .dir_unlock = sim_dir_unlock,
};

void lab_init(struct lab *lab, uint64_t seed)
{
    *lab = (struct lab){0};
    prng_init(&lab->prng, seed);
    for (unsigned i = 0; i < LAB_HOST_COUNT_MAX; i++) {
        lab->hosts[i] = (struct lab_host){.env = {.ops = &lab_ops}, .lab = lab, .index = i};
    }
}

void lab_host_start(struct lab_host *host)
{
    ASSERT(!host->up);
    host->up = true;
    host->incarnation++;
    host->lane_free_ns = host->lab->now_ns;
    host->failed_sync = false;
    host->crash_in = 0;
}

void lab_host_crash(struct lab_host *host, bool power)
{
    ASSERT(host->up);
    host->up = false;
    host->incarnation++;
    host->locked = false;
    if (power) {
        disk_crash(host->lab, &host->disk);
    }
}

void lab_host_lose(struct lab_host *host)
{
    ASSERT(host->crashed != NULL);
    for (unsigned i = 0; i < LAB_FILE_COUNT_MAX; i++) {
        buffer_deinit(&host->disk.files[i].now);
        buffer_deinit(&host->disk.files[i].durable);
    }
    host->disk = *host->crashed;
    free(host->crashed);
    host->crashed = NULL;
}

void lab_host_erase(struct lab_host *host)
{
    ASSERT(!host->up);
    for (unsigned i = 0; i < LAB_FILE_COUNT_MAX; i++) {
        buffer_deinit(&host->disk.files[i].now);
        buffer_deinit(&host->disk.files[i].durable);
    }
    host->disk = (struct lab_disk){0};
}
