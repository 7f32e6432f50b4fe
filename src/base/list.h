/* list.h: intrusive doubly linked list. A node is in at most one list; list_is_linked tells. One owner. */
#ifndef WEIR_BASE_LIST_H
#define WEIR_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};
static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}
static inline bool list_is_empty(const struct list *l)
{
    return l->next == l;
}
static inline bool list_is_linked(const struct list *n)
{
    return n->next != NULL && n->next != n;
}
static inline void list_push_back(struct list *l, struct list *n)
{
    n->prev = l->prev;
    n->next = l;
    l->prev->next = n;
    l->prev = n;
}
static inline void list_push_front(struct list *l, struct list *n)
{
    n->next = l->next;
    n->prev = l;
    l->next->prev = n;
    l->next = n;
}
/* Harmless on a node that is not linked. */
static inline void list_remove(struct list *n)
{
    if (n->next == NULL) return;
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->next = n->prev = NULL;
}
static inline struct list *list_first(const struct list *l)
{
    return l->next == l ? NULL : l->next;
}
static inline struct list *list_pop_front(struct list *l)
{
    struct list *n = list_first(l);
    if (n) list_remove(n);
    return n;
}

#endif
