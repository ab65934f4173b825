/*
 * Grid features; grid.h says what they are.
 */
#include "feat/grid.h"

#include <math.h>
#include <string.h>

typedef float window[GRID_WINDOW][GRID_WINDOW][3];

static int
clamp(int x, int high)
{
	return x < 0 ? 0 : x > high ? high : x;
}

/*
 * How much pixel i covers of [from, to): with area averaging, each pixel counts by the share of it that lies inside. Pixels
 * outside the picture repeat its edge.
 */
static double
cover(int i, double from, double to)
{
	double low = fmax(from, i), high = fmin(to, i + 1);

	return high > low ? high - low : 0;
}

/* The area average of [x0, x1) x [y0, y1), in pixels, as 0..1. */
static void
average(float rgb[3], const struct picture *p, double x0, double x1, double y0, double y1)
{
	double sum[3] = { 0 }, weight = 0; /* a picture has more pixels than a float has digits */

	for (int y = (int)floor(y0); y < y1; y++)
		for (int x = (int)floor(x0); x < x1; x++) {
			const uint8_t *pixel = p->rgb + 3 * ((size_t)clamp(y, p->height - 1) * (size_t)p->width +
			                                     (size_t)clamp(x, p->width - 1));
			double w = cover(x, x0, x1) * cover(y, y0, y1);

			for (int c = 0; c < 3; c++)
				sum[c] += w * pixel[c];
			weight += w;
		}
	for (int c = 0; c < 3; c++)
		rgb[c] = weight > 0 ? (float)(sum[c] / (255 * weight)) : 0;
}

static void
resample(window out, const struct picture *p, double left, double top, double width, double height)
{
	for (int y = 0; y < GRID_WINDOW; y++)
		for (int x = 0; x < GRID_WINDOW; x++)
			average(out[y][x], p, left + width * x / GRID_WINDOW, left + width * (x + 1) / GRID_WINDOW,
			        top + height * y / GRID_WINDOW, top + height * (y + 1) / GRID_WINDOW);
}

static float *
colours(float *out, const window w, const float mean[3])
{
	enum { STEP = GRID_WINDOW / GRID_COLOURS };

	for (int y = 0; y < GRID_COLOURS; y++)
		for (int x = 0; x < GRID_COLOURS; x++)
			for (int c = 0; c < 3; c++) {
				float sum = 0;

				for (int i = 0; i < STEP * STEP; i++)
					sum += w[y * STEP + i / STEP][x * STEP + i % STEP][c];
				*out++ = 2 * (sum / (STEP * STEP) - mean[c]);
			}
	return out;
}

/* The gradient of the channel where it is largest; central differences, the edge repeated. */
static void
gradient(float *dx, float *dy, const window w, int x, int y)
{
	float most = -1;

	for (int c = 0; c < 3; c++) {
		float gx = w[y][clamp(x + 1, GRID_WINDOW - 1)][c] - w[y][clamp(x - 1, GRID_WINDOW - 1)][c];
		float gy = w[clamp(y + 1, GRID_WINDOW - 1)][x][c] - w[clamp(y - 1, GRID_WINDOW - 1)][x][c];

		if (gx * gx + gy * gy > most) {
			most = gx * gx + gy * gy;
			*dx = gx;
			*dy = gy;
		}
	}
}

typedef float gradients[GRID_WINDOW][GRID_WINDOW][2]; /* magnitude; orientation in bins, 0 to GRID_BINS */

static void
orient(gradients out, const window w)
{
	for (int y = 0; y < GRID_WINDOW; y++)
		for (int x = 0; x < GRID_WINDOW; x++) {
			float dx = 0, dy = 0, turn;

			gradient(&dx, &dy, w, x, y);
			turn = atan2f(dy, dx) / (float)M_PI; /* unsigned: a direction and its opposite are one */
			out[y][x][0] = sqrtf(dx * dx + dy * dy);
			out[y][x][1] = (turn < 0 ? turn + 1 : turn) * GRID_BINS;
		}
}

/* side x side histograms, each magnitude shared by the two bins next to its orientation; divided by their norm, times 4. */
static float *
histograms(float *out, const gradients g, int side)
{
	int size = side * side * GRID_BINS, step = GRID_WINDOW / side;
	float sum = 1e-4f;

	memset(out, 0, (size_t)size * sizeof *out);
	for (int y = 0; y < GRID_WINDOW; y++)
		for (int x = 0; x < GRID_WINDOW; x++) {
			float *histogram = out + ((y / step) * side + x / step) * GRID_BINS;
			float magnitude = g[y][x][0], share = g[y][x][1] - floorf(g[y][x][1]);
			int bin = (int)g[y][x][1] % GRID_BINS;

			histogram[bin] += magnitude * (1 - share);
			histogram[(bin + 1) % GRID_BINS] += magnitude * share;
		}
	for (int i = 0; i < size; i++)
		sum += out[i] * out[i];
	for (int i = 0; i < size; i++)
		out[i] *= 4 / sqrtf(sum);
	return out + size;
}

int
grid_features(struct features *out, const struct picture *p, struct err *err)
{
	float *row, mean[3];

	if (features_room(out, GRID_REGIONS, GRID_COLUMNS, 0, err))
		return -1;
	out->width = p->width;
	out->height = p->height;
	row = out->features;
	average(mean, p, 0, p->width, 0, p->height);
	for (int r = 0; r < GRID_REGIONS; r++) {
		double w = p->width / (double)GRID_CELLS, h = p->height / (double)GRID_CELLS;
		double x = r % GRID_CELLS * w, y = r / GRID_CELLS * h;
		const float box[4] = { (float)(r % GRID_CELLS) / GRID_CELLS, (float)(r / GRID_CELLS) / GRID_CELLS,
			               (float)(r % GRID_CELLS + 1) / GRID_CELLS,
			               (float)(r / GRID_CELLS + 1) / GRID_CELLS };
		window seen;
		gradients edges;

		resample(seen, p, x + w / 2 - p->width / 4.0, y + h / 2 - p->height / 4.0, p->width / 2.0,
		         p->height / 2.0);
		orient(edges, (const float(*)[GRID_WINDOW][3])seen);
		row = colours(row, (const float(*)[GRID_WINDOW][3])seen, mean);
		for (int side = 1; side <= 4; side *= 2)
			row = histograms(row, (const float(*)[GRID_WINDOW][2])edges, side);
		memcpy(out->boxes + 4 * r, box, sizeof box);
	}
	return 0;
}
