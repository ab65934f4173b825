/*
 * What a list is around its entries: its brackets and commas, and the object that may be around it.
 */
#include "text/list.h"

#include <stdbool.h>
#include <string.h>

#include "sys/utf8.h"
#include "text/list_scan.h"

/* Nothing but white space may follow. */
static int
list_end(struct list *list, struct err *err)
{
	char c;
	int r = list_peek(list, &c, err);

	if (r > 0)
		return list_unexpected(list, c, "nothing after the list", err);
	list->state = LIST_DONE;
	return r;
}

/* A member beside the list. */
static int
around_add(struct list *list, const char *name, char c, struct err *err)
{
	json_t *value = list_value(list, c, err);

	if (!value)
		return -1;
	list->around_n += list->entry_n;
	if (list->around_n > ENTRY_MAX) {
		json_decref(value);
		return list_fault(list, err, "over %d bytes beside '%s', expected less", ENTRY_MAX, list->member);
	}
	return json_object_set_new(list->around, name, value) ? err_set(err, "%s: out of memory", list->name) : 0;
}

/* A member's name, which begins with *c, and its colon; *c is then the value's first byte. NULL: a fault. */
static json_t *
name_next(struct list *list, char *c, struct err *err)
{
	char quote[80];
	const char *text;
	json_t *name;
	bool good = false;

	if (*c != '"') {
		list_unexpected(list, *c, "'\"', a name in the object around the list", err);
		return NULL;
	}
	name = list_value(list, *c, err);
	if (!name)
		return NULL;
	text = json_string_value(name);
	list->around_n += list->entry_n;
	if (strlen(text) != json_string_length(name)) {
		list_fault(list, err, "a name has a NUL character in it, expected text");
	} else if (json_object_get(list->around, text)) {
		list_fault(list, err, "'%s' is there twice", utf8_quote(quote, sizeof quote, text, strlen(text)));
	} else if (list_look(list, c, err) == 0) {
		if (*c != ':') {
			list_unexpected(list, *c, "':'", err);
		} else {
			list_consume(list);
			good = list_look(list, c, err) == 0;
		}
	}
	if (good)
		return name;
	json_decref(name);
	return NULL;
}

/* A member, whose name begins with c: 1 when it is the list, which is not read yet, else 0. */
static int
member_next(struct list *list, char c, struct err *err)
{
	json_t *name = name_next(list, &c, err);
	const char *text = json_string_value(name);
	int r;

	if (!name)
		return -1;
	if (strcmp(text, list->member) != 0)
		r = around_add(list, text, c, err);
	else if (c != '[')
		r = list_unexpected(list, c, "'[', a JSON list", err);
	else
		r = json_object_set_new(list->around, text, json_null()) ? err_set(err, "%s: out of memory", list->name)
		                                                         : 1;
	json_decref(name);
	return r;
}

/* Members up to the list, or, after it, up to the object's end: 1 when the list begins, 0 at the end. */
static int
members_next(struct list *list, struct err *err)
{
	char c;
	int r = 0;

	for (bool first = list->state == LIST_BEFORE; r == 0; first = false) {
		if (list_look(list, &c, err))
			return -1;
		if (c == '}') {
			list_consume(list);
			return 0;
		}
		if (!first) {
			if (c != ',')
				return list_unexpected(list, c, "',' or '}'", err);
			list_consume(list);
			if (list_look(list, &c, err))
				return -1;
		}
		r = member_next(list, c, err);
	}
	return r;
}

/* Up to the list's '['. */
static int
list_begin(struct list *list, struct err *err)
{
	char c;
	int r = list_peek(list, &c, err);

	if (r < 0)
		return -1;
	if (r == 0)
		return err_set(err, "%s: breaks off at byte %lld, expected a JSON list", list->name,
		               (long long)list->at);
	if (c == '{' && list->member) {
		list_consume(list);
		list->around = json_object();
		if (!list->around)
			return err_set(err, "%s: out of memory", list->name);
		if ((r = members_next(list, err)) < 0)
			return -1;
		if (r == 0)
			return err_set(err, "%s: an object without '%s', expected it or a JSON list", list->name,
			               list->member);
	} else if (c != '[') {
		return list_unexpected(list, c, "'[', a JSON list", err);
	}
	list_consume(list);
	list->state = LIST_INSIDE;
	return 0;
}

/* From the list's ']' to the end of the file. */
static int
list_after(struct list *list, struct err *err)
{
	list_consume(list);
	if (list->around) {
		list->state = LIST_BESIDE;
		if (members_next(list, err))
			return -1;
	}
	return list_end(list, err);
}

int
list_next(struct list *list, json_t **entry, struct err *err)
{
	char c;

	if (list->state == LIST_DONE)
		return 0;
	if ((list->state == LIST_BEFORE && list_begin(list, err)) || list_look(list, &c, err))
		return -1;
	if (c == ']')
		return list_after(list, err);
	if (list->entries > 0) {
		if (c != ',')
			return list_unexpected(list, c, "',' or ']'", err);
		list_consume(list);
		if (list_look(list, &c, err))
			return -1;
	}
	if (c != '{')
		return list_unexpected(list, c, "'{', an entry of the list", err);
	list->entries++;
	*entry = list_value(list, c, err);
	return *entry ? 1 : -1;
}
