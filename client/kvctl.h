/*
 * client/kvctl.h -- what the files of kvctl share: one table of commands, options, exit codes.
 *
 * Help, the man page and completions are generated from the tables in client/kvctl_table.c, so they
 * cannot disagree with what is parsed.
 * Contract: what was asked for goes to stdout, everything else to stderr; the exit code tells what
 * happened without reading either.
 */
#ifndef CLIENT_KVCTL_H
#define CLIENT_KVCTL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/contract.h"
#include "client/client.h"

enum kvctl_exit {
    KVCTL_OK = 0,
    KVCTL_FAILURE = 1,
    KVCTL_USAGE = 2,
    KVCTL_UNREACHABLE = 3,
    KVCTL_NOT_FOUND = 4,
    KVCTL_UNAVAILABLE = 5, /* No quorum, or refused for now. */
    KVCTL_INDETERMINATE = 6,
    KVCTL_CONFLICT = 7,
    KVCTL_DENIED = 8,
    KVCTL_CHECK_FAILED = 9,
};

enum option_id {
    OPTION_ENDPOINTS,
    OPTION_OUTPUT,
    OPTION_TIMEOUT,
    OPTION_NO_ROUTING,
    OPTION_HELP,
    OPTION_LEVEL,
    OPTION_FILE,
    OPTION_TTL,
    OPTION_MATCH,
    OPTION_LIMIT,
    OPTION_RANGES,
    OPTION_NODE,
    OPTION_RANGE_COUNT,
    OPTION_KEYS,
    OPTION_SYNTHETIC,
    OPTION_ZIPF,
    OPTION_SEED,
    OPTION_STEP_ADD,
    OPTION_STEP_REMOVE,
    OPTION_STEP_WEIGHT,
    OPTION_SVG,
    OPTION_FORMAT,
    OPTION_DEPTH,
    OPTION_REPORT,
    OPTION_VERIFY,
    OPTION_ORDER,
    OPTION_DIR,
    OPTION_NODES,
    OPTION_PORT,
    OPTION_REPLICAS,
    OPTION_ZONES,
    OPTION_KVNODE,
    OPTION_WAIT,
    OPTION_FOLLOW,
    OPTION_MAN,
    OPTION_WEIGHT,
    OPTION_NO_WAIT,
    OPTION_DATA,
    OPTION_YES,
    OPTION_BY_BYTES,
    OPTION_BY_READS,
    OPTION_BY_WRITES,
    OPTION_GAIN,
    OPTION_MOVES,
    OPTION_STAGE,
    OPTION_CLASS,
    OPTION_READ_LEVEL,
    OPTION_WRITE_LEVEL,
    OPTION_COUNT,
};

#define OPTION_BIT(id) (UINT64_C(1) << (id))
#define OPTIONS_COMMON                                                                       \
    (OPTION_BIT(OPTION_ENDPOINTS) | OPTION_BIT(OPTION_OUTPUT) | OPTION_BIT(OPTION_TIMEOUT) | \
     OPTION_BIT(OPTION_NO_ROUTING) | OPTION_BIT(OPTION_HELP))

struct kvctl_option {
    const char *name;
    char letter;          /* 0: none. */
    const char *argument; /* What its argument is called; NULL: it takes none. */
    const char *help;
};

enum kvctl_output { KVCTL_TABLE, KVCTL_JSON, KVCTL_TSV, KVCTL_RAW };

/* One run of the program. */
struct kvctl {
    const char *program; /* argv[0] */
    const struct kvctl_command *command;
    const char *values[OPTION_COUNT]; /* "" for one without argument; NULL: not given. */
    char **operands;
    int operand_count;
    char **words; /* As given, from behind the command's name; the last is followed by NULL. */
    int word_count;
    enum kvctl_output output;
    struct kv_client *client; /* Opened by kvctl_open(); closed by main. */
};

struct kvctl_command {
    const char *name;     /* Words with one space between. */
    const char *operands; /* As help shows them. */
    int operand_min;
    int operand_max; /* -1: any number. */
    uint64_t options;
    enum kvctl_exit (*run)(struct kvctl *kvctl);
    const char *summary;
    const char *details; /* Sentences, for help of this command and the man page. */
};

extern const struct kvctl_option kvctl_options[OPTION_COUNT];
extern const struct kvctl_command kvctl_commands[];
extern const size_t kvctl_command_count;

/* ---- kvctl.c ---- */
/* "kvctl: ..." to stderr. */
void kvctl_complain(const char *format, ...) PRINTF_LIKE(1, 2);
enum kvctl_exit kvctl_exit_of(const struct kv_result *result);
/* The exit code of a result; complains of all but KV_OK, naming what was tried. */
enum kvctl_exit kvctl_judge(const struct kv_result *result, const char *what);
/* Opens kvctl->client from the options. KVCTL_USAGE after complaining. */
enum kvctl_exit kvctl_open(struct kvctl *kvctl, const struct kv_options *base);
/* The value of a number option; `fallback` if not given. False after complaining. */
bool kvctl_number(const struct kvctl *kvctl, enum option_id id, uint64_t max, uint64_t fallback,
                  uint64_t *value);
