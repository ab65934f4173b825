/*
 * JSON files, by jansson.
 */
#include "sys/json_file.h"

#include <stdlib.h>

#include "sys/file.h"

json_t *
json_file_read(const char *path, size_t most, const char *kind, struct err *err)
{
	json_error_t at;
	json_t *json;
	char *text;
	size_t n;

	if (file_read(&text, &n, path, most, kind, err))
		return NULL;
	json = json_loadb(text, n, JSON_REJECT_DUPLICATES, &at);
	free(text);
	if (!json)
		err_set(err, "%s: line %d, byte %d: %s", path, at.line, at.position, at.text);
	return json;
}
