/*
 * tests/sim/disk_sim.c -- the calls of a simulated disk: their faults, their time, their trace.
 *
 * What is on the disk, and what a crash leaves of it, is disk_image.c's. A frozen disk keeps aside
 * the image that the crash will find, and goes on with the other.
 */
#include "tests/sim/disk_sim.h"

#include <string.h>

#include "tests/sim/disk_image.h"
#include "tests/sim/heap_sim.h"
#include "tests/sim/trace.h"

#define PPM 1000000u
#define LOCK_NAME "LOCK" /* As base/file_uv.c, so that dir_list shows the same. */

/* Names a call in the trace. */
enum disk_call {
    DISK_OPEN = 1,
    DISK_CLOSE,
    DISK_SIZE,
    DISK_READ,
    DISK_READ_NOWAIT,
    DISK_WRITE,
    DISK_SYNC,
    DISK_TRUNCATE,
    DISK_RESERVE,
    DISK_LINK,
    DISK_RENAME,
    DISK_REMOVE,
    DISK_DIR_CREATE,
    DISK_DIR_LIST,
    DISK_DIR_SYNC,
    DISK_DIR_LOCK,
};

struct disk_sim {
    struct disk_world world;
    struct disk_sim_options options;
    struct disk_image image;
    struct disk_image crash_image; /* While frozen. */
    bool frozen;
    uint64_t freeze_countdown; /* 0: not armed. */
    uint64_t operation_count;
    uint64_t call_count; /* That a fault may meet. */
    uint64_t read_count;
    enum disk_trouble trouble;
    uint64_t trouble_at; /* Of call_count, or of read_count. */
    struct list_node files;
    struct list_node locks;
};

struct env_file {
    struct list_node node;
    struct disk_sim *disk;
    struct disk_inode *inode;
    bool writable;
    bool poisoned;
    bool sync_skipped;
    char path[DISK_PATH_SIZE_MAX]; /* As it was opened. */
};

struct env_dir_lock {
    struct list_node node;
    char path[DISK_PATH_SIZE_MAX];
};

/* --- paths, chance and time ------------------------------------------------------------------- */

/* Normal form: "/data//x/" and "./data/x" are data/x. */
static void path_normalise(const char *path, char to[DISK_PATH_SIZE_MAX])
{
    size_t size = 0;
    while (*path != '\0') {
        size_t part = strcspn(path, "/");
        bool empty = part == 0 || (part == 1 && path[0] == '.');
        if (!empty) {
            ASSERT(size + part + 2 <= DISK_PATH_SIZE_MAX);
            if (size > 0) {
                to[size++] = '/';
            }
            memcpy(to + size, path, part);
            size += part;
        }
        path += part + (path[part] == '/');
    }
    to[size] = '\0';
}

static bool has_parent(const struct disk_sim *disk, const char *path)
{
    char parent[DISK_PATH_SIZE_MAX] = "";
    const char *slash = strrchr(path, '/');
    if (slash != NULL) {
        memcpy(parent, path, (size_t)(slash - path));
    }
    return disk_image_has_folder(&disk->image, parent);
}

static bool chance(struct disk_sim *disk, uint32_t ppm)
{
    return ppm > 0 && prng_chance(disk->world.prng, ppm, PPM);
}

static void spend(struct disk_sim *disk, uint64_t ns_max)
{
    if (ns_max > 0) {
        *disk->world.cost_ns += prng_below(disk->world.prng, ns_max + 1);
    }
    if (chance(disk, disk->options.faults.slow_ppm)) {
        *disk->world.cost_ns += disk->options.faults.slow_ns;
    }
}

/* Every blocking call begins here. */
static void call_begin(struct disk_sim *disk, enum disk_call call, uint64_t ns_max)
{
    ASSERT(*disk->world.may_block);
    trace_number(disk->world.hash, call);
    spend(disk, ns_max);
}

