/*
 * node/server.h -- the client port: Redis protocol sessions over this node's coordinator.
 *
 * Sessions are accepted from the moment the node opens; until it is SERVING, data commands answer
 * -LOADING. Commands and the meaning of errors: docs/commands.md.
 */
#ifndef NODE_SERVER_H
#define NODE_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct node;
struct server;

struct server_counters {
    uint64_t connections_accepted;
    uint64_t connections_refused; /* Over the bound. */
    uint64_t connections_now;
    uint64_t commands;
    uint64_t errors; /* Error replies. */
    uint64_t protocol_errors;
    uint64_t bytes_in;
    uint64_t bytes_out;
};

/* Listens on the configured client address. STATUS_EXISTS: it is in use. STATUS_NO_MEMORY. */
MUST_USE enum status server_open(struct node *node, struct server **server);
/* Takes no new connections or commands; each session closes once it has answered what it owes. */
void server_stop(struct server *server);
bool server_stopped(const struct server *server); /* Every session has closed. */
/* Frees what is left; after the env has ended, or after server_stopped(). */
void server_close(struct server *server);
const struct server_counters *server_counters(const struct server *server);

#endif
