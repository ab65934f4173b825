/*
 * Curves of the modules.
 */
#include "report/curves.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sys/plot.h"

int
curves_init(struct curves *c, int points, int kinds, int layers, struct err *err)
{
	size_t n = (size_t)points * (size_t)kinds * (size_t)layers;

	*c = (struct curves){ .points = points, .kinds = kinds, .layers = layers };
	c->values = malloc((n + 1) * sizeof *c->values);
	if (!c->values)
		return err_set(err, "out of memory for curves of %d points", points);
	for (size_t i = 0; i < n; i++)
		c->values[i] = NAN;
	return 0;
}

void
curves_release(struct curves *c)
{
	free(c->values);
	free(c->dots);
	*c = (struct curves){ 0 };
}

double *
curves_at(const struct curves *c, int point, int kind, int layer)
{
	return &c->values[((size_t)point * (size_t)c->kinds + (size_t)kind) * (size_t)c->layers + (size_t)layer];
}

int
curves_add_dot(struct curves *c, int kind, int layer, double value, struct err *err)
{
	if (c->dots_n == c->dots_room) {
		size_t room = 2 * c->dots_room + 64;
		struct curve_dot *more = realloc(c->dots, room * sizeof *more);

		if (!more)
			return err_set(err, "out of memory for the points of %zu heads", room);
		c->dots = more;
		c->dots_room = room;
	}
	c->dots[c->dots_n++] = (struct curve_dot){ kind, layer, value };
	return 0;
}

static int
has_layer(const struct curves *c, int kind, int layer)
{
	for (int i = 0; i < c->points; i++)
		if (!isnan(*curves_at(c, i, kind, layer)))
			return 1;
	return 0;
}

static int
count_layers(const struct curves *c, int kind)
{
	int n = 0;

	for (int layer = 0; layer < c->layers; layer++)
		if (has_layer(c, kind, layer))
			n = layer + 1;
	return n;
}

/* The rows of a block of data: x, value; NaN is missing. */
static void
put_point(const struct plot *plot, double x, double value)
{
	if (!isnan(value))
		fprintf(plot->script, "%.10g %.10g\n", x, value);
}

/* Kinds stand side by side within a layer, so that their dots do not cover each other. */
static double
place(const struct curves *c, int layer, int kind)
{
	return layer + 0.6 / c->kinds * (kind - (c->kinds - 1) / 2.0);
}

static void
kind_blocks(const struct curves *c, const struct plot *plot, int kind)
{
	fprintf(plot->script, "$mean%d << END\n", kind);
	for (int layer = 0; layer < c->layers; layer++)
		put_point(plot, place(c, layer, kind), *curves_at(c, 0, kind, layer));
	fprintf(plot->script, "END\n$heads%d << END\n", kind);
	for (size_t i = 0; i < c->dots_n; i++)
		if (c->dots[i].kind == kind)
			put_point(plot, place(c, c->dots[i].layer, kind), c->dots[i].value);
	fprintf(plot->script, "END\n");
}

static int
has_dots(const struct curves *c, int kind)
{
	for (size_t i = 0; i < c->dots_n; i++)
		if (c->dots[i].kind == kind && !isnan(c->dots[i].value))
			return 1;
	return 0;
}

/* One chart: a line a kind over its layers, and a dot a head. */
static void
by_layer(const struct curves *c, const struct plot *plot)
{
	const char *comma = "plot";

	for (int kind = 0; kind < c->kinds; kind++)
		kind_blocks(c, plot, kind);
	fprintf(plot->script, "set xlabel 'layer'\nset ylabel '%s'\nset xtics 1\nset xrange [-0.5:%d.5]\n", c->figure,
	        c->layers - 1);
	fprintf(plot->script, "set key outside right top vertical Left reverse\nset title ");
	plot_text(plot, c->title, strlen(c->title), 120);
	fputc('\n', plot->script);
	for (int kind = 0; kind < c->kinds; kind++) {
		if (!count_layers(c, kind))
			continue;
		if (has_dots(c, kind))
			fprintf(plot->script, "%s $heads%d using 1:2 with points pt 7 ps 0.4 lc rgb '%s' notitle",
			        comma, kind, plot_colour(kind));
		else
			fprintf(plot->script, "%s NaN notitle", comma);
		fprintf(plot->script, ", $mean%d using 1:2 with linespoints lw 2 pt 7 ps 0.8 lc rgb '%s' title '%s'",
		        kind, plot_colour(kind), c->names[kind]);
		comma = ",";
	}
	fprintf(plot->script, *comma == ',' ? "\n" : "plot NaN notitle\n");
}

