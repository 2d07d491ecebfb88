/*
 * base/poison.h -- tells the address sanitizer which memory of our own pools may not be touched.
 *
 * Why: memory that waits in a pool is freed as far as everybody else goes; without this the
 * sanitizer would not see a use of it. Other builds do nothing.
 */
#ifndef BASE_POISON_H
#define BASE_POISON_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BASE_POISON 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define BASE_POISON 1
#endif
#ifdef BASE_POISON
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#endif

#endif
