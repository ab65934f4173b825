/*
 * Names to ours: the reference's (models/lxmert_adaptive.py under DataParallel and LayerDrop), those of LXMERT's pre-training
 * (airsplay/lxmert, src/lxrt/modeling.py), of Hugging Face's LXMERT (transformers, models/lxmert/modeling_lxmert.py) and of BERT.
 */
#include "ckpt/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream/schema.h"
#include "sys/ends.h"

#define BERT "lxrt_encoder.model.bert"

/* The part of a name that begins at `at`, up to a dot or the end, is `part`. */
static int
is_part(const char *at, size_t n, const char *part)
{
	return n == strlen(part) && !memcmp(at, part, n);
}

static int
begins_with(const char *text, const char *begin)
{
	return !strncmp(text, begin, strlen(begin));
}

/* What stands before our name instead of the first *skip bytes of a name whose wrappers are gone. */
static const char *
prefix(const char *name, size_t *skip)
{
	static const char *const models[] = { "bert.", "lxmert." }, *const bare[] = { "embeddings.", "encoder.",
		                                                                      "pooler." };

	*skip = 0;
	for (int i = 0; i < 2; i++)
		if (begins_with(name, models[i])) {
			*skip = strlen(models[i]);
			return BERT ".";
		}
	for (int i = 0; i < 3; i++)
		if (begins_with(name, bare[i]))
			return BERT ".";
	if (begins_with(name, "answer_head.logit_fc."))
		*skip = strlen("answer_head.");
	return "";
}

/* TensorFlow's words for a layer norm's parameters, which the first BERTs in PyTorch kept. */
static void
norm_ours(char *name)
{
	char *last = strrchr(name, '.');

	if (last && !strcmp(last, ".gamma"))
		memcpy(last, ".weight", sizeof ".weight");
	else if (last && !strcmp(last, ".beta"))
		memcpy(last, ".bias", sizeof ".bias");
}

int
name_ours(char out[NAME_OURS], const char *theirs)
{
	static const char *const constants[] = {
		".entmax_alpha.alpha_chooser", ".adaptive_span.mask_template_0", ".adaptive_span.mask_template_1",
		".embeddings.position_ids",    ".embeddings.token_type_ids",
	};
	char bare[TENSOR_NAME];
	const char *before;
	size_t n = 0, skip;

	while (*theirs) {
		size_t part = strcspn(theirs, ".");
		size_t whole = part + (theirs[part] == '.');

		if (!is_part(theirs, part, "module") && !is_part(theirs, part, "module_list")) {
			snprintf(bare + n, sizeof bare - n, "%.*s", (int)whole, theirs);
			n += strlen(bare + n);
		}
		theirs += whole;
	}
	bare[n] = '\0';
	before = prefix(bare, &skip);
	snprintf(out, NAME_OURS - 1, "%s%s", before, bare + skip); /* one byte is left for norm_ours */
	norm_ours(out);
	for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
		if (ends_with(out, constants[i]))
			return 0;
	return 1;
}

int
name_pretraining(const char *ours)
{
	return begins_with(ours, "cls.") || begins_with(ours, "obj_predict_head.");
}

static int
by_name(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int order = strcmp(x->ours, y->ours);

	return order ? order : strcmp(x->tensor->name, y->tensor->name);
}

int
state_names_make(struct state_names *names, const struct image *image, struct err *err)
{
	*names = (struct state_names){ .image = image, .list = calloc(image->n + 1, sizeof *names->list) };
	if (!names->list)
		return err_set(err, "out of memory for %zu names", image->n);
	for (size_t i = 0; i < image->n; i++) {
		struct named *named = &names->list[names->n];

		named->tensor = &image->tensors[i];
		names->n += (size_t)name_ours(named->ours, named->tensor->name);
	}
	qsort(names->list, names->n, sizeof *names->list, by_name);
	for (size_t i = 1; i < names->n; i++) {
		const struct named *a = &names->list[i - 1], *b = &names->list[i];

		if (strcmp(a->ours, b->ours) != 0)
			continue;
		err_set(err, "tensors '%s' and '%s' are the same parameter", a->tensor->name, b->tensor->name);
		state_names_release(names);
		return -1;
	}
	return 0;
}

void
state_names_release(struct state_names *names)
{
	free(names->list);
	*names = (struct state_names){ 0 };
}

static int
against(const void *ours, const void *named)
{
	return strcmp(ours, ((const struct named *)named)->ours);
}

const struct named *
state_names_find(const struct state_names *names, const char *ours)
{
	return bsearch(ours, names->list, names->n, sizeof *names->list, against);
}

