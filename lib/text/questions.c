/*
 * The fields of a question's entry, checked, and the table of where the entries are.
 */
#include "text/questions.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/hash.h"
#include "sys/utf8.h"
#include "text/wordpiece.h"

enum { PLACE_BITS = 20 };
_Static_assert(ENTRY_MAX <= 1 << PLACE_BITS, "a place holds the length of any entry");

static int
read_image(const struct list *list, struct entry *entry, struct err *err)
{
	const json_t *value = json_object_get(entry->json, "img_id");
	char words[80];
	size_t n;

	if (json_is_integer(value)) {
		snprintf(entry->name, sizeof entry->name, "%" PRId64, (int64_t)json_integer_value(value));
		entry->image = entry->name;
		return 0;
	}
	if (!value)
		return list_fault(list, err, "'img_id' is missing, expected an integer or a string");
	if (!json_is_string(value))
		return list_fault(list, err, "'img_id' is %s, expected an integer or a string",
		                  json_words(words, sizeof words, value));
	if (list_string(list, entry->json, "img_id", 1, &entry->image, err))
		return -1;
	n = json_string_length(value);
	if (n == 0 || n > IMAGE_ID_MAX)
		return list_fault(list, err, "'img_id' of %zu bytes, expected 1 to %d", n, IMAGE_ID_MAX);
	return 0;
}

/* The image of an entry of VQA's own list: the set is named beside the list, ahead of it. */
static int
read_coco_image(const struct list *list, struct entry *entry, struct err *err)
{
	const json_t *subtype = json_object_get(list->around, "data_subtype");
	const char *set = json_string_value(subtype);
	char words[80];
	int64_t id;

	if (!subtype)
		return list_fault(list, err, "no 'data_subtype' came before 'questions', expected the images' set");
	if (!set || !*set || json_string_length(subtype) > SUBTYPE_MAX || strlen(set) != json_string_length(subtype))
		return list_fault(list, err, "'data_subtype' is %s, expected a string of 1 to %d bytes",
		                  json_words(words, sizeof words, subtype), SUBTYPE_MAX);
	if (list_id(list, entry->json, "image_id", &id, err))
		return -1;
	if (id < 0)
		return list_fault(list, err, "'image_id' is %" PRId64 ", expected an integer from 0", id);
	snprintf(entry->name, sizeof entry->name, "COCO_%s_%012" PRId64,
	         strcmp(set, "test-dev2015") == 0 ? "test2015" : set, id);
	entry->image = entry->name;
	return 0;
}

static int
read_label(const struct list *list, struct entry *entry, int needed, struct err *err)
{
	json_t *label = json_object_get(entry->json, "label"), *score;
	const char *answer;
	char quote[64], words[80];

	entry->label = label;
	if (!label)
		return needed ? list_fault(list, err, "'label' is missing, expected an object of answers and scores")
		              : 0;
	if (!json_is_object(label))
		return list_fault(list, err, "'label' is %s, expected an object of answers and scores",
		                  json_words(words, sizeof words, label));
	json_object_foreach(label, answer, score)
	{
		if (!json_is_number(score) || !(json_number_value(score) >= 0 && json_number_value(score) <= 1))
			return list_fault(list, err, "label of '%s' is %s, expected a score of 0 to 1",
			                  utf8_quote(quote, sizeof quote, answer, strlen(answer)),
			                  json_words(words, sizeof words, score));
	}
	return 0;
}

static int
read_sentence(const struct list *list, struct entry *entry, const char *key, struct err *err)
{
	const json_t *sent;

	if (list_text(list, entry->json, key, 1, &sent, err))
		return -1;
	entry->sent = json_string_value(sent);
	entry->sent_n = json_string_length(sent);
	if (entry->sent_n > SENTENCE_MAX)
		return list_fault(list, err, "'%s' of %zu bytes, expected at most %d", key, entry->sent_n,
		                  SENTENCE_MAX);
	return 0;
}

/* Takes json; entry_release() also after an error. */
static int
entry_read(const struct list *list, struct entry *entry, json_t *json, int need_label, struct err *err)
{
	*entry = (struct entry){ .json = json };
	if (list_id(list, json, "question_id", &entry->id, err) ||
	    (list->around ? read_coco_image : read_image)(list, entry, err) ||
	    read_sentence(list, entry, list->around ? "question" : "sent", err))
		return -1;
	if (read_label(list, entry, need_label, err) ||
	    list_string(list, json, "answer_type", 0, &entry->answer_type, err) ||
	    list_string(list, json, "question_type", 0, &entry->question_type, err))
		return -1;
	return 0;
}

