/*
 * Normal forms against those of VQA's evaluation, tests/golden/score/normal.jsonl, and the official accuracy against its closed form.
 * Runs in the repository's root, or where VQA_ROOT says.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "text/annotations.h"
#include "text/normal.h"

static int
setup(void **state)
{
	const char *root = getenv("VQA_ROOT");

	(void)state;
	return root ? chdir(root) : 0;
}

/* Whether form, which is freed, is what the line's entry i says; else both are told. */
static int
is(char *form, const json_t *line, size_t i)
{
	const char *want = json_string_value(json_array_get(line, i));
	int same = strcmp(form, want) == 0;

	if (!same)
		fprintf(stderr, "'%s': '%s', expected '%s'\n", json_string_value(json_array_get(line, 0)), form, want);
	free(form);
	return same;
}

static void
test_normal(void **state)
{
	FILE *file = fopen("tests/golden/score/normal.jsonl", "r");
	char *text = NULL;
	size_t size = 0;
	int lines = 0, wrong = 0;
	ssize_t n;

	(void)state;
	assert_non_null(file);
	while ((n = getline(&text, &size, file)) > 0) {
		json_t *line = json_loadb(text, (size_t)n, 0, NULL);
		const char *answer = json_string_value(json_array_get(line, 0));

		assert_int_equal(json_array_size(line), 3);
		lines++;
		wrong += !is(answer_normal(answer), line, 1) + !is(answer_listed(answer), line, 2);
		json_decref(line);
	}
	free(text);
	fclose(file);
	assert_int_equal(lines, 500);
	assert_int_equal(wrong, 0);
}

static void
becomes(char *(*form)(const char *), const char *answer, const char *want)
{
	char *got = form(answer);

	assert_string_equal(got, want);
	free(got);
}

static void
test_corners(void **state)
{
	char stops[72], big[100001];

	(void)state;
	becomes(answer_trimmed, "\n a\tb\nc \u3000", "a b c");
	becomes(answer_trimmed, " \n ", "");
	becomes(answer_trimmed, "", "");
	becomes(answer_normal, "", "");
	becomes(answer_normal, "the", "");
	/* a mark beside a space is deleted everywhere, another becomes a space */
	becomes(answer_normal, "a-b - c/d", "ab c d");
	becomes(answer_normal, "1,000 x-y", "1000 xy");
	/* 32 full stops and no more; one that a digit follows stays */
	memset(stops, '.', 40);
	strcpy(stops + 40, "5");
	becomes(answer_normal, stops, "........5");
	/* exactly one apostrophe may be lacking */
	becomes(answer_normal, "couldntve couldnt've couldn'tve couldn't've",
	        "couldntve couldn't've couldn't've couldn't've");
	becomes(answer_normal, "lets its shes", "lets its shes");
	becomes(answer_normal, "Im Id've", "im id've");
	/* a long answer takes no time to speak of */
	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = '\0';
	becomes(answer_normal, big, big);
}

static void
test_points(void **state)
{
	static const double want[] = { 0, 0.3, 0.6, 0.9, 1, 1, 1, 1, 1, 1, 1 };
	struct annotation annotation = { .n = 10 };
	struct judge judge;
	struct err err;

	(void)state;
	for (int k = 0; k <= 10; k++) {
		for (int i = 0; i < 10; i++)
			annotation.answers[i] = i < k ? "Yes." : "no";
		assert_int_equal(judge_make(&judge, &annotation, &err), 0);
		assert_int_equal(judge.normal, k > 0 && k < 10);
		assert_true(fabs(judge_points(&judge, k == 10 ? "Yes." : "yes") - want[k]) < 1e-15);
		if (k == 10)
			assert_true(judge_points(&judge, "yes") == 0);
		judge_release(&judge);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_normal),
		cmocka_unit_test(test_corners),
		cmocka_unit_test(test_points),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
