/*
 * Stores and tables behind one face.
 */
#include "feat/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "feat/tsv.h"
#include "sys/file.h"
#include "sys/lines.h"

/* A pipe's bytes to a file, whose lines are no longer than a row may be. */
static int
spool(int to, int from, const char *path, struct err *err)
{
	char chunk[1 << 16];
	size_t line = 0; /* bytes of the line so far */
	ssize_t got;

	while ((got = read(from, chunk, sizeof chunk)) > 0 || (got < 0 && errno == EINTR)) {
		const char *newline = got > 0 ? memrchr(chunk, '\n', (size_t)got) : NULL;

		if (got < 0)
			continue;
		line = newline ? (size_t)(chunk + got - newline) : line + (size_t)got;
		if (line > TSV_ROW)
			return err_set(err, "%s: a line of over %d bytes", path, TSV_ROW);
		if (write_fully(to, chunk, (size_t)got, "a temporary file", err))
			return -1;
	}
	return got < 0 ? err_sys(err, "%s: cannot read", path) : 0;
}

/* The table's file: itself, or what a pipe gives, in a file without a name. */
static int
open_seekable(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), copy;
	struct stat st;

	if (fd < 0 || fstat(fd, &st)) {
		err_sys(err, "%s: cannot open", path);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	if (S_ISREG(st.st_mode))
		return fd;
	copy = file_nameless(err);
	if (copy >= 0 && spool(copy, fd, path, err)) {
		close(copy);
		copy = -1;
	}
	close(fd);
	return copy;
}

/* The eighth column, num_boxes; 0 for what is none, which is told when the row is read. */
static int
row_regions(const char *line, size_t n)
{
	const char *at = line;
	int count = 0;

	for (int column = 1; at && column < TSV_NUM_BOXES; column++) {
		at = memchr(at, '\t', n - (size_t)(at - line));
		at = at ? at + 1 : NULL;
	}
	for (; at && at < line + n && *at >= '0' && *at <= '9' && count <= FEATURES_REGIONS; at++)
		count = 10 * count + (*at - '0');
	return count <= FEATURES_REGIONS ? count : 0;
}

/* A row is at fault, as the words say: it is left out, or that is the end. */
static int
skip(struct source *s, const struct err *why, struct err *err)
{
	*err = *why;
	if (!s->skips)
		return -1;
	skips_add(s->skips, why);
	return 0;
}

static int
check_row(const struct source *s, const char *line, size_t n, int64_t number, struct err *err)
{
	const char *tab = memchr(line, '\t', n);

	if (line[n - 1] != '\n')
		return err_set(err, "%s:%lld: the last line breaks off without a newline", s->name, (long long)number);
	if (!tab || tab == line || tab - line >= FEATURES_ID)
		return err_set(err, "%s:%lld: no img_id of 1 to %d bytes before a tab", s->name, (long long)number,
		               FEATURES_ID - 1);
	return 0;
}

/* A line that was checked; n without its newline. */
static int
add_row(struct source *s, const char *line, size_t n, int64_t at, int64_t number, struct err *err)
{
	const char *tab = memchr(line, '\t', n);
	struct table_row *more;
	int regions = row_regions(line, n);

	if (!(s->rows_n & (s->rows_n - 1))) { /* room doubles at every power of two */
		more = realloc(s->rows, (s->rows_n ? 2 * s->rows_n : 1) * sizeof *more);
		if (!more)
			return err_set(err, "%s: out of memory for its index", s->name);
		s->rows = more;
	}
	s->rows[s->rows_n] = (struct table_row){ strndup(line, (size_t)(tab - line)), at, n, number, 0 };
	if (!s->rows[s->rows_n].id)
		return err_set(err, "%s: out of memory for its index", s->name);
	s->rows_n++;
	if (regions > s->objects)
		s->objects = regions;
	return 0;
}

static int
read_rows(struct source *s, struct err *err)
{
	struct lines lines;
	struct err why;
	char *line;
	int64_t at = 0;
	size_t n;
	int got = 0, bad = lseek(s->fd, 0, SEEK_SET) ? err_sys(err, "%s: cannot read", s->name) : 0;

	lines_open(&lines, s->fd, s->name, TSV_ROW);
	while (!bad && (got = lines_next(&lines, &line, &n, err)) > 0) {
		bad = check_row(s, line, n, lines.number, &why) ? skip(s, &why, err)
		                                                : add_row(s, line, n - 1, at, lines.number, err);
		at += (int64_t)n;
	}
	lines_close(&lines);
	return bad || got < 0 ? -1 : 0;
}

