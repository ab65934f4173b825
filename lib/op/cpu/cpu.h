/*
 * What the files of the CPU backend share: their functions, how loops are compiled, exp, log and erf that vectorise.
 *
 * A kernel works on one row or one block and is compiled for AVX-512, AVX2 and any x86-64 (VECTOR), chosen when the
 * library is loaded; the loop over rows around it is OpenMP's. Sums run in LANES partial sums or in blocks of fixed
 * size, in one order, so that no sum of ours depends on the number of threads.
 */
#ifndef VQA_OP_CPU_CPU_H
#define VQA_OP_CPU_CPU_H

#include <math.h>
#include <string.h>

#include "op/op.h"

/* Sanitizers instrument the resolver that chooses a clone, before they are ready for it. */
#if defined(__SANITIZE_ADDRESS__) || !defined(__x86_64__)
#define VECTOR
#else
#define VECTOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif

enum { LANES = 16 };

/* Below this many elements of work, waking other threads costs more than it gives. */
enum { PARALLEL_LEAST = 1 << 14 };

void cpu_embedding(const struct embedding *);
void cpu_embedding_backward(const struct embedding_backward *);
void cpu_linear(const struct linear *);
void cpu_linear_backward(const struct linear_backward *);
void cpu_activation_backward(const struct activation_backward *);
void cpu_layernorm(const struct layernorm *);
void cpu_layernorm_backward(const struct layernorm_backward *);
void cpu_average(const struct average *);
void cpu_average_backward(const struct average_backward *);
void cpu_attention(const struct attention *);
void cpu_attention_backward(const struct attention_backward *);
void cpu_gather(const struct gather *);
void cpu_gather_backward(const struct gather_backward *);
void cpu_add(float *y, const float *x, size_t n);
void cpu_narrow(bf16 *out, const float *x, size_t n);
void cpu_sumsq(double *sums, const float *const *x, const size_t *n, int count);
void cpu_lamb(const struct lamb *list, int count);
void cpu_adamw(const struct adamw *list, int count);
void cpu_lookahead(const struct lookahead *list, int count);
void cpu_clamp(const struct clamp *list, int count);
struct packed *cpu_pack(const struct pack *);
void cpu_pack_free(struct packed *);
int cpu_has(enum precision);
void *cpu_alloc(size_t bytes);
void cpu_free(void *);
void cpu_copy(void *dst, const void *src, size_t bytes);
void cpu_zero(void *dst, size_t bytes);
void cpu_arrive(void);
void cpu_fetch(int turn, const void *src, size_t bytes);
const void *cpu_fetched(int turn, struct err *err);
int cpu_sync(struct err *err);

/* Keep the first fault for sync(). */
void cpu_fault(const char *what);
/* Scratch that is kept for next time, and grows. */
struct kept {
	void *at;
	size_t bytes;
};
/* At least so many bytes, whatever was there lost; NULL (and a fault) when there is no memory. */
void *cpu_kept(struct kept *kept, size_t bytes);
/* This thread's own, of at least n elements. */
float *cpu_scratch(size_t n);

/* out (n) = act(x), which may be x (linear.c uses it) */
void cpu_activate(float *out, const float *x, size_t n, enum activation act);

/* out (n) = x in bf16, by this thread alone */
void cpu_narrow_row(bf16 *out, const float *x, size_t n);

/* Keep or drop the elements of a row: x times 0 or 1/(1 - p). */
void cpu_drop(float *x, int n, const struct dropout *drop, uint32_t row);

/* The same for rows first, first + 1, … of n elements. stride >= n is a multiple of four, and what is between n and the next such is touched, too. */
void cpu_drop_rows(float *x, int stride, int rows, int n, const struct dropout *drop, uint32_t first);

/* c (M, N) = scale a b, or added to c if add. a (M, K) may be a transpose; b (K, N); N is a multiple of LANES. */
struct tiled {
	float *c;
	const float *a, *b;
	int c_row, a_row, a_column, b_row; /* strides */
	int M, N, K;
	int add;
	float scale;
};
void cpu_tiled(const struct tiled *);
/* out (W, Q) = x (n, W) transposed, zeros from n to Q; rows of x are `stride` apart */
void cpu_transpose(float *restrict out, int Q, const float *restrict x, int stride, int n, int W);

/*
 * The mask (keys) of a span for one head of a place; moves (keys): 1 where it moves with the span's value, else 0.
 * Applied to x (keys, LANES), rows `stride` apart: out = mask x / sum of it in the lane, which is written. out may be x.
 * Backward: d, the gradient by out, becomes the one by x; dmask (keys), the one by the mask, is added to.
 */
void cpu_span_mask(float *mask, float *moves, const struct span *span, int heads, int place, int head, int keys);
void cpu_span_apply(float *out, const float *x, const float *mask, int stride, int keys, double sum[LANES]);
void cpu_span_backward(float *d, float *dmask, const float *x, const float *mask, int stride, int keys,
                       const double sum[LANES]);

