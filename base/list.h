/*
 * base/list.h -- an intrusive doubly linked list, and container_of.
 *
 * The node lives in its element; a list never allocates. A list head is a node that points to
 * itself when empty. Order is insertion order, so that walks never depend on addresses.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/contract.h"

#define container_of(pointer, type, member) \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

struct list_node {
    struct list_node *next;
    struct list_node *previous;
};

static inline void list_init(struct list_node *head)
{
    head->next = head;
    head->previous = head;
}

static inline bool list_empty(const struct list_node *head)
{
    return head->next == head;
}

static inline void list_insert_before(struct list_node *place, struct list_node *node)
{
    node->next = place;
    node->previous = place->previous;
    place->previous->next = node;
    place->previous = node;
}

static inline void list_append(struct list_node *head, struct list_node *node)
{
    list_insert_before(head, node);
}

/* Of what is kept to be used again the last is taken first: it may still be in the cache. */
static inline void list_prepend(struct list_node *head, struct list_node *node)
{
    list_insert_before(head->next, node);
}

/* Leaves the node linked to itself, so that removing twice is harmless. */
static inline void list_remove(struct list_node *node)
{
    node->previous->next = node->next;
    node->next->previous = node->previous;
    list_init(node);
}

/* The first node, taken out; NULL if the list is empty. */
static inline struct list_node *list_take_first(struct list_node *head)
{
    if (list_empty(head)) {
        return NULL;
    }
    struct list_node *first = head->next;
    list_remove(first);
    return first;
}

/* `next` is read before the body, so the body may remove `node`. */
/* The names it declares cannot stand in parentheses. NOLINTBEGIN(bugprone-macro-parentheses) */
#define list_for_each(node, following, head)                                             \
    for (struct list_node *node = (head)->next, *following = node->next; node != (head); \
         node = following, following = node->next)
/* NOLINTEND(bugprone-macro-parentheses) */

#endif