/* From dark to light by depth, within the part of viridis that is seen on white. */
static void
depth_colour(char out[8], int layer, int layers)
{
	static const int stops[][3] = {
		{ 68, 1, 84 }, { 59, 82, 139 }, { 33, 145, 140 }, { 94, 201, 98 }, { 220, 190, 40 }
	};
	double at = layers > 1 ? 4.0 * layer / (layers - 1) : 0;
	int i = at >= 4 ? 3 : (int)at;
	int rgb[3];

	for (int k = 0; k < 3; k++)
		rgb[k] = (int)(stops[i][k] + (at - i) * (stops[i + 1][k] - stops[i][k]));
	snprintf(out, 8, "#%02X%02X%02X", rgb[0] & 255, rgb[1] & 255, rgb[2] & 255);
}

static void
panel(const struct curves *c, const struct plot *plot, int kind, int layers)
{
	char colour[8];
	int n = count_layers(c, kind);

	for (int layer = 0; layer < n; layer++) {
		fprintf(plot->script, "$layer%d << END\n", layer);
		for (int i = 0; i < c->points; i++)
			put_point(plot, c->first + i, *curves_at(c, i, kind, layer));
		fprintf(plot->script, "END\n");
	}
	fprintf(plot->script, "set title '%s'\n", c->names[kind]);
	for (int layer = 0; layer < n; layer++) {
		depth_colour(colour, layer, layers);
		if (has_layer(c, kind, layer))
			fprintf(plot->script,
			        "%s $layer%d using 1:2 with linespoints lw 1.5 pt 7 ps 0.5 lc rgb '%s' notitle",
			        layer ? "," : "plot", layer, colour);
		else
			fprintf(plot->script, "%s NaN notitle", layer ? "," : "plot");
	}
	fprintf(plot->script, n ? "\n" : "plot NaN notitle\n");
}

/* The last of six cells: which colour is which layer. */
static void
legend(const struct plot *plot, int layers)
{
	char colour[8];

	fprintf(plot->script,
	        "unset title\nunset xlabel\nunset ylabel\nunset tics\nunset border\nunset grid\nset key center left\n");
	for (int layer = 0; layer < layers; layer++) {
		depth_colour(colour, layer, layers);
		fprintf(plot->script, "%s NaN with linespoints lw 1.5 pt 7 lc rgb '%s' title 'layer %d'",
		        layer ? "," : "plot", colour, layer);
	}
	fputc('\n', plot->script);
}

/* A chart a kind: a line a layer over the points. */
static void
by_point(const struct curves *c, const struct plot *plot)
{
	fprintf(plot->script, "set multiplot layout 2,3 title ");
	plot_text(plot, c->title, strlen(c->title), 120);
	fprintf(plot->script, "\nset xlabel '%s'\nset ylabel '%s'\nset xrange [%g:%g]\nset xtics %d\nunset key\n",
	        c->axis, c->figure, c->first - 0.25, c->first + c->points - 0.75,
	        c->points > 8 ? (c->points + 7) / 8 : 1);
	for (int kind = 0; kind < c->kinds; kind++)
		panel(c, plot, kind, c->layers);
	legend(plot, c->layers);
	fprintf(plot->script, "unset multiplot\n");
}

int
curves_draw(const struct curves *c, const char *path, struct err *err)
{
	struct plot plot;

	if (plot_open(&plot, path, c->points == 1 ? 860 : 1000, c->points == 1 ? 460 : 600, err))
		return -1;
	fprintf(plot.script,
	        "set grid lt 1 lw 0.7 lc rgb '#dddddd'\nset border 3\nset tics nomirror\nset yrange [%g:%g]\n", c->low,
	        c->high);
	(c->points == 1 ? by_layer : by_point)(c, &plot);
	return plot_close(&plot, err);
}
