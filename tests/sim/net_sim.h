/*
 * tests/sim/net_sim.h -- connections between the hosts of a simulated world.
 *
 * Host n (from 1) has the address 10.0.0.n; 127.0.0.1 is the host itself, 0.0.0.0 listens on both.
 * Contract:
 *  (1) What is sent on a connection arrives in order, after drawn delays; what was sent in one
 *      event arrives in one event. Byte streams arrive in drawn chunks, frames whole; a frame may
 *      be dropped or doubled on the way.
 *  (2) While a pair of hosts is cut in one direction, bytes of that direction wait. If they wait
 *      longer than `dead_after_ns`, or acknowledgements cannot come back for so long, the sender's
 *      end closes with STATUS_TIMEOUT; nobody tells the other end. A healed cut goes on where it
 *      was.
 *  (3) A process that ends closes or resets its connections (the others see it after a delay, if no
 *      cut is in the way). A host without power says nothing: others see silence, until they send
 *      to the host after its restart, and are reset.
 *  (4) A connect is refused if nobody listens, and times out if the host has no power or is cut
 *      off.
 *  (5) `closed` says what base/net_uv.c would: STATUS_OK after net_close, STATUS_CLOSED when the
 *      other side closed or reset, STATUS_IO for a refused connect, STATUS_TIMEOUT for (2) and a
 *      connect that got no answer, STATUS_NOT_FOUND for a name, STATUS_OVERLOADED for one who sent
 *      on far above the bound, STATUS_CANCELLED at a clean end of the process.
 */
#ifndef TESTS_SIM_NET_SIM_H
#define TESTS_SIM_NET_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"

#define NET_SIM_HOST_COUNT_MAX 64

struct net_sim;
struct world;
struct world_node;

/* May be changed at any time through net_sim_options(). */
struct net_sim_options {
    uint64_t latency_ns_min;
    uint64_t latency_ns_max; /* Drawn between them. */
    uint32_t slow_ppm;       /* A batch takes up to slow_ns longer. */
    uint64_t slow_ns;
    uint32_t drop_ppm;      /* Of each frame. */
    uint32_t duplicate_ppm; /* Of each frame. */
    uint32_t reset_ppm;     /* A batch resets its connection instead. */
    uint32_t refuse_ppm;    /* A connect is refused though somebody listens. */
    uint64_t dead_after_ns; /* See (2); drawn from half of this to this. */
    uint64_t connect_timeout_ns;
    uint32_t chunk_size_max;    /* Of byte streams; 0: as sent. */
    size_t send_queue_size_max; /* Bytes on their way before net_send says OVERLOADED. */
};

struct net_sim *net_sim_create(struct world *world, const struct net_sim_options *options);
void net_sim_destroy(struct net_sim *net);
struct net_sim_options *net_sim_options(struct net_sim *net); /* Live; the caller may write them. */

/* Hosts are numbered as the nodes of the world, from 0 (so host 0 is 10.0.0.1). */
void net_sim_cut(struct net_sim *net, uint32_t from, uint32_t to, bool cut); /* One direction. */
void net_sim_cut_both(struct net_sim *net, uint32_t a, uint32_t b, bool cut);
void net_sim_heal(struct net_sim *net); /* No cut is left. */
bool net_sim_is_cut(const struct net_sim *net, uint32_t from, uint32_t to);
/* Resets every connection between the two hosts, as seen by both ends after drawn delays. */
void net_sim_reset(struct net_sim *net, uint32_t a, uint32_t b);

/* Of the world: a host comes up, or its process ends (see (3)). */
void net_sim_host_up(struct net_sim *net, struct world_node *node);
void net_sim_host_down(struct net_sim *net, struct world_node *node, bool power);
/* Closes what a clean shutdown left open, calling `closed` of each connection. */
void net_sim_host_close(struct net_sim *net, struct world_node *node);

struct net_sim_counters {
    uint64_t connects, batches, frames_sent, frames_dropped, frames_doubled, bytes_delivered;
    uint64_t resets, timeouts;
};
const struct net_sim_counters *net_sim_counters(const struct net_sim *net);

/* The network half of struct env_ops; the world's table forwards here. */
enum status net_sim_listen(struct world_node *node, const char *address, enum env_framing framing,
                           const struct env_net_events *events, void *context,
                           struct env_listener **listener);
void net_sim_listener_close(struct env_listener *listener);
enum status net_sim_connect(struct world_node *node, const char *address, enum env_framing framing,
                            const struct env_net_events *events, void *context,
                            struct env_connection **connection);
enum status net_sim_send(struct env_connection *connection, struct slice data);
void net_sim_close(struct env_connection *connection);
void net_sim_pause(struct env_connection *connection, bool paused);
const char *net_sim_remote(const struct env_connection *connection);

#endif
