/*
 * The scanner finds where a value ends by its brackets and strings alone, counting depth and bytes; only then the value is
 * parsed, by jansson. So memory is bounded by one entry, and every byte of the file is consumed exactly once.
 */
#include "text/list_scan.h"

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

enum { READ_SIZE = 1 << 16 };

/* The way of every value into memory: a key twice is an error, "\u0000" is not. */
enum { PARSE = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY };

int
list_fault(const struct list *list, struct err *err, const char *fmt, ...)
{
	char words[600];
	va_list args;

	va_start(args, fmt);
	vsnprintf(words, sizeof words, fmt, args);
	va_end(args);
	if (list->state == LIST_BEFORE || list->state == LIST_BESIDE)
		return err_set(err, "%s:%lld: byte %lld: %s", list->name, (long long)list->entry_line,
		               (long long)list->entry_at, words);
	if (list->entries == 0)
		return err_set(err, "%s: byte %lld: %s", list->name, (long long)list->entry_at, words);
	if (list->entry_line == 0)
		return err_set(err, "%s: entry %lld (byte %lld): %s", list->name, (long long)list->entries,
		               (long long)list->entry_at, words);
	return err_set(err, "%s:%lld: entry %lld (byte %lld): %s", list->name, (long long)list->entry_line,
	               (long long)list->entries, (long long)list->entry_at, words);
}

int
list_open(struct list *list, const char *path, const char *member, uint64_t hash, struct err *err)
{
	bool in = strcmp(path, "-") == 0;
	struct stat st;

	*list = (struct list){ .fd = -1, .spool = -1, .line = 1, .hash = hash, .member = member };
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
	json_decref(list->around);
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

int
list_peek(struct list *list, char *c, struct err *err)
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

void
list_consume(struct list *list)
{
	list->begin++;
	list->at++;
}

static int
breaks_off(const struct list *list, struct err *err)
{
	return err_set(err, "%s: breaks off at byte %lld, expected the %s", list->name, (long long)list->at,
	               list->state == LIST_INSIDE ? "list to go on or ']'" : "object around the list to go on");
}

int
list_unexpected(const struct list *list, char c, const char *expected, struct err *err)
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
entry_room(struct list *list, size_t n, struct err *err)
{
	size_t size = list->entry_size ? list->entry_size : 4096;
	char *entry;

	while (size < n)
		size *= 2;
	if (size == list->entry_size)
		return 0;
	entry = realloc(list->entry, size);
	if (!entry)
		return err_set(err, "%s: out of memory", list->name);
	list->entry = entry;
	list->entry_size = size;
	return 0;
}

static int
entry_add(struct list *list, const char *data, size_t n, struct err *err)
{
	if (list->entry_n + n > ENTRY_MAX)
		return list_fault(list, err, "over %d bytes, expected a smaller entry", ENTRY_MAX);
	if (entry_room(list, list->entry_n + n, err))
		return -1;
	memcpy(list->entry + list->entry_n, data, n);
	list->entry_n += n;
	return 0;
}

static int
breaks_off_inside(const struct list *list, struct err *err)
{
	if (list->state == LIST_INSIDE)
		return err_set(err, "%s: breaks off at byte %lld, inside entry %lld (line %lld)", list->name,
		               (long long)list->at, (long long)list->entries, (long long)list->entry_line);
	return err_set(err, "%s: breaks off at byte %lld, inside what began on line %lld", list->name,
	               (long long)list->at, (long long)list->entry_line);
}

/* How far a value has been scanned. */
struct scan {
	int depth;
	bool in_string, escaped, bare, done; /* bare: neither brackets nor quotes, ends before what cannot be in it */
};

/* One more byte: taken, or, with s->done, not the value's any more or its last. Returns whether it is taken. */
static bool
scan_byte(struct scan *s, char c)
{
	if (s->bare && strchr(" \t\r\n,:[]{}\"", c)) {
		s->done = true;
		return false;
	}
	if (s->escaped)
		s->escaped = false;
	else if (s->in_string && c == '\\')
		s->escaped = true;
	else if (c == '"')
		s->in_string = !s->in_string;
	else if (!s->in_string && (c == '{' || c == '['))
		s->depth++;
	else if (!s->in_string && (c == '}' || c == ']'))
		s->depth--;
	s->done = !s->bare && !s->in_string && s->depth <= 0;
	return true;
}

/* Take the bytes of a value, whose first byte is c, up to the bracket or the quote that closes it. */
static int
value_scan(struct list *list, char c, struct err *err)
{
	struct scan s = { .bare = !strchr("{[\"", c) };

	list->entry_n = 0;
	list->entry_at = list->at;
	list->entry_line = list->line;
	if (s.bare && strchr(",:]}", c))
		return list_unexpected(list, c, "a value", err);
	while (!s.done) {
		size_t from = list->begin;
		int r;

		if (from == list->end) {
			if ((r = fill(list, err)) <= 0)
				return r < 0 ? -1 : breaks_off_inside(list, err);
			from = 0;
		}
		while (!s.done && list->begin < list->end && scan_byte(&s, list->buf[list->begin])) {
			list->line += list->buf[list->begin++] == '\n';
			if (s.depth > ENTRY_DEPTH_MAX)
				return list_fault(list, err, "over %d levels deep, expected a flat entry",
				                  ENTRY_DEPTH_MAX);
		}
		list->at += (int64_t)(list->begin - from);
		if (entry_add(list, list->buf + from, list->begin - from, err))
			return -1;
	}
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

json_t *
list_value(struct list *list, char c, struct err *err)
{
	json_error_t fault;
	json_t *value;
	size_t bad;

	if (value_scan(list, c, err))
		return NULL;
	if (!utf8_valid(list->entry, list->entry_n, &bad)) {
		list_fault(list, err, "byte %lld is 0x%02x, not UTF-8", (long long)list->entry_at + (long long)bad,
		           (unsigned char)list->entry[bad]);
		return NULL;
	}
	value = json_loadb(list->entry, list->entry_n, PARSE, &fault);
	if (!value)
		parse_fault(list, &fault, err);
	return value;
}

int
list_look(struct list *list, char *c, struct err *err)
{
	int r = list_peek(list, c, err);

	return r > 0 ? 0 : r < 0 ? -1 : breaks_off(list, err);
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
	if (entry_room(list, n, err))
		return NULL;
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