void
entry_release(struct entry *entry)
{
	json_decref(entry->json);
	*entry = (struct entry){ 0 };
}

static int
questions_grow(struct questions *q, int needs)
{
	uint32_t size = q->size ? 2 * q->size : 256;
	uint64_t *places = realloc(q->places, size * sizeof *places);
	uint32_t *images = needs & NEED_IMAGES ? realloc(q->images, size * sizeof *images) : NULL;

	q->places = places ? places : q->places;
	q->images = images ? images : q->images;
	if (!places || (needs & NEED_IMAGES && !images))
		return -1;
	q->size = size;
	return 0;
}

/* Which file question k is in. */
static int
file_of(const struct questions *q, uint32_t k)
{
	int low = 0, high = q->files;

	while (high - low > 1) {
		int middle = low + (high - low) / 2;

		if (q->first[middle] <= k)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static int
questions_add(struct questions *q, const struct list *list, const struct entry *entry, int needs, struct err *err)
{
	uint32_t k = q->ids.count;
	int64_t image = 0, same;

	if (list->entry_at >> (63 - PLACE_BITS))
		return list_fault(list, err, "too far from the file's begin, expected at most 8 TiB");
	if (k == q->size && questions_grow(q, needs))
		return err_set(err, "%s: out of memory", list->name);
	if (needs & NEED_IMAGES)
		image = names_add(&q->names, entry->image);
	same = image < 0 ? INDEX_FULL : ids_add(&q->ids, entry->id);
	if (same >= 0) {
		int file = file_of(q, (uint32_t)same);

		return list_fault(list, err, "question_id %" PRId64 " is there twice, first in entry %" PRId64 " of %s",
		                  entry->id, same - q->first[file] + 1, q->lists[file].name);
	}
	if (same == INDEX_FULL)
		return err_set(err, "%s: out of memory", list->name);
	q->places[k] = (uint64_t)list->entry_at << PLACE_BITS | (list->entry_n - 1);
	if (q->images)
		q->images[k] = (uint32_t)image;
	return 0;
}

static int
questions_read(struct questions *q, struct list *list, int needs, struct err *err)
{
	json_t *json;
	int r;

	while ((r = list_next(list, &json, err)) > 0) {
		struct entry entry;
		int bad = entry_read(list, &entry, json, needs & NEED_LABELS, err) ||
		          questions_add(q, list, &entry, needs, err);

		entry_release(&entry);
		if (bad)
			return -1;
	}
	return r;
}

int
questions_open(struct questions *q, char **paths, int files, int needs, struct err *err)
{
	*q = (struct questions){ .hash = FNV_BEGIN };
	q->lists = calloc((size_t)files, sizeof *q->lists);
	q->first = calloc((size_t)files + 1, sizeof *q->first);
	if (!q->lists || !q->first) {
		err_set(err, "out of memory");
		goto fail;
	}
	for (; q->files < files; q->files++) {
		struct list *list = &q->lists[q->files];

		if (list_open(list, paths[q->files], "questions", q->hash, err))
			goto fail;
		q->first[q->files] = q->ids.count;
		if (questions_read(q, list, needs, err)) {
			q->files++;
			goto fail;
		}
		q->hash = list->hash;
	}
	q->first[files] = q->ids.count;
	return 0;
fail:
	questions_close(q);
	return -1;
}

void
questions_close(struct questions *q)
{
	for (int i = 0; i < q->files; i++)
		list_close(&q->lists[i]);
	free(q->lists);
	free(q->first);
	free(q->places);
	free(q->images);
	ids_free(&q->ids);
	names_free(&q->names);
	*q = (struct questions){ 0 };
}

int
questions_at(struct questions *q, uint32_t k, struct entry *entry, struct err *err)
{
	int file = file_of(q, k);
	struct list *list = &q->lists[file];
	int64_t number = (int64_t)k - q->first[file] + 1;
	json_t *json = list_again(list, number, (int64_t)(q->places[k] >> PLACE_BITS),
	                          (q->places[k] & ((1u << PLACE_BITS) - 1)) + 1, err);

	*entry = (struct entry){ 0 };
	if (!json)
		return -1;
	if (entry_read(list, entry, json, 0, err))
		return -1;
	if (entry->id != q->ids.id[k])
		return list_fault(list, err, "changed while it was read: question_id is %" PRId64 ", was %" PRId64,
		                  entry->id, q->ids.id[k]);
	return 0;
}
