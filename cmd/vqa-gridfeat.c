/*
 * vqa-gridfeat: pictures to rows of the feature table.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "feat/grid.h"
#include "feat/tsv.h"
#include "sys/die.h"
#include "sys/ends.h"
#include "sys/lines.h"
#include "sys/opt.h"

static const struct opt opts[] = { { 0 } };

static const struct program program = {
	"vqa-gridfeat", "PNG...", "36 grid regions of pictures, as a feature table", opts, 1, -1,
};

static int rows; /* some are written */

/* Rows of some of the pictures are not to be taken for those of all: the table then breaks off in a line. */
static void
stop(const struct err *err)
{
	if (rows)
		putchar('-');
	die(err);
}

/* The image's id: the file's name without folder and .png. */
static int
set_id(struct features *f, const char *path, struct err *err)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t n = strlen(name);

	if (has_ending(name, ".png"))
		n -= strlen(".png");
	if (!n || n >= sizeof f->id || memchr(name, '\t', n) || memchr(name, '\n', n))
		return err_set(err, "%s: its name is no image id: expected 1 to %zu bytes without tab or newline", path,
		               sizeof f->id - 1);
	memcpy(f->id, name, n);
	f->id[n] = '\0';
	return 0;
}

static void
write_row(struct features *f, const char *path)
{
	struct picture picture;
	struct err err;

	if (picture_read(&picture, path, &err) || grid_features(f, &picture, &err) || set_id(f, path, &err))
		stop(&err);
	picture_release(&picture);
	if (tsv_write(stdout, f, &err))
		die(&err);
	rows = 1;
}

/* "-": paths on stdin, one a line. */
static void
write_listed(struct features *f)
{
	struct lines lines;
	char *line;
	size_t n;
	struct err err;
	int got;

	note_terminal(STDIN_FILENO);
	lines_open(&lines, STDIN_FILENO, "stdin", PATH_MAX);
	while ((got = lines_next(&lines, &line, &n, &err)) > 0) {
		if (line[n - 1] != '\n' || memchr(line, '\0', n)) {
			err_set(&err, "stdin:%lld: no path with a newline after it", (long long)lines.number);
			stop(&err);
		}
		line[n - 1] = '\0';
		write_row(f, line);
	}
	if (got < 0)
		stop(&err);
	lines_close(&lines);
}

int
main(int argc, char **argv)
{
	int operand = opt_parse(&program, argc, argv);
	struct features features = { 0 };

	for (; operand < argc; operand++) {
		if (!strcmp(argv[operand], "-"))
			write_listed(&features);
		else
			write_row(&features, argv[operand]);
	}
	features_release(&features);
	close_stdout();
	return 0;
}
