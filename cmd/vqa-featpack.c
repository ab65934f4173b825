/*
 * vqa-featpack: feature tables and numpy's files to a store.
 */
#include <malloc.h>
#include <string.h>

#include "feat/ahead.h"
#include "feat/store.h"
#include "sys/die.h"
#include "sys/opt.h"
#include "sys/progress.h"
#include "sys/skips.h"

static int f16, quiet, skip_bad;
static const char *source;

static const struct opt opts[] = {
	{ 0, "f16", OPT_FLAG, &f16, NULL, "store features as 16-bit floats" },
	{ 0, "quiet", OPT_FLAG, &quiet, NULL, "no line of progress on a terminal" },
	{ 0, "skip-bad", OPT_FLAG, &skip_bad, NULL, "leave out images that are at fault, and count them" },
	{ 0, "source", OPT_TEXT, &source, "TEXT", "what made the features (the first file's name)" },
	{ 0 },
};

static const struct program program = {
	"vqa-featpack", "SRC... STORE", "pack feature tables into a store", opts, 2, -1,
};

/* A fault ends the program, with the half-made store removed. */
static void
stop(struct store *store, const struct err *err)
{
	store_discard(store);
	die(err);
}

/* One row into the store: 0, 1 if it is at fault, -1 if the store is. */
static int
pack(struct store *store, const struct row *row, struct err *err)
{
	int bad;

	if (row->bad) {
		*err = row->fault;
		return 1;
	}
	bad = store_put(store, &row->features, err);
	if (bad)
		err_prefix(err, "%s", row->where);
	return bad;
}

static void
pack_all(struct store *store, struct ahead *ahead, struct skips *skips)
{
	struct progress progress;
	struct row *row;
	struct err err;
	int got, bad;

	progress_begin(&progress, "images", 0, quiet);
	while ((got = ahead_next(ahead, &row, &err)) > 0) {
		bad = pack(store, row, &err);
		if (bad > 0 && skip_bad)
			skips_add(skips, &err);
		else if (bad)
			stop(store, &err);
		progress_show(&progress, store->images);
	}
	if (got < 0)
		stop(store, &err);
	progress_clear();
}

int
main(int argc, char **argv)
{
	int operand = opt_parse(&program, argc, argv), last = argc - 1;
	static struct ahead ahead;
	struct rows rows;
	struct skips skips = { 0 };
	struct store store;
	struct err err;

	if (!source)
		source = argv[operand];
	if (strlen(source) >= sizeof store.source)
		die_usage("option --source: longer than %zu bytes", sizeof store.source - 1);
	/* LMDB frees a transaction's pages and asks for as many at once: they stay with the process. */
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
	if (store_create(&store, argv[last], source, &err))
		die(&err);
	rows_open(&rows, argv + operand, last - operand, f16);
	if (ahead_open(&ahead, &rows, &err))
		stop(&store, &err);
	pack_all(&store, &ahead, &skips);
	ahead_close(&ahead);
	skips_tell(&skips, "image");
	if (!store.images) {
		err_set(&err, "%s: no rows to pack", argv[last]);
		stop(&store, &err);
	}
	if (store_commit(&store, &err))
		die(&err);
	return 0;
}