/* Keeps aside what a crash would find now. */
static void freeze(struct disk_sim *disk)
{
    ASSERT(!disk->frozen);
    disk_image_copy(&disk->crash_image, &disk->image);
    disk->frozen = true;
    disk->freeze_countdown = 0;
}

/* A call that changes something begins. */
static void change_begin(struct disk_sim *disk)
{
    disk->operation_count++;
    if (disk->freeze_countdown > 0) {
        disk->freeze_countdown--;
        if (disk->freeze_countdown == 0) {
            freeze(disk);
        }
    }
}

static void sync_point(struct disk_sim *disk, bool synced)
{
    if (disk->world.sync_point != NULL) {
        disk->world.sync_point(disk->world.context, synced);
    }
}

/* Whether the name has one of the ends, which commas set off. NULL ends nothing. */
static bool ends_with(const char *name, const char *ends)
{
    size_t size = strlen(name);
    while (ends != NULL && *ends != '\0') {
        size_t part = strcspn(ends, ",");
        if (size >= part && memcmp(name + size - part, ends, part) == 0) {
            return true;
        }
        ends += part + (ends[part] == ',');
    }
    return false;
}

/* Whether this call fails: by a drawn fault, or because a sweep has come to it. */
static bool call_fails(struct disk_sim *disk, uint32_t ppm)
{
    disk->call_count++;
    bool reached = disk->trouble != DISK_TROUBLE_NONE && disk->call_count >= disk->trouble_at;
    if (reached && disk->trouble == DISK_TROUBLE_NO_SPACE) {
        disk->options.faults.capacity_size = 0;
    }
    bool planned =
        reached && (disk->trouble == DISK_TROUBLE_ERRORS ||
                    (disk->trouble == DISK_TROUBLE_ERROR && disk->call_count == disk->trouble_at));
    return planned || chance(disk, ppm);
}

/* Whether a call that changes something on `path` meets an error. */
static bool change_fails(struct disk_sim *disk, const char *path, uint32_t ppm)
{
    struct disk_faults *faults = &disk->options.faults;
    if (faults->error_path_part != NULL && strstr(path, faults->error_path_part) == NULL) {
        return call_fails(disk, 0);
    }
    if (faults->error_countdown > 0) {
        faults->error_countdown--;
        if (faults->error_countdown == 0) {
            return true;
        }
    }
    return call_fails(disk, ppm);
}

static bool name_fails(struct disk_sim *disk, const char *path)
{
    return change_fails(disk, path, disk->options.faults.name_error_ppm);
}

static uint64_t pages_free(const struct disk_sim *disk)
{
    uint64_t capacity = disk->options.faults.capacity_size / DISK_PAGE_SIZE;
    return capacity > disk->image.page_count ? capacity - disk->image.page_count : 0;
}

/* --- the disk --------------------------------------------------------------------------------- */

struct disk_sim *disk_sim_create(const struct disk_sim_options *options,
                                 const struct disk_world *world)
{
    struct disk_sim *disk = heap_sim_take(sizeof(*disk));
    disk->options = *options;
    disk->world = *world;
    disk_image_init(&disk->image);
    list_init(&disk->files);
    list_init(&disk->locks);
    return disk;
}

static void file_free(struct env_file *file)
{
    list_remove(&file->node);
    disk_inode_release(&file->disk->image, file->inode);
    heap_sim_give(file);
}

/* What the process held is gone with it. */
static void handles_drop(struct disk_sim *disk)
{
    list_for_each (node, following, &disk->files) {
        file_free(container_of(node, struct env_file, node));
    }
    list_for_each (node, following, &disk->locks) {
        list_remove(node);
        heap_sim_give(container_of(node, struct env_dir_lock, node));
    }
}

void disk_sim_destroy(struct disk_sim *disk)
{
    disk_sim_crash(disk, false);
    disk_image_deinit(&disk->image);
    heap_sim_give(disk);
}

