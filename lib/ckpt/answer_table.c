/*
 * Answers by their words.
 */
#include "ckpt/answer_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "sys/utf8.h"

/* Python's str.isspace() for one code point, whose rules the reference's strip() follows. */
static int
is_space(int32_t c)
{
	utf8proc_category_t category = utf8proc_category(c);

	return (c >= 9 && c <= 13) || (c >= 28 && c <= 31) || c == 0x85 || category == UTF8PROC_CATEGORY_ZS ||
	       category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

/* In place: no space before and behind. JSON has seen to it that it is UTF-8. */
static void
strip(char *text)
{
	size_t n = strlen(text), begin = n, end = 0;
	int32_t c;

	for (size_t at = 0, length; at < n; at += length) {
		length = (size_t)utf8_get(text + at, n - at, &c);
		if (!length)
			length = 1;
		else if (is_space(c))
			continue;
		if (begin == n)
			begin = at;
		end = at + length;
	}
	if (begin < end)
		memmove(text, text + begin, end - begin);
	text[begin < end ? end - begin : 0] = '\0';
}

/* malloc'd. */
static char *
lower(const char *text)
{
	size_t n = strlen(text), used = 0;
	char *out = malloc(2 * n + 1); /* a letter of two bytes may become one of three */
	int32_t c;

	for (size_t at = 0, length; out && at < n; at += length) {
		length = (size_t)utf8_get(text + at, n - at, &c);
		if (length) {
			used += (size_t)utf8_put(out + used, utf8proc_tolower(c));
		} else {
			length = 1;
			out[used++] = text[at];
		}
	}
	if (out)
		out[used] = '\0';
	return out;
}

char *
answer_form(const char *answer)
{
	static const char *const articles[] = { "a ", "an ", "the " };
	static const char *const words[][2] = {
		{ "one", "1" },  { "two", "2" },  { "three", "3" },   { "four", "4" },
		{ "five", "5" }, { "six", "6" },  { "seven", "7" },   { "eight", "8" },
		{ "nine", "9" }, { "ten", "10" }, { "grey", "gray" },
	};
	char *form = lower(answer);
	size_t n = form ? strlen(form) : 0;

	if (!n)
		return form;
	if (form[n - 1] == '.') {
		form[n - 1] = '\0';
		strip(form);
	}
	for (int i = 0; i < 3; i++)
		if (!strncmp(form, articles[i], strlen(articles[i]))) {
			memset(form, ' ', strlen(articles[i]));
			strip(form);
		}
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (!strcmp(form, words[i][0])) {
			memcpy(form, words[i][1], strlen(words[i][1]) + 1); /* never longer */
			break;
		}
	return form;
}

int
answer_table_make(struct answer_table *table, const struct config *ours, const struct config *theirs, struct err *err)
{
	*table = (struct answer_table){ .rows = theirs->answers_n };
	table->row = malloc((size_t)ours->answers_n * sizeof *table->row);
	for (int i = 0; table->row && i < ours->answers_n; i++) {
		char *form = answer_form(ours->answers[i]);

		if (!form) {
			answer_table_release(table);
			break;
		}
		table->row[i] = config_answer(theirs, form, strlen(form));
		table->found += table->row[i] >= 0;
		free(form);
	}
	return table->row ? 0 : err_set(err, "out of memory for %d answers", ours->answers_n);
}

void
answer_table_release(struct answer_table *table)
{
	free(table->row);
	*table = (struct answer_table){ 0 };
}

void
answer_table_report(const struct answer_table *table, const struct config *ours, const char *source,
                    void say(const char *fmt, ...))
{
	char list[1000] = "";
	size_t n = 0;

	for (int i = 0; i < ours->answers_n; i++) {
		if (table->row[i] >= 0)
			continue;
		if (n + strlen(ours->answers[i]) + sizeof ", '', ..." > sizeof list) {
			snprintf(list + n, sizeof list - n, ", ...");
			break;
		}
		n += (size_t)snprintf(list + n, sizeof list - n, "%s'%s'", n ? ", " : "", ours->answers[i]);
	}
	say("%s: %d of %d answers found%s%s", source, table->found, ours->answers_n,
	    table->found < ours->answers_n ? "; these begin with a row of 0: " : "", list);
}
