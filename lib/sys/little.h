/*
 * Little-endian numbers of files, at any byte.
 */
#ifndef VQA_SYS_LITTLE_H
#define VQA_SYS_LITTLE_H

#include <stdint.h>

/* Of 1 to 8 bytes, without a sign. */
static inline uint64_t
little(const uint8_t *bytes, int n)
{
	uint64_t value = 0;

	while (n--)
		value = value << 8 | bytes[n];
	return value;
}

#endif
