/*
 * client/kvctl_tool.c -- commands whose work is a program of tools/, built beside kvctl.
 *
 * Why: client knows base alone, and what these need lies elsewhere (the rules of ring/, say). kvctl
 * knows their options, for help and completion, and refuses what is none; what they mean is the
 * program's. It takes this process's place, so its exit code and signals are kvctl's.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/memory.h"
#include "client/kvctl.h"
#include "client/kvctl_process.h"

#define WORD_COUNT_OWN 4 /* The program, --output, its argument, and the NULL at the end. */

/* Returns only if the program cannot be run. */
static enum kvctl_exit tool_run(const struct kvctl *kvctl, const char *name)
{
    char path[PATH_MAX];
    static char output[] = "--output";
    static char program[] = "kvctl"; /* Whom the program names when it complains. */
    static char forms[][sizeof("table")] = {
        [KVCTL_TABLE] = "table", [KVCTL_JSON] = "json", [KVCTL_TSV] = "tsv", [KVCTL_RAW] = "raw"};
    if (!process_beside(name, path)) {
        return KVCTL_FAILURE;
    }
    char **words =
        memory_allocate_zeroed((size_t)kvctl->word_count + WORD_COUNT_OWN, sizeof(words[0]));
    if (words == NULL) {
        kvctl_complain("out of memory");
        return KVCTL_FAILURE;
    }
    /* The form may have been given in front of the command, where the program does not see it. */
    words[0] = program;
    words[1] = output;
    words[2] = forms[kvctl->output];
    for (int index = 0; index < kvctl->word_count; index++) {
        words[WORD_COUNT_OWN - 1 + index] = kvctl->words[index];
    }
    (void)execv(path, words);
    kvctl_complain("%s: the program %s: %s", kvctl->command->name, path, strerror(errno));
    memory_free(words);
    return KVCTL_FAILURE;
}

enum kvctl_exit command_ring_simulate(struct kvctl *kvctl)
{
    return tool_run(kvctl, "ring_simulate");
}
