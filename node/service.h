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

struct membership;
struct proposals;
struct load_gather;

struct service {
    struct peers *peers;
    struct membership *membership;
    struct proposals *proposals;
    struct replica *replica;
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

#endif
