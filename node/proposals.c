/*
 * node/proposals.c -- topology commands proposed from any node, and what became of them.
 *
 * A command before our own group is a motion, whoever proposed it. It ends when the group says so,
 * even if nobody waits for it any more.
 */
#include "node/proposals.h"

#include <string.h>

#include "base/log.h"
#include "base/memory.h"

#define NS_PER_MS UINT64_C(1000000)
#define RETRY_MS 50 /* Between asking one node in vain and the next. */

struct motion {
    struct group_proposal proposal;
    struct list_node node;
    struct proposals *proposals;
    uint64_t request_id;
    bool decided; /* What follows is how. */
    enum status status;
    uint64_t epoch;
    char reason[MESSAGE_REASON_SIZE_MAX + 1];
    struct proposal *owner; /* Our own, while it waits; */
    struct peer_link *link; /* or held, for another node. */
    struct frame request;   /* Its, without payload. */
};

struct proposals {
    struct env *env;
    struct proposals_options options;
    struct list_node own;     /* Of proposal, oldest first. */
    struct list_node motions; /* Oldest first. */
    uint32_t own_count;
    uint32_t motion_count;
    bool stopping;
};

static void reason_keep(char reason[MESSAGE_REASON_SIZE_MAX + 1], struct slice text)
{
    ASSERT(text.size <= MESSAGE_REASON_SIZE_MAX);
    if (text.size > 0) {
        memcpy(reason, text.data, text.size);
    }
    reason[text.size] = '\0';
}

/* ------------------------------------------------------------------ motions */

static void proposal_went(struct proposal *proposal, enum status status);

static void motion_reply(const struct motion *motion, enum status status)
{
    struct proposals *proposals = motion->proposals;
    struct message_propose_reply reply = {.leader_id =
                                              membership_leader(proposals->options.membership),
                                          .epoch = motion->epoch,
                                          .reason = slice_text(motion->reason)};
    struct buffer payload = {0};
    message_propose_reply_encode(&payload, &reply);
    if (buffer_status(&payload) != STATUS_OK) {
        buffer_deinit(&payload);
        payload = (struct buffer){0};
        status = STATUS_INDETERMINATE; /* What it does not say is all that it could. */
    }
    peers_reply(proposals->options.peers, motion->link, &motion->request, status,
                buffer_slice(&payload));
    buffer_deinit(&payload);
}

static void motion_free(struct motion *motion)
{
    list_remove(&motion->node);
    motion->proposals->motion_count--;
    if (motion->link != NULL) {
        peers_link_release(motion->link);
    }
    memory_free(motion);
}

static void motion_done(struct group_proposal *group_proposal, enum status status, uint64_t index)
{
    (void)index;
    struct motion *motion = container_of(group_proposal, struct motion, proposal);
    struct proposal *owner = motion->owner;
    if (status == STATUS_OK && motion->decided) {
        status = motion->status;
    } else if (status == STATUS_OK || status == STATUS_CANCELLED) {
        status = STATUS_INDETERMINATE; /* Applied, and there was no memory to see how. */
    }
    if (motion->link != NULL) {
        motion_reply(motion, status);
    }
    if (owner != NULL) {
        owner->motion = NULL;
        owner->epoch = motion->epoch;
        reason_keep(owner->reason, slice_text(motion->reason));
        proposal_went(owner, status);
    }
    motion_free(motion);
}

/* Gives a command to our own group. STATUS_OK: motion_done follows, or has run. */
static enum status motion_begin(struct proposals *proposals, struct slice command,
                                const struct motion *terms)
{
    struct motion *motion = memory_allocate_zeroed(1, sizeof(*motion));
    if (motion == NULL || proposals->motion_count >= 2 * PROPOSALS_COUNT_MAX) {
        memory_free(motion);
        return STATUS_OVERLOADED;
    }
    *motion = *terms;
    motion->proposals = proposals;
    motion->proposal.done = motion_done;
    list_append(&proposals->motions, &motion->node);
    proposals->motion_count++;
    if (motion->link != NULL) {
        peers_link_hold(motion->link);
    }
    if (motion->owner != NULL) {
        motion->owner->motion = motion;
    }
    enum status status =
        membership_propose(proposals->options.membership, command, &motion->proposal);
    if (status != STATUS_OK) {
        if (motion->owner != NULL) {
            motion->owner->motion = NULL;
        }
        motion_free(motion);
    }
    return status == STATUS_NO_MEMORY ? STATUS_OVERLOADED : status;
}

/* ------------------------------------------------------------------ our own */

static void proposal_end(struct proposal *proposal, enum status status)
{
    struct proposals *proposals = proposal->proposals;
    proposals->env->ops->timer_stop(proposals->env, &proposal->timer);
    peers_cancel(proposals->options.peers, &proposal->request);
    if (proposal->motion != NULL) {
        proposal->motion->owner = NULL;
        proposal->motion = NULL;
    }
    list_remove(&proposal->node);
    proposals->own_count--;
    buffer_deinit(&proposal->command);
    proposal->done(proposal, status);
}

