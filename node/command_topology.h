/*
 * node/command_topology.h -- topology commands on behalf of clients: sent to who leads, and told.
 *
 * Any node takes these; what changes something goes to the Raft leader as a topology command, and
 * is judged there. So nothing is refused here for what this node may only not have heard of yet.
 */
#ifndef NODE_COMMAND_TOPOLOGY_H
#define NODE_COMMAND_TOPOLOGY_H

#include "node/proposals.h"
#include "node/session.h"

struct topology_call;

struct topology_call_kind {
    const char *look; /* The command that shows what became of it. */
    /* Writes the answer: it was applied, as of proposal.epoch. This node may not know it yet. */
    void (*applied)(const struct topology_call *call);
    /* Writes an error: proposal.reason says why it was refused. NULL: nothing beyond that. */
    void (*refused)(const struct topology_call *call);
};

struct topology_call {
    const struct topology_call_kind *kind;
    struct request *request;
    struct proposal proposal;
    struct topology_command command;
};

/* Finishes the request once it is decided. `kind` outlives it. */
void topology_call_submit(struct request *request, const struct topology_call_kind *kind,
                          const struct topology_command *command);

/* Appends the text as a bulk string, or an error if memory gave out; frees it. */
void topology_text_write(struct request *request, struct buffer *text);
/* An error, and the request is finished. */
void topology_error_answer(struct request *request, const char *text);

#endif
