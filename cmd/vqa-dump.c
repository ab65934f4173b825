/*
 * vqa-dump: records as JSON lines, and back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stream/json.h"
#include "sys/die.h"
#include "sys/opt.h"

static int reverse;

static const struct opt opts[] = {
	{ 'r', "reverse", OPT_FLAG, &reverse, NULL, "JSON lines to records" },
	{ 0 },
};

static const struct program program = {
	"vqa-dump", "", "print records as JSON lines", opts, 0, 0,
};

static void
dump(void)
{
	struct rec_in in;
	struct err err;
	int got;

	if (rec_open(&in, STDIN_FILENO, "stdin", &err))
		die(&err);
	while ((got = rec_next(&in, &err)) > 0)
		if (json_from_record(stdout, &in, &err))
			die(&err);
	if (got < 0) {
		fflush(stdout);
		die(&err);
	}
	close_stdout();
}

/* The stream that comes out is read again here by nobody: its header and end are the lines' own. */
static void
undump(void)
{
	struct rec_out out;
	struct err err;
	char *line = NULL, where[48];
	size_t room = 0;
	ssize_t n;
	int64_t number = 0;

	refuse_terminal(STDOUT_FILENO);
	if (rec_create(&out, STDOUT_FILENO, "stdout", &err))
		die(&err);
	while ((n = getline(&line, &room, stdin)) > 0) {
		snprintf(where, sizeof where, "stdin:%lld", (long long)++number);
		if (n > 4 * (ssize_t)RECORD_MAX)
			die_words("%s: %zd bytes, more than a record may have", where, n);
		if (json_to_record(&out, line, (size_t)n, where, &err))
			die(&err);
	}
	if (ferror(stdin))
		die_words("stdin: cannot read");
	free(line);
	rec_discard(&out);
	if (close(STDOUT_FILENO))
		die_words("stdout: cannot write");
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
