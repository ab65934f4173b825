/*
 * flopreport: what a question costs in multiplications, part by part.
 */
#include <stdio.h>
#include <string.h>

#include "report/flops.h"
#include "sys/die.h"
#include "sys/opt.h"
#include "sys/plot.h"

static double tokens = -1, objects = -1, per_image = 5.4; /* VQA v2's mean */
static const char *drawing;

static const struct opt opts[] = {
	{ 'i', "per-image", OPT_REAL(1, 10000), &per_image, "N", "questions of an image, when answering (5.4)" },
	{ 'n', "objects", OPT_REAL(1, 1024), &objects, "N", "regions of an image (the checkpoint's)" },
	{ 'p', "plot", OPT_TEXT, &drawing, "FILE", "draw them to a .png or .svg file instead" },
	{ 't', "tokens", OPT_REAL(1, 512), &tokens, "N", "tokens of a question (9.6)" },
	{ 0 },
};

static const struct program program = {
	"flopreport", "NAME", "multiplications of a question, by part of the model", opts, 1, 1,
};

/* Mean of real questions of VQA v2 with [CLS] and [SEP], for want of the user's own. */
static const double usual_tokens = 9.6;

static double
at_most(double given, double otherwise, int most, const char *what)
{
	if (given > most)
		die_usage("option %s: %g, but the checkpoint takes at most %d", what, given, most);
	return given > 0 ? given : otherwise < most ? otherwise : most;
}

static void
print_part(const struct part *p)
{
	printf("%s\t%.0f\t%.0f\t%.0f", p->name, p->macs[PADDED].linear, p->params, p->macs[PADDED].attention);
	for (enum way way = HERE; way < WAYS; way++)
		printf("\t%.0f\t%.0f", p->macs[way].linear, p->macs[way].attention);
	putchar('\n');
}

static void
print_table(const struct flops *f)
{
	printf("part\tmacs\tparams\tattention\tmacs_here\tattention_here\tmacs_answering\tattention_answering\n");
	for (int i = 0; i < PARTS; i++)
		print_part(&f->parts[i]);
	print_part(&f->total);
	for (int i = 0; i < SAVINGS; i++)
		if (f->savings[i].name)
			print_part(&f->savings[i]);
}

/* Three bars a part, attention's products on top of the linear ones. */
static void
draw(const struct flops *f, const struct subject *s)
{
	static const char *const titles[WAYS] = { "padded", "here", "answering" };
	struct plot plot;
	struct err err;

	if (plot_open(&plot, drawing, 760, 460, &err))
		die(&err);
	fprintf(plot.script, "$parts << END\n");
	for (int i = 0; i < PARTS; i++) {
		const struct part *p = &f->parts[i];

		fprintf(plot.script, "%s", p->name);
		for (enum way way = 0; way < WAYS; way++)
			fprintf(plot.script, " %.9g %.9g", p->macs[way].linear / 1e6,
			        (p->macs[way].linear + p->macs[way].attention) / 1e6);
		fputc('\n', plot.script);
	}
	fprintf(plot.script, "END\nset title ");
	plot_text(&plot, s->shown, strlen(s->shown), 120);
	fprintf(plot.script,
	        "\nset ylabel 'million multiplications a question'\nset yrange [0:*]\nset border 3\n"
	        "set tics nomirror\nset grid y lt 1 lw 0.7 lc rgb '#dddddd'\nset style fill solid noborder\n"
	        "set boxwidth 0.24\nset xrange [-0.6:%d.6]\nset key top left Left reverse\nplot",
	        PARTS - 1);
	for (int way = 0; way < WAYS; way++)
		fprintf(plot.script,
		        "%s $parts using ($0%+.2f):%d%s with boxes lc rgb '#888888' title '%s'"
		        ", $parts using ($0%+.2f):%d with boxes lc rgb '%s' title '%s'",
		        way ? "," : "", 0.27 * (way - 1), 3 + 2 * way, way == HERE ? ":xtic(1)" : "",
		        way ? "" : "attention products", 0.27 * (way - 1), 2 + 2 * way, plot_colour(way), titles[way]);
	fputc('\n', plot.script);
	if (plot_close(&plot, &err))
		die(&err);
}

int
main(int argc, char **argv)
{
	int operand = opt_parse(&program, argc, argv);
	struct subject s;
	struct flops flops;
	struct err err;

	if (subject_open(&s, argv[operand], &err))
		die(&err);
	flops_count(&flops, &s, at_most(tokens, usual_tokens, s.config.max_tokens, "-t"),
	            at_most(objects, s.config.objects, s.config.objects, "-n"), per_image);
	if (drawing)
		draw(&flops, &s);
	else
		print_table(&flops);
	subject_close(&s);
	close_stdout();
	return 0;
}
