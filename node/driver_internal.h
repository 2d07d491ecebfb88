/* node/driver_internal.h -- what the files of the driver share. */
#ifndef NODE_DRIVER_INTERNAL_H
#define NODE_DRIVER_INTERNAL_H

#include "node/driver.h"

/* A member, or who was one. */
struct driver_node {
    struct driver *driver;
    uint32_t id;
    /* driver_poll.c */
    struct driver_ask ask;
    uint32_t ask_ranges[DRIVER_ASK_COUNT_MAX];
    bool asking;
    bool again; /* Something changed since the question left: ask at once when it is answered. */
    uint64_t asked_ms;
    uint64_t asked_epoch;
    uint64_t due_ms; /* Of the next question, if there is one to ask. */
    uint32_t delay_ms;
    /* driver_begin.c */
    uint32_t load;   /* Streams to and from it. */
    uint32_t window; /* So many at most. */
    uint32_t held_up_count;
    /* driver_member.c */
    bool greeted;
    uint64_t refused_epoch; /* A command about it was refused in this epoch. */
    struct message_hello hello;
};

struct driver {
    struct env *env;
    struct driver_options options;
    struct env_timer timer;
    struct driver_node **nodes; /* Sorted by id. */
    uint32_t node_count;
    struct driver_move *moves; /* Sorted by range: all that are in an operation. */
    uint32_t move_count;
    uint32_t move_capacity;
    uint8_t *corrupt; /* A bit per range: its next operation is not to trust one source alone. */
    uint32_t range_count;
    uint64_t followed_epoch; /* Of the topology that `moves` stands for. */
    uint64_t led_ms;         /* When this node came to lead. */
    uint64_t next_ms;        /* No proposal before this. */
    uint32_t batch_max;      /* Steps of one command; fewer after one was refused. */
    uint32_t cursor;         /* The range that steps are looked for from. */
    bool begins_first;       /* BEGIN before other steps: one of those was refused. */
    enum topology_command_type proposed_type; /* Of the command under way. */
    uint32_t proposed_range;                  /* STEPS: the first of them. */
    uint32_t proposed_node;                   /* MEMBER_: whom it is about. */
    uint32_t crowded_count;                   /* See driver_held_up_by(). */
    bool leads;
    bool proposing;
    bool woken; /* Since the timer last fired. */
    bool stopped;
};

/* Now, or as soon as the loop gets to it. */
void driver_wake(struct driver *driver);
/* NULL: there is no memory for it now. */
struct driver_node *driver_node_of(struct driver *driver, uint32_t id);
/* How long nothing was heard of it since this node leads. */
uint64_t driver_silence_ms(const struct driver *driver, uint32_t node);
struct driver_health driver_health_of(const struct driver *driver);
struct driver_move *driver_move_find(const struct driver *driver, uint32_t range);

/* ---- driver_poll.c ---- */
/* Asks every node that has something to say, if it is due; returns when the next one is. */
uint64_t driver_poll_run(struct driver *driver, uint64_t now_ms);
void driver_poll_hurry(struct driver *driver, uint64_t now_ms); /* There is news to be had. */
void driver_poll_forget(struct driver *driver);

/* ---- driver_begin.c ---- */
struct driver_steps {
    struct topology_step steps[DRIVER_BATCH_COUNT_MAX];
    uint32_t count;
    uint32_t finish_count; /* Of them. */
};
/* Adds a BEGIN for ranges that have a goal, while there is room. */
void driver_begin_choose(struct driver *driver, struct driver_steps *steps);
/* `target` has streamed what it must for `move`. */
void driver_begin_streamed(struct driver *driver, const struct driver_move *move, uint32_t target);

/* ---- driver_member.c ---- */
/* A command about a member that is due. False: none. */
bool driver_member_command(struct driver *driver, struct topology_command *command);

#endif
