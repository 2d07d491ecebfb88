/* node/main.c -- the program kvnode: settings, one node, a clean end. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/env_uv.h"
#include "base/log.h"
#include "base/memory.h"
#include "node/admin_uv.h"
#include "node/config.h"
#include "node/node.h"
#include "node/report.h"
#include "node/revival.h"

#define FLAG_COUNT_MAX 128
#define CONFIG_FILE_SIZE_MAX (1u << 20)
#define HELP_WIDTH 38

enum { EXIT_USAGE = 2, EXIT_DISK = 3 };
enum {
    FLAG_CONFIG = 1000,
    FLAG_CHECK,
    FLAG_PRINT,
    FLAG_EXAMINE,
    FLAG_RECOVER,
    FLAG_VERSION,
    FLAG_HELP,
};

extern char **environ;

struct program {
    struct env *env;
    struct node *node;
    struct admin *admin;
    int exit_code;
};

/* ------------------------------------------------------------------ flags */

static void flags_make(struct option *options)
{
    uint32_t count = 0;
    for (const struct config_key *key; (key = config_key_at(count)) != NULL; count++) {
        options[count] = (struct option){
            key->flag, key->argument == NULL ? no_argument : required_argument, NULL, (int)count};
    }
    ASSERT(count + 8 <= FLAG_COUNT_MAX);
    options[count++] = (struct option){"config", required_argument, NULL, FLAG_CONFIG};
    options[count++] = (struct option){"check-config", no_argument, NULL, FLAG_CHECK};
    options[count++] = (struct option){"print-config", no_argument, NULL, FLAG_PRINT};
    options[count++] = (struct option){"raft-examine", no_argument, NULL, FLAG_EXAMINE};
    options[count++] = (struct option){"raft-recover", no_argument, NULL, FLAG_RECOVER};
    options[count++] = (struct option){"version", no_argument, NULL, FLAG_VERSION};
    options[count++] = (struct option){"help", no_argument, NULL, FLAG_HELP};
    options[count] = (struct option){0};
}

static void help_line(const char *flag, const char *argument, const char *help)
{
    char left[96];
    (void)snprintf(left, sizeof(left), "  --%s%s%s", flag, argument == NULL ? "" : " ",
                   argument == NULL ? "" : argument);
    if (strlen(left) > HELP_WIDTH) {
        (void)printf("%s\n%-*s  %s\n", left, HELP_WIDTH, "", help);
    } else {
        (void)printf("%-*s  %s\n", HELP_WIDTH, left, help);
    }
}

/* The line of a setting, with its default if it has one. */
static void help_setting(const struct config *defaults, uint32_t index)
{
    const struct config_key *key = config_key_at(index);
    struct buffer text = {0};
    size_t size = strlen(key->help);
    buffer_append(&text, key->help, size > 0 ? size - 1 : 0); /* Without its full stop. */
    buffer_append_text(&text, " [");
    size_t begin = text.size;
    config_value_print(defaults, index, &text);
    bool has = text.size > begin && strcmp(key->key, "id") != 0;
    buffer_append(&text, "].", sizeof("].")); /* With its terminator. */
    bool whole = buffer_status(&text) == STATUS_OK;
    help_line(key->flag, key->argument, has && whole ? (const char *)text.data : key->help);
    buffer_deinit(&text);
}

static void help_print(void)
{
    struct config defaults;
    config_defaults(&defaults);
    (void)printf(
        "kvnode -- one node of a Ringkv cluster\n\n"
        "usage: kvnode --id N --data-dir DIR --bootstrap ID=HOST:PEERPORT,... [flags]\n"
        "       kvnode --id N --data-dir DIR --join HOST:PEERPORT [flags]\n\n"
        "Every setting is a flag, a variable KV_SECTION_KEY and a key of the file; a flag\n"
        "beats the variable, the variable the file, the file the default [in brackets].\n"
        "kvnode --print-config shows them all with their values; sizes take k, m and g.\n");
    const char *section = "";
    const struct config_key *key;
    for (uint32_t index = 0; (key = config_key_at(index)) != NULL; index++) {
        if (strcmp(section, key->section) != 0) {
            section = key->section;
            (void)printf("\n[%s]\n", section);
        }
        help_setting(&defaults, index);
    }
    (void)printf("\nOther\n");
    help_line("config", "FILE", "Read settings from an INI file.");
    help_line("check-config", NULL, "Check the settings and end.");
    help_line("print-config", NULL, "Print the settings as an INI file and end.");
    help_line("raft-examine", NULL, "Show what --raft-recover would go on from, and end.");
    help_line(
        "raft-recover", NULL,
        "Make this node the whole Raft group, after its majority was lost for good, and end.");
    help_line("version", NULL, "Print the version and end.");
    help_line("help", NULL, "Print this and end.");
    (void)printf("\nSIGTERM and SIGINT shut down cleanly. Exit codes: 0 ok, 1 failure, 2 usage,\n"
                 "3 a disk fault ended the node.\n");
}

/* ------------------------------------------------------------------ settings */

