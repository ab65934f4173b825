/*
 * Base64 (RFC 4648, with padding), strict: no white space, no other alphabet, no bits beyond the end.
 */
#ifndef VQA_SYS_BASE64_H
#define VQA_SYS_BASE64_H

#include <stddef.h>

/* Characters that n bytes take. */
static inline size_t
base64_length(size_t n)
{
	return (n + 2) / 3 * 4;
}

/* The bytes that `length` characters stand for, if they are base64 at all. */
static inline size_t
base64_bytes(const char *text, size_t length)
{
	size_t pad = 0;

	while (pad < 2 && pad < length && text[length - 1 - pad] == '=')
		pad++;
	return length / 4 * 3 - (length < 4 ? 0 : pad);
}

/* out has base64_length(n) characters; no terminator. */
void base64_encode(char *out, const void *data, size_t n);
/* The bytes of `length` characters into out, which has room for base64_bytes(): their count, or -1 and *at the first wrong one. */
long base64_decode(void *out, const char *text, size_t length, size_t *at);

#endif
