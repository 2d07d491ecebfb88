/*
 * base/contract.h -- assertions and the annotations a contract is written with.
 *
 * Why: an outcome that only a bug can cause stops the program where it is found; in a store, going
 * on with a broken invariant is how data is lost. ASSERT stays on in release builds.
 */
#ifndef BASE_CONTRACT_H
#define BASE_CONTRACT_H

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first_index) \
    __attribute__((format(printf, format_index, first_index)))

#define BIT(n) (UINT32_C(1) << (n))
#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define STATIC_ASSERT(condition, message) _Static_assert(condition, message)

/* Prints where and what to stderr, then aborts. Defined in contract.c; never returns. */
void contract_failed(const char *file, int line, const char *condition)
    __attribute__((noreturn, cold));

#define ASSERT(condition) \
    (__builtin_expect(!!(condition), 1) ? (void)0 : contract_failed(__FILE__, __LINE__, #condition))
#define ASSERT_IMPLIES(premise, conclusion) ASSERT(!(premise) || (conclusion))
/* A place that no input can reach. */
#define UNREACHABLE(what) contract_failed(__FILE__, __LINE__, "unreachable: " what)

#endif
