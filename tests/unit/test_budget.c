/*
 * tests/unit/test_budget.c -- lsm/budget.h: what others use the cache does not get, down to a least
 * share.
 */
#include <criterion/criterion.h>

#include "lsm/budget.h"

Test(budget, the_cache_gets_what_the_others_leave)
{
    struct budget budget;
    budget_init(&budget, 1600);
    cr_assert_eq(budget_cache_room(&budget), 1600);
    budget_set(&budget, BUDGET_MEMTABLES, 500);
    budget_take(&budget, BUDGET_TABLES, 300);
    budget_take(&budget, BUDGET_TABLES, 100);
    budget_set(&budget, BUDGET_LOG, 50);
    cr_assert_eq(budget_cache_room(&budget), 650);
    budget_take(&budget, BUDGET_CACHE, 640);
    cr_assert_eq(budget_cache_room(&budget), 650, "its own use is not the others'");
    budget_give(&budget, BUDGET_TABLES, 400);
    budget_set(&budget, BUDGET_MEMTABLES, 0);
    cr_assert_eq(budget_cache_room(&budget), 1550);
}

Test(budget, the_cache_keeps_a_least_share)
{
    struct budget budget;
    budget_init(&budget, 1600);
    budget_set(&budget, BUDGET_MEMTABLES, 1550);
    cr_assert_eq(budget_cache_room(&budget), 100);
    budget_set(&budget, BUDGET_MEMTABLES, 16000);
    cr_assert_eq(budget_cache_room(&budget), 100);
}

Test(budget, indexes_are_whole_while_they_leave_the_cache_its_part)
{
    struct budget budget;
    budget_init(&budget, 1600);
    cr_assert(budget_index_fits(&budget, 800));
    cr_assert_not(budget_index_fits(&budget, 801));
    budget_set(&budget, BUDGET_MEMTABLES, 500);
    budget_set(&budget, BUDGET_LOG, 100);
    budget_take(&budget, BUDGET_TABLES, 300);
    budget_take(&budget, BUDGET_CACHE, 600);
    cr_assert(budget_index_fits(&budget, 200), "what is cached gives way");
    cr_assert_not(budget_index_fits(&budget, 201));
    budget_set(&budget, BUDGET_MEMTABLES, 5000);
    cr_assert_not(budget_index_fits(&budget, 0));
}
