/*
 * vqa-step: clips, updates the weights in the shared memory, commits the step, and saves snapshots.
 */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/die.h"
#include "sys/opt.h"
#include "sys/watch.h"
#include "train/attach.h"
#include "train/batch_record.h"
#include "train/log.h"

static const char *folder, *kind = "lamb", *schedule = "cyclic", *lookahead = "5,0.8";
static double lr = 1e-5, max_lr = 5e-5, weight_decay = 1.2e-6, clip = 5;
static int64_t step_size = 2000, total, save_every = 1000;

static const struct opt opts[] = {
	{ 'o', "output", OPT_TEXT, &folder, "DIR", "the run's folder: snapshots and log.tsv" },
	{ 0, "clip", OPT_REAL(0, 1e30), &clip, "C", "largest norm of all gradients together, 0: off (5)" },
	{ 0, "lookahead", OPT_TEXT, &lookahead, "K,ALPHA", "Lookahead's steps and rate, or off (5,0.8)" },
	{ 0, "lr", OPT_REAL(0, 1e6), &lr, "LR", "learning rate, the lowest of a schedule (1e-5)" },
	{ 0, "max-lr", OPT_REAL(0, 1e6), &max_lr, "LR", "the highest of a schedule (5e-5)" },
	{ 0, "optimizer", OPT_WORD("lamb|adamw"), &kind, "NAME", "lamb or adamw (lamb)" },
	{ 0, "save-every", OPT_INT(0, 1e9), &save_every, "N", "steps between snapshots, 0: only at the end (1000)" },
	{ 0, "schedule", OPT_WORD("cyclic|constant|linear"), &schedule, "NAME", "cyclic, constant or linear (cyclic)" },
	{ 0, "step-size", OPT_INT(1, 1e9), &step_size, "N", "steps from lowest to highest (2000)" },
	{ 0, "total", OPT_INT(1, 1e9), &total, "N", "steps of a linear schedule, which needs it" },
	{ 0, "weight-decay", OPT_REAL(0, 1e6), &weight_decay, "W", "weight decay (1.2e-6)" },
	{ 0 },
};

static const struct program program = {
	"vqa-step", "", "update the weights, and save them", opts, 0, 0,
};

struct work {
	struct share share;
	struct member member;
	struct optimizer optimizer;
	struct run_state run;
	int64_t rank, ranks; /* of several ranks the first alone writes: folder and table */
	int lock;            /* of the folder */
	FILE *log;           /* log.tsv, NULL without -o */
	char log_path[4096];
	int64_t saved; /* step of the last snapshot; -1: none of this folder */
};

static void
read_settings(struct optimizer_settings *set)
{
	*set = (struct optimizer_settings){ .kind = !strcmp(kind, "lamb") ? OPTIMIZER_LAMB : OPTIMIZER_ADAMW,
		                            .schedule = !strcmp(schedule, "cyclic")     ? SCHEDULE_CYCLIC
		                                        : !strcmp(schedule, "constant") ? SCHEDULE_CONSTANT
		                                                                        : SCHEDULE_LINEAR,
		                            .lr = lr,
		                            .max_lr = max_lr,
		                            .step_size = step_size,
		                            .total = total,
		                            .weight_decay = weight_decay,
		                            .clip = clip };
	if (set->schedule == SCHEDULE_LINEAR && total <= step_size)
		die_usage("option --total: '%lld' is not over --step-size, %lld, as a linear schedule needs",
		          (long long)total, (long long)step_size);
	if (strcmp(lookahead, "off") != 0) {
		char steps[24];
		size_t n = strcspn(lookahead, ",");

		snprintf(steps, sizeof steps, "%.*s", (int)(n < sizeof steps ? n : 0), lookahead);
		if (!lookahead[n] || parse_int(steps, 1, 1000000, &set->lookahead) ||
		    parse_real(lookahead + n + 1, 0, 1, &set->lookahead_alpha))
			die_usage("option --lookahead: '%s' is neither off nor STEPS,ALPHA", lookahead);
	}
}

/* The run's folder, where it has one. */
static void
open_folder(struct work *w, const char *checkpoint)
{
	struct err err;
	int has = 0;

	if (folder)
		w->lock = snapshot_claim(folder, checkpoint, w->run.id, &has, &err);
	if (folder && w->lock < 0)
		die(&err);
	w->saved = has ? w->run.step : -1;
}

/* log.tsv, cut back to the snapshot: only when this run has been let in. */
static void
open_log(struct work *w)
{
	struct err err;

	if (!folder)
		return;
	snprintf(w->log_path, sizeof w->log_path, "%s/log.tsv", folder);
	w->log = log_open(w->log_path, w->run.step, &err);
	if (!w->log)
		die(&err);
}

