/*
 * client/kvctl.c -- kvctl: the command line of a cluster. Parses, runs one command, tells how it
 * went.
 */
#include "client/kvctl.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LETTERS_SIZE_MAX (2 * OPTION_COUNT + 4)
#define LONG_VALUE_BASE 256 /* Above every letter. */

void kvctl_complain(const char *format, ...)
{
    va_list list;
    (void)fputs("kvctl: ", stderr);
    va_start(list, format);
    (void)vfprintf(stderr, format, list);
    va_end(list);
    (void)fputc('\n', stderr);
}

/* ------------------------------------------------------------------ results */

static enum kvctl_exit exit_of_reason(enum kv_reason reason)
{
    static const enum kvctl_exit exits[] = {
        [KV_REASON_NONE] = KVCTL_FAILURE,
        [KV_REASON_UNREACHABLE] = KVCTL_UNREACHABLE,
        [KV_REASON_BROKEN] = KVCTL_UNREACHABLE,
        [KV_REASON_TIMEOUT] = KVCTL_UNAVAILABLE,
        [KV_REASON_UNAVAILABLE] = KVCTL_UNAVAILABLE,
        [KV_REASON_OVERLOADED] = KVCTL_UNAVAILABLE,
        [KV_REASON_READ_ONLY] = KVCTL_UNAVAILABLE,
        [KV_REASON_LOADING] = KVCTL_UNAVAILABLE,
        [KV_REASON_CONFLICT] = KVCTL_CONFLICT,
        [KV_REASON_DENIED] = KVCTL_DENIED,
        [KV_REASON_REFUSED] = KVCTL_FAILURE,
        [KV_REASON_PROTOCOL] = KVCTL_FAILURE,
        [KV_REASON_NO_MEMORY] = KVCTL_FAILURE,
    };
    ASSERT((size_t)reason < ARRAY_COUNT(exits));
    return exits[reason];
}

enum kvctl_exit kvctl_exit_of(const struct kv_result *result)
{
    switch (result->outcome) {
    case KV_OK:
        return KVCTL_OK;
    case KV_NOT_FOUND:
        return KVCTL_NOT_FOUND;
    case KV_INDETERMINATE:
        return KVCTL_INDETERMINATE;
    case KV_FAILED:
        return exit_of_reason(result->reason);
    }
    UNREACHABLE("kv_outcome");
}

enum kvctl_exit kvctl_judge(const struct kv_result *result, const char *what)
{
    if (result->outcome == KV_NOT_FOUND) {
        kvctl_complain("%s: not found", what);
    } else if (result->outcome == KV_INDETERMINATE) {
        kvctl_complain("%s: outcome unknown, it may have been applied: %s", what, result->message);
    } else if (result->outcome == KV_FAILED) {
        kvctl_complain("%s: %s", what, result->message);
    }
    return kvctl_exit_of(result);
}

/* ------------------------------------------------------------------ options */

bool kvctl_number(const struct kvctl *kvctl, enum option_id id, uint64_t max, uint64_t fallback,
                  uint64_t *value)
{
    const char *text = kvctl->values[id];
    if (text == NULL) {
        *value = fallback;
        return true;
    }
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number == 0 ||
        number > max) {
        kvctl_complain("--%s: not a number from 1 to %llu: %s", kvctl_options[id].name,
                       (unsigned long long)max, text);
        return false;
    }
    *value = number;
    return true;
}

bool kvctl_level(const struct kvctl *kvctl, enum kv_level *level)
{
    static const char *const names[] = {
        [KV_LEVEL_ONE] = "one", [KV_LEVEL_QUORUM] = "quorum", [KV_LEVEL_ALL] = "all"};
    const char *text = kvctl->values[OPTION_LEVEL];
    *level = KV_LEVEL_DEFAULT;
    if (text == NULL) {
        return true;
    }
    for (enum kv_level at = KV_LEVEL_ONE; at <= KV_LEVEL_ALL; at++) {
        if (strcmp(text, names[at]) == 0) {
            *level = at;
            return true;
        }
    }
    kvctl_complain("--level: one, quorum or all, not %s", text);
    return false;
}

