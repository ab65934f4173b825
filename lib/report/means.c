/*
 * Means of attention's figures.
 */
#include "report/means.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/curves.h"

int
attention_means_add(struct attention_means *means, const struct attention_map *map, int head,
                    const double figures[FIGURES], struct err *err)
{
	struct attention_mean *mean = &means->matrix[map->kind - matrix_kinds][map->layer];

	if (head >= mean->heads) {
		struct attention_sums *more = realloc(mean->head, (size_t)map->H * sizeof *more);

		if (!more)
			return err_set(err, "out of memory for the means of %d heads", map->H);
		memset(more + mean->heads, 0, (size_t)(map->H - mean->heads) * sizeof *more);
		mean->head = more;
		mean->heads = map->H;
	}
	for (int i = 0; i < FIGURES; i++)
		if (!isnan(figures[i])) {
			mean->head[head].sum[i] += figures[i];
			mean->head[head].n[i]++;
		}
	return 0;
}

/* NaN where there was none. */
static double
mean_of(const struct attention_mean *mean, int head, int figure)
{
	const struct attention_sums *sums = &mean->head[head];

	return sums->n[figure] ? sums->sum[figure] / (double)sums->n[figure] : NAN;
}

void
attention_means_print(FILE *out, const struct attention_means *means)
{
	for (int kind = 0; kind < ATTENTION_KINDS; kind++)
		for (int layer = 0; layer < ATTENTION_LAYERS; layer++) {
			const struct attention_mean *m = &means->matrix[kind][layer];

			for (int h = 0; h < m->heads; h++) {
				double figures[FIGURES];

				for (int i = 0; i < FIGURES; i++)
					figures[i] = mean_of(m, h, i);
				if (isnan(figures[ENTROPY]))
					continue;
				fprintf(out, "all\t%s.%d\t%d", matrix_kinds[kind].name, layer, h);
				attention_figures_print(out, figures);
			}
		}
}

/* A matrix's heads into the curves, and their mean. */
static int
add_matrix(struct curves *c, const struct attention_mean *m, int kind, int layer, struct err *err)
{
	double sum = 0;
	int n = 0;

	for (int h = 0; h < m->heads; h++) {
		double value = mean_of(m, h, ENTROPY);

		if (isnan(value))
			continue;
		sum += value;
		n++;
		c->high = fmax(c->high, 1.05 * value);
		if (curves_add_dot(c, kind, layer, value, err))
			return -1;
	}
	if (n)
		*curves_at(c, 0, kind, layer) = sum / n;
	return 0;
}

int
attention_means_draw(const struct attention_means *means, const char *path, struct err *err)
{
	const char *names[ATTENTION_KINDS];
	struct curves c;
	int layers = 0, bad = 0;

	for (int kind = 0; kind < ATTENTION_KINDS; kind++) {
		names[kind] = matrix_kinds[kind].name;
		for (int layer = 0; layer < ATTENTION_LAYERS; layer++)
			layers = means->matrix[kind][layer].heads && layer >= layers ? layer + 1 : layers;
	}
	if (!layers)
		return err_set(err, "no attention was read, so there is nothing to draw");
	if (curves_init(&c, 1, ATTENTION_KINDS, layers, err))
		return -1;
	c.title = "Entropy of attention, mean over the questions";
	c.names = names;
	c.figure = "entropy, nats";
	c.high = 0.1;
	for (int kind = 0; kind < ATTENTION_KINDS && !bad; kind++)
		for (int layer = 0; layer < layers && !bad; layer++)
			bad = add_matrix(&c, &means->matrix[kind][layer], kind, layer, err);
	bad = bad || curves_draw(&c, path, err);
	curves_release(&c);
	return bad ? -1 : 0;
}

void
attention_means_release(struct attention_means *means)
{
	for (int kind = 0; kind < ATTENTION_KINDS; kind++)
		for (int layer = 0; layer < ATTENTION_LAYERS; layer++)
			free(means->matrix[kind][layer].head);
}
