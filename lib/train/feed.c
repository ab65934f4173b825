/*
 * Feeding a training run.
 */
#include "train/feed.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/watch.h"
#include "train/batch_record.h"

int
feed_recover(const char *name, const struct shard *shard, int *resumed, struct err *err)
{
	struct stat st;
	int lock, bad;

	*resumed = 0;
	if (stat(name, &st) || !S_ISDIR(st.st_mode))
		return 0;
	*resumed = 1;
	if (shard->shard)
		return 0;
	lock = snapshot_lock(name, err);
	if (lock < 0)
		return -1;
	bad = snapshot_recover(name, err);
	close(lock);
	return bad;
}

/* A pipe or a socket: the other programs attach while this one runs, so a file would be waited for in vain. */
static int
check_stdout(int fd, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st))
		return err_sys(err, "stdout");
	if (!S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode))
		return err_set(err, "stdout is neither pipe nor socket, expected a pipe to vqa-loss");
	fcntl(fd, F_SETPIPE_SZ, 1 << 20); /* as large as one may ask for; a smaller pipe works too */
	return 0;
}

static int
differs(const char *what, const char *theirs, const char *ours, const char *path, struct err *err)
{
	return err_set(err, "%s: its run has %s %s, found %s; it goes on only with the same", path, what, theirs, ours);
}

/* The same seed, batch, shards, dropout, precision, compat and, in the middle of a stream, source as the snapshot's. */
static int
check_resumed(const struct feed *f, const char *source, struct err *err)
{
	char theirs[64], ours[64];
	const char *path = f->ckpt->path;

	snprintf(theirs, sizeof theirs, "%lld", (long long)f->run.batch);
	snprintf(ours, sizeof ours, "%d", f->batch);
	if (f->run.batch != f->batch)
		return differs("batch", theirs, ours, path, err);
	snprintf(theirs, sizeof theirs, "%lld", (long long)f->run.shards);
	snprintf(ours, sizeof ours, "%lld", (long long)f->shard.shards);
	if (f->run.shards != f->shard.shards)
		return differs("shards", theirs, ours, path, err);
	snprintf(theirs, sizeof theirs, "%llu", (unsigned long long)f->run.seed);
	snprintf(ours, sizeof ours, "%llu", (unsigned long long)f->seed);
	if (f->run.seed != f->seed)
		return differs("seed", theirs, ours, path, err);
	snprintf(theirs, sizeof theirs, "%g", f->run.dropout);
	snprintf(ours, sizeof ours, "%g", f->dropout);
	if (f->run.dropout != f->dropout)
		return differs("dropout", theirs, ours, path, err);
	if (f->run.precision != f->precision)
		return differs("precision", precision_name(f->run.precision), precision_name(f->precision), path, err);
	if (f->run.compat != f->compat)
		return differs("--compat", f->run.compat ? "on" : "off", f->compat ? "on" : "off", path, err);
	if (f->run.taken && *f->run.source && *source && strcmp(f->run.source, source) != 0)
		return differs("source", f->run.source, source, path, err);
	return 0;
}

/* What the stream's header says of itself: its source, and the questions that were left out before its first. */
static int
read_source(const struct feed *f, char *source, size_t size, int64_t *left_out, struct err *err)
{
	*source = '\0';
	*left_out = 0;
	if (rec_get(f->in, "source") && header_read_text(f->in, "source", source, size, err))
		return -1;
	return rec_get(f->in, "skip") ? rec_int(f->in, "skip", 0, INT64_MAX / 2, left_out, err) : 0;
}

/* Go on from the snapshot: in the middle of a stream the questions that it has taken are still to be passed over. */
static int
go_on(struct feed *f, const char *source, int64_t left_out, int64_t *skip, struct err *err)
{
	struct run_state *run = &f->run;
	int64_t next;
	int got = run_state_read(run, &f->ckpt->image, err);

	if (got <= 0)
		return got ? err_prefix(err, "%s", f->ckpt->path)
		           : err_set(err, "%s: no snapshot of a run; give the file itself to begin with its weights",
		                     f->ckpt->path);
	if (check_resumed(f, source, err))
		return -1;
	if (!run->taken)
		run->first = left_out;
	next = run->first + run->taken * run->batch;
	if (left_out > next)
		return err_set(err, "the stream leaves out %lld questions, but the snapshot has only %lld of them",
		               (long long)left_out, (long long)next);
	*skip = next - left_out;
	return 0;
}

