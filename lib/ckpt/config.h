/*
 * What a checkpoint says of its model: "vqa.config" and "vqa.answers" of the safetensors metadata (vqa-checkpoint(5)).
 * Every program takes sizes from here.
 */
#ifndef VQA_CKPT_CONFIG_H
#define VQA_CKPT_CONFIG_H

#include <stddef.h>

#include "sys/err.h"

enum { HEADS_MAX = 1 << 10, STACKS = 3 /* language, cross, vision */ };

struct config {
	/* JSON key of each in vqa.config: the field's name */
	int language, cross, vision; /* layers of each stack; cross at least 1 */
	int hidden, heads, ffn;      /* hidden is a multiple of heads */
	int features;                /* of a region */
	int vocabulary, positions;   /* rows of the word and position tables: 30522, 512 */
	int max_tokens, objects;     /* most tokens a question, most regions an image: 20, 36 */
	int sparse;                  /* entmax attention, a learned alpha a head; JSON true/false */
	int adaptive;                /* adaptive spans, learned, a row of one a head or more; JSON true/false */
	int span_rows;               /* rows of each span: 1, or, as the reference has it, one a place of a batch */
	int span_unit;               /* what a span's value 1 is reported and charged as: 1024 */
	int span_ramp;               /* keys over which a span's weight falls from 1 to 0: 32 */
	int layerdrop;               /* draws, a stack and a step, of layers that are left out; 0: none */
	int answers_n;               /* rows of the answer head; JSON "answers" */
	char **answers;      /* (answers_n) in index order; NULL without names: an answer is its index in decimal */
	int *sorted;         /* (answers_n): the indices in the answers' order */
	char source[256];    /* JSON "feature_source": what made the features; "" unknown */
	char vocab_hash[32]; /* JSON "vocab_hash"; "" unknown: only the range of token ids is checked */
	double dropout;      /* default probability while training: 0.1 */
	double span_loss;    /* loss of a span's mean value 1, a unit: 5e-6 */
	double span_begin;   /* added to a new span's random value: 0.002; JSON "span_init" */
};

/* ckpt-init's defaults: 9, 5, 5, 768, 12, 3072, 2048, 30522, 512, 20, 36, and the comments above. */
void config_default(struct config *cfg);
/* Bounds of every field and how they fit together; so that no product of sizes overflows 2^40. */
int config_check(const struct config *cfg, struct err *err);
/* From and to the two metadata strings; the returned strings are malloc'd. */
int config_parse(struct config *cfg, const char *json, const char *answers_json, struct err *err);
int config_format(const struct config *cfg, char **json, char **answers_json, struct err *err);
/* A JSON array, the answer list in index order: distinct strings, or objects with one in "ans" (LXMERT's all_ans.json). */
int config_read_answers(struct config *cfg, const char *path, struct err *err);
/* n malloc'd strings in a malloc'd array, which are the configuration's from now on, or freed where two are equal. */
int config_set_answers(struct config *cfg, char **answers, int n, struct err *err);
void config_release(struct config *cfg);
/* Index of an answer, or -1. */
int config_answer(const struct config *cfg, const char *answer, size_t n);

#endif
