/* node/command.c -- the table of commands, and words and numbers in arguments. */
#include "node/command.h"

#include <string.h>
#include <strings.h>

#include "base/contract.h"

#define R COMMAND_READ
#define W COMMAND_WRITE
#define D COMMAND_DATA
#define X COMMAND_EXCLUSIVE
#define F COMMAND_FAST
#define A COMMAND_ADMIN

/* Sorted by name. */
static const struct command commands[] = {
    {"auth", command_auth, -2, F, 0, 0, 0, "connection", "Authenticates the connection."},
    {"client", command_client, -2, A, 0, 0, 0, "connection", "Shows and names connections."},
    {"command", command_command, -1, A, 0, 0, 0, "server", "Describes the commands."},
    {"config", command_config, -2, A, 0, 0, 0, "server", "Reads configuration values."},
    {"dbsize", command_dbsize, 1, R | D | F, 0, 0, 0, "server",
     "Estimates the number of keys of the cluster."},
    {"del", command_del, -2, W | D | X, 1, -1, 1, "generic", "Deletes keys; each by itself."},
    {"echo", command_echo, 2, F, 0, 0, 0, "connection", "Returns its argument."},
    {"exists", command_exists, -2, R | D | X, 1, -1, 1, "generic", "Counts keys that exist."},
    {"expire", command_expire, -3, W | D, 1, 1, 1, "generic", "Sets a time to live, seconds."},
    {"expireat", command_expire, -3, W | D, 1, 1, 1, "generic", "Sets an expiry, Unix seconds."},
    {"expiretime", command_ttl, 2, R | D, 1, 1, 1, "generic", "The expiry, Unix seconds."},
    {"get", command_get, 2, R | D | F, 1, 1, 1, "string", "Returns the value of a key."},
    {"hello", command_hello, -1, F, 0, 0, 0, "connection", "Chooses the protocol version."},
    {"info", command_info, -1, A, 0, 0, 0, "server", "Tells about the node and the cluster."},
    {"kv.autoscale", command_kv_autoscale, 1, A, 0, 0, 0, "ringkv",
     "How many nodes there should be, and why, as JSON."},
    {"kv.balance", command_kv_balance, -1, A, 0, 0, 0, "ringkv",
     "Moves of ranges that would make load more even, as JSON: [BYTES w] [READS w] [WRITES w] "
     "[GAIN percent] [MOVES n]."},
    {"kv.consistency", command_kv_consistency, -1, F, 0, 0, 0, "ringkv",
     "Sets or shows the connection's levels: READ level WRITE level."},
    {"kv.del", command_kv_del, -2, W | D, 1, 1, 1, "ringkv",
     "Deletes a key without reading it: [LEVEL level] [DEADLINE ms] [META]."},
    {"kv.get", command_kv_get, -2, R | D, 1, 1, 1, "ringkv",
     "Reads a key: [LEVEL level] [DEADLINE ms] [META]."},
    {"kv.hotkeys", command_kv_hotkeys, 1, A, 0, 0, 0, "ringkv",
     "The keys that clients ask for most, as JSON."},
    {"kv.keyspace", command_kv_keyspace, -2, A, 0, 0, 0, "ringkv",
     "Lists keyspaces, or creates one: LIST, CREATE name CLASS class [READ level] [WRITE level] "
     "[TTL s]."},
    {"kv.load", command_kv_load, -1, A, 0, 0, 0, "ringkv",
     "What nodes, and ranges, hold and serve, as JSON: [RANGES]."},
    {"kv.locate", command_kv_locate, 2, R | D, 1, 1, 1, "ringkv",
     "Where a key lies on the ring, as JSON."},
    {"kv.plan", command_kv_plan, -2, A, 0, 0, 0, "ringkv",
     "Stages, shows, commits and aborts changes of the ring."},
    {"kv.resume", command_kv_resume, 1, A, 0, 0, 0, "ringkv",
     "Tries at once to take writes again after a disk fault."},
    {"kv.ring", command_kv_ring, 1, A, 0, 0, 0, "ringkv", "Members and ranges, as JSON."},
    {"kv.set", command_kv_set, -3, W | D, 1, 1, 1, "ringkv",
     "Writes a key: [LEVEL level] [EX s|PX ms|EXAT s|PXAT ms] [DEADLINE ms] [META]."},
    {"kv.status", command_kv_status, 1, A, 0, 0, 0, "ringkv", "This node's view, as JSON."},
    {"mget", command_mget, -2, R | D | X, 1, -1, 1, "string", "Returns the values of keys."},
    {"mset", command_mset, -3, W | D | X, 1, -1, 2, "string",
     "Sets keys; each by itself, not all at once."},
    {"persist", command_persist, 2, W | D, 1, 1, 1, "generic", "Removes the expiry of a key."},
    {"pexpire", command_expire, -3, W | D, 1, 1, 1, "generic", "Sets a time to live, ms."},
    {"pexpireat", command_expire, -3, W | D, 1, 1, 1, "generic", "Sets an expiry, Unix ms."},
    {"pexpiretime", command_ttl, 2, R | D, 1, 1, 1, "generic", "The expiry, Unix ms."},
    {"ping", command_ping, -1, F, 0, 0, 0, "connection", "Answers PONG, or its argument."},
    {"psetex", command_psetex, 4, W | D, 1, 1, 1, "string", "Sets a value and its life in ms."},
    {"pttl", command_ttl, 2, R | D, 1, 1, 1, "generic", "The time to live of a key, ms."},
    {"quit", command_quit, -1, F, 0, 0, 0, "connection", "Closes the connection."},
    {"reset", command_reset, 1, F, 0, 0, 0, "connection", "Resets the connection."},
    {"scan", command_scan, -2, R | D | X, 0, 0, 0, "generic",
     "One page of the keys of the cluster: [MATCH pattern] [COUNT n] [TYPE type]."},
    {"select", command_select, 2, F, 0, 0, 0, "connection", "Chooses the keyspace."},
    {"set", command_set, -3, W | D, 1, 1, 1, "string",
     "Sets a value: [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL]."},
    {"setex", command_setex, 4, W | D, 1, 1, 1, "string", "Sets a value and its life in s."},
    {"strlen", command_strlen, 2, R | D, 1, 1, 1, "string", "The size of a value."},
    {"time", command_time, 1, F, 0, 0, 0, "server", "The time, Unix seconds and microseconds."},
    {"touch", command_exists, -2, R | D | X, 1, -1, 1, "generic", "Counts keys that exist."},
    {"ttl", command_ttl, 2, R | D, 1, 1, 1, "generic", "The time to live of a key, seconds."},
    {"type", command_type, 2, R | D, 1, 1, 1, "generic", "The type of a key: string or none."},
    {"unlink", command_del, -2, W | D | X, 1, -1, 1, "generic", "Deletes keys, as DEL."},
};

