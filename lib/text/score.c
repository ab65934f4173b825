/*
 * Results are read once, entry by entry; the label or annotation of each is read from its file when it is wanted. Memory is a
 * double a question and file, and 6 bytes a question beside the tables of places.
 */
#include "text/score.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "text/normal.h"

static int
truth_init(struct truth *truth, const struct ids *ids, const char *name, struct err *err)
{
	truth->ids = ids;
	truth->name = name;
	for (enum part part = PART_ANSWER_TYPE; part < PARTS; part++) {
		truth->type[part] = calloc((size_t)ids->count + 1, sizeof *truth->type[part]);
		if (!truth->type[part]) {
			truth_close(truth);
			return err_set(err, "out of memory");
		}
	}
	return 0;
}

int
truth_open_labels(struct truth *truth, char *path, struct err *err)
{
	*truth = (struct truth){ 0 };
	if (questions_open(&truth->labels, &path, 1, NEED_LABELS, err))
		return -1;
	return truth_init(truth, &truth->labels.ids, truth->labels.lists[0].name, err);
}

int
truth_open_annotations(struct truth *truth, char **paths, int files, struct err *err)
{
	*truth = (struct truth){ .official = 1 };
	if (annotations_open(&truth->annotations, paths, files, NULL, err))
		return -1;
	return truth_init(truth, truth->annotations.ids, truth->annotations.lists[0].name, err);
}

void
truth_close(struct truth *truth)
{
	if (truth->official)
		annotations_close(&truth->annotations);
	else
		questions_close(&truth->labels);
	for (enum part part = PART_ALL; part < PARTS; part++) {
		names_free(&truth->types[part]);
		free(truth->type[part]);
	}
	*truth = (struct truth){ 0 };
}

static int
take_type(struct truth *truth, enum part part, uint32_t k, const char *type, struct err *err)
{
	const char *kind = part == PART_ANSWER_TYPE ? "answer" : "question";
	int64_t number;

	if (type && strlen(type) > TYPE_MAX)
		return err_set(err, "%s: '%s_type' of question %" PRId64 " has %zu bytes, expected at most %d",
		               truth->name, kind, truth->ids->id[k], strlen(type), TYPE_MAX);
	number = type ? names_add(&truth->types[part], type) : INDEX_NONE;
	if (number == INDEX_FULL)
		return err_set(err, "%s: out of memory", truth->name);
	if (number >= TYPES_MAX)
		return err_set(err, "%s: over %d %s types, expected fewer", truth->name, TYPES_MAX, kind);
	truth->type[part][k] = (uint16_t)(number + 1);
	return 0;
}

/* Question k, read from its file: the label's entry, or the annotation and its judge. */
struct asked {
	struct entry entry;
	struct annotation annotation;
	struct judge judge;
};

static void
asked_release(struct asked *asked)
{
	entry_release(&asked->entry);
	annotation_release(&asked->annotation);
	judge_release(&asked->judge);
}

/* asked_release() also after an error. */
static int
asked_read(struct asked *asked, struct truth *truth, uint32_t k, struct err *err)
{
	const struct entry *entry = &asked->entry;
	const struct annotation *annotation = &asked->annotation;
	int official = truth->official;

	*asked = (struct asked){ 0 };
	if (official ? annotations_at(&truth->annotations, k, &asked->annotation, err) ||
	                       judge_make(&asked->judge, annotation, err)
	             : questions_at(&truth->labels, k, &asked->entry, err))
		return -1;
	if (take_type(truth, PART_ANSWER_TYPE, k, official ? annotation->answer_type : entry->answer_type, err))
		return -1;
	return take_type(truth, PART_QUESTION_TYPE, k, official ? annotation->question_type : entry->question_type,
	                 err);
}

static int
official_points(double *points, const struct judge *judge, const char *answer, struct err *err)
{
	char *form = judge_form(judge, answer);

	if (!form)
		return err_set(err, "out of memory");
	*points = judge_points(judge, form);
	free(form);
	return 0;
}

/* The points of question k's answer. */
static int
answer_points(double *points, struct truth *truth, uint32_t k, const char *answer, struct err *err)
{
	struct asked asked;
	int bad = asked_read(&asked, truth, k, err);

	if (!bad && truth->official)
		bad = official_points(points, &asked.judge, answer, err);
	else if (!bad)
		*points = json_number_value(json_object_get(asked.entry.label, answer)); /* 0 of none */
	asked_release(&asked);
	return bad;
}

/* The reading of one file of results. */
struct reading {
	struct truth *truth;
	struct list list;
	double *points;
	uint32_t *seen;   /* (ids->count): number of the entry that answers it, 0: none so far */
	uint32_t answers; /* questions that have an answer */
	uint32_t faults;
	struct err first; /* of them */
};

