/*
 * alpha-entmax of a row, exactly, and its gradients.
 *
 * With x' = (alpha-1)(x - max) and e = 1/(alpha-1), p = z^e where z = max(0, x' - tau), and tau in [-1, 0) makes the sum one.
 * For 1 < alpha <= 2, e >= 1, so the norm of z, (sum of z^e)^(1/e), is convex in tau and decreasing: Newton's method for norm = 1 from
 * tau = -1, where it is >= 1, climbs to the root without passing it. The norm is nearly straight (exactly so for a flat row), so
 * that few steps are needed. They are made in float32, as far as it goes; what is left of the way is one step in double, since e is
 * up to 100 and raises every rounding of x' - tau to that power. For alpha > 2 the norm is not convex: bisection.
 */
#include "op/cpu/cpu.h"

enum { NEWTON_MOST = 60, BISECTIONS = 60, WIDE = 8 };

/* In float32 a step this small (times e, which raises it) is as good as none; in double the next one would be of its square's order. */
static const double NEAR_F32 = 1e-5, NEAR_F64 = 3e-5;

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

/* The sum of z^e. d is a multiple of WIDE. */
VECTOR static double
sum_of(const double *x, int d, double tau, double e)
{
	double s[WIDE] = { 0 }, sum = 0;

	for (int i = 0; i < d; i += WIDE)
		for (int l = 0; l < WIDE; l++) {
			double z, log_z;
			const double low = power(x[i + l], tau, e, &z, &log_z);

			s[l] += low * z;
		}
	for (int l = 0; l < WIDE; l++)
		sum += s[l];
	return sum;
}

/* Newton's steps in float32 from -1; d is a multiple of LANES. */
VECTOR static float
approach(const float *x, int d, float e)
{
	float tau = -1;

	for (int step_no = 0; step_no < NEWTON_MOST; step_no++) {
		float s[LANES] = { 0 }, t[LANES] = { 0 }, sum = 0, slope = 0, step;

		for (int i = 0; i < d; i += LANES)
			for (int l = 0; l < LANES; l++) {
				const float z = x[i + l] - tau, positive = z > 1e-30f ? z : 1e-30f;
				const float low = z > 0 ? exp_f32((e - 1) * log_f32(positive)) : 0;

				s[l] += low * z;
				t[l] += low;
			}
		for (int l = 0; l < LANES; l++) {
			sum += s[l];
			slope += t[l];
		}
		/* (S^(1/e) - 1) / (S^(1/e - 1) T) */
		step = (sum - exp_f32((1 - 1 / e) * log_f32(sum))) / slope;
		tau += step;
		if (!(fabsf(step) * e > (float)NEAR_F32))
			break;
	}
	return tau;
}

/* All that is wanted of a row at its tau: sums of p, not yet divided, and of g. */
VECTOR static void
weights(struct entmax_row *row, const double *x, int d, double tau, double e, double *sum, double *slope)
{
	double s[WIDE] = { 0 }, t[WIDE] = { 0 };

	for (int i = 0; i < d; i += WIDE)
		for (int l = 0; l < WIDE; l++) {
			double z, log_z;
			const double low = power(x[i + l], tau, e, &z, &log_z), p = low * z;

			row->g[i + l] = low;
			row->p[i + l] = p;
			row->p_log_p[i + l] = p * e * log_z;
			s[l] += p;
			t[l] += low;
		}
	*sum = *slope = 0;
	for (int l = 0; l < WIDE; l++) {
		*sum += s[l];
		*slope += t[l];
	}
}

/* p moves with tau by -e g, as long as that is little; then it is divided by its sum, which comes back. */
VECTOR static double
finish(struct entmax_row *row, int d, double move)
{
	double s[WIDE] = { 0 }, sum = 0, inverse;

	for (int i = 0; i < d; i += WIDE)
		for (int l = 0; l < WIDE; l++) {
			const double p = row->p[i + l] - move * row->g[i + l];

			row->p[i + l] = p > 0 ? p : 0;
			s[l] += row->p[i + l];
		}
	for (int l = 0; l < WIDE; l++)
		sum += s[l];
	inverse = 1 / sum;
	for (int i = 0; i < d; i++)
		row->p[i] *= inverse;
	return inverse;
}

