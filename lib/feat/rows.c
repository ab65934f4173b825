/*
 * Rows of tables and .npz files.
 */
#include "feat/rows.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "feat/store.h"
#include "feat/tsv.h"
#include "sys/ends.h"

enum { NOTHING, TABLE, NPZ };

void
rows_open(struct rows *rows, char **paths, int n, int f16)
{
	*rows = (struct rows){ .paths = paths, .paths_n = n, .f16 = f16 };
}

static int
is_npz(const struct dirent *entry)
{
	return has_ending(entry->d_name, ".npz");
}

static int
by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int
open_folder(struct rows *rows, const char *path, struct err *err)
{
	rows->names_at = 0;
	rows->names_n = scandir(path, &rows->names, is_npz, by_bytes);
	if (rows->names_n < 0) {
		rows->names_n = 0;
		return err_sys(err, "%s: cannot read the folder", path);
	}
	return rows->names_n ? 0 : err_set(err, "%s: a folder without .npz files", path);
}

static void
close_folder(struct rows *rows)
{
	for (int i = 0; i < rows->names_n; i++)
		free(rows->names[i]);
	free(rows->names);
	rows->names = NULL;
	rows->names_n = 0;
}

/* Whether a file begins as zip archives do; a pipe is not looked at. */
static int
looks_like_zip(int fd)
{
	char begin[4];

	return pread(fd, begin, sizeof begin, 0) == sizeof begin && !memcmp(begin, "PK", 2) &&
	       (!memcmp(begin + 2, "\3\4", 2) || !memcmp(begin + 2, "\5\6", 2));
}

static int
set_path(struct rows *rows, const char *folder, const char *name, struct err *err)
{
	int n = snprintf(rows->path, sizeof rows->path, "%s%s%s", folder ? folder : "", folder ? "/" : "", name);

	return n >= (int)sizeof rows->path ? err_set(err, "%.100s…: the path is too long", rows->path) : 0;
}

/* The file at path: 0; 1 if it is a folder, which is opened; -1. */
static int
open_path(struct rows *rows, struct err *err)
{
	int is_stdin = !strcmp(rows->path, "-");
	int fd = is_stdin ? STDIN_FILENO : open(rows->path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st)) {
		err_sys(err, "%s: cannot open", rows->path);
		if (fd > STDIN_FILENO)
			close(fd);
		return -1;
	}
	if (S_ISDIR(st.st_mode)) {
		close(fd);
		if (rows->names)
			return err_set(err, "%s: a folder in a folder, expected a file", rows->path);
		return open_folder(rows, rows->path, err) ? -1 : 1;
	}
	if (store_begins(fd)) {
		close(fd);
		return err_set(err, "%s: a store already, expected a table or .npz", rows->path);
	}
	if (is_stdin)
		snprintf(rows->path, sizeof rows->path, "stdin");
	else if (S_ISREG(st.st_mode) && looks_like_zip(fd)) {
		rows->open = NPZ;
		npz_open(&rows->npz, fd, rows->path);
		return 0;
	}
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	lines_open(&rows->lines, fd, rows->path, TSV_ROW);
	rows->open = TABLE;
	return 0;
}

static void
close_file(struct rows *rows)
{
	if (rows->open == TABLE) {
		if (rows->lines.fd != STDIN_FILENO)
			close(rows->lines.fd);
		lines_close(&rows->lines);
	}
	if (rows->open == NPZ)
		npz_close(&rows->npz);
	rows->open = NOTHING;
}

/* The next file: 1, 0 after the last, -1. */
static int
next_file(struct rows *rows, struct err *err)
{
	int got = 1;

	while (got == 1) {
		if (rows->names_at < rows->names_n) {
			if (set_path(rows, rows->paths[-1], rows->names[rows->names_at++]->d_name, err))
				return -1;
		} else {
			close_folder(rows);
			if (!rows->paths_n)
				return 0;
			rows->paths_n--;
			if (set_path(rows, NULL, *rows->paths++, err))
				return -1;
		}
		got = open_path(rows, err);
	}
	return got ? -1 : 1;
}

/* A good row's features, if they shall be halves; line (n) is the table's, NULL without one. */
static void
to_halves(const struct rows *rows, struct row *row, const char *line, size_t n)
{
	struct features *f = &row->features;
	char byte[40] = "";
	size_t at;

	if (row->bad || !rows->f16 || !features_to_halves(f, &at, &row->fault))
		return;
	if (line)
		snprintf(byte, sizeof byte, "byte %zu, ", tsv_feature_byte(line, n, at));
	row->bad = err_prefix(&row->fault, "%s: %simage '%s', features", row->where, byte, f->id);
}

/* The next line of a table: as rows_next(). */
static int
next_line(struct rows *rows, struct row *row, struct err *err)
{
	char *line;
	size_t n;
	int got = lines_next(&rows->lines, &line, &n, err);

	if (!got && !rows->lines.number) /* most likely a table that was never made */
		return err_set(err, "%s: no rows", rows->path);
	if (got <= 0)
		return got;
	snprintf(row->where, sizeof row->where, "%s:%lld", rows->path, (long long)rows->lines.number);
	row->bad = line[n - 1] != '\n'
	                   ? err_set(&row->fault, "%s: the last line breaks off without a newline", row->where)
	                   : tsv_parse(&row->features, line, n - 1, row->where, &row->fault);
	to_halves(rows, row, line, n - 1);
	return 1;
}

static int
next_image(struct rows *rows, struct row *row)
{
	int got = npz_next(&rows->npz, &row->features, row->where, sizeof row->where, &row->bad, &row->fault);

	if (got > 0)
		to_halves(rows, row, NULL, 0);
	return got;
}

int
rows_next(struct rows *rows, struct row *row, struct err *err)
{
	int got;

	for (;;) {
		if (!rows->open && (got = next_file(rows, err)) <= 0)
			return got;
		got = rows->open == NPZ ? next_image(rows, row) : next_line(rows, row, err);
		if (got)
			return got;
		close_file(rows);
	}
}

void
rows_close(struct rows *rows)
{
	close_file(rows);
	close_folder(rows);
}
