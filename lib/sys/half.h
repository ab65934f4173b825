/*
 * 16-bit floats to float32: IEEE 754 binary16, and bfloat16 (float32's upper half). Both are exact. The way back rounds to the
 * nearest, ties to even; what is too large becomes infinite.
 */
#ifndef VQA_SYS_HALF_H
#define VQA_SYS_HALF_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "sys/both.h"

static inline float
half_to_float(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 1023;
	uint32_t bits;
	float x;

	if (exponent == 0) { /* zero or subnormal: fraction 2^-24 */
		x = (float)fraction * 0x1p-24f;
		return sign ? -x : x;
	}
	bits = sign | (exponent == 31 ? 0xffu : exponent + 112) << 23 | fraction << 13;
	memcpy(&x, &bits, sizeof x);
	return x;
}

static inline float
bfloat_to_float(uint16_t h)
{
	uint32_t bits = (uint32_t)h << 16;
	float x;

	memcpy(&x, &bits, sizeof x);
	return x;
}

static BOTH inline uint16_t
float_to_bfloat(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof bits);
	return x != x ? 0x7fc0 : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline uint16_t
float_to_half(float x)
{
	const uint16_t sign = signbit(x) ? 0x8000 : 0;
	float y = fabsf(x);
	uint32_t bits;

	if (!(y < 65520)) /* infinite, not a number, or rounds beyond the largest half, 65504 */
		return (uint16_t)(sign | (isnan(x) ? 0x7e00 : 0x7c00));
	if (y < 0x1p-14f) /* subnormal: whole multiples of 2^-24 */
		return (uint16_t)(sign | (uint16_t)lrintf(y * 0x1p24f));
	memcpy(&bits, &y, sizeof bits);
	bits += 0xfff + (bits >> 13 & 1);
	return (uint16_t)(sign | ((bits >> 13) - (112u << 10)));
}

#endif