static void
attach(struct work *w, const struct rec_in *in, struct optimizer_settings set)
{
	char socket[64], key[64], checkpoint[4096];
	struct image moments;
	const struct op *op;
	struct err err;

	if (header_read_text(in, "socket", socket, sizeof socket, &err) ||
	    header_read_text(in, "key", key, sizeof key, &err) ||
	    header_read_text(in, "checkpoint", checkpoint, sizeof checkpoint, &err) ||
	    header_read_run(in, &w->run, &err) || header_read_rank(in, &w->rank, &w->ranks, &err))
		die(&err);
	if (w->rank)
		folder = NULL;
	open_folder(w, checkpoint);
	/* Before the first batch can begin: the first rank may write the next snapshot soon after. */
	if (*w->run.id && snapshot_open_optimizer(&moments, checkpoint, w->run.id, &err))
		die(&err);
	if (member_join(&w->member, &w->share, socket, key, "vqa-step", 1, die_at_once, &err))
		die(&err);
	open_log(w);
	set.keep_alphas = !w->run.compat;
	op = backend_open(share_device(&w->share), &err);
	if (!op || share_use(&w->share, op, &err) || optimizer_open(&w->optimizer, &set, &w->share.params, op, &err) ||
	    (*w->run.id && snapshot_load_optimizer(&w->optimizer, &moments, checkpoint, &err)))
		die(&err);
}

static int
save(struct work *w, struct err *err)
{
	float **weights;
	int bad;

	if (!folder || w->saved == w->run.step)
		return 0;
	weights = calloc((size_t)w->share.params.n, sizeof *weights);
	if (!weights)
		return err_set(err, "out of memory for a snapshot");
	share_fetch(&w->share, w->share.weights, weights);
	bad = snapshot_save(folder, &w->run, &w->share.config, &w->share.params, (const float *const *)weights,
	                    &w->optimizer, err);
	free(weights);
	if (bad)
		return -1;
	w->saved = w->run.step;
	return 0;
}

/* Not a number anywhere: the step is refused. */
static int
refuse(const struct work *w, const struct log_row *row, const char *what, double value, struct err *err)
{
	if (isnan(value))
		value = fabs(value); /* its sign says nothing */
	if (w->saved >= 0)
		return err_set(
			err, "step %lld: %s is %g; the step is not taken, and the snapshot of step %lld stays in '%s'",
			(long long)row->step, what, value, (long long)w->saved, folder);
	return err_set(err, "step %lld: %s is %g; the step is not taken", (long long)row->step, what, value);
}

/* The row, to each table that there is. */
static int
tell(const struct work *w, const struct log_row *row, struct err *err)
{
	if (w->rank)
		return 0;
	return log_row(stdout, "stdout", row, err) || (w->log && log_row(w->log, w->log_path, row, err)) ? -1 : 0;
}

static int
step_record(const struct rec_in *in, struct work *w, struct err *err)
{
	struct batch_record batch;
	struct log_row row;
	double right;
	int worst;

	if (!rec_is(in, "batch"))
		return 0;
	if (batch_record_read(&batch, in, err) || rec_real(in, "bce", &row.bce, err) ||
	    rec_real(in, "span", &row.span, err) || rec_real(in, "total", &row.total, err) ||
	    rec_real(in, "right", &right, err))
		return -1;
	row.step = batch.step;
	row.questions = batch.questions * w->ranks;
	row.accuracy = right / batch.questions;
	if (batch.step != w->run.step + 1)
		return rec_fault(in, err, "step %lld, expected %lld", (long long)batch.step,
		                 (long long)w->run.step + 1);
	if (!isfinite(row.total))
		return refuse(w, &row, "the loss", row.total, err);
	row.norm = optimizer_norm(&w->optimizer, w->share.gradients, w->share.flags, &worst);
	if (!isfinite(row.norm)) {
		char what[256];

		snprintf(what, sizeof what, "the gradient's norm of tensor '%s'",
		         worst < 0 ? "" : w->share.params.list[worst].name);
		return refuse(w, &row, what, row.norm, err);
	}
	row.rate = optimizer_rate(&w->optimizer.set, w->run.step);
	if (optimizer_step(&w->optimizer, w->share.weights, w->share.twins, w->share.gradients, w->share.flags,
	                   batch.step, row.norm, row.rate, err) ||
	    member_commit(&w->member, batch.step, err))
		return -1;
	w->run.step++;
	w->run.taken++;
	if (tell(w, &row, err))
		return -1;
	return save_every && w->run.step % save_every == 0 ? save(w, err) : 0;
}

/* The stream is whole: it counts, and the next one begins at its first batch. */
static int
finish(struct work *w, struct err *err)
{
	w->run.streams++;
	w->run.first = w->run.taken = 0;
	w->saved = -1;
	return save(w, err);
}

int
main(int argc, char **argv)
{
	struct rec_in in;
	struct work work = { .lock = -1 };
	struct optimizer_settings set;
	struct err err;
	int got;

	opt_parse(&program, argc, argv);
	read_settings(&set);
	note_terminal(STDIN_FILENO);
	signal(SIGPIPE, SIG_IGN);
	if (rec_open(&in, STDIN_FILENO, "stdin", &err) || rec_next(&in, &err) < 0)
		die(&err);
	attach(&work, &in, set);
	if ((!work.rank && log_header(stdout, "stdout", &err)) || watch_reader(STDOUT_FILENO, die_at_once, &err))
		die(&err);
	while ((got = rec_next(&in, &err)) > 0 && !rec_is(&in, "end"))
		if (step_record(&in, &work, &err))
			die(&err);
	if (got < 0 || rec_last(&in, &err) || finish(&work, &err))
		die(&err);
	watch_stop();
	if (work.log && fclose(work.log))
		die_words("%s: cannot write: %s", work.log_path, strerror(errno));
	close_stdout();
	if (member_goodbye(&work.member, &err))
		die(&err);
	return 0;
}
