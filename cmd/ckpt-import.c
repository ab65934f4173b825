/*
 * ckpt-import: a state dict under the names of the reference, of LXMERT or of Hugging Face becomes a checkpoint of ours.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt/checkpoint.h"
#include "ckpt/hf_config.h"
#include "ckpt/names.h"
#include "ckpt/state.h"
#include "ckpt/weights.h"
#include "sys/die.h"
#include "sys/opt.h"
#include "text/vocab.h"

static const char *answers, *vocabulary, *table_file;
static int64_t heads, seed;
static int allow_missing, allow_unused;

static const struct opt opts[] = {
	{ 'A', "answers", OPT_TEXT, &answers, "FILE", "the answers' names, a JSON array of strings in index order" },
	{ 'V', "vocab", OPT_TEXT, &vocabulary, "FILE", "the vocabulary it was trained with, to check streams against" },
	{ 'n', "heads", OPT_INT(1, 1024), &heads, "N", "attention heads (those that SRC or config.json says, or 12)" },
	{ 'r', "seed", OPT_INT(0, INT64_C(1) << 53), &seed, "SEED", "seed of what is missing (0)" },
	{ 0, "allow-missing", OPT_FLAG, &allow_missing, NULL, "what is missing begins as in a new checkpoint" },
	{ 0, "allow-unused", OPT_FLAG, &allow_unused, NULL, "tensors that the model has no use for are left out" },
	{ 0, "lxmert-answers", OPT_TEXT, &table_file, "FILE", "the answers of its head: LXMERT's all_ans.json" },
	{ 0 },
};

static int heads_assumed; /* 12: nothing has said another number */

static const struct program program = {
	"ckpt-import", "SRC OUT", "make a checkpoint of a state dict under other people's names", opts, 2, 2,
};

/* The answers' names; and where the head is for others than those, which row each takes: table->row. */
static void
read_answers(struct config *cfg, struct answer_table *table, const char *source)
{
	const char *file = answers ? answers : table_file; /* whose answers the rows of the head are */
	struct config theirs = { 0 };
	int rows = cfg->answers_n, named; /* rows 0: there is no head */
	struct err err;

	if (config_read_answers(cfg, file, &err))
		die(&err);
	named = cfg->answers_n;
	if (answers && table_file) {
		file = table_file;
		if (config_read_answers(&theirs, file, &err) || answer_table_make(table, cfg, &theirs, &err))
			die(&err);
		named = theirs.answers_n;
		config_release(&theirs);
	}
	if (rows && named != rows)
		die_words("%s: %d answers, but '%s' has %d rows of logit_fc.3", file, named, source, rows);
}

/* What config.json says and no tensor does. Its labels name the answers, unless an option does. */
static void
read_hf_config(struct config *cfg, const char *source)
{
	char path[PATH_MAX];
	struct hf_config hf;
	struct err err;

	if (!hf_config_path(path, sizeof path, source))
		return;
	if (hf_config_read(&hf, path, cfg, &err))
		die(&err);
	if (heads && hf.heads && hf.heads != heads)
		die_words("%s: 'num_attention_heads' is %d, but -n says %d", path, hf.heads, (int)heads);
	if (hf.heads) {
		cfg->heads = hf.heads;
		heads_assumed = 0;
	}
	if (hf.dropout >= 0)
		cfg->dropout = hf.dropout;
	if (hf.labels && !cfg->answers && hf.labels_n == cfg->answers_n) {
		if (config_set_answers(cfg, hf.labels, hf.labels_n, &err))
			die_words("%s: 'id2label': %s", path, err.text);
		hf.labels = NULL; /* the configuration has them now */
		hf.labels_n = 0;
	} else if (hf.labels && !cfg->answers) {
		warn_words("%s: 'id2label' is passed over: %d labels, but '%s' has %d answers", path, hf.labels_n,
		           source, cfg->answers_n);
	}
	hf_config_release(&hf);
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
read_config(struct config *cfg, struct answer_table *table, const struct state_names *names, const char *source)
{
	struct err err;
	int said;

	if (heads_said(&said, names, &err))
		die_words("%s: %s", source, err.text);
	if (said && heads && heads != said)
		die_words("%s: %d heads, but -n says %d", source, said, (int)heads);
	config_default(cfg);
	if (said)
		cfg->heads = said;
	else if (heads)
		cfg->heads = (int)heads;
	heads_assumed = !said && !heads;
	if (config_from_names(cfg, names, cfg->heads, &err))
		die_words("%s: %s", source, err.text);
	if (answers || table_file)
		read_answers(cfg, table, source);
	if (names_of_transformers(names))
		read_hf_config(cfg, source);
	if (!cfg->answers_n)
		die_words("%s: tensor 'logit_fc.3.weight' is missing%s", source,
		          allow_missing ? ", and without -A nothing tells how many answers there are" : "");
	if (cfg->max_tokens > cfg->positions)
		cfg->max_tokens = cfg->positions;
	if (config_check(cfg, &err))
		die_words("%s: %s", source, err.text);
	if (vocabulary)
		read_vocabulary(cfg, source);
}

int
main(int argc, char **argv)
{
	int operand = opt_parse(&program, argc, argv);
	const char *source = argv[operand];
	struct answer_table table = { 0 };
	struct image image;
	struct config cfg;
	struct state_names names;
	struct params params;
	struct weights weights;
	struct err err;
	float **data;

	if (state_open(&image, source, &err))
		die(&err);
	if (state_names_make(&names, &image, &err))
		die_words("%s: %s", source, err.text);
	read_config(&cfg, &table, &names, source);
	if (params_make(&params, &cfg, &err))
		die(&err);
	if (weights_bind(&weights, &params, &names, table.row ? &table : NULL, &err) ||
	    (!allow_missing && weights_check_missing(&weights, WEIGHTS_ALL, &err)) ||
	    (!allow_unused && weights_check_unused(&weights, &err)))
		die_words("%s: %s", source, err.text);
	data = weights_values(&weights, &cfg, (uint64_t)seed, 0.02, &err);
	if (!data)
		die_words("%s: %s", source, err.text);
	if (checkpoint_write(&cfg, &params, (const float *const *)data, NULL, 0, argv[operand + 1], &err))
		die(&err);
	weights_report(&weights, source, warn_words);
	if (heads_assumed)
		warn_words("%s: taken for %d heads, for nothing tells how many it has but -n", source, cfg.heads);
	if (table.row)
		answer_table_report(&table, &cfg, source, warn_words);
	return 0;
}
