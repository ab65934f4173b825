/*
 * vqa-forward: questions with their images to answers; with -t, to the tape and logits of training.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/answers.h"
#include "model/layerdrop.h"
#include "stream/schema.h"
#include "sys/die.h"
#include "sys/opt.h"
#include "sys/progress.h"
#include "train/feed.h"

static int64_t batch = 128, top, seed;
static double dropout = -1;
static int train, logits, compat, quiet;
static const char *precision_word = "f32", *device = "auto", *attention, *draws;
static enum precision precision;

static const struct opt opts[] = {
	{ 'D', "device", OPT_WORD("auto|auto:N|cpu|cuda|cuda:N"), &device, "DEVICE",
	  "auto, auto:N, cpu, cuda or cuda:N (auto)" },
	{ 'a', "attention", OPT_TEXT, &attention, "NAMES", "attention matrices too: all, or a comma list" },
	{ 'b', "batch", OPT_INT(1, BATCH_MAX), &batch, "N", "questions a batch (128)" },
	{ 'k', "top", OPT_INT(1, ANSWERS_MAX), &top, "N", "the N best answers too" },
	{ 'l', "logits", OPT_FLAG, &logits, NULL, "logits too" },
	{ 'p', "precision", OPT_WORD("f32|bf16|tf32"), &precision_word, "TYPE",
	  "of products: f32, bf16 or tf32 (f32)" },
	{ 'r', "seed", OPT_INT(0, INT64_C(1) << 53), &seed, "SEED", "seed of dropout and of LayerDrop (0)" },
	{ 't', "train", OPT_FLAG, &train, NULL, "write the tape and logits for vqa-loss, vqa-backward and vqa-step" },
	{ 0, "compat", OPT_FLAG, &compat, NULL, "keep the reference's quirks: see vqa-quirks(7)" },
	{ 0, "draws", OPT_TEXT, &draws, "FILE", "LayerDrop's draws, recorded (drawn by the seed)" },
	{ 0, "dropout", OPT_REAL(0, 0.99), &dropout, "P", "dropout while training (the checkpoint's)" },
	{ 0, "quiet", OPT_FLAG, &quiet, NULL, "no line of progress on a terminal, nor of the GPU" },
	{ 0 },
};

static const struct program program = {
	"vqa-forward", "CKPT", "answer questions about images, or train", opts, 1, 1,
};

static void
forget(void *user, int param)
{
	struct checkpoint *ckpt = user;

	image_forget(&ckpt->image, ckpt->data[param], ckpt->params.list[param].n * sizeof(float));
}

/* The model with the checkpoint's weights in the backend's memory; the checkpoint's file is not needed after. */
static void
load_model(struct model *model, struct checkpoint *ckpt, const struct op *op)
{
	struct err err;
	void *memory;

	if (model_open(model, &ckpt->config, &ckpt->params, op, (int)batch, 0, precision, &err) ||
	    model_load(model, ckpt->data, forget, ckpt, &err))
		die(&err);
	memory = op->alloc(model_tape_bytes(model));
	if (!memory)
		die_words("out of memory for batches of %d questions: %zu bytes", (int)batch, model_tape_bytes(model));
	model_place(model, memory);
}

/* VQA_TF32=1 is for float32, where it can be TF32. */
static void
choose_precision(const struct op *op)
{
	const char *tf32 = getenv("VQA_TF32");

	precision_parse(&precision, precision_word);
	if (precision == PRECISION_F32 && tf32 && tf32[0] == '1' && op->has(PRECISION_TF32))
		precision = PRECISION_TF32;
}

struct work {
	struct model model;
	struct pass pass;
	struct layerdrop layerdrop;
	struct answers answers;
	struct collector collector;
	struct rec_out out;
	struct progress progress;
	int64_t batches, questions;
};

/* Everything but the stream. */
static void
prepare(struct work *w, struct checkpoint *ckpt, const struct op *op)
{
	struct err err;

	if (answers_open(&w->answers, &ckpt->config, (int)batch, (int)top, logits, attention, &err) ||
	    rec_create(&w->out, STDOUT_FILENO, "stdout", &err))
		die(&err);
	load_model(&w->model, ckpt, op);
	image_close(&ckpt->image);
	/* The reference's LayerDrop does not know that it is no training (models/layerdrop.py). */
	if ((compat || draws) && layerdrop_open(&w->layerdrop, &ckpt->config, draws, &err))
		die(&err);
	w->pass = (struct pass){ .compat = compat,
		                 .dropped = w->layerdrop.dropped,
		                 .sink = attention ? answers_take_attention : NULL,
		                 .user = &w->answers };
}

static void
begin_stream(struct work *w, struct rec_in *in, const struct checkpoint *ckpt)
{
	int64_t total = 0;
	struct err err;

	if (rec_get(in, "questions") && rec_int(in, "questions", 0, INT64_MAX, &total, &err))
		die(&err);
	rec_begin(&w->out, "header");
	rec_put_int(&w->out, "vqa", 1);
	rec_put_text(&w->out, "by", "vqa-forward " VQA_VERSION, strlen("vqa-forward " VQA_VERSION));
	rec_put_text(&w->out, "checkpoint", ckpt->path, strlen(ckpt->path));
	header_put_device(&w->out, w->model.op, precision);
	rec_keep(&w->out, in);
	if (rec_send(&w->out, &err) ||
	    collector_open(&w->collector, in, &w->out, &ckpt->config, (int)batch, 1 + w->model.turns, 0, 0, &err))
		die(&err);
	progress_begin(&w->progress, "questions", total, quiet);
}

