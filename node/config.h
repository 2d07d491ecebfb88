/*
 * node/config.h -- what an operator sets, from flags, KV_... variables, a file and defaults.
 *
 * One table (config.c) names every key once: [section] key, its flag --section-key or short form,
 * its variable KV_SECTION_KEY, its type, bounds, default and one line of help; parsing, --help and
 * --print-config all read it. A flag beats a variable, a variable the file, the file the default.
 * Unknown keys and values out of bounds are errors that name the source and, in a file, the line.
 */
#ifndef NODE_CONFIG_H
#define NODE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/buffer.h"
#include "base/env.h"
#include "base/status.h"
#include "ring/topology.h"

#define CONFIG_PATH_SIZE_MAX 1024
#define CONFIG_BOOTSTRAP_COUNT_MAX 64
/* In data_dir. */
#define CONFIG_ENGINE_DIR "lsm"
#define CONFIG_RAFT_DIR "raft"

enum level { LEVEL_ONE = 1, LEVEL_QUORUM = 2, LEVEL_ALL = 3 };

struct config_bootstrap {
    uint32_t id;
    char peer_address[ADDRESS_TEXT_SIZE_MAX];
};

struct config {
    /* [node] */
    uint32_t id; /* 1 and above; fixed for the life of the data. */
    char data_dir[CONFIG_PATH_SIZE_MAX];
    char zone[RING_ZONE_SIZE_MAX];         /* "default" */
    uint32_t weight;                       /* 1 */
    char advertise[ADDRESS_HOST_SIZE_MAX]; /* Host that others reach us at; else as bound. */
    enum log_level log_level;              /* info */
    bool insecure;                         /* Allows addresses other than loopback without TLS. */
    /* [listen] */
    char client[ADDRESS_TEXT_SIZE_MAX]; /* 127.0.0.1:7400 */
    char peer[ADDRESS_TEXT_SIZE_MAX];   /* 127.0.0.1:7401 */
    char admin[ADDRESS_TEXT_SIZE_MAX];  /* 127.0.0.1:7402; "off" for none. */
    /* [cluster] */
    struct config_bootstrap bootstrap[CONFIG_BOOTSTRAP_COUNT_MAX]; /* Sorted by id. */
    uint32_t bootstrap_count;
    char join[ADDRESS_TEXT_SIZE_MAX]; /* A member's peer address; "" for a node of the bootstrap. */
    uint32_t replicas;                /* 3, or the count of members if that is less. */
    uint32_t ranges;                  /* 1024 */
    uint32_t suspect_phi;          /* 5: a peer this long silent is not counted on (detector.h). */
    uint32_t auto_replace_after_s; /* 0: off. A member down for so long is replaced (replacer.h). */
    uint32_t down_phi;             /* 12: and is down, if others do not hear it either. */
    /* [client] */
    uint32_t connections_max;  /* 10000 */
    uint32_t key_size_max;     /* 64 KiB */
    uint32_t value_size_max;   /* 8 MiB */
    uint64_t request_size_max; /* 64 MiB: of one request, and of what one session may queue. */
    uint32_t pipeline_max;     /* 1024: requests of one session under way. */
    enum level read_level;     /* quorum */
    enum level write_level;    /* quorum */
    /* [timeouts], milliseconds */
    uint32_t request_timeout_ms; /* 5000: from a client's request to its answer. */
    uint32_t hedge_timeout_ms;   /* 50: until a read asks one more replica. */
    uint32_t heartbeat_ms;       /* 200 */
    uint32_t suspect_ms;         /* 3000: silence that is too long in any rhythm. */
    uint32_t down_ms;            /* 10000 */
    uint32_t election_ms;        /* 1000 */
    uint32_t voter_patience_ms;  /* 300000: silence after which another votes instead; 0: never. */
    uint32_t shutdown_ms;        /* 10000: for answering what is owed. */
    uint32_t clock_lead_ms;      /* 500: peers' clocks may lead ours by this. */
    /* [limits] */
    uint64_t inflight_size_max;  /* 256 MiB: bytes of requests under way; above: -OVERLOADED. */
    uint32_t inflight_count_max; /* 100000: operations under way. */
    uint64_t stream_rate;        /* 64 MiB: bytes a second of ranges on the move, each way. */
    uint32_t stream_chunk;       /* 4 MiB: a stream goes on behind its last chunk. */
    uint32_t streams;            /* 4: ranges streamed at a time, each way. */
    /* No settings; 0: those of raft/group.h. Clusters of the simulator have short logs. */
    uint32_t raft_snapshot_threshold;
    uint32_t raft_snapshot_trailing;
    uint32_t moves;         /* 64: ranges on their way at a time, as the Raft leader is told. */
    uint32_t stream_p99_ms; /* 50: above this latency of clients streams slow down. */
    /* [load] */
    uint32_t half_life_s;    /* 60: what lies so far back counts half in rates. */
    uint32_t survey_s;       /* 10: between looks at what ranges hold; 0: when asked. */
    uint32_t hot_key_stride; /* 16: one of so many operations is sampled; 0: none. */
    uint32_t hot_key_bytes;  /* 64: so much of a hot key is kept and shown; 0: its hash alone. */
    /* [autoscale]: see autoscale.h. */
    uint32_t disk_high_pct;    /* 80 */
    uint32_t request_high_pct; /* 75 */
    uint32_t target_pct;       /* 60 */
    uint32_t node_requests;    /* 0 */
    uint32_t nodes_min;        /* 0 */
    uint32_t nodes_max;        /* 0 */
    uint32_t grow_s;           /* 60 */
    uint32_t shrink_s;         /* 900 */
    /* [storage] */
    uint64_t memory_size;      /* 512 MiB */
    uint64_t memtable_size;    /* 0: an eighth of it */
    uint64_t wal_segment_size; /* 16 MiB */
    uint32_t open_files_max;   /* 512: table files, beside those being read. */
    uint32_t pool_threads;     /* 2 */
};

