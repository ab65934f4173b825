/*
 * vqa-submit: answer records to the JSON file that EvalAI takes.
 */
#include <stdio.h>
#include <unistd.h>

#include "sys/die.h"
#include "sys/opt.h"
#include "text/submit.h"

static const char *list;

static const struct opt opts[] = {
	{ 'q', "questions", OPT_TEXT, &list, "FILE",
	  "refuse answers that are not to exactly the questions of this list" },
	{ 0 },
};
static const struct program program = { "vqa-submit", "", "answers to a submission file", opts, 0, 0 };

int
main(int argc, char **argv)
{
	struct err err;
	struct questions questions;
	struct submit submit;
	struct rec_in in;
	char *path;
	int r;

	opt_parse(&program, argc, argv);
	path = (char *)list;
	if (list && questions_open(&questions, &path, 1, 0, &err))
		die(&err);
	note_terminal(STDIN_FILENO);
	if (submit_init(&submit, list ? &questions : NULL, &err) || rec_open(&in, STDIN_FILENO, "stdin", &err))
		die(&err);
	while ((r = rec_next(&in, &err)) > 0)
		if (submit_record(&submit, &in, &err))
			die(&err);
	if (r < 0 || submit_write(&submit, stdout, in.name, &err))
		die(&err);
	rec_close(&in);
	submit_release(&submit);
	if (list)
		questions_close(&questions);
	close_stdout();
	return 0;
}
