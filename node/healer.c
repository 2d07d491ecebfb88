/* node/healer.c -- when lsm_resume is tried, and what follows. */
#include "node/healer.h"

#include "base/contract.h"
#include "base/log.h"

static bool engine_refuses(const struct healer *healer)
{
    struct lsm_stats stats;
    lsm_stats(healer->lsm, &stats);
    return stats.read_only;
}

static void healer_wait(struct healer *healer)
{
    if (!healer->stopped && healer->lsm != NULL) {
        env_timer_start_ms(healer->env, &healer->timer, healer->delay_ms);
    }
}

static void delay_raise(struct healer *healer)
{
    uint64_t twice_ms = healer->delay_ms * 2;
    healer->delay_ms = twice_ms < HEALER_DELAY_MS_MAX ? twice_ms : HEALER_DELAY_MS_MAX;
}

static void healer_failed(struct healer *healer, enum status status)
{
    healer->failure_count++;
    delay_raise(healer);
    log_warn(healer->env, "engine.resume_failed", "status=\"%s\" again_ms=%llu",
             status_name(status), (unsigned long long)healer->delay_ms);
    healer_wait(healer);
}

static void healer_done(struct lsm_request *request, enum status status)
{
    struct healer *healer = container_of(request, struct healer, request);
    healer->asking = false;
    if (healer->stopped) {
        return;
    }
    if (status == STATUS_OK && engine_refuses(healer)) {
        status = STATUS_READ_ONLY; /* It failed again before this came: healer_broken(). */
    }
    if (status != STATUS_OK) {
        healer_failed(healer, status);
        return;
    }
    healer->broken = false;
    healer->resume_count++;
    healer->healed_ms = env_monotonic_ms(healer->env);
    log_info(healer->env, "engine.resumed", "tries_failed=%llu",
             (unsigned long long)healer->failure_count);
}

static void healer_ask(struct healer *healer)
{
    ASSERT(!healer->asking);
    healer->request.done = healer_done;
    healer->asking = true;
    enum status status = lsm_resume(healer->lsm, &healer->request);
    if (status != STATUS_OK) {
        healer->asking = false;
        healer_failed(healer, status);
    }
}

static void healer_fired(struct env_timer *timer)
{
    healer_ask(container_of(timer, struct healer, timer));
}

void healer_init(struct healer *healer, struct env *env)
{
    *healer = (struct healer){.env = env, .timer.fired = healer_fired};
}

void healer_begin(struct healer *healer, struct lsm *lsm)
{
    healer->lsm = lsm;
    if (healer->broken) {
        healer_wait(healer);
    }
}

void healer_broken(struct healer *healer, enum status status)
{
    uint64_t now_ms = env_monotonic_ms(healer->env);
    if (healer->broken || healer->stopped) {
        return; /* Told again, while it was being brought back: that try will say so. */
    }
    bool calm = healer->healed_ms == 0 || now_ms - healer->healed_ms >= HEALER_CALM_MS;
    healer->broken = true;
    if (calm) {
        healer->delay_ms = HEALER_DELAY_MS_MIN;
    } else {
        delay_raise(healer);
    }
    log_error(healer->env, "engine.read_only", "status=\"%s\" resume_ms=%llu", status_name(status),
              (unsigned long long)healer->delay_ms);
    healer_wait(healer);
}

bool healer_try(struct healer *healer)
{
    if (!healer->broken || healer->stopped || healer->lsm == NULL) {
        return false;
    }
    if (!healer->asking) {
        healer->env->ops->timer_stop(healer->env, &healer->timer);
        healer_ask(healer);
    }
    return true;
}

bool healer_is_broken(const struct healer *healer)
{
    return healer->broken && (healer->lsm == NULL || engine_refuses(healer));
}

void healer_stop(struct healer *healer)
{
    healer->stopped = true;
    healer->env->ops->timer_stop(healer->env, &healer->timer);
}
