/*
 * node/command.h -- the table of commands: name, arity, keys, what they need and who runs them.
 *
 * Arity counts as Redis counts: the name included, negative for "at least". COMMAND, COMMAND DOCS
 * and the checks before a handler runs all read this one table.
 */
#ifndef NODE_COMMAND_H
#define NODE_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"
#include "node/config.h"

struct request;
struct session;

enum command_flag {
    COMMAND_READ = 1,      /* Reads keys. */
    COMMAND_WRITE = 2,     /* Changes keys. */
    COMMAND_DATA = 4,      /* Needs a serving node; else -LOADING. */
    COMMAND_EXCLUSIVE = 8, /* Runs alone within its session. */
    COMMAND_FAST = 16,
    COMMAND_ADMIN = 32,
};

struct command {
    const char *name; /* Lower case. */
    void (*run)(struct request *request);
    int8_t arity;
    uint8_t flags;
    int8_t first_key;
    int8_t last_key; /* -1: to the end. */
    int8_t key_step;
    const char *group;
    const char *summary;
};

/* NULL if there is none. Case does not matter. */
const struct command *command_find(struct slice name);
/* Why a command of Redis is not offered; NULL if the name means nothing to us. */
const char *command_absent_reason(struct slice name);
const struct command *command_table(uint32_t *count);
/* What to say of a write of which `tries` tries were superseded, or parts done: one of those may
 * stand on some replica, so that a later refusal is no definite one. */
enum status command_status(enum status status, uint32_t tries);
bool argument_is(struct slice argument, const char *word); /* Case does not matter. */
/* A decimal in [-2^63, 2^63), nothing else in it. */
bool argument_integer(struct slice argument, int64_t *value);
bool argument_level(struct slice argument, enum level *level); /* one, quorum or all */

/* command_glob.c: Redis's glob, bytewise: * ? [set] [^set] [a-z] and \ before any of them. */
bool command_glob(struct slice pattern, struct slice text);

/* command_connection.c */
void command_ping(struct request *request);
void command_echo(struct request *request);
void command_hello(struct request *request);
void command_auth(struct request *request);
void command_quit(struct request *request);
void command_reset(struct request *request);
void command_client(struct request *request);
void command_command(struct request *request);
void command_time(struct request *request);
void command_kv_consistency(struct request *request);

/* command_key.c: one key */
void command_get(struct request *request);
void command_set(struct request *request);
void command_setex(struct request *request);
void command_psetex(struct request *request);
void command_strlen(struct request *request);
void command_type(struct request *request);
void command_ttl(struct request *request);
void command_expire(struct request *request);
void command_persist(struct request *request);
void command_kv_get(struct request *request);
void command_kv_set(struct request *request);
void command_kv_del(struct request *request);

/* command_keys.c: several keys, or all */
void command_mget(struct request *request);
void command_mset(struct request *request);
void command_del(struct request *request);
void command_exists(struct request *request);
void command_dbsize(struct request *request);
void command_scan(struct request *request);

/* command_info.c: about the node and the cluster */
void command_info(struct request *request);
void command_config(struct request *request);
void command_kv_ring(struct request *request);
void command_kv_status(struct request *request);
void command_kv_autoscale(struct request *request);
void command_kv_resume(struct request *request);
void command_kv_locate(struct request *request);

/* command_keyspace.c */
void command_select(struct request *request);
void command_kv_keyspace(struct request *request);

/* command_plan.c: changes of the ring */
void command_kv_plan(struct request *request);

/* command_load.c: what nodes and ranges hold and serve */
void command_kv_load(struct request *request);
void command_kv_hotkeys(struct request *request);
/* Why there is no load to tell of. */
void command_load_failed(struct request *request, enum status status);

/* command_balance.c: moves that would make load more even */
void command_kv_balance(struct request *request);

#endif
