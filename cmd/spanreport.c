/*
 * spanreport: adaptive spans, as the reference reports them and as they really mask.
 */
#include <stdio.h>
#include <stdlib.h>

#include "report/curves.h"
#include "report/run_log.h"
#include "report/span.h"
#include "report/subject.h"
#include "report/table.h"
#include "sys/die.h"
#include "sys/opt.h"

static const char *log_path, *drawing;
static int heads;

static const struct opt opts[] = {
	{ 'l', "log", OPT_TEXT, &log_path, "FILE", "the spans of each epoch, from a run's log.log" },
	{ 'p', "plot", OPT_TEXT, &drawing, "FILE", "draw them to a .png or .svg file instead" },
	{ 0, "heads", OPT_FLAG, &heads, NULL, "a row a head instead of one a module" },
	{ 0 },
};

static const struct program program = {
	"spanreport", "[NAME...]", "adaptive spans of a checkpoint, and what they mask", opts, 0, -1,
};

static void
print_mask(struct span_mask mask, const struct subject *s)
{
	put_real(stdout, mask.words_zero, 4);
	put_real(stdout, mask.regions_zero, 4);
	put_real(stdout, mask.words_weight, 6);
	put_real(stdout, mask.regions_weight, 6);
	printf("\t%s\n", s->shown);
}

static void
print_module(const struct subject *s, const struct module *m)
{
	const struct config *cfg = &s->config;
	size_t n;
	const float *values = subject_values(s, m->param->span, &n);
	struct span_summary sum = span_summary_of(values, n, m, cfg);

	printf("%s\t%d", module_kind_names[m->kind], m->layer);
	put_real(stdout, span_figure(sum.mean, cfg), 0);
	put_real(stdout, span_figure(sum.largest, cfg), 0);
	printf("\t%zu", n);
	put_real(stdout, sum.mean, 6);
	put_real(stdout, sum.at_0, 4);
	put_real(stdout, sum.at_1, 4);
	print_mask(sum.mask, s);
}

static void
print_heads(const struct subject *s, const struct module *m)
{
	const struct config *cfg = &s->config;
	size_t n;
	const float *values = subject_values(s, m->param->span, &n);

	for (size_t i = 0; i < n; i++) {
		printf("%s\t%d", module_kind_names[m->kind], m->layer);
		put_real(stdout, span_figure((double)values[i], cfg), 0);
		printf("\t%zu\t%zu", i % (size_t)cfg->heads, i / (size_t)cfg->heads);
		put_real(stdout, (double)values[i], 6);
		print_mask(span_mask_of(&values[i], 1, m, cfg), s);
	}
}

static void
print_table(const struct subject *s, int n)
{
	printf("name\tlayer\tspan\t%s\ttokens_zero\tobjects_zero\ttokens_weight\tobjects_weight\tcheckpoint\n",
	       heads ? "head\trow\tvalue" : "span_max\tvalues\tmean\tat_0\tat_1");
	for (int i = 0; i < n; i++)
		for (int k = 0; k < s[i].modules_n; k++)
			(heads ? print_heads : print_module)(&s[i], &s[i].modules[k]);
}

/* The mean of each module of each checkpoint; of one alone, each head's mean over its rows too. */
static void
fill_curves(struct curves *c, const struct subject *s, int n)
{
	struct err err;

	for (int i = 0; i < n; i++)
		for (int k = 0; k < s[i].modules_n; k++) {
			const struct module *m = &s[i].modules[k];
			const struct config *cfg = &s[i].config;
			size_t count;
			const float *values = subject_values(&s[i], m->param->span, &count);

			*curves_at(c, i, m->kind, m->layer) =
				span_figure(span_summary_of(values, count, m, cfg).mean, cfg);
			for (int h = 0; n == 1 && h < cfg->heads; h++) {
				double mean = 0;

				for (int row = 0; row < cfg->span_rows; row++)
					mean += (double)values[row * cfg->heads + h] / cfg->span_rows;
				if (curves_add_dot(c, m->kind, m->layer, span_figure(mean, cfg), &err))
					die(&err);
			}
		}
}

static void
draw_checkpoints(const struct subject *s, int n)
{
	struct curves c;
	struct err err;

	if (curves_init(&c, n, MODULE_KINDS, subjects_layers(s, n), &err))
		die(&err);
	c.title = n == 1 ? s->shown : "Adaptive spans";
	c.names = module_kind_names;
	c.figure = "span";
	c.axis = "checkpoint";
	c.first = 1;
	c.high = s->config.span_unit;
	fill_curves(&c, s, n);
	if (curves_draw(&c, drawing, &err))
		die(&err);
	curves_release(&c);
}

static void
report_checkpoints(char **names, int n)
{
	struct err err;
	struct subject *s = subjects_open(names, n, &err);

	if (!s)
		die(&err);
	for (int i = 0; i < n; i++)
		if (!s[i].config.adaptive)
			die_words("%s: its model has no adaptive spans", s[i].path);
	if (drawing)
		draw_checkpoints(s, n);
	else
		print_table(s, n);
	subjects_close(s, n);
}

static void
print_log(const struct run_log *log)
{
	printf("name\tlayer\tspan\tepoch\n");
	for (size_t i = 0; i < log->n; i++) {
		const struct log_span *span = &log->list[i];

		printf("%s\t%d", module_kind_names[span->kind], span->layer);
		put_real(stdout, span->span, 0);
		printf("\t%lld\n", (long long)span->epoch);
	}
}

static void
draw_log(const struct run_log *log)
{
	struct curves c;
	struct err err;
	int layers = 0;

	for (size_t i = 0; i < log->n; i++)
		layers = log->list[i].layer >= layers ? log->list[i].layer + 1 : layers;
	if (curves_init(&c, log->entries, MODULE_KINDS, layers, &err))
		die(&err);
	c.title = "Adaptive spans";
	c.names = module_kind_names;
	c.figure = "span";
	c.axis = "epoch";
	c.first = (int)log->list[0].epoch - log->list[0].entry;
	for (size_t i = 0; i < log->n; i++) {
		const struct log_span *span = &log->list[i];

		*curves_at(&c, span->entry, span->kind, span->layer) = span->span;
		c.high = span->span > c.high ? span->span : c.high;
	}
	c.high = c.high > 0 ? 1.1 * c.high : 1;
	if (curves_draw(&c, drawing, &err))
		die(&err);
	curves_release(&c);
}

static void
report_log(void)
{
	struct run_log log;
	struct err err;

	if (run_log_open(&log, log_path, &err))
		die(&err);
	if (drawing)
		draw_log(&log);
	else
		print_log(&log);
	run_log_release(&log);
}

int
main(int argc, char **argv)
{
	int operand = opt_parse(&program, argc, argv), n = argc - operand;

	if (!log_path == !n)
		die_usage("expected either a checkpoint's NAME or -l FILE; see spanreport --help");
	if (heads && (log_path || drawing))
		die_usage("option --heads is for a table of checkpoints, not with -l or -p");
	if (log_path)
		report_log();
	else
		report_checkpoints(argv + operand, n);
	close_stdout();
	return 0;
}