/* LANES rows of entmax in double, a lane each. The arrays are (keys, LANES). */
struct entmax {
	double *x;             /* (alpha - 1)(x - max) */
	float *x32;            /* the same in float32, for the first steps */
	float *g32;            /* p^(2 - alpha) in float32 */
	double *p;             /* the probabilities */
	double *g;             /* p^(2 - alpha), 0 where p is */
	double *p_log_p;       /* p log p, of p before it was divided by its sum */
	double tau[LANES];     /* of x' */
	double inverse[LANES]; /* 1/sum that p was multiplied with */
	int finite[LANES];     /* whether the lane's x are */
};

/*
 * entmax of each lane of x (keys, LANES), rows of keys `stride` apart; the first `rows` lanes are wanted. known: tau is near the
 * solution already.
 */
void cpu_entmax(struct entmax *w, const float *x, int stride, int keys, int rows, double alpha, int known);
/* Where float32 is enough for it, and taus are not known: x becomes p, of w only tau and inverse are made; 1, or 0 and nothing is done. */
int cpu_entmax_easy(struct entmax *w, float *x, int stride, int keys, double alpha);
/* d (keys, LANES), the gradient by p, becomes the one by x; returns the lanes' share of the gradient by alpha. */
double cpu_entmax_backward(float *d, int stride, const struct entmax *w, int keys, double alpha);

/* exp(x) by 2^k times a polynomial; coefficients of the Cephes library (S. Moshier), expf: within 2 ulp. */
static inline float
exp_f32(float x)
{
	const float y = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
	const float k = floorf(y * 1.44269504f + 0.5f);
	const float r = (y - k * 0.693359375f) + k * 2.12194440e-4f;
	union {
		int32_t i;
		float f;
	} scale = { .i = ((int32_t)k + 127) << 23 };
	float p = 1.9875691500e-4f;

	p = p * r + 1.3981999507e-3f;
	p = p * r + 8.3334519073e-3f;
	p = p * r + 4.1665795894e-2f;
	p = p * r + 1.6666665459e-1f;
	p = p * r + 5.0000001201e-1f;
	p = p * r * r + r + 1;
	return x < -87.0f ? 0 : p * scale.f;
}

/* log(x), x > 0 and normal: 2 artanh((m-1)/(m+1)) of the mantissa in [sqrt 1/2, sqrt 2), within 3 ulp of its terms. */
static inline float
log_f32(float x)
{
	const union {
		float f;
		uint32_t u;
	} u = { .f = x };
	/* The exponent as a whole number, from the bits of the mantissa's lower bound on. */
	const int32_t e = (int32_t)(u.u - 0x3f3504f3) >> 23;
	const union {
		uint32_t u;
		float f;
	} m = { .u = u.u - ((uint32_t)e << 23) };
	const float s = (m.f - 1) / (m.f + 1), q = s * s;
	float p = 1.0f / 9;

	p = p * q + 1.0f / 7;
	p = p * q + 1.0f / 5;
	p = p * q + 1.0f / 3;
	return 2 * s * (p * q + 1) + (float)e * 0.69314718f;
}

/* Adding 1.5 2^52 leaves a double's nearest whole number in its low bits: integers and doubles meet without a conversion. */
union bits_f64 {
	double f;
	int64_t i;
	uint64_t u;
};

static const double WHOLE = 6755399441055744.0; /* 1.5 2^52 */

/* exp(x), |x| < 700, by its series after reduction to |r| <= ln 2 / 2: relative error below 1e-12. */
static inline double
exp_f64(double x)
{
	const union bits_f64 k = { .f = x * 1.4426950408889634 + WHOLE };
	const double r = x - (k.f - WHOLE) * 0.6931471805599453;
	const union bits_f64 scale = { .u = (k.u + 1023) << 52 };
	double p = 1.0 / 3628800;

	p = p * r + 1.0 / 362880;
	p = p * r + 1.0 / 40320;
	p = p * r + 1.0 / 5040;
	p = p * r + 1.0 / 720;
	p = p * r + 1.0 / 120;
	p = p * r + 1.0 / 24;
	p = p * r + 1.0 / 6;
	p = p * r + 0.5;
	p = p * r + 1;
	return (p * r + 1) * scale.f;
}

/* log(x), x > 0 and normal: 2 artanh((m-1)/(m+1)) of the mantissa in [sqrt 1/2, sqrt 2): absolute error below 1e-13. */
static inline double
log_f64(double x)
{
	const union bits_f64 u = { .f = x };
	/* The exponent with a bias that keeps it positive, and then as the low bits of 2^52. */
	const uint64_t biased = (u.u - 0x3fe6a09e667f3bcd + ((uint64_t)2048 << 52 >> 1)) >> 52;
	const union bits_f64 e = { .u = biased | 0x4330000000000000 };
	const union bits_f64 m = { .u = u.u - ((biased - 1024) << 52) };
	const double s = (m.f - 1) / (m.f + 1), q = s * s;
	double p = 1.0 / 15;

	p = p * q + 1.0 / 13;
	p = p * q + 1.0 / 11;
	p = p * q + 1.0 / 9;
	p = p * q + 1.0 / 7;
	p = p * q + 1.0 / 5;
	p = p * q + 1.0 / 3;
	return 2 * s * (p * q + 1) + (e.f - (4503599627370496.0 + 1024)) * 0.6931471805599453;
}

#endif
