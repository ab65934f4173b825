/*
 * alpha-entmax of a row, exactly, and its gradients.
 *
 * With x' = (alpha-1)(x - max) and e = 1/(alpha-1), p = max(0, x' - tau)^e where tau in [-1, 0) makes the sum one. For
 * 1 < alpha <= 2, e >= 1 and f(tau) = sum - 1 is convex and decreasing, so Newton's method from tau = -1, where f >= 0, climbs to the
 * root without passing it. For alpha > 2 f is not convex: bisection. In double, since e is up to 100 and raises every
 * rounding of x' - tau to that power.
 */
#include "op/cpu/cpu.h"

enum { NEWTON_MOST = 60, BISECTIONS = 60, WIDE = 8 };

/* sum of z^e and of z^(e-1) over z = x - tau > 0; p gets z^e. d is a multiple of WIDE. */
VECTOR static void
sums(const double *x, int d, double tau, double e, double *restrict p, double *sum, double *slope)
{
	double s[WIDE] = { 0 }, t[WIDE] = { 0 };

	for (int i = 0; i < d; i += WIDE)
		for (int l = 0; l < WIDE; l++) {
			const double z = x[i + l] - tau;
			const double safe = z > 1e-300 ? z : 1e-300;
			const double power = (e - 1) * log_f64(safe);
			const double low = z > 0 && power > -690 ? exp_f64(power > -690 ? power : -690) : 0;

			s[l] += low * safe;
			t[l] += low;
			p[i + l] = low * safe;
		}
	*sum = *slope = 0;
	for (int l = 0; l < WIDE; l++) {
		*sum += s[l];
		*slope += t[l];
	}
}

static double
solve_newton(const double *x, int d, double e, double tau, double *p, int most)
{
	double sum, slope;

	for (int i = 0; i < most; i++) {
		double step;

		sums(x, d, tau, e, p, &sum, &slope);
		step = (sum - 1) / (e * slope);
		tau += step;
		/* In units of the largest x' - tau, which e multiplies: the sum is then exact to double's rounding. */
		if (fabs(step) * e < 1e-13)
			break;
	}
	return tau;
}

static double
solve_bisection(const double *x, int d, double e, double *p)
{
	double low = -1, high = 0;

	for (int i = 0; i < BISECTIONS; i++) {
		double middle = (low + high) / 2, sum, slope;

		sums(x, d, middle, e, p, &sum, &slope);
		if (sum >= 1)
			low = middle;
		else
			high = middle;
	}
	return low;
}

double
cpu_entmax(double *x, int d, double alpha, double *tau, int warm)
{
	const double e = 1 / (alpha - 1);
	double p[ENTMAX_KEYS], max = x[0], sum, slope;
	int padded = d;

	for (int i = 1; i < d; i++)
		max = x[i] > max ? x[i] : max;
	if (!(alpha > 1) || !isfinite(max)) { /* the reference turns NaN here, too */
		for (int i = 0; i < d; i++)
			x[i] = NAN;
		*tau = NAN;
		return NAN;
	}
	for (int i = 0; i < d; i++)
		x[i] = (alpha - 1) * (x[i] - max);
	for (; padded % WIDE; padded++)
		x[padded] = -2; /* below every tau: weight 0 */
	if (alpha <= 2)
		*tau = warm ? solve_newton(x, padded, e, *tau, p, 3) : solve_newton(x, padded, e, -1, p, NEWTON_MOST);
	else if (!warm)
		*tau = solve_bisection(x, padded, e, p);
	sums(x, padded, *tau, e, p, &sum, &slope);
	for (int i = 0; i < d; i++)
		x[i] = p[i] / sum;
	return 1 / sum;
}

double
cpu_entmax_backward(double *dy, const double *p, int d, double alpha)
{
	double g_sum = 0, gd_sum = 0, s_sum = 0, first = 0, second = 0;
	double g[ENTMAX_KEYS];

	for (int i = 0; i < d; i++) {
		const double log_p = p[i] > 0 ? log(p[i]) : 0;

		g[i] = p[i] > 0 ? exp((2 - alpha) * log_p) : 0;
		g_sum += g[i];
		gd_sum += g[i] * dy[i];
		s_sum += p[i] * log_p;
	}
	for (int i = 0; i < d; i++) {
		const double r = g[i] / g_sum, s = p[i] > 0 ? p[i] * log(p[i]) : 0;

		first += dy[i] * (p[i] - r);
		second += dy[i] * (s - r * s_sum);
		dy[i] = g[i] * (dy[i] - gd_sum / g_sum);
	}
	return first / ((alpha - 1) * (alpha - 1)) - second / (alpha - 1);
}
