/*
 * The table of operations: everything that the model and the optimizer compute goes through it, and a backend
 * (lib/op/cpu, lib/op/cuda) fills it in, one file an operation.
 *
 * Legend: B questions of a batch ("places"), N rows (real tokens or regions, never padding), D width, H heads,
 * W = D/H width of a head, I and O inputs and outputs of a linear layer.
 *
 * Every pointer is backend memory (of alloc(), or shared memory on the CPU) unless it says host. Every matrix is dense
 * row-major f32 unless it has a stride (elements from one row to the next). "written" means whatever was there is lost;
 * "added" means the result is added to what is there. Outputs never overlap inputs unless said.
 *
 * Operations do not fail one by one: a backend keeps its first fault, and sync() or fetched() tells it. A result is bit for bit the
 * same for the same inputs, machine and number of threads.
 */
#ifndef VQA_OP_OP_H
#define VQA_OP_OP_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "sys/both.h"
#include "sys/err.h"

/* Ragged rows: place b has rows off[b] … off[b+1]-1; off is HOST memory (n + 1), off[0] = 0. */
struct rows {
	int n;
	const int *off;
};

static inline int
rows_total(const struct rows *rows)
{
	return rows->off[rows->n];
}

/* bfloat16: the upper half of a float32, rounded to nearest even. Where an output has a twin in bf16, it may be NULL. */
typedef uint16_t bf16;

/*
 * Dropout: Philox4x32-10 (sys/philox.h), key seed, counter (step, site, row, column / 4), lane column mod 4; kept, and
 * divided by 1 - p, if the draw is >= p 2^32. row = place * stride + index in its place for hidden states,
 * (place * H + head) * stride + query for probabilities, stride being the largest count of rows a place can have.
 * Where several ranks share a batch, place is that in the batch of all of them: dropout_place().
 * p = 0: nothing is drawn.
 */
struct dropout {
	float p;
	uint64_t seed;
	uint32_t step, site, stride;
	uint32_t shard, others; /* this rank's number, and how many other ranks there are */
};

/* Of place b of this rank's batch: ranks take the questions in turn. */
static BOTH inline uint32_t
dropout_place(const struct dropout *drop, int b)
{
	return (uint32_t)b * (1 + drop->others) + drop->shard;
}

/* The row that is drawn for: of hidden states, the index-th of place b; of probabilities, a query's in one of H heads. */
static BOTH inline uint32_t
dropout_row(const struct dropout *drop, int b, int index)
{
	return dropout_place(drop, b) * drop->stride + (uint32_t)index;
}

static BOTH inline uint32_t
dropout_query(const struct dropout *drop, int b, int H, int head, int query)
{
	return (dropout_place(drop, b) * (uint32_t)H + (uint32_t)head) * drop->stride + (uint32_t)query;
}

/* word (V, D), position (P, D), type (2, D): out (N, D) written = word[id] + position[index] + type[0] */
struct embedding {
	float *out;
	struct rows rows;
	const int32_t *ids; /* (N), HOST, all within the table */
	const float *word, *position, *type;
	int D;
};

/* dword (V, D), dposition (P, D): added. Row 0 of either gets nothing (padding_idx 0 in the reference's models/lxmert_adaptive.py). */
struct embedding_backward {
	float *dword, *dposition;
	struct rows rows;
	const int32_t *ids; /* (N), HOST */
	const float *dout;  /* (N, D) */
	int D;
};

enum activation { ACT_NONE, ACT_GELU, ACT_TANH }; /* GELU is the erf form x/2 (1 + erf(x/sqrt 2)), never the tanh one */

/*
 * What the products of linear layers multiply: float32; both sides rounded to bf16; or float32 that a card may round to TF32, ten bits
 * behind the point, as it reads it. Sums are float32 in each, and everything else is float32 always.
 */
enum precision { PRECISION_F32, PRECISION_BF16, PRECISION_TF32, PRECISIONS };

/* As options, headers and snapshots say it. */
static inline const char *
precision_name(enum precision precision)
{
	static const char *const names[PRECISIONS] = { "f32", "bf16", "tf32" };

	return names[precision];
}

/* 0, or -1 for another word. */
static inline int
precision_parse(enum precision *out, const char *name)
{
	for (int i = 0; i < PRECISIONS; i++)
		if (!strcmp(name, precision_name((enum precision)i))) {
			*out = (enum precision)i;
			return 0;
		}
	return -1;
}

