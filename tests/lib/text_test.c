/*
 * Tokens against the reference's: every sentence and every code point of tests/golden/tokens; question lists, good and bad;
 * orders. Runs in the repository's root, or where VQA_ROOT says.
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

#include "sys/hash.h"
#include "sys/utf8.h"
#include "text/order.h"
#include "text/questions.h"
#include "text/vocab.h"
#include "text/wordpiece.h"

static struct vocab vocab;
static char path[] = "/tmp/text_test.XXXXXX";

static int
setup(void **state)
{
	const char *root = getenv("VQA_ROOT");
	struct err err;
	int fd;

	(void)state;
	if ((root && chdir(root)) || (fd = mkstemp(path)) < 0)
		return -1;
	close(fd);
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
	unlink(path);
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
	assert_string_equal(err.text, "tests/golden/tokens/none.txt: cannot open: No such file or directory");
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
		count = wordpiece(&vocab, json_string_value(sent), json_string_length(sent), ids, TOKENS_REFERENCE,
		                  &err);
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
	int32_t a[TOKENS_REFERENCE] = { 0 }, b[TOKENS_REFERENCE] = { 0 };
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

/* A file with these bytes; its name is `path`. */
static void
file_of(const char *text, size_t n)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, n, file), n);
	assert_int_equal(fclose(file), 0);
}

/* The message after "PATH" for a list of these bytes; "" when it is good. */
static const char *
fault_of(const char *text, size_t n, int needs)
{
	static struct err err;
	struct questions q;
	char *paths[] = { path };

	file_of(text, n);
	if (questions_open(&q, paths, 1, needs, &err) == 0) {
		questions_close(&q);
		return "";
	}
	assert_memory_equal(err.text, path, strlen(path));
	assert_null(strchr(err.text, '\n'));
	return err.text + strlen(path);
}

#define FAULT(text, words) assert_string_equal(fault_of((text), sizeof(text) - 1, 0), (words))

