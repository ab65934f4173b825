/*
 * Labels and answer lists out of annotations.
 */
#include "text/label.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ckpt/checkpoint.h"
#include "ckpt/state.h"
#include "stream/schema.h"
#include "text/normal.h"

/*
 * A safetensors file begins with the length of its header, 8 bytes little endian, which lies inside the file; of a text those bytes
 * are a number that no file reaches. A .pth has bytes below a tab there, which no text has. A pipe is no checkpoint, and is not
 * opened: its writer would lose what it had written.
 */
static bool
is_text(const char *name)
{
	unsigned char bytes[8] = "";
	uint64_t length;
	struct stat st;
	ssize_t n;
	bool text;
	int fd;

	if (stat(name, &st) || S_ISDIR(st.st_mode))
		return false;
	if (!S_ISREG(st.st_mode))
		return true;
	fd = open(name, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : pread(fd, bytes, sizeof bytes, 0);
	if (fd >= 0)
		close(fd);
	memcpy(&length, bytes, sizeof length);
	text = n < (ssize_t)sizeof bytes || length > (uint64_t)st.st_size;
	for (ssize_t i = 0; i < n; i++)
		text = text && bytes[i] >= '\t';
	return text;
}

int
answer_list_open(struct config *list, const char *name, struct err *err)
{
	char path[4096];
	struct image image;
	const char *config, *answers;
	int bad;

	*list = (struct config){ 0 };
	if (is_text(name))
		return config_read_answers(list, name, err);
	if (checkpoint_path(path, sizeof path, name, err) || state_open(&image, path, err))
		return -1;
	config = image_meta(&image, "vqa.config");
	answers = image_meta(&image, "vqa.answers");
	if (!config || !answers)
		bad = err_set(err, "%s: no %s in its metadata, expected a checkpoint that names its answers", path,
		              config ? "vqa.answers" : "vqa.config");
	else
		bad = config_parse(list, config, answers, err) ? err_prefix(err, "%s", path) : 0;
	image_close(&image);
	return bad;
}

struct tally {
	struct names names;
	uint32_t *count; /* (names.size) */
	uint32_t size;
};

static int
tally_add(struct tally *tally, const char *answer)
{
	char *listed = answer_listed(answer);
	int64_t k = listed ? names_add(&tally->names, listed) : INDEX_FULL;

	free(listed);
	if (k < 0)
		return -1;
	if (tally->size < tally->names.size) {
		uint32_t *count = realloc(tally->count, tally->names.size * sizeof *count);

		if (!count)
			return -1;
		memset(count + tally->size, 0, (tally->names.size - tally->size) * sizeof *count);
		tally->count = count;
		tally->size = tally->names.size;
	}
	tally->count[k]++;
	return 0;
}

static int
by_count(const void *x, const void *y, void *user)
{
	const struct tally *tally = user;
	uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;

	if (tally->count[a] != tally->count[b])
		return tally->count[a] > tally->count[b] ? -1 : 1;
	return strcmp(names_get(&tally->names, a), names_get(&tally->names, b));
}

/* The numbers of the names that are frequent enough, in the list's order; malloc'd. */
static uint32_t *
frequent(struct tally *tally, int64_t least, uint32_t *n)
{
	uint32_t *list = malloc(((size_t)tally->names.count + 1) * sizeof *list);

	*n = 0;
	for (uint32_t k = 0; list && k < tally->names.count; k++)
		if (tally->count[k] >= least)
			list[(*n)++] = k;
	if (list)
		qsort_r(list, *n, sizeof *list, by_count, tally);
	return list;
}

static int
write_list(FILE *out, struct tally *tally, int64_t least, struct err *err)
{
	uint32_t n, *list = frequent(tally, least, &n);
	json_t *answers = json_array();
	int bad = !list || !answers;

	for (uint32_t i = 0; !bad && i < n; i++)
		bad = json_array_append_new(answers, json_string(names_get(&tally->names, list[i])));
	if (bad)
		err_set(err, "out of memory");
	else if (n < 1 || n > ANSWERS_MAX)
		bad = err_set(err, "%u answers occur at least %" PRId64 " times, expected 1 to %d", n, least,
		              ANSWERS_MAX);
	else if (json_dumpf(answers, out, JSON_INDENT(0) | JSON_ENSURE_ASCII) || putc('\n', out) == EOF)
		bad = err_sys(err, "stdout: cannot write");
	json_decref(answers);
	free(list);
	return bad ? -1 : 0;
}

int
answer_list_make(FILE *out, struct annotations *a, int64_t least, struct err *err)
{
	struct tally tally = { 0 };
	int bad = 0;

	for (uint32_t k = 0; !bad && k < a->ids->count; k++) {
		struct annotation annotation;

		bad = annotations_at(a, k, &annotation, err);
		if (!bad && !annotation.chosen)
			bad = err_set(err, "%s: question %" PRId64 " has no 'multiple_choice_answer'", a->lists[0].name,
			              annotation.id);
		else if (!bad && tally_add(&tally, annotation.chosen))
			bad = err_set(err, "out of memory");
		annotation_release(&annotation);
	}
	if (!bad)
		bad = write_list(out, &tally, least, err);
	names_free(&tally.names);
	free(tally.count);
	return bad;
}

/* How many of the people from i on gave the answer of i; 0 if one before did. */
static int
count_from(const struct annotation *a, int i)
{
	int count = 0;

	for (int k = 0; k < a->n; k++)
		if (strcmp(a->answers[k], a->answers[i]) == 0) {
			if (k < i)
				return 0;
			count++;
		}
	return count;
}

static json_t *
label_of(const struct annotation *a, const struct config *list)
{
	static const double scores[] = { 0, 0.3, 0.6, 0.9, 1 };
	json_t *label = json_object();

	for (int i = 0; label && i < a->n; i++) {
		int count = count_from(a, i);

		if (count == 0 || (list && config_answer(list, a->answers[i], strlen(a->answers[i])) < 0))
			continue;
		if (json_object_set_new(label, a->answers[i], json_real(scores[count < 4 ? count : 4]))) {
			json_decref(label);
			label = NULL;
		}
	}
	return label;
}

int
label_entry(struct entry *entry, const struct annotation *annotation, const struct config *list, struct err *err)
{
	json_t *label = label_of(annotation, list), *json = entry->json;

	if (!label || json_object_set_new(json, "label", label) ||
	    json_object_set(json, "answer_type", json_object_get(annotation->json, "answer_type")) ||
	    json_object_set(json, "question_type", json_object_get(annotation->json, "question_type")))
		return err_set(err, "out of memory");
	entry->label = label;
	entry->answer_type = annotation->answer_type;
	entry->question_type = annotation->question_type;
	return 0;
}
