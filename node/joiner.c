/* node/joiner.c -- a node that was started with --join, until the cluster knows it. */
#include "node/joiner.h"

#include "base/log.h"

#define TICK_MS 100

static const char taken[] =
    "a member has this node id, with another data folder: join under a new id";

static void joiner_over(struct joiner *joiner)
{
    joiner->running = false;
    peers_contact_end(joiner->options.peers);
}

static void joiner_fail(struct joiner *joiner, const char *why)
{
    log_error(joiner->env, "member.refused", "id=%u why=\"%s\"", joiner->options.config->id, why);
    joiner_over(joiner);
    joiner->options.failed(joiner->options.context, STATUS_REFUSED);
}

static void proposal_done(struct proposal *proposal, enum status status)
{
    struct joiner *joiner = container_of(proposal, struct joiner, proposal);
    joiner->proposing = false;
    log_info(joiner->env, "join.proposed", "status=\"%s\" epoch=%llu why=\"%s\"",
             status_name(status), (unsigned long long)proposal->epoch, proposal->reason);
    /* Perhaps because an earlier try of ours was accepted after all: once we know the topology that
     * it was judged by, we see. */
    joiner->refused_epoch = status == STATUS_REFUSED ? proposal->epoch : 0;
}

static void propose(struct joiner *joiner)
{
    struct topology_command command = {.type = TOPOLOGY_MEMBER_ADD,
                                       .request_id = env_random(joiner->env)};
    membership_member(joiner->options.membership, &command.member);
    struct buffer bytes = {0};
    topology_command_encode(&bytes, &command);
    if (buffer_status(&bytes) == STATUS_OK) {
        joiner->proposing = true;
        joiner->proposal = (struct proposal){.done = proposal_done};
        proposals_submit(joiner->options.proposals, &joiner->proposal, buffer_slice(&bytes));
    }
    buffer_deinit(&bytes);
}

static void joiner_look(struct joiner *joiner)
{
    const struct topology *topology = membership_topology(joiner->options.membership);
    struct topology_member own;
    membership_member(joiner->options.membership, &own);
    const struct topology_member *member = topology_member_find(topology, own.id);
    if (member != NULL && member->disk_id != 0 && member->disk_id != own.disk_id) {
        joiner_fail(joiner, taken);
    } else if (member != NULL) {
        log_info(joiner->env, "join.named", "id=%u epoch=%llu", own.id,
                 (unsigned long long)topology->stamp.epoch);
        joiner_over(joiner);
    } else if (joiner->refused_epoch != 0 && topology->stamp.epoch == joiner->refused_epoch) {
        joiner_fail(joiner, joiner->proposal.reason);
    } else if (topology->cluster_id != 0 && !joiner->proposing &&
               topology->stamp.epoch > joiner->refused_epoch) {
        propose(joiner); /* By now the reason may be gone: we were named, and removed since. */
    }
}

static void joiner_fired(struct env_timer *timer)
{
    struct joiner *joiner = container_of(timer, struct joiner, timer);
    if (joiner->taken) {
        joiner_fail(joiner, taken);
        return;
    }
    joiner_look(joiner);
    if (joiner->running) {
        env_timer_start_ms(joiner->env, timer, TICK_MS);
    }
}

void joiner_refused(struct joiner *joiner, enum status status)
{
    const struct topology *topology = membership_topology(joiner->options.membership);
    if (status == STATUS_EXISTS && topology->cluster_id == 0) {
        joiner->taken = true;
        env_timer_start_ms(joiner->env, &joiner->timer, 0); /* Not from within the connection. */
    }
}

enum status joiner_start(struct joiner *joiner, struct env *env,
                         const struct joiner_options *options)
{
    joiner->env = env;
    joiner->options = *options;
    joiner->timer.fired = joiner_fired;
    const struct topology *topology = membership_topology(options->membership);
    if (options->config->join[0] == '\0' ||
        topology_member_find(topology, options->config->id) != NULL) {
        return STATUS_OK;
    }
    joiner->running = true;
    env_timer_start_ms(env, &joiner->timer, 0);
    return peers_contact(options->peers, options->config->join);
}

void joiner_stop(struct joiner *joiner)
{
    joiner->running = false;
    if (joiner->env != NULL) {
        joiner->env->ops->timer_stop(joiner->env, &joiner->timer);
    }
}
