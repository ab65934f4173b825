/*
 * Opening what is reported on.
 */
#include "report/subject.h"

#include <stdlib.h>
#include <string.h>

#include "sys/utf8.h"

int
subject_open(struct subject *s, const char *name, struct err *err)
{
	*s = (struct subject){ 0 };
	if (checkpoint_open(&s->ckpt, name, err))
		return -1;
	utf8_quote(s->shown, sizeof s->shown, s->ckpt.path, strlen(s->ckpt.path));
	s->modules = modules_make(&s->ckpt.config, &s->ckpt.params, &s->modules_n, err);
	if (!s->modules)
		checkpoint_close(&s->ckpt);
	return s->modules ? 0 : -1;
}

void
subject_close(struct subject *s)
{
	free(s->modules);
	checkpoint_close(&s->ckpt);
}

struct subject *
subjects_open(char **names, int n, struct err *err)
{
	struct subject *s = calloc((size_t)n + 1, sizeof *s);

	if (!s) {
		err_set(err, "out of memory for %d checkpoints", n);
		return NULL;
	}
	for (int i = 0; i < n; i++)
		if (subject_open(&s[i], names[i], err)) {
			subjects_close(s, i);
			return NULL;
		}
	return s;
}

void
subjects_close(struct subject *s, int n)
{
	for (int i = 0; i < n; i++)
		subject_close(&s[i]);
	free(s);
}

int
subjects_layers(const struct subject *s, int n)
{
	int most = 0;

	for (int i = 0; i < n; i++)
		for (int k = 0; k < s[i].modules_n; k++)
			most = s[i].modules[k].layer >= most ? s[i].modules[k].layer + 1 : most;
	return most;
}

const float *
subject_values(const struct subject *s, int param, size_t *n)
{
	*n = s->ckpt.params.list[param].n;
	return s->ckpt.data[param];
}
