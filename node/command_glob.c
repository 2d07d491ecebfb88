/* node/command_glob.c -- the patterns of SCAN MATCH and CONFIG GET. */
#include "node/command.h"

/* Redis's glob: * ? [set] [^set] [a-z] and \ before any of them. Iterative in '*', so that no
 * pattern takes more than pattern size times text size steps. */
static bool class_match(struct slice pattern, size_t *at, uint8_t byte)
{
    size_t index = *at + 1;
    bool negated = index < pattern.size && pattern.data[index] == '^';
    bool found = false;
    index += negated;
    for (; index < pattern.size && pattern.data[index] != ']'; index++) {
        if (pattern.data[index] == '\\' && index + 1 < pattern.size) {
            index++;
            found = found || pattern.data[index] == byte;
        } else if (index + 2 < pattern.size && pattern.data[index + 1] == '-') {
            uint8_t low = pattern.data[index];
            uint8_t high = pattern.data[index + 2];
            found =
                found || (low <= high ? byte >= low && byte <= high : byte >= high && byte <= low);
            index += 2;
        } else {
            found = found || pattern.data[index] == byte;
        }
    }
    *at = index < pattern.size ? index + 1 : index;
    return found != negated;
}

static bool byte_match(struct slice pattern, size_t *at, uint8_t byte)
{
    uint8_t wanted = pattern.data[*at];
    if (wanted == '[') {
        return class_match(pattern, at, byte);
    }
    if (wanted == '\\' && *at + 1 < pattern.size) {
        wanted = pattern.data[++*at];
        ++*at;
        return wanted == byte;
    }
    ++*at;
    return wanted == '?' || wanted == byte;
}

bool command_glob(struct slice pattern, struct slice text)
{
    size_t at = 0;
    size_t read = 0;
    size_t star = SIZE_MAX; /* Just behind the last '*', and where its text began. */
    size_t star_read = 0;
    while (read < text.size) {
        if (at < pattern.size && pattern.data[at] == '*') {
            star = ++at;
            star_read = read;
            continue;
        }
        if (at < pattern.size && byte_match(pattern, &at, text.data[read])) {
            read++;
            continue;
        }
        if (star == SIZE_MAX) {
            return false;
        }
        at = star;
        read = ++star_read;
    }
    while (at < pattern.size && pattern.data[at] == '*') {
        at++;
    }
    return at == pattern.size;
}
