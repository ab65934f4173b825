/*
 * alpha-entmax of a row, exactly, and its gradients.
 *
 * With x' = (alpha-1)(x - max) and e = 1/(alpha-1), p = z^e where z = max(0, x' - tau), and tau in [-1, 0) makes the sum one.
 * For 1 < alpha <= 2, e >= 1, so the norm of z, (sum of z^e)^(1/e), is convex in tau and decreasing: Newton's method for norm = 1 from
 * tau = -1, where it is >= 1, climbs to the root without passing it. The norm is nearly straight (exactly so for a flat row), so
 * that few steps are needed. For alpha > 2 it is not convex: bisection. In double, since e is up to 100 and raises every rounding
 * of x' - tau to that power.
 */
#include "op/cpu/cpu.h"

enum { NEWTON_MOST = 60, BISECTIONS = 60, WIDE = 8 };

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

/* The sums of z^e and of z^(e-1). d is a multiple of WIDE. */
VECTOR static void
sums(const double *x, int d, double tau, double e, double *sum, double *slope)
{
	double s[WIDE] = { 0 }, t[WIDE] = { 0 };

	for (int i = 0; i < d; i += WIDE)
		for (int l = 0; l < WIDE; l++) {
			double z, log_z;
			const double low = power(x[i + l], tau, e, &z, &log_z);

			s[l] += low * z;
			t[l] += low;
		}
	*sum = *slope = 0;
	for (int l = 0; l < WIDE; l++) {
		*sum += s[l];
		*slope += t[l];
	}
}

/* All that is wanted of a row at its tau; returns the sum that p was divided by. */
VECTOR static double
weights(struct entmax_row *row, const double *x, int d, double tau, double e)
{
	double s[WIDE] = { 0 }, sum = 0;

	for (int i = 0; i < d; i += WIDE)
		for (int l = 0; l < WIDE; l++) {
			double z, log_z;
			const double low = power(x[i + l], tau, e, &z, &log_z), p = low * z;

			row->g[i + l] = low;
			row->p[i + l] = p;
			row->p_log_p[i + l] = p * e * log_z;
			s[l] += p;
		}
	for (int l = 0; l < WIDE; l++)
		sum += s[l];
	for (int i = 0; i < d; i++)
		row->p[i] /= sum;
	return sum;
}

static double
solve_newton(const double *x, int d, double e, double tau)
{
	for (int i = 0; i < NEWTON_MOST; i++) {
		double sum, slope, step;

		sums(x, d, tau, e, &sum, &slope);
		/* (S^(1/e) - 1) / (S^(1/e - 1) T); near the root its first order, where the difference would lose digits. */
		step = fabs(sum - 1) < 1e-4 ? (sum - 1) / (e * slope) : (sum - exp((1 - 1 / e) * log(sum))) / slope;
		tau += step;
		/* e multiplies an error of tau, and a step's is of the order of the last step's square. */
		if (fabs(step) * e < 1e-6)
			break;
	}
	return tau;
}

static double
solve_bisection(const double *x, int d, double e)
{
	double low = -1, high = 0;

	for (int i = 0; i < BISECTIONS; i++) {
		double middle = (low + high) / 2, sum, slope;

		sums(x, d, middle, e, &sum, &slope);
		if (sum >= 1)
			low = middle;
		else
			high = middle;
	}
	return low;
}

double
cpu_entmax(struct entmax_row *row, const float *x, int d, double alpha, double *tau, int warm)
{
	const double e = 1 / (alpha - 1);
	double scaled[ENTMAX_KEYS], max = (double)x[0], total = (double)x[0];
	int padded = d;

	for (int i = 1; i < d; i++) {
		max = (double)x[i] > max ? (double)x[i] : max;
		total += (double)x[i];
	}
	if (!(alpha > 1) || !isfinite(total)) { /* the reference turns NaN here, too */
		for (int i = 0; i < d; i++)
			row->p[i] = row->g[i] = row->p_log_p[i] = NAN;
		*tau = NAN;
		return NAN;
	}
	for (int i = 0; i < d; i++)
		scaled[i] = (alpha - 1) * ((double)x[i] - max);
	for (; padded % WIDE; padded++)
		scaled[padded] = -2; /* below every tau: weight 0 */
	if (alpha <= 2)
		*tau = solve_newton(scaled, padded, e, warm ? *tau : -1);
	else if (!warm)
		*tau = solve_bisection(scaled, padded, e);
	return 1 / weights(row, scaled, padded, *tau, e);
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
