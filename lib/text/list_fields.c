/*
 * Fields of a list's entry, checked.
 */
#include <stdio.h>
#include <string.h>

#include "sys/utf8.h"
#include "text/list.h"

const char *
json_words(char *out, size_t size, const json_t *value)
{
	char quote[64];

	switch (json_typeof(value)) {
	case JSON_STRING:
		snprintf(out, size, "'%s'",
		         utf8_quote(quote, sizeof quote, json_string_value(value), json_string_length(value)));
		break;
	case JSON_INTEGER:
		snprintf(out, size, "%lld", (long long)json_integer_value(value));
		break;
	case JSON_REAL:
		snprintf(out, size, "%.17g", json_real_value(value));
		break;
	default:
		snprintf(out, size, "%s",
		         json_is_object(value)  ? "an object"
		         : json_is_array(value) ? "an array"
		         : json_is_true(value)  ? "true"
		         : json_is_false(value) ? "false"
		                                : "null");
	}
	return out;
}

int
list_id(const struct list *list, const json_t *entry, const char *key, int64_t *out, struct err *err)
{
	const json_t *value = json_object_get(entry, key);
	char words[80];

	if (!value)
		return list_fault(list, err, "'%s' is missing, expected an integer", key);
	if (!json_is_integer(value))
		return list_fault(list, err, "'%s' is %s, expected an integer", key,
		                  json_words(words, sizeof words, value));
	*out = json_integer_value(value);
	if (*out < -ID_MAX || *out > ID_MAX)
		return list_fault(list, err, "'%s' is %lld, expected an integer of at most 2^53", key, (long long)*out);
	return 0;
}

int
list_text(const struct list *list, const json_t *entry, const char *key, int needed, const json_t **out,
          struct err *err)
{
	char words[80];

	*out = json_object_get(entry, key);
	if (!*out)
		return needed ? list_fault(list, err, "'%s' is missing, expected a string", key) : 0;
	if (!json_is_string(*out))
		return list_fault(list, err, "'%s' is %s, expected a string", key,
		                  json_words(words, sizeof words, *out));
	return 0;
}

int
list_string(const struct list *list, const json_t *entry, const char *key, int needed, const char **out,
            struct err *err)
{
	const json_t *value;

	*out = NULL;
	if (list_text(list, entry, key, needed, &value, err))
		return -1;
	*out = json_string_value(value);
	if (value && strlen(*out) != json_string_length(value))
		return list_fault(list, err, "'%s' has a NUL character in it, expected text", key);
	return 0;
}
