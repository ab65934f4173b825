/*
 * Configuration from and to JSON. One table says every number's key, bounds and beginning. What came after the first version may be
 * missing and has its default then.
 */
#include "ckpt/config.h"

#include <jansson.h>
#include <stdint.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream/schema.h"
#include "sys/json_file.h"

static const struct field {
	const char *key;
	size_t offset;
	int low, high, first; /* first: ckpt-init's default */
	int optional;
} fields[] = {
	{ "language", offsetof(struct config, language), 0, 256, 9, 0 },
	{ "cross", offsetof(struct config, cross), 1, 256, 5, 0 },
	{ "vision", offsetof(struct config, vision), 0, 256, 5, 0 },
	{ "hidden", offsetof(struct config, hidden), 1, 1 << 14, 768, 0 },
	{ "heads", offsetof(struct config, heads), 1, HEADS_MAX, 12, 0 },
	{ "ffn", offsetof(struct config, ffn), 1, 1 << 16, 3072, 0 },
	{ "features", offsetof(struct config, features), 1, 1 << 16, 2048, 0 },
	{ "vocabulary", offsetof(struct config, vocabulary), 1, 1 << 20, 30522, 0 },
	{ "positions", offsetof(struct config, positions), 1, 1 << 14, 512, 0 },
	{ "max_tokens", offsetof(struct config, max_tokens), 2, 512, 20, 0 },
	{ "objects", offsetof(struct config, objects), 1, 1024, 36, 0 },
	{ "span_rows", offsetof(struct config, span_rows), 1, BATCH_MAX, 1, 1 },
	{ "span_unit", offsetof(struct config, span_unit), 1, 1 << 20, 1024, 1 },
	{ "span_ramp", offsetof(struct config, span_ramp), 1, 1 << 20, 32, 1 },
	{ "layerdrop", offsetof(struct config, layerdrop), 0, 256, 0, 1 },
};

static const struct real_field {
	const char *key;
	size_t offset;
	double low, below, first;
	int optional;
} real_fields[] = {
	{ "dropout", offsetof(struct config, dropout), 0, 1, 0.1, 0 },
	{ "span_loss", offsetof(struct config, span_loss), 0, 1e6, 5e-6, 1 },
	{ "span_init", offsetof(struct config, span_begin), -1e6, 1e6, 0.002, 1 },
};

static const struct flag_field {
	const char *key;
	size_t offset;
	int optional;
} flag_fields[] = {
	{ "sparse", offsetof(struct config, sparse), 0 },
	{ "adaptive", offsetof(struct config, adaptive), 1 },
};

enum {
	FIELDS = sizeof fields / sizeof *fields,
	REALS = sizeof real_fields / sizeof *real_fields,
	FLAGS = sizeof flag_fields / sizeof *flag_fields,
	ANSWERS_FILE_MAX = 64 << 20,
};

static void *
at(const struct config *cfg, size_t offset)
{
	return (char *)(uintptr_t)cfg + offset;
}

void
config_default(struct config *cfg)
{
	*cfg = (struct config){ 0 };
	for (int i = 0; i < FIELDS; i++)
		*(int *)at(cfg, fields[i].offset) = fields[i].first;
	for (int i = 0; i < REALS; i++)
		*(double *)at(cfg, real_fields[i].offset) = real_fields[i].first;
}

int
config_check(const struct config *cfg, struct err *err)
{
	for (int i = 0; i < FIELDS; i++) {
		int value = *(int *)at(cfg, fields[i].offset);

		if (value < fields[i].low || value > fields[i].high)
			return err_set(err, "'%s' is %d, expected %d to %d", fields[i].key, value, fields[i].low,
			               fields[i].high);
	}
	if (cfg->hidden % cfg->heads)
		return err_set(err, "'hidden' is %d, expected a multiple of %d heads", cfg->hidden, cfg->heads);
	if (cfg->max_tokens > cfg->positions)
		return err_set(err, "'max_tokens' is %d, expected at most %d positions", cfg->max_tokens,
		               cfg->positions);
	if (cfg->answers_n < 1 || cfg->answers_n > ANSWERS_MAX)
		return err_set(err, "%d answers, expected 1 to %d", cfg->answers_n, ANSWERS_MAX);
	for (int i = 0; i < REALS; i++) {
		double value = *(double *)at(cfg, real_fields[i].offset);

		if (!(value >= real_fields[i].low && value < real_fields[i].below))
			return err_set(err, "'%s' is %g, expected %g to below %g", real_fields[i].key, value,
			               real_fields[i].low, real_fields[i].below);
	}
	return 0;
}

