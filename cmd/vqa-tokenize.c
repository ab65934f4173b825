/*
 * vqa-tokenize: question lists to a stream of question records; and, out of annotations, the list of answers.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "stream/schema.h"
#include "sys/die.h"
#include "sys/hash.h"
#include "sys/opt.h"
#include "sys/utf8.h"
#include "text/label.h"
#include "text/tokenize.h"
#include "text/wordpiece.h"

static const char *answers_name, *vocab_path, *question, *image, *shard;
static struct texts annotated;
static struct order_choice choice = { .limit_images = -1, .shards = 1 };
static int64_t shuffle = -1, shuffle_images = -1, max_tokens = TOKENS_REFERENCE, least;

static const struct opt opts[] = {
	{ 'A', "answers", OPT_TEXT, &answers_name, "NAME",
	  "label with these answers alone: a JSON list's, or a checkpoint's" },
	{ 'V', "vocab", OPT_TEXT, &vocab_path, "FILE", "vocabulary, a piece a line (the one shipped)" },
	{ 'a', "annotations", OPT_LIST, &annotated, "FILE", "labels out of VQA's annotations; once or more" },
	{ 'i', "image", OPT_TEXT, &image, "IMAGE", "the image that -q asks about" },
	{ 'q', "question", OPT_TEXT, &question, "QUESTION", "ask this one question, instead of a list's" },
	{ 0, "limit-images", OPT_INT(1, 1e15), &choice.limit_images, "N", "only questions about the first N images" },
	{ 0, "make-answers", OPT_INT(1, 1e15), &least, "N",
	  "the answers that annotations have N times, as JSON, no stream" },
	{ 0, "max-tokens", OPT_INT(2, TOKENS_MAX), &max_tokens, "N", "tokens that a question is cut to (20)" },
	{ 0, "shard", OPT_TEXT, &shard, "I/N", "only the questions whose place k has k mod N = I" },
	{ 0, "shuffle", OPT_INT(0, 1e15), &shuffle, "SEED", "questions in random order" },
	{ 0, "shuffle-images", OPT_INT(0, 1e15), &shuffle_images, "SEED",
	  "images in random order, questions of one together" },
	{ 0, "skip", OPT_INT(0, 1e15), &choice.skip, "N", "leave out the first N of what is left" },
	{ 0 },
};
static const struct program program = {
	"vqa-tokenize", "[FILE...]", "questions to a stream of token ids", opts, 0, -1
};

static void
check_options(int files)
{
	int chosen =
		files > 0 || shuffle >= 0 || shuffle_images >= 0 || shard || choice.skip || choice.limit_images >= 0;

	if (!question != !image)
		die_usage("-%c: expected with -%c", question ? 'q' : 'i', question ? 'i' : 'q');
	if (question && (chosen || answers_name || annotated.n || least))
		die_usage("-q: no list and no choice of a list's questions, expected -i and -V only");
	if (least && (chosen || answers_name || !annotated.n))
		die_usage("--make-answers: no questions, expected -a only");
	if (answers_name && !annotated.n)
		die_usage("-A: expected with -a");
	if (shuffle >= 0 && shuffle_images >= 0)
		die_usage("--shuffle and --shuffle-images: expected one of them");
	if (shard && order_shard(&choice, shard))
		die_usage("--shard: '%s', expected I/N with 0 <= I < N", shard);
	if (shuffle >= 0) {
		choice.kind = ORDER_SHUFFLE;
		choice.seed = (uint64_t)shuffle;
	} else if (shuffle_images >= 0) {
		choice.kind = ORDER_SHUFFLE_IMAGES;
		choice.seed = (uint64_t)shuffle_images;
	}
}

static void
make_answers(struct err *err)
{
	struct annotations annotations;

	note_paths(annotated.text, annotated.n);
	if (annotations_open(&annotations, annotated.text, annotated.n, NULL, err) ||
	    answer_list_make(stdout, &annotations, least, err))
		die(err);
	annotations_close(&annotations);
	close_stdout();
}

/* -q: a list of one, without the list. */
static void
tokenize_one(struct rec_out *out, const struct vocab *vocab, struct err *err)
{
	char source[17];
	struct stream_head head = {
		.questions = 1, .total = 1, .shards = 1, .source = source, .max_tokens = (int)max_tokens
	};
	struct entry entry = { .image = image, .sent = question, .sent_n = strlen(question) };

	if (!*image || strlen(image) > IMAGE_ID_MAX)
		die_usage("-i: name of %zu bytes, expected 1 to %d", strlen(image), IMAGE_ID_MAX);
	if (!utf8_valid(image, strlen(image), NULL))
		die_usage("-i: not UTF-8, expected an image's name");
	order_source(source, fnv1a(fnv1a(FNV_BEGIN, question, strlen(question) + 1), image, strlen(image)), &choice);
	if (tokenize_header(out, vocab, &head, err) || tokenize_question(out, vocab, &entry, (int)max_tokens, err) ||
	    rec_end(out, NULL, 1, err))
		die(err);
}

