/*
 * From our parameters to the reference's keys.
 */
#include "ckpt/export.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS_MOST = 3 }; /* of a parameter: itself and what comes with it */

struct export
{
	struct image image;
	const void **data; /* (image.n), of the checkpoint or of the templates */
	float *templates[2];
	int64_t templates_n[2];
};

int
name_theirs(char out[TENSOR_NAME], const char *ours, const struct config *cfg, struct err *err)
{
	static const char *const stacks[] = { ".encoder.layer.", ".encoder.r_layers.", ".encoder.x_layers." };
	int n = snprintf(out, TENSOR_NAME, "%s", ours);

	for (size_t i = 0; cfg->layerdrop && i < sizeof stacks / sizeof *stacks; i++) {
		const char *stack = strstr(ours, stacks[i]);
		int before = stack ? (int)(stack - ours + (ptrdiff_t)strlen(stacks[i])) : 0;

		if (stack)
			n = snprintf(out, TENSOR_NAME, "%.*smodule_list.%s", before, ours, ours + before);
	}
	return n < TENSOR_NAME ? 0 : err_set(err, "tensor '%s': its name is too long", ours);
}

/* The key `name` with its last part replaced. */
static int
add_beside(struct export *export, const char *name, const char *part, int64_t n, const void *data, struct err *err)
{
	char beside[TENSOR_NAME];
	int stem = (int)(strrchr(name, '.') - name);

	if (snprintf(beside, sizeof beside, "%.*s.%s", stem, name, part) >= (int)sizeof beside)
		return err_set(err, "tensor '%s': its name is too long", name);
	export->data[export->image.n] = data;
	return image_add(&export->image, beside, DTYPE_F32, 1, &n, err);
}

static int
add_param(struct export *export, const struct checkpoint *ckpt, int number, struct err *err)
{
	static const char *const parts[] = { "mask_template_0", "mask_template_1" };
	const struct param *p = &ckpt->params.list[number];
	char name[TENSOR_NAME];
	int bad = 0;

	if (name_theirs(name, p->name, &ckpt->config, err))
		return -1;
	export->data[export->image.n] = ckpt->data[number];
	if (image_add(&export->image, name, DTYPE_F32, p->dims, p->shape, err))
		return -1;
	if (p->init == INIT_ALPHA)
		return add_beside(export, name, "alpha_chooser", p->shape[0], ckpt->data[number], err);
	for (int i = 0; !bad && p->init == INIT_SPAN && i < 2; i++)
		bad = add_beside(export, name, parts[i], export->templates_n[i], export->templates[i], err);
	return bad;
}

/* linspace(1 - n, 0, n) */
static float *
make_template(int64_t n)
{
	float *out = malloc((size_t)n * sizeof *out);

	for (int64_t i = 0; out && i < n; i++)
		out[i] = (float)(i + 1 - n);
	return out;
}

static int
lay_out(struct export *export, const struct checkpoint *ckpt, struct err *err)
{
	int bad = 0;

	image_begin(&export->image);
	export->data = calloc((size_t)ckpt->params.n * KEYS_MOST, sizeof *export->data);
	export->templates_n[0] = ckpt->config.max_tokens;
	export->templates_n[1] = ckpt->config.objects;
	for (int i = 0; i < 2; i++)
		export->templates[i] = make_template(export->templates_n[i]);
	if (!export->data || !export->templates[0] || !export->templates[1])
		return err_set(err, "out of memory for %d tensors", ckpt->params.n);
	bad = image_add_meta(&export->image, "format", "pt", err);
	for (int i = 0; !bad && i < ckpt->params.n; i++)
		bad = add_param(export, ckpt, i, err);
	return bad;
}

int
export_write(const struct checkpoint *ckpt, const char *path, struct err *err)
{
	struct export export = { 0 };
	int bad = lay_out(&export, ckpt, err) || image_write(&export.image, export.data, path, err);

	image_close(&export.image);
	free(export.data);
	free(export.templates[0]);
	free(export.templates[1]);
	return bad ? -1 : 0;
}
