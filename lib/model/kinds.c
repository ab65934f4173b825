/*
 * Names of attention matrices.
 */
#include "model/kinds.h"

#include <string.h>

const struct matrix_kind matrix_kinds[ATTENTION_KINDS] = {
	{ "self-language", offsetof(struct config, language), 1, 1, 1 },
	{ "self-vision", offsetof(struct config, vision), 0, 0, 1 },
	{ "cross-language", offsetof(struct config, cross), 1, 0, 0 },
	{ "cross-vision", offsetof(struct config, cross), 0, 1, 0 },
	{ "cross-self-language", offsetof(struct config, cross), 1, 1, 1 },
	{ "cross-self-vision", offsetof(struct config, cross), 0, 0, 1 },
};

/* "0" … "255", as numbers are printed. */
static int
parse_layer(const char *text, size_t n)
{
	int layer = 0;

	if (!n || n > 3 || (n > 1 && text[0] == '0'))
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		layer = 10 * layer + (text[i] - '0');
	}
	return layer < ATTENTION_LAYERS ? layer : -1;
}

const struct matrix_kind *
matrix_kind_of(const char *name, size_t n, int *layer)
{
	const char *dot = memchr(name, '.', n);
	size_t kind = dot ? (size_t)(dot - name) : n;

	if (!dot)
		return NULL;
	*layer = parse_layer(dot + 1, n - kind - 1);
	for (int k = 0; *layer >= 0 && k < ATTENTION_KINDS; k++)
		if (strlen(matrix_kinds[k].name) == kind && !memcmp(name, matrix_kinds[k].name, kind))
			return &matrix_kinds[k];
	return NULL;
}

static const char *
next_word(const char *word)
{
	const char *comma = strchr(word, ',');

	return comma ? comma + 1 : NULL;
}

int
attention_wanted(const char *names, const char *name)
{
	size_t kind = strcspn(name, "."), whole = strlen(name);

	if (!strcmp(names, "all"))
		return 1;
	for (const char *word = names; word; word = next_word(word)) {
		size_t n = strcspn(word, ",");

		if ((n == kind || n == whole) && !memcmp(word, name, n))
			return 1;
	}
	return 0;
}

static int
is_known(const char *word, size_t n, const struct config *config)
{
	int layer;
	const struct matrix_kind *kind = matrix_kind_of(word, n, &layer);

	for (int k = 0; k < ATTENTION_KINDS; k++)
		if (strlen(matrix_kinds[k].name) == n && !memcmp(word, matrix_kinds[k].name, n))
			return 1;
	return kind && (!config || layer < *(const int *)((const char *)config + kind->layers));
}

int
attention_names_check(const char *names, const struct config *config, struct err *err)
{
	if (!strcmp(names, "all"))
		return 0;
	for (const char *word = names; word; word = next_word(word)) {
		size_t n = strcspn(word, ",");

		if (!is_known(word, n, config))
			return err_set(
				err,
				"no attention '%.*s', expected all, self-language, self-vision, cross-language, "
				"cross-vision, cross-self-language or cross-self-vision, or one of these with .LAYER",
				(int)n, word);
	}
	return 0;
}
