/*
 * vqa-featpack: feature tables to a store.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "feat/store.h"
#include "feat/tsv.h"
#include "sys/die.h"
#include "sys/lines.h"
#include "sys/opt.h"
#include "sys/progress.h"

static int f16, quiet;
static struct progress progress;
static const char *source;

static const struct opt opts[] = {
	{ 0, "f16", OPT_FLAG, &f16, NULL, "store features as 16-bit floats" },
	{ 0, "quiet", OPT_FLAG, &quiet, NULL, "no line of progress on a terminal" },
	{ 0, "source", OPT_TEXT, &source, "TEXT", "what made the features (the first table's name)" },
	{ 0 },
};

static const struct program program = {
	"vqa-featpack", "TSV... STORE", "pack feature tables into a store", opts, 2, -1,
};

/* A fault ends the program, with the half-made store removed. */
static void
stop(struct store *store, const struct err *err)
{
	store_discard(store);
	die(err);
}

static void
pack(struct store *store, const char *path, struct features *f)
{
	int fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO, got;
	const char *name = fd == STDIN_FILENO ? "stdin" : path;
	char *line, where[4200];
	struct lines lines;
	size_t n;
	struct err err;

	if (fd < 0) {
		err_sys(&err, "%s: cannot open", path);
		stop(store, &err);
	}
	lines_open(&lines, fd, name, TSV_ROW);
	while ((got = lines_next(&lines, &line, &n, &err)) > 0) {
		snprintf(where, sizeof where, "%s:%lld", name, (long long)lines.number);
		if (line[n - 1] != '\n') {
			err_set(&err, "%s: the last line breaks off without a newline", where);
			stop(store, &err);
		}
		if (tsv_parse(f, line, n - 1, where, &err) || (f16 && features_to_halves(f, where, &err)))
			stop(store, &err);
		if (store_put(store, f, &err)) {
			err_prefix(&err, "%s", where);
			stop(store, &err);
		}
		progress_show(&progress, store->images);
	}
	if (got < 0)
		stop(store, &err);
	lines_close(&lines);
	if (fd != STDIN_FILENO)
		close(fd);
}

int
main(int argc, char **argv)
{
	int operand = opt_parse(&program, argc, argv), last = argc - 1;
	struct features features = { 0 };
	struct store store;
	struct err err;

	if (!source)
		source = argv[operand];
	if (strlen(source) >= sizeof store.source)
		die_usage("option --source: longer than %zu bytes", sizeof store.source - 1);
	if (store_create(&store, argv[last], source, &err))
		die(&err);
	progress_begin(&progress, "images", 0, quiet);
	for (; operand < last; operand++)
		pack(&store, argv[operand], &features);
	if (!store.images) {
		err_set(&err, "%s: no rows to pack", argv[last]);
		stop(&store, &err);
	}
	progress_clear();
	features_release(&features);
	if (store_commit(&store, &err))
		die(&err);
	return 0;
}
