/*
 * UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing over U+10FFFF.
 */
#ifndef VQA_SYS_UTF8_H
#define VQA_SYS_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The code point at s, n bytes left, at least one; returns its length, 0 if what is there is not UTF-8. */
int utf8_get(const char *s, size_t n, int32_t *code);
/* Writes 1 to 4 bytes; returns how many. */
int utf8_put(char *s, int32_t code);
/* *bad (may be NULL) is the offset of the first byte that is not UTF-8. */
bool utf8_valid(const char *s, size_t n, size_t *bad);
/* The same, and no NUL in it. */
bool utf8_text(const char *s, size_t n);
/*
 * For messages: copy at most size - 1 bytes of text from outside, so that they stay one line: what is not printable or not
 * UTF-8 becomes '?', a cut is shown by "...". Returns out.
 */
const char *utf8_quote(char *out, size_t size, const char *s, size_t n);

#endif
