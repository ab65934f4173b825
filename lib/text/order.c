/*
 * Fisher and Yates's shuffle with draws from Philox: draw i depends on the seed and i alone.
 */
#include "text/order.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/hash.h"
#include "sys/opt.h"
#include "sys/philox.h"

/* Counter word 3, apart from every other use of the seed: of questions, of images. */
enum { SITE_ORDER = 0x6f726472, SITE_IMAGES = 0x696d6167 };

/* Uniform in [0, n): 64 bits, those that would favour small results drawn anew. */
static uint32_t
draw_below(uint64_t seed, uint32_t site, uint32_t i, uint32_t n)
{
	uint64_t most = UINT64_MAX - UINT64_MAX % n;

	for (uint32_t attempt = 0;; attempt++) {
		uint32_t words[4];
		uint64_t draw;

		philox4x32(words, seed, i, attempt, 0, site);
		draw = (uint64_t)words[1] << 32 | words[0];
		if (draw < most)
			return (uint32_t)(draw % n);
	}
}

static void
shuffle(uint32_t *list, uint32_t n, uint64_t seed, uint32_t site)
{
	for (uint32_t i = n; i > 1; i--) {
		uint32_t j = draw_below(seed, site, i - 1, i), kept = list[i - 1];

		list[i - 1] = list[j];
		list[j] = kept;
	}
}

/* Images in random order; a counting sort brings each question behind its image, in the order of the list, a random one. */
static int
shuffle_images(uint32_t *list, uint32_t n, const struct questions *q, uint64_t seed, struct err *err)
{
	uint32_t images = q->names.count;
	uint32_t *turn = calloc((size_t)images + 1, sizeof *turn);     /* turn[i]: the image of turn i */
	uint32_t *begins = calloc((size_t)images + 1, sizeof *begins); /* where the next question of an image goes */
	uint32_t *kept = calloc((size_t)n + 1, sizeof *kept);
	uint32_t at = 0;
	int r = turn && begins && kept ? 0 : err_set(err, "out of memory");

	if (r == 0) {
		for (uint32_t i = 0; i < n; i++)
			begins[q->images[list[i]]]++;
		for (uint32_t i = 0; i < images; i++)
			turn[i] = i;
		shuffle(turn, images, seed, SITE_IMAGES);
		for (uint32_t i = 0; i < images; i++) {
			uint32_t count = begins[turn[i]];

			begins[turn[i]] = at;
			at += count;
		}
		memcpy(kept, list, n * sizeof *list);
		for (uint32_t i = 0; i < n; i++)
			list[begins[q->images[kept[i]]]++] = kept[i];
	}
	free(turn);
	free(begins);
	free(kept);
	return r;
}

int
order_needs(const struct order_choice *choice)
{
	return choice->limit_images >= 0 || choice->kind == ORDER_SHUFFLE_IMAGES ? NEED_IMAGES : 0;
}

int
order_make(struct order *order, const struct questions *q, const struct order_choice *choice, struct err *err)
{
	uint32_t n = 0, mine = 0;

	*order = (struct order){ .questions = malloc(((size_t)q->ids.count + 1) * sizeof *order->questions) };
	if (!order->questions)
		return err_set(err, "out of memory");
	for (uint32_t k = 0; k < q->ids.count; k++)
		if (choice->limit_images < 0 || q->images[k] < choice->limit_images)
			order->questions[n++] = k;
	if (choice->kind != ORDER_FILE)
		shuffle(order->questions, n, choice->seed, SITE_ORDER);
	if (choice->kind == ORDER_SHUFFLE_IMAGES && shuffle_images(order->questions, n, q, choice->seed, err)) {
		order_free(order);
		return -1;
	}
	for (uint32_t k = 0; k < n; k++)
		if (k % choice->shards == choice->shard)
			order->questions[mine++] = order->questions[k];
	order->count = mine;
	order->total = n;
	if (choice->skip > mine) {
		order_free(order);
		return err_set(err, "--skip %lld: more than the %u questions there are", (long long)choice->skip, mine);
	}
	return 0;
}

void
order_free(struct order *order)
{
	free(order->questions);
	*order = (struct order){ 0 };
}

int
order_shard(struct order_choice *choice, const char *text)
{
	char number[16];
	const char *slash = strchr(text, '/');

	if (!slash || (size_t)(slash - text) >= sizeof number)
		return -1;
	memcpy(number, text, (size_t)(slash - text));
	number[slash - text] = 0;
	return parse_int(slash + 1, 1, 65536, &choice->shards) ||
	                       parse_int(number, 0, choice->shards - 1, &choice->shard)
	               ? -1
	               : 0;
}

void
order_source(char out[17], uint64_t hash, const struct order_choice *choice)
{
	char words[128];
	int n = snprintf(words, sizeof words, "limit %lld kind %d seed %llu shards %lld",
	                 (long long)choice->limit_images, (int)choice->kind,
	                 (unsigned long long)(choice->kind == ORDER_FILE ? 0 : choice->seed),
	                 (long long)choice->shards);

	snprintf(out, 17, "%016llx", (unsigned long long)fnv1a(hash, words, (size_t)n));
}
