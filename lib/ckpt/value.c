/*
 * Looking at the values of a pickle.
 */
#include "ckpt/pickle.h"

#include <stdio.h>
#include <string.h>

#include "sys/utf8.h"

int
text_is(const char *text, size_t n, const char *expected)
{
	return n == strlen(expected) && !memcmp(text, expected, n);
}

const struct value *
pickle_item(const struct pickle *p, const struct value *container, uint32_t i)
{
	uint32_t cell = container->items.first;

	while (i--)
		cell = p->cells[cell].next;
	return &p->values[p->cells[cell].value];
}

int
value_is_text(const struct value *value, const char *text)
{
	return value->kind == KIND_TEXT && text_is(value->text, value->n, text);
}

const struct value *
pickle_find(const struct pickle *p, const struct value *dict, const char *key)
{
	for (uint32_t i = 0, cell = dict->items.first; i < dict->n; i += 2) {
		uint32_t next = p->cells[cell].next;

		if (value_is_text(&p->values[p->cells[cell].value], key))
			return &p->values[p->cells[next].value];
		cell = p->cells[next].next;
	}
	return NULL;
}

static void
describe_dict(const struct pickle *p, const struct value *dict, char out[256])
{
	size_t n = (size_t)snprintf(out, 256, "a dict with");

	for (uint32_t i = 0, cell = dict->items.first; i < dict->n && i < 6; i += 2) {
		const struct value *key = &p->values[p->cells[cell].value];
		char text[48];

		if (key->kind == KIND_TEXT)
			n += (size_t)snprintf(out + n, 256 - n, "%s '%s'", i ? "," : "",
			                      utf8_quote(text, sizeof text, key->text, key->n));
		else
			n += (size_t)snprintf(out + n, 256 - n, "%s a key that is no text", i ? "," : "");
		cell = p->cells[p->cells[cell].next].next;
	}
	if (dict->n > 6)
		snprintf(out + n, 256 - n, ", and %u more", dict->n / 2 - 3);
}

const char *
pickle_describe(const struct pickle *p, const struct value *value, char out[256])
{
	static const char *const names[] = {
		[KIND_NONE] = "None",       [KIND_BOOL] = "a bool",   [KIND_INT] = "an integer",
		[KIND_LONG] = "an integer", [KIND_REAL] = "a number", [KIND_TEXT] = "a text",
		[KIND_TUPLE] = "a tuple",   [KIND_LIST] = "a list",   [KIND_DICT] = "an empty dict",
		[KIND_GLOBAL] = "a class",  [KIND_CALL] = "a tensor", [KIND_STORAGE] = "a storage",
	};

	if (value->kind == KIND_DICT && value->n)
		describe_dict(p, value, out);
	else
		snprintf(out, 256, "%s", names[value->kind]);
	return out;
}