static const char *environment_lookup(const char *name)
{
    return getenv(name);
}

/* A misspelt variable would otherwise be silently without effect. */
static enum status environment_check(struct buffer *message)
{
    for (char **entry = environ; *entry != NULL; entry++) {
        char name[64];
        size_t size = strcspn(*entry, "=");
        if (strncmp(*entry, "KV_", 3) != 0 || size >= sizeof(name)) {
            continue;
        }
        memcpy(name, *entry, size);
        name[size] = '\0';
        /* KV_ENDPOINTS is kvctl's. */
        if (!config_variable_known(name) && strcmp(name, "KV_ENDPOINTS") != 0) {
            buffer_append_format(message, "%s: no setting has this variable", name);
            return STATUS_INVALID;
        }
    }
    return STATUS_OK;
}

static enum status file_read(const char *path, struct config *config, struct buffer *message)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        buffer_append_format(message, "%s: %s", path, strerror(errno));
        return STATUS_INVALID;
    }
    char *text = memory_allocate(CONFIG_FILE_SIZE_MAX + 1);
    size_t size = text == NULL ? 0 : fread(text, 1, CONFIG_FILE_SIZE_MAX, file);
    bool whole = text != NULL && feof(file) != 0 && ferror(file) == 0;
    (void)fclose(file);
    enum status status = STATUS_INVALID;
    if (whole) {
        text[size] = '\0';
        status = config_parse(config, text, path, message);
    } else {
        buffer_append_format(message, "%s: not readable, or longer than %u bytes", path,
                             CONFIG_FILE_SIZE_MAX);
    }
    memory_free(text);
    return status;
}

struct wishes {
    bool check;
    bool print;
    bool examine;
    bool recover;
    bool help;
    bool version;
    const char *file;
};

