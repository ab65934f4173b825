/*
 * BERT's uncased tokenizer as the reference uses it: BasicTokenizer (clean, space out CJK, lower case, strip accents,
 * split at punctuation), then greedy longest match of pieces.
 */
#ifndef VQA_TEXT_WORDPIECE_H
#define VQA_TEXT_WORDPIECE_H

#include <stddef.h>
#include <stdint.h>

#include "sys/err.h"
#include "text/vocab.h"

enum { SENTENCE_MAX = 1 << 16, TOKENS_REFERENCE = 20, WORD_MAX = 100 };

/*
 * ids of the sentence: [CLS], at most max - 2 pieces (the rest is cut off, as the reference does), [SEP]; no padding.
 * Returns their number, 2..max; -1 if the sentence is not UTF-8 or over SENTENCE_MAX bytes.
 */
int wordpiece(const struct vocab *v, const char *text, size_t n, int32_t *ids, int max, struct err *err);

#endif