/* An answer: 1 if it is to no question, or to one that has an answer; then err says so. */
static int
read_answer(struct reading *r, const json_t *json, struct err *err)
{
	const char *answer;
	int64_t id, k;

	if (list_id(&r->list, json, "question_id", &id, err) || list_string(&r->list, json, "answer", 1, &answer, err))
		return -1;
	k = ids_find(r->truth->ids, id);
	if (k < 0) {
		list_fault(&r->list, err, "question_id %" PRId64 " is not in %s", id, r->truth->name);
		return 1;
	}
	if (r->seen[k]) {
		list_fault(&r->list, err, "question_id %" PRId64 " is there twice, first in entry %u", id, r->seen[k]);
		return 1;
	}
	r->seen[k] = (uint32_t)r->list.entries;
	r->answers++;
	return answer_points(&r->points[k], r->truth, (uint32_t)k, answer, err);
}

static int
read_answers(struct reading *r, struct err *err)
{
	json_t *json;
	int more;

	while ((more = list_next(&r->list, &json, err)) > 0) {
		int bad = read_answer(r, json, err);

		json_decref(json);
		if (bad < 0)
			return -1;
		if (bad && r->faults++ == 0)
			r->first = *err;
	}
	return more;
}

/* Of a file that was read: what is wrong with it as an answer to all questions. */
static int
check_answers(const struct reading *r, struct err *err)
{
	const struct ids *ids = r->truth->ids;
	uint32_t k = 0;

	if (r->faults > 0)
		return err_set(err, r->faults > 1 ? "%s; %u more entries are at fault" : "%s", r->first.text,
		               r->faults - 1);
	if (r->answers == ids->count)
		return 0;
	while (r->seen[k])
		k++;
	return err_set(err, "%s: no answer to question %" PRId64 " of %s; %u of its %u questions have none",
	               r->list.name, ids->id[k], r->truth->name, ids->count - r->answers, ids->count);
}

int
score_file(double *points, struct truth *truth, const char *path, struct err *err)
{
	struct reading r = { .truth = truth, .points = points };
	int bad;

	if (list_open(&r.list, path, NULL, 0, err))
		return -1;
	r.seen = calloc((size_t)truth->ids->count + 1, sizeof *r.seen);
	bad = !r.seen ? err_set(err, "%s: out of memory", r.list.name)
	              : read_answers(&r, err) || check_answers(&r, err);
	free(r.seen);
	list_close(&r.list);
	return bad ? -1 : 0;
}

static double
best_label(const json_t *label, const struct config *list)
{
	double best = 0;
	const char *answer;
	json_t *score;

	json_object_foreach((json_t *)label, answer, score) /* jansson has no const iteration */
	{
		if (json_number_value(score) > best && config_answer(list, answer, strlen(answer)) >= 0)
			best = json_number_value(score);
	}
	return best;
}

/* The list's answers as judges compare them. */
struct forms {
	struct names trimmed, normal;
};

static int
forms_make(struct forms *forms, const struct config *list, struct err *err)
{
	*forms = (struct forms){ 0 };
	for (int i = 0; i < list->answers_n; i++) {
		char *trimmed = answer_trimmed(list->answers[i]), *normal = trimmed ? answer_normal(trimmed) : NULL;
		int bad = !normal || names_add(&forms->trimmed, trimmed) < 0 || names_add(&forms->normal, normal) < 0;

		free(trimmed);
		free(normal);
		if (bad)
			return err_set(err, "out of memory");
	}
	return 0;
}

static double
best_official(const struct judge *judge, const struct forms *forms)
{
	const struct names *names = judge->normal ? &forms->normal : &forms->trimmed;
	double best = 0;

	for (int i = 0; i < judge->n; i++) {
		double points = names_find(names, judge->forms[i]) >= 0 ? judge_points(judge, judge->forms[i]) : 0;

		best = points > best ? points : best;
	}
	return best;
}

int
score_best(double *points, struct truth *truth, const struct config *list, struct err *err)
{
	struct forms forms;
	int bad = forms_make(&forms, list, err);

	for (uint32_t k = 0; !bad && k < truth->ids->count; k++) {
		struct asked asked;

		bad = asked_read(&asked, truth, k, err);
		if (!bad)
			points[k] = truth->official ? best_official(&asked.judge, &forms)
			                            : best_label(asked.entry.label, list);
		asked_release(&asked);
	}
	names_free(&forms.trimmed);
	names_free(&forms.normal);
	return bad;
}

void
score_means(struct mean *out, const struct truth *truth, enum part part, const double *points)
{
	uint32_t n = part == PART_ALL ? 1 : truth->types[part].count;

	memset(out, 0, n * sizeof *out);
	for (uint32_t k = 0; k < truth->ids->count; k++) {
		uint32_t type = part == PART_ALL ? 1 : truth->type[part][k];

		if (type == 0)
			continue;
		out[type - 1].sum += points[k];
		out[type - 1].count++;
	}
}

double
mean_of(const struct mean *mean)
{
	return mean->count > 0 ? mean->sum / (double)mean->count : 0;
}
