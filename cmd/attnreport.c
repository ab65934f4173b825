/*
 * attnreport: figures of the attention that answers carry, its weights themselves, or a picture of where one looks.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "report/attention.h"
#include "report/look.h"
#include "report/means.h"
#include "sys/die.h"
#include "sys/opt.h"

static const char *names = "all", *drawing, *question, *picture;
static int64_t head = -1, query = -1;
static int mean, raw;

static const struct opt opts[] = {
	{ 'a', "attention", OPT_TEXT, &names, "NAMES", "of these alone: all, or a comma list (all)" },
	{ 'm', "mean", OPT_FLAG, &mean, NULL, "the mean over all questions" },
	{ 'p', "plot", OPT_TEXT, &drawing, "FILE", "draw one, or with -m the entropies, to a .png or .svg file" },
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

static struct plot plot; /* with -p, without -m: of one answer */
static int found, drawn; /* an answer that is asked for */
static int shown;        /* a head that is asked for */
static struct attention_means means;

static void
print_figures(int64_t id, const struct attention_map *map, int h)
{
	double figures[FIGURES];
	struct err err;

	attention_figures_of(figures, map, h);
	if (mean) {
		if (attention_means_add(&means, map, h, figures, &err))
			die(&err);
		return;
	}
	printf("%lld\t%s\t%d", (long long)id, map->name, h);
	attention_figures_print(stdout, figures);
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
		if (head < 0 || h == head) {
			(raw ? print_weights : print_figures)(id, map, h);
			shown = 1;
		}
}

static int
take_answer(const struct rec_in *in, int64_t wanted, struct err *err)
{
	struct attention_map map, last;
	int64_t id;
	int n, some = 0;

	if (rec_int(in, "id", INT64_MIN, INT64_MAX, &id, err))
		return -1;
	if ((question && id != wanted) || drawn)
		return 0;
	found = 1;
	n = attention_count(in, err);
	if (n < 0)
		return -1;
	for (int i = 0; i < n; i++) {
		if (attention_read(in, i, &map, err))
			return -1;
		if (!attention_wanted(names, map.name))
			continue;
		if (!drawing || mean)
			print_map(id, &map);
		last = map;
		some = 1;
	}
	if (!drawing || mean)
		return 0;
	if (!some)
		return rec_fault(in, err, "question %lld has no attention '%s'", (long long)id, names);
	drawn = 1;
	return look_draw(&plot, in, &last, (struct look){ (int)head, (int)query }, err);
}

static void
print_header(void)
{
	printf("question\tattention\thead");
	if (raw)
		printf("\tquery\tkey\tweight\n");
	else
		attention_figures_print_names(stdout);
}

/* After the end record: what could not be shown before. */
static void
finish(void)
{
	struct err err;

	if (question && !found)
		die_words("stdin: no answer to question %s", question);
	if (!shown && !drawing && head >= 0)
		die_words("stdin: no answer has attention '%s' of head %d", names, (int)head);
	if (!shown && !drawing)
		die_words("stdin: no answer has attention '%s'", names);
	if (mean && !drawing)
		attention_means_print(stdout, &means);
	else if (mean && attention_means_draw(&means, drawing, &err))
		die(&err);
	else if (!mean && drawing && !drawn)
		die_words("stdin: no answers, so there is nothing to draw");
	else if (!mean && drawing && plot_close(&plot, &err))
		die(&err);
	attention_means_release(&means);
}

static void
check_usage(int64_t *wanted)
{
	struct err err;

	if (raw && (drawing || mean))
		die_usage("option --raw does not go with -m or -p");
	if (picture && (!drawing || mean))
		die_usage("option --picture goes with -p, and not with -m");
	if (query >= 0 && !raw && (!drawing || mean))
		die_usage("option --query goes with -p or --raw, and not with -m");
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
	if (drawing && !mean &&
	    (plot_open(&plot, drawing, 660, 370, &err) || (picture && plot_take_picture(&plot, picture, &err))))
		die(&err);
	note_terminal(STDIN_FILENO);
	if (rec_open(&in, STDIN_FILENO, "stdin", &err))
		die(&err);
	if (!drawing)
		print_header();
	while ((got = rec_next(&in, &err)) > 0)
		if (rec_is(&in, "answer") && take_answer(&in, wanted, &err))
			die(&err);
	if (got < 0)
		die(&err);
	finish();
	rec_close(&in);
	close_stdout();
	return 0;
}
