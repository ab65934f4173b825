/*
 * vqa-backward: from a batch's gradient by the logits to the gradients of all parameters, in the shared memory.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/die.h"
#include "sys/opt.h"
#include "sys/watch.h"
#include "train/attach.h"
#include "train/batch_record.h"

static const char *gradient_file;

static const struct opt opts[] = {
	{ 'g', "gradients", OPT_TEXT, &gradient_file, "FILE",
	  "save the last batch's gradients; no vqa-step may follow" },
	{ 0 },
};

static const struct program program = {
	"vqa-backward", "", "compute the gradients of a batch", opts, 0, 0,
};

struct work {
	struct share share;
	struct member member;
	struct model model;
	struct pass pass;
	float *dlogits;
	int64_t batches;
};

static void
attach(struct work *w, const struct rec_in *in)
{
	char socket[64], key[64];
	struct run_state run;
	struct shard shard;
	const struct op *op;
	struct err err;

	if (header_read_text(in, "socket", socket, sizeof socket, &err) ||
	    header_read_text(in, "key", key, sizeof key, &err) || header_read_run(in, &run, &err) ||
	    header_read_shard(in, &shard, &err) ||
	    member_join(&w->member, &w->share, socket, key, "vqa-backward", gradient_file != NULL, die_at_once, &err))
		die(&err);
	op = backend_open(share_device(&w->share), &err);
	if (!op || share_use(&w->share, op, &err) || share_model(&w->share, &w->model, op, &err))
		die(&err);
	w->pass = (struct pass){ .dropout = (float)run.dropout,
		                 .seed = run.seed,
		                 .shard = (uint32_t)shard.shard,
		                 .others = (uint32_t)shard.shards - 1,
		                 .compat = run.compat };
	w->dlogits = malloc((size_t)w->share.plan.batch * (size_t)w->share.config.answers_n * sizeof *w->dlogits);
	if (!w->dlogits)
		die_words("out of memory for the gradient of %u questions", w->share.plan.batch);
}

static int
backward_record(struct rec_out *out, const struct rec_in *in, struct work *w, struct err *err)
{
	struct batch_record batch;

	if (!rec_is(in, "batch"))
		return rec_pass(out, in, err);
	if (batch_record_read(&batch, in, err))
		return -1;
	if ((uint32_t)batch.questions != w->share.plan.batch)
		return rec_fault(in, err, "%d questions, expected a batch of %u", batch.questions, w->share.plan.batch);
	if (batch_record_matrix(in, &batch, "gradient", w->share.config.answers_n, w->dlogits, err))
		return -1;
	w->pass.step = (uint32_t)batch.step;
	w->batches++;
	if (model_backward(&w->model, &w->pass, w->dlogits, w->share.flags, err) || rec_pass(out, in, err))
		return -1;
	return gradient_file ? member_commit(&w->member, batch.step, err) : 0;
}

/* Every parameter that has a gradient, under its name. One that is all zero always is written as zeros. */
static int
save_gradients(const struct work *w, const char *path, struct err *err)
{
	const struct params *params = &w->share.params;
	const void **data = calloc((size_t)params->n, sizeof *data);
	float **gradients = calloc((size_t)params->n, sizeof *gradients);
	struct image image;
	int bad = !data || !gradients ? err_set(err, "%s: out of memory", path)
	          : !w->batches       ? err_set(err, "%s: no batch came whose gradients could be saved", path)
	                              : 0;

	image_begin(&image);
	if (!bad)
		share_fetch(&w->share, w->share.gradients, gradients);
	for (int i = 0; !bad && i < params->n; i++) {
		const struct param *p = &params->list[i];

		if (w->share.flags[i] == GRADIENT_NONE)
			continue;
		data[image.n] =
			w->share.flags[i] == GRADIENT_SET ? (const void *)gradients[i] : calloc(p->n, sizeof(float));
		bad = !data[image.n] ? err_set(err, "%s: out of memory", path)
		                     : image_add(&image, p->name, DTYPE_F32, p->dims, p->shape, err);
	}
	bad = bad || image_write(&image, data, path, err);
	image_close(&image);
	free(data);
	free(gradients);
	return bad ? -1 : 0;
}

int
main(int argc, char **argv)
{
	struct rec_in in;
	struct rec_out out;
	struct work work = { 0 };
	struct err err;
	int64_t questions = 0;
	int got;

	opt_parse(&program, argc, argv);
	refuse_terminal(STDOUT_FILENO);
	note_terminal(STDIN_FILENO);
	signal(SIGPIPE, SIG_IGN);
	if (rec_open(&in, STDIN_FILENO, "stdin", &err) || rec_create(&out, STDOUT_FILENO, "stdout", &err) ||
	    rec_next(&in, &err) < 0)
		die(&err);
	attach(&work, &in);
	if (rec_pass(&out, &in, &err) || watch_reader(STDOUT_FILENO, die_at_once, &err))
		die(&err);
	while ((got = rec_next(&in, &err)) > 0 && !rec_is(&in, "end"))
		if (backward_record(&out, &in, &work, &err))
			die(&err);
	if (got < 0 || rec_int(&in, "questions", 0, INT64_MAX, &questions, &err) || rec_last(&in, &err) ||
	    (gradient_file && save_gradients(&work, gradient_file, &err)))
		die(&err);
	watch_stop();
	if (rec_end(&out, &in, questions, &err) || member_goodbye(&work.member, &err))
		die(&err);
	return 0;
}