/* Ask for a batch's logits. */
static int
begin(struct work *w, const struct collected *c, struct err *err)
{
	if (layerdrop_draw(&w->layerdrop, (uint64_t)seed, ++w->batches, err))
		return -1;
	model_send(&w->model, &c->batch, &w->pass);
	return model_begin(&w->model, &c->batch, &w->pass, err);
}

/* Wait for them, and write its answers; of batches in their order. */
static int
end(struct work *w, const struct collected *c, struct err *err)
{
	const float *values = model_end(&w->model, err);
	int bad;

	if (!values)
		return -1;
	pthread_mutex_lock(&w->collector.out_lock);
	bad = answers_send(&w->answers, &w->out, c, values, err);
	pthread_mutex_unlock(&w->collector.out_lock);
	w->questions += c->batch.n;
	collector_done(&w->collector);
	progress_show(&w->progress, w->questions);
	return bad;
}

/*
 * A batch that is there begins before the one before it is waited for, whose answers are written while it is computed. One that is not there
 * is not waited for: who asks as many as a batch and waits has his answers at once. With -a a batch at a time, since its matrices are one batch's.
 */
static void
answer(struct rec_in *in, struct checkpoint *ckpt, const struct op *op)
{
	struct work w = { 0 };
	struct collected *now, *before = NULL;
	struct err err, other;
	int got, ahead, bad;

	prepare(&w, ckpt, op);
	begin_stream(&w, in, ckpt);
	ahead = w.model.turns > 1 && !attention;
	while ((got = collector_next(&w.collector, &now, &err)) > 0) {
		bad = begin(&w, now, &err);
		/* It is answered whatever becomes of the next. */
		if (before && end(&w, before, bad ? &other : &err))
			bad = 1;
		if (bad)
			die(&err);
		before = ahead && collector_ready(&w.collector) ? now : NULL;
		if (!before && end(&w, now, &err))
			die(&err);
	}
	progress_clear();
	if (got < 0 || rec_end(&w.out, in, w.questions, &err))
		die(&err);
}

/* The run's folder goes on; anything else begins anew with its weights. */
static void
go_train(struct rec_in *in, struct checkpoint *ckpt, const struct op *op, const struct shard *shard, int resumed)
{
	struct feed feed = { .in = in,
		             .ckpt = ckpt,
		             .op = op,
		             .batch = (int)batch,
		             .precision = precision,
		             .seed = (uint64_t)seed,
		             .dropout = dropout < 0 ? ckpt->config.dropout : dropout,
		             .compat = compat,
		             .draws = draws,
		             .resumed = resumed,
		             .shard = *shard };
	struct err err;
	int got;

	signal(SIGPIPE, SIG_IGN);
	if (feed_open(&feed, STDOUT_FILENO, die_at_once, &err))
		die(&err);
	if (op->device_name && !quiet)
		warn_words("training on %s, %s", backend_device(), op->device_name());
	for (int warned = 0; !feed_wait_members(&feed, 5); warned = 1) {
		if (!warned)
			warn_words("waiting for vqa-step (or vqa-backward -g), which has not attached yet");
		if (feed_nudge(&feed, &err))
			die(&err);
	}
	while ((got = feed_next(&feed, &err)) > 0)
		;
	if (got < 0 || feed_close(&feed, &err))
		die(&err);
	if (feed.left_over)
		warn_words("the last %lld questions are no whole batch of %d%s and were not used",
		           (long long)feed.left_over, (int)batch, shard->shards > 1 ? " in every shard" : "");
}

int
main(int argc, char **argv)
{
	int operand = opt_parse(&program, argc, argv), resumed = 0;
	const struct op *op;
	struct checkpoint ckpt;
	struct rec_in in;
	struct shard shard;
	struct err err;

	if (train && (top || logits || attention))
		die_usage("options -k, -l and -a are for answers, not with -t");
	refuse_terminal(STDOUT_FILENO);
	note_terminal(STDIN_FILENO);
	/* The header first: which shard it is decides what may be done to a run's folder. */
	if (rec_open(&in, STDIN_FILENO, "stdin", &err) ||
	    (train && (rec_next(&in, &err) < 0 || header_read_shard(&in, &shard, &err) ||
	               feed_recover(argv[operand], &shard, &resumed, &err))))
		die(&err);
	if (!train)
		backend_alone();
	op = backend_open(device, &err);
	if (!op || checkpoint_open(&ckpt, argv[operand], &err) || (!train && rec_next(&in, &err) < 0) ||
	    collect_check_header(&in, &ckpt.config, ckpt.path, &err))
		die(&err);
	choose_precision(op);
	if (compat && ckpt.config.adaptive && ckpt.config.span_rows != batch)
		warn_words("%s has spans of %d rows, so that with --compat batches of %d questions have no mask",
		           ckpt.path, ckpt.config.span_rows, (int)batch);
	if (train)
		go_train(&in, &ckpt, op, &shard, resumed);
	else
		answer(&in, &ckpt, op);
	return 0;
}