enum kvctl_exit kvctl_open(struct kvctl *kvctl, const struct kv_options *base)
{
    struct kv_options options = *base;
    uint64_t timeout_ms;
    enum kv_level level;
    if (!kvctl_number(kvctl, OPTION_TIMEOUT, INT32_MAX, 0, &timeout_ms) ||
        !kvctl_level(kvctl, &level)) {
        return KVCTL_USAGE;
    }
    options.timeout_ms = (uint32_t)timeout_ms;
    options.read_level = level;
    options.write_level = level;
    options.no_routing = kvctl->values[OPTION_NO_ROUTING] != NULL;
    options.endpoints = kvctl->values[OPTION_ENDPOINTS];
    if (options.endpoints == NULL) {
        options.endpoints = getenv("KV_ENDPOINTS");
    }
    enum status status = kv_open(&options, &kvctl->client);
    if (status == STATUS_OK) {
        return KVCTL_OK;
    }
    kvctl_complain("--endpoints: %s: %s", status_name(status),
                   options.endpoints != NULL ? options.endpoints : KV_ENDPOINTS_DEFAULT);
    return status == STATUS_INVALID ? KVCTL_USAGE : KVCTL_FAILURE;
}

/* Which option getopt_long() saw; OPTION_COUNT if none of ours. */
static enum option_id option_of(int value)
{
    if (value >= LONG_VALUE_BASE) {
        return (enum option_id)(value - LONG_VALUE_BASE);
    }
    for (size_t id = 0; id < OPTION_COUNT; id++) {
        if (kvctl_options[id].letter != 0 && kvctl_options[id].letter == value) {
            return (enum option_id)id;
        }
    }
    return OPTION_COUNT;
}

/* Reads the options in `accepted`; stops at the first operand if `stop`. argv[0] is skipped; what
 * is left begins at *next. False after getopt_long() complained. */
