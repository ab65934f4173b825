/*
 * Keys and defaults: transformers, models/lxmert/configuration_lxmert.py.
 */
#include "ckpt/hf_config.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "stream/schema.h"
#include "sys/json_file.h"

enum { CONFIG_FILE_MAX = 16 << 20 };

int
hf_config_path(char *path, size_t size, const char *source)
{
	const char *slash = strrchr(source, '/');
	int n = slash ? (int)(slash - source) + 1 : 0;
	struct stat st;

	return snprintf(path, size, "%.*sconfig.json", n, source) < (int)size && !stat(path, &st) &&
	       S_ISREG(st.st_mode);
}

/* A number that may be missing: *out stays as it is then. */
static int
get_int(const json_t *json, const char *key, int low, int high, int *out, struct err *err)
{
	const json_t *value = json_object_get(json, key);

	if (!value)
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < low || json_integer_value(value) > high)
		return err_set(err, "'%s' is no integer from %d to %d", key, low, high);
	*out = (int)json_integer_value(value);
	return 0;
}

static int
check_sizes(const json_t *json, const struct config *sizes, struct err *err)
{
	const struct {
		const char *key;
		int expected;
	} known[] = {
		{ "l_layers", sizes->language },
		{ "x_layers", sizes->cross },
		{ "r_layers", sizes->vision },
		{ "hidden_size", sizes->hidden },
		{ "intermediate_size", sizes->ffn },
		{ "vocab_size", sizes->vocabulary },
		{ "max_position_embeddings", sizes->positions },
		{ "visual_feat_dim", sizes->features },
		{ "visual_pos_dim", 4 },
		{ "type_vocab_size", 2 },
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		int value = known[i].expected;

		if (get_int(json, known[i].key, 0, 1 << 24, &value, err))
			return -1;
		if (value != known[i].expected)
			return err_set(err, "'%s' is %d, but the tensors have %d", known[i].key, value,
			               known[i].expected);
	}
	return 0;
}

/* A string that may be missing. */
static int
check_text(const json_t *json, const char *key, const char *expected, struct err *err)
{
	const json_t *value = json_object_get(json, key);

	if (!value)
		return 0;
	if (!json_is_string(value))
		return err_set(err, "'%s' is no string, expected '%s'", key, expected);
	if (strcmp(json_string_value(value), expected) != 0)
		return err_set(err, "'%s' is '%.40s', expected '%s'", key, json_string_value(value), expected);
	return 0;
}

static int
read_dropout(struct hf_config *hf, const json_t *json, struct err *err)
{
	const json_t *value = json_object_get(json, "hidden_dropout_prob");

	hf->dropout = -1;
	if (!value)
		return 0;
	hf->dropout = json_number_value(value);
	if (!json_is_number(value) || hf->dropout < 0 || hf->dropout >= 1)
		return err_set(err, "'hidden_dropout_prob' is no number from 0 to below 1");
	return 0;
}

/* {"0": "yes", "1": "no"} in any order. */
static int
read_labels(struct hf_config *hf, const json_t *json, struct err *err)
{
	const json_t *labels = json_object_get(json, "id2label");
	size_t n = json_object_size(labels), plain = 0;
	char name[32];

	if (!labels || json_is_null(labels))
		return 0;
	if (!json_is_object(labels) || !n || n > ANSWERS_MAX)
		return err_set(err, "'id2label' is no object of 1 to %d labels", ANSWERS_MAX);
	hf->labels = calloc(n, sizeof *hf->labels);
	for (size_t i = 0; hf->labels && i < n; i++) {
		const char *label;

		snprintf(name, sizeof name, "%zu", i);
		label = json_string_value(json_object_get(labels, name));
		if (!label)
			return err_set(err, "'id2label' has no string for %zu", i);
		hf->labels[hf->labels_n++] = strdup(label);
		if (!hf->labels[i])
			return err_set(err, "out of memory for %zu labels", n);
		snprintf(name, sizeof name, "LABEL_%zu", i);
		plain += !strcmp(label, name);
	}
	if (!hf->labels)
		return err_set(err, "out of memory for %zu labels", n);
	if (plain == n)
		hf_config_release(hf);
	return 0;
}

static int
read_all(struct hf_config *hf, const json_t *json, const struct config *sizes, struct err *err)
{
	if (!json_is_object(json))
		return err_set(err, "no JSON object");
	if (check_text(json, "model_type", "lxmert", err) || check_text(json, "hidden_act", "gelu", err) ||
	    check_sizes(json, sizes, err) || get_int(json, "num_attention_heads", 1, 1024, &hf->heads, err) ||
	    read_dropout(hf, json, err))
		return -1;
	return read_labels(hf, json, err);
}

int
hf_config_read(struct hf_config *hf, const char *path, const struct config *sizes, struct err *err)
{
	json_t *json = json_file_read(path, CONFIG_FILE_MAX, "a configuration", err);
	int bad;

	*hf = (struct hf_config){ 0 };
	if (!json)
		return -1;
	bad = read_all(hf, json, sizes, err);
	json_decref(json);
	if (!bad)
		return 0;
	hf_config_release(hf);
	return err_prefix(err, "%s", path);
}

void
hf_config_release(struct hf_config *hf)
{
	for (int i = 0; i < hf->labels_n; i++)
		free(hf->labels[i]);
	free(hf->labels);
	hf->labels = NULL;
	hf->labels_n = 0;
}
