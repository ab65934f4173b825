/*
 * What --skip-bad leaves out: counted, the first few with their words, told at the end. For cmd/ alone, as die.h.
 */
#ifndef VQA_SYS_SKIPS_H
#define VQA_SYS_SKIPS_H

#include <stdint.h>

#include "sys/err.h"

enum { SKIPS_NAMED = 3 };

struct skips {
	int64_t count;
	struct err first[SKIPS_NAMED];
};

void skips_add(struct skips *s, const struct err *why);
/* "left out: WORDS" for the first few, then "N WHATs left out"; nothing if there were none. */
void skips_tell(const struct skips *s, const char *what);

#endif
