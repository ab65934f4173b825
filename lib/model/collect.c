/*
 * Collecting batches ahead of who wants them.
 */
#include "model/collect.h"

#include <stdlib.h>
#include <string.h>

#include "stream/schema.h"
#include "sys/utf8.h"

enum { READING, ENDED, FAILED };

static int
check_text(const struct rec_in *in, const char *key, const char *ours, const char *checkpoint, struct err *err)
{
	const char *theirs;
	size_t n;

	if (!rec_get(in, key) || !*ours)
		return 0;
	if (rec_text(in, key, &theirs, &n, err))
		return -1;
	if (n && (n != strlen(ours) || memcmp(theirs, ours, n) != 0))
		return rec_fault(in, err, "'%s' is '%.*s', but %s has '%s'", key, (int)n, theirs, checkpoint, ours);
	return 0;
}

static int
check_number(const struct rec_in *in, const char *key, int low, int high, const char *checkpoint, struct err *err)
{
	int64_t theirs;

	if (!rec_get(in, key))
		return 0;
	if (rec_int(in, key, 0, INT64_MAX, &theirs, err))
		return -1;
	if (theirs < low || theirs > high)
		return rec_fault(in, err, "'%s' is %lld, but %s takes %s%d", key, (long long)theirs, checkpoint,
		                 low == high ? "" : "at most ", high);
	return 0;
}

int
collect_check_header(const struct rec_in *in, const struct config *config, const char *checkpoint, struct err *err)
{
	return check_text(in, "vocab", config->vocab_hash, checkpoint, err) ||
	                       check_text(in, "feature_source", config->source, checkpoint, err) ||
	                       check_number(in, "max_tokens", 0, config->max_tokens, checkpoint, err) ||
	                       check_number(in, "features", config->features, config->features, checkpoint, err) ||
	                       check_number(in, "objects", 0, config->objects, checkpoint, err)
	               ? -1
	               : 0;
}

/* The current record, an image, becomes the one that questions ask about. */
static int
take_image(struct collector *c, struct err *err)
{
	struct image_rec image;
	size_t R;
	char *id;

	if (image_rec_read(c->in, &image, err))
		return -1;
	if (image.width != c->config->features)
		return rec_fault(c->in, err, "image '%.*s' has %lld features a region, but the checkpoint takes %d",
		                 (int)image.id_n, image.id, (long long)image.width, c->config->features);
	if (image.n > c->config->objects)
		return rec_fault(c->in, err, "image '%.*s' has %d regions, but the checkpoint takes at most %d",
		                 (int)image.id_n, image.id, image.n, c->config->objects);
	id = realloc(c->image, image.id_n + 1);
	if (!id)
		return err_set(err, "out of memory for an image's name");
	memcpy(id, image.id, image.id_n);
	c->image = id;
	c->image_n = image.id_n;
	c->regions = image.n;
	c->place = -1;
	c->known = 0;
	R = (size_t)image.n;
	image_rec_features(&image, c->features);
	memcpy(c->boxes, image.boxes, R * 4 * sizeof *c->boxes);
	return 0;
}

static int
add_targets(struct collector *c, struct collected *to, const struct question *q, struct err *err)
{
	const msgpack_object_map *map = &q->label->via.map;

	if (to->targets_room - to->targets_n < map->size) {
		size_t room = 2 * to->targets_room + map->size;
		struct target *more = realloc(to->targets, room * sizeof *more);

		if (!more)
			return err_set(err, "out of memory for a batch's labels");
		to->targets = more;
		to->targets_room = room;
	}
	for (uint32_t i = 0; i < map->size; i++) {
		const msgpack_object_str *answer = &map->ptr[i].key.via.str;
		const msgpack_object *score = &map->ptr[i].val;
		int index = config_answer(c->config, answer->ptr, answer->size);

		if (index < 0)
			return rec_fault(c->in, err,
			                 "question %lld: answer '%.*s' is not among the checkpoint's %d answers",
			                 (long long)q->id, (int)(answer->size < 100 ? answer->size : 100), answer->ptr,
			                 c->config->answers_n);
		to->targets[to->targets_n++] =
			(struct target){ to->batch.n, index,
			                 (float)(score->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? (double)score->via.u64
			                                                                        : score->via.f64) };
	}
	return 0;
}

