/*
 * alpha-entmax of LANES rows at once, exactly, and its gradients: keys one below the other, a row in each lane, so that no sum runs
 * across lanes and no lane hears of another.
 *
 * With x' = (alpha-1)(x - max) and e = 1/(alpha-1), p = z^e where z = max(0, x' - tau), and tau in [-1, 0) makes the sum one.
 * For 1 < alpha <= 2, e >= 1, so the norm of z, (sum of z^e)^(1/e), is convex in tau and decreasing: Newton's method for norm = 1 from
 * tau = -1, where it is >= 1, climbs to the root without passing it. The norm is nearly straight (exactly so for a flat row), so
 * that few steps are needed. They are made in float32, as far as it goes; what is left of the way is one step in double, since e is
 * up to 100 and raises every rounding of x' - tau to that power; where e is at most 8, float32 is enough for forward. For alpha > 2 the norm is not convex: bisection.
 */
#include "op/cpu/cpu.h"

enum { NEWTON_MOST = 60, BISECTIONS = 60 };

/* In float32 a step this small (times e, which raises it) is as good as none; in double the next one would be of its square's order. */
static const double NEAR_F32 = 1e-5, NEAR_F64 = 3e-5;

/* From this alpha on, e <= 8, forward is done with float32; a last step of this size (times e) leaves 5e-8. */
static const double EASY_ALPHA = 1.125, EASY_NEAR = 3e-4;

/* z^(e-1) of z = x - tau, 0 for z <= 0; *log_z and *z are its own, of a tiny z in place of none. */
static inline double
power(double x, double tau, double e, double *z, double *log_z)
{
	const double positive = x - tau > 1e-300 ? x - tau : 1e-300;
	double exponent;

	*log_z = log_f64(positive);
	exponent = (e - 1) * *log_z;
	*z = positive;
	return x - tau > 0 && exponent > -690 ? exp_f64(exponent > -690 ? exponent : -690) : 0;
}

/* z^(e-1) in float32, 0 for z <= 0. */
static inline float
power_f32(float z, float e)
{
	const float positive = z > 1e-30f ? z : 1e-30f;

	return z > 0 ? exp_f32((e - 1) * log_f32(positive)) : 0;
}

/* x' (keys, LANES) and whether a lane's x are all finite. */
VECTOR static void
prepare(struct entmax *w, const float *x, int stride, int keys, double alpha)
{
	float max[LANES], zero[LANES] = { 0 };

	for (int l = 0; l < LANES; l++)
		max[l] = x[l];
	for (int j = 0; j < keys; j++)
		for (int l = 0; l < LANES; l++) {
			const float own = x[j * stride + l];

			max[l] = own > max[l] ? own : max[l];
			zero[l] += own * 0; /* NaN for what is not finite */
		}
	for (int l = 0; l < LANES; l++)
		w->finite[l] = zero[l] == 0;
	for (int j = 0; j < keys; j++)
		for (int l = 0; l < LANES; l++)
			w->x[j * LANES + l] = (alpha - 1) * ((double)x[j * stride + l] - (double)max[l]);
}

/* tau by Newton's steps in float32 from -1, each lane until it is near. */
VECTOR static void
approach(struct entmax *w, int keys, float e)
{
	float *restrict x = w->x32;
	float tau[LANES], moves[LANES]; /* moves: 1 while the lane does, then 0 */
	float moving = LANES;

	for (int j = 0; j < keys * LANES; j++)
		x[j] = (float)w->x[j];
	for (int l = 0; l < LANES; l++) {
		tau[l] = -1;
		moves[l] = 1;
	}
	for (int i = 0; i < NEWTON_MOST && moving > 0; i++) {
		float sum[LANES] = { 0 }, slope[LANES] = { 0 }, step[LANES];

		for (int j = 0; j < keys * LANES; j += LANES)
			for (int l = 0; l < LANES; l++) {
				const float z = x[j + l] - tau[l], low = power_f32(z, e);

				sum[l] += low * z;
				slope[l] += low;
			}
		/* (S^(1/e) - 1) / (S^(1/e - 1) T) */
		for (int l = 0; l < LANES; l++)
			step[l] = (sum[l] - exp_f32((1 - 1 / e) * log_f32(sum[l]))) / slope[l];
		for (int l = 0; l < LANES; l++) {
			tau[l] = moves[l] > 0 ? tau[l] + step[l] : tau[l];
			moves[l] = fabsf(step[l]) * e > (float)NEAR_F32 ? moves[l] : 0;
		}
		moving = 0;
		for (int l = 0; l < LANES; l++)
			moving += moves[l];
	}
	for (int l = 0; l < LANES; l++)
		w->tau[l] = (double)tau[l];
}

/*
 * All of entmax in float32: x becomes p, in place. An error of x' - tau, 1e-7, is at most e of it in p. The last step is not made but by p's first
 * order, p - e g step, which leaves step's square.
 */
