/*
 * Each step reads one string and writes another; all ASCII that is looked for stands for itself in UTF-8.
 */
#include "text/normal.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "sys/utf8.h"

enum { FULL_STOPS = 32 }; /* the value of Python's re.UNICODE, which is passed where a count belongs */

/* What Python's unicode.isspace() holds for. */
static bool
is_space(int32_t c)
{
	return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
	       (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

char *
answer_trimmed(const char *answer)
{
	size_t n = strlen(answer), begin = 0, end = 0;
	char *out = malloc(n + 1);

	if (!out)
		return NULL;
	for (size_t at = 0; at < n;) {
		int32_t c;
		size_t length = (size_t)utf8_get(answer + at, n - at, &c);

		if (!is_space(c))
			end = at + length;
		else if (end == 0)
			begin = at + length;
		at += length;
	}
	if (end == 0)
		begin = 0;
	n = end - begin;
	for (size_t i = 0; i < n; i++) {
		char c = answer[begin + i];

		out[i] = c == '\n' || c == '\t' ? ' ' : c;
	}
	out[n] = '\0';
	return out;
}

/* Whether mark stands beside a space somewhere. */
static bool
beside_space(const char *text, char mark)
{
	for (const char *p = text; (p = strchr(p, mark)); p++)
		if (p[1] == ' ' || (p > text && p[-1] == ' '))
			return true;
	return false;
}

static bool
comma_in_number(const char *text)
{
	for (const char *p = text; (p = strchr(p, ',')); p++)
		if (p > text && is_digit(p[-1]) && is_digit(p[1]))
			return true;
	return false;
}

/* out has as many bytes as text. */
static void
drop_marks(char *out, const char *text)
{
	static const char marks[] = ";/[]\"{}()=+\\_-><@`,?!";
	bool all = comma_in_number(text), dropped[sizeof marks - 1];

	for (size_t i = 0; i < sizeof dropped; i++)
		dropped[i] = all || beside_space(text, marks[i]);
	for (; *text; text++) {
		const char *mark = strchr(marks, *text);

		if (!mark)
			*out++ = *text;
		else if (!dropped[mark - marks])
			*out++ = ' ';
	}
	*out = '\0';
}

/* In place: full stops that no digit follows. */
static void
drop_full_stops(char *text)
{
	char *out = text;
	int dropped = 0;

	for (; *text; text++) {
		if (*text == '.' && !is_digit(text[1]) && dropped < FULL_STOPS)
			dropped++;
		else
			*out++ = *text;
	}
	*out = '\0';
}

/*
 * A word that lacks exactly one apostrophe of these becomes it. That is the table of vqaEval.py, bar its entries that change
 * nothing, those with capitals, which no word in lower case meets, and one that takes an apostrophe away.
 */
static const char *const contractions[] = {
	"'ow's'at",     "'twas",      "ain't",        "aren't",     "can't",        "could've",      "couldn't",
	"couldn't've",  "didn't",     "doesn't",      "don't",      "hadn't",       "hadn't've",     "hasn't",
	"haven't",      "he'd",       "he'd've",      "he's",       "how'd",        "how'll",        "how's",
	"isn't",        "it'd",       "it'd've",      "it'll",      "ma'am",        "might've",      "mightn't",
	"mightn't've",  "must've",    "mustn't",      "needn't",    "not've",       "o'clock",       "oughtn't",
	"shan't",       "she'd've",   "should've",    "shouldn't",  "shouldn't've", "somebody'd've", "somebody'll",
	"somebody's",   "someone'd",  "someone'd've", "someone'll", "someone's",    "something'd",   "something'd've",
	"something'll", "that's",     "there'd",      "there'd've", "there're",     "there's",       "they'd",
	"they'd've",    "they'll",    "they're",      "they've",    "wasn't",       "we'd've",       "we've",
	"weren't",      "what'll",    "what're",      "what's",     "what've",      "when's",        "where'd",
	"where's",      "where've",   "who'd",        "who'd've",   "who'll",       "who's",         "who've",
	"why'll",       "why're",     "why's",        "won't",      "would've",     "wouldn't",      "wouldn't've",
	"y'all",        "y'all'd've", "y'all'll",     "you'd",      "you'd've",     "you'll",        "you're",
	"you've",
};

/* Whether word is whole without one of its apostrophes. */
static bool
lacks_apostrophe(const char *word, size_t n, const char *whole)
{
	size_t same = 0;

	while (same < n && whole[same] && word[same] == whole[same])
		same++;
	return whole[same] == '\'' && strlen(whole) == n + 1 && !memcmp(word + same, whole + same + 1, n - same);
}

/* What stands for a word in lower case; its bytes and their number come back. An article is nothing. */
static const char *
word_normal(const char *word, size_t *n)
{
	static const char *const numbers[] = { "zero", "one",   "two",   "three", "four", "five",
		                               "six",  "seven", "eight", "nine",  "ten",  "none" };
	static const char *const digits[] = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "0" };
	static const char *const articles[] = { "a", "an", "the" };
	const char *is = NULL;

	for (size_t i = 0; !is && i < sizeof numbers / sizeof *numbers; i++)
		if (strlen(numbers[i]) == *n && !memcmp(word, numbers[i], *n))
			is = digits[i];
	for (size_t i = 0; !is && i < sizeof articles / sizeof *articles; i++)
		if (strlen(articles[i]) == *n && !memcmp(word, articles[i], *n))
			is = "";
	if (!is && *n == strlen("somebody'd") && !memcmp(word, "somebody'd", *n))
		is = "somebodyd";
	for (size_t i = 0; !is && i < sizeof contractions / sizeof *contractions; i++)
		if (lacks_apostrophe(word, *n, contractions[i]))
			is = contractions[i];
	if (is)
		*n = strlen(is);
	return is ? is : word;
}

/* The next word in lower case into word, which has room for text in lower case: its bytes; 0 at the end. *text moves on. */
static size_t
word_next(char *word, const char **text)
{
	size_t n = 0;

	while (**text) {
		int32_t c;

		*text += utf8_get(*text, strnlen(*text, 4), &c);
		if (!is_space(c))
			n += (size_t)utf8_put(word + n, utf8proc_tolower(c));
		else if (n > 0)
			break;
	}
	return n;
}

/*
 * Room: a letter's lower case has at most 3/2 of its bytes, and a contraction, of 4 bytes at least, one more than the word
 * that stood for it.
 */
char *
answer_normal(const char *answer)
{
	size_t room = 2 * strlen(answer) + 1, n = 0, word_n;
	char *plain = malloc(strlen(answer) + 1), *word = malloc(room), *out = malloc(room);
	const char *rest = plain;

	if (plain && word && out) {
		drop_marks(plain, answer);
		drop_full_stops(plain);
		while ((word_n = word_next(word, &rest)) > 0) {
			const char *is = word_normal(word, &word_n);

			if (word_n == 0)
				continue;
			if (n > 0)
				out[n++] = ' ';
			memcpy(out + n, is, word_n);
			n += word_n;
		}
		out[n] = '\0';
	} else {
		free(out);
		out = NULL;
	}
	free(plain);
	free(word);
	return out;
}

char *
answer_listed(const char *answer)
{
	char *out = answer_normal(answer), *to = out;

	for (const char *p = out; p && *p; p++)
		if (*p != ',')
			*to++ = *p;
	if (out)
		*to = '\0';
	return out;
}
