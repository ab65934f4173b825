/*
 * A parameter of the pruned model is the one with the old number of its layer.
 */
#include "ckpt/prune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/opt.h"

static const char *const stacks[STACKS] = { ".encoder.layer.", ".encoder.x_layers.", ".encoder.r_layers." };

static int
by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

int
kept_parse(struct kept *kept, const char *text, int count, struct err *err)
{
	const char *at = text;

	*kept = (struct kept){ 0 };
	if (at && *at && !count)
		return err_set(err, "'%s', but that stack has no layers", text);
	for (int i = 0; !text && i < count; i++)
		kept->layers[kept->n++] = i;
	while (at && *at) {
		size_t n = strcspn(at, ",");
		int64_t number;
		char part[8];

		snprintf(part, sizeof part, "%.*s", (int)n, at);
		if (n >= sizeof part || parse_int(part, 0, count - 1, &number) || (at[n] && !at[n + 1]))
			return err_set(err, "'%s' is no list of layers from 0 to %d: the stack has %d", text, count - 1,
			               count);
		for (int i = 0; i < kept->n; i++)
			if (kept->layers[i] == number)
				return err_set(err, "'%s' has layer %d twice", text, (int)number);
		kept->layers[kept->n++] = (int)number;
		at += n + (at[n] == ',');
	}
	qsort(kept->layers, (size_t)kept->n, sizeof *kept->layers, by_number);
	return 0;
}

/* The name that a parameter of the pruned model has in the whole one. */
static void
name_before(char *out, size_t size, const char *name, const struct kept kept[STACKS])
{
	for (int i = 0; i < STACKS; i++) {
		const char *stack = strstr(name, stacks[i]);
		const char *number = stack ? stack + strlen(stacks[i]) : NULL;

		if (!stack)
			continue;
		snprintf(out, size, "%.*s%d%s", (int)(number - name), name, kept[i].layers[atoi(number)],
		         strchr(number, '.'));
		return;
	}
	snprintf(out, size, "%s", name);
}

int
checkpoint_prune(const struct checkpoint *ckpt, const struct kept kept[STACKS], const char *path, struct config *after,
                 size_t *parameters, struct err *err)
{
	struct params params;
	const float **data;
	int bad;

	*after = ckpt->config;
	after->language = kept[0].n;
	after->cross = kept[1].n;
	after->vision = kept[2].n;
	after->layerdrop = 0;
	if (config_check(after, err) || params_make(&params, after, err))
		return -1;
	*parameters = params_count(&params);
	data = calloc((size_t)params.n, sizeof *data);
	for (int i = 0; data && i < params.n; i++) {
		char name[TENSOR_NAME];

		name_before(name, sizeof name, params.list[i].name, kept);
		data[i] = image_data(&ckpt->image, image_find(&ckpt->image, name));
	}
	bad = data ? checkpoint_write(after, &params, data, NULL, 0, path, err)
	           : err_set(err, "out of memory for %d tensors", params.n);
	free(data);
	params_release(&params);
	return bad;
}
