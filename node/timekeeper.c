/* node/timekeeper.c -- keeps the durable mark of the HLC ahead of what is issued. */
#include "node/timekeeper.h"

#include "base/log.h"

static uint64_t margin_of(const struct timekeeper *timekeeper)
{
    uint64_t margin_ms = TIMEKEEPER_MARGIN_MS + 2 * timekeeper->raise_took_ms;
    return hlc_make(margin_ms < TIMEKEEPER_MARGIN_MS_MAX ? margin_ms : TIMEKEEPER_MARGIN_MS_MAX);
}

static void waiting_finish(struct timekeeper *timekeeper, enum status status)
{
    struct list_node all;
    list_init(&all);
    /* Those who find the mark still too low wait again: behind those of this turn. */
    while (!list_empty(&timekeeper->waiting)) {
        list_append(&all, list_take_first(&timekeeper->waiting));
    }
    while (!list_empty(&all)) {
        struct timekeeper_wait *wait =
            container_of(list_take_first(&all), struct timekeeper_wait, node);
        wait->done(wait, status);
    }
}

static void raise_done(struct records_write *write, enum status status)
{
    struct timekeeper *timekeeper = container_of(write, struct timekeeper, write);
    uint64_t mark = timekeeper->raising_to;
    timekeeper->raising_to = 0;
    timekeeper->raise_took_ms = env_monotonic_ms(timekeeper->hlc.env) - timekeeper->raise_began_ms;
    if (status == STATUS_OK) {
        hlc_raise_limit(&timekeeper->hlc, mark);
    } else {
        log_error(timekeeper->hlc.env, "timekeeper.mark_failed", "status=\"%s\"",
                  status_name(status));
    }
    waiting_finish(timekeeper, status);
}

static enum status raise_begin(struct timekeeper *timekeeper)
{
    if (timekeeper->raising_to != 0 || timekeeper->closed) {
        return STATUS_OK;
    }
    uint64_t mark = hlc_now(&timekeeper->hlc) + margin_of(timekeeper);
    timekeeper->raise_began_ms = env_monotonic_ms(timekeeper->hlc.env);
    timekeeper->write.done = raise_done;
    enum status status =
        records_put(timekeeper->lsm, RECORDS_CLOCK, 0, (struct version){.time = mark, .node = 1},
                    (struct slice){0}, &timekeeper->write);
    if (status == STATUS_OK) {
        timekeeper->raising_to = mark;
    }
    return status;
}

enum status timekeeper_open(struct timekeeper *timekeeper, struct env *env, struct lsm *lsm)
{
    *timekeeper = (struct timekeeper){.lsm = lsm};
    list_init(&timekeeper->waiting);
    struct buffer scratch = {0};
    struct cell cell = {0};
    enum status status = records_read(lsm, RECORDS_CLOCK, 0, &scratch, &cell);
    if (status == STATUS_NOT_FOUND) {
        cell.version.time = 0;
        status = STATUS_OK;
    }
    if (status != STATUS_OK) {
        log_error(env, "timekeeper.mark_unread", "status=\"%s\"", status_name(status));
    }
    hlc_init(&timekeeper->hlc, env, cell.version.time);
    buffer_deinit(&scratch);
    return status;
}

enum status timekeeper_issue(struct timekeeper *timekeeper, uint64_t *time)
{
    enum status status = hlc_issue(&timekeeper->hlc, time);
    if (status == STATUS_OK && *time + margin_of(timekeeper) / 2 > timekeeper->hlc.limit) {
        /* A refusal here costs nothing yet: the next issue asks again. */
        enum status raised = raise_begin(timekeeper);
        (void)raised;
    }
    return status;
}

void timekeeper_wait(struct timekeeper *timekeeper, struct timekeeper_wait *wait)
{
    list_append(&timekeeper->waiting, &wait->node);
    enum status status = timekeeper->closed ? STATUS_CANCELLED : raise_begin(timekeeper);
    if (status != STATUS_OK) {
        list_remove(&wait->node);
        wait->done(wait, status);
    }
}

void timekeeper_close(struct timekeeper *timekeeper)
{
    timekeeper->closed = true;
    waiting_finish(timekeeper, STATUS_CANCELLED);
}
