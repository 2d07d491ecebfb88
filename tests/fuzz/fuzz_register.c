/*
 * tests/fuzz/fuzz_register.c -- whatever bytes come as the cell of a strong key: refused, or
 * changed into a cell that is read again.
 *
 * The first two bytes choose the action and the condition, the rest is the cell.
 * Properties: the outcome's cell is of the ballot, and its window decodes; done again with the same
 * id, the operation gives the same verdict and leaves the value alone.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/contract.h"
#include "node/register_change.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cell cell;
    if (size < 2 || cell_decode(slice_make(data + 2, size - 2), &cell) != STATUS_OK ||
        cell.kind == CELL_PROMISE || cell.version.time >= UINT64_MAX - 2) {
        return 0;
    }
    struct register_change change = {
        .action = (enum register_action)(data[0] % REGISTER_CANCEL + 1),
        .condition = (enum register_condition)(data[1] % (REGISTER_IF_EARLIER + 1)),
        .wants_old = data[1] >= 128,
        .value = slice_text("value"),
        .compare = slice_text("1"),
        .delta = 1,
        .expiry_ms = UINT64_MAX};
    struct register_terms terms = {.ballot = {.time = cell.version.time + 1, .node = 1},
                                   .id = {.time = cell.version.time, .node = UINT32_MAX},
                                   .value_size_max = 1u << 20};
    struct register_outcome first = {0};
    struct register_outcome second = {0};
    enum status status = register_change_apply(&change, &terms, &cell, &first);
    ASSERT(status == STATUS_OK || status == STATUS_CORRUPT || status == STATUS_FORGOTTEN);
    if (status == STATUS_OK) {
        ASSERT(version_compare(first.cell.version, terms.ballot) == 0);
        terms.ballot.time++;
        status = register_change_apply(&change, &terms, &first.cell, &second);
        ASSERT(status == STATUS_OK);
        ASSERT(second.again);
        ASSERT(second.result.verdict == first.result.verdict);
        ASSERT(second.cell.kind == CELL_DELETE || slice_equal(second.cell.value, first.cell.value));
    }
    register_outcome_deinit(&first);
    register_outcome_deinit(&second);
    return 0;
}
