/*
 * Annotations: any bytes as a file. What is accepted reads the same a second time, judges every answer from 0 to 1, makes a label
 * and an answer list, and has normal forms that are text.
 */
#include "fuzz.h"
#include "sys/utf8.h"
#include "text/label.h"
#include "text/normal.h"

static void
must_judge(const struct annotation *annotation)
{
	struct judge judge;
	struct err err;

	must(judge_make(&judge, annotation, &err) == 0);
	must(judge.n == annotation->n);
	for (int i = 0; i < judge.n; i++) {
		char *form = judge_form(&judge, annotation->answers[i]),
		     *listed = answer_listed(annotation->answers[i]);
		double points;

		must(form && listed && utf8_text(form, strlen(form)) && utf8_text(listed, strlen(listed)));
		must(!strchr(listed, ',') && !strcmp(form, judge.forms[i]));
		points = judge_points(&judge, form);
		must(points >= 0 && points <= 1 && (points > 0 || judge.n == 1));
		free(form);
		free(listed);
	}
	judge_release(&judge);
}

static void
must_label(const struct annotation *annotation)
{
	struct entry entry = { .json = json_object() };
	struct err err;
	const char *answer;
	json_t *score;

	must(entry.json && label_entry(&entry, annotation, NULL, &err) == 0);
	must(json_object_size(entry.label) >= 1 && json_object_size(entry.label) <= (size_t)annotation->n);
	json_object_foreach((json_t *)entry.label, answer, score)
		must(json_number_value(score) >= 0.3 && json_number_value(score) <= 1);
	entry_release(&entry);
}

static void
read_all(struct annotations *a)
{
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);
	struct err err = { "" };

	for (uint32_t k = a->ids->count; k-- > 0;) {
		struct annotation annotation;

		must(annotations_at(a, k, &annotation, &err) == 0);
		must_judge(&annotation);
		must_label(&annotation);
		annotation_release(&annotation);
	}
	must(out != NULL);
	if (answer_list_make(out, a, 1, &err))
		must_say(err.text);
	fclose(out);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct annotations a;
	struct err err = { "" };
	char path[64], *paths[] = { path };
	int fd = memory_file(data, size);

	memory_path(path, fd);
	if (annotations_open(&a, paths, 1, NULL, &err) == 0) {
		read_all(&a);
		annotations_close(&a);
	} else {
		must_say(err.text);
	}
	close(fd);
	return 0;
}