void config_defaults(struct config *config);

/* One value. STATUS_INVALID with one sentence in `message`, which names `source` ("--replicas",
 * "KV_CLUSTER_REPLICAS", "kvnode.conf:12"). */
MUST_USE enum status config_set(struct config *config, const char *section, const char *key,
                                const char *value, const char *source, struct buffer *message);
#define CONFIG_INI_LINE_SIZE 200 /* What inih reads a line into, with its newline and end. */
#define CONFIG_LINE_SIZE_MAX (CONFIG_INI_LINE_SIZE - 2)
/* A whole INI text; `name` is its file name, for messages. Stops at the first error; a line above
 * CONFIG_LINE_SIZE_MAX is one (long lists fit in flags and variables). */
MUST_USE enum status config_parse(struct config *config, const char *text, const char *name,
                                  struct buffer *message);
/* Takes every KV_SECTION_KEY that `lookup` has a value for. */
MUST_USE enum status config_environment(struct config *config,
                                        const char *(*lookup)(const char *name),
                                        struct buffer *message);
/* Whether a variable "KV_..." names a key. */
bool config_variable_known(const char *name);

/* The keys in order, for flags and help. */
struct config_key {
    const char *section;
    const char *key;
    const char *flag;     /* Without dashes: "id", or "client-connections-max". */
    const char *argument; /* What help shows for the value; NULL for a switch. */
    const char *help;
};
/* NULL past the last. */
const struct config_key *config_key_at(uint32_t index);
/* The value of the setting at `index`, as config_print() writes it. */
void config_value_print(const struct config *config, uint32_t index, struct buffer *to);
/* The whole configuration as an INI text that config_parse reads back. */
void config_print(const struct config *config, struct buffer *to);

/* STATUS_INVALID with one sentence in `message` that says which key, why, and where it came from.
 */
MUST_USE enum status config_check(const struct config *config, struct buffer *message);

#endif