/* The run's state at this stream's beginning; questions of it that are still to be passed over. */
static int
begin_stream(struct feed *f, int64_t *skip, struct err *err)
{
	char source[sizeof f->run.source];
	int64_t left_out;

	if (read_source(f, source, sizeof source, &left_out, err))
		return -1;
	*skip = 0;
	if (!f->resumed)
		f->run = (struct run_state){ .batch = f->batch,
			                     .shards = f->shard.shards,
			                     .seed = f->seed,
			                     .dropout = f->dropout,
			                     .precision = f->precision,
			                     .compat = f->compat,
			                     .first = left_out };
	else if (go_on(f, source, left_out, skip, err))
		return -1;
	/* A stream that does not say what it is leaves the one that it goes on with known. */
	if (*source || !f->run.taken)
		memcpy(f->run.source, source, sizeof source);
	f->most = INT64_MAX;
	/* As many as the shortest shard has, less what was left out of each. */
	if (f->shard.shards > 1)
		f->most = f->shard.total / f->shard.shards < f->run.first
		                  ? 0
		                  : (f->shard.total / f->shard.shards - f->run.first) / f->batch;
	return 0;
}

/* Everything that the others need to know: where to attach, and the run's state. */
static int
send_header(struct feed *f, struct err *err)
{
	char *path = realpath(f->ckpt->path, NULL);

	if (!path)
		return err_sys(err, "%s", f->ckpt->path);
	rec_begin(&f->out, "header");
	rec_put_int(&f->out, "vqa", 1);
	rec_put_text(&f->out, "by", "vqa-forward " VQA_VERSION, strlen("vqa-forward " VQA_VERSION));
	rec_put_text(&f->out, "socket", f->owner.socket, strlen(f->owner.socket));
	rec_put_text(&f->out, "key", f->owner.key, strlen(f->owner.key));
	rec_put_text(&f->out, "checkpoint", path, strlen(path));
	rec_put_text(&f->out, "snapshot", f->run.id, strlen(f->run.id));
	rec_put_int(&f->out, "answers", f->ckpt->config.answers_n);
	rec_put_int(&f->out, "batch", f->run.batch);
	rec_put_int(&f->out, "seed", (int64_t)f->run.seed);
	rec_put_real(&f->out, "dropout", f->run.dropout);
	header_put_device(&f->out, f->op, f->run.precision);
	rec_put_int(&f->out, "compat", f->run.compat);
	rec_put_int(&f->out, "step", f->run.step);
	rec_put_int(&f->out, "streams", f->run.streams);
	rec_put_int(&f->out, "first", f->run.first);
	rec_put_int(&f->out, "taken", f->run.taken);
	rec_put_text(&f->out, "source", f->run.source, strlen(f->run.source));
	rec_keep(&f->out, f->in);
	free(path);
	return rec_send(&f->out, err);
}

/* A batch record carries logits and, on its way, their gradient; its ids and targets are small beside them. */
static int
check_batch(const struct feed *f, struct err *err)
{
	int most = (RECORD_MAX - (1 << 20)) / (2 * (int)sizeof(float) * f->ckpt->config.answers_n);

	return f->batch > most ? err_set(err,
	                                 "a batch of %d questions with %d answers is more than a record holds, "
	                                 "expected at most %d questions",
	                                 f->batch, f->ckpt->config.answers_n, most)
	                       : 0;
}

int
feed_open(struct feed *f, int fd, attach_lost *lost, struct err *err)
{
	int64_t skip;

	if (check_stdout(fd, err) || check_batch(f, err) ||
	    layerdrop_open(&f->layerdrop, &f->ckpt->config, f->draws, err) || watch_reader(fd, lost, err) ||
	    begin_stream(f, &skip, err) || share_create(&f->share, f->ckpt, f->batch, f->precision, f->op, err) ||
	    share_model(&f->share, &f->model, f->op, err) || owner_open(&f->owner, &f->share, f->run.step, lost, err) ||
	    rec_create(&f->out, fd, "stdout", err) || send_header(f, err))
		return -1;
	image_close(&f->ckpt->image);
	return collector_open(&f->collector, f->in, &f->out, &f->ckpt->config, f->batch, 2, 1, skip, err);
}

int
feed_wait_members(struct feed *f, int seconds)
{
	return owner_wait_committer(&f->owner, seconds);
}

int
feed_nudge(struct feed *f, struct err *err)
{
	int bad;

	pthread_mutex_lock(&f->collector.out_lock);
	rec_begin(&f->out, "waiting");
	bad = rec_send(&f->out, err);
	pthread_mutex_unlock(&f->collector.out_lock);
	return bad;
}

