/*
 * vqa-loss: the loss of each batch and its gradient by the logits.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stream/schema.h"
#include "sys/die.h"
#include "sys/opt.h"
#include "sys/watch.h"
#include "train/batch_record.h"
#include "train/loss.h"

static const struct opt opts[] = { { 0 } };

static const struct program program = {
	"vqa-loss", "", "add the loss and its gradient to batches", opts, 0, 0,
};

/* What one batch needs; grows to the largest. */
struct work {
	int answers;
	float *logits, *gradient;
	struct target *targets;
	size_t room, targets_room;
};

static int
score_of(const msgpack_object *o, double *out)
{
	if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
		*out = (double)o->via.u64;
	else if (o->type == MSGPACK_OBJECT_FLOAT32 || o->type == MSGPACK_OBJECT_FLOAT64)
		*out = o->via.f64;
	else
		return -1;
	return 0;
}

/* [[row, answer, score], …] */
static int
read_targets(struct work *w, const struct rec_in *in, const struct batch_record *batch, size_t *n, struct err *err)
{
	const msgpack_object *list = rec_get(in, "target");

	if (!list || list->type != MSGPACK_OBJECT_ARRAY)
		return rec_fault(in, err, "'target' is missing or no array");
	*n = list->via.array.size;
	if (*n > w->targets_room) {
		free(w->targets);
		w->targets = malloc(*n * sizeof *w->targets);
		w->targets_room = w->targets ? *n : 0;
		if (!w->targets)
			return err_set(err, "out of memory for %zu targets", *n);
	}
	for (size_t i = 0; i < *n; i++) {
		const msgpack_object_array *t = &list->via.array.ptr[i].via.array;
		double score;

		if (list->via.array.ptr[i].type != MSGPACK_OBJECT_ARRAY || t->size != 3 ||
		    t->ptr[0].type != MSGPACK_OBJECT_POSITIVE_INTEGER ||
		    t->ptr[0].via.u64 >= (uint64_t)batch->questions ||
		    t->ptr[1].type != MSGPACK_OBJECT_POSITIVE_INTEGER || t->ptr[1].via.u64 >= (uint64_t)w->answers ||
		    score_of(&t->ptr[2], &score) || !(score >= 0 && score <= 1))
			return rec_fault(in, err, "'target' %zu is no [row below %d, answer below %d, score 0 to 1]", i,
			                 batch->questions, w->answers);
		w->targets[i] = (struct target){ (int)t->ptr[0].via.u64, (int)t->ptr[1].via.u64, (float)score };
	}
	return 0;
}

static int
loss_record(struct rec_out *out, const struct rec_in *in, struct work *w, struct err *err)
{
	struct batch_record batch;
	struct loss loss;
	size_t values, targets = 0;
	double span = 0;

	if (!rec_is(in, "batch"))
		return rec_pass(out, in, err);
	if (batch_record_read(&batch, in, err) || (rec_get(in, "span") && rec_real(in, "span", &span, err)))
		return -1;
	values = (size_t)batch.questions * (size_t)w->answers;
	if (values > w->room) {
		free(w->logits);
		free(w->gradient);
		w->logits = malloc(values * sizeof *w->logits);
		w->gradient = malloc(values * sizeof *w->gradient);
		w->room = values;
		if (!w->logits || !w->gradient)
			return err_set(err, "out of memory for %zu logits", values);
	}
	if (batch_record_matrix(in, &batch, "logits", w->answers, w->logits, err) ||
	    read_targets(w, in, &batch, &targets, err))
		return -1;
	loss_compute(&loss, w->gradient, w->logits, batch.questions, w->answers, w->targets, targets);
	rec_begin(out, "batch");
	rec_put_bin(out, "gradient", w->gradient, values * sizeof *w->gradient);
	rec_put_real(out, "bce", loss.bce);
	rec_put_real(out, "span", span);
	rec_put_real(out, "total", loss.bce + span);
	rec_put_real(out, "right", loss.right);
	rec_keep(out, in);
	return rec_send(out, err);
}

int
main(int argc, char **argv)
{
	struct rec_in in;
	struct rec_out out;
	struct work work = { 0 };
	struct err err;
	int64_t answers, questions = 0;
	int got;

	opt_parse(&program, argc, argv);
	refuse_terminal(STDOUT_FILENO);
	note_terminal(STDIN_FILENO);
	signal(SIGPIPE, SIG_IGN);
	if (rec_open(&in, STDIN_FILENO, "stdin", &err) || rec_create(&out, STDOUT_FILENO, "stdout", &err) ||
	    rec_next(&in, &err) < 0 || rec_int(&in, "answers", 1, ANSWERS_MAX, &answers, &err) ||
	    rec_pass(&out, &in, &err) || watch_reader(STDOUT_FILENO, die_at_once, &err))
		die(&err);
	work.answers = (int)answers;
	while ((got = rec_next(&in, &err)) > 0 && !rec_is(&in, "end"))
		if (loss_record(&out, &in, &work, &err))
			die(&err);
	if (got < 0 || rec_int(&in, "questions", 0, INT64_MAX, &questions, &err) || rec_last(&in, &err))
		die(&err);
	watch_stop();
	if (rec_end(&out, &in, questions, &err))
		die(&err);
	return 0;
}