VECTOR static void
easy(struct entmax *w, float *restrict x, int stride, int keys, float e)
{
	float *restrict scaled = w->x32, *restrict g = w->g32;
	float max[LANES], finite[LANES] = { 0 }, tau[LANES], step[LANES], total[LANES] = { 0 }, inverse[LANES];
	float moving = LANES;

	for (int l = 0; l < LANES; l++)
		max[l] = x[l];
	for (int j = 0; j < keys; j++)
		for (int l = 0; l < LANES; l++) {
			max[l] = x[j * stride + l] > max[l] ? x[j * stride + l] : max[l];
			finite[l] += x[j * stride + l] * 0; /* NaN for what is not */
		}
	for (int j = 0; j < keys; j++)
		for (int l = 0; l < LANES; l++)
			scaled[j * LANES + l] = (x[j * stride + l] - max[l]) / e;
	for (int l = 0; l < LANES; l++)
		tau[l] = -1;
	for (int i = 0; i < NEWTON_MOST && moving > 0; i++) {
		float sum[LANES] = { 0 }, slope[LANES] = { 0 };

		for (int j = 0; j < keys; j++)
			for (int l = 0; l < LANES; l++) {
				const float z = scaled[j * LANES + l] - tau[l], low = power_f32(z, e);

				g[j * LANES + l] = low;
				x[j * stride + l] = low * z;
				sum[l] += low * z;
				slope[l] += low;
			}
		moving = 0;
		for (int l = 0; l < LANES; l++) {
			const float over = sum[l] - 1;
			const float root =
				exp_f32((1 - 1 / e) * log_f32(sum[l])); /* (S - S^(1 - 1/e)) / T, or its first order */

			step[l] = (fabsf(over) < 1e-3f ? over / e : sum[l] - root) / slope[l];
		}
		for (int l = 0; l < LANES; l++) {
			const float far = fabsf(step[l]) * e > (float)EASY_NEAR ? 1 : 0;

			tau[l] += far * step[l];
			moving += far;
		}
	}
	for (int j = 0; j < keys; j++)
		for (int l = 0; l < LANES; l++) {
			const float moved = x[j * stride + l] - e * step[l] * g[j * LANES + l];

			x[j * stride + l] = moved > 0 ? moved : 0;
			total[l] += moved > 0 ? moved : 0;
		}
	for (int l = 0; l < LANES; l++)
		inverse[l] = finite[l] == 0 ? 1 / total[l] : NAN;
	for (int j = 0; j < keys; j++)
		for (int l = 0; l < LANES; l++)
			x[j * stride + l] *= inverse[l];
	for (int l = 0; l < LANES; l++) {
		w->tau[l] = (double)(tau[l] + step[l]);
		w->inverse[l] = (double)inverse[l];
	}
}

int
cpu_entmax_easy(struct entmax *w, float *x, int stride, int keys, double alpha)
{
	if (!(alpha <= 2 && alpha >= EASY_ALPHA))
		return 0;
	easy(w, x, stride, keys, (float)(1 / (alpha - 1)));
	return 1;
}

/* All that is wanted of a row at its tau, p not yet divided; sums of p and of g. */
VECTOR static void
weights(struct entmax *w, int keys, double e, double sum[LANES], double slope[LANES])
{
	double tau[LANES], s[LANES] = { 0 }, t[LANES] = { 0 };
	double *restrict g = w->g, *restrict p = w->p, *restrict p_log_p = w->p_log_p;

	memcpy(tau, w->tau, sizeof tau);
	for (int j = 0; j < keys * LANES; j += LANES)
		for (int l = 0; l < LANES; l++) {
			double z, log_z;
			const double low = power(w->x[j + l], tau[l], e, &z, &log_z), high = low * z;

			g[j + l] = low;
			p[j + l] = high;
			p_log_p[j + l] = high * e * log_z;
			s[l] += high;
			t[l] += low;
		}
	memcpy(sum, s, sizeof s);
	memcpy(slope, t, sizeof t);
}

/* p moves with tau by -e g, as long as that is little; then it is divided by its sum. */
VECTOR static void
finish(struct entmax *w, int keys, const double move[LANES])
{
	double by[LANES], inverse[LANES], sum[LANES] = { 0 }, *restrict p = w->p;

	memcpy(by, move, sizeof by);
	for (int j = 0; j < keys * LANES; j += LANES)
		for (int l = 0; l < LANES; l++) {
			const double moved = p[j + l] - by[l] * w->g[j + l];

			p[j + l] = moved > 0 ? moved : 0;
			sum[l] += p[j + l];
		}
	for (int l = 0; l < LANES; l++)
		inverse[l] = w->finite[l] ? 1 / sum[l] : NAN;
	for (int j = 0; j < keys * LANES; j += LANES)
		for (int l = 0; l < LANES; l++)
			p[j + l] *= inverse[l];
	memcpy(w->inverse, inverse, sizeof inverse);
}

