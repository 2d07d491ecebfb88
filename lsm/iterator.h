/*
 * lsm/iterator.h -- what the engine itself does with iterators beyond lsm/lsm.h.
 */
#ifndef LSM_ITERATOR_H
#define LSM_ITERATOR_H

#include "lsm/lsm.h"

/* Begins to watch for a gap where the walk begins: right after open, before the first next. Waits
 * for the write lock. */
void iterator_watch(struct lsm_iterator *iterator);

#endif
