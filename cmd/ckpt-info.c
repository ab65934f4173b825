/*
 * ckpt-info: what a checkpoint says of itself.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt/checkpoint.h"
#include "sys/die.h"
#include "sys/opt.h"
#include "sys/utf8.h"

static int as_json;

static const struct opt opts[] = {
	{ 0, "json", OPT_FLAG, &as_json, NULL, "print JSON" },
	{ 0 },
};

static const struct program program = {
	"ckpt-info", "NAME", "describe a checkpoint", opts, 1, 1,
};

/* Metadata that is JSON, as JSON; NULL where it is not there. */
static json_t *
meta(const struct checkpoint *ckpt, const char *key)
{
	const char *text = image_meta(&ckpt->image, key);

	return text ? json_loads(text, 0, NULL) : NULL;
}

static json_t *
describe(const struct checkpoint *ckpt)
{
	json_t *out = json_object(), *tensors = json_array(), *run = meta(ckpt, "vqa.run");
	char path[sizeof ckpt->path]; /* a file's name may be no UTF-8 */

	json_object_set_new(out, "file", json_string(utf8_quote(path, sizeof path, ckpt->path, strlen(ckpt->path))));
	json_object_set_new(out, "parameters", json_integer((json_int_t)params_count(&ckpt->params)));
	json_object_set_new(out, "config", meta(ckpt, "vqa.config"));
	json_object_set_new(out, "answers", ckpt->config.answers ? meta(ckpt, "vqa.answers") : json_null());
	if (run)
		json_object_set_new(out, "run", run);
	for (size_t i = 0; i < ckpt->image.n; i++) {
		const struct tensor *t = &ckpt->image.tensors[i];
		json_t *shape = json_array();

		for (int k = 0; k < t->dims; k++)
			json_array_append_new(shape, json_integer(t->shape[k]));
		json_array_append_new(tensors, json_pack("{s:s, s:s, s:o}", "name", t->name, "dtype",
		                                         dtype_name(t->dtype), "shape", shape));
	}
	json_object_set_new(out, "tensors", tensors);
	return out;
}

/* A string is printed as in JSON but without its quotes, so that no tab or newline breaks a row. */
static void
print_cell(const json_t *value)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
	size_t n = text ? strlen(text) : 0;
	int quoted = n && text[0] == '"';

	printf("\t%.*s", (int)n - 2 * quoted, quoted ? text + 1 : text ? text : "");
	free(text);
}

static void
print_row(const char *section, const char *key, const json_t *value)
{
	json_t *name = json_string(key);

	fputs(section, stdout);
	print_cell(name);
	print_cell(value);
	putchar('\n');
	json_decref(name);
}

static void
print_plain(const json_t *out)
{
	static const char *const sections[] = { "config", "run" };
	const char *key;
	json_t *value;
	size_t i;

	printf("section\tname\tvalue\n");
	print_row("checkpoint", "file", json_object_get(out, "file"));
	print_row("checkpoint", "parameters", json_object_get(out, "parameters"));
	for (size_t k = 0; k < sizeof sections / sizeof *sections; k++)
		json_object_foreach(json_object_get(out, sections[k]), key, value) print_row(sections[k], key, value);
	json_array_foreach(json_object_get(out, "tensors"), i, value)
		print_row("tensor", json_string_value(json_object_get(value, "name")), json_object_get(value, "shape"));
}

int
main(int argc, char **argv)
{
	int operand = opt_parse(&program, argc, argv);
	struct checkpoint ckpt;
	struct err err;
	json_t *out;

	if (checkpoint_open(&ckpt, argv[operand], &err))
		die(&err);
	out = describe(&ckpt);
	if (as_json) {
		json_dumpf(out, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
		putchar('\n');
	} else {
		print_plain(out);
	}
	json_decref(out);
	checkpoint_close(&ckpt);
	close_stdout();
	return 0;
}
