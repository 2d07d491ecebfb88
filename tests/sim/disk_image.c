/*
 * tests/sim/disk_image.c -- names of a simulated disk, their changes, copies and losses of power.
 *
 * The bytes of files are disk_inode.c's.
 */
#include "tests/sim/disk_image.h"

#include <string.h>

#include "tests/sim/disk_inode.h"
#include "tests/sim/heap_sim.h"

static char *text_copy(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = heap_sim_take(size);
    memcpy(copy, text, size);
    return copy;
}

bool disk_path_is_in(const char *path, const char *folder)
{
    const char *slash = strrchr(path, '/');
    size_t parent_size = slash == NULL ? 0 : (size_t)(slash - path);
    return strlen(folder) == parent_size && memcmp(path, folder, parent_size) == 0;
}

/* --- one side's names ------------------------------------------------------------------------- */

static uint32_t names_index(const struct disk_names *names, const char *path)
{
    uint32_t low = 0;
    uint32_t high = names->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(names->items[middle].path, path) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct disk_name *names_find(const struct disk_names *names, const char *path)
{
    uint32_t index = names_index(names, path);
    if (index == names->count || strcmp(names->items[index].path, path) != 0) {
        return NULL;
    }
    return &names->items[index];
}

static void names_insert(struct disk_names *names, const char *path, struct disk_inode *inode)
{
    if (names->count == names->capacity) {
        names->capacity = names->capacity == 0 ? 16 : names->capacity * 2;
        names->items = heap_sim_retake(names->items, names->capacity * sizeof(*names->items));
    }
    uint32_t index = names_index(names, path);
    struct disk_name *place = &names->items[index];
    memmove(place + 1, place, (names->count - index) * sizeof(*place));
    *place = (struct disk_name){.path = text_copy(path), .inode = inode};
    names->count++;
}

static void names_erase(struct disk_names *names, struct disk_name *name)
{
    heap_sim_give(name->path);
    uint32_t index = (uint32_t)(name - names->items);
    memmove(name, name + 1, (names->count - index - 1) * sizeof(*name));
    names->count--;
}

/* --- names that hold inodes ------------------------------------------------------------------- */

static void seen_drop(struct disk_image *image, const char *path)
{
    struct disk_name *name = names_find(&image->seen, path);
    if (name != NULL) {
        struct disk_inode *inode = name->inode;
        names_erase(&image->seen, name);
        disk_inode_release(image, inode);
    }
}

static void seen_set(struct disk_image *image, const char *path, struct disk_inode *inode)
{
    disk_inode_hold(image, inode); /* First: it may be what the name holds already. */
    seen_drop(image, path);
    names_insert(&image->seen, path, inode);
}

static void durable_drop(struct disk_image *image, const char *path)
{
    struct disk_name *name = names_find(&image->durable, path);
    if (name != NULL) {
        struct disk_inode *inode = name->inode;
        names_erase(&image->durable, name);
        disk_inode_unref(inode);
    }
}

static void durable_set(struct disk_image *image, const char *path, struct disk_inode *inode)
{
    inode->reference_count++;
    durable_drop(image, path);
    names_insert(&image->durable, path, inode);
}

/* --- changes ---------------------------------------------------------------------------------- */

static void change_add(struct disk_image *image, const char *from, const char *to,
                       struct disk_inode *inode)
{
    if (image->change_count == image->change_capacity) {
        image->change_capacity = image->change_capacity == 0 ? 16 : image->change_capacity * 2;
        image->changes =
            heap_sim_retake(image->changes, image->change_capacity * sizeof(*image->changes));
    }
    if (inode != NULL) {
        inode->reference_count++;
    }
    image->changes[image->change_count++] = (struct disk_change){
        .from = from == NULL ? NULL : text_copy(from),
        .to = to == NULL ? NULL : text_copy(to),
        .inode = inode,
    };
}

static void change_free(struct disk_change *change)
{
    heap_sim_give(change->from);
    heap_sim_give(change->to);
    if (change->inode != NULL) {
        disk_inode_unref(change->inode);
    }
}

static void change_apply(struct disk_image *image, const struct disk_change *change)
{
    if (change->to != NULL) {
        durable_set(image, change->to, change->inode);
    }
    if (change->from != NULL) {
        durable_drop(image, change->from);
    }
}

/* Whether both have to do with one name, so that their order matters. */
static bool changes_meet(const struct disk_change *a, const struct disk_change *b)
{
    const char *names[2] = {a->from, a->to};
    for (size_t index = 0; index < ARRAY_COUNT(names); index++) {
        const char *name = names[index];
        if (name == NULL) {
            continue;
        }
        if ((b->from != NULL && strcmp(name, b->from) == 0) ||
            (b->to != NULL && strcmp(name, b->to) == 0)) {
            return true;
        }
    }
    return false;
}

/* Applies the chosen changes in order and keeps the others. */
static void changes_apply(struct disk_image *image, const bool *chosen)
{
    uint32_t kept = 0;
    for (uint32_t index = 0; index < image->change_count; index++) {
        struct disk_change *change = &image->changes[index];
        if (chosen[index]) {
            change_apply(image, change);
            change_free(change);
        } else {
            image->changes[kept++] = *change;
        }
    }
    image->change_count = kept;
}

void disk_image_sync_folder(struct disk_image *image, const char *path)
{
    if (image->change_count == 0) {
        return;
    }
    bool *chosen = heap_sim_take(image->change_count * sizeof(*chosen));
    /* Backwards: what an applied change rests on is applied too. */
    for (uint32_t index = image->change_count; index-- > 0;) {
        const struct disk_change *change = &image->changes[index];
        chosen[index] = (change->from != NULL && disk_path_is_in(change->from, path)) ||
                        (change->to != NULL && disk_path_is_in(change->to, path));
        for (uint32_t later = index + 1; later < image->change_count && !chosen[index]; later++) {
            chosen[index] = chosen[later] && changes_meet(change, &image->changes[later]);
        }
    }
    changes_apply(image, chosen);
    heap_sim_give(chosen);
}

/* --- the seen side ---------------------------------------------------------------------------- */

struct disk_inode *disk_image_find(const struct disk_image *image, const char *path)
{
    struct disk_name *name = names_find(&image->seen, path);
    return name == NULL ? NULL : name->inode;
}

bool disk_image_has_folder(const struct disk_image *image, const char *path)
{
    if (path[0] == '\0') {
        return true;
    }
    struct disk_inode *inode = disk_image_find(image, path);
    return inode != NULL && inode->is_folder;
}

uint32_t disk_image_index(const struct disk_image *image, const char *path)
{
    return names_index(&image->seen, path);
}

struct disk_inode *disk_image_create(struct disk_image *image, const char *path, bool is_folder)
{
    struct disk_inode *inode = heap_sim_take(sizeof(*inode));
    inode->is_folder = is_folder;
    seen_set(image, path, inode);
    change_add(image, NULL, path, inode);
    return inode;
}

void disk_image_link(struct disk_image *image, struct disk_inode *inode, const char *to)
{
    seen_set(image, to, inode);
    change_add(image, NULL, to, inode);
}

void disk_image_rename(struct disk_image *image, const char *from, const char *to)
{
    struct disk_inode *inode = disk_image_find(image, from);
    ASSERT(inode != NULL);
    if (disk_image_find(image, to) == inode) {
        return; /* POSIX: two names of one file stay as they are. */
    }
    change_add(image, from, to, inode);
    seen_set(image, to, inode);
    seen_drop(image, from);
}

void disk_image_remove(struct disk_image *image, const char *path)
{
    change_add(image, path, NULL, NULL);
    seen_drop(image, path);
}

/* --- whole images ----------------------------------------------------------------------------- */

void disk_image_init(struct disk_image *image)
{
    *image = (struct disk_image){0};
    image->zero = heap_sim_take(sizeof(*image->zero));
    image->zero->reference_count = 1;
}

static void durable_clear(struct disk_image *image)
{
    while (image->durable.count > 0) {
        struct disk_name *name = &image->durable.items[image->durable.count - 1];
        struct disk_inode *inode = name->inode;
        names_erase(&image->durable, name);
        disk_inode_unref(inode);
    }
}

static void seen_clear(struct disk_image *image)
{
    while (image->seen.count > 0) {
        struct disk_name *name = &image->seen.items[image->seen.count - 1];
        struct disk_inode *inode = name->inode;
        names_erase(&image->seen, name);
        disk_inode_release(image, inode);
    }
}

static void changes_clear(struct disk_image *image)
{
    for (uint32_t index = 0; index < image->change_count; index++) {
        change_free(&image->changes[index]);
    }
    image->change_count = 0;
}

void disk_image_deinit(struct disk_image *image)
{
    changes_clear(image);
    durable_clear(image);
    seen_clear(image);
    ASSERT(image->page_count == 0);
    heap_sim_give(image->changes);
    heap_sim_give(image->durable.items);
    heap_sim_give(image->seen.items);
    ASSERT(image->zero->reference_count == 1);
    heap_sim_give(image->zero);
    *image = (struct disk_image){0};
}

/* The copy of an inode, made when it is first met. */
static struct disk_inode *twin_of(struct disk_inode *inode, struct disk_page *zero_from,
                                  struct disk_page *zero_to)
{
    if (inode->twin == NULL) {
        inode->twin = disk_inode_copy(inode, zero_from, zero_to);
    }
    return inode->twin;
}

static void twins_forget(const struct disk_image *image)
{
    for (uint32_t index = 0; index < image->seen.count; index++) {
        image->seen.items[index].inode->twin = NULL;
    }
    for (uint32_t index = 0; index < image->durable.count; index++) {
        image->durable.items[index].inode->twin = NULL;
    }
    for (uint32_t index = 0; index < image->change_count; index++) {
        if (image->changes[index].inode != NULL) {
            image->changes[index].inode->twin = NULL;
        }
    }
}

void disk_image_copy(struct disk_image *to, const struct disk_image *from)
{
    disk_image_init(to);
    for (uint32_t index = 0; index < from->seen.count; index++) {
        const struct disk_name *name = &from->seen.items[index];
        seen_set(to, name->path, twin_of(name->inode, from->zero, to->zero));
    }
    for (uint32_t index = 0; index < from->durable.count; index++) {
        const struct disk_name *name = &from->durable.items[index];
        durable_set(to, name->path, twin_of(name->inode, from->zero, to->zero));
    }
    for (uint32_t index = 0; index < from->change_count; index++) {
        const struct disk_change *change = &from->changes[index];
        struct disk_inode *inode = NULL;
        if (change->inode != NULL) {
            inode = twin_of(change->inode, from->zero, to->zero);
        }
        change_add(to, change->from, change->to, inode);
    }
    twins_forget(from);
}

/* --- loss of power ---------------------------------------------------------------------------- */

/* All of the unsynced changes happened, or the first few, or any that rest on no lost one. */
static void changes_settle(struct disk_image *image, struct prng *prng)
{
    if (image->change_count == 0) {
        return;
    }
    uint32_t count = image->change_count;
    bool *chosen = heap_sim_take(count * sizeof(*chosen));
    uint64_t mode = prng_below(prng, 3);
    uint32_t prefix = mode == 0 ? count : (uint32_t)prng_below(prng, (uint64_t)count + 1);
    for (uint32_t index = 0; index < count; index++) {
        if (mode != 2) {
            chosen[index] = index < prefix;
            continue;
        }
        chosen[index] = prng_chance(prng, 1, 2);
        for (uint32_t earlier = 0; earlier < index && chosen[index]; earlier++) {
            chosen[index] =
                chosen[earlier] || !changes_meet(&image->changes[earlier], &image->changes[index]);
        }
    }
    changes_apply(image, chosen);
    changes_clear(image);
    heap_sim_give(chosen);
}

/* A name whose folder did not survive did not either; parents sort before what is in them. */
static void orphans_drop(struct disk_image *image)
{
    for (uint32_t index = 0; index < image->durable.count;) {
        struct disk_name *name = &image->durable.items[index];
        char parent[DISK_PATH_SIZE_MAX] = "";
        const char *slash = strrchr(name->path, '/');
        if (slash == NULL) {
            index++;
            continue;
        }
        memcpy(parent, name->path, (size_t)(slash - name->path));
        struct disk_name *folder = names_find(&image->durable, parent);
        if (folder != NULL && folder->inode->is_folder) {
            index++;
            continue;
        }
        struct disk_inode *inode = name->inode;
        names_erase(&image->durable, name);
        disk_inode_unref(inode);
    }
}

void disk_image_settle(struct disk_image *image, struct prng *prng)
{
    changes_settle(image, prng);
    orphans_drop(image);
    seen_clear(image);
    ASSERT(image->page_count == 0);
    for (uint32_t index = 0; index < image->durable.count; index++) {
        disk_inode_settle(image->durable.items[index].inode, prng);
    }
    for (uint32_t index = 0; index < image->durable.count; index++) {
        const struct disk_name *name = &image->durable.items[index];
        seen_set(image, name->path, name->inode);
    }
}