/*
 * Weights (O, I) and biases (O) of one layer, or of several with the same input below each other (sum of O, I), laid out
 * as linear() is fastest with them. They are copied: the sources are not needed after.
 */
enum { PACK_MOST = 2 };
struct pack {
	const float *weight[PACK_MOST], *bias[PACK_MOST]; /* HOST memory */
	int parts, O, I;                                  /* O: of each */
	enum precision precision;
};
struct packed; /* the backend's own */

/*
 * out (N, O) written = act(in (N, I) weight^T + bias); pre, if not NULL, (N, O) written: before the activation.
 * out may be NULL where out16 is not. in16, if not NULL, is in's twin, and in may be NULL.
 */
struct linear {
	float *out, *pre;
	bf16 *out16; /* out's twin */
	const float *in;
	const bf16 *in16;
	const struct packed *packed; /* in place of weight, bias and precision, if not NULL */
	const float *weight /* (O, I) */, *bias /* (O) */;
	const bf16 *weight16; /* weight's twin; NULL: weight is rounded at each use */
	int N, I, O;
	enum activation act;
	enum precision precision;
};

/*
 * dout (N, O) is the gradient before the activation. din (N, I), if not NULL, written, or added if add_in;
 * dweight (O, I) and dbias (O) written, or added if add_weight. in16 and weight16 as at forward.
 */
struct linear_backward {
	float *din, *dweight, *dbias;
	const float *dout, *in;
	const bf16 *in16;
	const float *weight;
	const bf16 *weight16;
	int N, I, O;
	int add_in, add_weight;
	enum precision precision;
};

/* d (n), in place: times act'(pre) for GELU (x = pre), times 1 - y^2 for tanh (x = y, the output) */
struct activation_backward {
	float *d;
	const float *x;
	size_t n;
	enum activation act;
};

/*
 * out (N, D) written = LN(dropout(in) + residual) gain + bias, eps 1e-12; residual may be NULL.
 * For backward, if not NULL: xhat (N, D) written, the normalised rows, and rstd (N) written. out may be in.
 */
struct layernorm {
	float *out, *xhat, *rstd;
	bf16 *out16; /* out's twin */
	const float *in, *residual, *gain, *bias;
	struct rows rows;
	int D;
	struct dropout drop;
};

/*
 * din (N, D) written: through the dropout; dresidual (N, D), if not NULL, written, or added if add_residual;
 * dgain, dbias (D) written, or added if add_weight. din may be dout.
 */
struct layernorm_backward {
	float *din, *dresidual, *dgain, *dbias;
	const float *dout, *xhat, *rstd, *gain;
	struct rows rows;
	int D;
	struct dropout drop;
	int add_residual, add_weight;
};

/* out (N, D) written = dropout((a + b)/2), or dropout(a) where b is NULL. out may be a. */
struct average {
	float *out;
	bf16 *out16; /* out's twin */
	const float *a, *b;
	struct rows rows;
	int D;
	struct dropout drop;
};

/* d (N, D) written: the gradient by a and by b alike. d may be dout. parts: 2, or 1 where b was NULL. */
struct average_backward {
	float *d;
	const float *dout;
	struct rows rows;
	int D, parts;
	struct dropout drop;
};

enum attention_kind { ATT_SOFTMAX, ATT_ENTMAX };

/*
 * Adaptive span (Sukhbaatar et al. 2019, as the reference's models/adaptive_span.py has it): of a row of probabilities p
 *     p'_j = m_j p_j / (sum of m p + 1e-8), m_j = (j - (length - 1) + v length) / ramp + 1, kept in [0, 1]
 * where j is the key's index in its place, and v the head's value: in the row of the place, or the mean of its rows. Where m is at a bound, 0 and 1 included, it has no gradient, which is what the
 * reference's own figures show (golden/schedule; the other way its spans end 4e-3 off).
 */
struct span {
	const float *value; /* (rows, H); NULL: every m is 1, and only the division remains */
	int rows;
	int by_place; /* a row is a place's, and there are as many of both */
	int length;   /* most keys of a place; 0: no span at all */
	int ramp;
};

