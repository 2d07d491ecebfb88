/*
 * base/address.c -- reads and writes "host:port".
 *
 * Only the spelling is judged here, no name is resolved. A host is letters, digits, '-', '.' and
 * '_'; in brackets it is an IPv6 address, perhaps with a %zone.
 */
#include "base/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ADDRESS_HOST_DEFAULT "127.0.0.1"
#define ADDRESS_PORT_MAX 65535u
#define ADDRESS_PORT_DIGITS_MAX 5

/* "[", "]:", five digits and the terminator. */
STATIC_ASSERT(ADDRESS_HOST_SIZE_MAX - 1 + 9 <= ADDRESS_TEXT_SIZE_MAX, "any address has room");

static bool is_name_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '-' || byte == '.' || byte == '_';
}

static bool is_name(const char *host)
{
    for (; *host != '\0'; host++) {
        if (!is_name_byte(*host)) {
            return false;
        }
    }
    return true;
}

/* With or without a zone. */
static bool is_ipv6(const char *host)
{
    char bare[ADDRESS_HOST_SIZE_MAX];
    size_t size = strcspn(host, "%");
    memcpy(bare, host, size);
    bare[size] = '\0';
    struct in6_addr binary;
    if (inet_pton(AF_INET6, bare, &binary) != 1) {
        return false;
    }
    const char *zone = host + size;
    return *zone == '\0' || (zone[1] != '\0' && is_name(zone + 1));
}

static bool port_parse(const char *text, uint16_t *port)
{
    unsigned value = 0;
    size_t size = strlen(text);
    if (size == 0 || size > ADDRESS_PORT_DIGITS_MAX) {
        return false;
    }
    for (size_t index = 0; index < size; index++) {
        if (text[index] < '0' || text[index] > '9') {
            return false;
        }
        value = value * 10 + (unsigned)(text[index] - '0');
    }
    if (value > ADDRESS_PORT_MAX) {
        return false;
    }
    *port = (uint16_t)value;
    return true;
}

enum status address_parse(const char *text, struct address *address)
{
    ASSERT(text != NULL);
    ASSERT(address != NULL);
    struct address parsed = {0};
    bool bracketed = text[0] == '[';
    const char *host = bracketed ? text + 1 : text;
    size_t host_size = strcspn(host, bracketed ? "]" : ":");
    const char *rest = host + host_size;
    if (bracketed && *rest == ']') {
        rest++;
    }
    if (*rest != ':' || host_size >= sizeof(parsed.host)) {
        return STATUS_INVALID;
    }
    memcpy(parsed.host, host, host_size);
    if (bracketed ? !is_ipv6(parsed.host) : !is_name(parsed.host)) {
        return STATUS_INVALID;
    }
    if (!port_parse(rest + 1, &parsed.port)) {
        return STATUS_INVALID;
    }
    if (host_size == 0) {
        memcpy(parsed.host, ADDRESS_HOST_DEFAULT, sizeof(ADDRESS_HOST_DEFAULT));
    }
    *address = parsed;
    return STATUS_OK;
}

void address_format(const struct address *address, char text[ADDRESS_TEXT_SIZE_MAX])
{
    ASSERT(address != NULL);
    bool bracketed = strchr(address->host, ':') != NULL;
    int length = snprintf(text, ADDRESS_TEXT_SIZE_MAX, bracketed ? "[%s]:%u" : "%s:%u",
                          address->host, (unsigned)address->port);
    ASSERT(length > 0 && length < ADDRESS_TEXT_SIZE_MAX);
}

/* A name counts only if it is "localhost": any other may resolve to anywhere. */
bool address_is_loopback(const struct address *address)
{
    ASSERT(address != NULL);
    struct in_addr ipv4;
    if (inet_pton(AF_INET, address->host, &ipv4) == 1) {
        return ntohl(ipv4.s_addr) >> 24 == 127;
    }
    struct in6_addr ipv6;
    if (inet_pton(AF_INET6, address->host, &ipv6) == 1) {
        return IN6_IS_ADDR_LOOPBACK(&ipv6) ||
               (IN6_IS_ADDR_V4MAPPED(&ipv6) && ipv6.s6_addr[12] == 127);
    }
    return strcasecmp(address->host, "localhost") == 0;
}