struct disk_faults *disk_sim_faults(struct disk_sim *disk)
{
    return &disk->options.faults;
}

void disk_sim_crash(struct disk_sim *disk, bool power)
{
    handles_drop(disk);
    if (disk->frozen) {
        disk_image_deinit(&disk->image);
        disk->image = disk->crash_image;
        disk->frozen = false;
    }
    disk->freeze_countdown = 0;
    if (power) {
        disk_image_settle(&disk->image, disk->world.prng);
    }
}

void disk_sim_freeze_in(struct disk_sim *disk, uint64_t operation_count)
{
    if (disk->frozen) {
        return;
    }
    disk->freeze_countdown = operation_count;
    if (operation_count == 0) {
        freeze(disk);
    }
}

void disk_sim_unfreeze(struct disk_sim *disk)
{
    ASSERT(!disk->frozen);
    disk->freeze_countdown = 0;
}

bool disk_sim_frozen(const struct disk_sim *disk)
{
    return disk->frozen;
}

void disk_sim_fail_in(struct disk_sim *disk, enum disk_trouble trouble, uint64_t count)
{
    ASSERT(count > 0);
    disk->trouble = trouble;
    disk->trouble_at =
        count + (trouble == DISK_TROUBLE_SHORT ? disk->read_count : disk->call_count);
}

void disk_sim_fail_end(struct disk_sim *disk)
{
    disk->trouble = DISK_TROUBLE_NONE;
}

uint64_t disk_sim_call_count(const struct disk_sim *disk)
{
    return disk->call_count;
}

uint64_t disk_sim_read_count(const struct disk_sim *disk)
{
    return disk->read_count;
}

uint64_t disk_sim_operation_count(const struct disk_sim *disk)
{
    return disk->operation_count;
}

uint64_t disk_sim_used_size(const struct disk_sim *disk)
{
    return disk->image.page_count * DISK_PAGE_SIZE;
}

uint32_t disk_sim_file_count(const struct disk_sim *disk)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < disk->image.seen.count; index++) {
        count += !disk->image.seen.items[index].inode->is_folder;
    }
    return count;
}

const char *disk_sim_path(const struct disk_sim *disk, uint32_t index)
{
    for (uint32_t place = 0; place < disk->image.seen.count; place++) {
        const struct disk_name *name = &disk->image.seen.items[place];
        if (name->inode->is_folder) {
            continue;
        }
        if (index == 0) {
            return name->path;
        }
        index--;
    }
    UNREACHABLE("no file of that index");
}

bool disk_sim_rot(struct disk_sim *disk, const char *path)
{
    char name[DISK_PATH_SIZE_MAX];
    path_normalise(path, name);
    struct disk_inode *inode = disk_image_find(&disk->image, name);
    if (inode == NULL || inode->size_seen == 0) {
        return false;
    }
    uint64_t offset = prng_below(disk->world.prng, inode->size_seen);
    uint8_t mask = (uint8_t)BIT(prng_below(disk->world.prng, 8));
    trace_number(disk->world.hash, offset);
    disk_inode_flip(&disk->image, inode, offset, mask);
    return true;
}

void disk_sim_wipe(struct disk_sim *disk)
{
    ASSERT(list_empty(&disk->files));
    ASSERT(!disk->frozen);
    disk_image_deinit(&disk->image);
    disk_image_init(&disk->image);
}

void disk_sim_copy(struct disk_sim *to, const struct disk_sim *from)
{
    ASSERT(list_empty(&to->files));
    ASSERT(!to->frozen);
    disk_image_deinit(&to->image);
    disk_image_copy(&to->image, &from->image);
}

/* --- files ------------------------------------------------------------------------------------ */

static struct env_file *file_new(struct disk_sim *disk, struct disk_inode *inode, bool writable)
{
    struct env_file *file = heap_sim_take(sizeof(*file));
    *file = (struct env_file){.disk = disk, .inode = inode, .writable = writable};
    list_append(&disk->files, &file->node);
    disk_inode_hold(&disk->image, inode);
    return file;
}