static void
test_faults(void **state)
{
	static const char bare[] = "[{\"question_id\":1,\"img_id\":1,\"sent\":\"\"}]";
	static const char twice[] =
		"[{\"question_id\":1,\"img_id\":1,\"sent\":\"\"},\n{\"question_id\":1,\"img_id\":2,\"sent\":\"\"}]";

	(void)state;
	FAULT("[]", "");
	FAULT(" \n[ ]\n", "");
	FAULT("", ": breaks off at byte 0, expected a JSON list");
	FAULT(" \n ", ": breaks off at byte 3, expected a JSON list");
	FAULT("[", ": breaks off at byte 1, expected the list to go on or ']'");
	FAULT("{}", ": an object without 'questions', expected it or a JSON list");
	FAULT("{\"questions\":[]}", "");
	FAULT(" {\"a\":[1,{}],\"questions\" : [ ] , \"b\":\"]}\"}\n", "");
	FAULT("{\"a\":1", ": breaks off at byte 6, inside what began on line 1");
	FAULT("{\"a\"", ": breaks off at byte 4, expected the object around the list to go on");
	FAULT("{\"questions\":[]", ": breaks off at byte 15, expected the object around the list to go on");
	FAULT("{\"questions\":{}}", ":1: byte 13: found '{', expected '[', a JSON list");
	FAULT("{\"a\":1,}", ":1: byte 7: found '}', expected '\"', a name in the object around the list");
	FAULT("{\"a\" 1}", ":1: byte 5: found '1', expected ':'");
	FAULT("{\"a\":1 \"b\":2}", ":1: byte 7: found '\"', expected ',' or '}'");
	FAULT("{\n\"a\":1,\"a\":2}", ":2: byte 8: 'a' is there twice");
	FAULT("{\"questions\":[],\"questions\":[]}", ":1: byte 16: 'questions' is there twice");
	FAULT("{\"a\":NaN,\"questions\":[]}", ":1: byte 5: invalid token near 'NaN' before byte 8");
	FAULT("{\"a\":,\"questions\":[]}", ":1: byte 5: found ',', expected a value");
	FAULT("{\"\\u0000\":1}", ":1: byte 1: a name has a NUL character in it, expected text");
	FAULT("{\"questions\":[]}{}", ":1: byte 16: found '{', expected nothing after the list");
	FAULT("{\"questions\":[{\"question_id\":1,\"image_id\":1,\"question\":\"\"}]}",
	      ":1: entry 1 (byte 14): no 'data_subtype' came before 'questions', expected the images' set");
	FAULT("\xef\xbb\xbf[]", ":1: byte 0: found byte 0xef, expected '[', a JSON list");
	FAULT("[]\n[]", ":2: byte 3: found '[', expected nothing after the list");
	FAULT("[\n1]", ":2: byte 2: found '1', expected '{', an entry of the list");
	FAULT("[{\"question_id\":1,\"img_id\":\"a\",\"sent\":\"b\"}",
	      ": breaks off at byte 42, expected the list to go on or ']'");
	FAULT("[{\"question_id\":1,\"img_id\":\"a\",\"sent\":\"b\"},",
	      ": breaks off at byte 43, expected the list to go on or ']'");
	FAULT("[{\"question_id\":1,\"img_id\":\"a\",\"sent\":\"b\"},]",
	      ":1: byte 43: found ']', expected '{', an entry of the list");
	FAULT("[{\"question_id\":1,\"img_id\":\"a\",\"sent\":\"b\"}{", ":1: byte 42: found '{', expected ',' or ']'");
	FAULT("[\n{\"question_id\":1,\"img", ": breaks off at byte 23, inside entry 1 (line 2)");
	FAULT("[{\"a\":\"}\\\"]\", \"b\":{}}]", ":1: entry 1 (byte 1): 'question_id' is missing, expected an integer");
	FAULT("[{\"a\":1,\"a\":2}]", ":1: entry 1 (byte 1): duplicate object key near '\"a\"' before byte 11");
	FAULT("[{\"a\":[}}]", ":1: entry 1 (byte 1): unexpected token near '}' before byte 8");
	FAULT("[{\"a\":\"\xff\"}]", ":1: entry 1 (byte 1): byte 7 is 0xff, not UTF-8");
	FAULT("[{\"a\":99999999999999999999}]",
	      ":1: entry 1 (byte 1): too big integer near '99999999999999999999' before byte 26");
	FAULT("[{\"a\":1e999}]", ":1: entry 1 (byte 1): real number overflow near '1e999' before byte 11");
	FAULT("[{\"question_id\":1.5}]", ":1: entry 1 (byte 1): 'question_id' is 1.5, expected an integer");
	FAULT("[{\"question_id\":\"1\"}]", ":1: entry 1 (byte 1): 'question_id' is '1', expected an integer");
	FAULT("[{\"question_id\":1}]", ":1: entry 1 (byte 1): 'img_id' is missing, expected an integer or a string");
	FAULT("[{\"question_id\":1,\"img_id\":null}]",
	      ":1: entry 1 (byte 1): 'img_id' is null, expected an integer or a string");
	FAULT("[{\"question_id\":1,\"img_id\":\"\"}]", ":1: entry 1 (byte 1): 'img_id' of 0 bytes, expected 1 to 511");
	FAULT("[{\"question_id\":1,\"img_id\":\"a\\u0000\"}]",
	      ":1: entry 1 (byte 1): 'img_id' has a NUL character in it, expected text");
	FAULT("[{\"question_id\":1,\"img_id\":1}]", ":1: entry 1 (byte 1): 'sent' is missing, expected a string");
	FAULT("[{\"question_id\":1,\"img_id\":1,\"sent\":[]}]",
	      ":1: entry 1 (byte 1): 'sent' is an array, expected a string");
	FAULT("[{\"question_id\":1,\"img_id\":1,\"sent\":\"\\u0000\",\"x\":[[{}]]}]", "");
	FAULT("[{\"question_id\":1,\"img_id\":1,\"sent\":\"\",\"label\":3}]",
	      ":1: entry 1 (byte 1): 'label' is 3, expected an object of answers and scores");
	FAULT("[{\"question_id\":1,\"img_id\":1,\"sent\":\"\",\"label\":{\"a\\nb\":\"x\"}}]",
	      ":1: entry 1 (byte 1): label of 'a?b' is 'x', expected a score of 0 to 1");
	FAULT("[{\"question_id\":1,\"img_id\":1,\"sent\":\"\",\"label\":{\"a\":1.5}}]",
	      ":1: entry 1 (byte 1): label of 'a' is 1.5, expected a score of 0 to 1");
	FAULT("[{\"question_id\":1,\"img_id\":1,\"sent\":\"\",\"answer_type\":true}]",
	      ":1: entry 1 (byte 1): 'answer_type' is true, expected a string");
	assert_non_null(
		strstr(fault_of(twice, strlen(twice), 0),
	               ":2: entry 2 (byte 41): question_id 1 is there twice, first in entry 1 of /tmp/text_test."));
	assert_string_equal(fault_of(bare, strlen(bare), 1),
	                    ":1: entry 1 (byte 1): 'label' is missing, expected an object of answers and scores");
}

