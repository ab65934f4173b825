/*
 * The fields of an annotation, checked, the table of where they are, and how they judge an answer.
 */
#include "text/annotations.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sys/hash.h"
#include "text/normal.h"

/* A place: file, offset, length - 1, and it is never 0. */
enum { LENGTH_BITS = 20, FILE_BITS = 8, OFFSET_BITS = 64 - LENGTH_BITS - FILE_BITS };
_Static_assert(ENTRY_MAX <= 1 << LENGTH_BITS, "a place holds the length of any entry");

/* Answer i of the array: an object with a string, and an answer_id, if any, that no answer before it has. */
static int
read_answer(const struct list *list, struct annotation *a, const json_t *answers, int i, struct err *err)
{
	const json_t *answer = json_array_get(answers, (size_t)i), *id = json_object_get(answer, "answer_id");
	char words[80];

	if (!json_is_object(answer))
		return list_fault(list, err, "answer %d is %s, expected an object", i + 1,
		                  json_words(words, sizeof words, answer));
	if (list_string(list, answer, "answer", 1, &a->answers[i], err))
		return -1;
	for (int k = 0; id && k < i; k++)
		if (json_equal(id, json_object_get(json_array_get(answers, (size_t)k), "answer_id")))
			return list_fault(list, err, "answers %d and %d have the same answer_id, %s", k + 1, i + 1,
			                  json_words(words, sizeof words, id));
	return 0;
}

/* Takes json; annotation_release() also after an error. */
static int
annotation_read(const struct list *list, struct annotation *a, json_t *json, struct err *err)
{
	const json_t *answers = json_object_get(json, "answers");
	size_t n = json_array_size(answers);
	char words[80];

	*a = (struct annotation){ .json = json };
	if (list_id(list, json, "question_id", &a->id, err) ||
	    list_string(list, json, "question_type", 1, &a->question_type, err) ||
	    list_string(list, json, "answer_type", 1, &a->answer_type, err) ||
	    list_string(list, json, "multiple_choice_answer", 0, &a->chosen, err))
		return -1;
	if (!answers)
		return list_fault(list, err, "'answers' is missing, expected an array");
	if (!json_is_array(answers))
		return list_fault(list, err, "'answers' is %s, expected an array",
		                  json_words(words, sizeof words, answers));
	if (n < 1 || n > PEOPLE_MAX)
		return list_fault(list, err, "'answers' has %zu entries, expected 1 to %d", n, PEOPLE_MAX);
	a->n = (int)n;
	for (int i = 0; i < a->n; i++)
		if (read_answer(list, a, answers, i, err))
			return -1;
	return 0;
}

void
annotation_release(struct annotation *a)
{
	json_decref(a->json);
	*a = (struct annotation){ 0 };
}

/* Room for n places, the new ones empty. */
static int
places_grow(struct annotations *a, size_t n)
{
	size_t size = a->size ? a->size : 256;
	uint64_t *places;

	while (size < n)
		size *= 2;
	if (size == a->size)
		return 0;
	places = realloc(a->places, size * sizeof *places);
	if (!places)
		return -1;
	memset(places + a->size, 0, (size - a->size) * sizeof *places);
	a->places = places;
	a->size = size;
	return 0;
}

/* The list's current entry is question id's. */
static int
annotations_add(struct annotations *a, const struct list *list, int64_t id, struct err *err)
{
	int64_t k = a->ids == &a->own ? ids_add(&a->own, id) : ids_find(a->ids, id);

	if (k == INDEX_FULL)
		return err_set(err, "%s: out of memory", list->name);
	if (k == INDEX_NONE) {
		if (a->ids != &a->own)
			return 0; /* of no question that is wanted */
		k = (int64_t)a->own.count - 1;
	} else if (a->places[k]) {
		return list_fault(list, err, "question_id %" PRId64 " is annotated twice", id);
	}
	if (list->entry_at >> OFFSET_BITS)
		return list_fault(list, err, "at byte %lld of the file, expected at most 64 GiB",
		                  (long long)list->entry_at);
	if (places_grow(a, (size_t)k + 1))
		return err_set(err, "%s: out of memory", list->name);
	a->places[k] = ((uint64_t)(list - a->lists) << OFFSET_BITS | (uint64_t)list->entry_at) << LENGTH_BITS |
	               (list->entry_n - 1);
	return 0;
}

static int
annotations_read(struct annotations *a, struct list *list, struct err *err)
{
	json_t *json;
	int r;

	while ((r = list_next(list, &json, err)) > 0) {
		struct annotation annotation;
		int bad = annotation_read(list, &annotation, json, err) || annotations_add(a, list, annotation.id, err);

		annotation_release(&annotation);
		if (bad)
			return -1;
	}
	return r;
}

