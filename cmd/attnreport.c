/*
 * attnreport: figures of the attention that answers carry, its weights themselves, or a picture of where one looks.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "report/attention.h"
#include "report/look.h"
#include "report/table.h"
#include "sys/die.h"
#include "sys/opt.h"

static const char *names = "all", *drawing, *question, *picture;
static int64_t head = -1, query = -1;
static int raw;

static const struct opt opts[] = {
	{ 'a', "attention", OPT_TEXT, &names, "NAMES", "of these alone: all, or a comma list (all)" },
	{ 'p', "plot", OPT_TEXT, &drawing, "FILE", "draw one to a .png or .svg file instead" },
	{ 'q', "question", OPT_TEXT, &question, "ID", "of this question alone" },
	{ 0, "head", OPT_INT(0, ATTENTION_HEADS_MAX - 1), &head, "N", "of this head alone" },
	{ 0, "picture", OPT_TEXT, &picture, "FILE", "with -p: the question's picture, PNG or JPEG" },
	{ 0, "query", OPT_INT(0, 1023), &query, "N", "with -p or --raw: of this token or region alone" },
	{ 0, "raw", OPT_FLAG, &raw, NULL, "the weights themselves, a row each" },
	{ 0 },
};

static const struct program program = {
	"attnreport", "", "figures and pictures of attention", opts, 0, 0,
};

static struct plot plot;
static int drawn;

static void
print_figures(int64_t id, const struct attention_map *map, int h)
{
	struct attention_figures f;

	attention_figures_of(&f, map, h);
	printf("%lld\t%s\t%d", (long long)id, map->name, h);
	put_real(stdout, f.entropy, 6);
	put_real(stdout, f.support, 4);
	put_real(stdout, f.cls_entropy, 6);
	put_real(stdout, f.self, 6);
	put_real(stdout, f.next, 6);
	put_real(stdout, f.previous, 6);
	putchar('\n');
}

static void
print_weights(int64_t id, const struct attention_map *map, int h)
{
	for (int q = 0; q < map->Q; q++)
		for (int k = 0; (query < 0 || q == query) && k < map->K; k++)
			printf("%lld\t%s\t%d\t%d\t%d\t%.9g\n", (long long)id, map->name, h, q, k,
			       (double)attention_weight(map, h, q, k));
}

static void
print_map(int64_t id, const struct attention_map *map)
{
	for (int h = 0; h < map->H; h++)
		if (head < 0 || h == head)
			(raw ? print_weights : print_figures)(id, map, h);
}

static int
take_answer(const struct rec_in *in, int64_t wanted, struct err *err)
{
	struct attention_map map, found;
	int64_t id;
	int n, some = 0;

	if (rec_int(in, "id", INT64_MIN, INT64_MAX, &id, err))
		return -1;
	if (question ? id != wanted : drawn)
		return 0;
	n = attention_count(in, err);
	if (n < 0)
		return -1;
	for (int i = 0; i < n; i++) {
		if (attention_read(in, i, &map, err))
			return -1;
		if (!attention_wanted(names, map.name))
			continue;
		if (!drawing)
			print_map(id, &map);
		found = map;
		some = 1;
	}
	if (!drawing || drawn)
		return 0;
	if (!some)
		return rec_fault(in, err, "question %lld has no attention '%s'", (long long)id, names);
	drawn = 1;
	return look_draw(&plot, in, &found, (struct look){ (int)head, (int)query }, err);
}

static void
check_usage(int64_t *wanted)
{
	struct err err;

	if (raw && drawing)
		die_usage("options -p and --raw do not go together");
	if (picture && !drawing)
		die_usage("option --picture goes with -p");
	if (query >= 0 && !raw && !drawing)
		die_usage("option --query goes with -p or --raw");
	if (question && parse_int(question, INT64_MIN, INT64_MAX, wanted))
		die_usage("option -q: '%s' is not a whole number", question);
	if (attention_names_check(names, NULL, &err))
		die_usage("option -a: %s", err.text);
}

int
main(int argc, char **argv)
{
	struct rec_in in;
	struct err err;
	int64_t wanted = 0;
	int got;

	opt_parse(&program, argc, argv);
	check_usage(&wanted);
	if (drawing &&
	    (plot_open(&plot, drawing, 660, 370, &err) || (picture && plot_take_picture(&plot, picture, &err))))
		die(&err);
	note_terminal(STDIN_FILENO);
	if (rec_open(&in, STDIN_FILENO, "stdin", &err))
		die(&err);
	if (!drawing)
		printf(raw ? "question\tattention\thead\tquery\tkey\tweight\n"
		           : "question\tattention\thead\tentropy\tsupport\tcls_entropy\tself\tnext\tprevious\n");
	while ((got = rec_next(&in, &err)) > 0)
		if (rec_is(&in, "answer") && take_answer(&in, wanted, &err))
			die(&err);
	if (got < 0)
		die(&err);
	if (drawing && !drawn)
		die_words("stdin: no %s%s, so there is nothing to draw", question ? "answer to question " : "answers",
		          question ? question : "");
	if (drawing && plot_close(&plot, &err))
		die(&err);
	rec_close(&in);
	close_stdout();
	return 0;
}
