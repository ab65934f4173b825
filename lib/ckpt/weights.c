/*
 * Tensors bound to parameters by name and shape; lists of names short enough for a line.
 */
#include "ckpt/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt/checkpoint.h"
#include "sys/floats.h"

enum { SHARED_MOST = 4 }; /* times the file's bytes that parameters may have which share some of them */

/* The head's last layer, whose rows are answers. */
static int
is_head(const struct params *params, int i)
{
	return i == params->head_out.weight || i == params->head_out.bias;
}

static int
bind(struct weights *w, int i, struct err *err)
{
	const struct named *named = state_names_find(w->names, w->params->list[i].name);
	struct param expected = w->params->list[i];

	if (!named)
		return 0;
	if (w->table && is_head(w->params, i)) {
		expected.shape[0] = w->table->rows;
		if (named->tensor->dims && named->tensor->shape[0] != w->table->rows)
			return err_set(err, "tensor '%s' has %lld rows, but the list of its answers has %d",
			               named->tensor->name, (long long)named->tensor->shape[0], w->table->rows);
	}
	if (checkpoint_check_tensor(named->tensor, &expected, err))
		return -1;
	w->from[i] = named;
	w->loaded++;
	w->bytes += named->tensor->bytes;
	if (w->bytes / SHARED_MOST > w->names->image->size)
		return err_set(
			err, "tensor '%s': with those before it there are more than %d times the %zu bytes of the file",
			named->tensor->name, SHARED_MOST, w->names->image->size);
	return 0;
}

static int
list_unused(struct weights *w, struct err *err)
{
	unsigned char *bound = calloc(w->names->n + 1, 1);

	w->unused = calloc(w->names->n + 1, sizeof *w->unused);
	if (!bound || !w->unused) {
		free(bound);
		return err_set(err, "out of memory for %zu names", w->names->n);
	}
	for (int i = 0; i < w->params->n; i++)
		if (w->from[i])
			bound[w->from[i] - w->names->list] = 1;
	for (size_t i = 0; i < w->names->n; i++)
		if (!bound[i])
			w->unused[w->unused_n++] = w->names->list[i].tensor;
	free(bound);
	return 0;
}

int
weights_bind(struct weights *w, const struct params *params, const struct state_names *names,
             const struct answer_table *table, struct err *err)
{
	int bad = 0;

	*w = (struct weights){ .params = params, .names = names, .table = table };
	w->from = calloc((size_t)params->n, sizeof *w->from);
	if (!w->from)
		return err_set(err, "out of memory for %d parameters", params->n);
	for (int i = 0; names && !bad && i < params->n; i++)
		bad = bind(w, i, err);
	if (!bad && table && !w->from[params->head_out.weight])
		bad = err_set(err,
		              "tensor 'logit_fc.3.weight' is missing, whose rows are to be found by their answers");
	if (!bad && (!names || !list_unused(w, err)))
		return 0;
	weights_release(w);
	return -1;
}

void
weights_release(struct weights *w)
{
	free(w->from);
	free(w->unused);
	*w = (struct weights){ 0 };
}

/* A run of names that are listed as one: those of layers with adjacent numbers, or those that differ in their last part. */
struct group {
	size_t stem; /* bytes that all begin with */
	int first, last, numbered;
	int n;
};

static struct group
group_of(const char *name)
{
	const char *dot = strrchr(name, '.');

	for (const char *at = strchr(name, '.'); at; at = strchr(at + 1, '.')) {
		size_t digits = strspn(at + 1, "0123456789");

		if (digits && digits < 5 && at[1 + digits] == '.') {
			int number = atoi(at + 1);

			return (struct group){ (size_t)(at + 1 - name), number, number, 1, 1 };
		}
	}
	return (struct group){ .stem = dot ? (size_t)(dot + 1 - name) : strlen(name), .n = 1 };
}

/* Takes the next name into the group if it belongs there. */
static int
group_take(struct group *group, const char *name, const char *next)
{
	struct group other = group_of(next);

	if (other.stem != group->stem || other.numbered != group->numbered || memcmp(name, next, group->stem) != 0 ||
	    other.first < group->first - 1 || other.first > group->last + 1)
		return 0;
	group->first = other.first < group->first ? other.first : group->first;
	group->last = other.first > group->last ? other.first : group->last;
	group->n++;
	return 1;
}

/* "a.0-4.* (80), b.weight": as many as have room. */
static void
list_names(char *out, size_t size, const char *const *names, int n)
{
	size_t used = 0;
	struct group group;

	out[0] = '\0';
	for (int i = 0; i < n; i += group.n) {
		const char *comma = i ? ", " : "";
		char item[TENSOR_NAME + 64];

		group = group_of(names[i]);
		while (i + group.n < n && group_take(&group, names[i], names[i + group.n]))
			;
		if (group.n == 1)
			snprintf(item, sizeof item, "%s%s", comma, names[i]);
		else if (!group.numbered)
			snprintf(item, sizeof item, "%s%.*s* (%d)", comma, (int)group.stem, names[i], group.n);
		else if (group.first == group.last)
			snprintf(item, sizeof item, "%s%.*s%d.* (%d)", comma, (int)group.stem, names[i], group.first,
			         group.n);
		else
			snprintf(item, sizeof item, "%s%.*s%d-%d.* (%d)", comma, (int)group.stem, names[i], group.first,
			         group.last, group.n);
		if (used + strlen(item) + sizeof ", ..." > size) {
			snprintf(out + used, size - used, ", ...");
			return;
		}
		used += (size_t)snprintf(out + used, size - used, "%s", item);
	}
}

enum { LIST = 1200 }; /* bytes of a list of names: it is part of one message */