/* Append to the batch's text; *at and *n tell where it is. */
static int
keep_words(struct collected *to, const char *words, size_t words_n, size_t *at, size_t *n, struct err *err)
{
	*at = to->text_n;
	*n = 0;
	if (!words_n || words_n > WORDS_MAX)
		return 0;
	if (to->text_room - to->text_n < words_n) {
		size_t room = 2 * to->text_room + WORDS_MAX;
		char *more = realloc(to->text, room);

		if (!more)
			return err_set(err, "out of memory for a batch's questions");
		to->text = more;
		to->text_room = room;
	}
	memcpy(to->text + to->text_n, words, words_n);
	to->text_n += words_n;
	*n = words_n;
	return 0;
}

/* For who shows answers, not for training: the model does not read them, so "sent" may be missing or anything. */
static int
keep_asked(const struct collector *c, struct collected *to, const struct question *q, struct err *err)
{
	struct asked *asked = &to->asked[to->batch.n];
	const msgpack_object *sent = rec_get(c->in, "sent");
	size_t n = sent && sent->type == MSGPACK_OBJECT_STR ? sent->via.str.size : 0;

	if (n && !utf8_text(sent->via.str.ptr, n))
		n = 0;
	return keep_words(to, q->image, q->image_n, &asked->image, &asked->image_n, err) ||
	       keep_words(to, n ? sent->via.str.ptr : "", n, &asked->sent, &asked->sent_n, err);
}

static int
check_question(const struct collector *c, const struct question *q, struct err *err)
{
	if (q->T > c->config->max_tokens)
		return rec_fault(c->in, err, "question %lld has %d tokens, but the checkpoint takes at most %d",
		                 (long long)q->id, q->T, c->config->max_tokens);
	if (!c->image || q->image_n != c->image_n || memcmp(q->image, c->image, c->image_n) != 0)
		return rec_fault(c->in, err, "question %lld asks about image '%.*s', but %s%.*s%s", (long long)q->id,
		                 (int)q->image_n, q->image,
		                 c->image ? "the last image is '" : "no image came before it",
		                 c->image ? (int)c->image_n : 0, c->image ? c->image : "", c->image ? "'" : "");
	if (c->labels && !q->label)
		return rec_fault(c->in, err, "question %lld has no label, and training needs one", (long long)q->id);
	return 0;
}

/* The current image into the batch, if it is not there yet. */
static void
place_image(struct collector *c, struct batch *b)
{
	size_t at = (size_t)b->regions[b->images], R = (size_t)c->regions, F = (size_t)c->config->features;

	if (c->place >= 0)
		return;
	memcpy(b->features + at * F, c->features, R * F * sizeof *b->features);
	memcpy(b->boxes + at * 4, c->boxes, R * 4 * sizeof *b->boxes);
	if (!b->images)
		b->carried = c->known;
	c->place = b->images++;
	b->regions[b->images] = (int)(at + R);
}

static int
take_question(struct collector *c, struct collected *to, struct err *err)
{
	const struct config *cfg = c->config;
	struct batch *b = &to->batch;
	struct question q;
	int at_token;

	if (question_read(c->in, &q, err) || check_question(c, &q, err))
		return -1;
	at_token = b->language[b->n];
	memcpy(b->tokens + at_token, q.tokens, (size_t)q.T * sizeof *b->tokens);
	for (int i = 0; i < q.T; i++)
		if (b->tokens[at_token + i] < 0 || b->tokens[at_token + i] >= cfg->vocabulary)
			return rec_fault(c->in, err,
			                 "question %lld: token %d is %d, expected 0 to %d, the vocabulary's",
			                 (long long)q.id, i, b->tokens[at_token + i], cfg->vocabulary - 1);
	place_image(c, b);
	if (c->labels ? add_targets(c, to, &q, err) : keep_asked(c, to, &q, err))
		return -1;
	to->ids[b->n] = q.id;
	b->image[b->n] = c->place;
	b->n++;
	b->language[b->n] = at_token + q.T;
	return 0;
}

