/*
 * The bytes and values of a list's file, for list.c.
 */
#ifndef VQA_TEXT_LIST_SCAN_H
#define VQA_TEXT_LIST_SCAN_H

#include "text/list.h"

/* The next byte that is not white space, not consumed: 1; 0 at the end of the file; -1. */
int list_peek(struct list *list, char *c, struct err *err);
/* The same where it has to be there: 0. */
int list_look(struct list *list, char *c, struct err *err);
/* What was looked at is taken. */
void list_consume(struct list *list);
/* c, which was looked at, is not what was expected. Returns -1. */
int list_unexpected(const struct list *list, char c, const char *expected, struct err *err);
/* The value that begins with c, parsed; its bytes are the current entry. NULL: a fault. */
json_t *list_value(struct list *list, char c, struct err *err);

#endif