/* Ends it from the loop: `done` may propose more, which a caller that comes out of the group's
 * callbacks could not take. */
static void proposal_over(struct proposal *proposal, enum status status)
{
    proposal->over = true;
    proposal->status = status;
    env_timer_start_ms(proposal->proposals->env, &proposal->timer, 0);
}

static bool decided(enum status status)
{
    return status == STATUS_OK || status == STATUS_STALE || status == STATUS_REFUSED ||
           status == STATUS_CORRUPT || status == STATUS_TOO_LARGE;
}

/* What the group here, or the node that was asked, says of it. */
static void proposal_went(struct proposal *proposal, enum status status)
{
    struct env *env = proposal->proposals->env;
    if (proposal->over) {
        return;
    }
    if (decided(status)) {
        proposal_over(proposal, status);
        return;
    }
    /* These say that it is not in the log by this try. */
    bool definite = status == STATUS_NOT_LEADER || status == STATUS_OVERLOADED ||
                    status == STATUS_UNAVAILABLE || status == STATUS_UNSUPPORTED;
    proposal->sent = proposal->sent || !definite;
    bool at_once = status == STATUS_NOT_LEADER && proposal->hint != 0 && !proposal->hinted;
    proposal->hinted = at_once;
    env_timer_start_ms(env, &proposal->timer, at_once ? 0 : RETRY_MS);
}

static void proposal_answered(struct peer_request *request, enum status status,
                              const struct frame *reply)
{
    struct proposal *proposal = container_of(request, struct proposal, request);
    struct message_propose_reply message = {0};
    if (status == STATUS_OK) {
        status = (enum status)reply->status;
        bool told = message_propose_reply_decode(reply->payload, &message) == STATUS_OK;
        if (told && status == STATUS_NOT_LEADER && message.leader_id != request->peer_id) {
            proposal->hint = message.leader_id;
        }
        if (told && decided(status)) {
            proposal->epoch = message.epoch;
            reason_keep(proposal->reason, message.reason);
        }
    }
    proposal_went(proposal, status);
}

/* A voter to ask, after `after` in the order of ids, round and round; 0: there is none but us. */
static uint32_t voter_after(const struct proposals *proposals, uint32_t after)
{
    const struct topology *topology = membership_topology(proposals->options.membership);
    uint32_t least = 0;
    for (uint32_t index = 0; index < topology->member_count; index++) {
        const struct topology_member *member = &topology->members[index];
        if (!member->voter || member->id == proposals->options.config->id) {
            continue;
        }
        if (member->id > after) {
            return member->id;
        }
        least = least == 0 ? member->id : least;
    }
    return least;
}

static uint32_t target_of(struct proposal *proposal)
{
    const struct proposals *proposals = proposal->proposals;
    uint32_t leader = membership_leader(proposals->options.membership);
    uint32_t hint = proposal->hint;
    proposal->hint = 0;
    if (hint != 0 && hint != proposals->options.config->id) {
        return hint;
    }
    return leader != 0 && leader != proposal->asked_id ? leader
                                                       : voter_after(proposals, proposal->asked_id);
}

static void proposal_try(struct proposal *proposal)
{
    struct proposals *proposals = proposal->proposals;
    uint32_t self = proposals->options.config->id;
    if (membership_leader(proposals->options.membership) == self) {
        struct motion terms = {.request_id = proposal->request_id, .owner = proposal};
        enum status status = motion_begin(proposals, buffer_slice(&proposal->command), &terms);
        if (status != STATUS_OK) {
            proposal_went(proposal, status);
        }
        return;
    }
    proposal->asked_id = target_of(proposal);
    proposal->request = (struct peer_request){
        .peer_id = proposal->asked_id,
        .type = FRAME_PROPOSE,
        .range = FRAME_NO_RANGE,
        .deadline_ms =
            (uint32_t)((proposal->deadline_ns - env_monotonic_ns(proposals->env)) / NS_PER_MS) + 1,
        .done = proposal_answered,
    };
    enum status status = proposal->asked_id == 0
                             ? STATUS_UNAVAILABLE
                             : peers_request(proposals->options.peers, &proposal->request,
                                             buffer_slice(&proposal->command));
    if (status != STATUS_OK) {
        proposal_went(proposal, STATUS_UNAVAILABLE); /* Nothing was sent. */
    }
}

static void proposal_fired(struct env_timer *timer)
{
    struct proposal *proposal = container_of(timer, struct proposal, timer);
    struct proposals *proposals = proposal->proposals;
    if (proposal->over) {
        proposal_end(proposal, proposal->status);
        return;
    }
    uint64_t now_ns = env_monotonic_ns(proposals->env);
    if (now_ns >= proposal->deadline_ns) {
        bool open = proposal->sent || proposal->motion != NULL || proposal->request.id != 0;
        proposal_end(proposal, open ? STATUS_INDETERMINATE : STATUS_UNAVAILABLE);
        return;
    }
    if (!proposal->sent && proposal->motion == NULL && proposal->request.id == 0) {
        proposal_try(proposal);
    }
    if (proposal->sent || proposal->motion != NULL || proposal->request.id != 0) {
        uint64_t left_ns = proposal->deadline_ns - now_ns;
        proposals->env->ops->timer_start(proposals->env, timer, left_ns);
    }
}

