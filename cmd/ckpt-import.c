/*
 * ckpt-import: a state dict under the reference's names becomes a checkpoint of ours.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt/checkpoint.h"
#include "ckpt/names.h"
#include "ckpt/state.h"
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
	"ckpt-import", "SRC OUT", "make a checkpoint of a state dict under the reference's names", opts, 2, 2,
};

static void
read_answers(struct config *cfg, const char *source)
{
	int rows = cfg->answers_n;
	struct err err;

	if (config_read_answers(cfg, answers, &err))
		die(&err);
	if (cfg->answers_n != rows)
		die_words("%s: %d answers, but '%s' has %d rows of logit_fc.3", answers, cfg->answers_n, source, rows);
}

static void
read_vocabulary(struct config *cfg, const char *source)
{
	struct vocab vocab;
	struct err err;

	if (vocab_open(&vocab, vocabulary, &err))
		die(&err);
	if (vocab.count != cfg->vocabulary)
		die_words("%s: %d pieces, but '%s' has %d rows of word_embeddings", vocabulary, vocab.count, source,
		          cfg->vocabulary);
	snprintf(cfg->vocab_hash, sizeof cfg->vocab_hash, "%s", vocab.hash);
	vocab_close(&vocab);
}

static void
read_config(struct config *cfg, const struct state_names *names, const char *source)
{
	struct err err;

	config_default(cfg);
	if (config_from_names(cfg, names, (int)heads, &err)) {
		err_prefix(&err, "%s", source);
		die(&err);
	}
	if (cfg->max_tokens > cfg->positions)
		cfg->max_tokens = cfg->positions;
	if (config_check(cfg, &err)) {
		err_prefix(&err, "%s", source);
		die(&err);
	}
	if (answers)
		read_answers(cfg, source);
	if (vocabulary)
		read_vocabulary(cfg, source);
}

/* The tensor's values as float32, malloc'd; all finite. */
static float *
values(const struct image *image, const struct tensor *t, const char *source)
{
	size_t n = t->bytes / dtype_size(t->dtype);
	float *out = malloc(n * sizeof *out + 1);
	struct err err;

	if (!out)
		die_words("out of memory for tensor '%s'", t->name);
	if (dtype_to_f32(out, image_data(image, t), n, t->dtype, &err))
		die_words("%s: tensor '%s': %s", source, t->name, err.text);
	for (size_t i = 0; i < n; i++)
		if (!isfinite(out[i]))
			die_words("%s: tensor '%s': element %zu is %s, expected a finite number", source, t->name, i,
			          isnan(out[i]) ? "NaN" : "infinite");
	return out;
}

/* Each parameter's values, from the tensor that has its name; missing ones and strangers are errors. */
static void
collect(float **data, const struct params *params, const struct state_names *names, const struct image *image,
        const char *source)
{
	unsigned char *bound = calloc(names->n + 1, 1);
	struct err err;

	if (!bound)
		die_words("out of memory for %zu names", names->n);
	for (int i = 0; i < params->n; i++) {
		const struct named *named = state_names_find(names, params->list[i].name);

		if (!named)
			die_words("%s: tensor '%s' is missing", source, params->list[i].name);
		bound[named - names->list] = 1;
		if (checkpoint_check_tensor(named->tensor, &params->list[i], &err))
			die_words("%s: %s", source, err.text);
	}
	for (size_t i = 0; i < names->n; i++)
		if (!bound[i])
			die_words("%s: tensor '%s' is not used by this model", source, names->list[i].tensor->name);
	free(bound);
	for (int i = 0; i < params->n; i++)
		data[i] = values(image, state_names_find(names, params->list[i].name)->tensor, source);
}

int
main(int argc, char **argv)
{
	int operand = opt_parse(&program, argc, argv);
	const char *source = argv[operand];
	struct image image;
	struct config cfg;
	struct state_names names;
	struct params params;
	struct err err;
	float **data;

	if (state_open(&image, source, &err))
		die(&err);
	if (state_names_make(&names, &image, &err))
		die_words("%s: %s", source, err.text);
	read_config(&cfg, &names, source);
	if (params_make(&params, &cfg, &err))
		die(&err);
	data = calloc((size_t)params.n, sizeof *data);
	if (!data)
		die_words("out of memory for %d tensors", params.n);
	collect(data, &params, &names, &image, source);
	if (checkpoint_write(&cfg, &params, (const float *const *)data, NULL, 0, argv[operand + 1], &err))
		die(&err);
	return 0;
}