static int
get_text(const json_t *json, const char *key, char *out, size_t size, struct err *err)
{
	const json_t *value = json_object_get(json, key);

	out[0] = '\0';
	if (!value)
		return 0;
	if (!json_is_string(value) || json_string_length(value) >= size)
		return err_set(err, "'%s' is no string of fewer than %zu bytes", key, size);
	memcpy(out, json_string_value(value), json_string_length(value) + 1);
	return 0;
}

static int
parse_fields(struct config *cfg, const json_t *json, struct err *err)
{
	const json_t *value;

	for (int i = 0; i < FIELDS; i++) {
		value = json_object_get(json, fields[i].key);
		if (!value && fields[i].optional)
			continue;
		if (!json_is_integer(value) || json_integer_value(value) < fields[i].low ||
		    json_integer_value(value) > fields[i].high)
			return err_set(err, "'%s' is missing or no integer from %d to %d", fields[i].key, fields[i].low,
			               fields[i].high);
		*(int *)at(cfg, fields[i].offset) = (int)json_integer_value(value);
	}
	for (int i = 0; i < FLAGS; i++) {
		value = json_object_get(json, flag_fields[i].key);
		if (!value && flag_fields[i].optional)
			continue;
		if (!json_is_boolean(value))
			return err_set(err, "'%s' is missing or neither true nor false", flag_fields[i].key);
		*(int *)at(cfg, flag_fields[i].offset) = json_is_true(value);
	}
	for (int i = 0; i < REALS; i++) {
		value = json_object_get(json, real_fields[i].key);
		if (!value && real_fields[i].optional)
			continue;
		if (!json_is_number(value))
			return err_set(err, "'%s' is missing or no number", real_fields[i].key);
		*(double *)at(cfg, real_fields[i].offset) = json_number_value(value);
	}
	value = json_object_get(json, "answers");
	if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > ANSWERS_MAX)
		return err_set(err, "'answers' is missing or no integer from 1 to %d", ANSWERS_MAX);
	cfg->answers_n = (int)json_integer_value(value);
	return get_text(json, "feature_source", cfg->source, sizeof cfg->source, err) ||
	                       get_text(json, "vocab_hash", cfg->vocab_hash, sizeof cfg->vocab_hash, err)
	               ? -1
	               : 0;
}

static void
free_answers(char **answers, int n)
{
	for (int i = 0; answers && i < n; i++)
		free(answers[i]);
	free(answers);
}

static int
by_answer(const void *a, const void *b, void *cfg)
{
	char **answers = ((struct config *)cfg)->answers;

	return strcmp(answers[*(const int *)a], answers[*(const int *)b]);
}

/* The order that config_answer searches in; two equal answers are a fault. */
static int
sort_answers(struct config *cfg, struct err *err)
{
	cfg->sorted = malloc((size_t)cfg->answers_n * sizeof *cfg->sorted);
	if (!cfg->sorted)
		return err_set(err, "out of memory for %d answers", cfg->answers_n);
	for (int i = 0; i < cfg->answers_n; i++)
		cfg->sorted[i] = i;
	qsort_r(cfg->sorted, (size_t)cfg->answers_n, sizeof *cfg->sorted, by_answer, cfg);
	for (int i = 1; i < cfg->answers_n; i++) {
		int a = cfg->sorted[i - 1], b = cfg->sorted[i];

		if (!strcmp(cfg->answers[a], cfg->answers[b]))
			return err_set(err, "answers %d and %d are both '%.100s'", a < b ? a : b, a < b ? b : a,
			               cfg->answers[a]);
	}
	return 0;
}

int
config_set_answers(struct config *cfg, char **answers, int n, struct err *err)
{
	cfg->answers = answers;
	cfg->answers_n = n;
	if (!sort_answers(cfg, err))
		return 0;
	config_release(cfg);
	return -1;
}

/*
 * A JSON array becomes the answer list; its elements are strings, or, in a file, perhaps objects with the string "ans": the form of
 * LXMERT's all_ans.json.
 */
static int
take_answers(struct config *cfg, const json_t *json, int objects, struct err *err)
{
	size_t n = json_array_size(json);
	char **answers;

	if (!json_is_array(json) || !n || n > ANSWERS_MAX)
		return err_set(err, "the answer list is no JSON array of 1 to %d strings", ANSWERS_MAX);
	answers = calloc(n, sizeof *answers);
	if (!answers)
		return err_set(err, "out of memory for %zu answers", n);
	for (size_t i = 0; i < n; i++) {
		const json_t *answer = json_array_get(json, i);
		const char *text;

		if (objects && json_is_object(answer))
			answer = json_object_get(answer, "ans");
		text = json_string_value(answer);
		answers[i] = text ? strdup(text) : NULL;
		if (answers[i])
			continue;
		free_answers(answers, (int)i);
		return text ? err_set(err, "out of memory for %zu answers", n)
		            : err_set(err, "answer %zu is no string", i);
	}
	return config_set_answers(cfg, answers, (int)n, err);
}

