/* node/register_change.c -- see register_change.h. */
#include "node/register_change.h"

#include <inttypes.h>

#include "base/contract.h"
#include "base/hlc.h"
#include "node/command.h"

#define RESULT_HEADER_SIZE (2u + VERSION_SIZE)

static bool version_is_none(struct version version)
{
    return version_compare(version, (struct version){0}) == 0;
}

/* ------------------------------------------------------------------ results */

static void result_put(struct buffer *to, const struct register_result *result)
{
    bool omitted = result->payload == REGISTER_VALUE &&
                   result->value.size > REGISTER_RESULT_SIZE_MAX - RESULT_HEADER_SIZE;
    codec_put_u8(to, (uint8_t)result->verdict);
    codec_put_u8(to, (uint8_t)(omitted ? REGISTER_OMITTED : result->payload));
    version_put(to, result->version);
    if (result->payload == REGISTER_INTEGER) {
        codec_put_u64(to, (uint64_t)result->integer);
    } else if (result->payload == REGISTER_VALUE && !omitted) {
        buffer_append_slice(to, result->value);
    }
}

static enum status result_get(struct slice bytes, struct register_result *result)
{
    struct codec_reader reader = codec_reader_make(bytes);
    uint8_t verdict = codec_get_u8(&reader);
    uint8_t payload = codec_get_u8(&reader);
    struct version version = version_get(&reader);
    if (!codec_reader_ok(&reader) || verdict < REGISTER_DONE || verdict > REGISTER_CANCELLED ||
        payload > REGISTER_OMITTED) {
        return STATUS_CORRUPT;
    }
    *result = (struct register_result){.verdict = (enum register_verdict)verdict,
                                       .payload = (enum register_payload)payload,
                                       .version = version};
    if (payload == REGISTER_INTEGER) {
        result->integer = (int64_t)codec_get_u64(&reader);
    } else if (payload == REGISTER_VALUE) {
        result->value = codec_get_raw(&reader, bytes.size - RESULT_HEADER_SIZE);
    }
    return codec_reader_done(&reader) ? STATUS_OK : STATUS_CORRUPT;
}

/* ------------------------------------------------------------------ conditions */

/* What a change is judged by. */
struct standing {
    const struct cell *cell; /* NULL: nothing, or nothing that is live. */
    struct version changed;  /* Of that cell. */
};

static bool expiry_condition_holds(const struct register_change *change, const struct cell *cell)
{
    uint64_t never = UINT64_MAX;
    uint64_t old_ms = cell->expiry_ms == 0 ? never : cell->expiry_ms;
    uint64_t new_ms = change->expiry_ms == 0 ? never : change->expiry_ms;
    switch ((int)change->condition) {
    case REGISTER_IF_LASTING:
        return old_ms == never;
    case REGISTER_IF_EXPIRING:
        return old_ms != never;
    case REGISTER_IF_LATER:
        return new_ms > old_ms;
    case REGISTER_IF_EARLIER:
        return new_ms < old_ms;
    default:
        UNREACHABLE("a condition on the expiry");
    }
}

static bool condition_holds(const struct register_change *change, const struct standing *standing)
{
    const struct cell *cell = standing->cell;
    bool present = cell != NULL;
    switch (change->condition) {
    case REGISTER_ALWAYS:
        return true;
    case REGISTER_IF_ABSENT:
        return !present;
    case REGISTER_IF_PRESENT:
        return present;
    case REGISTER_IF_EQUAL:
        return present && slice_equal(cell->value, change->compare);
    case REGISTER_IF_DIFFERENT:
        return !present || !slice_equal(cell->value, change->compare);
    case REGISTER_IF_VERSION:
        return present ? version_compare(standing->changed, change->version) == 0
                       : version_is_none(change->version);
    case REGISTER_IF_LASTING:
    case REGISTER_IF_EXPIRING:
    case REGISTER_IF_LATER:
    case REGISTER_IF_EARLIER:
        return present && expiry_condition_holds(change, cell);
    }
    UNREACHABLE("a condition");
}

/* ------------------------------------------------------------------ actions */

/* Each sets the verdict and, if that is DONE, the cell's kind, value and expiry, which are those of
 * what stands. */

static void add_act(const struct register_change *change, const struct standing *standing,
                    struct register_outcome *outcome)
{
    struct register_result *result = &outcome->result;
    int64_t number = 0;
    if (standing->cell != NULL && !argument_integer(standing->cell->value, &number)) {
        result->verdict = REGISTER_NOT_INTEGER;
        return;
    }
    int64_t sum;
    if (__builtin_add_overflow(number, change->delta, &sum)) {
        result->verdict = REGISTER_OVERFLOW;
        return;
    }
    buffer_append_format(&outcome->value, "%" PRId64, sum);
    outcome->cell.kind = CELL_VALUE;
    outcome->cell.value = buffer_slice(&outcome->value);
    *result = (struct register_result){
        .verdict = REGISTER_DONE, .payload = REGISTER_INTEGER, .integer = sum};
}

static void append_act(const struct register_change *change, const struct register_terms *terms,
                       const struct standing *standing, struct register_outcome *outcome)
{
    struct slice old = standing->cell != NULL ? standing->cell->value : (struct slice){0};
    if (change->value.size > terms->value_size_max ||
        old.size > terms->value_size_max - change->value.size) {
        outcome->result.verdict = REGISTER_TOO_LARGE;
        return;
    }
    buffer_append_slice(&outcome->value, old);
    buffer_append_slice(&outcome->value, change->value);
    outcome->cell.kind = CELL_VALUE;
    outcome->cell.value = buffer_slice(&outcome->value);
    outcome->result = (struct register_result){.verdict = REGISTER_DONE,
                                               .payload = REGISTER_INTEGER,
                                               .integer = (int64_t)(old.size + change->value.size)};
}

