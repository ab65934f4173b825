/*
 * Question lists and the tokenizer: any bytes as a list; what is accepted must read the same a second time, in any order,
 * and tokenize within bounds.
 */
#include "fuzz.h"
#include "text/order.h"
#include "text/questions.h"
#include "text/wordpiece.h"

static const struct vocab *
small_vocab(void)
{
	static const char pieces[] =
		"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##a\nab\n##bc\nthe\nshape\n##s\n?\n.\n1\n##1\n";
	static struct vocab vocab;
	struct err err;
	char path[64];
	int fd;

	if (vocab.count == 0) {
		fd = memory_file(pieces, sizeof pieces - 1);
		memory_path(path, fd);
		must(vocab_open(&vocab, path, &err) == 0);
		close(fd);
	}
	return &vocab;
}

static void
read_all(struct questions *q)
{
	struct order_choice choice = { .limit_images = 3, .kind = ORDER_SHUFFLE_IMAGES, .seed = 1, .shards = 2 };
	struct order order;
	struct err err;

	must(order_make(&order, q, &choice, &err) == 0);
	must(order.count <= order.total && order.total <= q->ids.count);
	order_free(&order);
	for (uint32_t k = q->ids.count; k-- > 0;) {
		int32_t ids[TOKENS_REFERENCE];
		struct entry entry;
		int n;

		must(questions_at(q, k, &entry, &err) == 0);
		n = wordpiece(small_vocab(), entry.sent, entry.sent_n, ids, TOKENS_REFERENCE, &err);
		must(n >= 2 && n <= TOKENS_REFERENCE);
		for (int i = 0; i < n; i++)
			must(ids[i] >= 0 && ids[i] < small_vocab()->count);
		entry_release(&entry);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct questions q;
	struct err err = { "" };
	char path[64], *paths[] = { path };
	int fd = memory_file(data, size);

	memory_path(path, fd);
	if (questions_open(&q, paths, 1, NEED_IMAGES, &err) == 0) {
		read_all(&q);
		questions_close(&q);
	} else {
		must_say(err.text);
	}
	close(fd);
	return 0;
}
