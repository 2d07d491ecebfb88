/* base/resp_internal.h -- what the readers of requests and of replies share. */
#ifndef BASE_RESP_INTERNAL_H
#define BASE_RESP_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A decimal of 64 bits in its one spelling: no plus, no leading zero, no "-0". */
bool resp_integer_parse(const uint8_t *text, size_t size, int64_t *value);

#endif