static void put_act(const struct register_change *change, struct register_outcome *outcome)
{
    struct cell *cell = &outcome->cell;
    bool kept = change->keep_expiry && cell->kind == CELL_VALUE;
    cell->kind = CELL_VALUE;
    cell->value = change->value;
    cell->expiry_ms = kept ? cell->expiry_ms : change->expiry_ms;
    outcome->result.verdict = REGISTER_DONE;
}

static void action_run(const struct register_change *change, const struct register_terms *terms,
                       const struct standing *standing, struct register_outcome *outcome)
{
    struct cell *cell = &outcome->cell;
    bool present = standing->cell != NULL;
    switch (change->action) {
    case REGISTER_CONFIRM:
        outcome->result.verdict = REGISTER_DONE;
        return;
    case REGISTER_PUT:
        put_act(change, outcome);
        return;
    case REGISTER_DELETE:
        outcome->result.verdict = present ? REGISTER_DONE : REGISTER_NOT_DONE;
        cell->kind = CELL_DELETE;
        return;
    case REGISTER_ADD:
        add_act(change, standing, outcome);
        return;
    case REGISTER_APPEND:
        append_act(change, terms, standing, outcome);
        return;
    case REGISTER_EXPIRE:
        outcome->result.verdict = present ? REGISTER_DONE : REGISTER_NOT_DONE;
        cell->expiry_ms = present ? change->expiry_ms : 0;
        return;
    case REGISTER_CANCEL:
        outcome->result.verdict = REGISTER_CANCELLED;
        return;
    }
    UNREACHABLE("an action");
}

/* What is not live by now is stored as what it is: nothing. */
static void cell_settle(struct cell *cell, uint64_t now_ms)
{
    if (!cell_is_live(cell, now_ms)) {
        *cell = (struct cell){.version = cell->version, .kind = CELL_DELETE};
    }
}

/* ------------------------------------------------------------------ the whole */

static void change_run(const struct register_change *change, const struct register_terms *terms,
                       const struct standing *standing, struct register_outcome *outcome)
{
    struct register_result *result = &outcome->result;
    result->verdict = REGISTER_NOT_DONE;
    if (condition_holds(change, standing)) {
        action_run(change, terms, standing, outcome);
    }
    if (change->wants_old && standing->cell != NULL) {
        result->payload = REGISTER_VALUE;
        result->value = standing->cell->value;
    }
}

/* Value or expiry are other than before. */
static bool has_changed(const struct register_change *change,
                        const struct register_outcome *outcome)
{
    return outcome->result.verdict == REGISTER_DONE && change->action != REGISTER_CONFIRM;
}

/* The operation's result into its window, unless it has no id. */
static void window_note(const struct register_terms *terms, struct register_window *window,
                        struct register_outcome *outcome)
{
    if (!version_is_none(terms->id)) {
        result_put(&outcome->encoded, &outcome->result);
        register_window_add(window, terms->id, buffer_slice(&outcome->encoded));
    }
}

enum status register_change_apply(const struct register_change *change,
                                  const struct register_terms *terms, const struct cell *base,
                                  struct register_outcome *outcome)
{
    ASSERT(base == NULL || version_compare(terms->ballot, base->version) > 0);
    ASSERT(version_compare(terms->ballot, terms->id) > 0);
    struct register_window window = {0};
    enum status status = base != NULL ? register_window_decode(base, &window) : STATUS_OK;
    if (status != STATUS_OK) {
        return status;
    }
    uint64_t now_ms = hlc_unix_ms(terms->ballot.time);
    bool live = base != NULL && cell_is_live(base, now_ms);
    struct standing standing = {.cell = live ? base : NULL, .changed = window.changed};
    outcome->cell = live ? *base : (struct cell){.kind = CELL_DELETE};
    outcome->cell.version = terms->ballot;
    outcome->cell.stamp = 0; /* Here a change of the expiry has a version of its own. */
    const struct register_entry *entry = register_window_find(&window, terms->id);
    if (entry != NULL) {
        outcome->again = true;
        status = result_get(entry->result, &outcome->result);
    } else if (!version_is_none(terms->id) && version_compare(terms->id, window.forgotten) <= 0) {
        status = STATUS_FORGOTTEN;
    } else {
        change_run(change, terms, &standing, outcome);
        cell_settle(&outcome->cell, now_ms);
        window.changed = has_changed(change, outcome) || !live ? terms->ballot : window.changed;
        outcome->result.version =
            outcome->cell.kind == CELL_VALUE ? window.changed : (struct version){0};
        window_note(terms, &window, outcome);
    }
    if (status != STATUS_OK) {
        return status;
    }
    register_window_encode(&outcome->window, &window);
    outcome->cell.window = buffer_slice(&outcome->window);
    status = buffer_status(&outcome->window);
    status = status == STATUS_OK ? buffer_status(&outcome->value) : status;
    return status == STATUS_OK ? buffer_status(&outcome->encoded) : status;
}

void register_outcome_deinit(struct register_outcome *outcome)
{
    buffer_deinit(&outcome->window);
    buffer_deinit(&outcome->value);
    buffer_deinit(&outcome->encoded);
}
