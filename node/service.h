/*
 * node/service.h -- answers the requests of other nodes: of coordinators from this node's
 * replica, of those that change the ring from holding and streams.
 */
#ifndef NODE_SERVICE_H
#define NODE_SERVICE_H

#include <stdint.h>

#include "node/peers.h"
#include "node/replica.h"
#include "node/stream_source.h"
#include "node/stream_target.h"

struct acceptor;
struct membership;
struct proposals;
struct load_gather;

struct service {
    struct peers *peers;
    struct membership *membership;
    struct proposals *proposals;
    struct replica *replica;
    struct acceptor *acceptor;
    const struct holding *holding;
    struct stream_source *source;
    const struct stream_target *target;
    struct load_gather *gather;
    const struct topology *topology;
    const struct config *config;
    uint32_t under_way; /* Requests not yet answered. */
    uint64_t size;      /* Bytes of their payloads. */
    bool stopping;
};

/* A frame of any type but hello, ping and raft. What cannot be done is answered with why. */
void service_request(struct service *service, struct peer_link *link, const struct frame *request);

/* ------------------------------------------------------------------ of service*.c alone */

/* Holds the link and counts a request of `size` until its release. STATUS_OVERLOADED. */
MUST_USE enum status service_admit(struct service *service, struct peer_link *link, uint64_t size);
void service_release(struct service *service, struct peer_link *link, uint64_t size);
/* The range a request speaks of: what its key says, not what its header claims. */
MUST_USE enum status service_range_of(const struct service *service, struct slice engine_key,
                                      uint32_t *range);
/* service_register.c: PREPARE and ACCEPT. Not STATUS_OK: nothing was begun, and no answer sent. */
MUST_USE enum status service_register_request(struct service *service, struct peer_link *link,
                                              const struct frame *request);

#endif
