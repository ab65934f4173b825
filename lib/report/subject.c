/*
 * Opening what is reported on.
 */
#include "report/subject.h"

#include <stdlib.h>
#include <string.h>

#include "ckpt/checkpoint.h"
#include "ckpt/names.h"
#include "ckpt/state.h"
#include "sys/utf8.h"

enum { REFERENCE_HEADS = 12 };

/*
 * Without a configuration of ours: sizes of the shapes, the rest as the reference has it. Where no alphas and spans tell the heads, no
 * report depends on them.
 */
static int
guess_config(struct config *cfg, const struct state_names *names, struct err *err)
{
	int heads;

	config_default(cfg);
	if (heads_said(&heads, names, err) || config_from_names(cfg, names, heads ? heads : REFERENCE_HEADS, err))
		return -1;
	if (!heads && cfg->hidden % REFERENCE_HEADS)
		cfg->heads = 1;
	if (cfg->max_tokens > cfg->positions)
		cfg->max_tokens = cfg->positions;
	return config_check(cfg, err);
}

static int
read_values(struct subject *s, const struct image *image, const struct state_names *names, struct err *err)
{
	for (int i = 0; i < s->params.n; i++) {
		const struct param *p = &s->params.list[i];
		const struct named *named = state_names_find(names, p->name);

		if (!named)
			return err_set(err, "tensor '%s' is missing", p->name);
		if (checkpoint_check_tensor(named->tensor, p, err))
			return -1;
		if (p->init != INIT_SPAN && p->init != INIT_ALPHA)
			continue;
		s->values[i] = malloc(p->n * sizeof *s->values[i]);
		if (!s->values[i])
			return err_set(err, "out of memory for tensor '%s'", p->name);
		if (dtype_to_f32(s->values[i], image_data(image, named->tensor), p->n, named->tensor->dtype, err))
			return err_prefix(err, "tensor '%s'", p->name);
	}
	return 0;
}

static int
read_state(struct subject *s, const struct image *image, const struct state_names *names, struct err *err)
{
	const char *config = image_meta(image, "vqa.config");

	if (config ? config_parse(&s->config, config, image_meta(image, "vqa.answers"), err)
	           : guess_config(&s->config, names, err))
		return -1;
	if (params_make(&s->params, &s->config, err))
		return -1;
	s->values = calloc((size_t)s->params.n, sizeof *s->values);
	s->modules = modules_make(&s->config, &s->params, &s->modules_n, err);
	if (!s->values || !s->modules)
		return err_set(err, "out of memory for %d parameters", s->params.n);
	return read_values(s, image, names, err);
}

int
subject_open(struct subject *s, const char *name, struct err *err)
{
	struct image image;
	struct state_names names;
	int bad;

	*s = (struct subject){ 0 };
	if (checkpoint_path(s->path, sizeof s->path, name, err) || state_open(&image, s->path, err))
		return -1;
	utf8_quote(s->shown, sizeof s->shown, s->path, strlen(s->path));
	bad = state_names_make(&names, &image, err);
	if (!bad) {
		bad = read_state(s, &image, &names, err);
		state_names_release(&names);
	}
	image_close(&image);
	if (bad) {
		err_prefix(err, "%s", s->path);
		subject_close(s);
	}
	return bad ? -1 : 0;
}

void
subject_close(struct subject *s)
{
	for (int i = 0; s->values && i < s->params.n; i++)
		free(s->values[i]);
	free(s->values);
	free(s->modules);
	params_release(&s->params);
	config_release(&s->config);
}

struct subject *
subjects_open(char **names, int n, struct err *err)
{
	struct subject *s = calloc((size_t)n + 1, sizeof *s);

	if (!s) {
		err_set(err, "out of memory for %d checkpoints", n);
		return NULL;
	}
	for (int i = 0; i < n; i++)
		if (subject_open(&s[i], names[i], err)) {
			subjects_close(s, i);
			return NULL;
		}
	return s;
}

void
subjects_close(struct subject *s, int n)
{
	for (int i = 0; i < n; i++)
		subject_close(&s[i]);
	free(s);
}

int
subjects_layers(const struct subject *s, int n)
{
	int most = 0;

	for (int i = 0; i < n; i++)
		for (int k = 0; k < s[i].modules_n; k++)
			most = s[i].modules[k].layer >= most ? s[i].modules[k].layer + 1 : most;
	return most;
}

const float *
subject_values(const struct subject *s, int param, size_t *n)
{
	*n = s->params.list[param].n;
	return s->values[param];
}
