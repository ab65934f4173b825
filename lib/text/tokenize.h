/*
 * Question records out of a question list: the stream's header, then a record a question.
 */
#ifndef VQA_TEXT_TOKENIZE_H
#define VQA_TEXT_TOKENIZE_H

#include "stream/record.h"
#include "text/order.h"
#include "text/questions.h"
#include "text/vocab.h"

struct stream_head {
	int64_t questions, total; /* of this shard, of all shards; before skip */
	int64_t skip, shard, shards;
	const char *source; /* order_source() */
	int max_tokens;
};

int tokenize_header(struct rec_out *out, const struct vocab *vocab, const struct stream_head *head, struct err *err);
int tokenize_question(struct rec_out *out, const struct vocab *vocab, const struct entry *entry, int max_tokens,
                      struct err *err);

#endif