/*
 * Each place's queries attend to the same place's keys, a head at a time:
 *     p = kind(q k^T / sqrt(W)), out = dropout(p) v
 * entmax (Peters, Niculae, Martins 2019; Correia, Niculae, Martins 2019): p = max(0, (alpha-1) x - tau)^(1/(alpha-1)) with tau
 * such that p sums to one, renormalised; exact for any alpha > 1, not a number for others. A span comes between p and
 * its dropout.
 * stats, if not NULL, (Nq, H, 2) written: what backward needs of a row (softmax: max, 1/sum; entmax: tau, 1/sum).
 * probs, if not NULL, written: for each place in turn (H, Tq, Tk) dense, after the span, before dropout.
 */
struct attention {
	float *out;  /* (Nq, H W), row stride out_stride; NULL if only its twin is wanted */
	bf16 *out16; /* its twin, of the same stride */
	float *stats, *probs;
	const float *q, *k, *v; /* (Nq, H W), (Nk, H W), (Nk, H W) */
	int q_stride, k_stride, v_stride, out_stride;
	struct rows queries, keys; /* the same n; a place has at least one key */
	int H, W;
	enum attention_kind kind;
	const float *alpha; /* (H), entmax only */
	struct span span;
	struct dropout drop;
};

/*
 * dq, dk, dv written, with the strides of q, k and v; dalpha (H) added (entmax only, else NULL): for p > 0, with
 * g = p^(2-alpha), as in the reference's models/entmax.py. dspan (span.rows, H) added where there are values of a span, else NULL.
 */
struct attention_backward {
	float *dq, *dk, *dv, *dalpha, *dspan;
	const float *dout;               /* (Nq, H W), row stride out_stride */
	const struct attention *forward; /* the same as at forward, stats with it; out and probs are not read */
};

/* out (n, D) written = in[index[i]]; index (n) HOST */
struct gather {
	float *out;
	const float *in;
	const int *index;
	int n, D;
};

/* din[index[i]] (…, D) added dout[i]; the indices differ from each other */
struct gather_backward {
	float *din;
	const float *dout;
	const int *index;
	int n, D;
};

/*
 * LAMB as the reference's optimizers/lamb.py, for one tensor of n: m = b1 m + (1-b1) g', v = b2 v + (1-b2) g'^2 with g' = g scale,
 * u = m/(sqrt(v) + eps) + wd p, trust = min(|p|, 10)/|u| (1 if either is 0) but at least min_trust, p -= lr trust u.
 * No bias correction. param, m, v are changed in place. Norms are summed in one fixed order, in double; a backend may add a few squares in
 * float32 first.
 */
struct lamb {
	float *param, *m, *v;
	bf16 *twin;        /* param's, as it is afterwards */
	const float *grad; /* NULL: all zero */
	size_t n;
	double scale, lr, beta1, beta2, eps, weight_decay, min_trust;
};

/* AdamW (Loshchilov, Hutter 2019), with bias correction; t counts the run's updates from 1. grad NULL: all zero. */
struct adamw {
	float *param, *m, *v;
	bf16 *twin; /* as lamb's */
	const float *grad;
	size_t n;
	double scale, lr, beta1, beta2, eps, weight_decay;
	int64_t t;
};

/* Lookahead (Zhang et al. 2019): slow += alpha (param - slow); param = slow */
struct lookahead {
	float *param, *slow;
	bf16 *twin; /* as lamb's */
	size_t n;
	double alpha;
};

/* x kept in [low, high]; NaN stays NaN. */
struct clamp {
	float *x;
	size_t n;
	float low, high;
};

/* What another process of this machine needs to reach memory that one has alloc()ed on a device. */
struct loan {
	uint8_t handle[64];
};

/* What the ranks of a job need to find each other's devices: one of them makes it, and gives it to all. */
struct meeting {
	uint8_t id[128];
};

enum { TURNS = 2 }; /* of batches: of results on their way to the host, of inputs on a device */

struct op {
	size_t size;      /* of this table: another's is of another build */
	const char *name; /* "cpu", "cuda" */
	/* What its maker calls the device that was opened, "NVIDIA H200"; "unknown" if it does not tell. NULL where backend memory is the host's. */
	const char *(*device_name)(void);

