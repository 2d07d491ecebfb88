/*
 * cmake/jemalloc.c -- how the programs' heap behaves, where it is jemalloc; linked into each.
 *
 * By default jemalloc has four arenas a core and keeps what was freed for ten seconds. A node has
 * few threads, and a budget to keep to: what memtables and blocks gave back counts as resident
 * until it goes back to the system.
 */
#include <jemalloc/jemalloc.h>

const char *malloc_conf = "narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0";
