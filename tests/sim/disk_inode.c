/*
 * tests/sim/disk_inode.c -- the bytes of one file of a simulated disk, seen and durable.
 */
#include "tests/sim/disk_inode.h"

#include <string.h>

#include "tests/sim/heap_sim.h"

#define SECTORS_ALL 0xffu

/* --- pages ------------------------------------------------------------------------------------ */

static struct disk_page *page_ref(struct disk_page *page)
{
    if (page != NULL) {
        page->reference_count++;
    }
    return page;
}

static void page_unref(struct disk_page *page)
{
    if (page == NULL) {
        return;
    }
    ASSERT(page->reference_count > 0);
    page->reference_count--;
    if (page->reference_count == 0) {
        heap_sim_give(page);
    }
}

/* The page at *place, made or copied if need be so that it may be written. */
static struct disk_page *page_own(struct disk_page **place)
{
    struct disk_page *page = *place;
    if (page != NULL && page->reference_count == 1) {
        return page;
    }
    struct disk_page *fresh = heap_sim_take(sizeof(*fresh));
    fresh->reference_count = 1;
    if (page != NULL) {
        memcpy(fresh->bytes, page->bytes, DISK_PAGE_SIZE);
        page_unref(page);
    }
    *place = fresh;
    return fresh;
}

static void page_replace(struct disk_page **place, struct disk_page *page)
{
    (void)page_ref(page); /* First: it may be the same. */
    page_unref(*place);
    *place = page;
}

/* Copies the sectors of `mask` from one page to another; a hole is zeros. */
static void sectors_copy(struct disk_page **to, const struct disk_page *from, uint8_t mask)
{
    if (mask == 0 || *to == from) {
        return;
    }
    struct disk_page *page = page_own(to);
    for (uint32_t sector = 0; sector < DISK_PAGE_SECTORS; sector++) {
        if ((mask >> sector & 1) == 0) {
            continue;
        }
        uint8_t *place = page->bytes + (size_t)sector * ENV_SECTOR_SIZE;
        if (from == NULL) {
            memset(place, 0, ENV_SECTOR_SIZE);
        } else {
            memcpy(place, from->bytes + (size_t)sector * ENV_SECTOR_SIZE, ENV_SECTOR_SIZE);
        }
    }
}

/* --- slots ------------------------------------------------------------------------------------ */

static uint32_t slots_for(uint64_t size)
{
    uint64_t count = (size + DISK_PAGE_SIZE - 1) / DISK_PAGE_SIZE;
    ASSERT(count <= UINT32_MAX);
    return (uint32_t)count;
}

static void slots_grow(struct disk_inode *inode, uint32_t count)
{
    if (count > inode->slot_capacity) {
        uint32_t capacity = inode->slot_capacity * 2;
        capacity = capacity < count ? count : capacity;
        inode->slots = heap_sim_retake(inode->slots, capacity * sizeof(*inode->slots));
        memset(inode->slots + inode->slot_capacity, 0,
               (capacity - inode->slot_capacity) * sizeof(*inode->slots));
        inode->slot_capacity = capacity;
    }
    if (count > inode->slot_count) {
        inode->slot_count = count;
    }
}

static void slot_dirty(struct disk_inode *inode, uint32_t index, uint8_t mask)
{
    struct disk_slot *slot = &inode->slots[index];
    slot->dirty |= mask;
    slot->lost &= (uint8_t)~mask;
    if (slot->listed || slot->dirty == 0) {
        return;
    }
    if (inode->dirty_count == inode->dirty_capacity) {
        inode->dirty_capacity = inode->dirty_capacity == 0 ? 16 : inode->dirty_capacity * 2;
        inode->dirty_slots = heap_sim_retake(inode->dirty_slots,
                                             inode->dirty_capacity * sizeof(*inode->dirty_slots));
    }
    slot->listed = true;
    inode->dirty_slots[inode->dirty_count++] = index;
}

/* A page of the file has come (+1) or gone (-1). */
static void pages_count(struct disk_image *image, struct disk_inode *inode, bool more)
{
    ASSERT(inode->seen_count > 0);
    if (more) {
        inode->page_count++;
        image->page_count++;
        return;
    }
    ASSERT(inode->page_count > 0);
    inode->page_count--;
    image->page_count--;
}

