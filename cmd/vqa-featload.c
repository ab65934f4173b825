/*
 * vqa-featload: the images that a stream's questions ask about, before the questions.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "feat/source.h"
#include "stream/schema.h"
#include "sys/die.h"
#include "sys/opt.h"

static int skip_bad;

static const struct opt opts[] = {
	{ 0, "skip-bad", OPT_FLAG, &skip_bad, NULL,
	  "leave out bad rows and the questions about what is not there, and count them" },
	{ 0 },
};

static const struct program program = {
	"vqa-featload", "STORE|TSV...", "add images to a stream of questions", opts, 1, -1,
};

struct work {
	struct source *sources;
	int sources_n;
	struct features features; /* of the last image */
	int any;
	struct skips rows, questions; /* what was left out */
};

static int
send_header(struct rec_out *out, const struct rec_in *in, const struct work *w, struct err *err)
{
	const struct source *first = &w->sources[0];
	int objects = source_objects(first);

	for (int i = 1; i < w->sources_n; i++) {
		if (source_objects(&w->sources[i]) > objects)
			objects = source_objects(&w->sources[i]);
		if (source_features(&w->sources[i]) != source_features(first) ||
		    strcmp(source_text(&w->sources[i]), source_text(first)) != 0)
			return err_set(err, "'%s' has %d features a region of '%s', but '%s' has %d of '%s'",
			               w->sources[i].name, source_features(&w->sources[i]), source_text(&w->sources[i]),
			               first->name, source_features(first), source_text(first));
	}
	rec_begin(out, "header");
	rec_put_int(out, "vqa", 1);
	rec_put_text(out, "by", "vqa-featload " VQA_VERSION, strlen("vqa-featload " VQA_VERSION));
	rec_put_int(out, "features", source_features(first));
	rec_put_int(out, "objects", objects);
	rec_put_text(out, "feature_source", source_text(first), strlen(source_text(first)));
	rec_keep(out, in);
	return rec_send(out, err);
}

static int
send_image(struct rec_out *out, const struct features *f, struct err *err)
{
	rec_begin(out, "image");
	rec_put_text(out, "id", f->id, strlen(f->id));
	rec_put_int(out, "n", f->n);
	rec_put_int(out, "width", f->width);
	rec_put_int(out, "height", f->height);
	rec_put_bin(out, "boxes", f->boxes, (size_t)f->n * 4 * sizeof *f->boxes);
	if (f->f16) {
		msgpack_packer *pack = rec_put(out, "dtype");

		msgpack_pack_map(pack, 1);
		msgpack_pack_str_with_body(pack, "features", 8);
		msgpack_pack_str_with_body(pack, "f16", 3);
	}
	rec_put_bin(out, "features", f->features, features_bytes(f));
	return rec_send(out, err);
}

/* The question's image: 1 if a source has it, or -1. */
static int
get_image(struct work *w, const struct rec_in *in, const struct question *q, struct err *err)
{
	int got = 0;

	for (int i = 0; i < w->sources_n && !got; i++)
		got = source_get(&w->sources[i], q->image, q->image_n, &w->features, err);
	return got ? got
	           : rec_fault(in, err, "question %lld asks about image '%.*s', which '%s' lacks%s", (long long)q->id,
	                       (int)q->image_n, q->image, w->sources[0].name,
	                       w->sources_n > 1 ? " as do the others" : "");
}

static int
load_record(struct rec_out *out, const struct rec_in *in, struct work *w, struct err *err)
{
	struct question q;

	if (rec_is(in, "image"))
		w->any = 0; /* questions ask about the last one before them */
	if (!rec_is(in, "question"))
		return rec_is(in, "end") ? 0 : rec_pass(out, in, err);
	if (question_read(in, &q, err))
		return -1;
	if (w->any && strlen(w->features.id) == q.image_n && !memcmp(w->features.id, q.image, q.image_n))
		return rec_pass(out, in, err);
	w->any = get_image(w, in, &q, err) > 0;
	if (!w->any && skip_bad) {
		skips_add(&w->questions, err);
		return 0;
	}
	return !w->any || send_image(out, &w->features, err) || rec_pass(out, in, err) ? -1 : 0;
}

int
main(int argc, char **argv)
{
	int operand = opt_parse(&program, argc, argv), got;
	struct work work = { .sources_n = argc - operand };
	struct rec_in in;
	struct rec_out out;
	struct err err;
	int64_t questions = 0;

	refuse_terminal(STDOUT_FILENO);
	note_terminal(STDIN_FILENO);
	work.sources = calloc((size_t)work.sources_n, sizeof *work.sources);
	if (!work.sources)
		die_words("out of memory for %d sources", work.sources_n);
	for (int i = 0; i < work.sources_n; i++)
		if (source_open(&work.sources[i], argv[operand + i], skip_bad ? &work.rows : NULL, &err))
			die(&err);
	fcntl(STDOUT_FILENO, F_SETPIPE_SZ, 1 << 20); /* as large as one may ask for; a smaller pipe works too */
	if (rec_open(&in, STDIN_FILENO, "stdin", &err) || rec_create(&out, STDOUT_FILENO, "stdout", &err) ||
	    rec_next(&in, &err) < 0 || send_header(&out, &in, &work, &err))
		die(&err);
	while ((got = rec_next(&in, &err)) > 0) {
		if (load_record(&out, &in, &work, &err) ||
		    (rec_is(&in, "end") && rec_int(&in, "questions", 0, INT64_MAX, &questions, &err)))
			die(&err);
	}
	if (got < 0)
		die(&err);
	skips_tell(&work.rows, "row");
	skips_tell(&work.questions, "question");
	if (rec_end(&out, &in, questions - work.questions.count, &err))
		die(&err);
	return 0;
}