enum status disk_sim_open(struct disk_sim *disk, const char *path, enum env_open mode,
                          struct env_file **file)
{
    char name[DISK_PATH_SIZE_MAX];
    path_normalise(path, name);
    call_begin(disk, DISK_OPEN, disk->options.name_ns_max);
    trace_bytes(disk->world.hash, slice_text(name));
    struct disk_inode *inode = disk_image_find(&disk->image, name);
    if (mode == ENV_OPEN_CREATE) {
        change_begin(disk);
        if (name_fails(disk, name)) {
            return STATUS_IO;
        }
        if (inode != NULL || name[0] == '\0') {
            return STATUS_EXISTS;
        }
        if (!has_parent(disk, name)) {
            return STATUS_NOT_FOUND;
        }
        inode = disk_image_create(&disk->image, name, false);
    } else if (chance(disk, disk->options.faults.name_error_ppm)) {
        return STATUS_IO;
    }
    if (inode == NULL) {
        return STATUS_NOT_FOUND;
    }
    if (inode->is_folder) {
        return STATUS_IO;
    }
    *file = file_new(disk, inode, mode != ENV_OPEN_READ);
    memcpy((*file)->path, name, strlen(name) + 1);
    (*file)->sync_skipped = ends_with(name, disk->options.sync_skipped);
    return STATUS_OK;
}

void disk_sim_close(struct env_file *file)
{
    call_begin(file->disk, DISK_CLOSE, 0);
    file_free(file);
}

enum status disk_sim_size(struct env_file *file, uint64_t *size)
{
    call_begin(file->disk, DISK_SIZE, 0);
    *size = file->inode->size_seen;
    return STATUS_OK;
}

static void file_read(struct env_file *file, uint64_t offset, void *to, size_t size, size_t *got)
{
    uint64_t end = file->inode->size_seen;
    uint64_t there = offset < end ? end - offset : 0;
    size_t part = there < size ? (size_t)there : size;
    if (part > 0) {
        disk_inode_read(file->inode, offset, to, part);
    }
    *got = part;
}

enum status disk_sim_read(struct env_file *file, uint64_t offset, void *to, size_t size,
                          size_t *got)
{
    struct disk_sim *disk = file->disk;
    call_begin(disk, DISK_READ, disk->options.read_ns_max);
    trace_number(disk->world.hash, offset);
    trace_number(disk->world.hash, size);
    if (call_fails(disk, disk->options.faults.read_error_ppm)) {
        return STATUS_IO;
    }
    file_read(file, offset, to, size, got);
    disk->read_count++;
    if (disk->trouble == DISK_TROUBLE_SHORT && disk->read_count == disk->trouble_at) {
        *got /= 2;
    }
    return STATUS_OK;
}

enum status disk_sim_read_nowait(struct env_file *file, uint64_t offset, void *to, size_t size,
                                 size_t *got)
{
    struct disk_sim *disk = file->disk;
    trace_number(disk->world.hash, DISK_READ_NOWAIT);
    trace_number(disk->world.hash, offset);
    trace_number(disk->world.hash, size);
    if (chance(disk, disk->options.faults.would_block_ppm)) {
        return STATUS_WOULD_BLOCK;
    }
    file_read(file, offset, to, size, got);
    return STATUS_OK;
}

/* An error of the device: any of the sectors may have been written. */
static void write_some(struct disk_sim *disk, struct disk_inode *inode, uint64_t offset,
                       struct slice data)
{
    uint64_t end = offset + data.size;
    for (uint64_t start = offset; start < end;) {
        uint64_t next = start - start % ENV_SECTOR_SIZE + ENV_SECTOR_SIZE;
        next = next < end ? next : end;
        bool room = disk_inode_missing(inode, start, next - start) <= pages_free(disk);
        if (room && prng_chance(disk->world.prng, 1, 2)) {
            const uint8_t *from = data.data + (start - offset);
            disk_inode_write(&disk->image, inode, start, slice_make(from, (size_t)(next - start)));
        }
        start = next;
    }
}

