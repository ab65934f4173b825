/*
 * Safetensors: any bytes as an image; what is accepted covers its data once, is found by name, and its metadata, names and
 * values are read without leaving the image.
 */
#include "ckpt/config.h"
#include "ckpt/image.h"
#include "ckpt/names.h"
#include "ckpt/weights.h"
#include "fuzz.h"

static void
read_tensors(const struct image *image)
{
	size_t at = image->n ? image->tensors[0].offset : image->size;
	struct err err = { "" };

	for (size_t i = 0; i < image->n; i++) {
		const struct tensor *t = &image->tensors[i];
		size_t n = t->bytes / dtype_size(t->dtype);
		float *values = malloc(n * sizeof *values + 1);

		must(t->offset == at && t->bytes <= image->size - at);
		must(image_find(image, t->name) == t);
		must(values != NULL);
		dtype_to_f32(values, image_data(image, t), n, t->dtype, &err);
		free(values);
		at += t->bytes;
	}
	must(at == image->size);
}

static void
say_nothing(const char *fmt, ...)
{
	must(fmt[0] != 0);
}

/* As a state dict of a model of these sizes. */
static void
bind_weights(const struct state_names *names, const struct config *cfg)
{
	struct params params;
	struct weights weights;
	struct err err = { "" };

	must(!params_make(&params, cfg, &err));
	if (!weights_bind(&weights, &params, names, NULL, &err)) {
		must((size_t)(weights.loaded + weights.unused_n) == names->n);
		if (weights_check_missing(&weights, WEIGHTS_BERT, &err))
			must_say(err.text);
		if (weights_check_unused(&weights, &err))
			must_say(err.text);
		weights_report(&weights, "x", say_nothing);
		weights_release(&weights);
	} else {
		must_say(err.text);
	}
	params_release(&params);
}

static void
read_configs(const struct image *image)
{
	struct err err = { "" };
	struct state_names names;
	struct config cfg;

	if (!state_names_make(&names, image, &err)) {
		config_default(&cfg);
		if (!config_from_names(&cfg, &names, 4, &err)) {
			must(cfg.hidden >= 1 && cfg.answers_n >= 0);
			if (!config_check(&cfg, &err))
				bind_weights(&names, &cfg);
		}
		state_names_release(&names);
	}
	if (image_meta(image, "vqa.config") &&
	    !config_parse(&cfg, image_meta(image, "vqa.config"), image_meta(image, "vqa.answers"), &err)) {
		must(!config_check(&cfg, &err));
		must(!cfg.answers || config_answer(&cfg, cfg.answers[0], strlen(cfg.answers[0])) == 0);
		config_release(&cfg);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = copy_of(data, size);
	struct image image;
	struct err err = { "" };

	if (!image_parse(&image, copy, size, "x", &err)) {
		read_tensors(&image);
		read_configs(&image);
		image_close(&image);
	} else {
		must_say(err.text);
	}
	free(copy);
	return 0;
}
