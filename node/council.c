/* node/council.c -- see council.h. */
#include "node/council.h"

#include "base/log.h"
#include "node/roles.h"

static void retry_later(struct council *council)
{
    council->retry_ms = env_monotonic_ms(council->env) + COUNCIL_RETRY_MS;
}

/* ---- the group ---- */

static void change_done(struct group_change *change, enum status status)
{
    struct council *council = container_of(change, struct council, change);
    council->changing = false;
    if (status != STATUS_OK) {
        retry_later(council);
    }
    if (council->handed_over != NULL) {
        void (*handed_over)(void *context) = council->handed_over;
        council->handed_over = NULL;
        handed_over(council->context);
    }
}

static void change_ask(struct council *council)
{
    council->change.done = change_done;
    enum status status = group_change(council->group, &council->change);
    council->changing = status == STATUS_OK;
    if (status != STATUS_OK) {
        retry_later(council);
    }
}

/* ---- what the topology says of it ---- */

static void proposal_done(struct group_proposal *proposal, enum status status, uint64_t index)
{
    struct council *council = container_of(proposal, struct council, proposal);
    (void)index;
    council->proposing = false;
    if (status != STATUS_OK) { /* Else it shows in the topology. */
        retry_later(council);
    }
}

static void voters_propose(struct council *council, const uint32_t *voters, uint32_t voter_count)
{
    struct topology_command command = {
        .type = TOPOLOGY_VOTERS,
        .request_id = env_random(council->env),
        .voters = voters,
        .voter_count = voter_count,
    };
    struct buffer bytes = {0};
    topology_command_encode(&bytes, &command);
    council->proposal = (struct group_proposal){.done = proposal_done};
    enum status status = buffer_status(&bytes);
    if (status == STATUS_OK) {
        status = group_propose(council->group, buffer_slice(&bytes), &council->proposal);
    }
    council->proposing = status == STATUS_OK;
    buffer_deinit(&bytes);
}

/* ---- both ---- */

void council_look(struct council *council, const struct topology *topology)
{
    struct group_info info = {0};
    if (council->group != NULL) {
        group_info(council->group, &info);
    }
    uint64_t now_ms = env_monotonic_ms(council->env);
    if (info.role == GROUP_LEADER && !council->led) {
        council->led_since_ms = now_ms;
    }
    council->led = info.role == GROUP_LEADER;
    if (!council->led || council->changing || council->proposing || council->handed_over != NULL ||
        info.applied_index < info.commit_index || now_ms < council->retry_ms) {
        return;
    }
    struct group_configuration configuration;
    group_configuration(council->group, &configuration);
    struct roles_view view = {
        .topology = topology,
        .configuration = &configuration,
        .self = council->config->id,
        .silent_ms = council->silent_ms,
        .context = council->context,
        .led_ms = now_ms - council->led_since_ms,
        .answer_ms = council->config->down_ms,
        .patience_ms = council->config->voter_patience_ms,
    };
    uint32_t voters[TOPOLOGY_VOTER_COUNT_MAX];
    uint32_t voter_count = 0;
    /* What is so is told first: there may be one change after another, some of which cannot be. */
    if (roles_voters(&view, voters, &voter_count)) {
        voters_propose(council, voters, voter_count);
    } else if (roles_next(&view, &council->change)) {
        change_ask(council);
    }
}

void council_hand_over(struct council *council, void (*handed_over)(void *context))
{
    ASSERT(council->handed_over == NULL);
    enum status status = STATUS_NOT_LEADER;
    if (council->group != NULL && !council->changing) { /* A change under way may take long. */
        council->change = (struct group_change){.kind = GROUP_TRANSFER, .done = change_done};
        council->handed_over = handed_over;
        status = group_change(council->group, &council->change);
        council->changing = status == STATUS_OK;
    }
    if (status != STATUS_OK) {
        council->handed_over = NULL;
        handed_over(council->context);
    }
}
