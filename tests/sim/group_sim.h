/*
 * tests/sim/group_sim.h -- what the files of group_sim share: one run, its servers, the oracle.
 *
 * group_sim_server.c is a server as its owner would be: state machine, messages, life.
 * group_sim_faults.c brings clients, an operator who changes the configuration, and all that goes
 * wrong. group_sim.c draws a run, ends it and judges it.
 */
#ifndef TESTS_SIM_GROUP_SIM_H
#define TESTS_SIM_GROUP_SIM_H

#include "raft/group.h"
#include "tests/sim/group_lab.h"

#define MILLISECOND UINT64_C(1000000)
#define ELECTION_MS 100
#define HEARTBEAT_MS 20
#define INDEX_MAX 200000
#define VALUE_MAX 50000
#define TERM_MAX 100000
#define CHANGE_KIND_COUNT (GROUP_TRANSFER + 1)

struct sim;

struct server {
    struct sim *sim;
    struct lab_host *host;
    struct group *group;
    struct group_stop stop;
    uint64_t applied_index;
    uint64_t applied_count;
    uint64_t applied_hash;
    enum group_role role;
    bool failed;
    bool joins; /* Its folder is empty, or was emptied when it had left. */
};

/* Added up over the seeds. */
struct sim_counts {
    uint64_t acknowledged, indeterminate, crashes, elections, snapshots, failures, stops;
    uint64_t rollbacks, guard_drops, wipes, graves;
    uint64_t asked[CHANGE_KIND_COUNT], committed[CHANGE_KIND_COUNT], refused[CHANGE_KIND_COUNT];
};

struct sim {
    struct lab lab;
    unsigned server_count; /* With those that may join. */
    unsigned voter_count;  /* In the first configuration. */
    unsigned standby_count;
    uint32_t threshold;
    uint32_t trailing;
    uint32_t change_one_in; /* Of the operator's turns; 0: the configuration stays. */
    bool quiet;             /* The faults have stopped. */
    bool power;
    bool fifo;
    bool nervous; /* Servers lose power just after they sent a message, and are back soon. */
    uint32_t loss_ppm;
    uint32_t double_ppm;
    bool cut[LAB_HOST_COUNT_MAX][LAB_HOST_COUNT_MAX];
    uint64_t link_free_ns[LAB_HOST_COUNT_MAX][LAB_HOST_COUNT_MAX];
    uint64_t sequence;
    struct server servers[LAB_HOST_COUNT_MAX];
    /* The oracle. */
    uint64_t chosen[INDEX_MAX];     /* Value applied at an index; 0: none, or no command. */
    uint64_t hash_after[INDEX_MAX]; /* State after it. */
    uint64_t index_of[VALUE_MAX];
    bool acknowledged[VALUE_MAX];
    uint32_t leader_of[TERM_MAX];
    uint64_t value;
    uint64_t last_value_done;
    unsigned violation_count;
    struct sim_counts counts;
};

/* group_sim_server.c */
void sim_violation(struct sim *sim, const char *what, uint64_t a, uint64_t b);
uint64_t sim_draw(struct sim *sim, uint64_t bound);
void server_boot(struct server *server);
void server_crash(struct server *server, bool power);
void server_wipe(struct server *server); /* It has left: its folder is emptied, it may join anew. */
void server_stop(struct server *server); /* Cleanly; it is down some time later. */
void server_crashed_in_job(void *context, struct lab_host *host);
void server_count_up(struct server *server); /* Adds what its group counted to the run's counts. */

/* group_sim_faults.c */
/* Turns come again by themselves; their contexts are a server, and twice the run. */
void sim_client_turn(void *context);
void sim_operator_turn(void *context);
void sim_faults_turn(void *context);
void sim_faults_stop(struct sim *sim);

/* group_sim_mutant.c: false if there is no such rule. */
bool sim_leave_out(const char *rule);

#endif
