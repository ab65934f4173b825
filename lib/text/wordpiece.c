/*
 * Text to token ids. Every step is that of BERT's BasicTokenizer and WordpieceTokenizer. Lower case is that of each code
 * point alone: a capital sigma at the end of a word becomes the common small one, as in the goldens. Categories are those of
 * utf8proc's Unicode, 14 in Debian 12, which is the goldens' too.
 *
 * Order matters: a word is what stands between white space after cleaning; [CLS] and its like are looked for before
 * lower case; accents go after lower case; punctuation is split last.
 */
#include "text/wordpiece.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "sys/utf8.h"

struct run {
	const struct vocab *vocab;
	int32_t *ids;
	int count, most; /* pieces so far, and how many are wanted: no more than that is looked at */
	int32_t *word;   /* code points between white space, cleaned */
	int32_t *plain;  /* the same, lower case and without accents; up to DECOMPOSED_MAX times as long */
};

/* A canonical decomposition has at most this many code points. */
enum { DECOMPOSED_MAX = 4 };

struct range {
	int32_t low, high;
};

static bool
in_ranges(const struct range *ranges, size_t n, int32_t c)
{
	for (size_t i = 0; i < n; i++)
		if (c >= ranges[i].low && c <= ranges[i].high)
			return true;
	return false;
}

#define IN_RANGES(ranges, c) in_ranges((ranges), sizeof(ranges) / sizeof *(ranges), (c))

static bool
is_cjk(int32_t c)
{
	static const struct range ranges[] = { { 0x4e00, 0x9fff },   { 0x3400, 0x4dbf },   { 0x20000, 0x2a6df },
		                               { 0x2a700, 0x2b73f }, { 0x2b740, 0x2b81f }, { 0x2b820, 0x2ceaf },
		                               { 0xf900, 0xfaff },   { 0x2f800, 0x2fa1f } };

	return c >= 0x3400 && IN_RANGES(ranges, c);
}

