/* tests/unit/test_list.c -- the intrusive list. */
#include <criterion/criterion.h>

#include "base/list.h"

struct item {
    int number;
    struct list_node node;
};

static struct item *item_of(struct list_node *node)
{
    return container_of(node, struct item, node);
}

/* Fixture: items 0 to 4 in order. */
struct five {
    struct list_node head;
    struct item items[5];
};

static void five_init(struct five *five)
{
    list_init(&five->head);
    for (int index = 0; index < 5; index++) {
        five->items[index].number = index;
        list_append(&five->head, &five->items[index].node);
    }
}

Test(list, walks_in_order_of_insertion)
{
    struct five five;
    five_init(&five);
    int expected = 0;
    list_for_each (node, following, &five.head) {
        cr_assert_eq(item_of(node)->number, expected);
        expected++;
    }
    cr_assert_eq(expected, 5);
}

Test(list, body_of_a_walk_may_remove_its_node)
{
    struct five five;
    five_init(&five);
    list_for_each (node, following, &five.head) {
        if (item_of(node)->number % 2 == 0) {
            list_remove(node);
        }
    }
    cr_assert_eq(item_of(five.head.next)->number, 1);
    cr_assert_eq(item_of(five.head.previous)->number, 3);
    cr_assert_eq(five.head.next->next, &five.items[3].node);
}

Test(list, removing_twice_is_harmless)
{
    struct five five;
    five_init(&five);
    list_remove(&five.items[2].node);
    list_remove(&five.items[2].node);
    cr_assert(list_empty(&five.items[2].node));
    int count = 0;
    while (list_take_first(&five.head) != NULL) {
        count++;
    }
    cr_assert_eq(count, 4);
    cr_assert(list_empty(&five.head));
    cr_assert_null(list_take_first(&five.head));
}

Test(list, insert_before_puts_between)
{
    struct five five;
    five_init(&five);
    struct item extra = {.number = 9};
    list_insert_before(&five.items[1].node, &extra.node);
    cr_assert_eq(five.items[0].node.next, &extra.node);
    cr_assert_eq(extra.node.next, &five.items[1].node);
    cr_assert_eq(five.items[1].node.previous, &extra.node);
}
