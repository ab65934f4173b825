/*
 * ckpt-init: a new checkpoint, its parameters as they begin.
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
#include "stream/schema.h"
#include "sys/die.h"
#include "sys/opt.h"
#include "sys/utf8.h"
#include "text/vocab.h"

static const char *layers = "9,5,5", *answers, *vocabulary, *source, *bert, *lxmert, *table_file;
static int64_t hidden = 768, heads = 12, ffn = 3072, features = 2048, objects = 36, max_tokens = 20, seed = 0;
static int64_t layerdrop, span_rows = 1, span_unit = 1024, span_ramp = 32;
static double dropout = 0.1, range = 0.02, span_loss = 5e-6, span_begin = 0.002;
static int sparse, adaptive, allow_missing;

static const struct opt opts[] = {
	{ 'A', "answers", OPT_TEXT, &answers, "FILE", "the answers, a JSON array of strings (required)" },
	{ 'F', "ffn", OPT_INT(1, 65536), &ffn, "N", "width inside a feed-forward block (3072)" },
	{ 'H', "hidden", OPT_INT(1, 16384), &hidden, "N", "hidden size (768)" },
	{ 'L', "layers", OPT_TEXT, &layers, "LANG,CROSS,VISION", "layers of each stack (9,5,5)" },
	{ 'V', "vocab", OPT_TEXT, &vocabulary, "FILE", "the vocabulary (the one that is shipped)" },
	{ 'a', "adaptive", OPT_FLAG, &adaptive, NULL, "adaptive attention spans, a learned one a head" },
	{ 'd', "layerdrop", OPT_INT(0, 256), &layerdrop, "N", "layers drawn to be left out of each stack, a step (0)" },
	{ 'f', "features", OPT_INT(1, 65536), &features, "N", "features a region (2048)" },
	{ 'n', "heads", OPT_INT(1, 1024), &heads, "N", "attention heads (12)" },
	{ 'r', "seed", OPT_INT(0, INT64_C(1) << 53), &seed, "SEED", "seed of the random numbers (0)" },
	{ 's', "sparse", OPT_FLAG, &sparse, NULL, "entmax attention, a learned alpha a head" },
	{ 0, "allow-missing", OPT_FLAG, &allow_missing, NULL, "what FILE should have and has not begins at random" },
	{ 0, "bert", OPT_TEXT, &bert, "FILE", "embeddings, language layers and pooler from this BERT" },
	{ 0, "dropout", OPT_REAL(0, 0.99), &dropout, "P", "dropout while training, by default (0.1)" },
	{ 0, "init-range", OPT_REAL(0, 10), &range, "R", "standard deviation of the matrices (0.02)" },
	{ 0, "lxmert", OPT_TEXT, &lxmert, "FILE", "everything from this LXMERT" },
	{ 0, "lxmert-answers", OPT_TEXT, &table_file, "FILE", "the answers of its head: LXMERT's all_ans.json" },
	{ 0, "max-tokens", OPT_INT(2, 512), &max_tokens, "N", "most tokens a question (20)" },
	{ 0, "objects", OPT_INT(1, 1024), &objects, "N", "most regions an image (36)" },
	{ 0, "source", OPT_TEXT, &source, "TEXT", "what makes the features; stores that say otherwise are refused" },
	{ 0, "span-init", OPT_REAL(-100, 100), &span_begin, "X", "added to a span's random beginning (0.002)" },
	{ 0, "span-loss", OPT_REAL(0, 1000), &span_loss, "X", "loss of a span, a unit (5e-6)" },
	{ 0, "span-ramp", OPT_INT(1, 1 << 20), &span_ramp, "N", "keys over which a span's mask falls (32)" },
	{ 0, "span-rows", OPT_INT(1, BATCH_MAX), &span_rows, "N", "rows of a span: the batch size with --compat (1)" },
	{ 0, "span-unit", OPT_INT(1, 1 << 20), &span_unit, "N", "what a span of 1 stands for (1024)" },
	{ 0 },
};

static const struct program program = {
	"ckpt-init", "OUT", "make a new checkpoint", opts, 1, 1,
};

/* "9,5,5" */
static void
read_layers(struct config *cfg)
{
	int *const out[] = { &cfg->language, &cfg->cross, &cfg->vision };
	const char *at = layers;
	int bad = 0;

	for (int i = 0; !bad && i < 3; i++) {
		char part[8];
		size_t n = strcspn(at, ",");
		int64_t count = 0;

		bad = n >= sizeof part || at[n] != (i < 2 ? ',' : '\0');
		snprintf(part, sizeof part, "%.*s", bad ? 0 : (int)n, at);
		bad = bad || parse_int(part, i == 1, 256, &count);
		*out[i] = (int)count;
		at += n + 1;
	}
	if (bad)
		die_usage("option -L: '%s' is no LANG,CROSS,VISION of numbers to 256, CROSS from 1", layers);
}

