/* node/replacer.c -- see replacer.h: looks once a second while it leads, and proposes. */
#include "node/replacer.h"

#include <string.h>

#include "base/log.h"

#define TICK_MS 1000
#define MS_PER_S UINT64_C(1000)

/* ------------------------------------------------------------------ deciding */

static bool is_up(const struct replacer_view *view, const struct topology_member *member)
{
    return view->state(view->context, member->id) == NODE_PEER_UP;
}

/* The one ACTIVE member that is gone, if all others are up; else NULL. */
static const struct topology_member *gone_find(const struct topology *topology,
                                               const struct replacer_view *view)
{
    const struct topology_member *gone = NULL;
    for (uint32_t index = 0; index < topology->member_count; index++) {
        const struct topology_member *member = &topology->members[index];
        if (member->state == TOPOLOGY_JOINING || is_up(view, member)) {
            continue;
        }
        if (gone != NULL) {
            return NULL;
        }
        gone = member;
    }
    bool due = gone != NULL && gone->state == TOPOLOGY_ACTIVE && !gone->lost &&
               view->state(view->context, gone->id) == NODE_PEER_DOWN &&
               view->silence_ms(view->context, gone->id) >= view->after_ms;
    return due ? gone : NULL;
}

/* Members in the zone, JOINING ones apart. */
static bool zone_is_held(const struct topology *topology, const char *zone)
{
    for (uint32_t index = 0; index < topology->member_count; index++) {
        const struct topology_member *member = &topology->members[index];
        if (member->state != TOPOLOGY_JOINING && strcmp(member->zone, zone) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether anybody there is up, who joins or who belongs. */
static bool zone_is_up(const struct topology *topology, const struct replacer_view *view,
                       const char *zone)
{
    for (uint32_t index = 0; index < topology->member_count; index++) {
        const struct topology_member *member = &topology->members[index];
        if (strcmp(member->zone, zone) == 0 && is_up(view, member)) {
            return true;
        }
    }
    return false;
}

bool replacer_choose(const struct topology *topology, const struct replacer_view *view,
                     uint32_t *id, uint32_t *to_id)
{
    const struct topology_member *gone = view->after_ms == 0 ? NULL : gone_find(topology, view);
    if (gone == NULL || !zone_is_up(topology, view, gone->zone)) {
        return false;
    }
    const struct topology_member *chosen = NULL;
    for (uint32_t index = 0; index < topology->member_count; index++) {
        const struct topology_member *member = &topology->members[index];
        bool waits = member->state == TOPOLOGY_JOINING && is_up(view, member);
        bool same = strcmp(member->zone, gone->zone) == 0;
        if (waits && same) {
            chosen = member;
            break;
        }
        if (waits && chosen == NULL && !zone_is_held(topology, member->zone)) {
            chosen = member;
        }
    }
    if (chosen == NULL) {
        return false;
    }
    *id = gone->id;
    *to_id = chosen->id;
    return true;
}

static bool staged_is(const struct topology_plan *staged, uint64_t plan_id)
{
    return plan_id != 0 && staged->id == plan_id && staged->change_count == 1 &&
           staged->changes[0].type == TOPOLOGY_REPLACE;
}

bool replacer_command(const struct topology *topology, const struct replacer_view *view,
                      uint64_t plan_id, struct topology_command *command)
{
    const struct topology_plan *staged = &topology->staged;
    *command = (struct topology_command){.expected_epoch = topology->stamp.epoch};
    uint32_t id = 0;
    uint32_t to_id = 0;
    bool due = topology->running.id == 0 && replacer_choose(topology, view, &id, &to_id);
    if (staged_is(staged, plan_id)) {
        bool same = due && staged->changes[0].id == id && staged->changes[0].to_id == to_id;
        command->type = same ? TOPOLOGY_PLAN_COMMIT : TOPOLOGY_PLAN_CLEAR;
        command->plan_id = same ? plan_id : 0;
        return true;
    }
    command->type = TOPOLOGY_PLAN_STAGE;
    command->change = (struct topology_change){.type = TOPOLOGY_REPLACE, .id = id, .to_id = to_id};
    return due && staged->id == 0;
}

/* ------------------------------------------------------------------ proposing */

static enum node_peer_state member_state(const void *context, uint32_t id)
{
    const struct replacer *replacer = context;
    return id == replacer->config->id ? NODE_PEER_UP : peers_state(replacer->peers, id);
}

static uint64_t member_silence_ms(const void *context, uint32_t id)
{
    const struct replacer *replacer = context;
    uint64_t silence_ms = peers_silence_ms(replacer->peers, id);
    uint64_t led_ms = env_monotonic_ms(replacer->env) - replacer->led_ms;
    return silence_ms < led_ms ? silence_ms : led_ms;
}

static void proposal_done(struct proposal *proposal, enum status status)
{
    struct replacer *replacer = container_of(proposal, struct replacer, proposal);
    replacer->proposing = false;
    if (status == STATUS_OK && replacer->staging) {
        replacer->plan_id = proposal->epoch;
    }
    if (status != STATUS_OK && status != STATUS_CANCELLED) {
        log_warn(replacer->env, "replace.refused", "status=\"%s\" why=\"%s\"", status_name(status),
                 proposal->reason);
    }
}

static void command_propose(struct replacer *replacer, struct topology_command *command)
{
    struct buffer bytes = {0};
    command->request_id = env_random(replacer->env);
    topology_command_encode(&bytes, command);
    if (buffer_status(&bytes) == STATUS_OK) {
        replacer->proposal = (struct proposal){.done = proposal_done};
        replacer->staging = command->type == TOPOLOGY_PLAN_STAGE;
        replacer->proposing = true;
        if (replacer->staging) {
            log_warn(replacer->env, "replace.due", "lost=%u by=%u", command->change.id,
                     command->change.to_id);
        }
        proposals_submit(replacer->proposals, &replacer->proposal, buffer_slice(&bytes));
    }
    buffer_deinit(&bytes);
}

static void tick_fired(struct env_timer *timer)
{
    struct replacer *replacer = container_of(timer, struct replacer, timer);
    const struct replacer_view view = {.state = member_state,
                                       .silence_ms = member_silence_ms,
                                       .context = replacer,
                                       .after_ms =
                                           replacer->config->auto_replace_after_s * MS_PER_S};
    struct topology_command command;
    if (!replacer->proposing && replacer_command(membership_topology(replacer->membership), &view,
                                                 replacer->plan_id, &command)) {
        command_propose(replacer, &command);
    }
    env_timer_start_ms(replacer->env, timer, TICK_MS);
}

/* ------------------------------------------------------------------ life */

void replacer_init(struct replacer *replacer, struct env *env,
                   const struct replacer_options *options)
{
    *replacer = (struct replacer){.env = env,
                                  .config = options->config,
                                  .membership = options->membership,
                                  .peers = options->peers,
                                  .proposals = options->proposals,
                                  .timer = {.fired = tick_fired}};
}

void replacer_lead(struct replacer *replacer, bool leads)
{
    if (replacer->config->auto_replace_after_s == 0 || replacer->leads == leads) {
        return;
    }
    replacer->leads = leads;
    replacer->led_ms = env_monotonic_ms(replacer->env);
    replacer->plan_id = 0; /* Another leader may have gone on with it, or an operator. */
    if (leads) {
        env_timer_start_ms(replacer->env, &replacer->timer, TICK_MS);
    } else {
        replacer->env->ops->timer_stop(replacer->env, &replacer->timer);
    }
}

void replacer_stop(struct replacer *replacer)
{
    if (replacer->leads) {
        replacer->leads = false;
        replacer->env->ops->timer_stop(replacer->env, &replacer->timer);
    }
}
