/*
 * The text is made as the answers come and kept in memory: about 70 bytes an answer, 32 MB for VQA's test split.
 */
#include "text/submit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sys/utf8.h"

int
submit_init(struct submit *submit, const struct questions *want, struct err *err)
{
	*submit = (struct submit){ .want = want };
	submit->file = open_memstream(&submit->text, &submit->n);
	return submit->file ? 0 : err_sys(err, "memory for answers");
}

void
submit_release(struct submit *submit)
{
	if (submit->file)
		fclose(submit->file);
	free(submit->text);
	ids_free(&submit->ids);
	*submit = (struct submit){ 0 };
}

/* As Python's json with ensure_ascii: all but printable ASCII escaped, in UTF-16 units. text is valid UTF-8. */
static void
put_python(FILE *file, const char *text, size_t n)
{
	static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";

	putc('"', file);
	for (size_t at = 0; at < n;) {
		const char *short_form;
		int32_t c = '?';

		at += (size_t)utf8_get(text + at, n - at, &c);
		short_form = c > 0 && c < 0x80 ? strchr(plain, (int)c) : NULL;
		if (short_form)
			fprintf(file, "\\%c", letters[short_form - plain]);
		else if (c >= ' ' && c < 0x7f)
			putc((int)c, file);
		else if (c < 0x10000)
			fprintf(file, "\\u%04x", (unsigned)c);
		else
			fprintf(file, "\\u%04x\\u%04x", 0xd800 + (unsigned)((c - 0x10000) >> 10),
			        0xdc00 + (unsigned)((c - 0x10000) & 0x3ff));
	}
	putc('"', file);
}

static int
submit_answer(struct submit *submit, const struct rec_in *in, struct err *err)
{
	int64_t id, same;
	const char *answer;
	size_t n;

	if (rec_int(in, "id", INT64_MIN, INT64_MAX, &id, err) || rec_text(in, "answer", &answer, &n, err))
		return -1;
	if (submit->want && ids_find(&submit->want->ids, id) < 0)
		return rec_fault(in, err, "id %" PRId64 " is not in %s", id, submit->want->lists[0].name);
	same = ids_add(&submit->ids, id);
	if (same >= 0)
		return rec_fault(in, err, "id %" PRId64 " is answered twice, first in answer %" PRId64, id, same + 1);
	if (same == INDEX_FULL)
		return err_set(err, "%s: out of memory", in->name);
	fprintf(submit->file, "%s\n    {\n        \"answer\": ", submit->ids.count > 1 ? "," : "[");
	put_python(submit->file, answer, n);
	fprintf(submit->file, ",\n        \"question_id\": %" PRId64 "\n    }", id);
	if (ferror(submit->file))
		return err_set(err, "%s: out of memory", in->name);
	if (ftell(submit->file) > SUBMIT_MAX)
		return rec_fault(in, err, "over %d bytes of answers so far, expected a smaller file", SUBMIT_MAX);
	return 0;
}

int
submit_record(struct submit *submit, const struct rec_in *in, struct err *err)
{
	int64_t questions;

	if (rec_is(in, "answer"))
		return submit_answer(submit, in, err);
	if (!rec_is(in, "end") || !rec_get(in, "questions"))
		return 0;
	if (rec_int(in, "questions", 0, INT64_MAX, &questions, err))
		return -1;
	if (questions != submit->ids.count)
		return rec_fault(in, err, "%" PRId64 " questions, but %u answers came before it", questions,
		                 submit->ids.count);
	return 0;
}

int
submit_write(struct submit *submit, FILE *out, const char *name, struct err *err)
{
	if (submit->want && submit->ids.count < submit->want->ids.count) {
		uint32_t k = 0, missing = submit->want->ids.count - submit->ids.count;

		while (ids_find(&submit->ids, submit->want->ids.id[k]) >= 0)
			k++;
		return err_set(err, "%s: no answer to question %" PRId64 " of %s; %u of its %u questions have none",
		               name, submit->want->ids.id[k], submit->want->lists[0].name, missing,
		               submit->want->ids.count);
	}
	fputs(submit->ids.count > 0 ? "\n]" : "[]", submit->file);
	if (fflush(submit->file))
		return err_set(err, "%s: out of memory", name);
	if (fwrite(submit->text, 1, submit->n, out) != submit->n)
		return err_sys(err, "stdout: cannot write");
	return 0;
}
