/*
 * tests/fuzz/fuzz_config.c -- whatever text comes as a configuration file: refused with a reason,
 * or settings that print to a text which reads back as the same.
 */
#include <string.h>

#include "base/contract.h"
#include "base/memory.h"
#include "node/config.h"
#include "tests/fuzz/fuzz.h"

#define TEXT_SIZE_MAX (64u << 10)

/* True if the text is taken; *config is then what it says. */
static bool text_take(struct config *config, const char *text)
{
    struct buffer message = {0};
    config_defaults(config);
    enum status status = config_parse(config, text, "fuzz.conf", &message);
    ASSERT(status == STATUS_OK || (status == STATUS_INVALID && message.size > 0));
    buffer_clear(&message);
    if (status == STATUS_OK && config_check(config, &message) != STATUS_OK) {
        ASSERT(message.size > 0);
    }
    buffer_deinit(&message);
    return status == STATUS_OK;
}

static void print_text(const struct config *config, struct buffer *text)
{
    config_print(config, text);
    enum status status = buffer_status(text);
    ASSERT(status == STATUS_OK);
}

/* A text setting may hold what the syntax gives a meaning, ';' after a blank above all, or be too
 * long for a line; then the printed text need not read back. */
static bool plain(const struct config *config, const char *printed)
{
    const char *const texts[] = {config->data_dir, config->zone, config->advertise,
                                 config->client,   config->peer, config->admin};
    for (size_t index = 0; index < ARRAY_COUNT(texts); index++) {
        if (strpbrk(texts[index], ";#\"") != NULL) {
            return false;
        }
    }
    for (; *printed != '\0'; printed += strspn(printed, "\n")) {
        size_t size = strcspn(printed, "\n");
        if (size > CONFIG_LINE_SIZE_MAX) {
            return false;
        }
        printed += size;
    }
    return true;
}

static void round_trip_check(const struct config *config)
{
    struct config second;
    struct buffer printed = {0};
    struct buffer again = {0};
    print_text(config, &printed);
    buffer_append(&printed, "", 1);
    if (plain(config, (const char *)printed.data)) {
        bool taken = text_take(&second, (const char *)printed.data);
        ASSERT(taken);
        print_text(&second, &again);
        buffer_append(&again, "", 1);
        ASSERT(slice_equal(buffer_slice(&printed), buffer_slice(&again)));
    }
    buffer_deinit(&printed);
    buffer_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > TEXT_SIZE_MAX) {
        return 0;
    }
    char *text = memory_allocate(size + 1);
    ASSERT(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    struct config config;
    if (text_take(&config, text)) {
        round_trip_check(&config);
    }
    memory_free(text);
    return 0;
}
