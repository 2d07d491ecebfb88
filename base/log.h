/*
 * base/log.h -- one line per event: `event key=value ...`, to the sink of the env.
 *
 * Keys carry units (`took_us=12`). Keys and values of users never appear in a log.
 * error: someone must act; warn: we coped; info: state changed; debug: steps.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/contract.h"
#include "base/env.h"

#define LOG_LINE_SIZE_MAX 1024 /* Longer lines are cut. */

void log_error(struct env *env, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);
void log_warn(struct env *env, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);
void log_info(struct env *env, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);
void log_debug(struct env *env, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);
const char *log_level_name(enum log_level level);

#endif
