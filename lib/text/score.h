/*
 * Label accuracy, as the reference measures it: the mean over questions of the label's score of the answer, 0 for an answer
 * that the label lacks.
 */
#ifndef VQA_TEXT_SCORE_H
#define VQA_TEXT_SCORE_H

#include <stdint.h>

#include "sys/err.h"
#include "text/questions.h"

enum { TYPES_MAX = 256 };

struct mean {
	double sum;
	int64_t count;
};

struct score {
	struct mean all;
	struct names types;          /* answer types, in the order they came */
	struct mean type[TYPES_MAX]; /* questions of each; those without a type are in `all` alone */
};

/*
 * Score a JSON list of {"question_id", "answer"}. Every question of labels has to be answered exactly once, and no other.
 * score_release() after success.
 */
int score_file(struct score *score, struct questions *labels, const char *path, struct err *err);
void score_release(struct score *score);
double mean_of(const struct mean *mean); /* 0 of none */

#endif
