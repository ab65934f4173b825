/*
 * Rows of a report: fields between tabs; what is not a number is "nan".
 */
#ifndef VQA_REPORT_TABLE_H
#define VQA_REPORT_TABLE_H

#include <math.h>
#include <stdio.h>

/* A tab, and the value with so many digits behind the point. printf has a sign for some NaNs. */
static inline void
put_real(FILE *out, double value, int digits)
{
	if (isnan(value))
		fputs("\tnan", out);
	else
		fprintf(out, "\t%.*f", digits, value);
}

#endif
