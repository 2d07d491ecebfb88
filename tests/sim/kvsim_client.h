/*
 * tests/sim/kvsim_client.h -- clients of the simulated cluster, speaking RESP to its client ports.
 *
 * Each is a host of its own with one connection at a time, to a node drawn anew whenever one is
 * lost. It draws operations at the pace of the plan, or goes through a list of them and insists
 * that each succeeds.
 */
#ifndef TESTS_SIM_KVSIM_CLIENT_H
#define TESTS_SIM_KVSIM_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/kvsim_cluster.h"

/* What is sent for an operation. */
enum client_form {
    CLIENT_KV_SET,
    CLIENT_KV_GET,
    CLIENT_KV_DEL,
    CLIENT_SET, /* The forms of Redis tell no versions. */
    CLIENT_SET_EXPIRING,
    CLIENT_GET,
    CLIENT_DEL,
    CLIENT_PEXPIRE,
    CLIENT_PERSIST,
    CLIENT_PTTL,
    CLIENT_SCAN,
};

/* One operation of a list that must succeed. */
struct client_step {
    enum client_form form;
    uint32_t node; /* Index of the node that is asked. */
    uint32_t key;
    enum level level;
    bool last; /* The last read of the key. */
};

struct client;

struct clients {
    struct cluster *cluster;
    const struct plan *plan;
    struct check *check;
    uint32_t count;
    struct client *all[PLAN_CLIENT_COUNT_MAX + 1]; /* And one that insists. */
    uint32_t begun;                                /* Operations of the plan begun so far. */
    uint32_t hangups; /* Connections that a client gave up waiting on. */
    bool verbose;     /* What is asked and answered, to stderr. */
    bool hurry;       /* What is left of the plan is asked without pauses. */
};

/* Adds and starts the clients' hosts, after those of the cluster. */
void clients_init(struct clients *clients, struct cluster *cluster, bool verbose);
void clients_hurry(struct clients *clients);
/* Every operation of the plan was asked and has ended. */
bool clients_done(const struct clients *clients);
uint32_t client_host(const struct clients *clients, uint32_t index); /* Its host in net_sim.h. */

/* One more host that walks through `steps`, which outlive it. */
struct client *client_insist(struct clients *clients, const struct client_step *steps,
                             uint32_t step_count);
bool client_insisted(const struct client *client); /* All steps are done. */
/* How often each key was returned by the scans among the steps. */
const uint32_t *client_scanned(const struct client *client);
/* What the last read of a key among the steps found. */
enum client_found { CLIENT_ABSENT, CLIENT_LIVE, CLIENT_MORTAL /* It will expire. */ };
enum client_found client_found(const struct client *client, uint32_t key);
void clients_free(struct clients *clients);

#endif