static bool options_read(struct kvctl *kvctl, int argc, char **argv, uint64_t accepted, bool stop,
                         int *next)
{
    struct option longs[OPTION_COUNT + 1] = {0};
    char letters[LETTERS_SIZE_MAX] = "+";
    size_t long_count = 0;
    size_t letter_count = stop ? 1 : 0;
    for (int id = 0; id < OPTION_COUNT; id++) {
        const struct kvctl_option *option = &kvctl_options[id];
        if ((accepted & OPTION_BIT(id)) == 0) {
            continue;
        }
        longs[long_count++] =
            (struct option){.name = option->name,
                            .has_arg = option->argument != NULL ? required_argument : no_argument,
                            .val = LONG_VALUE_BASE + id};
        if (option->letter != 0) {
            letters[letter_count++] = option->letter;
            if (option->argument != NULL) {
                letters[letter_count++] = ':';
            }
        }
    }
    letters[letter_count] = '\0';
    optind = 0; /* Start anew. */
    int value;
    while ((value = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        enum option_id id = option_of(value);
        if (id == OPTION_COUNT) {
            return false;
        }
        kvctl->values[id] = optarg != NULL ? optarg : "";
    }
    *next = optind;
    return true;
}

static bool output_parse(struct kvctl *kvctl)
{
    static const char *const names[] = {
        [KVCTL_TABLE] = "table", [KVCTL_JSON] = "json", [KVCTL_TSV] = "tsv", [KVCTL_RAW] = "raw"};
    const char *text = kvctl->values[OPTION_OUTPUT];
    for (size_t index = 0; text != NULL && index < ARRAY_COUNT(names); index++) {
        if (strcmp(text, names[index]) == 0) {
            kvctl->output = (enum kvctl_output)index;
            return true;
        }
    }
    if (text != NULL) {
        kvctl_complain("--output: table, json, tsv or raw, not %s", text);
    }
    return text == NULL;
}

/* ------------------------------------------------------------------ commands */

/* How many of the words spell the command's name; 0 if they do not. */
static int words_match(const struct kvctl_command *command, int count, char *const *words)
{
    const char *name = command->name;
    for (int index = 0; index < count; index++) {
        size_t size = strlen(words[index]);
        if (size == 0 || strncmp(name, words[index], size) != 0 ||
            (name[size] != '\0' && name[size] != ' ')) {
            return 0;
        }
        if (name[size] == '\0') {
            return index + 1;
        }
        name += size + 1;
    }
    return 0;
}

static const struct kvctl_command *command_find(int count, char *const *words, int *used)
{
    for (size_t index = 0; index < kvctl_command_count; index++) {
        *used = words_match(&kvctl_commands[index], count, words);
        if (*used > 0) {
            return &kvctl_commands[index];
        }
    }
    return NULL;
}

/* Whether a command begins with these words and goes on. */
static bool is_begun(const char *name, int count, char *const *words)
{
    for (int index = 0; index < count; index++) {
        size_t size = strlen(words[index]);
        if (size == 0 || strncmp(name, words[index], size) != 0 || name[size] != ' ') {
            return false;
        }
        name += size + 1;
    }
    return count > 0;
}

/* Shows the commands that begin with as many of the words as any does. */
static enum kvctl_exit command_unknown(int count, char *const *words)
{
    int begun = 0; /* Words that commands begin with. */
    for (size_t index = 0; index < kvctl_command_count; index++) {
        while (begun < count && is_begun(kvctl_commands[index].name, begun + 1, words)) {
            begun++;
        }
    }
    if (begun == 0) {
        kvctl_complain("no such command: %s; see kvctl help", words[0]);
        return KVCTL_USAGE;
    }
    kvctl_complain("no such command; there are:");
    for (size_t index = 0; index < kvctl_command_count; index++) {
        if (is_begun(kvctl_commands[index].name, begun, words)) {
            (void)fprintf(stderr, "  kvctl %s%s%s\n", kvctl_commands[index].name,
                          kvctl_commands[index].operands[0] != '\0' ? " " : "",
                          kvctl_commands[index].operands);
        }
    }
    return KVCTL_USAGE;
}

enum kvctl_exit command_help(struct kvctl *kvctl)
{
    int used;
    if (kvctl->values[OPTION_MAN] != NULL) {
        kvctl_help_man();
        return KVCTL_OK;
    }
    if (kvctl->operand_count == 0) {
        kvctl_help_general();
        return KVCTL_OK;
    }
    const struct kvctl_command *command =
        command_find(kvctl->operand_count, kvctl->operands, &used);
    if (command != NULL && used == kvctl->operand_count) {
        kvctl_help_command(command);
        return KVCTL_OK;
    }
    return command_unknown(kvctl->operand_count, kvctl->operands);
}

enum kvctl_exit command_version(struct kvctl *kvctl)
{
    (void)kvctl;
    return printf("kvctl %s\n", RINGKV_VERSION) > 0 ? KVCTL_OK : KVCTL_FAILURE;
}

static enum kvctl_exit command_run(struct kvctl *kvctl, int argc, char **argv)
{
    int next;
    char *program = argv[0];
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        return command_version(kvctl);
    }
    /* In front of the command only what every command may take. */
    if (!options_read(kvctl, argc, argv, OPTIONS_COMMON | OPTION_BIT(OPTION_LEVEL), true, &next)) {
        return KVCTL_USAGE;
    }
    if (next == argc) {
        bool asked = kvctl->values[OPTION_HELP] != NULL;
        if (asked) {
            kvctl_help_general();
        } else {
            kvctl_complain("what is to be done? See kvctl help.");
        }
        return asked ? KVCTL_OK : KVCTL_USAGE;
    }
    int used;
    kvctl->command = command_find(argc - next, argv + next, &used);
    if (kvctl->command == NULL) {
        return command_unknown(argc - next, argv + next);
    }
    next += used - 1;
    argc -= next;
    argv += next;
    argv[0] = program; /* Whom getopt_long() names when it complains. */
    kvctl->words = argv + 1;
    kvctl->word_count = argc - 1;
    if (!options_read(kvctl, argc, argv, kvctl->command->options, false, &next)) {
        kvctl_complain("see kvctl help %s", kvctl->command->name);
        return KVCTL_USAGE;
    }
    if (kvctl->values[OPTION_HELP] != NULL) {
        kvctl_help_command(kvctl->command);
        return KVCTL_OK;
    }
    kvctl->operands = argv + next;
    kvctl->operand_count = argc - next;
    if (kvctl->operand_count < kvctl->command->operand_min ||
        (kvctl->command->operand_max >= 0 && kvctl->operand_count > kvctl->command->operand_max)) {
        kvctl_complain("usage: kvctl %s %s", kvctl->command->name, kvctl->command->operands);
        return KVCTL_USAGE;
    }
    return output_parse(kvctl) ? kvctl->command->run(kvctl) : KVCTL_USAGE;
}

int main(int argc, char **argv)
{
    struct kvctl kvctl = {.program = argv[0]};
    (void)signal(SIGPIPE, SIG_IGN); /* A reader that went away is a failed write. */
    enum kvctl_exit code = command_run(&kvctl, argc, argv);
    kv_close(kvctl.client);
    if (fflush(stdout) != 0 && code == KVCTL_OK) {
        kvctl_complain("standard output: %s", strerror(errno));
        code = KVCTL_FAILURE;
    }
    return (int)code;
}