/* Pass 1 looks for the file and the verbs, pass 2 sets values: flags beat all else. */
static enum status flags_read(int argc, char **argv, bool values, struct config *config,
                              struct wishes *wishes, struct buffer *message)
{
    struct option options[FLAG_COUNT_MAX];
    flags_make(options);
    optind = 1;
    opterr = values ? 0 : 1;
    int flag;
    while ((flag = getopt_long(argc, argv, "", options, NULL)) != -1) {
        enum status status = STATUS_OK;
        if (flag == '?') {
            return STATUS_INVALID; /* getopt_long has said what. */
        }
        if (flag == FLAG_CONFIG) {
            wishes->file = optarg;
        } else if (flag == FLAG_CHECK) {
            wishes->check = true;
        } else if (flag == FLAG_PRINT) {
            wishes->print = true;
        } else if (flag == FLAG_VERSION) {
            wishes->version = true;
        } else if (flag == FLAG_EXAMINE) {
            wishes->examine = true;
        } else if (flag == FLAG_RECOVER) {
            wishes->recover = true;
        } else if (flag == FLAG_HELP) {
            wishes->help = true;
        } else if (values) {
            const struct config_key *key = config_key_at((uint32_t)flag);
            char source[64];
            (void)snprintf(source, sizeof(source), "--%s", key->flag);
            status = config_set(config, key->section, key->key,
                                key->argument == NULL ? "yes" : optarg, source, message);
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    if (optind < argc) {
        buffer_append_format(message, "\"%s\": settings are given as --flags", argv[optind]);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

static enum status settings_read(int argc, char **argv, struct config *config,
                                 struct wishes *wishes, struct buffer *message)
{
    config_defaults(config);
    enum status status = flags_read(argc, argv, false, config, wishes, message);
    if (status != STATUS_OK || wishes->help || wishes->version) {
        return status;
    }
    if (wishes->file != NULL) {
        status = file_read(wishes->file, config, message);
    }
    if (status == STATUS_OK) {
        status = config_environment(config, environment_lookup, message);
    }
    if (status == STATUS_OK) {
        status = environment_check(message);
    }
    if (status == STATUS_OK) {
        status = flags_read(argc, argv, true, config, wishes, message);
    }
    bool runs = !wishes->print && !wishes->examine && !wishes->recover;
    return status == STATUS_OK && runs ? config_check(config, message) : status;
}

/* ------------------------------------------------------------------ the node */

static void node_changed(void *context, enum node_state state, enum status why)
{
    struct program *program = context;
    if (state == NODE_STOPPED) {
        env_uv_stop(program->env);
    } else if (state == NODE_FAILED) {
        bool disk = why == STATUS_IO || why == STATUS_NO_SPACE || why == STATUS_CORRUPT;
        program->exit_code = disk ? EXIT_DISK : EXIT_FAILURE;
        env_uv_stop(program->env);
    }
}

static void terminate(void *context)
{
    struct program *program = context;
    log_info(program->env, "program.terminate", "state=stopping");
    node_stop(program->node);
}

static int node_run(const struct config *config)
{
    struct program program = {0};
    struct env_uv_options options = {.pool_threads = config->pool_threads,
                                     .log_level = config->log_level};
    if (env_uv_open(&options, &program.env) != STATUS_OK) {
        (void)fprintf(stderr, "kvnode: no event loop could be made\n");
        return EXIT_FAILURE;
    }
    struct node_events events = {.changed = node_changed, .context = &program};
    enum status status = node_open(program.env, config, &events, &program.node);
    if (status == STATUS_OK && strcmp(config->admin, "off") != 0) {
        status = admin_open(program.env, program.node, config->admin, &program.admin);
        if (status != STATUS_OK) {
            log_error(program.env, "node.listen_failed", "admin=%s status=\"%s\"", config->admin,
                      status_name(status));
        }
    }
    if (status == STATUS_OK) {
        log_info(program.env, "program.started",
                 "version=%s id=%u client=%s peer=%s admin=%s data_dir=%s", REPORT_VERSION,
                 config->id, config->client, config->peer, config->admin, config->data_dir);
        env_uv_on_terminate(program.env, terminate, &program);
        env_uv_run(program.env);
    } else {
        program.exit_code = EXIT_FAILURE;
    }
    admin_stop(program.admin);
    node_abandon(program.node);
    env_uv_end(program.env);
    admin_close(program.admin);
    node_close(program.node);
    env_uv_close(program.env);
    return program.exit_code;
}

/* ------------------------------------------------------------------ after a lost majority */

static void revival_ended(struct revival *revival)
{
    env_uv_stop(revival->env);
}

static void stamp_print(const char *what, const struct topology_stamp *stamp)
{
    if (stamp->epoch == 0) {
        (void)printf("%s: none\n", what);
    } else {
        (void)printf("%s: generation %u, epoch %llu\n", what, stamp->generation.number,
                     (unsigned long long)stamp->epoch);
    }
}

static void revival_print(const struct revival *revival)
{
    const struct topology *topology = &revival->topology;
    (void)printf("node: %u\ncluster: %016llx\n", revival->identity.id,
                 (unsigned long long)topology->cluster_id);
    stamp_print("its raft log", &revival->log);
    stamp_print("what it was told", &revival->told);
    stamp_print(revival->carry_out ? "recovered" : "it would go on from", &topology->stamp);
    (void)printf("members:");
    for (uint32_t index = 0; index < topology->member_count; index++) {
        (void)printf(" %u%s", topology->members[index].id,
                     topology->members[index].voter ? " (votes)" : "");
    }
    (void)printf("\n");
}

static const char *revival_problem(enum status status)
{
    if (status == STATUS_NOT_FOUND) {
        return "no node's folder, or it never was part of a cluster";
    }
    if (status == STATUS_LOCKED) {
        return "in use: stop the node first";
    }
    if (status == STATUS_REFUSED) {
        return "its node is no member of the cluster any more";
    }
    return status_name(status);
}

static int revival_run_alone(const struct config *config, bool carry_out)
{
    struct revival revival = {.config = *config, .carry_out = carry_out, .done = revival_ended};
    struct env_uv_options options = {.pool_threads = 1, .log_level = LOG_ERROR};
    struct env *env = NULL;
    if (config->data_dir[0] == '\0') {
        (void)fprintf(stderr, "kvnode: --data-dir is missing\n");
        return EXIT_USAGE;
    }
    if (env_uv_open(&options, &env) != STATUS_OK) {
        (void)fprintf(stderr, "kvnode: no event loop could be made\n");
        return EXIT_FAILURE;
    }
    revival_begin(&revival, env);
    env_uv_run(env);
    env_uv_end(env);
    if (revival.status == STATUS_OK) {
        revival_print(&revival);
    } else {
        (void)fprintf(stderr, "kvnode: %s: %s\n", config->data_dir,
                      revival_problem(revival.status));
    }
    int code = revival.status == STATUS_OK ? EXIT_SUCCESS : EXIT_FAILURE;
    revival_deinit(&revival);
    env_uv_close(env);
    return code;
}

int main(int argc, char **argv)
{
    struct config config;
    struct wishes wishes = {0};
    struct buffer message = {0};
    enum status status = settings_read(argc, argv, &config, &wishes, &message);
    int exit_code = EXIT_SUCCESS;
    if (status != STATUS_OK) {
        if (message.size > 0) {
            (void)fprintf(stderr, "kvnode: %.*s\n", (int)message.size, (char *)message.data);
        }
        (void)fprintf(stderr, "kvnode: see kvnode --help\n");
        exit_code = EXIT_USAGE;
    } else if (wishes.help) {
        help_print();
    } else if (wishes.version) {
        (void)printf("kvnode %s\n", REPORT_VERSION);
    } else if (wishes.print) {
        struct buffer text = {0};
        config_print(&config, &text);
        (void)fwrite(text.data, 1, text.size, stdout);
        buffer_deinit(&text);
    } else if (wishes.examine || wishes.recover) {
        exit_code = revival_run_alone(&config, wishes.recover);
    } else if (wishes.check) {
        (void)printf("configuration ok\n");
    } else {
        exit_code = node_run(&config);
    }
    buffer_deinit(&message);
    return exit_code;
}
