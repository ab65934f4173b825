/*
 * FNV-1a, 64 bits (Fowler, Noll, Vo): tells files and streams apart; it keeps no secrets.
 */
#ifndef VQA_SYS_HASH_H
#define VQA_SYS_HASH_H

#include <stddef.h>
#include <stdint.h>

#define FNV_BEGIN UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

/* Over n more bytes; begin with FNV_BEGIN. */
static inline uint64_t
fnv1a(uint64_t hash, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ p[i]) * FNV_PRIME;
	return hash;
}

#endif
