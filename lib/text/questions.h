/*
 * Question lists of two forms; keys that are not named here are let be.
 *
 * The reference's: a JSON array of {"question_id", "img_id", "sent"} and, where known, "label" {answer: score}, "answer_type",
 * "question_type".
 *
 * VQA's own: {"data_subtype": "train2014", "questions": [{"question_id", "image_id", "question"}]}. The image is then
 * COCO_train2014_ and the image_id in 12 digits; of the set "test-dev2015" it is one of test2015's, as its files are.
 *
 * questions_open() reads and checks all of it once and keeps 8 bytes of place and the id a question, and the image's number where
 * that is needed; questions_at() reads one again. So order is free, a list never has to fit in memory, and a bad list is known before the first
 * record is written.
 */
#ifndef VQA_TEXT_QUESTIONS_H
#define VQA_TEXT_QUESTIONS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "sys/err.h"
#include "text/index.h"
#include "text/list.h"

enum { IMAGE_ID_MAX = 511, SUBTYPE_MAX = 64 }; /* bytes: what a store's key can hold; of "data_subtype" */

/* What a list has to be read for: an entry without "label" is an error; images are numbered. */
enum { NEED_LABELS = 1, NEED_IMAGES = 2 };

struct questions {
	struct list *lists; /* one a file */
	uint32_t *first;    /* (files + 1): the first question of each */
	int files;
	uint64_t *places;   /* (count): offset << 20 | length - 1 */
	uint32_t *images;   /* (count): the image's number in `names`; NULL without NEED_IMAGES */
	uint32_t size;      /* of both */
	struct ids ids;     /* question_id of each, all different; ids.count questions */
	struct names names; /* images in the order they came */
	uint64_t hash;      /* FNV-1a of the files' bytes, one after the other */
};

struct entry {
	int64_t id;
	const char *image; /* decimal where the reference's list has an integer */
	const char *sent;  /* UTF-8; may hold NULs */
	size_t sent_n;
	const json_t *label;                     /* an object of numbers 0..1, or NULL */
	const char *answer_type, *question_type; /* or NULL */
	json_t *json;                            /* owns all of the above */
	char name[SUBTYPE_MAX + 32];             /* an image's that the list has as an integer */
};

/* needs: NEED_… or 0. After an error nothing is open. */
int questions_open(struct questions *q, char **paths, int files, int needs, struct err *err);
void questions_close(struct questions *q);
/* Question k once more; entry_release() it, after an error too. It must not be moved: it may point into itself. */
int questions_at(struct questions *q, uint32_t k, struct entry *entry, struct err *err);
void entry_release(struct entry *entry);

#endif
