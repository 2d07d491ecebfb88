/* client/kvctl_help.c -- help, man page and completions, from the tables. */
#include <stdio.h>

#include "client/kvctl.h"

#define HELP_WIDTH 78

static const struct {
    enum kvctl_exit code;
    const char *meaning;
} exits[] = {
    {KVCTL_OK, "done"},
    {KVCTL_FAILURE, "failed; nothing was done"},
    {KVCTL_USAGE, "the command line is wrong"},
    {KVCTL_UNREACHABLE, "no node could be reached"},
    {KVCTL_NOT_FOUND, "no such key"},
    {KVCTL_UNAVAILABLE, "no quorum, or refused for now; nothing was done"},
    {KVCTL_INDETERMINATE, "outcome unknown: the write may have been applied"},
    {KVCTL_CONFLICT, "a newer value was written meanwhile"},
    {KVCTL_DENIED, "not permitted"},
    {KVCTL_CHECK_FAILED, "the check found differences"},
};

/* Sentences, folded and indented. */
static void text_print(const char *text, int indent)
{
    int column = 0;
    while (*text != '\0') {
        int size = (int)strcspn(text, " ");
        if (column == 0 || column + 1 + size > HELP_WIDTH) {
            (void)printf("%s%*s", column == 0 ? "" : "\n", indent, "");
            column = indent;
        } else {
            (void)putchar(' ');
            column++;
        }
        (void)printf("%.*s", size, text);
        column += size;
        text += size;
        text += strspn(text, " ");
    }
    if (column > 0) {
        (void)putchar('\n');
    }
}

static void option_spell(const struct kvctl_option *option, char *text, size_t capacity)
{
    char letter[8] = "    ";
    if (option->letter != 0) {
        (void)snprintf(letter, sizeof(letter), "-%c, ", option->letter);
    }
    (void)snprintf(text, capacity, "%s--%s%s%s", letter, option->name,
                   option->argument != NULL ? " " : "",
                   option->argument != NULL ? option->argument : "");
}

static void options_print(uint64_t options)
{
    for (int id = 0; id < OPTION_COUNT; id++) {
        if ((options & OPTION_BIT(id)) != 0) {
            char text[80];
            option_spell(&kvctl_options[id], text, sizeof(text));
            (void)printf("  %-31s %s\n", text, kvctl_options[id].help);
        }
    }
}

void kvctl_help_general(void)
{
    (void)printf("kvctl - the command line of a Ringkv cluster\n\n"
                 "usage: kvctl [OPTION...] COMMAND [OPTION...] [OPERAND...]\n\ncommands:\n");
    for (size_t index = 0; index < kvctl_command_count; index++) {
        char text[80];
        (void)snprintf(text, sizeof(text), "%s %s", kvctl_commands[index].name,
                       kvctl_commands[index].operands);
        (void)printf("  %-31s %s\n", text, kvctl_commands[index].summary);
    }
    (void)printf("\noptions of most commands:\n");
    options_print(OPTIONS_COMMON);
    (void)printf("\nexit codes:\n");
    for (size_t index = 0; index < ARRAY_COUNT(exits); index++) {
        (void)printf("  %d  %s\n", (int)exits[index].code, exits[index].meaning);
    }
    (void)printf("\nkvctl help COMMAND tells more.\n");
}

void kvctl_help_command(const struct kvctl_command *command)
{
    (void)printf("usage: kvctl %s [OPTION...]%s%s\n\n", command->name,
                 command->operands[0] != '\0' ? " " : "", command->operands);
    text_print(command->summary, 2);
    text_print(command->details, 2);
    (void)printf("\noptions:\n");
    options_print(command->options);
}

/* ------------------------------------------------------------------ man page */

/* Bytes that roff would take for its own are escaped. */
static void roff_print(const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '\\') {
            (void)fputs("\\e", stdout);
        } else if (*at == '-') {
            (void)fputs("\\-", stdout);
        } else if (*at == '.' && at == text) {
            (void)fputs("\\&.", stdout);
        } else {
            (void)putchar(*at);
        }
    }
}

