/*
 * The scanner finds where an entry ends by its brackets and strings alone, counting depth and bytes; only then the entry is
 * parsed, by jansson. So memory is bounded by one entry, and every byte of the file is consumed exactly once.
 */
#include "text/list.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/file.h"
#include "sys/hash.h"
#include "sys/utf8.h"
#include "text/vocab.h"

enum { READ_SIZE = 1 << 16 };

/* The way of every entry into memory: a key twice is an error, "\u0000" is not. */
enum { PARSE = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL };

int
list_fault(const struct list *list, struct err *err, const char *fmt, ...)
{
	char words[600];
	va_list args;

	va_start(args, fmt);
	vsnprintf(words, sizeof words, fmt, args);
	va_end(args);
	if (list->entry_line == 0)
		return err_set(err, "%s: entry %lld (byte %lld): %s", list->name, (long long)list->entries,
		               (long long)list->entry_at, words);
	return err_set(err, "%s:%lld: entry %lld (byte %lld): %s", list->name, (long long)list->entry_line,
	               (long long)list->entries, (long long)list->entry_at, words);
}

int
list_open(struct list *list, const char *path, uint64_t hash, struct err *err)
{
	bool in = strcmp(path, "-") == 0;
	struct stat st;

	*list = (struct list){ .fd = -1, .spool = -1, .line = 1, .hash = hash };
	list->name = strdup(in ? "stdin" : path);
	list->buf = malloc(READ_SIZE);
	if (!list->name || !list->buf) {
		err_set(err, "out of memory");
		goto fail;
	}
	list->fd = in ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	if (list->fd < 0 || fstat(list->fd, &st)) {
		err_sys(err, "%s", list->name);
		goto fail;
	}
	/* A regular file may have been read in part by whoever gave it to us; then its places are not the file's. */
	if (S_ISREG(st.st_mode) && lseek(list->fd, 0, SEEK_CUR) == 0)
		return 0;
	list->spool = file_nameless(err);
	if (list->spool >= 0)
		return 0;
fail:
	list_close(list);
	return -1;
}

void
list_close(struct list *list)
{
	if (list->fd > STDIN_FILENO)
		close(list->fd);
	if (list->spool >= 0)
		close(list->spool);
	free(list->name);
	free(list->buf);
	free(list->entry);
	*list = (struct list){ .fd = -1, .spool = -1 };
}

/* At least one byte into an empty buffer: 1; 0 at the end of the file; -1. */
static int
fill(struct list *list, struct err *err)
{
	ssize_t n;

	do
		n = read(list->fd, list->buf, READ_SIZE);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_sys(err, "%s", list->name);
	if (n > 0 && list->spool >= 0 && write_fully(list->spool, list->buf, (size_t)n, "temporary copy", err))
		return err_prefix(err, "%s", list->name);
	list->hash = fnv1a(list->hash, list->buf, (size_t)n);
	list->begin = 0;
	list->end = (size_t)n;
	return n > 0;
}

/* The next byte that is not white space, not consumed: 1; 0 at the end of the file; -1. */
static int
peek(struct list *list, char *c, struct err *err)
{
	for (;;) {
		int r = 1;

		if (list->begin == list->end && (r = fill(list, err)) <= 0)
			return r;
		*c = list->buf[list->begin];
		if (*c != ' ' && *c != '\t' && *c != '\n' && *c != '\r')
			return 1;
		list->line += *c == '\n';
		list->begin++;
		list->at++;
	}
}

static void
consume(struct list *list)
{
	list->begin++;
	list->at++;
}

static int
breaks_off(const struct list *list, struct err *err)
{
	return err_set(err, "%s: breaks off at byte %lld, expected the list to go on or ']'", list->name,
	               (long long)list->at);
}

static int
unexpected(const struct list *list, char c, const char *expected, struct err *err)
{
	char found[16];

	if (c > ' ' && c < 0x7f)
		snprintf(found, sizeof found, "'%c'", c);
	else
		snprintf(found, sizeof found, "byte 0x%02x", (unsigned char)c);
	return err_set(err, "%s:%lld: byte %lld: found %s, expected %s", list->name, (long long)list->line,
	               (long long)list->at, found, expected);
}

static int
entry_add(struct list *list, const char *data, size_t n, struct err *err)
{
	if (list->entry_n + n > ENTRY_MAX)
		return list_fault(list, err, "over %d bytes, expected a smaller entry", ENTRY_MAX);
	if (list->entry_n + n > list->entry_size) {
		size_t size = list->entry_size ? list->entry_size : 4096;
		char *entry;

		while (size < list->entry_n + n)
			size *= 2;
		entry = realloc(list->entry, size);
		if (!entry)
			return err_set(err, "%s: out of memory", list->name);
		list->entry = entry;
		list->entry_size = size;
	}
	memcpy(list->entry + list->entry_n, data, n);
	list->entry_n += n;
	return 0;
}