static void
read_config(struct config *cfg)
{
	struct vocab vocab;
	struct err err;
	size_t at;

	config_default(cfg);
	read_layers(cfg);
	cfg->hidden = (int)hidden;
	cfg->heads = (int)heads;
	cfg->ffn = (int)ffn;
	cfg->features = (int)features;
	cfg->objects = (int)objects;
	cfg->max_tokens = (int)max_tokens;
	cfg->sparse = sparse;
	cfg->adaptive = adaptive;
	cfg->layerdrop = (int)layerdrop;
	cfg->span_rows = (int)span_rows;
	cfg->span_unit = (int)span_unit;
	cfg->span_ramp = (int)span_ramp;
	cfg->span_loss = span_loss;
	cfg->span_begin = span_begin;
	cfg->dropout = dropout;
	if (source && (strlen(source) >= sizeof cfg->source || !utf8_valid(source, strlen(source), &at)))
		die_usage("option --source: expected at most %zu bytes of UTF-8", sizeof cfg->source - 1);
	snprintf(cfg->source, sizeof cfg->source, "%s", source ? source : "");
	if (!answers)
		die_usage("no answers, expected -A FILE");
	if (config_read_answers(cfg, answers, &err) || vocab_open(&vocab, vocabulary, &err))
		die(&err);
	cfg->vocabulary = vocab.count;
	snprintf(cfg->vocab_hash, sizeof cfg->vocab_hash, "%s", vocab.hash);
	vocab_close(&vocab);
	if (config_check(cfg, &err))
		die_usage("%s", err.text); /* sizes that do not fit together; files have been checked above */
	if (cfg->layerdrop && (cfg->language == 1 || cfg->vision == 1 || cfg->cross == 1))
		warn_words("LayerDrop leaves the only layer of a stack out of every step: it will never learn");
}

/* A trained model's tensors, and what of ours they are. */
struct trained {
	struct image image;
	struct state_names names;
	struct answer_table table; /* row is NULL where the head's rows are not looked up */
	struct weights weights;
};

static void
read_table(struct answer_table *table, const struct config *cfg)
{
	struct config theirs = { 0 };
	struct err err;

	if (config_read_answers(&theirs, table_file, &err) || answer_table_make(table, cfg, &theirs, &err))
		die(&err);
	config_release(&theirs);
}

/* The heads of the trained model, if it says how many, or the config.json beside an LXMERT does; else 0. */
static int
heads_of(const struct trained *trained, const char *from)
{
	struct hf_config hf = { 0 };
	struct config theirs;
	char path[PATH_MAX];
	struct err err;
	int n;

	if (heads_said(&n, &trained->names, &err))
		die_words("%s: %s", from, err.text);
	if (n || !lxmert || !names_of_transformers(&trained->names) || !hf_config_path(path, sizeof path, from))
		return n;
	config_default(&theirs);
	if (config_from_names(&theirs, &trained->names, theirs.heads, &err))
		die_words("%s: %s", from, err.text);
	if (hf_config_read(&hf, path, &theirs, &err))
		die(&err);
	n = hf.heads;
	hf_config_release(&hf);
	return n;
}

static void
check_heads(const struct trained *trained, const struct config *cfg, const char *from)
{
	int theirs = heads_of(trained, from);

	if (theirs && theirs != cfg->heads)
		die_words("%s: %d heads, expected %d (option -n)", from, theirs, cfg->heads);
}

static void
read_trained(struct trained *trained, const struct params *params, const struct config *cfg, const char *from)
{
	struct weights *weights = &trained->weights;
	struct err err;

	if (table_file)
		read_table(&trained->table, cfg);
	if (state_open(&trained->image, from, &err))
		die(&err);
	if (state_names_make(&trained->names, &trained->image, &err) ||
	    weights_bind(weights, params, &trained->names, table_file ? &trained->table : NULL, &err) ||
	    (!allow_missing && weights_check_missing(weights, bert ? WEIGHTS_BERT : WEIGHTS_LXMERT, &err)))
		die_words("%s: %s", from, err.text);
	check_heads(trained, cfg, from);
}

int
main(int argc, char **argv)
{
	int operand = opt_parse(&program, argc, argv);
	const char *from = bert ? bert : lxmert;
	struct trained trained = { 0 };
	struct config cfg;
	struct params params;
	struct err err;
	float **data;

	if (bert && lxmert)
		die_usage("both --bert and --lxmert, expected one of them");
	if (table_file && !lxmert)
		die_usage("option --lxmert-answers: expected --lxmert with it");
	read_config(&cfg);
	if (params_make(&params, &cfg, &err))
		die(&err);
	if (from)
		read_trained(&trained, &params, &cfg, from);
	else if (weights_bind(&trained.weights, &params, NULL, NULL, &err))
		die(&err);
	data = weights_values(&trained.weights, &cfg, (uint64_t)seed, range, &err);
	if (!data && from)
		err_prefix(&err, "%s", from);
	if (!data || checkpoint_write(&cfg, &params, (const float *const *)data, NULL, 0, argv[operand], &err))
		die(&err);
	if (from)
		weights_report(&trained.weights, from, warn_words);
	if (table_file)
		answer_table_report(&trained.table, &cfg, from, warn_words);
	return 0;
}