static void dirty_clear(struct disk_inode *inode)
{
    for (uint32_t index = 0; index < inode->dirty_count; index++) {
        struct disk_slot *slot = &inode->slots[inode->dirty_slots[index]];
        slot->dirty = 0;
        slot->listed = false;
    }
    inode->dirty_count = 0;
}

/* --- life ------------------------------------------------------------------------------------- */

void disk_inode_unref(struct disk_inode *inode)
{
    ASSERT(inode->reference_count > 0);
    inode->reference_count--;
    if (inode->reference_count > 0) {
        return;
    }
    for (uint32_t index = 0; index < inode->slot_count; index++) {
        page_unref(inode->slots[index].seen);
        page_unref(inode->slots[index].durable);
    }
    heap_sim_give(inode->slots);
    heap_sim_give(inode->dirty_slots);
    heap_sim_give(inode);
}

void disk_inode_hold(struct disk_image *image, struct disk_inode *inode)
{
    inode->reference_count++;
    inode->seen_count++;
    if (inode->seen_count == 1) {
        image->page_count += inode->page_count;
    }
}

void disk_inode_release(struct disk_image *image, struct disk_inode *inode)
{
    ASSERT(inode->seen_count > 0);
    inode->seen_count--;
    if (inode->seen_count == 0) {
        ASSERT(image->page_count >= inode->page_count);
        image->page_count -= inode->page_count;
    }
    disk_inode_unref(inode);
}

static struct disk_page *page_twin(struct disk_page *page, const struct disk_page *zero_from,
                                   struct disk_page *zero_to)
{
    return page_ref(page == zero_from ? zero_to : page);
}

struct disk_inode *disk_inode_copy(const struct disk_inode *inode,
                                   const struct disk_page *zero_from, struct disk_page *zero_to)
{
    struct disk_inode *copy = heap_sim_take(sizeof(*copy));
    copy->is_folder = inode->is_folder;
    copy->size_dirty = inode->size_dirty;
    copy->size_seen = inode->size_seen;
    copy->size_durable = inode->size_durable;
    copy->page_count = inode->page_count;
    slots_grow(copy, inode->slot_count);
    for (uint32_t index = 0; index < inode->slot_count; index++) {
        const struct disk_slot *from = &inode->slots[index];
        struct disk_slot *to = &copy->slots[index];
        to->seen = page_twin(from->seen, zero_from, zero_to);
        to->durable = page_twin(from->durable, zero_from, zero_to);
        to->lost = from->lost;
    }
    for (uint32_t index = 0; index < inode->dirty_count; index++) {
        uint32_t slot = inode->dirty_slots[index];
        uint8_t lost = copy->slots[slot].lost;
        slot_dirty(copy, slot, inode->slots[slot].dirty);
        copy->slots[slot].lost = lost;
    }
    return copy;
}

/* --- reading and writing ---------------------------------------------------------------------- */

void disk_inode_read(const struct disk_inode *inode, uint64_t offset, uint8_t *to, size_t size)
{
    ASSERT(offset + size <= inode->size_seen);
    while (size > 0) {
        uint32_t index = (uint32_t)(offset / DISK_PAGE_SIZE);
        size_t within = (size_t)(offset % DISK_PAGE_SIZE);
        size_t part = DISK_PAGE_SIZE - within;
        part = part < size ? part : size;
        const struct disk_page *page = index < inode->slot_count ? inode->slots[index].seen : NULL;
        if (page == NULL) {
            memset(to, 0, part);
        } else {
            memcpy(to, page->bytes + within, part);
        }
        offset += part;
        to += part;
        size -= part;
    }
}

uint64_t disk_inode_missing(const struct disk_inode *inode, uint64_t offset, uint64_t size)
{
    uint64_t missing = 0;
    uint32_t end = slots_for(offset + size);
    for (uint32_t index = (uint32_t)(offset / DISK_PAGE_SIZE); index < end; index++) {
        missing += index >= inode->slot_count || inode->slots[index].seen == NULL;
    }
    return missing;
}

