/*
 * tests/sim/group_lab.h -- a small deterministic env for the servers of one raft group.
 *
 * Why beside env_sim.h: the group's own test wants thousands of short runs a minute and an env it
 * can be debugged with alone; messages are functions here, not connections. It offers what
 * raft/group.c asks of an env and asserts against the rest.
 * Contract:
 *  (1) Time is virtual; events run in the order of (time, order of asking). Everything is drawn
 *      from one seed, and `trace` covers every event, write and draw of the servers.
 *  (2) A sector not synced is after a crash old or new; names changed since the last dir_sync
 *      survive as a prefix of their changes; a size not synced is old, new or between.
 *  (3) A crash may come between two file calls of a job; its `done` never runs then. What the
 *      crashed process held in memory is abandoned: nothing of it is called again.
 */
#ifndef TESTS_SIM_GROUP_LAB_H
#define TESTS_SIM_GROUP_LAB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/prng.h"

#define LAB_HOST_COUNT_MAX 7
#define LAB_FILE_COUNT_MAX 16
#define LAB_NAME_SIZE_MAX 64

struct lab;

struct lab_file {
    char name[LAB_NAME_SIZE_MAX];         /* Empty: removed. */
    char durable_name[LAB_NAME_SIZE_MAX]; /* Empty: does not survive a crash. */
    struct buffer now;
    struct buffer durable;
    bool used;
};

/* A change of names not yet synced. */
struct lab_rename {
    char from[LAB_NAME_SIZE_MAX]; /* Empty: created. */
    char to[LAB_NAME_SIZE_MAX];   /* Empty: removed. */
    unsigned file;
};

struct lab_disk {
    struct lab_file files[LAB_FILE_COUNT_MAX];
    struct lab_rename renames[LAB_FILE_COUNT_MAX * 4];
    unsigned rename_count;
};

struct lab_host {
    struct env env;
    struct lab *lab;
    unsigned index;
    bool up;
    uint32_t incarnation;
    bool locked;
    uint64_t lane_free_ns;
    struct lab_disk disk;
    struct lab_disk *crashed; /* The disk as the crash left it; set while the job still runs. */
    unsigned crash_in;        /* File calls of the next job until the crash; 0: none. */
    uint32_t error_ppm;       /* Of a write or a sync. */
    unsigned fail_in;         /* That many changing calls on, one fails; 0: none. */
    bool failed_sync;         /* Every later one fails too. */
};

struct lab_event;

struct lab {
    uint64_t now_ns;
    uint64_t order;
    uint64_t trace;
    struct prng prng;
    struct lab_event *events;
    size_t event_count;
    size_t event_capacity;
    uint64_t step_count;
    uint32_t stall_one_in; /* One job in so many waits up to 600 ms; 0: none. */
    bool verbose;
    struct lab_host hosts[LAB_HOST_COUNT_MAX];
    void (*crashed)(void *context, struct lab_host *host); /* In a job, see (3). */
    void *context;
};

void lab_init(struct lab *lab, uint64_t seed);
uint64_t lab_below(struct lab *lab, uint64_t bound);
/* host NULL: an event of the lab; else void once that incarnation ended. */
void lab_at(struct lab *lab, uint64_t delay_ns, struct lab_host *host, void (*run)(void *context),
            void *context);
void lab_run(struct lab *lab, uint64_t until_ns);
void lab_host_start(struct lab_host *host);
/* With `power` lost too, what was not synced is drawn, see (2); else the disk is as it was. */
void lab_host_crash(struct lab_host *host, bool power);
/* Outside of a job: what a crash that came meanwhile (crash_in) left is the disk from now on. */
void lab_host_lose(struct lab_host *host);
void lab_host_erase(struct lab_host *host); /* Of one that is down: its disk is empty. */
void lab_mix(struct lab *lab, uint64_t number);

#endif