/* Entries at and over the limits of size and depth, and the list cut at every byte. */
static void
test_limits(void **state)
{
	static const char good[] = "[{\"question_id\": -7, \"img_id\": 1, \"sent\": \"\\u00e9 \\\"?\", \"label\": "
				   "{\"a\": 0.3}}, {\"question_id\": 2, "
				   "\"img_id\": \"x\", \"sent\": \"\"}]";
	static const char fields[] = "\"question_id\":1,\"img_id\":\"a\",\"sent\":\"abc\"}]";
	static char big[2 * ENTRY_MAX];
	size_t size = sizeof big;

	(void)state;
	memset(big, ' ', size);
	memcpy(big, "[{", 2);
	memcpy(big + ENTRY_MAX + 2 - strlen(fields), fields, strlen(fields));
	assert_string_equal(fault_of(big, ENTRY_MAX + 2, 0), "");
	memset(big + 2, ' ', size - 2);
	assert_string_equal(fault_of(big, size, 0),
	                    ":1: entry 1 (byte 1): over 1048576 bytes, expected a smaller entry");
	memcpy(big, "[{\"a\":", 6);
	memset(big + 6, '[', 100);
	assert_string_equal(fault_of(big, size, 0), ":1: entry 1 (byte 1): over 32 levels deep, expected a flat entry");
	for (size_t n = 0; n < sizeof good - 1; n++)
		assert_non_null(strstr(fault_of(good, n, 0), "breaks off at byte"));
	assert_string_equal(fault_of(good, sizeof good - 1, 0), "");
}

static void
test_questions(void **state)
{
	static const char list[] =
		"[{\"question_id\":5,\"img_id\":12,\"sent\":\"caf\\u00e9\",\"label\":{\"yes\":1,\"no\":0.3},"
		"\"answer_type\":\"yes/no\"},\n {\"question_id\":-1,\"img_id\":\"b\",\"sent\":\"?\"}]";
	char *paths[] = { path };
	struct questions q;
	struct entry entry;
	struct err err;

	(void)state;
	file_of(list, sizeof list - 1);
	assert_int_equal(questions_open(&q, paths, 1, 0, &err), 0);
	assert_null(q.images);
	questions_close(&q);
	assert_int_equal(questions_open(&q, paths, 1, NEED_IMAGES, &err), 0);
	assert_int_equal(q.ids.count, 2);
	assert_int_equal(q.names.count, 2);
	assert_true(q.hash == fnv1a(FNV_BEGIN, list, sizeof list - 1));
	assert_int_equal(questions_at(&q, 1, &entry, &err), 0);
	assert_int_equal(entry.id, -1);
	assert_string_equal(entry.image, "b");
	assert_null(entry.label);
	entry_release(&entry);
	assert_int_equal(questions_at(&q, 0, &entry, &err), 0);
	assert_int_equal(entry.id, 5);
	assert_string_equal(entry.image, "12");
	assert_string_equal(entry.sent, "caf\u00e9");
	assert_string_equal(entry.answer_type, "yes/no");
	assert_null(entry.question_type);
	assert_int_equal(json_object_size(entry.label), 2);
	entry_release(&entry);
	/* the file is another one by now */
	file_of("[]", 2);
	assert_int_equal(questions_at(&q, 0, &entry, &err), -1);
	assert_non_null(strstr(err.text, ": changed while it was read: "));
	entry_release(&entry);
	questions_close(&q);
}

