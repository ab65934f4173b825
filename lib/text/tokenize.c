/*
 * The fields that vqa-tokenize writes (vqa-stream(5)), in one place.
 */
#include "text/tokenize.h"

#include <endian.h>
#include <string.h>

#include "stream/schema.h"
#include "text/wordpiece.h"

int
tokenize_header(struct rec_out *out, const struct vocab *vocab, const struct stream_head *head, struct err *err)
{
	static const char by[] = "vqa-tokenize " VQA_VERSION;

	rec_begin(out, "header");
	rec_put_int(out, "vqa", 1);
	rec_put_text(out, "by", by, strlen(by));
	rec_put_int(out, "questions", head->questions);
	rec_put_text(out, "vocab", vocab->hash, strlen(vocab->hash));
	rec_put_int(out, "max_tokens", head->max_tokens);
	rec_put_text(out, "source", head->source, strlen(head->source));
	rec_put_int(out, "skip", head->skip);
	if (head->shards > 1) {
		rec_put_int(out, "total", head->total);
		rec_put_int(out, "shard", head->shard);
		rec_put_int(out, "shards", head->shards);
	}
	return rec_send(out, err);
}

static void
put_string(msgpack_packer *pack, const char *text)
{
	size_t n = strlen(text);

	msgpack_pack_str(pack, n);
	msgpack_pack_str_body(pack, text, n);
}

int
tokenize_question(struct rec_out *out, const struct vocab *vocab, const struct entry *entry, int max_tokens,
                  struct err *err)
{
	int32_t ids[TOKENS_MAX];
	int count = wordpiece(vocab, entry->sent, entry->sent_n, ids, max_tokens, err);
	json_t *label = (json_t *)entry->label, *score; /* jansson has no const iteration */
	const char *answer;

	if (count < 0)
		return err_prefix(err, "question %lld", (long long)entry->id);
	rec_begin(out, "question");
	rec_put_int(out, "id", entry->id);
	rec_put_text(out, "image", entry->image, strlen(entry->image));
	rec_put_text(out, "sent", entry->sent, entry->sent_n);
	rec_put_bin(out, "tokens", ids, (size_t)count * sizeof *ids);
	if (label) {
		msgpack_packer *pack = rec_put(out, "label");

		msgpack_pack_map(pack, json_object_size(label));
		json_object_foreach(label, answer, score)
		{
			put_string(pack, answer);
			msgpack_pack_double(pack, json_number_value(score));
		}
	}
	if (entry->answer_type)
		rec_put_text(out, "answer_type", entry->answer_type, strlen(entry->answer_type));
	if (entry->question_type)
		rec_put_text(out, "question_type", entry->question_type, strlen(entry->question_type));
	return rec_send(out, err);
}