enum status disk_sim_write(struct env_file *file, uint64_t offset, struct slice data)
{
    struct disk_sim *disk = file->disk;
    ASSERT(file->writable);
    call_begin(disk, DISK_WRITE, disk->options.write_ns_max);
    change_begin(disk);
    trace_number(disk->world.hash, offset);
    trace_bytes(disk->world.hash, data);
    if (change_fails(disk, file->path, disk->options.faults.write_error_ppm)) {
        write_some(disk, file->inode, offset, data);
        return disk->options.faults.write_error_no_space ? STATUS_NO_SPACE : STATUS_IO;
    }
    if (disk_inode_missing(file->inode, offset, data.size) > pages_free(disk)) {
        write_some(disk, file->inode, offset, data);
        return STATUS_NO_SPACE;
    }
    disk_inode_write(&disk->image, file->inode, offset, data);
    return STATUS_OK;
}

enum status disk_sim_sync(struct env_file *file)
{
    struct disk_sim *disk = file->disk;
    call_begin(disk, DISK_SYNC, disk->options.sync_ns_max);
    change_begin(disk);
    sync_point(disk, false);
    if (file->sync_skipped) {
        return STATUS_OK;
    }
    if (file->poisoned) {
        return STATUS_IO;
    }
    if (change_fails(disk, file->path, disk->options.faults.sync_error_ppm)) {
        file->poisoned = true;
        disk_inode_sync_failed(file->inode, disk->world.prng);
        return STATUS_IO;
    }
    disk_inode_sync(file->inode);
    sync_point(disk, true);
    return STATUS_OK;
}

enum status disk_sim_truncate(struct env_file *file, uint64_t size)
{
    struct disk_sim *disk = file->disk;
    ASSERT(file->writable);
    call_begin(disk, DISK_TRUNCATE, disk->options.name_ns_max);
    change_begin(disk);
    trace_number(disk->world.hash, size);
    if (change_fails(disk, file->path, disk->options.faults.write_error_ppm)) {
        return STATUS_IO;
    }
    disk_inode_truncate(&disk->image, file->inode, size);
    return STATUS_OK;
}

enum status disk_sim_reserve(struct env_file *file, uint64_t offset, uint64_t size)
{
    struct disk_sim *disk = file->disk;
    ASSERT(file->writable);
    call_begin(disk, DISK_RESERVE, disk->options.write_ns_max);
    change_begin(disk);
    trace_number(disk->world.hash, offset);
    trace_number(disk->world.hash, size);
    if (size == 0) {
        return STATUS_OK;
    }
    if (change_fails(disk, file->path, disk->options.faults.write_error_ppm)) {
        return STATUS_IO;
    }
    if (disk_inode_missing(file->inode, offset, size) > pages_free(disk)) {
        return STATUS_NO_SPACE;
    }
    disk_inode_reserve(&disk->image, file->inode, offset, size);
    return STATUS_OK;
}

/* --- names ------------------------------------------------------------------------------------ */

/* A call with one path; false if it fails by a drawn fault. */
static bool name_begin(struct disk_sim *disk, enum disk_call call, const char *path,
                       char name[DISK_PATH_SIZE_MAX])
{
    path_normalise(path, name);
    call_begin(disk, call, disk->options.name_ns_max);
    trace_bytes(disk->world.hash, slice_text(name));
    return call == DISK_DIR_LIST || call == DISK_DIR_LOCK
               ? !chance(disk, disk->options.faults.name_error_ppm)
               : !name_fails(disk, name);
}