/* With -a: what labels are made of. */
struct labels {
	struct annotations annotations;
	struct config answers; /* without names: all answers are taken */
};

static void
labels_open(struct labels *labels, const struct questions *questions, struct err *err)
{
	labels->answers = (struct config){ 0 };
	if ((answers_name && answer_list_open(&labels->answers, answers_name, err)) ||
	    annotations_open(&labels->annotations, annotated.text, annotated.n, &questions->ids, err))
		die(err);
}

static uint64_t
labels_hash(const struct labels *labels, uint64_t hash)
{
	hash = fnv1a(hash, &labels->annotations.hash, sizeof labels->annotations.hash);
	for (int i = 0; i < labels->answers.answers_n; i++)
		hash = fnv1a(hash, labels->answers.answers[i], strlen(labels->answers.answers[i]) + 1);
	return hash;
}

static int
labels_put(struct labels *labels, uint32_t k, struct entry *entry, struct err *err)
{
	struct annotation annotation;
	int bad = annotations_at(&labels->annotations, k, &annotation, err) ||
	          label_entry(entry, &annotation, answers_name ? &labels->answers : NULL, err);

	annotation_release(&annotation);
	return bad;
}

static void
labels_close(struct labels *labels)
{
	annotations_close(&labels->annotations);
	config_release(&labels->answers);
}

static void
tokenize_lists(struct rec_out *out, const struct vocab *vocab, char **paths, int files, struct err *err)
{
	char source[17];
	struct questions questions;
	struct labels labels;
	struct order order;
	struct stream_head head = { .skip = choice.skip,
		                    .shard = choice.shard,
		                    .shards = choice.shards,
		                    .source = source,
		                    .max_tokens = (int)max_tokens };

	note_paths(paths, files);
	note_paths(annotated.text, annotated.n);
	if (questions_open(&questions, paths, files, order_needs(&choice), err) ||
	    order_make(&order, &questions, &choice, err))
		die(err);
	if (annotated.n)
		labels_open(&labels, &questions, err);
	order_source(source, annotated.n ? labels_hash(&labels, questions.hash) : questions.hash, &choice);
	head.questions = order.count;
	head.total = order.total;
	if (tokenize_header(out, vocab, &head, err))
		die(err);
	for (int64_t k = choice.skip; k < order.count; k++) {
		struct entry entry;

		if (questions_at(&questions, order.questions[k], &entry, err) ||
		    (annotated.n && labels_put(&labels, order.questions[k], &entry, err)) ||
		    tokenize_question(out, vocab, &entry, (int)max_tokens, err))
			die(err);
		entry_release(&entry);
	}
	if (rec_end(out, NULL, order.count - choice.skip, err))
		die(err);
	if (annotated.n)
		labels_close(&labels);
	order_free(&order);
	questions_close(&questions);
}

int
main(int argc, char **argv)
{
	static char stdin_name[] = "-";
	char *from_stdin[] = { stdin_name };
	struct err err;
	struct vocab vocab;
	struct rec_out out;
	int first = opt_parse(&program, argc, argv), files = argc - first;

	check_options(files);
	if (least) {
		make_answers(&err);
		return 0;
	}
	refuse_terminal(STDOUT_FILENO);
	if (vocab_open(&vocab, vocab_path, &err) || rec_create(&out, STDOUT_FILENO, "stdout", &err))
		die(&err);
	if (question)
		tokenize_one(&out, &vocab, &err);
	else
		tokenize_lists(&out, &vocab, files > 0 ? argv + first : from_stdin, files > 0 ? files : 1, &err);
	vocab_close(&vocab);
	return 0;
}
