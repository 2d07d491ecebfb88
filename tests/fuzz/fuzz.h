/*
 * tests/fuzz/fuzz.h -- the one function a fuzz target defines.
 *
 * Contract: called with any bytes at all, any number of times in one process; it keeps nothing
 * between calls, frees what it takes, and aborts (by ASSERT) when what it decoded breaks a promise.
 * Returns 0. Under the fuzz preset libFuzzer calls it, elsewhere tests/fuzz/replay.c.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
