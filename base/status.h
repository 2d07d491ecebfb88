/*
 * base/status.h -- the outcomes the world can cause, one meaning each.
 *
 * A function that can fail returns enum status and is MUST_USE; its out-parameters are set only on
 * STATUS_OK. Codes of libraries (errno, libuv, libraft, lz4) become one of these in the one file
 * that speaks to that library. The numbers travel in RPC replies: append only, never renumber.
 */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include "base/contract.h"

enum status {
    STATUS_OK = 0,
    STATUS_NOT_FOUND = 1,      /* No such key, file, member. */
    STATUS_EXISTS = 2,         /* It is there already. */
    STATUS_INVALID = 3,        /* An argument or input is malformed; nothing was done. */
    STATUS_CORRUPT = 4,        /* Bytes of a disk or peer fail their check. */
    STATUS_IO = 5,             /* The device or network refused; errno was logged. */
    STATUS_NO_SPACE = 6,       /* The disk is full. */
    STATUS_NO_MEMORY = 7,      /* An allocation failed. */
    STATUS_READ_ONLY = 8,      /* The engine takes no writes after a fault, until resumed. */
    STATUS_WOULD_BLOCK = 9,    /* Needs the disk or a lock: ask again from a pool job. */
    STATUS_CANCELLED = 10,     /* Given up at shutdown; nothing more is known. */
    STATUS_TIMEOUT = 11,       /* The deadline passed. */
    STATUS_CLOSED = 12,        /* The connection or object is closed. */
    STATUS_OVERLOADED = 13,    /* A named bound is reached; refused before anything was done. */
    STATUS_UNAVAILABLE = 14,   /* Too few replicas known alive; refused before anything was sent. */
    STATUS_INDETERMINATE = 15, /* May or may not have happened, now or later. */
    STATUS_STALE = 16,         /* The request's epoch is older than the range's fence. */
    STATUS_BEHIND = 17,      /* The answering node must catch up with the request's epoch first. */
    STATUS_SUPERSEDED = 18,  /* A cell of a greater version is there already. */
    STATUS_NOT_LEADER = 19,  /* Ask the Raft leader. */
    STATUS_TOO_LARGE = 20,   /* Over a size limit. */
    STATUS_UNSUPPORTED = 21, /* A version or feature this build does not have. */
    STATUS_BUDGET = 22,      /* The work budget is spent; go on from the resume key. */
    STATUS_LOCKED = 23,      /* Another process holds the directory. */
    STATUS_REFUSED = 24,     /* Understood and denied by a rule; the log says which. */
    STATUS_PREEMPTED = 25,   /* A strong key has promised or accepted a greater ballot. */
    STATUS_FORGOTTEN = 26,   /* Whether an operation was done cannot be told any more. */
};

/* "not found", "would block", ...: for logs and messages; static storage. */
const char *status_name(enum status status);

#endif