/* Of link and rename. */
static enum status target_check(struct disk_sim *disk, struct disk_inode *source, const char *to)
{
    if (source == NULL || !has_parent(disk, to)) {
        return STATUS_NOT_FOUND;
    }
    /* Nobody renames folders here: their names would have to follow. */
    ASSERT(!source->is_folder);
    return STATUS_OK;
}

enum status disk_sim_link(struct disk_sim *disk, const char *from, const char *to)
{
    char source_name[DISK_PATH_SIZE_MAX];
    char name[DISK_PATH_SIZE_MAX];
    path_normalise(from, source_name);
    trace_bytes(disk->world.hash, slice_text(source_name));
    bool works = name_begin(disk, DISK_LINK, to, name);
    change_begin(disk);
    if (!works) {
        return STATUS_IO;
    }
    struct disk_inode *source = disk_image_find(&disk->image, source_name);
    enum status status = target_check(disk, source, name);
    if (status != STATUS_OK) {
        return status;
    }
    if (disk_image_find(&disk->image, name) != NULL) {
        return STATUS_EXISTS;
    }
    disk_image_link(&disk->image, source, name);
    return STATUS_OK;
}

enum status disk_sim_rename(struct disk_sim *disk, const char *from, const char *to)
{
    char source_name[DISK_PATH_SIZE_MAX];
    char name[DISK_PATH_SIZE_MAX];
    path_normalise(from, source_name);
    trace_bytes(disk->world.hash, slice_text(source_name));
    bool works = name_begin(disk, DISK_RENAME, to, name);
    change_begin(disk);
    if (!works) {
        return STATUS_IO;
    }
    struct disk_inode *source = disk_image_find(&disk->image, source_name);
    enum status status = target_check(disk, source, name);
    if (status != STATUS_OK) {
        return status;
    }
    struct disk_inode *target = disk_image_find(&disk->image, name);
    if (target != NULL && target->is_folder) {
        return STATUS_IO;
    }
    disk_image_rename(&disk->image, source_name, name);
    return STATUS_OK;
}

/* Calls `each` for the names directly in the folder, until it says false. */
static void folder_walk(const struct disk_sim *disk, const char *folder,
                        bool (*each)(void *context, const char *name), void *context)
{
    size_t prefix = strlen(folder) + (folder[0] != '\0');
    const struct disk_names *names = &disk->image.seen;
    for (uint32_t index = disk_image_index(&disk->image, folder); index < names->count; index++) {
        const char *path = names->items[index].path;
        if (strncmp(path, folder, strlen(folder)) != 0) {
            break;
        }
        if (path[0] != '\0' && strcmp(path, folder) != 0 && disk_path_is_in(path, folder) &&
            !each(context, path + prefix)) {
            break;
        }
    }
}

static bool seen_one(void *context, const char *name)
{
    (void)name;
    bool *found = context;
    *found = true;
    return false;
}

enum status disk_sim_remove(struct disk_sim *disk, const char *path)
{
    char name[DISK_PATH_SIZE_MAX];
    bool works = name_begin(disk, DISK_REMOVE, path, name);
    change_begin(disk);
    if (!works) {
        return STATUS_IO;
    }
    struct disk_inode *inode = disk_image_find(&disk->image, name);
    if (inode == NULL) {
        return STATUS_NOT_FOUND;
    }
    bool filled = false;
    if (inode->is_folder) {
        folder_walk(disk, name, seen_one, &filled);
    }
    if (filled) {
        return STATUS_EXISTS;
    }
    disk_image_remove(&disk->image, name);
    return STATUS_OK;
}

enum status disk_sim_dir_create(struct disk_sim *disk, const char *path)
{
    char name[DISK_PATH_SIZE_MAX];
    bool works = name_begin(disk, DISK_DIR_CREATE, path, name);
    change_begin(disk);
    if (!works) {
        return STATUS_IO;
    }
    if (name[0] == '\0' || disk_image_find(&disk->image, name) != NULL) {
        return STATUS_EXISTS;
    }
    if (!has_parent(disk, name)) {
        return STATUS_NOT_FOUND;
    }
    (void)disk_image_create(&disk->image, name, true);
    return STATUS_OK;
}

