/*
 * vqa-score: how many of the answers are right, by the labels.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/die.h"
#include "sys/opt.h"
#include "sys/utf8.h"
#include "text/score.h"

static const char *labels_path;
static int as_json;

static const struct opt opts[] = {
	{ 'l', "labels", OPT_TEXT, &labels_path, "FILE", "question list with labels (required)" },
	{ 0, "json", OPT_FLAG, &as_json, NULL, "one JSON object, or an array of them for several files" },
	{ 0 },
};
static const struct program program = { "vqa-score", "FILE...", "label accuracy of submission files", opts, 1, -1 };

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The answer types of a score in the order of their bytes; every file has the same, since it answers every question. */
static uint32_t
types_sorted(const char **sorted, const struct score *score)
{
	for (uint32_t i = 0; i < score->types.count; i++)
		sorted[i] = names_get(&score->types, i);
	qsort(sorted, score->types.count, sizeof *sorted, by_name);
	return score->types.count;
}

static double
type_mean(struct score *score, const char *type)
{
	return mean_of(&score->type[names_add(&score->types, type)]); /* it is there: nothing is added */
}

static void
print_table(char **paths, struct score *scores, int files)
{
	const char *types[TYPES_MAX];
	uint32_t count = types_sorted(types, &scores[0]);
	char quote[4100];

	printf("file\tquestions\taccuracy");
	for (uint32_t i = 0; i < count; i++)
		printf("\t%s", utf8_quote(quote, sizeof quote, types[i], strlen(types[i])));
	putchar('\n');
	for (int k = 0; k < files; k++) {
		printf("%s\t%lld\t%.6f", utf8_quote(quote, sizeof quote, paths[k], strlen(paths[k])),
		       (long long)scores[k].all.count, mean_of(&scores[k].all));
		for (uint32_t i = 0; i < count; i++)
			printf("\t%.6f", type_mean(&scores[k], types[i]));
		putchar('\n');
	}
}

static json_t *
json_score(const char *path, struct score *score, int name_it)
{
	const char *types[TYPES_MAX];
	uint32_t count = types_sorted(types, score);
	json_t *out = json_object(), *by_type = json_object();
	char quote[4100];

	if (name_it)
		json_object_set_new(out, "file", json_string(utf8_quote(quote, sizeof quote, path, strlen(path))));
	json_object_set_new(out, "questions", json_integer(score->all.count));
	json_object_set_new(out, "accuracy", json_real(mean_of(&score->all)));
	for (uint32_t i = 0; i < count; i++)
		json_object_set_new(by_type, types[i], json_real(type_mean(score, types[i])));
	json_object_set_new(out, "perAnswerType", by_type);
	return out;
}

static void
print_json(char **paths, struct score *scores, int files)
{
	json_t *all = json_array();

	for (int k = 0; k < files; k++)
		json_array_append_new(all, json_score(paths[k], &scores[k], files > 1));
	if (!all ||
	    json_dumpf(files > 1 ? all : json_array_get(all, 0), stdout, JSON_INDENT(4) | JSON_REAL_PRECISION(15)))
		die_words("stdout: cannot write: %s", strerror(errno));
	putchar('\n');
	json_decref(all);
}

int
main(int argc, char **argv)
{
	struct err err;
	struct questions labels;
	int first = opt_parse(&program, argc, argv), files = argc - first;
	struct score *scores = calloc((size_t)files, sizeof *scores);
	char *list = (char *)labels_path;

	if (!labels_path)
		die_usage("no labels, expected -l FILE");
	if (!scores)
		die_words("out of memory");
	if (questions_open(&labels, &list, 1, 1, &err))
		die(&err);
	for (int k = 0; k < files; k++)
		if (score_file(&scores[k], &labels, argv[first + k], &err))
			die(&err);
	(as_json ? print_json : print_table)(argv + first, scores, files);
	for (int k = 0; k < files; k++)
		score_release(&scores[k]);
	free(scores);
	questions_close(&labels);
	close_stdout();
	return 0;
}
