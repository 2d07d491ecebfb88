/*
 * base/address.h -- "host:port" as people write it in flags and files.
 */
#ifndef BASE_ADDRESS_H
#define BASE_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#define ADDRESS_HOST_SIZE_MAX 256
#define ADDRESS_TEXT_SIZE_MAX (ADDRESS_HOST_SIZE_MAX + 8)

struct address {
    char host[ADDRESS_HOST_SIZE_MAX]; /* Without [] around IPv6. */
    uint16_t port;
};

/* "host:port", "[v6]:port", ":port" (host 127.0.0.1). STATUS_INVALID otherwise. */
MUST_USE enum status address_parse(const char *text, struct address *address);
void address_format(const struct address *address, char text[ADDRESS_TEXT_SIZE_MAX]);
bool address_is_loopback(const struct address *address);

#endif