/* Take the bytes from '{' to the '}' that closes it. */
static int
entry_scan(struct list *list, struct err *err)
{
	int depth = 0;
	bool in_string = false, escaped = false;

	list->entries++;
	list->entry_n = 0;
	list->entry_at = list->at;
	list->entry_line = list->line;
	do {
		size_t from = list->begin;
		int r;

		if (from == list->end) {
			if ((r = fill(list, err)) < 0)
				return -1;
			if (r == 0)
				return err_set(err, "%s: breaks off at byte %lld, inside entry %lld (line %lld)",
				               list->name, (long long)list->at, (long long)list->entries,
				               (long long)list->entry_line);
			from = 0;
		}
		do {
			char c = list->buf[list->begin++];

			if (c == '\n')
				list->line++;
			if (escaped)
				escaped = false;
			else if (in_string && c == '\\')
				escaped = true;
			else if (c == '"')
				in_string = !in_string;
			else if (!in_string && (c == '{' || c == '['))
				depth++;
			else if (!in_string && (c == '}' || c == ']'))
				depth--;
			if (depth > ENTRY_DEPTH_MAX)
				return list_fault(list, err, "over %d levels deep, expected a flat entry",
				                  ENTRY_DEPTH_MAX);
		} while (depth > 0 && list->begin < list->end);
		list->at += (int64_t)(list->begin - from);
		if (entry_add(list, list->buf + from, list->begin - from, err))
			return -1;
	} while (depth > 0);
	return 0;
}

/* jansson's words, made fit for one line, with the place in the file up to which it had read. */
static int
parse_fault(const struct list *list, const json_error_t *fault, struct err *err)
{
	char words[JSON_ERROR_TEXT_LENGTH + 4];

	return list_fault(list, err, "%s before byte %lld",
	                  utf8_quote(words, sizeof words, fault->text, strlen(fault->text)),
	                  (long long)list->entry_at + fault->position);
}

int
list_next(struct list *list, json_t **entry, struct err *err)
{
	json_error_t fault;
	size_t bad;
	bool first = list->entries == 0 && list->at == 0;
	char c;
	int r;

	if (list->done)
		return 0;
	if ((r = peek(list, &c, err)) < 0)
		return -1;
	if (first) {
		if (r == 0)
			return err_set(err, "%s: breaks off at byte %lld, expected a JSON list", list->name,
			               (long long)list->at);
		if (c != '[')
			return unexpected(list, c, "'[', a JSON list", err);
		consume(list);
		if ((r = peek(list, &c, err)) < 0)
			return -1;
	}
	if (r == 0)
		return breaks_off(list, err);
	if (c == ']') {
		consume(list);
		if ((r = peek(list, &c, err)) > 0)
			return unexpected(list, c, "nothing after the list", err);
		list->done = r == 0;
		return r;
	}
	if (list->entries > 0) {
		if (c != ',')
			return unexpected(list, c, "',' or ']'", err);
		consume(list);
		if ((r = peek(list, &c, err)) <= 0)
			return r < 0 ? -1 : breaks_off(list, err);
	}
	if (c != '{')
		return unexpected(list, c, "'{', an entry of the list", err);
	if (entry_scan(list, err))
		return -1;
	if (!utf8_valid(list->entry, list->entry_n, &bad))
		return list_fault(list, err, "byte %lld is 0x%02x, not UTF-8",
		                  (long long)list->entry_at + (long long)bad, (unsigned char)list->entry[bad]);
	*entry = json_loadb(list->entry, list->entry_n, PARSE, &fault);
	return *entry ? 1 : parse_fault(list, &fault, err);
}

json_t *
list_again(struct list *list, int64_t number, int64_t at, size_t n, struct err *err)
{
	int fd = list->spool >= 0 ? list->spool : list->fd;
	json_t *entry;

	list->entries = number;
	list->entry_at = at;
	list->entry_line = 0; /* no longer known */
	list->entry_n = 0;
	while (list->entry_size < n) {
		char *bigger = realloc(list->entry, n);

		if (!bigger) {
			err_set(err, "%s: out of memory", list->name);
			return NULL;
		}
		list->entry = bigger;
		list->entry_size = n;
	}
	while (list->entry_n < n) {
		ssize_t got = pread(fd, list->entry + list->entry_n, n - list->entry_n, at + (int64_t)list->entry_n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			err_sys(err, "%s", list->name);
		if (got == 0)
			err_set(err, "%s: changed while it was read: no bytes at %lld", list->name, (long long)at);
		if (got <= 0)
			return NULL;
		list->entry_n += (size_t)got;
	}
	entry = json_loadb(list->entry, n, PARSE, NULL);
	if (!entry)
		err_set(err, "%s: changed while it was read: no entry at byte %lld", list->name, (long long)at);
	return entry;
}

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
list_integer(const struct list *list, const json_t *entry, const char *key, int64_t *out, struct err *err)
{
	const json_t *value = json_object_get(entry, key);
	char words[80];

	if (!value)
		return list_fault(list, err, "'%s' is missing, expected an integer", key);
	if (!json_is_integer(value))
		return list_fault(list, err, "'%s' is %s, expected an integer", key,
		                  json_words(words, sizeof words, value));
	*out = json_integer_value(value);
	return 0;
}

int
list_string(const struct list *list, const json_t *entry, const char *key, int needed, const char **out,
            struct err *err)
{
	const json_t *value = json_object_get(entry, key);
	char words[80];

	*out = NULL;
	if (!value)
		return needed ? list_fault(list, err, "'%s' is missing, expected a string", key) : 0;
	if (!json_is_string(value))
		return list_fault(list, err, "'%s' is %s, expected a string", key,
		                  json_words(words, sizeof words, value));
	*out = json_string_value(value);
	if (strlen(*out) != json_string_length(value))
		return list_fault(list, err, "'%s' has a NUL character in it, expected text", key);
	return 0;
}
