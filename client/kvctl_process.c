/* client/kvctl_process.c -- starting, finding and stopping processes by pid file. */
#include "client/kvctl_process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/kvctl.h"

#define POLL_MS 20
#define KILL_GRACE_MS 5000
#define STAT_SIZE_MAX 1024
#define PID_FILE_SIZE_MAX 64
#define STAT_FIELD_STATE 0 /* Counted behind the name in parentheses. */
#define STAT_FIELD_START 19
#define STAT_FIELD_RESIDENT 21

uint64_t process_now_ms(void)
{
    struct timespec now;
    int failed = clock_gettime(CLOCK_MONOTONIC, &now);
    ASSERT(failed == 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void process_sleep_ms(uint32_t ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL); /* Cut short, the caller looks again earlier. */
}

bool process_beside(const char *name, char path[PATH_MAX])
{
    size_t name_size = strlen(name) + 1;
    ASSERT(name_size < PATH_MAX);
    ssize_t size = readlink("/proc/self/exe", path, PATH_MAX - name_size);
    char *slash = size > 0 ? memrchr(path, '/', (size_t)size) : NULL;
    if (slash == NULL) {
        kvctl_complain("/proc/self/exe: %s", strerror(errno));
        return false;
    }
    memcpy(slash + 1, name, name_size);
    return true;
}

struct process_stat {
    char state;
    uint64_t start;
    uint64_t resident_pages;
};

/* /proc/PID/stat; the name in it may hold anything, so fields count from its last parenthesis. */
static bool stat_read(pid_t pid, struct process_stat *stat)
{
    char path[64];
    char text[STAT_SIZE_MAX];
    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    size_t size = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    text[size] = '\0';
    char *rest = strrchr(text, ')');
    if (rest == NULL) {
        return false;
    }
    char *state = NULL;
    char *field = strtok_r(rest + 1, " ", &state);
    for (int index = 0; field != NULL; index++) {
        if (index == STAT_FIELD_STATE) {
            stat->state = field[0];
        } else if (index == STAT_FIELD_START) {
            stat->start = strtoull(field, NULL, 10);
        } else if (index == STAT_FIELD_RESIDENT) {
            stat->resident_pages = strtoull(field, NULL, 10);
            return true;
        }
        field = strtok_r(NULL, " ", &state);
    }
    return false;
}

/* "PID START" of a pid file. False: there is none, or it says something else. */
static bool pid_file_read(const char *pid_file, long *pid, uint64_t *start)
{
    char text[PID_FILE_SIZE_MAX];
    char *end;
    FILE *file = fopen(pid_file, "re");
    if (file == NULL) {
        return false;
    }
    size_t size = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    text[size] = '\0';
    *pid = strtol(text, &end, 10);
    if (*pid <= 1 || *pid > INT32_MAX || *end != ' ') {
        return false;
    }
    *start = strtoull(end, &end, 10);
    return *end == '\n';
}

struct process process_read(const char *pid_file)
{
    long pid = 0;
    uint64_t start = 0;
    struct process_stat stat = {0};
    struct process process = {0};
    if (!pid_file_read(pid_file, &pid, &start)) {
        return process;
    }
    /* If it is a child of ours that ended, this takes it out of the table. */
    (void)waitpid((pid_t)pid, NULL, WNOHANG);
    if (!stat_read((pid_t)pid, &stat) || stat.start != start || stat.state == 'Z' ||
        stat.state == 'X') {
        return process;
    }
    process.pid = (pid_t)pid;
    process.state = stat.state == 'T' || stat.state == 't' ? PROCESS_PAUSED : PROCESS_RUNNING;
    process.resident_size = stat.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return process;
}

/* In the child. Writes errno to `report` if it cannot become the program. */
static void child_run(char *const *arguments, const char *log_file, int report)
{
    int input = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int output = open(log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (setsid() >= 0 && input >= 0 && output >= 0 && dup2(input, STDIN_FILENO) >= 0 &&
        dup2(output, STDOUT_FILENO) >= 0 && dup2(output, STDERR_FILENO) >= 0) {
        (void)signal(SIGPIPE, SIG_DFL);
        (void)unsetenv("KV_ENDPOINTS"); /* kvctl's own: a node takes KV_... for its settings. */
        (void)execv(arguments[0], arguments);
    }
    int error = errno;
    ssize_t written = write(report, &error, sizeof(error));
    _exit(written == sizeof(error) ? 126 : 127);
}

static bool pid_file_write(const char *pid_file, pid_t pid)
{
    struct process_stat stat = {0};
    if (!stat_read(pid, &stat)) {
        return false;
    }
    FILE *file = fopen(pid_file, "we");
    if (file == NULL) {
        return false;
    }
    bool written = fprintf(file, "%ld %" PRIu64 "\n", (long)pid, stat.start) > 0;
    return fclose(file) == 0 && written;
}

bool process_start(char *const *arguments, const char *log_file, const char *pid_file)
{
    int report[2];
    int error = 0;
    if (pipe2(report, O_CLOEXEC) != 0) {
        kvctl_complain("%s: %s", arguments[0], strerror(errno));
        return false;
    }
    pid_t pid = fork();
    if (pid == 0) {
        child_run(arguments, log_file, report[1]);
    }
    (void)close(report[1]);
    ssize_t size = pid < 0 ? 0 : read(report[0], &error, sizeof(error));
    (void)close(report[0]);
    if (pid < 0 || size != 0) {
        kvctl_complain("%s: %s", arguments[0], strerror(size == sizeof(error) ? error : errno));
        return false;
    }
    if (!pid_file_write(pid_file, pid)) {
        kvctl_complain("%s: %s", pid_file, strerror(errno));
        (void)kill(pid, SIGKILL); /* Else nobody would know it. */
        (void)waitpid(pid, NULL, 0);
        return false;
    }
    return true;
}

bool process_signal(const char *pid_file, int signal_number)
{
    struct process process = process_read(pid_file);
    return process.state != PROCESS_GONE && kill(process.pid, signal_number) == 0;
}

bool process_wait_gone(const char *pid_file, uint32_t timeout_ms)
{
    uint64_t deadline_ms = process_now_ms() + timeout_ms;
    while (process_read(pid_file).state != PROCESS_GONE) {
        if (process_now_ms() >= deadline_ms) {
            return false;
        }
        process_sleep_ms(POLL_MS);
    }
    return true;
}

bool process_stop(const char *pid_file, uint32_t grace_ms)
{
    if (!process_signal(pid_file, SIGTERM)) {
        return process_wait_gone(pid_file, 0);
    }
    (void)process_signal(pid_file, SIGCONT); /* A paused process hears nothing else. */
    if (process_wait_gone(pid_file, grace_ms)) {
        return true;
    }
    (void)process_signal(pid_file, SIGKILL);
    return process_wait_gone(pid_file, KILL_GRACE_MS);
}
