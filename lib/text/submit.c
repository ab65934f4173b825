/*
 * The text is made as the answers come and kept in a file without a name, about 70 bytes an answer; in memory are the ids alone.
 */
#include "text/submit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/file.h"
#include "sys/utf8.h"

int
submit_init(struct submit *submit, const struct questions *want, struct err *err)
{
	int fd = file_nameless(err);

	*submit = (struct submit){ .want = want };
	if (fd < 0)
		return -1;
	submit->file = fdopen(fd, "w+");
	if (submit->file)
		return 0;
	err_sys(err, "temporary file");
	close(fd);
	return -1;
}

void
submit_release(struct submit *submit)
{
	if (submit->file)
		fclose(submit->file);
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

/* 1: a fault that is told at the end; then err says so. */
static int
submit_answer(struct submit *submit, const struct rec_in *in, struct err *err)
{
	int64_t id, same;
	const char *answer;
	size_t n;

	if (rec_int(in, "id", INT64_MIN, INT64_MAX, &id, err) || rec_text(in, "answer", &answer, &n, err))
		return -1;
	if (submit->want && ids_find(&submit->want->ids, id) < 0) {
		rec_fault(in, err, "id %" PRId64 " is not in %s", id, submit->want->lists[0].name);
		return 1;
	}
	same = ids_add(&submit->ids, id);
	if (same == INDEX_FULL)
		return err_set(err, "%s: out of memory", in->name);
	if (same >= 0) {
		rec_fault(in, err, "id %" PRId64 " is answered twice, first in answer %" PRId64, id, same + 1);
		return 1;
	}
	fprintf(submit->file, "%s\n    {\n        \"answer\": ", submit->ids.count > 1 ? "," : "[");
	put_python(submit->file, answer, n);
	fprintf(submit->file, ",\n        \"question_id\": %" PRId64 "\n    }", id);
	if (ferror(submit->file))
		return err_sys(err, "%s: temporary file: cannot write", in->name);
	if (ftell(submit->file) > SUBMIT_MAX)
		return rec_fault(in, err, "over %d bytes of answers so far, expected a smaller file", SUBMIT_MAX);
	return 0;
}

int
submit_record(struct submit *submit, const struct rec_in *in, struct err *err)
{
	int64_t questions;
	int r;

	if (rec_is(in, "answer")) {
		r = submit_answer(submit, in, err);
		if (r > 0 && submit->faults++ == 0)
			submit->first = *err;
		return r < 0 ? -1 : 0;
	}
	if (!rec_is(in, "end") || !rec_get(in, "questions"))
		return 0;
	if (rec_int(in, "questions", 0, INT64_MAX, &questions, err))
		return -1;
	if (questions != submit->ids.count + submit->faults)
		return rec_fault(in, err, "%" PRId64 " questions, but %" PRId64 " answers came before it", questions,
		                 submit->ids.count + submit->faults);
	return 0;
}

static int
submit_check(const struct submit *submit, const char *name, struct err *err)
{
	uint32_t k = 0, missing;

	if (submit->faults > 0)
		return err_set(err, submit->faults > 1 ? "%s; %" PRId64 " more answers are at fault" : "%s",
		               submit->first.text, submit->faults - 1);
	if (!submit->want || submit->ids.count == submit->want->ids.count)
		return 0;
	missing = submit->want->ids.count - submit->ids.count;
	while (ids_find(&submit->ids, submit->want->ids.id[k]) >= 0)
		k++;
	return err_set(err, "%s: no answer to question %" PRId64 " of %s; %u of its %u questions have none", name,
	               submit->want->ids.id[k], submit->want->lists[0].name, missing, submit->want->ids.count);
}

int
submit_write(struct submit *submit, FILE *out, const char *name, struct err *err)
{
	char buf[1 << 16];
	size_t n;

	if (submit_check(submit, name, err))
		return -1;
	fputs(submit->ids.count > 0 ? "\n]" : "[]", submit->file);
	if (fflush(submit->file) || fseek(submit->file, 0, SEEK_SET))
		return err_sys(err, "%s: temporary file: cannot write", name);
	while ((n = fread(buf, 1, sizeof buf, submit->file)) > 0)
		if (fwrite(buf, 1, n, out) != n)
			return err_sys(err, "stdout: cannot write");
	return ferror(submit->file) ? err_sys(err, "%s: temporary file: cannot read", name) : 0;
}