/* Each question that is wanted has its own. */
static int
check_whole(const struct annotations *a, struct err *err)
{
	uint32_t missing = 0, first = 0;

	for (uint32_t k = a->ids->count; k-- > 0;) {
		if (a->places[k])
			continue;
		missing++;
		first = k;
	}
	if (missing == 0)
		return 0;
	return err_set(err, "%s%s: no annotation of question %" PRId64 "; %u of the %u questions have none",
	               a->lists[0].name, a->files > 1 ? " and the others" : "", a->ids->id[first], missing,
	               a->ids->count);
}

int
annotations_open(struct annotations *a, char **paths, int files, const struct ids *wanted, struct err *err)
{
	*a = (struct annotations){ .hash = FNV_BEGIN };
	a->ids = wanted ? wanted : &a->own;
	if (files > 1 << FILE_BITS)
		return err_set(err, "%d files of annotations, expected at most %d", files, 1 << FILE_BITS);
	a->lists = calloc((size_t)files, sizeof *a->lists);
	if (a->lists && wanted)
		a->places = calloc((a->size = (size_t)wanted->count + 1), sizeof *a->places);
	if (!a->lists || (wanted && !a->places)) {
		err_set(err, "out of memory");
		goto fail;
	}
	for (; a->files < files; a->files++) {
		struct list *list = &a->lists[a->files];

		if (list_open(list, paths[a->files], "annotations", a->hash, err))
			goto fail;
		if (annotations_read(a, list, err)) {
			a->files++;
			goto fail;
		}
		a->hash = list->hash;
	}
	if (check_whole(a, err) == 0)
		return 0;
fail:
	annotations_close(a);
	return -1;
}

void
annotations_close(struct annotations *a)
{
	for (int i = 0; i < a->files; i++)
		list_close(&a->lists[i]);
	free(a->lists);
	free(a->places);
	ids_free(&a->own);
	*a = (struct annotations){ 0 };
}

int
annotations_at(struct annotations *a, uint32_t k, struct annotation *annotation, struct err *err)
{
	uint64_t place = a->places[k], at = place >> LENGTH_BITS;
	struct list *list = &a->lists[at >> OFFSET_BITS];
	json_t *json = list_again(list, 0, (int64_t)(at & ((UINT64_C(1) << OFFSET_BITS) - 1)),
	                          (place & ((1u << LENGTH_BITS) - 1)) + 1, err);

	*annotation = (struct annotation){ 0 };
	if (!json)
		return -1;
	if (annotation_read(list, annotation, json, err))
		return -1;
	if (annotation->id != a->ids->id[k])
		return list_fault(list, err, "changed while it was read: question_id is %" PRId64 ", was %" PRId64,
		                  annotation->id, a->ids->id[k]);
	return 0;
}

int
judge_make(struct judge *judge, const struct annotation *annotation, struct err *err)
{
	*judge = (struct judge){ .n = annotation->n };
	for (int i = 0; i < judge->n; i++) {
		judge->forms[i] = answer_trimmed(annotation->answers[i]);
		if (!judge->forms[i])
			goto fail;
		judge->normal |= strcmp(judge->forms[i], judge->forms[0]) != 0;
	}
	for (int i = 0; judge->normal && i < judge->n; i++) {
		char *form = answer_normal(judge->forms[i]);

		if (!form)
			goto fail;
		free(judge->forms[i]);
		judge->forms[i] = form;
	}
	return 0;
fail:
	judge_release(judge);
	return err_set(err, "out of memory");
}

void
judge_release(struct judge *judge)
{
	for (int i = 0; i < judge->n; i++)
		free(judge->forms[i]);
	*judge = (struct judge){ 0 };
}

char *
judge_form(const struct judge *judge, const char *answer)
{
	char *trimmed = answer_trimmed(answer), *form;

	if (!trimmed || !judge->normal)
		return trimmed;
	form = answer_normal(trimmed);
	free(trimmed);
	return form;
}

/* Summed in the answers' order, as vqaEval.py does: its last digit depends on that. */
double
judge_points(const struct judge *judge, const char *form)
{
	int same = 0;
	double sum = 0;

	for (int i = 0; i < judge->n; i++)
		same += strcmp(judge->forms[i], form) == 0;
	for (int i = 0; i < judge->n; i++) {
		double points = (same - (strcmp(judge->forms[i], form) == 0)) / 3.0;

		sum += points < 1 ? points : 1;
	}
	return sum / judge->n;
}
