/*
 * Which layers a step leaves out: drawn, or read back.
 */
#include "model/layerdrop.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "sys/file.h"
#include "sys/philox.h"

enum { FILE_MOST = 4 << 20 };

/* The counter's word in which dropout numbers its sites; they never come this far. */
static const uint32_t SITE = 0xffffffff;

static void
draw(uint8_t *dropped, const struct config *cfg, uint64_t seed, uint32_t step)
{
	int sizes[STACKS];
	uint32_t u[4];

	layers_of_stacks(sizes, cfg);
	memset(dropped, 0, (size_t)layers_total(cfg));
	for (int stack = 0; stack < STACKS; dropped += sizes[stack++])
		for (int i = 0; i < cfg->layerdrop && sizes[stack]; i++) {
			if (i % 4 == 0)
				philox4x32(u, seed, step, SITE, (uint32_t)stack, (uint32_t)i / 4);
			dropped[(uint64_t)u[i % 4] * (uint64_t)sizes[stack] >> 32] = 1;
		}
}

static int
take_layers(uint8_t *dropped, int size, const json_t *layers, struct err *err)
{
	if (!json_is_array(layers))
		return err_set(err, "no array of layers");
	for (size_t i = 0; i < json_array_size(layers); i++) {
		const json_t *layer = json_array_get(layers, i);

		if (!json_is_integer(layer) || json_integer_value(layer) < 0 || json_integer_value(layer) >= size)
			return err_set(err, "element %zu is no layer from 0 to %d", i, size - 1);
		dropped[json_integer_value(layer)] = 1;
	}
	return 0;
}

static int
take_draws(struct layerdrop *drop, const json_t *json, struct err *err)
{
	size_t n = json_array_size(json);
	int sizes[STACKS];
	uint8_t *at;

	layers_of_stacks(sizes, drop->config);
	if (!json_is_array(json) || !n || n % STACKS)
		return err_set(err, "no array of draws, three (language, vision, cross) a step");
	drop->steps = (int64_t)(n / STACKS);
	drop->recorded = at = calloc(n / STACKS, (size_t)layers_total(drop->config));
	if (!at)
		return err_set(err, "out of memory for %zu draws", n);
	for (size_t i = 0; i < n; at += sizes[i++ % STACKS])
		if (take_layers(at, sizes[i % STACKS], json_array_get(json, i), err))
			return err_prefix(err, "draw %zu", i);
	return 0;
}

static int
read_draws(struct layerdrop *drop, const char *path, struct err *err)
{
	json_error_t at;
	json_t *json;
	char *text;
	size_t n;
	int bad;

	if (file_read(&text, &n, path, FILE_MOST, "recorded draws", err))
		return -1;
	json = json_loadb(text, n, JSON_REJECT_DUPLICATES, &at);
	free(text);
	if (!json)
		return err_set(err, "%s: line %d, byte %d: %s", path, at.line, at.position, at.text);
	bad = take_draws(drop, json, err);
	json_decref(json);
	return bad ? err_prefix(err, "%s", path) : 0;
}

int
layerdrop_open(struct layerdrop *drop, const struct config *cfg, const char *recorded, struct err *err)
{
	*drop = (struct layerdrop){ .config = cfg };
	if (!cfg->layerdrop && !recorded)
		return 0;
	drop->dropped = calloc(1, (size_t)layers_total(cfg));
	if (!drop->dropped)
		return err_set(err, "out of memory for %d layers", layers_total(cfg));
	if (!recorded || !read_draws(drop, recorded, err))
		return 0;
	layerdrop_close(drop);
	return -1;
}

void
layerdrop_close(struct layerdrop *drop)
{
	free(drop->dropped);
	free(drop->recorded);
	*drop = (struct layerdrop){ 0 };
}

int
layerdrop_draw(struct layerdrop *drop, uint64_t seed, int64_t step, struct err *err)
{
	size_t layers;

	if (!drop->dropped)
		return 0;
	layers = (size_t)layers_total(drop->config);
	if (!drop->recorded)
		draw(drop->dropped, drop->config, seed, (uint32_t)step);
	else if (step > drop->steps)
		return err_set(err, "step %lld: draws of %lld steps were recorded", (long long)step,
		               (long long)drop->steps);
	else
		memcpy(drop->dropped, drop->recorded + (size_t)(step - 1) * layers, layers);
	return 0;
}
