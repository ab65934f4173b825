/*
 * A picture of attention: what is looked at stays as it is, the rest gets dark.
 */
#include "report/look.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stream/schema.h"

enum {
	CELLS = 72 /* of the shade, along the longer side */,
	FRAMED = 3 /* regions with a frame and their weight */,
	TOP = 5
};

struct region {
	float x1, y1, x2, y2; /* from the upper left, 0..1 */
	double weight;
};

/* Of the chosen heads and queries. */
static double
mean_weight(const struct attention_map *map, struct look look, int k)
{
	int all = look.query < 0 && !map->kind->words_ask, first = look.query < 0 ? 0 : look.query;
	double sum = 0;
	int n = 0;

	for (int h = 0; h < map->H; h++)
		for (int q = 0; (look.head < 0 || h == look.head) && q < map->Q; q++)
			if (all || q == first) {
				sum += (double)attention_weight(map, h, q, k);
				n++;
			}
	return sum / n;
}

static int
read_regions(struct region *regions, const struct rec_in *in, const struct attention_map *map, struct look look,
             struct err *err)
{
	const void *boxes;
	size_t n;

	if (rec_f32(in, "boxes", &boxes, &n, err))
		return -1;
	if (n != 4 * (size_t)map->K)
		return rec_fault(in, err, "'boxes' has %zu values, expected 4 for each of the %d keys of %s", n, map->K,
		                 map->name);
	for (int k = 0; k < map->K; k++) {
		float box[4];

		memcpy(box, (const char *)boxes + sizeof box * (size_t)k, sizeof box);
		for (int i = 0; i < 4; i++)
			if (!(box[i] >= -1e-5f && box[i] <= 1 + 1e-5f))
				return rec_fault(in, err, "box of region %d: column %d is %g, expected 0 to 1", k, i,
				                 (double)box[i]);
		regions[k] = (struct region){ box[0], box[1], box[2], box[3], mean_weight(map, look, k) };
	}
	return 0;
}

static int
by_weight(const void *a, const void *b)
{
	double x = ((const struct region *)a)->weight, y = ((const struct region *)b)->weight;

	return x < y ? 1 : x > y ? -1 : 0;
}

/* How much a point is looked at: the largest weight of a region that covers it. */
static double
at_point(const struct region *regions, int n, double x, double y)
{
	for (int k = 0; k < n; k++)
		if (x >= (double)regions[k].x1 && x <= (double)regions[k].x2 && y >= (double)regions[k].y1 &&
		    y <= (double)regions[k].y2)
			return regions[k].weight;
	return 0;
}

/* Cells with the opacity of their darkness; regions are in order of weight. */
static void
put_shade(const struct plot *plot, const struct region *regions, int n, int width, int height)
{
	int longer = width > height ? width : height;
	int across = (CELLS * width + longer - 1) / longer, down = (CELLS * height + longer - 1) / longer;
	double most = regions[0].weight > 0 ? regions[0].weight : 1;

	/* gnuplot wants two cells each way. */
	across = across < 2 ? 2 : across;
	down = down < 2 ? 2 : down;
	fprintf(plot->script, "$shade << END\n");
	for (int j = 0; j < down; j++)
		for (int i = 0; i < across; i++) {
			double x = (i + 0.5) / across, y = (j + 0.5) / down;

			fprintf(plot->script, "%.7g %.7g 16 20 36 %.0f\n", x * width - 0.5, (1 - y) * height - 0.5,
			        205 * (1 - at_point(regions, n, x, y) / most));
		}
	fprintf(plot->script, "END\n");
}

static void
put_frames(const struct plot *plot, const struct region *regions, int n, int width, int height)
{
	fprintf(plot->script, "set style textbox opaque fillcolor rgb '#101424' noborder margins 0.6,0.6\n");
	for (int k = 0; k < n && k < FRAMED && regions[k].weight > 0; k++) {
		const struct region *r = &regions[k];
		double left = (double)r->x1 * width - 0.5, top = (1 - (double)r->y1) * height - 0.5;

		fprintf(plot->script,
		        "set object %d rectangle from %.7g,%.7g to %.7g,%.7g front fillstyle empty border "
		        "lc rgb '%s' lw %g\n",
		        k + 1, left, (1 - (double)r->y2) * height - 0.5, (double)r->x2 * width - 0.5, top,
		        plot_colour(4), 2.5 - 0.6 * k);
		fprintf(plot->script,
		        "set label %d '%.2f' at %.7g,%.7g left offset 0.5,-0.6 front boxed tc rgb '%s' font ',9'\n",
		        k + 1, r->weight, left, top, plot_colour(4));
	}
}

