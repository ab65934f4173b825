/*
 * vqa-score: how good answers are, by labels or by VQA's annotations.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/die.h"
#include "sys/opt.h"
#include "sys/utf8.h"
#include "text/label.h"
#include "text/score.h"

static const char *answers_name, *labels_path;
static struct texts annotated;
static int as_json, oracle, per_question;

static const struct opt opts[] = {
	{ 'A', "answers", OPT_TEXT, &answers_name, "NAME",
	  "the answers of --oracle: a JSON list's, or a checkpoint's" },
	{ 'a', "annotations", OPT_LIST, &annotated, "FILE", "VQA's annotations: the official accuracy; once or more" },
	{ 'l', "labels", OPT_TEXT, &labels_path, "FILE", "question list with labels: the accuracy by them" },
	{ 0, "json", OPT_FLAG, &as_json, NULL, "one JSON object, or an array of them for several files" },
	{ 0, "oracle", OPT_FLAG, &oracle, NULL, "what answers out of -A could reach at best, after the files" },
	{ 0, "per-question", OPT_FLAG, &per_question, NULL, "a line a question" },
	{ 0 },
};
static const struct program program = { "vqa-score", "[FILE...]", "accuracy of submission files", opts, 0, -1 };

/* A file's share of the output, or the oracle's. */
struct column {
	const char *name;
	double *points;            /* (ids->count) */
	struct mean *means[PARTS]; /* (1, or as many as there are types) */
};

static void
check_options(int files)
{
	if (!labels_path == !annotated.n)
		die_usage(labels_path ? "-l and -a: expected one of them"
		                      : "neither labels nor annotations, expected -l FILE or -a FILE");
	if (files == 0 && !oracle)
		die_usage("too few operands: found 0, expected FILE...; see vqa-score --help");
	if (!oracle != !answers_name)
		die_usage("%s: expected with %s", oracle ? "--oracle" : "-A", oracle ? "-A" : "--oracle");
	if (as_json && per_question)
		die_usage("--json and --per-question: expected one of them");
}

static void *
room(size_t n, size_t size)
{
	void *out = calloc(n + 1, size);

	if (!out)
		die_words("out of memory");
	return out;
}

static void
make_means(struct column *column, const struct truth *truth)
{
	for (enum part part = PART_ALL; part < PARTS; part++) {
		column->means[part] = room(truth->types[part].count + 1, sizeof *column->means[part]);
		score_means(column->means[part], truth, part, column->points);
	}
}

/* In the form that is printed: a share of 1, or of 100, multiplied first, as vqaEval.py does it. */
static double
points_of(const struct truth *truth, const struct mean *mean)
{
	struct mean scaled = { (truth->official ? 100 : 1) * mean->sum, mean->count };

	return mean_of(&scaled);
}

static int
by_name(const void *a, const void *b, void *user)
{
	const struct names *names = user;

	return strcmp(names_get(names, *(const uint32_t *)a), names_get(names, *(const uint32_t *)b));
}

/* The numbers of a part's types in the order of their names' bytes. */
static uint32_t *
types_sorted(struct truth *truth, enum part part)
{
	struct names *names = &truth->types[part];
	uint32_t *sorted = room(names->count, sizeof *sorted);

	for (uint32_t i = 0; i < names->count; i++)
		sorted[i] = i;
	qsort_r(sorted, names->count, sizeof *sorted, by_name, names);
	return sorted;
}

static void
print_text(const char *text)
{
	char quote[4100];

	printf("\t%s", utf8_quote(quote, sizeof quote, text, strlen(text)));
}

static void
print_points(const struct truth *truth, double points)
{
	printf(truth->official ? "\t%.2f" : "\t%.6f", points);
}

/* Type `number` of a part. */
static void
print_row(const struct truth *truth, const struct column *columns, int n, enum part part, uint32_t number)
{
	static const char *const parts[] = { "overall", "answerType", "questionType" };

	fputs(parts[part], stdout);
	print_text(part == PART_ALL ? "all" : names_get(&truth->types[part], number));
	printf("\t%lld", (long long)columns[0].means[part][number].count);
	for (int i = 0; i < n; i++)
		print_points(truth, points_of(truth, &columns[i].means[part][number]));
	putchar('\n');
}

static void
print_table(struct truth *truth, const struct column *columns, int n)
{
	fputs("part\ttype\tquestions", stdout);
	for (int i = 0; i < n; i++)
		print_text(columns[i].name);
	putchar('\n');
	print_row(truth, columns, n, PART_ALL, 0);
	for (enum part part = PART_ANSWER_TYPE; part < PARTS; part++) {
		uint32_t *sorted = types_sorted(truth, part);

		for (uint32_t i = 0; i < truth->types[part].count; i++)
			print_row(truth, columns, n, part, sorted[i]);
		free(sorted);
	}
}

