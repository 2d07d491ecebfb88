/*
 * node/admin_uv.h -- the admin port: health, metrics and the ring over HTTP.
 *
 * GET /livez      200 while the node's loop turns, 503 when it has been stuck for seconds
 * GET /readyz     200 while the node is serving, else 503; the body says the state
 * GET /metrics    Prometheus text
 * GET /ring.json  members and ranges
 * GET /status.json  this node's view of the cluster
 *
 * The server (libwebsockets) has a thread of its own, so that it answers even when the node's loop
 * does not. Pages are made on the node's loop: a request is posted there and its page handed back.
 */
#ifndef NODE_ADMIN_UV_H
#define NODE_ADMIN_UV_H

#include "base/env.h"
#include "base/status.h"

struct admin;
struct node;

/* STATUS_EXISTS: the address is in use. STATUS_NO_MEMORY. */
MUST_USE enum status admin_open(struct env *env, struct node *node, const char *address,
                                struct admin **admin);
/* Ends the thread; on the loop's thread, before env_uv_end(). */
void admin_stop(struct admin *admin);
/* After env_uv_end(), which runs what was still posted. */
void admin_close(struct admin *admin);

#endif
