/*
 * Results are read once, entry by entry; the label of each is read from its list when it is wanted. Memory is 4 bytes a question
 * beside the lists' tables.
 */
#include "text/score.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int
mean_add(struct score *score, const struct list *list, const struct entry *question, double points, struct err *err)
{
	int64_t type;

	score->all.sum += points;
	score->all.count++;
	if (!question->answer_type)
		return 0;
	type = names_add(&score->types, question->answer_type);
	if (type == INDEX_FULL)
		return err_set(err, "%s: out of memory", list->name);
	if (type >= TYPES_MAX)
		return list_fault(list, err, "over %d answer types in the labels, expected fewer", TYPES_MAX);
	score->type[type].sum += points;
	score->type[type].count++;
	return 0;
}

/* One answer of the results: its question's points. seen holds the entry's number + 1 of each question. */
static int
score_answer(struct score *score, struct questions *labels, const struct list *list, const json_t *json, uint32_t *seen,
             struct err *err)
{
	struct entry question;
	const char *answer;
	int64_t id, k;
	int r;

	if (list_id(list, json, "question_id", &id, err) || list_string(list, json, "answer", 1, &answer, err))
		return -1;
	k = ids_find(&labels->ids, id);
	if (k < 0)
		return list_fault(list, err, "question_id %" PRId64 " is not in %s", id, labels->lists[0].name);
	if (seen[k])
		return list_fault(list, err, "question_id %" PRId64 " is there twice, first in entry %u", id, seen[k]);
	seen[k] = (uint32_t)list->entries;
	r = questions_at(labels, (uint32_t)k, &question, err);
	if (r == 0) {
		const json_t *points = json_object_get(question.label, answer);

		r = mean_add(score, list, &question, points ? json_number_value(points) : 0, err);
	}
	entry_release(&question);
	return r;
}

static int
score_read(struct score *score, struct questions *labels, struct list *list, uint32_t *seen, struct err *err)
{
	json_t *json;
	int r;

	while ((r = list_next(list, &json, err)) > 0) {
		int bad = score_answer(score, labels, list, json, seen, err);

		json_decref(json);
		if (bad)
			return -1;
	}
	if (r == 0 && score->all.count < labels->ids.count) {
		uint32_t k = 0;

		while (seen[k])
			k++;
		return err_set(err,
		               "%s: no answer to question %" PRId64 " of %s; %" PRId64 " of its %u questions have none",
		               list->name, labels->ids.id[k], labels->lists[0].name,
		               labels->ids.count - score->all.count, labels->ids.count);
	}
	return r;
}

int
score_file(struct score *score, struct questions *labels, const char *path, struct err *err)
{
	struct list list;
	uint32_t *seen;
	int r;

	*score = (struct score){ 0 };
	if (list_open(&list, path, NULL, 0, err))
		return -1;
	seen = calloc((size_t)labels->ids.count + 1, sizeof *seen);
	r = seen ? score_read(score, labels, &list, seen, err) : err_set(err, "%s: out of memory", list.name);
	free(seen);
	list_close(&list);
	if (r)
		score_release(score);
	return r;
}

void
score_release(struct score *score)
{
	names_free(&score->types);
}

double
mean_of(const struct mean *mean)
{
	return mean->count > 0 ? mean->sum / (double)mean->count : 0;
}