/* From near the root: mostly one step. Returns 1/sum. */
static double
newton(struct entmax_row *row, const double *x, int d, double e, double *tau)
{
	double step = 0;

	for (int i = 0; i < NEWTON_MOST; i++) {
		double sum, slope;

		weights(row, x, d, *tau, e, &sum, &slope);
		/* Near the root its first order, where the difference would lose digits. */
		step = fabs(sum - 1) < 1e-4 ? (sum - 1) / (e * slope) : (sum - exp((1 - 1 / e) * log(sum))) / slope;
		*tau += step;
		if (!(fabs(step) * e > NEAR_F64))
			break;
	}
	return finish(row, d, e * step);
}

static double
bisection(struct entmax_row *row, const double *x, int d, double e, double *tau, int warm)
{
	double low = -1, high = 0, sum, slope;

	for (int i = 0; i < BISECTIONS && !warm; i++) {
		double middle = (low + high) / 2;

		if (sum_of(x, d, middle, e) >= 1)
			low = middle;
		else
			high = middle;
		*tau = low;
	}
	weights(row, x, d, *tau, e, &sum, &slope);
	return finish(row, d, 0);
}

/* The greatest of x (d), and whether all are finite. */
VECTOR static float
greatest(const float *x, int d, int *finite)
{
	float max = x[0], total = 0;

	for (int i = 0; i < d; i++) {
		max = x[i] > max ? x[i] : max;
		total += x[i] * 0; /* NaN if any is not finite */
	}
	*finite = total == 0;
	return max;
}

/* x' in both precisions; what is beyond d is below every tau, so that its weight is 0. */
VECTOR static void
prepare(float *x32, double *x64, const float *x, int d, double alpha, float max)
{
	int padded = (d + LANES - 1) / LANES * LANES;

	for (int i = 0; i < d; i++) {
		x64[i] = (alpha - 1) * ((double)x[i] - (double)max);
		x32[i] = (float)x64[i];
	}
	for (int i = d; i < padded; i++) {
		x64[i] = -2;
		x32[i] = -2;
	}
}

double
cpu_entmax(struct entmax_row *row, const float *x, int d, double alpha, double *tau, int warm)
{
	const double e = 1 / (alpha - 1);
	float x32[ENTMAX_KEYS], max;
	double x64[ENTMAX_KEYS];
	int finite, padded = (d + WIDE - 1) / WIDE * WIDE;

	max = greatest(x, d, &finite);
	if (!(alpha > 1) || !finite) { /* the reference turns NaN here, too */
		for (int i = 0; i < d; i++)
			row->p[i] = row->g[i] = row->p_log_p[i] = NAN;
		*tau = NAN;
		return NAN;
	}
	prepare(x32, x64, x, d, alpha, max);
	if (alpha > 2)
		return bisection(row, x64, padded, e, tau, warm);
	if (!warm)
		*tau = (double)approach(x32, (d + LANES - 1) / LANES * LANES, (float)e);
	return newton(row, x64, padded, e, tau);
}

/*
 * With g = p^(2-alpha), which is z^(e-1), r = g / sum g and s = p log p (reference: models/entmax.py):
 * dx = g (dy - sum r dy), dalpha = sum dy (p - r) / (alpha-1)^2 - sum dy (s - r sum s) / (alpha-1).
 */
VECTOR double
cpu_entmax_backward(float *dx, const float *dy, const struct entmax_row *row, int d, double alpha)
{
	double g_sum = 0, gd_sum = 0, s_sum = 0, pd_sum = 0, sd_sum = 0, mean;

	for (int i = 0; i < d; i++) {
		g_sum += row->g[i];
		gd_sum += row->g[i] * (double)dy[i];
		s_sum += row->p_log_p[i];
		pd_sum += row->p[i] * (double)dy[i];
		sd_sum += row->p_log_p[i] * (double)dy[i];
	}
	mean = gd_sum / g_sum;
	for (int i = 0; i < d; i++)
		dx[i] = (float)(row->g[i] * ((double)dy[i] - mean));
	return (pd_sum - mean) / ((alpha - 1) * (alpha - 1)) - (sd_sum - mean * s_sum) / (alpha - 1);
}
