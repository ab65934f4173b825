/*
 * vqa-allreduce: the mean of the gradients over the ranks of an MPI job, between vqa-backward and vqa-step.
 *
 * With --nccl the backend takes it, from device to device, and MPI carries all else. Without, a chunk of gradients is cut into a
 * part a rank. Each rank gets its own part of all others, sums in the ranks' order, and sends the mean to all: 2 (N-1)/N of the
 * gradients out and in at each of N ranks, and all ranks have the same bits, since each value was summed once. While a chunk is
 * summed, others are on their way.
 *
 * MPI's own ways to wait keep a processor busy; here it is asked, and slept in between.
 */
#include <fcntl.h>
#include <mpi.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sys/die.h"
#include "sys/hash.h"
#include "sys/opt.h"
#include "sys/watch.h"
#include "train/attach.h"
#include "train/ranks.h"

/*
 * Values of a chunk; naps in ns: the first, the longest for data under way, the longest for ranks that still compute; seconds: for a rank
 * that ends all, and for its MPI_Abort(), which may wait for ever where mpirun was killed a moment ago.
 */
enum { CHUNK = 1 << 22, NAP = 10000, NAP_DATA = 40000, NAP_RANKS = 1000000, GRACE = 10, ABORT = 3 };

static int nccl;

static const struct opt opts[] = {
	{ 0, "nccl", OPT_FLAG, &nccl, NULL, "take the mean from GPU to GPU, by NCCL; each rank has one of its own" },
	{ 0 },
};

static const struct program program = {
	"vqa-allreduce", "", "take the mean of gradients over the ranks of an MPI job", opts, 0, 0,
};

/* A chunk on its way. The arrays (ranks) are MPI's until its request is done. */
struct exchange {
	float *at, *received;
	size_t n;
	int *part_at, *part_n;          /* of the chunk, each rank's part */
	int *send_n, *take_at, *take_n; /* the same without this rank's own; from each rank this one's part */
	const float **parts;
	MPI_Request request;
};

struct work {
	struct share share;
	struct member member;
	struct run_state run;
	struct shard shard;
	int out_fd; /* the stream's */
	int rank, ranks;
	struct rank_report *reports; /* (ranks) */
	float **tensors;             /* (params.n) on the host: stretches of gradients, or weights */
	uint8_t *merged;             /* (params.n) flags */
	struct stretch *stretches;   /* (params.n) */
	int next, count;             /* stretches that are done, that there are */
	size_t begun;                /* values of the next one that are on their way */
	struct exchange exchanges[2];
	int64_t batches;
};

static int joined; /* atomic: the job ends with this process */

/* The end of all ranks, from any thread. */
static void __attribute__((noreturn)) end_all(const char *words)
{
	static int ending;

	if (__atomic_exchange_n(&ending, 1, __ATOMIC_ACQ_REL))
		for (;;)
			pause();
	warn_words("%s", words);
	alarm(ABORT); /* this process goes whatever becomes of the others */
	if (__atomic_load_n(&joined, __ATOMIC_ACQUIRE))
		MPI_Abort(MPI_COMM_WORLD, 1);
	_exit(1);
}

static void
wait_for(MPI_Request *request, long longest)
{
	struct timespec nap = { .tv_nsec = NAP };
	int done;

	while (MPI_Test(request, &done, MPI_STATUS_IGNORE), !done) {
		nanosleep(&nap, NULL);
		nap.tv_nsec = nap.tv_nsec * 2 < longest ? nap.tv_nsec * 2 : longest;
	}
}

static int
attach(struct work *w, const struct rec_in *in, struct err *err)
{
	char socket[64], key[64];
	const struct op *op;

	if (header_read_text(in, "socket", socket, sizeof socket, err) ||
	    header_read_text(in, "key", key, sizeof key, err) || header_read_run(in, &w->run, err) ||
	    header_read_shard(in, &w->shard, err) || watch_reader(w->out_fd, end_all, err) ||
	    member_join(&w->member, &w->share, socket, key, "vqa-allreduce", 0, end_all, err))
		return -1;
	op = backend_open(share_device(&w->share), err);
	if (op && nccl && op_on_host(op))
		return err_set(err, "--nccl: vqa-forward computes on the processor, expected a GPU (-D cuda:N)");
	return op ? share_use(&w->share, op, err) : -1;
}

/* A place for n of `size` bytes. */
static void *
room(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p)
		end_all("out of memory for what the ranks exchange");
	return p;
}

/* All that is needed with more ranks than one. */
static void
make_buffers(struct work *w)
{
	size_t ranks = (size_t)w->ranks, params = (size_t)w->share.params.n;

	w->reports = room(ranks, sizeof *w->reports);
	w->tensors = room(params, sizeof *w->tensors);
	w->merged = room(params, 1);
	w->stretches = room(params, sizeof *w->stretches);
	for (int i = 0; i < 2; i++) {
		struct exchange *x = &w->exchanges[i];
		int *numbers = room(5 * ranks, sizeof *numbers);

		x->part_at = numbers;
		x->part_n = numbers + ranks;
		x->send_n = numbers + 2 * ranks;
		x->take_at = numbers + 3 * ranks;
		x->take_n = numbers + 4 * ranks;
		x->parts = room(ranks, sizeof *x->parts);
		x->received = room((CHUNK / ranks + 1) * ranks, sizeof *x->received);
		x->request = MPI_REQUEST_NULL;
	}
}