static void
print_questions(const struct truth *truth, const struct column *columns, int n)
{
	fputs("question_id", stdout);
	for (int i = 0; i < n; i++)
		print_text(columns[i].name);
	putchar('\n');
	for (uint32_t k = 0; k < truth->ids->count; k++) {
		printf("%lld", (long long)truth->ids->id[k]);
		for (int i = 0; i < n; i++)
			print_points(truth, points_of(truth, &(struct mean){ columns[i].points[k], 1 }));
		putchar('\n');
	}
}

/* What is official has 2 decimals, as Python rounds them. */
static json_t *
json_points(const struct truth *truth, const struct mean *mean)
{
	char text[32];

	snprintf(text, sizeof text, "%.2f", points_of(truth, mean));
	return json_real(truth->official ? strtod(text, NULL) : points_of(truth, mean));
}

static json_t *
json_types(struct truth *truth, enum part part, const struct column *column)
{
	uint32_t *sorted = types_sorted(truth, part);
	json_t *out = json_object();

	for (uint32_t i = 0; i < truth->types[part].count; i++)
		json_object_set_new(out, names_get(&truth->types[part], sorted[i]),
		                    json_points(truth, &column->means[part][sorted[i]]));
	free(sorted);
	return out;
}

static json_t *
json_column(struct truth *truth, const struct column *column, int name_it)
{
	json_t *out = json_object();
	char quote[4100];

	if (name_it)
		json_object_set_new(out, "file",
		                    json_string(utf8_quote(quote, sizeof quote, column->name, strlen(column->name))));
	if (!truth->official)
		json_object_set_new(out, "questions", json_integer(column->means[PART_ALL]->count));
	json_object_set_new(out, truth->official ? "overall" : "accuracy", json_points(truth, column->means[PART_ALL]));
	json_object_set_new(out, "perAnswerType", json_types(truth, PART_ANSWER_TYPE, column));
	if (truth->official)
		json_object_set_new(out, "perQuestionType", json_types(truth, PART_QUESTION_TYPE, column));
	return out;
}

static void
print_json(struct truth *truth, const struct column *columns, int n)
{
	json_t *all = json_array();

	for (int i = 0; i < n; i++)
		json_array_append_new(all, json_column(truth, &columns[i], n > 1));
	if (!all || json_dumpf(n > 1 ? all : json_array_get(all, 0), stdout, JSON_INDENT(4) | JSON_REAL_PRECISION(15)))
		die_words("stdout: cannot write: %s", strerror(errno));
	putchar('\n');
	json_decref(all);
}

static void
open_truth(struct truth *truth, struct err *err)
{
	char *labels = (char *)labels_path;

	note_paths(&labels, !annotated.n);
	note_paths(annotated.text, annotated.n);
	if (annotated.n ? truth_open_annotations(truth, annotated.text, annotated.n, err)
	                : truth_open_labels(truth, labels, err))
		die(err);
}

/* Points of each file, and the oracle's behind them. */
static void
fill_columns(struct column *columns, struct truth *truth, char **paths, int files, struct err *err)
{
	struct config list;

	for (int i = 0; i < files + oracle; i++)
		columns[i] = (struct column){ i < files ? paths[i] : "oracle",
			                      room(truth->ids->count, sizeof *columns->points),
			                      { 0 } };
	for (int i = 0; i < files; i++) {
		note_paths(&paths[i], 1);
		if (score_file(columns[i].points, truth, paths[i], err))
			die(err);
	}
	if (oracle) {
		if (answer_list_open(&list, answers_name, err) || score_best(columns[files].points, truth, &list, err))
			die(err);
		config_release(&list);
	}
	for (int i = 0; i < files + oracle; i++)
		make_means(&columns[i], truth);
}

int
main(int argc, char **argv)
{
	struct err err;
	struct truth truth;
	int first = opt_parse(&program, argc, argv), files = argc - first, n;
	struct column *columns;

	check_options(files);
	n = files + oracle;
	columns = room((size_t)n, sizeof *columns);
	open_truth(&truth, &err);
	fill_columns(columns, &truth, argv + first, files, &err);
	if (as_json)
		print_json(&truth, columns, n);
	else if (per_question)
		print_questions(&truth, columns, n);
	else
		print_table(&truth, columns, n);
	close_stdout();
	for (int i = 0; i < n; i++) {
		free(columns[i].points);
		for (enum part part = PART_ALL; part < PARTS; part++)
			free(columns[i].means[part]);
	}
	free(columns);
	truth_close(&truth);
	return 0;
}
