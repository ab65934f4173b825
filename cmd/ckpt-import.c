/*
 * ckpt-import: a state dict under the reference's names becomes a checkpoint of ours.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt/checkpoint.h"
#include "ckpt/names.h"
#include "sys/die.h"
#include "sys/opt.h"
#include "text/vocab.h"

static const char *answers, *vocabulary;
static int64_t heads = 12;

static const struct opt opts[] = {
	{ 'A', "answers", OPT_TEXT, &answers, "FILE", "the answers' names, a JSON array of strings in index order" },
	{ 'V', "vocab", OPT_TEXT, &vocabulary, "FILE", "the vocabulary it was trained with, to check streams against" },
	{ 'n', "heads", OPT_INT(1, 1024), &heads, "N", "attention heads (12)" },
	{ 0 },
};

static const struct program program = {
	"ckpt-import", "SRC OUT", "make a checkpoint of somebody else's weights", opts, 2, 2,
};

static void
read_config(struct config *cfg, const struct image *image, const char *source)
{
	struct err err;

	config_default(cfg);
	if (config_from_tensors(cfg, image, (int)heads, &err)) {
		err_prefix(&err, "%s", source);
		die(&err);
	}
	if (cfg->max_tokens > cfg->positions)
		cfg->max_tokens = cfg->positions;
	if (answers) {
		int rows = cfg->answers_n;

		if (config_read_answers(cfg, answers, &err))
			die(&err);
		if (cfg->answers_n != rows)
			die_words("%s: %d answers, but '%s' has %d rows of logit_fc.3", answers, cfg->answers_n, source, rows);
	}
	if (vocabulary) {
		struct vocab vocab;

		if (vocab_open(&vocab, vocabulary, &err))
			die(&err);
		if (vocab.count != cfg->vocabulary)
			die_words("%s: %d pieces, but '%s' has %d rows of word_embeddings", vocabulary, vocab.count, source,
			          cfg->vocabulary);
		snprintf(cfg->vocab_hash, sizeof cfg->vocab_hash, "%s", vocab.hash);
		vocab_close(&vocab);
	}
	if (config_check(cfg, &err)) {
		err_prefix(&err, "%s", source);
		die(&err);
	}
}

/* n values of the tensor as float32; finite. */
static float *
values(const struct image *image, const struct tensor *t, const char *source)
{
	size_t n = t->bytes / dtype_size(t->dtype);
	const uint8_t *in = image_data(image, t);
	float *out = malloc(n * sizeof *out + 1);
	struct err err;

	if (!out)
		die_words("out of memory for tensor '%s'", t->name);
	if (dtype_to_f32(out, in, n, t->dtype, &err))
		die_words("%s: tensor '%s': %s", source, t->name, err.text);
	for (size_t i = 0; i < n; i++)
		if (!isfinite(out[i]))
			die_words("%s: tensor '%s': element %zu is %g, expected a finite number", source, t->name, i,
			          (double)out[i]);
	return out;
}

/* Each parameter's values, from the tensor that has its name; missing ones and strangers are errors. */
static void
collect(float **data, const struct params *params, const struct image *image, const char *source)
{
	for (size_t i = 0; i < image->n; i++) {
		const struct tensor *t = &image->tensors[i];
		char name[TENSOR_NAME];
		int k = 0;

		if (!name_ours(name, t->name))
			continue;
		while (k < params->n && strcmp(params->list[k].name, name) != 0)
			k++;
		if (k == params->n)
			die_words("%s: tensor '%s' is not used by this model", source, t->name);
		if (t->dims != params->list[k].dims || t->shape[0] != params->list[k].shape[0] ||
		    (t->dims == 2 && t->shape[1] != params->list[k].shape[1]))
			die_words("%s: tensor '%s' does not have the shape that the other tensors' sizes ask for", source, t->name);
		if (data[k])
			die_words("%s: tensor '%s' is there twice", source, name);
		data[k] = values(image, t, source);
	}
	for (int k = 0; k < params->n; k++)
		if (!data[k])
			die_words("%s: tensor '%s' is missing", source, params->list[k].name);
}

int
main(int argc, char **argv)
{
	int operand = opt_parse(&program, argc, argv);
	const char *source = argv[operand];
	struct image image;
	struct config cfg;
	struct params params;
	struct err err;
	float **data;

	if (image_open(&image, source, &err))
		die(&err);
	read_config(&cfg, &image, source);
	if (params_make(&params, &cfg, &err))
		die(&err);
	data = calloc((size_t)params.n, sizeof *data);
	if (!data)
		die_words("out of memory for %d tensors", params.n);
	collect(data, &params, &image, source);
	if (checkpoint_write(&cfg, &params, (const float *const *)data, NULL, 0, argv[operand + 1], &err))
		die(&err);
	return 0;
}
