/* node/driver_link.c -- see driver_link.h. */
#include "node/driver_link.h"

#include "base/memory.h"

#define ASK_DEADLINE_MS 2000 /* Told to the peer; the driver itself asks anew after it. */

/* ------------------------------------------------------------------ commands */

static void propose_done(struct group_proposal *proposal, enum status status, uint64_t index)
{
    (void)index;
    struct driver_link *link = container_of(proposal, struct driver_link, proposal);
    link->request_id = 0;
    driver_proposed(link->driver, status == STATUS_OK ? link->judged : status, link->reason);
}

static enum status link_propose(void *context, struct slice command)
{
    struct driver_link *link = context;
    enum topology_command_type type;
    uint64_t request_id;
    enum status status = topology_command_peek(command, &type, &request_id);
    if (status != STATUS_OK) {
        return status;
    }
    ASSERT(link->request_id == 0);
    link->request_id = request_id;
    link->judged = STATUS_INDETERMINATE;
    link->reason = NULL;
    link->proposal = (struct group_proposal){.done = propose_done};
    status = membership_propose(link->options.membership, command, &link->proposal);
    if (status != STATUS_OK) {
        link->request_id = 0;
    }
    return status;
}

void driver_link_decided(struct driver_link *link, const struct membership_decision *decision)
{
    enum topology_command_type type;
    uint64_t request_id;
    if (link->request_id != 0 &&
        topology_command_peek(decision->command, &type, &request_id) == STATUS_OK &&
        request_id == link->request_id) {
        link->judged = decision->status;
        link->reason = decision->reason;
    }
}

/* ------------------------------------------------------------------ questions */

static void ask_done(struct peer_request *request, enum status status, const struct frame *reply)
{
    struct driver_ask *ask = container_of(request, struct driver_ask, request);
    struct message_range_states *states = NULL;
    if (status == STATUS_OK) {
        status = (enum status)reply->status;
    }
    if (status == STATUS_OK) {
        states = memory_allocate(sizeof(*states));
        status =
            states == NULL ? STATUS_NO_MEMORY : message_range_states_decode(reply->payload, states);
    }
    if (status == STATUS_OK && states->count != ask->range_count) {
        status = STATUS_CORRUPT;
    }
    for (uint32_t index = 0; status == STATUS_OK && index < states->count; index++) {
        if (states->states[index].range != ask->ranges[index]) {
            status = STATUS_CORRUPT;
        }
    }
    ask->done(ask, status, status == STATUS_OK ? states->states : NULL);
    memory_free(states);
}

static enum status ask_self(struct driver_link *link, struct driver_ask *ask)
{
    struct message_range_state *states = memory_allocate_zeroed(ask->range_count, sizeof(*states));
    if (states == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t index = 0; index < ask->range_count; index++) {
        holding_state(link->options.holding, ask->ranges[index], &states[index]);
        stream_target_state(link->options.target, &states[index]);
    }
    ask->done(ask, STATUS_OK, states);
    memory_free(states);
    return STATUS_OK;
}

static enum status link_ask(void *context, struct driver_ask *ask)
{
    struct driver_link *link = context;
    if (ask->node == link->options.config->id) {
        return ask_self(link, ask);
    }
    struct buffer payload = {0};
    message_ranges_encode(&payload, ask->ranges, ask->range_count);
    ask->request = (struct peer_request){.peer_id = ask->node,
                                         .type = FRAME_RANGE_STATE,
                                         .range = FRAME_NO_RANGE,
                                         .deadline_ms = ASK_DEADLINE_MS,
                                         .done = ask_done};
    enum status status = buffer_status(&payload);
    if (status == STATUS_OK) {
        status = peers_request(link->options.peers, &ask->request, buffer_slice(&payload));
    }
    buffer_deinit(&payload);
    return status;
}

static void link_forget(void *context, struct driver_ask *ask)
{
    struct driver_link *link = context;
    peers_cancel(link->options.peers, &ask->request);
}

/* ------------------------------------------------------------------ what is known */

static uint64_t link_silence_ms(void *context, uint32_t node)
{
    const struct driver_link *link = context;
    return node == link->options.config->id ? 0 : peers_silence_ms(link->options.peers, node);
}

static bool link_votes(void *context, uint32_t node)
{
    const struct driver_link *link = context;
    struct group_configuration configuration = {0};
    bool votes = false;
    bool part = membership_group_configuration(link->options.membership, &configuration);
    for (uint32_t index = 0; part && index < configuration.server_count; index++) {
        const struct group_server *server = &configuration.servers[index];
        votes = votes || (server->id == node && server->duty == GROUP_VOTER);
    }
    return votes;
}

static const struct driver_events link_events = {
    .propose = link_propose,
    .ask = link_ask,
    .forget = link_forget,
    .silence_ms = link_silence_ms,
    .votes = link_votes,
};

/* ------------------------------------------------------------------ life */

enum status driver_link_open(struct driver_link *link, struct env *env,
                             const struct driver_link_options *options)
{
    link->env = env;
    link->options = *options;
    struct driver_options driver_options = {
        .topology = membership_topology(options->membership),
        .moves_max = options->config->moves,
        .streams_max = options->config->streams,
        .events = &link_events,
        .context = link,
    };
    return driver_open(env, &driver_options, &link->driver);
}

void driver_link_stop(struct driver_link *link)
{
    if (link->driver != NULL) {
        driver_stop(link->driver);
    }
}

void driver_link_close(struct driver_link *link)
{
    driver_close(link->driver);
    link->driver = NULL;
}
