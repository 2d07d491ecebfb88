/*
 * base/log.c -- formats one line per event and hands it to the env.
 *
 * A line stays one line: control bytes that came in with a value are written as '?'.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void write_line(struct env *env, enum log_level level, const char *event, const char *format,
                       va_list arguments) __attribute__((format(printf, 4, 0)));

static void write_line(struct env *env, enum log_level level, const char *event, const char *format,
                       va_list arguments)
{
    ASSERT(env != NULL);
    ASSERT(event != NULL);
    char line[LOG_LINE_SIZE_MAX + 1];
    int length = snprintf(line, sizeof(line), format[0] != '\0' ? "%s " : "%s", event);
    ASSERT(length >= 0);
    size_t size = (size_t)length < LOG_LINE_SIZE_MAX ? (size_t)length : LOG_LINE_SIZE_MAX;
    length = vsnprintf(line + size, sizeof(line) - size, format, arguments);
    ASSERT(length >= 0);
    size_t room = LOG_LINE_SIZE_MAX - size;
    size += (size_t)length < room ? (size_t)length : room;
    for (size_t index = 0; index < size; index++) {
        unsigned char byte = (unsigned char)line[index];
        if (byte < 0x20 || byte == 0x7f) {
            line[index] = '?';
        }
    }
    env->ops->log_write(env, level, slice_make(line, size));
}

void log_error(struct env *env, const char *event, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_line(env, LOG_ERROR, event, format, arguments);
    va_end(arguments);
}

void log_warn(struct env *env, const char *event, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_line(env, LOG_WARN, event, format, arguments);
    va_end(arguments);
}

void log_info(struct env *env, const char *event, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_line(env, LOG_INFO, event, format, arguments);
    va_end(arguments);
}

void log_debug(struct env *env, const char *event, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_line(env, LOG_DEBUG, event, format, arguments);
    va_end(arguments);
}

const char *log_level_name(enum log_level level)
{
    switch (level) {
    case LOG_ERROR:
        return "error";
    case LOG_WARN:
        return "warn";
    case LOG_INFO:
        return "info";
    case LOG_DEBUG:
        return "debug";
    }
    UNREACHABLE("log level");
}
