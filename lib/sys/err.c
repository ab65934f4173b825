/*
 * Errors as values: formatting only. Words that do not fit are cut at the end, never the subject at their beginning. They stay
 * one line whatever they quote: control characters become '?'.
 */
#include "sys/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int
one_line(struct err *err)
{
	for (char *c = err->text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	return -1;
}

int
err_set(struct err *err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(err->text, sizeof err->text, fmt, args);
	va_end(args);
	return one_line(err);
}

int
err_sys(struct err *err, const char *fmt, ...)
{
	const char *reason = strerror(errno);
	va_list args;
	size_t n;

	va_start(args, fmt);
	vsnprintf(err->text, sizeof err->text, fmt, args);
	va_end(args);
	n = strlen(err->text);
	snprintf(err->text + n, sizeof err->text - n, ": %s", reason);
	return one_line(err);
}

int
err_prefix(struct err *err, const char *fmt, ...)
{
	char before[sizeof err->text];
	char after[sizeof err->text];
	va_list args;

	va_start(args, fmt);
	vsnprintf(before, sizeof before, fmt, args);
	va_end(args);
	memcpy(after, err->text, sizeof after);
	if (snprintf(err->text, sizeof err->text, "%s: %s", before, after) < 0)
		err->text[0] = '\0';
	return one_line(err);
}
