/*
 * client/request.h -- operations turned into commands of the node.
 */
#ifndef CLIENT_REQUEST_H
#define CLIENT_REQUEST_H

#include "client/dispatch.h"

/* Makes `to` a KV.GET, KV.SET or KV.DEL with the client's levels, deadline and tries. */
void request_begin(struct kv_client *client, struct operation *to,
                   const struct kv_operation *operation);
/* Makes it a command without a key that reads, for any node; the caller may set `only`. */
void request_begin_raw(struct kv_client *client, struct operation *to,
                       const struct slice *arguments, size_t argument_count);

#endif