/* The sectors that bytes [from, to) of a page touch. */
static uint8_t sectors_of(size_t from, size_t to)
{
    ASSERT(from < to);
    uint32_t first = (uint32_t)(from / ENV_SECTOR_SIZE);
    uint32_t last = (uint32_t)((to - 1) / ENV_SECTOR_SIZE);
    return (uint8_t)((SECTORS_ALL << first) & (SECTORS_ALL >> (DISK_PAGE_SECTORS - 1 - last)));
}

static void size_set(struct disk_inode *inode, uint64_t size)
{
    if (inode->size_seen != size) {
        inode->size_seen = size;
        inode->size_dirty = true;
    }
}

void disk_inode_write(struct disk_image *image, struct disk_inode *inode, uint64_t offset,
                      struct slice data)
{
    uint64_t end = offset + data.size;
    slots_grow(inode, slots_for(end));
    const uint8_t *from = data.data;
    while (offset < end) {
        uint32_t index = (uint32_t)(offset / DISK_PAGE_SIZE);
        size_t within = (size_t)(offset % DISK_PAGE_SIZE);
        size_t part = DISK_PAGE_SIZE - within;
        part = part < end - offset ? part : (size_t)(end - offset);
        struct disk_slot *slot = &inode->slots[index];
        if (slot->seen == NULL) {
            pages_count(image, inode, true);
        }
        memcpy(page_own(&slot->seen)->bytes + within, from, part);
        slot_dirty(inode, index, sectors_of(within, within + part));
        offset += part;
        from += part;
    }
    if (data.size > 0 && end > inode->size_seen) {
        size_set(inode, end);
    }
}

void disk_inode_reserve(struct disk_image *image, struct disk_inode *inode, uint64_t offset,
                        uint64_t size)
{
    uint32_t end = slots_for(offset + size);
    slots_grow(inode, end);
    for (uint32_t index = (uint32_t)(offset / DISK_PAGE_SIZE); index < end; index++) {
        struct disk_slot *slot = &inode->slots[index];
        if (slot->seen == NULL) {
            page_replace(&slot->seen, image->zero);
            pages_count(image, inode, true);
            slot_dirty(inode, index, SECTORS_ALL);
        }
    }
    if (offset + size > inode->size_seen) {
        size_set(inode, offset + size);
    }
}

void disk_inode_truncate(struct disk_image *image, struct disk_inode *inode, uint64_t size)
{
    if (size < inode->size_seen) {
        size_t within = (size_t)(size % DISK_PAGE_SIZE);
        uint32_t index = (uint32_t)(size / DISK_PAGE_SIZE);
        if (within > 0 && index < inode->slot_count && inode->slots[index].seen != NULL) {
            struct disk_page *page = page_own(&inode->slots[index].seen);
            memset(page->bytes + within, 0, DISK_PAGE_SIZE - within);
            slot_dirty(inode, index, sectors_of(within, DISK_PAGE_SIZE));
        }
        for (index = slots_for(size); index < inode->slot_count; index++) {
            struct disk_slot *slot = &inode->slots[index];
            if (slot->seen != NULL) {
                page_replace(&slot->seen, NULL);
                pages_count(image, inode, false);
                slot_dirty(inode, index, SECTORS_ALL);
            }
        }
    }
    size_set(inode, size);
}

void disk_inode_flip(struct disk_image *image, struct disk_inode *inode, uint64_t offset,
                     uint8_t mask)
{
    uint32_t index = (uint32_t)(offset / DISK_PAGE_SIZE);
    size_t within = (size_t)(offset % DISK_PAGE_SIZE);
    slots_grow(inode, index + 1);
    struct disk_slot *slot = &inode->slots[index];
    bool shared = slot->seen == slot->durable;
    if (slot->seen == NULL) {
        pages_count(image, inode, true);
    }
    struct disk_page *seen = page_own(&slot->seen);
    seen->bytes[within] ^= mask;
    if (shared) {
        page_replace(&slot->durable, seen);
    } else {
        page_own(&slot->durable)->bytes[within] ^= mask;
    }
}

/* --- syncing and losing ----------------------------------------------------------------------- */

void disk_inode_sync(struct disk_inode *inode)
{
    for (uint32_t index = 0; index < inode->dirty_count; index++) {
        struct disk_slot *slot = &inode->slots[inode->dirty_slots[index]];
        if (slot->lost == 0) {
            page_replace(&slot->durable, slot->seen);
        } else {
            sectors_copy(&slot->durable, slot->seen, slot->dirty);
        }
    }
    dirty_clear(inode);
    inode->size_durable = inode->size_seen;
    inode->size_dirty = false;
}