/* Names one after the other, each with its terminator. */
struct name_list {
    char *text;
    size_t size;
    size_t capacity;
};

static bool name_list_add(void *context, const char *name)
{
    struct name_list *list = context;
    size_t size = strlen(name) + 1;
    if (list->size + size > list->capacity) {
        list->capacity = (list->size + size) * 2;
        list->text = heap_sim_retake(list->text, list->capacity);
    }
    ASSERT(list->text != NULL);
    memcpy(list->text + list->size, name, size);
    list->size += size;
    return true;
}

enum status disk_sim_dir_list(struct disk_sim *disk, const char *path,
                              void (*each)(void *context, const char *name), void *context)
{
    char name[DISK_PATH_SIZE_MAX];
    if (!name_begin(disk, DISK_DIR_LIST, path, name)) {
        return STATUS_IO;
    }
    if (!disk_image_has_folder(&disk->image, name)) {
        return STATUS_NOT_FOUND;
    }
    /* A copy: `each` may change the folder. */
    struct name_list list = {0};
    folder_walk(disk, name, name_list_add, &list);
    for (size_t offset = 0; offset < list.size; offset += strlen(list.text + offset) + 1) {
        each(context, list.text + offset);
    }
    heap_sim_give(list.text);
    return STATUS_OK;
}

enum status disk_sim_dir_sync(struct disk_sim *disk, const char *path)
{
    char name[DISK_PATH_SIZE_MAX];
    path_normalise(path, name);
    call_begin(disk, DISK_DIR_SYNC, disk->options.sync_ns_max);
    trace_bytes(disk->world.hash, slice_text(name));
    change_begin(disk);
    if (!disk_image_has_folder(&disk->image, name)) {
        return STATUS_NOT_FOUND;
    }
    sync_point(disk, false);
    if (change_fails(disk, name, disk->options.faults.sync_error_ppm)) {
        return STATUS_IO;
    }
    disk_image_sync_folder(&disk->image, name);
    sync_point(disk, true);
    return STATUS_OK;
}

enum status disk_sim_dir_lock(struct disk_sim *disk, const char *path, struct env_dir_lock **lock)
{
    char name[DISK_PATH_SIZE_MAX];
    if (!name_begin(disk, DISK_DIR_LOCK, path, name)) {
        return STATUS_IO;
    }
    if (!disk_image_has_folder(&disk->image, name)) {
        return STATUS_NOT_FOUND;
    }
    list_for_each (node, following, &disk->locks) {
        if (strcmp(container_of(node, struct env_dir_lock, node)->path, name) == 0) {
            return STATUS_LOCKED;
        }
    }
    struct env_dir_lock *taken = heap_sim_take(sizeof(*taken));
    size_t size = strlen(name);
    memcpy(taken->path, name, size + 1);
    list_append(&disk->locks, &taken->node);
    ASSERT(size + sizeof("/" LOCK_NAME) <= sizeof(name));
    memcpy(name + size, "/" LOCK_NAME, sizeof("/" LOCK_NAME));
    const char *file_name = size == 0 ? name + 1 : name;
    if (disk_image_find(&disk->image, file_name) == NULL) {
        change_begin(disk);
        (void)disk_image_create(&disk->image, file_name, false);
    }
    *lock = taken;
    return STATUS_OK;
}

void disk_sim_dir_unlock(struct env_dir_lock *lock)
{
    list_remove(&lock->node);
    heap_sim_give(lock);
}

enum status disk_sim_space_free(struct disk_sim *disk, const char *path, uint64_t *bytes)
{
    (void)path;
    *bytes = pages_free(disk) * DISK_PAGE_SIZE;
    return STATUS_OK;
}