static void
put_picture(const struct plot *plot, const struct attention_map *map, struct look look, const struct region *regions)
{
	int width = plot->picture_fd < 0 ? 100 : plot->raster.width;
	int height = plot->picture_fd < 0 ? 100 : plot->raster.height;

	put_shade(plot, regions, map->K, width, height);
	put_frames(plot, regions, map->K, width, height);
	fprintf(plot->script,
	        "set origin 0.01,0.02\nset size 0.56,0.9\nset size ratio -1\nunset key\nunset tics\nunset border\n"
	        "set xrange [-0.5:%g]\nset yrange [-0.5:%g]\nset xlabel '%s, ",
	        width - 0.5, height - 0.5, map->name);
	if (look.head < 0)
		fprintf(plot->script, "mean of %d heads, ", map->H);
	else
		fprintf(plot->script, "head %d, ", look.head);
	if (look.query < 0)
		fprintf(plot->script, map->kind->words_ask ? "[CLS]'\n" : "mean of all regions'\n");
	else
		fprintf(plot->script, "query %d'\n", look.query);
	fprintf(plot->script, "plot ");
	if (plot->picture_fd >= 0) {
		plot_draw_picture(plot);
		fprintf(plot->script, ", ");
	}
	fprintf(plot->script, "$shade using 1:2:3:4:5:6 with rgbalpha\n");
}

struct ranked {
	const char *text;
	size_t n;
	double score;
};

static int
real_of(const msgpack_object *o, double *out)
{
	if (o->type == MSGPACK_OBJECT_FLOAT32 || o->type == MSGPACK_OBJECT_FLOAT64)
		*out = o->via.f64;
	else if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
		*out = (double)o->via.u64;
	else
		return -1;
	return *out >= 0 && *out <= 1 ? 0 : -1;
}

/* "top" as far as it goes, or the answer alone. */
static int
read_answers(struct ranked out[TOP], int *n, const struct rec_in *in, struct err *err)
{
	const msgpack_object *top = rec_get(in, "top");

	*n = 0;
	if (!top) {
		*n = 1;
		return rec_text(in, "answer", &out[0].text, &out[0].n, err) ||
		       rec_real(in, "score", &out[0].score, err);
	}
	if (top->type != MSGPACK_OBJECT_ARRAY)
		return rec_fault(in, err, "'top' has another type, expected an array of [answer, score]");
	for (uint32_t i = 0; i < top->via.array.size && *n < TOP; i++) {
		const msgpack_object *pair = &top->via.array.ptr[i];
		struct ranked *to = &out[(*n)++];

		if (pair->type != MSGPACK_OBJECT_ARRAY || pair->via.array.size != 2 ||
		    pair->via.array.ptr[0].type != MSGPACK_OBJECT_STR || real_of(&pair->via.array.ptr[1], &to->score))
			return rec_fault(in, err, "'top' has an element %u that is no [answer, score from 0 to 1]", i);
		to->text = pair->via.array.ptr[0].via.str.ptr;
		to->n = pair->via.array.ptr[0].via.str.size;
	}
	return 0;
}

static void
put_bars(const struct plot *plot, const struct ranked *answers, int n)
{
	fprintf(plot->script, "unset object\nunset label\n$top << END\n");
	for (int i = 0; i < n; i++)
		fprintf(plot->script, "%d %.6g\n", -i, answers[i].score);
	fprintf(plot->script,
	        "END\nset origin 0.58,0.06\nset size noratio 0.41,0.82\nset border 2\nset xrange [0:1.12]\n"
	        "set yrange [%g:0.6]\nunset xtics\nset xlabel 'score'\nset style fill solid noborder\nset ytics "
	        "nomirror scale 0 (",
	        0.4 - n);
	for (int i = 0; i < n; i++) {
		fprintf(plot->script, i ? ", " : "");
		plot_tic(plot, answers[i].text, answers[i].n, 24);
		fprintf(plot->script, " %d", -i);
	}
	fprintf(plot->script,
	        ")\nplot $top using (0.5*$2):1:(0.5*$2):(0.32) with boxxyerror lc rgb '%s', "
	        "$top using 2:1:(sprintf('%%.2f', $2)) with labels left offset 0.6,0\n",
	        plot_colour(0));
}

int
look_draw(struct plot *plot, const struct rec_in *in, const struct attention_map *map, struct look look,
          struct err *err)
{
	struct region regions[OBJECTS_PER_IMAGE_MAX];
	struct ranked answers[TOP];
	const char *sent = "";
	size_t sent_n = 0;
	int n;

	if (map->kind->words_answer)
		return rec_fault(in, err, "the keys of %s are words, expected an attention to regions to be drawn",
		                 map->name);
	if (look.head >= map->H)
		return rec_fault(in, err, "%s has %d heads, but head %d is asked for", map->name, map->H, look.head);
	if (look.query >= map->Q)
		return rec_fault(in, err, "%s has %d queries, but query %d is asked for", map->name, map->Q,
		                 look.query);
	if (read_regions(regions, in, map, look, err) || read_answers(answers, &n, in, err) ||
	    (rec_get(in, "sent") && rec_text(in, "sent", &sent, &sent_n, err)))
		return -1;
	qsort(regions, (size_t)map->K, sizeof *regions, by_weight);
	fprintf(plot->script, "set multiplot title ");
	plot_text(plot, sent, sent_n, 90);
	fprintf(plot->script, " font ',12'\n");
	put_picture(plot, map, look, regions);
	put_bars(plot, answers, n);
	fprintf(plot->script, "unset multiplot\n");
	return 0;
}
