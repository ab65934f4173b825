/*
 * A submission: answers collected from a stream, then written at once as Python's json.dump(…, indent=4, sort_keys=True)
 * writes them. Nothing is written before the stream's end was seen and everything was found right.
 */
#ifndef VQA_TEXT_SUBMIT_H
#define VQA_TEXT_SUBMIT_H

#include <stdio.h>

#include "stream/record.h"
#include "text/questions.h"

enum { SUBMIT_MAX = 1 << 30 }; /* bytes of the file */

struct submit {
	const struct questions *want; /* the questions that have to be answered; NULL: any */
	struct ids ids;               /* of the answers, in their order */
	FILE *file;                   /* without a name: the text */
	int64_t faults;               /* answers that must not be there */
	struct err first;             /* of them */
};

int submit_init(struct submit *submit, const struct questions *want, struct err *err);
void submit_release(struct submit *submit);
/*
 * The reader's current record: an answer is taken, an end record's count is compared, all else is let be. An answer to a question
 * that is not wanted, or that has one, is kept in mind for submit_write() to tell; only what is broken is an error at once.
 */
int submit_record(struct submit *submit, const struct rec_in *in, struct err *err);
/*
 * After the stream's end: were the answers those that are wanted? Then all of it to out. Else the first fault is told, and how many
 * more there are. `name` is the stream's.
 */
int submit_write(struct submit *submit, FILE *out, const char *name, struct err *err);

#endif
