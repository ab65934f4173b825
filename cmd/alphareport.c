/*
 * alphareport: the learned alphas of entmax, a head a row.
 */
#include <stdio.h>
#include <stdlib.h>

#include "report/curves.h"
#include "report/subject.h"
#include "report/table.h"
#include "sys/die.h"
#include "sys/opt.h"

static const char *drawing;

static const struct opt opts[] = {
	{ 'p', "plot", OPT_TEXT, &drawing, "FILE", "draw them to a .png or .svg file instead" },
	{ 0 },
};

static const struct program program = {
	"alphareport", "NAME...", "learned alphas of a checkpoint", opts, 1, -1,
};

static void
print_table(const struct subject *s, int n)
{
	printf("name\tlayer\thead\talpha\tcheckpoint\n");
	for (int i = 0; i < n; i++)
		for (int k = 0; k < s[i].modules_n; k++) {
			const struct module *m = &s[i].modules[k];
			size_t heads;
			const float *alpha = subject_values(&s[i], m->param->alpha, &heads);

			for (size_t h = 0; h < heads; h++) {
				printf("%s\t%d\t%zu", module_kind_names[m->kind], m->layer, h);
				put_real(stdout, (double)alpha[h], 7);
				printf("\t%s\n", s[i].shown);
			}
		}
}

/* Alphas are from 1 to 2, unless the run was the reference to the letter. */
static void
widen(struct curves *c, double alpha)
{
	if (isfinite(alpha) && alpha < c->low)
		c->low = alpha;
	if (isfinite(alpha) && alpha > c->high)
		c->high = alpha;
}

/* The mean of each module of each checkpoint; of one alone, each head too. */
static void
fill_curves(struct curves *c, const struct subject *s, int n)
{
	struct err err;

	for (int i = 0; i < n; i++)
		for (int k = 0; k < s[i].modules_n; k++) {
			const struct module *m = &s[i].modules[k];
			double mean = 0;
			size_t heads;
			const float *alpha = subject_values(&s[i], m->param->alpha, &heads);

			for (size_t h = 0; h < heads; h++) {
				mean += (double)alpha[h] / (double)heads;
				widen(c, (double)alpha[h]);
				if (n == 1 && curves_add_dot(c, m->kind, m->layer, (double)alpha[h], &err))
					die(&err);
			}
			*curves_at(c, i, m->kind, m->layer) = mean;
		}
}

static void
draw(const struct subject *s, int n)
{
	struct curves c;
	struct err err;

	if (curves_init(&c, n, MODULE_KINDS, subjects_layers(s, n), &err))
		die(&err);
	c.title = n == 1 ? s->shown : "Alphas, mean over the heads";
	c.names = module_kind_names;
	c.figure = "alpha";
	c.axis = "checkpoint";
	c.first = 1;
	c.low = 1;
	c.high = 2;
	fill_curves(&c, s, n);
	if (curves_draw(&c, drawing, &err))
		die(&err);
	curves_release(&c);
}

int
main(int argc, char **argv)
{
	int operand = opt_parse(&program, argc, argv), n = argc - operand;
	struct err err;
	struct subject *s = subjects_open(argv + operand, n, &err);

	if (!s)
		die(&err);
	for (int i = 0; i < n; i++)
		if (!s[i].config.sparse)
			die_words("%s: its model has softmax attention, and no alphas", s[i].path);
	if (drawing)
		draw(s, n);
	else
		print_table(s, n);
	subjects_close(s, n);
	close_stdout();
	return 0;
}