/* A record of an unknown type passes untouched. */
static int
pass_on(struct collector *c, struct err *err)
{
	int bad;

	pthread_mutex_lock(&c->out_lock);
	bad = rec_pass(c->out, c->in, err);
	pthread_mutex_unlock(&c->out_lock);
	return bad;
}

/* Fill a slot: 1 if it has questions, 0 at the end of the stream without any, -1. *ended: the end record was seen. */
static int
fill(struct collector *c, struct collected *to, int *ended, struct err *err)
{
	to->batch.n = to->batch.images = 0;
	c->known = c->place >= 0;
	c->place = -1;
	to->targets_n = 0;
	to->text_n = 0;
	while (to->batch.n < to->batch.max) {
		int got = rec_next(c->in, err);

		if (got < 0)
			return -1;
		if (!got) {
			*ended = 1;
			break;
		}
		if (rec_is(c->in, "image")) {
			if (take_image(c, err))
				return -1;
		} else if (rec_is(c->in, "question")) {
			if (c->questions++ < c->skip)
				continue;
			if (take_question(c, to, err))
				return -1;
		} else if (!rec_is(c->in, "end") && pass_on(c, err)) {
			return -1;
		}
	}
	return to->batch.n > 0;
}

static void *
reader(void *user)
{
	struct collector *c = user;
	int ended = 0;

	while (!ended) {
		struct err err;
		int got;

		pthread_mutex_lock(&c->lock);
		while (c->filled - c->done == c->slots_n)
			pthread_cond_wait(&c->changed, &c->lock);
		pthread_mutex_unlock(&c->lock);
		got = fill(c, &c->slots[c->filled % c->slots_n], &ended, &err);
		pthread_mutex_lock(&c->lock);
		if (got > 0)
			c->filled++;
		if (got < 0) {
			c->state = FAILED;
			c->err = err;
			ended = 1;
		} else if (ended) {
			c->state = ENDED;
		}
		pthread_cond_broadcast(&c->changed);
		pthread_mutex_unlock(&c->lock);
	}
	return NULL;
}

int
collector_open(struct collector *c, struct rec_in *in, struct rec_out *out, const struct config *config, int batch,
               int slots, int labels, int64_t skip, struct err *err)
{
	size_t R = (size_t)config->objects;

	*c = (struct collector){
		.in = in, .out = out, .config = config, .slots_n = slots, .labels = labels, .skip = skip, .place = -1
	};
	c->features = calloc(R * (size_t)config->features, sizeof *c->features);
	c->boxes = calloc(R * 4, sizeof *c->boxes);
	for (int i = 0; i < slots; i++) {
		c->slots[i].ids = calloc((size_t)batch, sizeof *c->slots[i].ids);
		c->slots[i].asked = calloc((size_t)batch, sizeof *c->slots[i].asked);
		if (!c->slots[i].ids || !c->slots[i].asked || batch_alloc(&c->slots[i].batch, config, batch, err))
			return err_set(err, "out of memory for batches of %d questions", batch);
	}
	if (!c->features || !c->boxes)
		return err_set(err, "out of memory for an image");
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->out_lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	if (pthread_create(&c->thread, NULL, reader, c))
		return err_set(err, "cannot start a thread to read ahead");
	return 0;
}

int
collector_next(struct collector *c, struct collected **out, struct err *err)
{
	int got;

	pthread_mutex_lock(&c->lock);
	while (c->filled == c->lent && c->state == READING)
		pthread_cond_wait(&c->changed, &c->lock);
	if (c->filled > c->lent) {
		*out = &c->slots[c->lent++ % c->slots_n];
		got = 1;
	} else {
		got = c->state == ENDED ? 0 : -1;
		if (got < 0)
			*err = c->err;
	}
	pthread_mutex_unlock(&c->lock);
	return got;
}

int
collector_ready(struct collector *c)
{
	int ready;

	pthread_mutex_lock(&c->lock);
	ready = c->filled > c->lent;
	pthread_mutex_unlock(&c->lock);
	return ready;
}

void
collector_done(struct collector *c)
{
	pthread_mutex_lock(&c->lock);
	c->done++;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}
