/*
 * The reference's names (models/lxmert_adaptive.py under DataParallel and LayerDrop) to ours.
 */
#include "ckpt/names.h"

#include <stdio.h>
#include <string.h>

static void
remove_all(char *text, const char *part)
{
	size_t n = strlen(part);

	for (char *at = strstr(text, part); at; at = strstr(at, part))
		memmove(at, at + n, strlen(at + n) + 1);
}

int
name_ours(char out[TENSOR_NAME], const char *theirs)
{
	static const char twice[] = ".entmax_alpha.alpha_chooser";
	size_t n;

	snprintf(out, TENSOR_NAME, "%s", theirs);
	remove_all(out, "module_list.");
	if (!strncmp(out, "module.", 7))
		memmove(out, out + 7, strlen(out + 7) + 1);
	n = strlen(out);
	return !(n >= sizeof twice - 1 && !strcmp(out + n - (sizeof twice - 1), twice));
}

/* The tensor that has our name, under whatever name it is stored. */
static const struct tensor *
find(const struct image *image, const char *ours)
{
	char name[TENSOR_NAME];

	for (size_t i = 0; i < image->n; i++)
		if (name_ours(name, image->tensors[i].name) && !strcmp(name, ours))
			return &image->tensors[i];
	return NULL;
}

static int
matrix(const struct image *image, const char *name, int *rows, int *columns, struct err *err)
{
	const struct tensor *t = find(image, name);

	if (!t)
		return err_set(err, "tensor '%s' is missing", name);
	if (t->dims != 2 || t->shape[0] < 1 || t->shape[1] < 1 || t->shape[0] > 1 << 24 || t->shape[1] > 1 << 24)
		return err_set(err, "tensor '%s' is no matrix", name);
	if (rows)
		*rows = (int)t->shape[0];
	if (columns)
		*columns = (int)t->shape[1];
	return 0;
}

static int
count_layers(const struct image *image, const char *stack, const char *part)
{
	char name[TENSOR_NAME];
	int n = 0;

	do
		snprintf(name, sizeof name, "lxrt_encoder.model.bert.encoder.%s.%d.%s.weight", stack, n, part);
	while (find(image, name) && ++n < 256);
	return n;
}

int
config_from_tensors(struct config *cfg, const struct image *image, int heads, struct err *err)
{
	const struct tensor *alpha;

	cfg->heads = heads;
	cfg->language = count_layers(image, "layer", "intermediate.dense");
	cfg->vision = count_layers(image, "r_layers", "intermediate.dense");
	cfg->cross = count_layers(image, "x_layers", "lang_inter.dense");
	if (matrix(image, "lxrt_encoder.model.bert.embeddings.word_embeddings.weight", &cfg->vocabulary, &cfg->hidden, err) ||
	    matrix(image, "lxrt_encoder.model.bert.embeddings.position_embeddings.weight", &cfg->positions, NULL, err) ||
	    matrix(image, "lxrt_encoder.model.bert.encoder.visn_fc.visn_fc.weight", NULL, &cfg->features, err) ||
	    matrix(image, "lxrt_encoder.model.bert.encoder.x_layers.0.lang_inter.dense.weight", &cfg->ffn, NULL, err) ||
	    matrix(image, "logit_fc.3.weight", &cfg->answers_n, NULL, err))
		return -1;
	alpha = find(image, "lxrt_encoder.model.bert.encoder.x_layers.0.visual_attention.att.entmax_alpha.alpha");
	cfg->sparse = alpha != NULL;
	if (alpha && alpha->shape[0] != heads)
		return err_set(err, "tensor '%s' has %lld heads, but %d were asked for", alpha->name,
		               (long long)alpha->shape[0], heads);
	for (size_t i = 0; i < image->n; i++)
		if (strstr(image->tensors[i].name, "adaptive_span."))
			return err_set(err, "tensor '%s': adaptive spans are not read by this version", image->tensors[i].name);
	return 0;
}
