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
	FILE *file;                   /* into text */
	char *text;
	size_t n;
};

int submit_init(struct submit *submit, const struct questions *want, struct err *err);
void submit_release(struct submit *submit);
/* The reader's current record: an answer is taken, an end record's count is compared, all else is let be. */
int submit_record(struct submit *submit, const struct rec_in *in, struct err *err);
/* After the stream's end: is every question answered? Then all of it to out. `name` is the stream's. */
int submit_write(struct submit *submit, FILE *out, const char *name, struct err *err);

#endif