/* By id; of one id by line. */
static int
by_id(const void *a, const void *b)
{
	const struct table_row *x = a, *y = b;
	int order = strcmp(x->id, y->id);

	return order ? order : (x->line > y->line) - (x->line < y->line);
}

static int
index_rows(struct source *s, struct err *err)
{
	size_t kept = 0;

	if (read_rows(s, err))
		return -1;
	if (s->rows_n)
		qsort(s->rows, s->rows_n, sizeof *s->rows, by_id);
	for (size_t i = 0; i < s->rows_n; i++) {
		struct table_row *row = &s->rows[i];
		struct err why;

		if (!kept || strcmp(s->rows[kept - 1].id, row->id) != 0) {
			s->rows[kept++] = *row;
			continue;
		}
		err_set(&why, "%s:%lld: image '%s' is there twice, first in line %lld", s->name, (long long)row->line,
		        row->id, (long long)s->rows[kept - 1].line);
		if (skip(s, &why, err))
			return -1;
		free(row->id);
	}
	s->rows_n = kept;
	return 0;
}

static int
read_row(struct source *s, const struct table_row *row, struct err *err)
{
	size_t have = 0;

	if (row->n > s->row_room) {
		free(s->row);
		s->row = malloc(row->n);
		s->row_room = s->row ? row->n : 0;
		if (!s->row)
			return err_set(err, "%s:%lld: out of memory for a row", s->name, (long long)row->line);
	}
	while (have < row->n) {
		ssize_t got = pread(s->fd, s->row + have, row->n - have, row->at + (off_t)have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return err_set(err, "%s:%lld: the file became shorter while it was read", s->name,
			               (long long)row->line);
		have += (size_t)got;
	}
	return 0;
}

/* 1; 0 if the row is left out; -1. */
static int
get_row(struct source *s, struct table_row *row, struct features *f, struct err *err)
{
	char where[4200];
	struct err why;
	int bad;

	if (row->bad)
		return 0;
	if (read_row(s, row, err))
		return -1;
	snprintf(where, sizeof where, "%s:%lld", s->name, (long long)row->line);
	bad = tsv_parse(f, s->row, row->n, where, &why);
	if (!bad && s->features && f->columns != s->features)
		bad = err_set(&why, "%s: image '%s' has %d features a region, but others of the table have %d", where,
		              f->id, f->columns, s->features);
	if (!bad)
		return 1;
	row->bad = 1;
	return skip(s, &why, err);
}

/* How many features a region has, the first good row says. */
static int
open_table(struct source *s, struct err *err)
{
	struct features first = { 0 };
	int got = 0;

	s->fd = open_seekable(s->name, err);
	if (s->fd < 0 || index_rows(s, err))
		return -1;
	for (size_t i = 0; !got && i < s->rows_n; i++)
		got = get_row(s, &s->rows[i], &first, err);
	s->features = first.columns;
	features_release(&first);
	return got > 0 ? 0 : got < 0 ? -1 : err_set(err, "%s: no rows", s->name);
}

static int
looks_like_store(const char *path)
{
	struct stat st;
	int fd, is;

	if (stat(path, &st) || !S_ISREG(st.st_mode)) /* a pipe is opened once */
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	is = store_begins(fd);
	close(fd);
	return is;
}

int
source_open(struct source *s, const char *path, struct skips *skips, struct err *err)
{
	*s = (struct source){ .name = path, .fd = -1, .is_store = looks_like_store(path), .skips = skips };
	if (s->is_store ? store_open(&s->store, path, err) : open_table(s, err)) {
		source_close(s);
		return -1;
	}
	return 0;
}

int
source_get(struct source *s, const char *id, size_t n, struct features *f, struct err *err)
{
	size_t low = 0, high = s->rows_n;

	if (s->is_store)
		return store_get(&s->store, id, n, f, err);
	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = strncmp(id, s->rows[middle].id, n);

		if (!order && s->rows[middle].id[n])
			order = -1;
		if (!order)
			return get_row(s, &s->rows[middle], f, err);
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return 0;
}

void
source_close(struct source *s)
{
	if (s->is_store)
		store_close(&s->store);
	for (size_t i = 0; i < s->rows_n; i++)
		free(s->rows[i].id);
	free(s->rows);
	free(s->row);
	if (s->fd >= 0)
		close(s->fd);
	*s = (struct source){ .fd = -1 };
}
