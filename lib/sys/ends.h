/*
 * Ends of names.
 */
#ifndef VQA_SYS_ENDS_H
#define VQA_SYS_ENDS_H

#include <string.h>

static inline int
ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && !strcmp(text + n - m, end);
}

/* The same of a file's name, which has something before its ending. */
static inline int
has_ending(const char *name, const char *end)
{
	return strlen(name) > strlen(end) && ends_with(name, end);
}

#endif
