/*
 * Tokens against the reference's: every sentence and every code point of tests/golden/tokens. Runs in the repository's
 * root, or where VQA_ROOT says.
 */
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

#include "text/utf8.h"
#include "text/vocab.h"
#include "text/wordpiece.h"

static struct vocab vocab;

static int
setup(void **state)
{
	const char *root = getenv("VQA_ROOT");
	struct err err;

	(void)state;
	if (root && chdir(root))
		return -1;
	if (vocab_open(&vocab, "lib/text/bert-base-uncased-vocab.txt", &err)) {
		fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	vocab_close(&vocab);
	return 0;
}

static void
test_vocab(void **state)
{
	struct err err;
	struct vocab other;

	(void)state;
	assert_int_equal(vocab.count, 30522);
	assert_int_equal(vocab.unk, 100);
	assert_int_equal(vocab.cls, 101);
	assert_int_equal(vocab.sep, 102);
	assert_int_equal(vocab_id(&vocab, "the", 3), 1996);
	assert_int_equal(vocab_id(&vocab, "##s", 3), 2015);
	assert_int_equal(vocab_id(&vocab, "", 0), -1);
	assert_int_equal(vocab_id(&vocab, "no such piece", 13), -1);
	assert_int_equal(strlen(vocab.hash), 16);
	assert_int_equal(vocab_open(&other, "tests/golden/tokens/none.txt", &err), -1);
	assert_string_equal(err.text, "tests/golden/tokens/none.txt: No such file or directory");
}

static void
test_sentences(void **state)
{
	FILE *file = fopen("tests/golden/tokens/sentences.jsonl", "r");
	char *line = NULL;
	size_t size = 0;
	int lines = 0, wrong = 0, count;
	ssize_t n;

	(void)state;
	assert_non_null(file);
	while ((n = getline(&line, &size, file)) > 0) {
		struct err err;
		int32_t ids[TOKENS_REFERENCE];
		json_t *entry = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL);
		json_t *sent = json_object_get(entry, "sent"), *want = json_object_get(entry, "ids");

		assert_int_equal(json_array_size(want), TOKENS_REFERENCE);
		count = wordpiece(&vocab, json_string_value(sent), json_string_length(sent), ids, TOKENS_REFERENCE, &err);
		assert_true(count > 0);
		lines++;
		for (size_t i = 0; i < TOKENS_REFERENCE; i++) {
			if (json_integer_value(json_array_get(want, i)) == ((int)i < count ? ids[i] : 0))
				continue;
			fprintf(stderr, "sentence on line %d: id %zu is %d\n", lines, i, ids[i]);
			wrong++;
			break;
		}
		json_decref(entry);
	}
	free(line);
	fclose(file);
	assert_int_equal(lines, 1739);
	assert_int_equal(wrong, 0);
}

static void
test_code_points(void **state)
{
	FILE *file = popen("zcat tests/golden/tokens/codepoints.tsv.gz", "r");
	char line[256];
	int lines = 0, wrong = 0;

	(void)state;
	assert_non_null(file);
	while (fgets(line, sizeof line, file)) {
		struct err err;
		int32_t ids[TOKENS_REFERENCE];
		char text[8] = "a", *rest;
		long code = strtol(line, &rest, 16);
		int length = utf8_put(text + 1, (int32_t)code), count, i = 0;

		text[1 + length] = 'b';
		count = wordpiece(&vocab, text, (size_t)length + 2, ids, TOKENS_REFERENCE, &err);
		lines++;
		while ((*rest == '\t' || *rest == ' ') && i < count && strtol(rest, &rest, 10) == ids[i + 1])
			i++;
		if (*rest == '\n' && i == count - 2)
			continue;
		if (wrong++ < 20)
			fprintf(stderr, "U+%04lx: piece %d differs\n", code, i);
	}
	assert_int_equal(pclose(file), 0);
	assert_int_equal(lines, 282230);
	assert_int_equal(wrong, 0);
}

static int
ids_of(const char *text, size_t n, int32_t *ids, int max)
{
	struct err err;
	int count = wordpiece(&vocab, text, n, ids, max, &err);

	assert_true(count >= 2);
	assert_int_equal(ids[0], 101);
	assert_int_equal(ids[count - 1], 102);
	return count;
}

/* What the goldens do not reach. */
static void
test_corners(void **state)
{
	int32_t a[TOKENS_REFERENCE] = {0}, b[TOKENS_REFERENCE] = {0};
	struct err err;
	char *big = malloc(SENTENCE_MAX + 1);

	(void)state;
	/* lower case is each letter's own: no final sigma */
	assert_int_equal(ids_of("\u039f\u0394\u039f\u03a3", 8, a, 20), ids_of("\u03bf\u03b4\u03bf\u03c3", 8, b, 20));
	assert_memory_equal(a, b, 4 * sizeof *a);
	/* the words in brackets only as they are, and only alone */
	assert_int_equal(ids_of("[MASK]", 6, a, 20), 3);
	assert_int_equal(a[1], 103);
	assert_int_equal(ids_of("[mask]", 6, a, 20), 5);
	assert_int_equal(ids_of("[MASK]?", 7, a, 20), 6);
	/* cut: 18 pieces, or as many as there is room for */
	assert_int_equal(ids_of("a a a a a a a a a a a a a a a a a a a a a a a a", 47, a, 20), 20);
	assert_int_equal(ids_of("a a a", 5, a, 3), 3);
	assert_int_equal(ids_of("a a a", 5, a, 2), 2);
	/* a word that is cut must still be matched whole: else it is one [UNK] */
	assert_int_equal(ids_of("ab\xd8\xa0", 4, a, 3), 3);
	assert_int_equal(a[1], 100);
	/* limits */
	memset(big, 'x', SENTENCE_MAX + 1);
	assert_int_equal(ids_of(big, SENTENCE_MAX, a, 20), 3);
	assert_int_equal(wordpiece(&vocab, big, SENTENCE_MAX + 1, a, 20, &err), -1);
	assert_string_equal(err.text, "sentence of 65537 bytes, expected at most 65536");
	assert_int_equal(wordpiece(&vocab, "ab\xff", 3, a, 20, &err), -1);
	assert_string_equal(err.text, "byte 2 of the sentence is not UTF-8");
	/* marks that have to be sorted, as many as fit: no time to speak of */
	for (int i = 0; i + 6 <= SENTENCE_MAX; i += 6)
		memcpy(big + i, "\xe3\x80\xae\xcc\x96", 6); /* U+302E, class 224, and U+0316, class 220 */
	assert_int_equal(ids_of(big, SENTENCE_MAX / 6 * 6, a, 20), 3);
	free(big);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vocab),
		cmocka_unit_test(test_sentences),
		cmocka_unit_test(test_code_points),
		cmocka_unit_test(test_corners),
	};

	return cmocka_run_group_tests_name("text", tests, setup, teardown);
}