/* n questions; image of question k is k mod images. */
static void
questions_of(struct questions *q, int n, int images)
{
	char *paths[] = { path };
	FILE *file = fopen(path, "w");
	struct err err;

	assert_non_null(file);
	for (int k = 0; k < n; k++)
		fprintf(file, "%c{\"question_id\":%d,\"img_id\":%d,\"sent\":\"\"}", k ? ',' : '[', 100 + k, k % images);
	fputs(n ? "]" : "[]", file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(questions_open(q, paths, 1, NEED_IMAGES, &err), 0);
}

static void
test_orders(void **state)
{
	struct order_choice choice = { .limit_images = -1, .shards = 1 };
	struct questions q;
	struct order a, b;
	struct err err;
	char seen[1000] = { 0 };
	int falls = 0;

	(void)state;
	questions_of(&q, 1000, 50);
	choice.kind = ORDER_SHUFFLE;
	choice.seed = 3;
	assert_int_equal(order_make(&a, &q, &choice, &err), 0);
	assert_int_equal(a.count, 1000);
	for (int k = 0; k < 1000; k++)
		assert_int_equal(seen[a.questions[k]]++, 0);
	/* the same everywhere, for ever: a change of these breaks runs that were interrupted */
	assert_int_equal(a.questions[0], 329);
	assert_int_equal(a.questions[999], 955);
	/* shards: together the whole, each by its own number */
	choice.shards = 3;
	for (choice.shard = 0; choice.shard < 3; choice.shard++) {
		assert_int_equal(order_make(&b, &q, &choice, &err), 0);
		assert_int_equal(b.count, choice.shard == 0 ? 334 : 333);
		assert_int_equal(b.total, 1000);
		for (int64_t k = 0; k < b.count; k++)
			assert_int_equal(b.questions[k], a.questions[3 * k + choice.shard]);
		order_free(&b);
	}
	order_free(&a);
	/* images together, each with all of its questions, which are not in the list's order */
	choice = (struct order_choice){ .limit_images = 20, .kind = ORDER_SHUFFLE_IMAGES, .seed = 1, .shards = 1 };
	assert_int_equal(order_make(&a, &q, &choice, &err), 0);
	assert_int_equal(a.count, 400);
	memset(seen, 0, sizeof seen);
	for (int k = 0; k < 400; k++) {
		assert_true(a.questions[k] % 50 < 20);
		assert_int_equal(seen[a.questions[k]]++, 0);
		if (k % 20) {
			assert_int_equal(a.questions[k] % 50, a.questions[k - 1] % 50);
			falls += a.questions[k] < a.questions[k - 1];
		}
	}
	assert_int_equal(a.questions[0], 950); /* the same for ever, too */
	assert_int_equal(a.questions[399], 7);
	assert_in_range(falls, 100, 280); /* of 380: every other one */
	order_free(&a);
	choice = (struct order_choice){ .limit_images = 1, .shards = 1, .skip = 21 };
	assert_int_equal(order_make(&a, &q, &choice, &err), -1);
	assert_string_equal(err.text, "--skip 21: more than the 20 questions there are");
	choice.skip = 20;
	assert_int_equal(order_make(&a, &q, &choice, &err), 0);
	order_free(&a);
	questions_close(&q);
	questions_of(&q, 0, 1);
	choice = (struct order_choice){ .limit_images = -1, .kind = ORDER_SHUFFLE_IMAGES, .shards = 1 };
	assert_int_equal(order_make(&a, &q, &choice, &err), 0);
	assert_int_equal(a.count, 0);
	order_free(&a);
	questions_close(&q);
}

static void
test_shards(void **state)
{
	struct order_choice choice;

	(void)state;
	assert_int_equal(order_shard(&choice, "2/3"), 0);
	assert_int_equal(choice.shard, 2);
	assert_int_equal(choice.shards, 3);
	assert_int_equal(order_shard(&choice, "3/3"), -1);
	assert_int_equal(order_shard(&choice, "0/0"), -1);
	assert_int_equal(order_shard(&choice, "-1/3"), -1);
	assert_int_equal(order_shard(&choice, "1"), -1);
	assert_int_equal(order_shard(&choice, "1/"), -1);
	assert_int_equal(order_shard(&choice, "/2"), -1);
	assert_int_equal(order_shard(&choice, "00000000000000000000/2"), -1);
}

/* The source tells lists, seeds and numbers of shards apart, but not a shard from its neighbour, nor what is skipped. */
static void
test_source(void **state)
{
	struct order_choice choice = { .limit_images = -1, .shards = 1 };
	char a[17], b[17];

	(void)state;
	order_source(a, 1, &choice);
	order_source(b, 2, &choice);
	assert_string_not_equal(a, b);
	choice.skip = 5;
	choice.seed = 9; /* without a shuffle it means nothing */
	order_source(b, 1, &choice);
	assert_string_equal(a, b);
	choice.kind = ORDER_SHUFFLE;
	order_source(a, 1, &choice);
	assert_string_not_equal(a, b);
	choice.seed = 10;
	order_source(b, 1, &choice);
	assert_string_not_equal(a, b);
	choice.shards = 2;
	order_source(a, 1, &choice);
	choice.shard = 1;
	order_source(b, 1, &choice);
	assert_string_equal(a, b);
}

static void
test_index(void **state)
{
	struct ids ids = { 0 };
	struct names names = { 0 };

	(void)state;
	assert_int_equal(ids_find(&ids, 3), INDEX_NONE);
	for (int64_t i = 0; i < 5000; i++)
		assert_int_equal(ids_add(&ids, i * 1000003 - 7), INDEX_NONE);
	for (int64_t i = 0; i < 5000; i++) {
		char name[32];

		assert_int_equal(ids_add(&ids, i * 1000003 - 7), i);
		snprintf(name, sizeof name, "image %lld", (long long)i % 700);
		assert_int_equal(names_add(&names, name), i % 700);
	}
	assert_int_equal(ids_find(&ids, 3), INDEX_NONE);
	assert_string_equal(names_get(&names, 699), "image 699");
	ids_free(&ids);
	names_free(&names);
}

/* The id whose hash would be `hash` in a set without a secret: each step of MurmurHash3's finalizer, backwards. */
static int64_t
id_of_hash(uint64_t hash)
{
	hash = (hash ^ hash >> 33) * UINT64_C(0x9cb4b2f8129337db);
	hash = (hash ^ hash >> 33) * UINT64_C(0x4f74430c22a54005);
	return (int64_t)(hash ^ hash >> 33);
}

/* Ids that were chosen to meet in one place of the table are spread: no long run of full slots. */
static void
test_index_flood(void **state)
{
	struct ids ids = { 0 };
	uint32_t run = 0, longest = 0;

	(void)state;
	for (uint64_t i = 0; i < 6000; i++)
		assert_int_equal(ids_add(&ids, id_of_hash(i << 24)), INDEX_NONE);
	for (uint32_t i = 0; i <= ids.mask; i++) {
		run = ids.slots[i] ? run + 1 : 0;
		longest = run > longest ? run : longest;
	}
	assert_in_range(longest, 1, 1000); /* 6000 if they met; about 100 at three quarters full, as it is */
	ids_free(&ids);
}

static void
test_utf8(void **state)
{
	static const char *const bad[] = { "\x80",         "\xc0\x80",         "\xc3", "\xe0\x80\x80",
		                           "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff" };
	char text[4], quote[12];
	size_t at;

	(void)state;
	for (int32_t c = 0; c <= 0x10ffff; c++) {
		int32_t back = -1;
		int n = utf8_put(text, c);

		assert_int_equal(utf8_get(text, (size_t)n, &back), c >= 0xd800 && c < 0xe000 ? 0 : n);
		if (back >= 0)
			assert_int_equal(back, c);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_false(utf8_valid(bad[i], strlen(bad[i]), &at));
		assert_int_equal(at, 0);
	}
	assert_string_equal(utf8_quote(quote, sizeof quote, "a\nb\xff", 4), "a?b?");
	assert_string_equal(utf8_quote(quote, sizeof quote, "abcdefghijklmnop", 16), "abcdefgh...");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_utf8),      cmocka_unit_test(test_index),     cmocka_unit_test(test_index_flood),
		cmocka_unit_test(test_vocab),     cmocka_unit_test(test_sentences), cmocka_unit_test(test_code_points),
		cmocka_unit_test(test_corners),   cmocka_unit_test(test_faults),    cmocka_unit_test(test_limits),
		cmocka_unit_test(test_questions), cmocka_unit_test(test_orders),    cmocka_unit_test(test_shards),
		cmocka_unit_test(test_source),
	};

	return cmocka_run_group_tests_name("text", tests, setup, teardown);
}
