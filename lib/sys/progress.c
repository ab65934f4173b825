/*
 * The line of progress.
 */
#include "sys/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "sys/die.h"

static const double OFTEN = 0.2; /* seconds between lines */
static int line_is_there;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void
progress_begin(struct progress *p, const char *what, int64_t total, int quiet)
{
	*p = (struct progress){ .what = what, .total = total, .on = !quiet && isatty(STDERR_FILENO) };
	p->began = p->shown = now();
}

void
progress_show(struct progress *p, int64_t done)
{
	double t = p->on ? now() : 0;
	char of[32] = "", line[160];
	int n;

	if (!p->on || t - p->shown < OFTEN)
		return;
	p->shown = t;
	if (p->total)
		snprintf(of, sizeof of, " of %lld", (long long)p->total);
	n = snprintf(line, sizeof line, "\r%s: %lld%s %s, %.0f a second\033[K", program_name, (long long)done, of,
	             p->what, (double)done / (t - p->began));
	if (n > 0 && n < (int)sizeof line && write(STDERR_FILENO, line, (size_t)n) == n)
		line_is_there = 1;
}

void
progress_clear(void)
{
	static const char clear[] = "\r\033[K";

	if (line_is_there && write(STDERR_FILENO, clear, sizeof clear - 1) > 0)
		line_is_there = 0;
}
