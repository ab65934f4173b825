/*
 * The rows of an answer head for other answers than it was made for, found by the answers' words, as the reference takes them from
 * LXMERT's pre-training (reference: models/lxmert_utils.py, AnswerTable and load_lxmert_qa).
 */
#ifndef VQA_CKPT_ANSWER_TABLE_H
#define VQA_CKPT_ANSWER_TABLE_H

#include "ckpt/config.h"

/*
 * The form in which an answer is looked up, malloc'd; NULL without memory: in lower case; without one full stop at its end, and then
 * without space around it; without "a ", then "an ", then "the " before it, and space around what is left of each; one to
 * ten as numbers, grey as gray.
 */
char *answer_form(const char *answer);

struct answer_table {
	int *row;  /* (ours->answers_n): theirs for each of our answers, or -1 */
	int rows;  /* of their head */
	int found; /* of our answers */
};

/* Both have names. */
int answer_table_make(struct answer_table *table, const struct config *ours, const struct config *theirs,
                      struct err *err);
void answer_table_release(struct answer_table *table);
/* One line with the figures, and the answers that were not found; say is warn_words. */
void answer_table_report(const struct answer_table *table, const struct config *ours, const char *source,
                         void say(const char *fmt, ...));

#endif
