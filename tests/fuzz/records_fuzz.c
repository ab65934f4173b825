/*
 * Streams: any bytes through a reader. What is accepted reads as a question, an image, a batch and an answer, with attention
 * that is measured and drawn, without leaving the record; it goes through a writer and, where JSON can say all of it, through JSON without changing a byte.
 */
#include <math.h>

#include "fuzz.h"
#include "report/attention.h"
#include "report/look.h"
#include "stream/json.h"
#include "stream/schema.h"
#include "sys/utf8.h"
#include "text/submit.h"
#include "train/batch_record.h"

static void
read_question(const struct rec_in *in)
{
	struct question q;
	struct err err = { "" };

	if (question_read(in, &q, &err)) {
		must_say(err.text);
		return;
	}
	must(q.T >= 1 && q.T <= TOKENS_MAX);
	must(memchr(q.image, '\0', q.image_n) == NULL);
}

static void
read_image(const struct rec_in *in)
{
	struct image_rec image;
	struct err err = { "" };
	float *features;
	size_t n;

	if (image_rec_read(in, &image, &err)) {
		must_say(err.text);
		return;
	}
	n = (size_t)image.n * (size_t)image.width;
	features = malloc(n * sizeof *features);
	must(n > 0 && features != NULL);
	image_rec_features(&image, features);
	for (size_t i = 0; i < n; i++)
		must(isfinite(features[i]));
	free(features);
}

static void
read_batch(const struct rec_in *in)
{
	struct batch_record batch;
	struct run_state run;
	int64_t rank, ranks;
	struct err err = { "" };
	char text[64];
	float *logits;

	if (!batch_record_read(&batch, in, &err)) {
		must(batch.questions >= 1);
		logits = malloc((size_t)batch.questions * 3 * sizeof *logits);
		must(logits != NULL);
		batch_record_matrix(in, &batch, "logits", 3, logits, &err);
		free(logits);
	}
	header_read_text(in, "socket", text, sizeof text, &err);
	header_read_run(in, &run, &err);
	header_read_rank(in, &rank, &ranks, &err);
}

/* In a script for gnuplot every line has as many quotes as it needs, whatever text is in it. */
static void
must_be_quoted(const char *script)
{
	for (int quotes = 0; *script; script++) {
		quotes += *script == '\'';
		must(*script != '\n' || quotes % 2 == 0);
	}
}

static void
draw_attention(const struct rec_in *in, const struct attention_map *map)
{
	struct plot plot;
	struct err err = { "" };

	must(plot_open(&plot, "x.svg", 100, 100, &err) == 0);
	if (look_draw(&plot, in, map, (struct look){ -1, -1 }, &err))
		must_say(err.text);
	must(fclose(plot.script) == 0);
	must_be_quoted(plot.text);
	free(plot.text);
}

static void
read_attention(const struct rec_in *in)
{
	struct attention_map map;
	double figures[FIGURES];
	struct err err = { "" };
	int n = attention_count(in, &err);

	for (int i = 0; i < n; i++) {
		if (attention_read(in, i, &map, &err))
			break;
		for (int h = 0; h < map.H; h++) {
			attention_figures_of(figures, &map, h);
			must(figures[ENTROPY] > -1 && figures[ENTROPY] < 8 && figures[SUPPORT] <= map.K);
		}
		draw_attention(in, &map);
	}
	if (*err.text)
		must_say(err.text);
}

/* Not what JSON cannot say, nor what it cannot bring back as it was: the bits of a lone not-a-number. */
static int
json_keeps(const msgpack_object *o)
{
	switch (o->type) {
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		return !isnan(o->via.f64);
	case MSGPACK_OBJECT_STR:
		return utf8_valid(o->via.str.ptr, o->via.str.size, NULL);
	case MSGPACK_OBJECT_EXT:
		return 0;
	case MSGPACK_OBJECT_ARRAY:
		for (uint32_t i = 0; i < o->via.array.size; i++)
			if (!json_keeps(&o->via.array.ptr[i]))
				return 0;
		return 1;
	case MSGPACK_OBJECT_MAP:
		for (uint32_t i = 0; i < o->via.map.size; i++) {
			const msgpack_object *key = &o->via.map.ptr[i].key;

			if (key->type != MSGPACK_OBJECT_STR || !utf8_text(key->via.str.ptr, key->via.str.size) ||
			    !json_keeps(&o->via.map.ptr[i].val))
				return 0;
		}
		return 1;
	default:
		return 1;
	}
}

/* The record to a file as the writer writes it; from_json: by way of its line of JSON. 0 if JSON refuses it. */
static int
written(int *fd, const struct rec_in *in, int from_json)
{
	struct rec_out out;
	struct err err = { "" };
	char *line = NULL;
	size_t n = 0;
	FILE *text = open_memstream(&line, &n);
	int bad = 0, end;

	*fd = memory_file("", 0);
	must(text != NULL && rec_create(&out, *fd, "out", &err) == 0);
	if (from_json) {
		bad = json_from_record(text, in, &err);
		must(fflush(text) == 0 && (bad || (n && line[n - 1] == '\n' && !memchr(line, '\n', n - 1))));
		bad = bad || json_to_record(&out, line, n, "line", &end, &err);
		if (bad)
			must_say(err.text);
	} else {
		must(rec_pass(&out, in, &err) == 0);
	}
	rec_discard(&out);
	fclose(text);
	free(line);
	return !bad;
}

static void
must_be_same(int a, int b)
{
	char x[4096], y[4096];
	off_t at = 0;
	ssize_t n;

	while ((n = pread(a, x, sizeof x, at)) > 0) {
		must(pread(b, y, sizeof y, at) == n && !memcmp(x, y, (size_t)n));
		at += n;
	}
	must(n == 0 && pread(b, y, 1, at) == 0);
}

static void
write_again(const struct rec_in *in)
{
	int passed, through, said;

	must(written(&passed, in, 0));
	said = written(&through, in, 1);
	if (json_keeps(&in->rec)) {
		must(said);
		must_be_same(passed, through);
	}
	close(passed);
	close(through);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rec_in in;
	struct submit submit;
	struct err err = { "" };
	int fd = memory_file(data, size), got;

	must(rec_open(&in, fd, "x", &err) == 0 && submit_init(&submit, NULL, &err) == 0);
	while ((got = rec_next(&in, &err)) > 0) {
		read_question(&in);
		read_image(&in);
		read_batch(&in);
		read_attention(&in);
		write_again(&in);
		if (submit_record(&submit, &in, &err))
			must_say(err.text);
	}
	if (got < 0)
		must_say(err.text);
	submit_release(&submit);
	rec_close(&in);
	close(fd);
	return 0;
}
