/*
 * The way out of a program: one line on stderr, and an exit status. For cmd/ alone.
 */
#include "sys/die.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/progress.h"
#include "sys/utf8.h"

const char *program_name = "vqa";

/* One write a line, so that the programs of a pipeline do not mix theirs. */
static void
say(const char *fmt, va_list args)
{
	char words[2048], line[2048 + 1];
	int head = snprintf(words, sizeof words, "%s: ", program_name);
	size_t n = head > 0 ? (size_t)head : 0;

	vsnprintf(words + n, sizeof words - n, fmt, args);
	utf8_quote(line, sizeof line - 1, words, strlen(words)); /* it may quote what a stranger wrote */
	n = strlen(line);
	line[n] = '\n';
	progress_clear();
	if (write(STDERR_FILENO, line, n + 1) < 0)
		return;
}

/* The first to die has the word; a thread that comes later waits for the process to end. */
static void
only_once(void)
{
	static int dying;

	if (__atomic_exchange_n(&dying, 1, __ATOMIC_ACQ_REL))
		for (;;)
			pause();
}

void
die(const struct err *err)
{
	die_words("%s", err->text);
}

void
die_words(const char *fmt, ...)
{
	va_list args;

	only_once();
	va_start(args, fmt);
	say(fmt, args);
	va_end(args);
	exit(1);
}

void
die_usage(const char *fmt, ...)
{
	va_list args;

	only_once();
	va_start(args, fmt);
	say(fmt, args);
	va_end(args);
	exit(2);
}

void
die_at_once(const char *words)
{
	only_once();
	warn_words("%s", words);
	_exit(1);
}

void
warn_words(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(fmt, args);
	va_end(args);
}

void
close_stdout(void)
{
	int bad = ferror(stdout);

	if (fclose(stdout) || bad)
		die_words("stdout: cannot write: %s", strerror(errno));
}

void
refuse_terminal(int fd)
{
	if (isatty(fd))
		die_usage("stdout is a terminal, and records are binary; expected a pipe or a file");
}

void
note_terminal(int fd)
{
	if (isatty(fd))
		warn_words("reading from the terminal; end with Ctrl-D");
}

void
note_paths(char *const *paths, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(paths[i], "-") == 0)
			note_terminal(STDIN_FILENO);
}
