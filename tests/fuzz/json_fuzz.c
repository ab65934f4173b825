/*
 * Lines of JSON to records: any bytes as a line. The record that comes out is one that a reader takes, and its own line of JSON
 * gives the same record again.
 */
#include "fuzz.h"
#include "stream/json.h"

static const char header[] = "{\"type\": \"header\", \"vqa\": 1, \"by\": \"fuzz\"}\n";

/* A header and the line as a stream; the record's bytes begin at *from. -1 if it is refused. */
static int
to_stream(const char *line, size_t n, off_t *from)
{
	struct rec_out out;
	struct err err = { "" };
	int fd = memory_file("", 0), end;

	must(rec_create(&out, fd, "out", &err) == 0);
	must(json_to_record(&out, header, sizeof header - 1, "header", &end, &err) == 0);
	*from = lseek(fd, 0, SEEK_CUR);
	if (json_to_record(&out, line, n, "line", &end, &err)) {
		must_say(err.text);
		close(fd);
		fd = -1;
	}
	rec_discard(&out);
	return fd;
}

static void
must_be_same(int a, int b, off_t from)
{
	off_t n = lseek(a, 0, SEEK_END) - from;
	char *x = malloc((size_t)n), *y = malloc((size_t)n);

	must(x && y && n > 0 && lseek(b, 0, SEEK_END) - from == n);
	must(pread(a, x, (size_t)n, from) == n && pread(b, y, (size_t)n, from) == n && !memcmp(x, y, (size_t)n));
	free(x);
	free(y);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rec_in in;
	struct err err = { "" };
	char *line = NULL;
	size_t n = 0;
	off_t from;
	FILE *text;
	int fd = to_stream((const char *)data, size, &from), again;

	if (fd < 0)
		return 0;
	lseek(fd, 0, SEEK_SET);
	must(rec_open(&in, fd, "x", &err) == 0 && rec_next(&in, &err) == 1);
	if (rec_next(&in, &err) == 1) {
		text = open_memstream(&line, &n);
		must(text && json_from_record(text, &in, &err) == 0 && fclose(text) == 0);
		again = to_stream(line, n, &from);
		must(again >= 0);
		must_be_same(fd, again, from);
		close(again);
		free(line);
	} else {
		must(rec_is(&in, "header")); /* a second one is refused where it is read */
	}
	rec_close(&in);
	close(fd);
	return 0;
}