static bool
is_space(int32_t c)
{
	utf8proc_category_t category;

	if (c < 0x80)
		return c == ' ' || c == '\t' || c == '\n' || c == '\r';
	category = utf8proc_category(c);
	return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

/* What cleaning drops: NUL, U+FFFD and every category C*, unassigned code points too. */
static bool
is_dropped(int32_t c)
{
	utf8proc_category_t category;

	if (c < 0x80)
		return (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f;
	category = utf8proc_category(c);
	return c == 0xfffd || category == UTF8PROC_CATEGORY_CN || category == UTF8PROC_CATEGORY_CC ||
	       category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CS || category == UTF8PROC_CATEGORY_CO;
}

/* All ASCII that is neither letter, digit nor white space counts, though Unicode calls some of it symbols. */
static bool
is_punctuation(int32_t c)
{
	utf8proc_category_t category;

	if (c < 0x80)
		return (c > 0x20 && c < '0') || (c > '9' && c < 'A') || (c > 'Z' && c < 'a') || (c > 'z' && c < 0x7f);
	category = utf8proc_category(c);
	return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

/*
 * Append c's canonical decomposition without its nonspacing marks. Marks that stay are put in canonical order, which
 * starts anew after each starter: *starter is the place after the last one, dropped or not. From WORD_MAX marks on the word is
 * [UNK] in any order, and a sentence of nothing else would take long to sort.
 */
static size_t
append_plain(int32_t *plain, size_t n, size_t *starter, int32_t c)
{
	int32_t parts[DECOMPOSED_MAX];
	utf8proc_ssize_t count = utf8proc_decompose_char(c, parts, DECOMPOSED_MAX, UTF8PROC_DECOMPOSE, NULL);

	if (count < 0 || count > DECOMPOSED_MAX) { /* not of Unicode 14: no decomposition is that long */
		parts[0] = c;
		count = 1;
	}
	for (utf8proc_ssize_t i = 0; i < count; i++) {
		const utf8proc_property_t *property = utf8proc_get_property(parts[i]);
		size_t at = n;

		if (property->category != UTF8PROC_CATEGORY_MN) {
			if (property->combining_class && n - *starter < WORD_MAX)
				while (at > *starter && utf8proc_get_property(plain[at - 1])->combining_class >
				                                property->combining_class)
					at--;
			memmove(plain + at + 1, plain + at, (n - at) * sizeof *plain);
			plain[at] = parts[i];
			n++;
		}
		if (property->combining_class == 0)
			*starter = n;
	}
	return n;
}

static size_t
word_plain(int32_t *plain, const int32_t *word, size_t n)
{
	size_t count = 0, starter = 0;

	for (size_t i = 0; i < n; i++)
		count = append_plain(plain, count, &starter, utf8proc_tolower(word[i]));
	return count;
}

static void
put_id(struct run *run, int32_t id)
{
	if (run->count < run->most)
		run->ids[1 + run->count++] = id;
}

/* Greedy longest match, pieces after the first with "##"; a word that does not come out whole is one [UNK]. */
static void
put_word(struct run *run, const int32_t *word, size_t n)
{
	char bytes[2 + 4 * WORD_MAX] = "##";
	size_t ends[WORD_MAX + 1]; /* where code point i begins in bytes */
	int before = run->count;

	if (n == 0 || before == run->most)
		return;
	if (n > WORD_MAX) {
		put_id(run, run->vocab->unk);
		return;
	}
	ends[0] = 2;
	for (size_t i = 0; i < n; i++)
		ends[i + 1] = ends[i] + (size_t)utf8_put(bytes + ends[i], word[i]);
	for (size_t from = 0; from < n;) {
		size_t to = n;
		int32_t id = -1;
		char kept[2];
		char *start = bytes + ends[from] - (from ? 2 : 0);

		memcpy(kept, start, 2);
		if (from)
			memcpy(start, "##", 2);
		for (; to > from && id < 0; to--)
			id = vocab_id(run->vocab, start, (size_t)(bytes + ends[to] - start));
		if (from)
			memcpy(start, kept, 2);
		if (id < 0) {
			run->count = before;
			put_id(run, run->vocab->unk);
			return;
		}
		put_id(run,
		       id); /* past the most that are wanted it still has to be matched: the rest may make it [UNK] */
		from = to + 1;
	}
}

static bool
is_special(const int32_t *word, size_t n)
{
	static const char *const special[] = { "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]" };

	for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
		size_t at = 0;

		while (at < n && special[i][at] && word[at] == special[i][at])
			at++;
		if (at == n && !special[i][at])
			return true;
	}
	return false;
}

/* A word between white space: plain form, cut at punctuation, each part to pieces. */
static void
put_words(struct run *run, size_t n)
{
	size_t from = 0, count;

	if (is_special(run->word, n)) {
		put_word(run, run->word, n);
		return;
	}
	count = word_plain(run->plain, run->word, n);
	for (size_t i = 0; i <= count; i++) {
		bool cut = i < count && (is_punctuation(run->plain[i]) || is_space(run->plain[i]));

		if (i < count && !cut)
			continue;
		put_word(run, run->plain + from, i - from);
		if (cut && !is_space(run->plain[i]))
			put_word(run, run->plain + i, 1);
		from = i + 1;
	}
}

int
wordpiece(const struct vocab *v, const char *text, size_t n, int32_t *ids, int max, struct err *err)
{
	struct run run = { .vocab = v, .ids = ids, .most = max - 2 };
	size_t word = 0, bad;

	if (n > SENTENCE_MAX)
		return err_set(err, "sentence of %zu bytes, expected at most %d", n, SENTENCE_MAX);
	if (!utf8_valid(text, n, &bad))
		return err_set(err, "byte %zu of the sentence is not UTF-8", bad);
	run.word = malloc((n + 1) * (1 + DECOMPOSED_MAX) * sizeof *run.word);
	if (!run.word)
		return err_set(err, "out of memory");
	run.plain = run.word + n + 1;
	for (size_t at = 0; at < n && run.count < run.most;) {
		int32_t c;

		at += (size_t)utf8_get(text + at, n - at, &c);
		if (is_dropped(c))
			continue;
		if (!is_space(c) && !is_cjk(c)) {
			run.word[word++] = c;
			continue;
		}
		put_words(&run, word);
		word = 0;
		if (is_cjk(c)) {
			run.word[0] = c;
			put_words(&run, 1);
		}
	}
	put_words(&run, word);
	free(run.word);
	ids[0] = v->cls;
	ids[1 + run.count] = v->sep;
	return run.count + 2;
}
