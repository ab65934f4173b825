/*
 * Accuracy of answers: by labels, as the reference measures it (the label's score of the answer, 0 for an answer that the label
 * lacks), or by annotations, as VQA's evaluation does (judge_points()).
 */
#ifndef VQA_TEXT_SCORE_H
#define VQA_TEXT_SCORE_H

#include <stdint.h>

#include "ckpt/config.h"
#include "sys/err.h"
#include "text/annotations.h"
#include "text/questions.h"

enum { TYPES_MAX = 1024, TYPE_MAX = 1024 }; /* answer types, and question types; bytes of one */

/* What the questions are told apart by. */
enum part { PART_ALL, PART_ANSWER_TYPE, PART_QUESTION_TYPE, PARTS };

/* What answers are held against. */
struct truth {
	int official; /* the annotations are open, else the labels */
	struct annotations annotations;
	struct questions labels;
	const struct ids *ids;     /* the questions */
	const char *name;          /* of the first file, for messages */
	struct names types[PARTS]; /* in the order they came; none of PART_ALL */
	uint16_t *type[PARTS]; /* (ids->count): a type's number + 1, 0 without; known once the questions were scored */
};

/* path: a question list with labels; -1: nothing is open. */
int truth_open_labels(struct truth *truth, char *path, struct err *err);
int truth_open_annotations(struct truth *truth, char **paths, int files, struct err *err);
void truth_close(struct truth *truth);

/*
 * Points, 0..1, of each question (ids->count) out of a JSON list of {"question_id", "answer"}. Every question has to be answered
 * exactly once, and no other: else the first fault is told, and how many more there are.
 */
int score_file(double *points, struct truth *truth, const char *path, struct err *err);
/* The most that an answer of the list can have. */
int score_best(double *points, struct truth *truth, const struct config *list, struct err *err);

struct mean {
	double sum;
	int64_t count;
};

/* Over all questions, or over those of each type: out (1, or types[part].count), summed in the questions' order. */
void score_means(struct mean *out, const struct truth *truth, enum part part, const double *points);
double mean_of(const struct mean *mean); /* 0 of none */

#endif