/* The level asked for; KV_LEVEL_DEFAULT if none. False after complaining. */
bool kvctl_level(const struct kvctl *kvctl, enum kv_level *level);

/* ---- kvctl_output.c ---- */
struct output_column {
    const char *name;
    bool number; /* Right-aligned; in JSON without quotes. */
};
struct output_rows {
    const struct output_column *columns;
    size_t column_count;
    size_t cell_count;
    struct buffer cells; /* Each with its terminator. */
};
void output_cell(struct output_rows *rows, const char *format, ...) PRINTF_LIKE(2, 3);
/* Prints the rows as the user asked, and frees them. */
enum kvctl_exit output_print(struct kvctl *kvctl, struct output_rows *rows);
/* The bytes to stdout; complains if they cannot all be written. */
enum kvctl_exit output_bytes(struct slice bytes);
#define OUTPUT_NUMBER_SIZE_MAX 32
/* 63666 as "63,666". */
const char *output_count(uint64_t value, char text[OUTPUT_NUMBER_SIZE_MAX]);
/* "48.2 MiB" */
const char *output_size(uint64_t value, char text[OUTPUT_NUMBER_SIZE_MAX]);
/* A size, for people in a table; in bytes in all other forms. */
void output_size_cell(const struct kvctl *kvctl, struct output_rows *rows, uint64_t size);

/* ---- kvctl_dev.c ---- */
#define KVCTL_PATH_SIZE_MAX 4096 /* PATH_MAX, as realpath() wants it. */
/* The node program: what --kvnode names, else the one beside this very program. False after
 * complaining. */
bool kvctl_kvnode(const struct kvctl *kvctl, char path[KVCTL_PATH_SIZE_MAX]);

/* ---- kvctl_help.c ---- */
void kvctl_help_general(void);
void kvctl_help_man(void);
void kvctl_help_command(const struct kvctl_command *command);

/* ---- the commands ---- */
enum kvctl_exit command_get(struct kvctl *kvctl);
enum kvctl_exit command_put(struct kvctl *kvctl);
enum kvctl_exit command_del(struct kvctl *kvctl);
enum kvctl_exit command_scan(struct kvctl *kvctl);
enum kvctl_exit command_status(struct kvctl *kvctl);
enum kvctl_exit command_node_list(struct kvctl *kvctl);
enum kvctl_exit command_ring_show(struct kvctl *kvctl);
enum kvctl_exit command_ring_simulate(struct kvctl *kvctl);
enum kvctl_exit command_ring_locate(struct kvctl *kvctl);
enum kvctl_exit command_ring_load(struct kvctl *kvctl);
enum kvctl_exit command_ring_balance(struct kvctl *kvctl);
enum kvctl_exit command_hot_keys(struct kvctl *kvctl);
enum kvctl_exit command_plan_join(struct kvctl *kvctl);
enum kvctl_exit command_plan_leave(struct kvctl *kvctl);
enum kvctl_exit command_plan_replace(struct kvctl *kvctl);
enum kvctl_exit command_plan_weight(struct kvctl *kvctl);
enum kvctl_exit command_plan_zone(struct kvctl *kvctl);
enum kvctl_exit command_plan_move(struct kvctl *kvctl);
enum kvctl_exit command_plan_rf(struct kvctl *kvctl);
enum kvctl_exit command_cluster_show(struct kvctl *kvctl);
enum kvctl_exit command_cluster_clear(struct kvctl *kvctl);
enum kvctl_exit command_cluster_commit(struct kvctl *kvctl);
enum kvctl_exit command_cluster_abort(struct kvctl *kvctl);
enum kvctl_exit command_cluster_autoscale(struct kvctl *kvctl);
enum kvctl_exit command_cluster_history(struct kvctl *kvctl);
enum kvctl_exit command_cluster_accept_data_loss(struct kvctl *kvctl);
enum kvctl_exit command_topo_explain(struct kvctl *kvctl);
enum kvctl_exit command_keyspace_list(struct kvctl *kvctl);
enum kvctl_exit command_keyspace_create(struct kvctl *kvctl);
enum kvctl_exit command_raft_status(struct kvctl *kvctl);
enum kvctl_exit command_raft_recover(struct kvctl *kvctl);
enum kvctl_exit command_import(struct kvctl *kvctl);
enum kvctl_exit command_verify(struct kvctl *kvctl);
enum kvctl_exit command_export(struct kvctl *kvctl);
enum kvctl_exit command_dev_up(struct kvctl *kvctl);
enum kvctl_exit command_dev_down(struct kvctl *kvctl);
enum kvctl_exit command_dev_ps(struct kvctl *kvctl);
enum kvctl_exit command_dev_kill(struct kvctl *kvctl);
enum kvctl_exit command_dev_pause(struct kvctl *kvctl);
enum kvctl_exit command_dev_resume(struct kvctl *kvctl);
enum kvctl_exit command_dev_restart(struct kvctl *kvctl);
enum kvctl_exit command_dev_logs(struct kvctl *kvctl);
enum kvctl_exit command_completion(struct kvctl *kvctl);
enum kvctl_exit command_help(struct kvctl *kvctl);
enum kvctl_exit command_version(struct kvctl *kvctl);

#endif
