/*
 * Reading log.log.
 */
#include "report/run_log.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/lines.h"
#include "sys/opt.h"
#include "sys/utf8.h"

/* Where the line is read. */
struct place {
	struct run_log *log;
	const struct lines *lines;
	int64_t epoch;
};

static int
fault(const struct place *at, const char *field, const char *expected, struct err *err)
{
	char quote[80];

	return err_set(err, "%s:%lld: '%s', expected %s", at->lines->name, (long long)at->lines->number,
	               utf8_quote(quote, sizeof quote, field, strlen(field)), expected);
}

static int
add(struct place *at, int kind, int layer, double span, struct err *err)
{
	struct run_log *log = at->log;

	if (log->n == log->room) {
		size_t room = 2 * log->room + 64;
		struct log_span *more = realloc(log->list, room * sizeof *more);

		if (!more)
			return err_set(err, "%s: out of memory for %zu spans", at->lines->name, room);
		log->list = more;
		log->room = room;
	}
	log->list[log->n++] = (struct log_span){ at->epoch, log->entries - 1, kind, layer, span };
	return 0;
}

/* The kind whose name begins the field and a space and a digit come after; -1 if there is none. *rest: the digit. */
static int
kind_of(const char *field, const char **rest)
{
	for (int kind = 0; kind < MODULE_KINDS; kind++) {
		const char *name = module_kind_names[kind];
		size_t n = strlen(name);

		if (!strncmp(field, name, n) && field[n] == ' ' && field[n + 1] >= '0' && field[n + 1] <= '9') {
			*rest = field + n + 1;
			return kind;
		}
	}
	return -1;
}

/* "0 181" */
static int
read_span(struct place *at, const char *field, int kind, const char *rest, struct err *err)
{
	char number[16];
	const char *space = strchr(rest, ' ');
	int64_t layer;
	double span = NAN;

	if (!space || (size_t)(space - rest) >= sizeof number)
		return fault(at, field, "a name, a layer and a span", err);
	memcpy(number, rest, (size_t)(space - rest));
	number[space - rest] = '\0';
	if (parse_int(number, 0, LOG_LAYERS_MAX - 1, &layer) ||
	    (strcmp(space + 1, "nan") != 0 && parse_real(space + 1, -1e9, 1e9, &span)))
		return fault(at, field, "a name, a layer and a span", err);
	if (!at->log->entries)
		return fault(at, field, "an 'Epoch' before it", err);
	return add(at, kind, (int)layer, span, err);
}

/* "Epoch 3: Train 70.12" begins an epoch. */
static int
read_epoch(struct place *at, const char *field, struct err *err)
{
	const char *colon = strchr(field, ':');
	char number[24];
	size_t n = colon ? (size_t)(colon - field) - strlen("Epoch ") : 0;

	if (!colon || strncmp(colon, ": Train ", 8) != 0)
		return 0;
	if (n >= sizeof number)
		return fault(at, field, "an epoch's number", err);
	memcpy(number, field + strlen("Epoch "), n);
	number[n] = '\0';
	if (parse_int(number, 0, INT32_MAX, &at->epoch))
		return fault(at, field, "an epoch's number", err);
	if (at->log->entries == LOG_ENTRIES_MAX)
		return err_set(err, "%s:%lld: over %d epochs", at->lines->name, (long long)at->lines->number,
		               LOG_ENTRIES_MAX);
	at->log->entries++;
	return 0;
}

static int
read_line(struct place *at, char *line, struct err *err)
{
	for (char *rest = line, *field; (field = strsep(&rest, "\t"));) {
		const char *number;
		int kind = kind_of(field, &number);

		if (kind >= 0 && read_span(at, field, kind, number, err))
			return -1;
		if (!strncmp(field, "Epoch ", 6) && read_epoch(at, field, err))
			return -1;
	}
	return 0;
}

int
run_log_read(struct run_log *log, int fd, const char *name, struct err *err)
{
	struct lines lines;
	struct place at = { .log = log, .lines = &lines };
	char copy[LOG_LINE_MAX + 1], *line;
	size_t n;
	int got;

	*log = (struct run_log){ 0 };
	lines_open(&lines, fd, name, LOG_LINE_MAX);
	while ((got = lines_next(&lines, &line, &n, err)) > 0) {
		if (n && line[n - 1] == '\n')
			n--;
		if (memchr(line, '\0', n)) {
			got = err_set(err, "%s:%lld: a NUL in the line, expected text", name, (long long)lines.number);
			break;
		}
		memcpy(copy, line, n);
		copy[n] = '\0';
		got = read_line(&at, copy, err);
		if (got)
			break;
	}
	lines_close(&lines);
	if (!got && !log->n)
		got = err_set(err, "%s: no spans in it, expected rows as 'Self Language 0 181'", name);
	if (got)
		run_log_release(log);
	return got;
}

int
run_log_open(struct run_log *log, const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), bad;

	if (fd < 0)
		return err_sys(err, "%s: cannot open", path);
	bad = run_log_read(log, fd, path, err);
	close(fd);
	return bad;
}

void
run_log_release(struct run_log *log)
{
	free(log->list);
	*log = (struct run_log){ 0 };
}
