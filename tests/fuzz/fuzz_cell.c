/*
 * tests/fuzz/fuzz_cell.c -- whatever bytes come as a cell: refused, or the one spelling of a cell.
 *
 * Properties: a decoded cell encodes to exactly the bytes it came from; the same header with its
 * tail cut decodes only to a shorter value; comparing is symmetric.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cell.h"
#include "base/contract.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cell cell;
    enum status status = cell_decode(slice_make(data, size), &cell);
    if (status != STATUS_OK) {
        ASSERT(status == STATUS_CORRUPT);
        return 0;
    }
    ASSERT(cell_encoded_size(&cell) == size);
    struct buffer buffer = {0};
    cell_put(&buffer, &cell);
    ASSERT(slice_equal(buffer_slice(&buffer), slice_make(data, size)));
    ASSERT(cell_compare(&cell, &cell) == 0);
    struct cell cut;
    if (cell_decode(slice_make(data, size - 1), &cut) == STATUS_OK) {
        ASSERT(cut.value.size + 1 == cell.value.size);
        ASSERT(cell_compare(&cut, &cell) == 0);
    } else {
        ASSERT(cell.value.size == 0);
    }
    buffer_deinit(&buffer);
    return 0;
}