static json_t *
load(const char *text, const char *what, struct err *err)
{
	json_error_t at;
	json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &at);

	if (!json)
		err_set(err, "%s: byte %d: %s", what, at.position, at.text);
	return json;
}

int
config_parse(struct config *cfg, const char *config_json, const char *answers_json, struct err *err)
{
	json_t *json = load(config_json, "vqa.config", err);
	int bad = !json, answers_n;

	config_default(cfg);
	if (json && !json_is_object(json))
		bad = err_set(err, "vqa.config: no JSON object");
	if (!bad && parse_fields(cfg, json, err))
		bad = err_prefix(err, "vqa.config");
	json_decref(json);
	if (!bad && answers_json) {
		answers_n = cfg->answers_n;
		json = load(answers_json, "vqa.answers", err);
		bad = !json;
		if (json && take_answers(cfg, json, 0, err))
			bad = err_prefix(err, "vqa.answers");
		else if (json && cfg->answers_n != answers_n)
			bad = err_set(err, "vqa.answers: %d answers, but vqa.config has %d", cfg->answers_n, answers_n);
		json_decref(json);
	}
	if (!bad && config_check(cfg, err))
		bad = err_prefix(err, "vqa.config");
	if (bad)
		config_release(cfg);
	return bad ? -1 : 0;
}

int
config_format(const struct config *cfg, char **config_json, char **answers_json, struct err *err)
{
	json_t *json = json_object(), *answers = cfg->answers ? json_array() : NULL;
	int bad = 0;

	for (int i = 0; i < FIELDS; i++)
		bad |= json_object_set_new(json, fields[i].key, json_integer(*(int *)at(cfg, fields[i].offset)));
	for (int i = 0; i < REALS; i++)
		bad |= json_object_set_new(json, real_fields[i].key,
		                           json_real(*(double *)at(cfg, real_fields[i].offset)));
	for (int i = 0; i < FLAGS; i++)
		bad |= json_object_set_new(json, flag_fields[i].key,
		                           json_boolean(*(int *)at(cfg, flag_fields[i].offset)));
	bad |= json_object_set_new(json, "answers", json_integer(cfg->answers_n));
	bad |= json_object_set_new(json, "feature_source", json_string(cfg->source));
	bad |= json_object_set_new(json, "vocab_hash", json_string(cfg->vocab_hash));
	for (int i = 0; answers && i < cfg->answers_n; i++)
		bad |= json_array_append_new(answers, json_string(cfg->answers[i]));
	/* 15 digits, so that 0.1 reads 0.1. */
	*config_json = bad ? NULL : json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(15));
	*answers_json = bad || !answers ? NULL : json_dumps(answers, JSON_COMPACT);
	json_decref(json);
	json_decref(answers);
	if (*config_json && (!cfg->answers || *answers_json))
		return 0;
	free(*config_json);
	free(*answers_json);
	return err_set(err, "the configuration cannot be written as JSON: out of memory or not UTF-8");
}

int
config_read_answers(struct config *cfg, const char *path, struct err *err)
{
	json_t *json = json_file_read(path, ANSWERS_FILE_MAX, "a list of answers", err);
	int bad;

	if (!json)
		return -1;
	bad = take_answers(cfg, json, 1, err);
	json_decref(json);
	return bad ? err_prefix(err, "%s", path) : 0;
}

void
config_release(struct config *cfg)
{
	free_answers(cfg->answers, cfg->answers_n);
	free(cfg->sorted);
	cfg->answers = NULL;
	cfg->sorted = NULL;
}

/* Without names an answer is its index in decimal. */
static int
plain_index(const struct config *cfg, const char *answer, size_t n)
{
	int index = 0;

	if (!n || n > 6 || (n > 1 && answer[0] == '0'))
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (answer[i] < '0' || answer[i] > '9')
			return -1;
		index = index * 10 + (answer[i] - '0');
	}
	return index < cfg->answers_n ? index : -1;
}

int
config_answer(const struct config *cfg, const char *answer, size_t n)
{
	int low = 0, high = cfg->answers_n - 1;

	if (!cfg->answers)
		return plain_index(cfg, answer, n);
	while (low <= high) {
		int middle = (low + high) / 2;
		const char *at = cfg->answers[cfg->sorted[middle]];
		size_t length = strlen(at);
		int order = memcmp(answer, at, n < length ? n : length);

		if (!order)
			order = (n > length) - (n < length);
		if (!order)
			return cfg->sorted[middle];
		if (order > 0)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return -1;
}