/* Names of the parameters that are missing and, if wanted, must not be; their number. */
static int
list_missing(char list[LIST], const struct weights *w, int (*must)(const struct param *))
{
	const char **names = malloc((size_t)w->params->n * sizeof *names);
	int n = 0;

	list[0] = '\0';
	for (int i = 0; i < w->params->n; i++) {
		if (w->from[i] || (must && !must(&w->params->list[i])))
			continue;
		if (names)
			names[n] = w->params->list[i].name;
		n++;
	}
	if (names)
		list_names(list, LIST, names, n);
	free(names);
	return n;
}

/* Names of the tensors that are not used and, if wanted, that no pre-training explains; their number. */
static int
list_strangers(char list[LIST], const struct weights *w, int all)
{
	const char **names = malloc(((size_t)w->unused_n + 1) * sizeof *names);
	char ours[NAME_OURS];
	int n = 0;

	list[0] = '\0';
	for (int i = 0; i < w->unused_n; i++) {
		name_ours(ours, w->unused[i]->name);
		if (!all && name_pretraining(ours))
			continue;
		if (names)
			names[n] = w->unused[i]->name;
		n++;
	}
	if (names)
		list_names(list, LIST, names, n);
	free(names);
	return n;
}

static int
is_plain(const struct param *p)
{
	return p->init != INIT_ALPHA && p->init != INIT_SPAN;
}

static int
is_bert(const struct param *p)
{
	static const char *const parts[] = { "embeddings.", "encoder.layer.", "pooler." };
	static const char bert[] = "lxrt_encoder.model.bert.";

	for (int i = 0; i < 3; i++)
		if (!strncmp(p->name, bert, sizeof bert - 1) &&
		    !strncmp(p->name + sizeof bert - 1, parts[i], strlen(parts[i])))
			return is_plain(p);
	return 0;
}

int
weights_check_missing(const struct weights *w, enum weights_kind kind, struct err *err)
{
	int (*const must[])(const struct param *) = { NULL, is_plain, is_bert };
	char list[LIST];
	int n = list_missing(list, w, must[kind]);

	if (n == 1)
		return err_set(err, "tensor '%s' is missing", list);
	return n ? err_set(err, "%d tensors are missing: %s", n, list) : 0;
}

int
weights_check_unused(const struct weights *w, struct err *err)
{
	char list[LIST];
	int n = list_strangers(list, w, 0);

	if (n == 1)
		return err_set(err, "tensor '%s' is not used by this model", list);
	return n ? err_set(err, "%d tensors are not used by this model: %s", n, list) : 0;
}

void
weights_report(const struct weights *w, const char *source, void say(const char *fmt, ...))
{
	char list[LIST];
	int n;

	say("%s: %d of %d parameters loaded", source, w->loaded, w->params->n);
	n = list_missing(list, w, NULL);
	if (n)
		say("%s: %d missing, which begin as in a new checkpoint: %s", source, n, list);
	n = list_strangers(list, w, 1);
	if (n)
		say("%s: %d not used: %s", source, n, list);
}

static int
check_finite(const float *values, size_t n, const char *name, struct err *err)
{
	size_t i = first_not_finite(values, n);

	if (i == n)
		return 0;
	return err_set(err, "tensor '%s': element %zu is %s, expected a finite number", name, i,
	               isnan(values[i]) ? "NaN" : "infinite");
}

/* The whole tensor as float32, malloc'd. */
static float *
read_tensor(const struct image *image, const struct tensor *t, struct err *err)
{
	size_t n = t->bytes / dtype_size(t->dtype);
	float *out = malloc(n * sizeof *out + 1);

	if (!out) {
		err_set(err, "out of memory for tensor '%s'", t->name);
		return NULL;
	}
	if (dtype_to_f32(out, image_data(image, t), n, t->dtype, err))
		err_prefix(err, "tensor '%s'", t->name);
	else if (!check_finite(out, n, t->name, err))
		return out;
	free(out);
	return NULL;
}

/* Our rows out of theirs, which are freed; an answer that is not among theirs has a row of 0. */
static float *
pick_rows(float *theirs, const struct answer_table *table, const struct param *p, struct err *err)
{
	size_t rows = (size_t)p->shape[0], width = p->n / rows;
	float *out = calloc(p->n, sizeof *out);

	if (!out)
		err_set(err, "out of memory for tensor '%s'", p->name);
	for (size_t i = 0; out && i < rows; i++)
		if (table->row[i] >= 0)
			memcpy(out + i * width, theirs + (size_t)table->row[i] * width, width * sizeof *out);
	free(theirs);
	return out;
}

/* One parameter, malloc'd. */
static float *
value(const struct weights *w, int i, const struct config *cfg, uint64_t seed, double range, struct err *err)
{
	const struct param *p = &w->params->list[i];
	float *out;

	if (w->from[i]) {
		out = read_tensor(w->names->image, w->from[i]->tensor, err);
		return out && w->table && is_head(w->params, i) ? pick_rows(out, w->table, p, err) : out;
	}
	out = malloc(p->n * sizeof *out);
	if (out)
		param_init(out, w->params, i, cfg, seed, range);
	else
		err_set(err, "out of memory for tensor '%s'", p->name);
	return out;
}

float **
weights_values(const struct weights *w, const struct config *cfg, uint64_t seed, double range, struct err *err)
{
	float **data = calloc((size_t)w->params->n, sizeof *data);

	if (!data)
		err_set(err, "out of memory for %d tensors", w->params->n);
	for (int i = 0; data && i < w->params->n; i++) {
		data[i] = value(w, i, cfg, seed, range, err);
		if (data[i])
			continue;
		while (i--)
			free(data[i]);
		free(data);
		return NULL;
	}
	return data;
}