static const char needs_strong[] =
    "it needs a read and a write in one step, which eventual keyspaces do not have";
static const char strings_only[] = "values are strings: there are no structured types";
static const char no_scripts[] = "scripts and functions are not supported";
static const char no_transactions[] = "transactions are not supported in eventual keyspaces";
static const char replicates_itself[] = "the cluster replicates and persists by itself";
static const char delete_by_scan[] =
    "nothing deletes all keys at once; SCAN and DEL do it in pages";
static const char no_subscriptions[] = "publish and subscribe are not supported";

/* Names Redis users try, with why they are not here. */
static const struct {
    const char *name;
    const char *reason;
} absent[] = {
    {"append", needs_strong},
    {"bgsave", replicates_itself},
    {"bitcount", strings_only},
    {"bitfield", strings_only},
    {"blpop", strings_only},
    {"brpop", strings_only},
    {"cluster", "any node serves every key: clients need no map; KV.RING shows the ring"},
    {"copy", "keys live on different nodes"},
    {"decr", needs_strong},
    {"decrby", needs_strong},
    {"discard", no_transactions},
    {"eval", no_scripts},
    {"evalsha", no_scripts},
    {"exec", no_transactions},
    {"fcall", no_scripts},
    {"flushall", delete_by_scan},
    {"flushdb", delete_by_scan},
    {"function", no_scripts},
    {"geoadd", strings_only},
    {"getdel", needs_strong},
    {"getex", needs_strong},
    {"getset", needs_strong},
    {"hget", strings_only},
    {"hgetall", strings_only},
    {"hset", strings_only},
    {"incr", needs_strong},
    {"incrby", needs_strong},
    {"incrbyfloat", needs_strong},
    {"keys", "it would hold all keys of the cluster at once; SCAN has them page by page"},
    {"lpush", strings_only},
    {"lrange", strings_only},
    {"migrate", replicates_itself},
    {"move", "keys live on different nodes"},
    {"msetnx", needs_strong},
    {"multi", no_transactions},
    {"pfadd", strings_only},
    {"psubscribe", no_subscriptions},
    {"psync", replicates_itself},
    {"publish", no_subscriptions},
    {"rename", "keys live on different nodes"},
    {"renamenx", "keys live on different nodes"},
    {"replicaof", replicates_itself},
    {"rpush", strings_only},
    {"sadd", strings_only},
    {"save", replicates_itself},
    {"script", no_scripts},
    {"setnx", needs_strong},
    {"setrange", needs_strong},
    {"shutdown", "SIGTERM to the process ends a node"},
    {"slaveof", replicates_itself},
    {"smembers", strings_only},
    {"sort", strings_only},
    {"subscribe", no_subscriptions},
    {"swapdb", "the number of a keyspace never changes"},
    {"unwatch", no_transactions},
    {"wait", "a write waits for its level; KV.CONSISTENCY sets it"},
    {"watch", no_transactions},
    {"xadd", strings_only},
    {"zadd", strings_only},
};

