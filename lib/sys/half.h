/*
 * 16-bit floats to float32: IEEE 754 binary16, and bfloat16 (float32's upper half). Both are exact.
 */
#ifndef VQA_SYS_HALF_H
#define VQA_SYS_HALF_H

#include <stdint.h>
#include <string.h>

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

#endif
