/*
 * vqa-dump: records as JSON lines, and back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stream/json.h"
#include "sys/die.h"
#include "sys/lines.h"
#include "sys/opt.h"

static int reverse;

static const struct opt opts[] = {
	{ 'r', "reverse", OPT_FLAG, &reverse, NULL, "JSON lines to records" },
	{ 0 },
};

static const struct program program = {
	"vqa-dump", "", "print records as JSON lines", opts, 0, 0,
};

/* The end record's line waits until nothing has followed it, so that no output looks complete that is not. */
static void
dump(void)
{
	struct rec_in in;
	struct err err;
	char *end = NULL;
	size_t end_n = 0;
	int got;

	if (rec_open(&in, STDIN_FILENO, "stdin", &err))
		die(&err);
	while ((got = rec_next(&in, &err)) > 0) {
		FILE *out = rec_is(&in, "end") ? open_memstream(&end, &end_n) : stdout;

		if (!out)
			die_words("out of memory for the end record");
		if (json_from_record(out, &in, &err))
			die(&err);
		if (out != stdout)
			fclose(out);
	}
	if (got < 0)
		die(&err);
	fwrite(end, 1, end_n, stdout);
	free(end);
	close_stdout();
}

/* The lines' own header and end; whether the end came is looked at, as a list of lines has no other. */
static void
undump(void)
{
	struct rec_out out;
	struct err err;
	struct lines lines;
	char *line, where[48];
	size_t n;
	int got, ended = 0;

	refuse_terminal(STDOUT_FILENO);
	if (rec_create(&out, STDOUT_FILENO, "stdout", &err))
		die(&err);
	lines_open(&lines, STDIN_FILENO, "stdin", 4 * (size_t)RECORD_MAX);
	while ((got = lines_next(&lines, &line, &n, &err)) > 0) {
		snprintf(where, sizeof where, "stdin:%lld", (long long)lines.number);
		if (ended)
			die_words("%s: follows the end record", where);
		if (json_to_record(&out, line, n, where, &ended, &err))
			die(&err);
	}
	if (got < 0)
		die(&err);
	if (!ended)
		die_words("stdin: truncated after line %lld, expected an end record", (long long)lines.number);
	lines_close(&lines);
	rec_discard(&out);
	if (close(STDOUT_FILENO))
		die_words("stdout: cannot write: %s", strerror(errno));
}

int
main(int argc, char **argv)
{
	opt_parse(&program, argc, argv);
	note_terminal(STDIN_FILENO);
	if (reverse)
		undump();
	else
		dump();
	return 0;
}
