/*
 * VQA's annotations: {"annotations": [{"question_id", "question_type", "answer_type", "multiple_choice_answer",
 * "answers": [{"answer", "answer_id"}, …]}]}, or that array alone; other keys are let be.
 *
 * They are read and checked once; 8 bytes of place are kept a question, and annotations_at() reads one again.
 */
#ifndef VQA_TEXT_ANNOTATIONS_H
#define VQA_TEXT_ANNOTATIONS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "sys/err.h"
#include "text/index.h"
#include "text/list.h"

enum { PEOPLE_MAX = 100 }; /* answers to one question; VQA has 10 */

/* It must not be moved: `ids` may point into it. */
struct annotations {
	struct list *lists; /* one a file */
	int files;
	const struct ids *ids; /* the questions, in whose order they are; `own` unless others were wanted */
	struct ids own;
	uint64_t *places; /* (ids->count): file, offset, length; 0 while there is none */
	size_t size;      /* of places */
	uint64_t hash;    /* FNV-1a of the files' bytes, one after the other */
};

struct annotation {
	int64_t id;
	const char *question_type, *answer_type;
	const char *chosen; /* "multiple_choice_answer", or NULL */
	int n;
	const char *answers[PEOPLE_MAX]; /* (n), as they are in the file */
	json_t *json;                    /* owns all of the above */
};

/*
 * wanted: only these questions' are kept, and each must have one; NULL: all. After an error nothing is open.
 */
int annotations_open(struct annotations *a, char **paths, int files, const struct ids *wanted, struct err *err);
void annotations_close(struct annotations *a);
/* Question k's once more; annotation_release() it, after an error too. */
int annotations_at(struct annotations *a, uint32_t k, struct annotation *annotation, struct err *err);
void annotation_release(struct annotation *annotation);

/* The official accuracy: an answer is held against what all the others but one said, in the form that VQA compares. */
struct judge {
	char *forms[PEOPLE_MAX]; /* (n) */
	int n;
	bool normal; /* the forms are normal ones: not all said the same */
};

/* judge_release() after success. */
int judge_make(struct judge *judge, const struct annotation *annotation, struct err *err);
void judge_release(struct judge *judge);
/* An answer in the form that this judge compares, malloc'd; NULL: no memory. */
char *judge_form(const struct judge *judge, const char *answer);
/* 0..1, of an answer in that form. */
double judge_points(const struct judge *judge, const char *form);

#endif
