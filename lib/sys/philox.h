/*
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3; SC 2011): a counter-based
 * generator, so that every draw is a function of where it is used and nothing else.
 *
 * Dropout: key = seed; counter = (step, site, row, column / 4); lane = column mod 4; kept if draw >= p 2^32.
 */
#ifndef VQA_SYS_PHILOX_H
#define VQA_SYS_PHILOX_H

#include <stdint.h>

#include "sys/both.h"

enum { PHILOX_ROUNDS = 10 };
static const uint32_t PHILOX_W0 = 0x9E3779B9u, PHILOX_W1 = 0xBB67AE85u; /* added to the key after each round */

/* One round over the counter, with this round's key. */
static BOTH inline void
philox_round(uint32_t *c0, uint32_t *c1, uint32_t *c2, uint32_t *c3, uint32_t k0, uint32_t k1)
{
	const uint64_t p0 = (uint64_t)0xD2511F53u * *c0, p1 = (uint64_t)0xCD9E8D57u * *c2;

	*c0 = (uint32_t)(p1 >> 32) ^ *c1 ^ k0;
	*c1 = (uint32_t)p1;
	*c2 = (uint32_t)(p0 >> 32) ^ *c3 ^ k1;
	*c3 = (uint32_t)p0;
}

static BOTH inline void
philox4x32(uint32_t out[4], uint64_t seed, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3)
{
	out[0] = c0;
	out[1] = c1;
	out[2] = c2;
	out[3] = c3;
	for (uint32_t round = 0; round < PHILOX_ROUNDS; round++)
		philox_round(&out[0], &out[1], &out[2], &out[3], (uint32_t)seed + round * PHILOX_W0,
		             (uint32_t)(seed >> 32) + round * PHILOX_W1);
}

#endif