static void man_options(uint64_t options)
{
    for (int id = 0; id < OPTION_COUNT; id++) {
        if ((options & OPTION_BIT(id)) != 0) {
            char text[80];
            option_spell(&kvctl_options[id], text, sizeof(text));
            (void)fputs(".TP\n.B ", stdout);
            roff_print(text + strspn(text, " "));
            (void)putchar('\n');
            roff_print(kvctl_options[id].help);
            (void)putchar('\n');
        }
    }
}

void kvctl_help_man(void)
{
    (void)printf(".TH KVCTL 1 \"\" \"ringkv %s\"\n", RINGKV_VERSION);
    (void)printf(".SH NAME\nkvctl \\- the command line of a Ringkv cluster\n"
                 ".SH SYNOPSIS\n.B kvctl\n[OPTION...] COMMAND [OPTION...] [OPERAND...]\n"
                 ".SH COMMANDS\n");
    for (size_t index = 0; index < kvctl_command_count; index++) {
        const struct kvctl_command *command = &kvctl_commands[index];
        (void)printf(".SS kvctl %s %s\n", command->name, command->operands);
        roff_print(command->summary);
        (void)putchar('\n');
        roff_print(command->details);
        (void)fputs(command->details[0] != '\0' ? "\n" : "", stdout);
        man_options(command->options & ~OPTIONS_COMMON);
    }
    (void)printf(".SH OPTIONS\nOf most commands:\n");
    man_options(OPTIONS_COMMON);
    (void)printf(".SH EXIT STATUS\n");
    for (size_t index = 0; index < ARRAY_COUNT(exits); index++) {
        (void)printf(".TP\n.B %d\n%s\n", (int)exits[index].code, exits[index].meaning);
    }
    (void)printf(".SH ENVIRONMENT\n.TP\n.B KV_ENDPOINTS\nNodes to begin with, where "
                 "\\-\\-endpoints is not given.\n.TP\n.B KVCTL_DEV_DIR\nDirectory of the local "
                 "cluster, where \\-\\-dir is not given.\n");
}

/* ------------------------------------------------------------------ completion */

static void completion_options(uint64_t options)
{
    for (int id = 0; id < OPTION_COUNT; id++) {
        if ((options & OPTION_BIT(id)) != 0) {
            (void)printf(" --%s", kvctl_options[id].name);
        }
    }
}

enum kvctl_exit command_completion(struct kvctl *kvctl)
{
    if (strcmp(kvctl->operands[0], "bash") != 0) {
        kvctl_complain("completion: bash is the one shell known, not %s", kvctl->operands[0]);
        return KVCTL_USAGE;
    }
    /* Options aside, the words so far either begin commands, whose next words are offered, or are
     * one, whose options are. */
    (void)printf(
        "# bash completion of kvctl, generated by: kvctl completion bash\n"
        "_kvctl() {\n"
        "    local word=${COMP_WORDS[COMP_CWORD]} so_far='' index options='' nexts='' name\n"
        "    for ((index = 1; index < COMP_CWORD; index++)); do\n"
        "        [[ ${COMP_WORDS[index]} == -* ]] || so_far+=\"${COMP_WORDS[index]} \"\n"
        "    done\n"
        "    local -A commands=(\n");
    for (size_t index = 0; index < kvctl_command_count; index++) {
        (void)printf("        ['%s']='", kvctl_commands[index].name);
        completion_options(kvctl_commands[index].options);
        (void)printf("'\n");
    }
    (void)printf("    )\n"
                 "    for name in \"${!commands[@]}\"; do\n"
                 "        if [[ $so_far == \"$name \"* ]]; then\n"
                 "            options=${commands[$name]}\n"
                 "        elif [[ \"$name \" == \"$so_far\"* ]]; then\n"
                 "            name=${name:${#so_far}}\n"
                 "            nexts+=\" ${name%%%% *}\"\n"
                 "        fi\n"
                 "    done\n"
                 "    if [[ $word == -* ]]; then\n"
                 "        mapfile -t COMPREPLY < <(compgen -W \"${options:-");
    completion_options(OPTIONS_COMMON);
    (void)printf("}\" -- \"$word\")\n"
                 "    else\n"
                 "        mapfile -t COMPREPLY < <(compgen -W \"$nexts\" -- \"$word\")\n"
                 "    fi\n"
                 "}\n"
                 "complete -o default -F _kvctl kvctl\n");
    return KVCTL_OK;
}
