/*
 * client/topology_view.h -- the JSON that nodes answer, read into structs.
 *
 * What a node sends is checked like anything from the network: counts against their bounds, texts
 * against their room, ranges against the members. Members and figures that this version does not
 * know are passed over.
 */
#ifndef CLIENT_TOPOLOGY_VIEW_H
#define CLIENT_TOPOLOGY_VIEW_H

#include "client/client.h"

/* Each: STATUS_CORRUPT if it is not what such an answer must be, STATUS_NO_MEMORY. The ring:
 * STATUS_UNAVAILABLE if the answer says that there is no cluster yet. */
MUST_USE enum status topology_view_ring(struct slice json, struct kv_ring *ring);
void topology_view_ring_free(struct kv_ring *ring); /* Also of a zeroed one. */
MUST_USE enum status topology_view_status(struct slice json, struct kv_status *status);
MUST_USE enum status topology_view_location(struct slice json, struct kv_location *location);

#endif