#define NAME_SIZE_MAX 24

/* Lower case, terminated; false if it is longer than any name. */
static bool name_lower(struct slice name, char lower[NAME_SIZE_MAX + 1])
{
    if (name.size > NAME_SIZE_MAX) {
        return false;
    }
    for (size_t index = 0; index < name.size; index++) {
        char byte = (char)name.data[index];
        if (byte >= 'A' && byte <= 'Z') {
            byte = (char)(byte + ('a' - 'A'));
        }
        lower[index] = byte;
    }
    lower[name.size] = '\0';
    return true;
}

const struct command *command_find(struct slice name)
{
    char lower[NAME_SIZE_MAX + 1];
    if (!name_lower(name, lower)) {
        return NULL;
    }
    size_t low = 0;
    size_t high = ARRAY_COUNT(commands);
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(lower, commands[middle].name);
        if (order == 0) {
            return &commands[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

const char *command_absent_reason(struct slice name)
{
    char lower[NAME_SIZE_MAX + 1];
    if (!name_lower(name, lower)) {
        return NULL;
    }
    for (size_t index = 0; index < ARRAY_COUNT(absent); index++) {
        if (strcmp(lower, absent[index].name) == 0) {
            return absent[index].reason;
        }
    }
    return NULL;
}

const struct command *command_table(uint32_t *count)
{
    *count = ARRAY_COUNT(commands);
    return commands;
}

enum status command_status(enum status status, uint32_t tries)
{
    bool open = status == STATUS_OK || status == STATUS_SUPERSEDED || status == STATUS_TIMEOUT ||
                status == STATUS_CANCELLED;
    return tries == 0 || open ? status : STATUS_INDETERMINATE;
}

bool argument_is(struct slice argument, const char *word)
{
    return argument.size == strlen(word) &&
           strncasecmp((const char *)argument.data, word, argument.size) == 0;
}

bool argument_integer(struct slice argument, int64_t *value)
{
    bool negative = argument.size > 0 && argument.data[0] == '-';
    size_t index = negative ? 1 : 0;
    size_t digits = argument.size - index;
    if (digits == 0 || digits > 19 || (digits > 1 && argument.data[index] == '0')) {
        return false;
    }
    uint64_t magnitude = 0;
    for (; index < argument.size; index++) {
        if (argument.data[index] < '0' || argument.data[index] > '9') {
            return false;
        }
        magnitude = magnitude * 10 + (uint64_t)(argument.data[index] - '0');
    }
    if (magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0) || (negative && magnitude == 0)) {
        return false;
    }
    *value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

bool argument_level(struct slice argument, enum level *level)
{
    if (argument_is(argument, "one")) {
        *level = LEVEL_ONE;
    } else if (argument_is(argument, "quorum")) {
        *level = LEVEL_QUORUM;
    } else if (argument_is(argument, "all")) {
        *level = LEVEL_ALL;
    } else {
        return false;
    }
    return true;
}
