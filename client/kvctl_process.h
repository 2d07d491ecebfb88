/*
 * client/kvctl_process.h -- processes that outlive the kvctl that started them.
 *
 * Invariant: a process is known by its id and its start time, both in a file; an id that the system
 * gave to another process since is never signalled.
 */
#ifndef CLIENT_KVCTL_PROCESS_H
#define CLIENT_KVCTL_PROCESS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/contract.h"

enum process_state { PROCESS_GONE, PROCESS_RUNNING, PROCESS_PAUSED };

struct process {
    pid_t pid;
    enum process_state state;
    uint64_t resident_size;
};

/* The process a pid file names, as it is now; PROCESS_GONE if there is none. */
struct process process_read(const char *pid_file);
/* The path of a program in the folder of this very one, there or not. False after complaining. */
bool process_beside(const char *name, char path[PATH_MAX]);
/* Starts a program in a session of its own, its output appended to a file, and writes the pid file.
 * False after complaining. */
bool process_start(char *const *arguments, const char *log_file, const char *pid_file);
/* True if it was there to be signalled. */
bool process_signal(const char *pid_file, int signal_number);
/* Waits until it is gone. False: it still is there after that time. */
bool process_wait_gone(const char *pid_file, uint32_t timeout_ms);
/* SIGTERM, SIGCONT; SIGKILL if it is still there after `grace_ms`. False: even that did not help.
 */
bool process_stop(const char *pid_file, uint32_t grace_ms);
void process_sleep_ms(uint32_t ms);
uint64_t process_now_ms(void);

#endif