	void *(*alloc)(size_t bytes); /* 64-byte aligned or more; NULL when there is none left */
	void (*free)(void *);
	void (*put)(void *dst, const void *host, size_t bytes);
	void (*get)(void *host, const void *src, size_t bytes);
	/*
	 * put() beside the operations, so that they do not wait for each other: none that was asked for and has not been waited for may touch
	 * dst. What is asked for after arrive() finds all that was sent.
	 */
	void (*send)(void *dst, const void *host, size_t bytes);
	void (*arrive)(void);
	/*
	 * get() in two halves, for results that take turns: fetch() asks for what src has when all that was asked for before is done; fetched()
	 * waits for that, and for nothing that was asked for later, and returns it in host memory, good until the next fetch() of that turn;
	 * NULL and the first fault if one happened since it was told last.
	 */
	void (*fetch)(int turn, const void *src, size_t bytes);
	const void *(*fetched)(int turn, struct err *err);
	void (*copy)(void *dst, const void *src, size_t bytes); /* both backend memory; they do not overlap */
	void (*zero)(void *dst, size_t bytes);
	/*
	 * Where memory is a device's: lend a whole block of alloc() to other processes, borrow another's, give it back. The lender keeps it
	 * until all have. NULL where backend memory is the host's, and a mapping that processes share will do.
	 */
	int (*lend)(const void *memory, struct loan *loan, struct err *err);
	void *(*borrow)(const struct loan *loan, struct err *err);
	void (*give_back)(void *memory);
	/*
	 * Where devices of several ranks exchange by themselves (NCCL), each rank on one of its own: one rank makes a meeting, and all join it,
	 * which waits for the last. NULL where backend memory is the host's.
	 */
	int (*ranks_meet)(struct meeting *out, struct err *err);
	int (*ranks_join)(const struct meeting *meeting, int rank, int ranks, struct err *err);
	/* x (n), in place: written = the mean of all ranks' x, in float32. All ask for the same n, in the same order. */
	void (*ranks_mean)(float *x, size_t n);
	/* NULL when there is no memory left, or the products of that precision cannot be had here (sync() tells). */
	struct packed *(*pack)(const struct pack *);
	void (*pack_free)(struct packed *);
	int (*has)(enum precision); /* whether linear() can */
	/* Wait for all that was asked for; -1 and the first fault if one happened since it was told last. */
	int (*sync)(struct err *err);

	void (*embedding)(const struct embedding *);
	void (*embedding_backward)(const struct embedding_backward *);
	void (*linear)(const struct linear *);
	void (*linear_backward)(const struct linear_backward *);
	void (*activation_backward)(const struct activation_backward *);
	void (*layernorm)(const struct layernorm *);
	void (*layernorm_backward)(const struct layernorm_backward *);
	void (*average)(const struct average *);
	void (*average_backward)(const struct average_backward *);
	void (*attention)(const struct attention *);
	void (*attention_backward)(const struct attention_backward *);
	void (*gather)(const struct gather *);
	void (*gather_backward)(const struct gather_backward *);
	void (*add)(float *y, const float *x, size_t n);     /* y added x */
	void (*narrow)(bf16 *out, const float *x, size_t n); /* out written = x's twin */

	/* sums[i] (HOST) = the sum of the squares of x[i] (n[i]), not finite if any element is not. A device is waited for once, for all. */
	void (*sumsq)(double *sums, const float *const *x, const size_t *n, int count);
	/* Of a list of tensors, which do not overlap: a device is asked for all at once. count may be 0, and so may a tensor's n. */
	void (*lamb)(const struct lamb *list, int count);
	void (*adamw)(const struct adamw *list, int count);
	void (*lookahead)(const struct lookahead *list, int count);
	void (*clamp)(const struct clamp *list, int count);
};

static inline int
op_on_host(const struct op *op)
{
	return !op->lend;
}

/*
 * Load a backend: device is "cpu", "cuda", "cuda:N" (the Nth GPU, from 0), or "auto:N": the Nth, counted round those that are there,
 * where it can be used, else the CPU without a word; "auto" is "auto:0". The backend's library, libvqa-cpu.so or libvqa-cuda.so beside
 * libvqa.so, is loaded at run time, after OpenMP's waiting policy is set in the environment, so that programs that do not compute load
 * neither OpenMP nor oneDNN nor CUDA and waiting threads sleep instead of spinning. VQA_CUDA in the environment names another file in
 * place of libvqa-cuda.so.
 */
const struct op *backend_open(const char *device, struct err *err);
/* Before that: no other program computes at the same time, so threads may wait awake for longer. */
void backend_alone(void);
/* What was opened, in a word that opens the same again: "cpu", "cuda:0". */
const char *backend_device(void);

#endif