/* The layers that the batch went without: [language, vision, cross], an array of each stack's. */
static void
put_dropped(struct feed *f)
{
	const struct config *cfg = &f->ckpt->config;
	int sizes[STACKS];
	msgpack_packer *pack = rec_put(&f->out, "dropped");
	const uint8_t *dropped = f->layerdrop.dropped;

	layers_of_stacks(sizes, cfg);
	msgpack_pack_array(pack, STACKS);
	for (int stack = 0; stack < STACKS; dropped += sizes[stack++]) {
		size_t n = 0;

		for (int i = 0; i < sizes[stack]; i++)
			n += dropped[i];
		msgpack_pack_array(pack, n);
		for (int i = 0; i < sizes[stack]; i++)
			if (dropped[i])
				msgpack_pack_int(pack, i);
	}
}

static int
send_batch(struct feed *f, const struct collected *c, int64_t step, const float *logits, double span, struct err *err)
{
	size_t values = (size_t)c->batch.n * (size_t)f->ckpt->config.answers_n;
	msgpack_packer *pack;
	int bad;

	pthread_mutex_lock(&f->collector.out_lock);
	rec_begin(&f->out, "batch");
	rec_put_int(&f->out, "step", step);
	pack = rec_put(&f->out, "questions");
	msgpack_pack_array(pack, (size_t)c->batch.n);
	for (int b = 0; b < c->batch.n; b++)
		msgpack_pack_int64(pack, c->ids[b]);
	rec_put_bin(&f->out, "logits", logits, values * sizeof *logits);
	pack = rec_put(&f->out, "target");
	msgpack_pack_array(pack, c->targets_n);
	for (size_t i = 0; i < c->targets_n; i++) {
		msgpack_pack_array(pack, 3);
		msgpack_pack_int(pack, c->targets[i].row);
		msgpack_pack_int(pack, c->targets[i].index);
		msgpack_pack_double(pack, (double)c->targets[i].score);
	}
	rec_put_real(&f->out, "span", span);
	if (f->layerdrop.dropped)
		put_dropped(f);
	bad = rec_send(&f->out, err);
	pthread_mutex_unlock(&f->collector.out_lock);
	return bad;
}

/* The next batch that is whole in every shard: 1, 0 at the end of the stream, -1. */
static int
next_whole(struct feed *f, struct collected **out, struct err *err)
{
	int got;

	while ((got = collector_next(&f->collector, out, err)) > 0) {
		if ((*out)->batch.n == f->batch && f->run.taken + f->sent != f->most)
			break;
		f->left_over += (*out)->batch.n;
		collector_done(&f->collector);
	}
	return got;
}

int
feed_next(struct feed *f, struct err *err)
{
	struct collected *next;
	int64_t step = f->run.step + f->sent + 1;
	struct pass pass = { .dropout = (float)f->run.dropout,
		             .seed = f->run.seed,
		             .step = (uint32_t)step,
		             .shard = (uint32_t)f->shard.shard,
		             .others = (uint32_t)f->shard.shards - 1,
		             .compat = f->compat,
		             .dropped = f->layerdrop.dropped };
	const float *logits;
	double span;
	int got = next_whole(f, &next, err);

	if (got <= 0)
		return got;
	/* While the others are still at the step before. */
	model_send(&f->model, &next->batch, &pass);
	owner_wait_commit(&f->owner, step - 1);
	if (layerdrop_draw(&f->layerdrop, f->run.seed, step, err) || model_span_loss(&f->model, &span, err) ||
	    model_begin(&f->model, &next->batch, &pass, err))
		return -1;
	logits = model_end(&f->model, err);
	if (!logits || send_batch(f, next, step, logits, span, err))
		return -1;
	collector_done(&f->collector);
	f->sent++;
	return 1;
}

int
feed_close(struct feed *f, struct err *err)
{
	if (f->collector.questions < f->collector.skip)
		return err_set(err, "the stream has %lld questions, but the snapshot has taken %lld of them",
		               (long long)f->collector.questions, (long long)f->collector.skip);
	if (f->shard.shards > 1 && f->run.taken + f->sent < f->most)
		return err_set(
			err,
			"the stream ends with %lld questions, but a total of %lld in %lld shards makes %lld batches "
			"of %d",
			(long long)f->collector.questions, (long long)f->shard.total, (long long)f->shard.shards,
			(long long)f->most, f->batch);
	if (!f->sent && !f->run.taken)
		return err_set(err, "the stream has %lld questions, fewer than one batch of %d%s",
		               (long long)f->collector.questions, f->batch, f->shard.shards > 1 ? " a shard" : "");
	owner_wait_commit(&f->owner, f->run.step + f->sent);
	watch_stop();
	if (rec_end(&f->out, f->in, f->sent * f->batch, err))
		return -1;
	owner_wait_goodbyes(&f->owner);
	return 0;
}