/* Each sector by itself: durable; lost but still seen; or back to what it was. The size stays
 * unsynced, as only a later sync by another handle can settle it. */
void disk_inode_sync_failed(struct disk_inode *inode, struct prng *prng)
{
    for (uint32_t index = 0; index < inode->dirty_count; index++) {
        struct disk_slot *slot = &inode->slots[inode->dirty_slots[index]];
        uint8_t durable = (uint8_t)(slot->dirty & prng_below(prng, 256));
        uint8_t reverted = (uint8_t)(slot->dirty & ~durable & prng_below(prng, 256));
        sectors_copy(&slot->durable, slot->seen, durable);
        if (slot->seen == NULL && reverted != 0) {
            reverted = 0; /* Truncated away: nothing of it is seen again. */
        }
        sectors_copy(&slot->seen, slot->durable, reverted);
        slot->lost |= (uint8_t)(slot->dirty & ~durable & ~reverted);
    }
    dirty_clear(inode);
}

/* The size after a loss of power: old, new, or, when it grew, sometimes between. */
static uint64_t size_settle(const struct disk_inode *inode, struct prng *prng)
{
    if (!inode->size_dirty) {
        return inode->size_seen;
    }
    uint64_t drawn = prng_below(prng, 5);
    if (inode->size_seen > inode->size_durable && drawn == 4) {
        uint64_t grown = inode->size_seen - inode->size_durable;
        uint64_t size = inode->size_durable + prng_below(prng, grown + 1);
        return size - size % ENV_SECTOR_SIZE > inode->size_durable ? size - size % ENV_SECTOR_SIZE
                                                                   : inode->size_durable;
    }
    return drawn < 2 ? inode->size_durable : inode->size_seen;
}

/* Bytes at and above `size` are gone from the seen side, without a trace in the dirty bits. */
static void tail_clear(struct disk_inode *inode, uint64_t size)
{
    size_t within = (size_t)(size % DISK_PAGE_SIZE);
    uint32_t index = (uint32_t)(size / DISK_PAGE_SIZE);
    if (within > 0 && index < inode->slot_count && inode->slots[index].seen != NULL) {
        struct disk_page *page = page_own(&inode->slots[index].seen);
        memset(page->bytes + within, 0, DISK_PAGE_SIZE - within);
    }
    for (index = slots_for(size); index < inode->slot_count; index++) {
        page_replace(&inode->slots[index].seen, NULL);
    }
}

void disk_inode_settle(struct disk_inode *inode, struct prng *prng)
{
    ASSERT(inode->seen_count == 0);
    uint64_t size = size_settle(inode, prng);
    /* A truncation that did not happen took nothing away: sectors above it are the old ones. */
    uint64_t old_from = size > inode->size_seen ? inode->size_seen : UINT64_MAX;
    for (uint32_t index = 0; index < inode->slot_count; index++) {
        struct disk_slot *slot = &inode->slots[index];
        if (slot->seen == slot->durable) {
            continue;
        }
        uint8_t old = slot->lost;
        if (slot->dirty != 0) {
            old |= (uint8_t)(slot->dirty & prng_below(prng, 256));
        }
        for (uint32_t sector = 0; sector < DISK_PAGE_SECTORS; sector++) {
            uint64_t start = (uint64_t)index * DISK_PAGE_SIZE + (uint64_t)sector * ENV_SECTOR_SIZE;
            if (start >= old_from) {
                old |= (uint8_t)BIT(sector);
            }
        }
        if (old == SECTORS_ALL) {
            page_replace(&slot->seen, slot->durable);
        } else {
            sectors_copy(&slot->seen, slot->durable, old);
        }
        slot->lost = 0;
    }
    dirty_clear(inode);
    inode->size_seen = size;
    tail_clear(inode, size);
    inode->page_count = 0;
    for (uint32_t index = 0; index < inode->slot_count; index++) {
        struct disk_slot *slot = &inode->slots[index];
        inode->page_count += slot->seen != NULL;
        page_replace(&slot->durable, slot->seen);
        slot->lost = 0;
    }
    inode->size_durable = size;
    inode->size_dirty = false;
}