void proposals_submit(struct proposals *proposals, struct proposal *proposal, struct slice command)
{
    uint64_t timeout_ms = proposal->timeout_ms == 0 ? PROPOSALS_TIMEOUT_MS : proposal->timeout_ms;
    *proposal = (struct proposal){.done = proposal->done,
                                  .context = proposal->context,
                                  .timeout_ms = proposal->timeout_ms,
                                  .proposals = proposals,
                                  .timer = {.fired = proposal_fired}};
    proposal->deadline_ns = env_monotonic_ns(proposals->env) + timeout_ms * NS_PER_MS;
    enum topology_command_type type;
    enum status status = topology_command_peek(command, &type, &proposal->request_id);
    buffer_append_slice(&proposal->command, command);
    if (status == STATUS_OK) {
        status = buffer_status(&proposal->command);
    }
    if (proposals->own_count >= PROPOSALS_COUNT_MAX || status == STATUS_NO_MEMORY) {
        status = STATUS_OVERLOADED;
    }
    list_append(&proposals->own, &proposal->node);
    proposals->own_count++;
    if (status != STATUS_OK || proposals->stopping) {
        proposal_over(proposal, proposals->stopping ? STATUS_CANCELLED : status);
        return;
    }
    env_timer_start_ms(proposals->env, &proposal->timer, 0);
}

/* ------------------------------------------------------------------ others' and outcomes */

static void serve_refuse(struct proposals *proposals, struct peer_link *link,
                         const struct frame *request, enum status status)
{
    struct message_propose_reply reply = {.leader_id =
                                              membership_leader(proposals->options.membership)};
    struct buffer payload = {0};
    message_propose_reply_encode(&payload, &reply);
    peers_reply(proposals->options.peers, link, request, status, buffer_slice(&payload));
    buffer_deinit(&payload);
}

void proposals_serve(struct proposals *proposals, struct peer_link *link,
                     const struct frame *request)
{
    struct motion terms = {.link = link, .request = *request};
    terms.request.payload = (struct slice){0};
    enum topology_command_type type;
    enum status status = topology_command_peek(request->payload, &type, &terms.request_id);
    if (status == STATUS_OK && proposals->stopping) {
        status = STATUS_UNAVAILABLE;
    }
    if (status == STATUS_OK) {
        status = motion_begin(proposals, request->payload, &terms);
    }
    if (status != STATUS_OK) {
        serve_refuse(proposals, link, request,
                     status == STATUS_NO_MEMORY ? STATUS_OVERLOADED : status);
    }
}

void proposals_decided(struct proposals *proposals, const struct membership_decision *decision)
{
    enum topology_command_type type;
    uint64_t request_id;
    if ((list_empty(&proposals->motions) && list_empty(&proposals->own)) ||
        topology_command_peek(decision->command, &type, &request_id) != STATUS_OK) {
        return;
    }
    list_for_each (node, next, &proposals->motions) {
        struct motion *motion = container_of(node, struct motion, node);
        if (motion->request_id == request_id && !motion->decided) {
            motion->decided = true;
            motion->status = decision->status;
            motion->epoch = decision->epoch;
            reason_keep(motion->reason, slice_text(decision->reason));
        }
    }
    list_for_each (node, next, &proposals->own) {
        struct proposal *proposal = container_of(node, struct proposal, node);
        if (proposal->request_id == request_id && proposal->motion == NULL && !proposal->over) {
            proposal->epoch = decision->epoch;
            reason_keep(proposal->reason, slice_text(decision->reason));
            proposal_over(proposal, decision->status);
        }
    }
}

/* ------------------------------------------------------------------ life */

enum status proposals_open(struct env *env, const struct proposals_options *options,
                           struct proposals **out)
{
    struct proposals *proposals = memory_allocate_zeroed(1, sizeof(*proposals));
    if (proposals == NULL) {
        return STATUS_NO_MEMORY;
    }
    proposals->env = env;
    proposals->options = *options;
    list_init(&proposals->own);
    list_init(&proposals->motions);
    *out = proposals;
    return STATUS_OK;
}

void proposals_stop(struct proposals *proposals)
{
    proposals->stopping = true;
    while (!list_empty(&proposals->own)) {
        proposal_end(container_of(proposals->own.next, struct proposal, node), STATUS_CANCELLED);
    }
}

void proposals_close(struct proposals *proposals)
{
    if (proposals == NULL) {
        return;
    }
    ASSERT(list_empty(&proposals->own));
    while (!list_empty(&proposals->motions)) {
        /* Its group ended without a word, and its link with all connections. */
        memory_free(container_of(list_take_first(&proposals->motions), struct motion, node));
    }
    memory_free(proposals);
}
