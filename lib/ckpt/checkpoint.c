/*
 * Checkpoints by NAME: finding, opening, writing.
 */
#include "ckpt/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ckpt/state.h"

static int
is_file(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISREG(st.st_mode);
}

static int
is_folder(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISDIR(st.st_mode);
}

int
checkpoint_path(char *path, size_t size, const char *name, struct err *err)
{
	if (strlen(name) + sizeof "/LAST.safetensors" > size)
		return err_set(err, "'%.100s…': the name is too long", name);
	if (is_folder(name)) {
		snprintf(path, size, "%s/LAST.safetensors", name);
		return is_file(path)
		               ? 0
		               : err_set(err, "%s: a folder without LAST.safetensors: no snapshot was saved in it",
		                         name);
	}
	snprintf(path, size, "%s", name);
	if (is_file(path))
		return 0;
	snprintf(path, size, "%s.safetensors", name);
	if (is_file(path))
		return 0;
	snprintf(path, size, "%s.pth", name);
	if (is_file(path))
		return 0;
	return err_set(
		err, "%s: no such checkpoint: neither a file, nor with .safetensors or .pth added, nor a run's folder",
		name);
}

/* "[2, 3]" */
static const char *
shape_text(char out[128], int dims, const int64_t *shape)
{
	size_t n = 0;

	out[n++] = '[';
	for (int i = 0; i < dims; i++)
		n += (size_t)snprintf(out + n, 128 - n, "%s%lld", i ? ", " : "", (long long)shape[i]);
	snprintf(out + n, 128 - n, "]");
	return out;
}

int
checkpoint_check_tensor(const struct tensor *t, const struct param *p, struct err *err)
{
	char found[128], expected[128];

	if (t->dims != p->dims || memcmp(t->shape, p->shape, (size_t)p->dims * sizeof *p->shape) != 0)
		return err_set(err, "tensor '%s' has shape %s, expected %s", t->name,
		               shape_text(found, t->dims, t->shape), shape_text(expected, p->dims, p->shape));
	return 0;
}

/* Every parameter is there with its shape, and nothing else. */
static int
bind(struct checkpoint *ckpt, struct err *err)
{
	const struct params *params = &ckpt->params;
	const struct image *image = &ckpt->image;
	uint8_t *bound = calloc(image->n + 1, 1);
	int bad = 0;

	ckpt->data = calloc((size_t)params->n, sizeof *ckpt->data);
	if (!ckpt->data || !bound)
		bad = err_set(err, "out of memory for %d parameters", params->n);
	for (int i = 0; !bad && i < params->n; i++) {
		const struct param *p = &params->list[i];
		const struct tensor *t = image_find(image, p->name);

		if (!t)
			bad = err_set(err, "tensor '%s' is missing", p->name);
		else if (t->dtype != DTYPE_F32)
			bad = err_set(err, "tensor '%s' is %s, expected F32", p->name, dtype_name(t->dtype));
		else if (t->offset % sizeof(float))
			bad = err_set(err, "tensor '%s' begins at byte %zu, expected a multiple of 4", p->name,
			              t->offset);
		else
			bad = checkpoint_check_tensor(t, p, err);
		if (bad)
			break;
		ckpt->data[i] = image_data(image, t);
		bound[t - image->tensors] = 1;
	}
	for (size_t i = 0; !bad && i < image->n; i++)
		if (!bound[i])
			bad = err_set(err, "tensor '%s' is no parameter of this configuration", image->tensors[i].name);
	free(bound);
	return bad;
}

int
checkpoint_open(struct checkpoint *ckpt, const char *name, struct err *err)
{
	const char *config;

	*ckpt = (struct checkpoint){ 0 };
	if (checkpoint_path(ckpt->path, sizeof ckpt->path, name, err) || state_open(&ckpt->image, ckpt->path, err))
		return -1;
	config = image_meta(&ckpt->image, "vqa.config");
	if (!config && image_meta(&ckpt->image, "vqa.run")) {
		err_set(err, "what an optimizer remembers of a run, not a checkpoint: LAST.safetensors is beside it");
	} else if (!config) {
		err_set(err,
		        "no vqa.config in its metadata: a plain state dict, of which ckpt-import makes a checkpoint");
	} else if (!config_parse(&ckpt->config, config, image_meta(&ckpt->image, "vqa.answers"), err) &&
	           !params_make(&ckpt->params, &ckpt->config, err) && !bind(ckpt, err)) {
		return 0;
	}
	err_prefix(err, "%s", ckpt->path);
	checkpoint_close(ckpt);
	return -1;
}

void
checkpoint_close(struct checkpoint *ckpt)
{
	free(ckpt->data);
	ckpt->data = NULL;
	params_release(&ckpt->params);
	config_release(&ckpt->config);
	image_close(&ckpt->image);
}

int
checkpoint_layout(struct image *image, const struct config *cfg, const struct params *params,
                  const struct image_meta *more, size_t more_n, struct err *err)
{
	char *config, *answers;
	int bad;

	image_begin(image);
	if (config_format(cfg, &config, &answers, err))
		return -1;
	bad = image_add_meta(image, "format", "pt", err) || image_add_meta(image, "vqa.config", config, err) ||
	      (answers && image_add_meta(image, "vqa.answers", answers, err));
	free(config);
	free(answers);
	for (size_t i = 0; !bad && i < more_n; i++)
		bad = image_add_meta(image, more[i].key, more[i].value, err);
	for (int i = 0; !bad && i < params->n; i++)
		bad = image_add(image, params->list[i].name, DTYPE_F32, params->list[i].dims, params->list[i].shape,
		                err);
	if (bad)
		image_close(image);
	return bad ? -1 : 0;
}

int
checkpoint_write(const struct config *cfg, const struct params *params, const float *const *data,
                 const struct image_meta *more, size_t more_n, const char *path, struct err *err)
{
	struct image image;
	int bad;

	if (checkpoint_layout(&image, cfg, params, more, more_n, err))
		return -1;
	bad = image_write(&image, (const void *const *)data, path, err);
	image_close(&image);
	return bad;
}