static int
matrix(const struct state_names *names, const char *name, int *rows, int *columns, struct err *err)
{
	const struct named *named = state_names_find(names, name);
	const struct tensor *t = named ? named->tensor : NULL;

	if (!t)
		return err_set(err, "tensor '%s' is missing", name);
	if (t->dims != 2 || t->shape[0] < 1 || t->shape[1] < 1 || t->shape[0] > 1 << 24 || t->shape[1] > 1 << 24)
		return err_set(err, "tensor '%s' is no matrix of sizes from 1 to %d", t->name, 1 << 24);
	if (rows)
		*rows = (int)t->shape[0];
	if (columns)
		*columns = (int)t->shape[1];
	return 0;
}

static int
count_layers(const struct state_names *names, const char *stack, const char *part)
{
	char name[NAME_OURS];
	int n = 0;

	do
		snprintf(name, sizeof name, BERT ".encoder.%s.%d.%s.weight", stack, n, part);
	while (state_names_find(names, name) && ++n < 256);
	return n;
}

/* LayerDrop's wrapper around a stack; how many layers it drops is in no name, and the reference's is one. */
static int
has_wrapper(const struct state_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		if (strstr(names->list[i].tensor->name, ".module_list."))
			return 1;
	return 0;
}

int
names_of_transformers(const struct state_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		if (begins_with(names->list[i].tensor->name, "lxmert.") ||
		    begins_with(names->list[i].tensor->name, "embeddings."))
			return 1;
	return 0;
}

/* A span's first size is its rows: (span_rows, heads, 1, 1). */
static int
read_span(struct config *cfg, const struct tensor *span, struct err *err)
{
	if (span->dims != 4 || span->shape[0] < 1 || span->shape[0] > BATCH_MAX || span->shape[1] != cfg->heads)
		return err_set(err, "tensor '%s' is no adaptive span of 1 to %d rows of %d heads", span->name,
		               BATCH_MAX, cfg->heads);
	cfg->adaptive = 1;
	cfg->span_rows = (int)span->shape[0];
	return 0;
}

/* What stands for all alphas and spans: those of the first cross attention. */
static const char ALPHA[] = BERT ".encoder.x_layers.0.visual_attention.att.entmax_alpha.alpha";
static const char SPAN[] = BERT ".encoder.x_layers.0.visual_attention.att.adaptive_span.current_val";

/* (heads) alphas, (rows, heads, 1, 1) of a span; 0 where there are neither. */
static int
heads_of_shapes(const struct state_names *names)
{
	const struct named *alpha = state_names_find(names, ALPHA), *span = state_names_find(names, SPAN);
	int64_t n = 0;

	if (alpha && alpha->tensor->dims == 1)
		n = alpha->tensor->shape[0];
	else if (span && span->tensor->dims == 4)
		n = span->tensor->shape[1];
	return n > 0 && n <= HEADS_MAX ? (int)n : 0;
}

int
heads_said(int *heads, const struct state_names *names, struct err *err)
{
	const char *json = image_meta(names->image, "vqa.config");
	struct config cfg;

	*heads = heads_of_shapes(names);
	if (!json)
		return 0;
	if (config_parse(&cfg, json, NULL, err))
		return -1;
	*heads = cfg.heads;
	config_release(&cfg);
	return 0;
}

int
config_from_names(struct config *cfg, const struct state_names *names, int heads, struct err *err)
{
	const struct named *alpha, *span;

	cfg->heads = heads;
	cfg->layerdrop = has_wrapper(names);
	cfg->language = count_layers(names, "layer", "intermediate.dense");
	cfg->vision = count_layers(names, "r_layers", "intermediate.dense");
	cfg->cross = count_layers(names, "x_layers", "lang_inter.dense");
	if (matrix(names, BERT ".embeddings.word_embeddings.weight", &cfg->vocabulary, &cfg->hidden, err) ||
	    matrix(names, BERT ".embeddings.position_embeddings.weight", &cfg->positions, NULL, err) ||
	    matrix(names, BERT ".encoder.visn_fc.visn_fc.weight", NULL, &cfg->features, err) ||
	    matrix(names, BERT ".encoder.x_layers.0.lang_inter.dense.weight", &cfg->ffn, NULL, err))
		return -1;
	cfg->answers_n = 0;
	if (state_names_find(names, "logit_fc.3.weight") &&
	    matrix(names, "logit_fc.3.weight", &cfg->answers_n, NULL, err))
		return -1;
	alpha = state_names_find(names, ALPHA);
	cfg->sparse = alpha != NULL;
	if (alpha && alpha->tensor->dims == 1 && alpha->tensor->shape[0] != heads)
		return err_set(err, "tensor '%s' has %lld alphas, expected one for each of %d heads",
		               alpha->tensor->name, (long long)alpha->tensor->shape[0], heads);
	span = state_names_find(names, SPAN);
	return span ? read_span(cfg, span->tensor, err) : 0;
}