/* From near the roots: mostly one step. Nobody waits for lanes without a row. */
static void
newton(struct entmax *w, int keys, int rows, double e)
{
	double sum[LANES], slope[LANES], move[LANES] = { 0 };
	int moving[LANES], any = 1;

	for (int l = 0; l < LANES; l++)
		moving[l] = l < rows && w->finite[l];
	for (int i = 0; i < NEWTON_MOST && any; i++) {
		weights(w, keys, e, sum, slope);
		any = 0;
		for (int l = 0; l < LANES; l++) {
			/* Near the root its first order, where the difference would lose digits. */
			const double step = fabs(sum[l] - 1) < 1e-4
			                            ? (sum[l] - 1) / (e * slope[l])
			                            : (sum[l] - exp((1 - 1 / e) * log(sum[l]))) / slope[l];

			if (!moving[l])
				continue;
			move[l] = e * step;
			moving[l] = fabs(step) * e > NEAR_F64;
			any |= moving[l];
			/* A row that is near keeps the tau that its weights are of; they move by the step. */
			w->tau[l] += moving[l] ? step : 0;
		}
	}
	finish(w, keys, move);
	for (int l = 0; l < LANES; l++)
		w->tau[l] += move[l] / e;
}

VECTOR static void
halve(const struct entmax *w, int keys, double e, double low[LANES], double high[LANES])
{
	double sum[LANES] = { 0 }, middle[LANES];

	for (int l = 0; l < LANES; l++)
		middle[l] = (low[l] + high[l]) / 2;
	for (int j = 0; j < keys * LANES; j += LANES)
		for (int l = 0; l < LANES; l++) {
			double z, log_z;
			const double below = power(w->x[j + l], middle[l], e, &z, &log_z);

			sum[l] += below * z;
		}
	for (int l = 0; l < LANES; l++) {
		low[l] = sum[l] >= 1 ? middle[l] : low[l];
		high[l] = sum[l] >= 1 ? high[l] : middle[l];
	}
}

static void
bisection(struct entmax *w, int keys, double e, int known)
{
	double low[LANES], high[LANES] = { 0 }, sum[LANES], slope[LANES];
	const double still[LANES] = { 0 };

	for (int l = 0; l < LANES; l++)
		low[l] = known ? w->tau[l] : -1;
	for (int i = 0; i < BISECTIONS && !known; i++)
		halve(w, keys, e, low, high);
	for (int l = 0; l < LANES; l++)
		w->tau[l] = low[l];
	weights(w, keys, e, sum, slope);
	finish(w, keys, still);
}

void
cpu_entmax(struct entmax *w, const float *x, int stride, int keys, int rows, double alpha, int known)
{
	const double e = 1 / (alpha - 1);

	if (!(alpha > 1)) { /* the reference turns NaN here, too */
		for (int j = 0; j < keys * LANES; j++)
			w->p[j] = w->g[j] = w->p_log_p[j] = NAN;
		for (int l = 0; l < LANES; l++)
			w->tau[l] = w->inverse[l] = NAN;
		return;
	}
	prepare(w, x, stride, keys, alpha);
	if (alpha > 2) {
		bisection(w, keys, e, known);
		return;
	}
	if (!known)
		approach(w, keys, (float)e);
	newton(w, keys, rows, e);
}

/*
 * With g = p^(2-alpha), which is z^(e-1), r = g / sum g and s = p log p (reference: models/entmax.py):
 * dx = g (dy - sum r dy), dalpha = sum dy (p - r) / (alpha-1)^2 - sum dy (s - r sum s) / (alpha-1).
 */
VECTOR double
cpu_entmax_backward(float *d, int stride, const struct entmax *w, int keys, double alpha)
{
	double g_sum[LANES] = { 0 }, gd_sum[LANES] = { 0 }, s_sum[LANES] = { 0 }, pd_sum[LANES] = { 0 };
	double sd_sum[LANES] = { 0 }, mean[LANES], dalpha = 0;

	for (int j = 0; j < keys; j++)
		for (int l = 0; l < LANES; l++) {
			const double dy = (double)d[j * stride + l];
			const int at = j * LANES + l;

			g_sum[l] += w->g[at];
			gd_sum[l] += w->g[at] * dy;
			s_sum[l] += w->p_log_p[at];
			pd_sum[l] += w->p[at] * dy;
			sd_sum[l] += w->p_log_p[at] * dy;
		}
	for (int l = 0; l < LANES; l++) {
		mean[l] = gd_sum[l] / g_sum[l];
		dalpha += (pd_sum[l] - mean[l]) / ((alpha - 1) * (alpha - 1)) -
		          (sd_sum[l] - mean[l] * s_sum[l]) / (alpha - 1);
	}
	for (int j = 0; j < keys; j++)
		for (int l = 0; l < LANES; l++)
			d[j * stride + l] = (float)(w->g[j * LANES + l] * ((double)d[j * stride + l] - mean[l]));
	return dalpha;
}