/* The ranks' devices find each other. */
static int
join_devices(const struct work *w, struct err *err)
{
	const struct op *op = w->share.op;
	struct meeting meeting = { 0 };
	MPI_Request request;

	if (!w->rank && op->ranks_meet(&meeting, err))
		return -1;
	MPI_Ibcast(&meeting, sizeof meeting, MPI_BYTE, 0, MPI_COMM_WORLD, &request);
	wait_for(&request, NAP_RANKS);
	return op->ranks_join(&meeting, w->rank, w->ranks, err);
}

/* MPI for threads at the same time: the first is in it when another ends the job (end_all()). */
static int
open_mpi(struct work *w, struct err *err)
{
	int level;

	MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &level);
	if (level < MPI_THREAD_MULTIPLE)
		return err_set(err, "MPI's thread level is %d, expected MPI_THREAD_MULTIPLE, %d", level,
		               MPI_THREAD_MULTIPLE);
	MPI_Comm_rank(MPI_COMM_WORLD, &w->rank);
	MPI_Comm_size(MPI_COMM_WORLD, &w->ranks);
	__atomic_store_n(&joined, 1, __ATOMIC_RELEASE);
	return 0;
}

/* All ranks' headers against the first's. */
static int
join_ranks(struct work *w, struct err *err)
{
	struct rank_facts ours, first;
	MPI_Request request;

	if (open_mpi(w, err) || rank_shard_check(&w->shard, w->rank, w->ranks, err))
		return -1;
	if (w->ranks == 1)
		return 0;
	make_buffers(w);
	rank_facts(&ours, &w->run, &w->shard, &w->share.plan, nccl);
	first = ours;
	MPI_Ibcast(&first, sizeof first, MPI_BYTE, 0, MPI_COMM_WORLD, &request);
	wait_for(&request, NAP_RANKS);
	if (rank_facts_check(&ours, &first, w->rank, err))
		return -1;
	return nccl ? join_devices(w, err) : 0;
}

/* Send each rank its part of the next chunk, and take this rank's from all. 0: there is none. */
static int
begin_chunk(struct work *w, struct exchange *x)
{
	size_t left;

	if (w->next == w->count)
		return 0;
	left = w->stretches[w->next].n - w->begun;
	x->at = w->tensors[w->next] + w->begun;
	x->n = left < CHUNK ? left : CHUNK;
	w->begun += x->n;
	if (x->n == left) {
		w->next++;
		w->begun = 0;
	}
	for (int i = 0; i < w->ranks; i++) {
		x->part_at[i] = (int)part_begin(x->n, i, w->ranks);
		x->part_n[i] = (int)part_begin(x->n, i + 1, w->ranks) - x->part_at[i];
	}
	for (int i = 0; i < w->ranks; i++) {
		x->send_n[i] = i == w->rank ? 0 : x->part_n[i];
		x->take_n[i] = i == w->rank ? 0 : x->part_n[w->rank];
		x->take_at[i] = i * x->part_n[w->rank];
		x->parts[i] = x->received + x->take_at[i];
	}
	x->parts[w->rank] = x->at + x->part_at[w->rank];
	MPI_Ialltoallv(x->at, x->send_n, x->part_at, MPI_FLOAT, x->received, x->take_n, x->take_at, MPI_FLOAT,
	               MPI_COMM_WORLD, &x->request);
	return 1;
}

/* The mean of this rank's part, to all. */
static void
spread_chunk(const struct work *w, struct exchange *x)
{
	mean_of_parts(x->at + x->part_at[w->rank], x->parts, w->ranks, (size_t)x->part_n[w->rank]);
	MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_FLOAT, x->at, x->part_n, x->part_at, MPI_FLOAT, MPI_COMM_WORLD,
	                &x->request);
}

/* The mean of all stretches by MPI, in host memory. */
static void
exchange_stretches(struct work *w)
{
	struct exchange *now = &w->exchanges[0], *next = &w->exchanges[1];
	int more;

	for (int i = 0; i < w->count; i++)
		w->tensors[i] = share_get(&w->share, w->stretches[i].at, w->stretches[i].n);
	w->next = 0;
	for (more = begin_chunk(w, now); more;) {
		struct exchange *done = now;

		wait_for(&now->request, NAP_DATA);
		wait_for(&next->request, NAP_DATA);
		more = begin_chunk(w, next);
		spread_chunk(w, done);
		now = next;
		next = done;
	}
	wait_for(&next->request, NAP_DATA);
	for (int i = 0; i < w->count; i++)
		share_put(&w->share, w->stretches[i].at, w->stretches[i].n);
}

