/*
 * tests/sim/kvsim_asker.h -- one who asks a simulated cluster one thing at a time, and is told.
 *
 * A host of its own with a connection to the client port of a node, drawn anew when that is lost
 * and now and then. What became of a request is told once, whatever happens to the connection.
 */
#ifndef TESTS_SIM_KVSIM_ASKER_H
#define TESTS_SIM_KVSIM_ASKER_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/kvsim_cluster.h"

#define ASKER_LINE_SIZE_MAX 160

enum asker_outcome {
    ASKER_OK,
    ASKER_REFUSED,  /* By a rule: to ask again is in vain. */
    ASKER_NOT_DONE, /* Nothing was done; it may be asked again. */
    ASKER_UNKNOWN,
};

struct asker {
    struct cluster *cluster;
    bool verbose; /* What is asked and answered, to stderr. */
    /* Runs on the host's loop; may ask again. `text`: of a simple string, a bulk string or an
     * error. */
    void (*answered)(void *context, enum asker_outcome outcome, struct slice text);
    void *context;
    struct world_node *host;
    struct env *env;
    /* asker.c's: */
    struct env_connection *connection;
    bool open;
    uint32_t target; /* Index of the node it is connected to. */
    struct buffer in;
    struct env_timer patience;
    bool asked;
    bool sent;
    char line[ASKER_LINE_SIZE_MAX];
};

/* Adds its host and starts it; `boot` runs there first, with the context. */
void asker_init(struct asker *asker, void (*boot)(void *context));
/* On the host's loop, and nothing is asked yet: words with one space between them. */
void asker_ask(struct asker *asker, const char *line);

#endif