/* Gradients and flags in the shared memory become those of the whole batch. */
static int
merge_gradients(struct work *w, struct err *err)
{
	const struct op *op = w->share.op;
	MPI_Request request;

	memcpy(w->merged, w->share.flags, (size_t)w->share.params.n);
	MPI_Iallreduce(MPI_IN_PLACE, w->merged, w->share.params.n, MPI_UNSIGNED_CHAR, MPI_MAX, MPI_COMM_WORLD,
	               &request);
	wait_for(&request, NAP_DATA);
	w->count = gradients_to_sum(w->stretches, &w->share, w->merged);
	if (nccl)
		for (int i = 0; i < w->count; i++)
			op->ranks_mean(w->stretches[i].at, w->stretches[i].n);
	else
		exchange_stretches(w);
	return op->sync(err);
}

/* What each rank has next, to all; their mean. */
static int
merge_reports(struct work *w, struct rank_report *report, struct err *err)
{
	const struct rank_report ours = *report;
	MPI_Request request;
	int culprit = -1;

	MPI_Iallgather(&ours, sizeof ours, MPI_BYTE, w->reports, sizeof ours, MPI_BYTE, MPI_COMM_WORLD, &request);
	wait_for(&request, NAP_RANKS);
	if (!rank_reports_merge(report, w->reports, w->ranks, &culprit, err))
		return 0;
	/* All know; one tells, and ends the others. */
	if (culprit != w->rank)
		sleep(GRACE);
	return -1;
}

static uint64_t
hash_weights(const struct work *w)
{
	share_fetch(&w->share, w->share.weights, w->tensors);
	return weights_hash(FNV_BEGIN, &w->share.params, (const float *const *)w->tensors);
}

static int
merge_batch(struct rec_out *out, const struct rec_in *in, struct work *w, struct err *err)
{
	struct batch_record batch;
	struct rank_report report = { 0 };

	if (batch_record_read(&batch, in, err) || rec_real(in, "bce", &report.bce, err) ||
	    rec_real(in, "span", &report.span, err) || rec_real(in, "total", &report.total, err) ||
	    rec_real(in, "right", &report.right, err))
		return -1;
	if (w->ranks == 1)
		return rec_pass(out, in, err);
	report.step = batch.step;
	report.questions = batch.questions;
	w->batches++;
	/* Before the batches 1, 2, 4, 8, …: reading all weights takes a while. */
	if (!(w->batches & (w->batches - 1)))
		report.weights = hash_weights(w);
	if (merge_reports(w, &report, err) || merge_gradients(w, err))
		return -1;
	rec_begin(out, "batch");
	rec_put_real(out, "bce", report.bce);
	rec_put_real(out, "span", report.span);
	rec_put_real(out, "total", report.total);
	rec_put_real(out, "right", report.right);
	rec_keep(out, in);
	return rec_send(out, err);
}

static int
send_header(struct rec_out *out, const struct rec_in *in, const struct work *w, struct err *err)
{
	rec_begin(out, "header");
	rec_put_int(out, "rank", w->rank);
	rec_put_int(out, "ranks", w->ranks);
	rec_keep(out, in);
	return rec_send(out, err);
}

/* The end record was read, so that the last step is committed. */
static int
finish(struct rec_out *out, struct rec_in *in, struct work *w, struct err *err)
{
	struct rank_report report = { 0 };
	int64_t questions;

	if (rec_int(in, "questions", 0, INT64_MAX, &questions, err) || rec_last(in, err))
		return -1;
	if (w->ranks > 1) {
		report.weights = hash_weights(w);
		if (merge_reports(w, &report, err))
			return -1;
	}
	watch_stop();
	if (rec_end(out, in, questions, err))
		return -1;
	__atomic_store_n(&joined, 0, __ATOMIC_RELEASE);
	MPI_Finalize();
	return member_goodbye(&w->member, err);
}

/* The stream's own descriptor: NCCL tells of itself on standard output (NCCL_DEBUG), which is standard error then. */
static int
stream_fd(struct err *err)
{
	int fd = nccl ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1) : STDOUT_FILENO;

	if (nccl && (fd < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0))
		return err_sys(err, "stdout");
	return fd;
}

int
main(int argc, char **argv)
{
	struct rec_in in;
	struct rec_out out;
	struct work work = { 0 };
	struct err err;
	int got;

	opt_parse(&program, argc, argv);
	refuse_terminal(STDOUT_FILENO);
	note_terminal(STDIN_FILENO);
	signal(SIGPIPE, SIG_IGN);
	work.out_fd = stream_fd(&err);
	if (work.out_fd < 0 || rec_open(&in, STDIN_FILENO, "stdin", &err) ||
	    rec_create(&out, work.out_fd, "stdout", &err) || rec_next(&in, &err) < 0)
		die(&err);
	if (attach(&work, &in, &err) || join_ranks(&work, &err) || send_header(&out, &in, &work, &err))
		end_all(err.text);
	while ((got = rec_next(&in, &err)) > 0 && !rec_is(&in, "end"))
		if (rec_is(&in, "batch") ? merge_batch(&out, &in, &work, &err) : rec_pass(&out, &in, &err))
			end_all(err.text);
	if (got < 0 || finish(&out, &in, &work, &err))
		end_all(err.text);
	return 0;
}
