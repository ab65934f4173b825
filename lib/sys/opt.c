/*
 * Options from a table: the parser, the usage text, and numbers with bounds.
 */
#include "sys/opt.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/completion.h"
#include "sys/die.h"

int
parse_int(const char *text, int64_t low, int64_t high, int64_t *out)
{
	char *end;
	long long value;

	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno || end == text || *end || !strchr("-0123456789", text[0]) || value < low || value > high)
		return -1;
	*out = value;
	return 0;
}

int
parse_real(const char *text, double low, double high, double *out)
{
	char *end;
	double value;

	errno = 0;
	value = strtod(text, &end);
	if (end == text || *end || !strchr("-.0123456789", text[0]) || strpbrk(text, "xX") || !isfinite(value) ||
	    value < low || value > high)
		return -1;
	*out = value;
	return 0;
}

static int help, version;
static const char *shell;

/* What every program has. */
static const struct opt common[] = {
	{ 'h', "help", OPT_FLAG, &help, NULL, "print this and exit" },
	{ 0, "completion", OPT_WORD(COMPLETION_SHELLS), &shell, "SHELL",
	  "print what completes options in bash or zsh, and exit" },
	{ 0, "version", OPT_FLAG, &version, NULL, "print the version and exit" },
	{ 0 },
};

static void
print_form(const struct opt *o)
{
	char form[64];

	if (o->letter && o->name)
		snprintf(form, sizeof form, "-%c, --%s", o->letter, o->name);
	else if (o->letter)
		snprintf(form, sizeof form, "-%c", o->letter);
	else
		snprintf(form, sizeof form, "    --%s", o->name);
	if (o->arg)
		snprintf(form + strlen(form), sizeof form - strlen(form), " %s", o->arg);
	printf("  %-26s %s\n", form, o->help);
}

/* usage: vqa-forward [-tl] [-b N] [--dropout P] CKPT */
static void
print_usage(const struct program *program)
{
	int flags = 0;

	printf("usage: %s", program->name);
	for (const struct opt *o = program->opts; o->letter || o->name; o++)
		if (o->type == OPT_T_FLAG && o->letter)
			printf(flags++ ? "%c" : " [-%c", o->letter);
	if (flags)
		printf("]");
	for (const struct opt *o = program->opts; o->letter || o->name; o++) {
		if (o->letter && o->arg)
			printf(" [-%c %s]", o->letter, o->arg);
		else if (!o->letter)
			printf(" [--%s%s%s]", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
	}
	printf("%s%s\n%s\n\n", *program->operands ? " " : "", program->operands, program->summary);
	for (const struct opt *o = program->opts; o->letter || o->name; o++)
		print_form(o);
	for (const struct opt *o = common; o->letter || o->name; o++)
		print_form(o);
}

/* A word that ends with :N stands for itself with a whole number in its place. */
static int
is_word(const char *words, const char *text)
{
	for (const char *w = words; w; w = strchr(w, '|') ? strchr(w, '|') + 1 : NULL) {
		size_t n = strcspn(w, "|");
		size_t digits;

		if (strlen(text) == n && !strncmp(w, text, n) && (n < 2 || strncmp(w + n - 2, ":N", 2) != 0))
			return 1;
		if (n < 2 || strncmp(w + n - 2, ":N", 2) != 0 || strncmp(w, text, n - 1) != 0)
			continue;
		digits = strspn(text + n - 1, "0123456789");
		if (digits && digits <= 3 && !text[n - 1 + digits])
			return 1;
	}
	return 0;
}

static void
texts_add(struct texts *texts, const char *text)
{
	char **more = realloc(texts->text, ((size_t)texts->n + 1) * sizeof *more);

	if (!more)
		die_words("out of memory");
	texts->text = more;
	texts->text[texts->n++] = (char *)text;
}

static void
take(const struct opt *o, const char *form, const char *text)
{
	switch (o->type) {
	case OPT_T_FLAG:
		*(int *)o->value = 1;
		break;
	case OPT_T_INT:
		if (parse_int(text, (int64_t)o->low, (int64_t)o->high, o->value))
			die_usage("option %s: '%s' is not a whole number from %.0f to %.0f", form, text, o->low,
			          o->high);
		break;
	case OPT_T_REAL:
		if (parse_real(text, o->low, o->high, o->value))
			die_usage("option %s: '%s' is not a number from %g to %g", form, text, o->low, o->high);
		break;
	case OPT_T_TEXT:
		*(const char **)o->value = text;
		break;
	case OPT_T_LIST:
		texts_add(o->value, text);
		break;
	case OPT_T_WORD:
		if (!is_word(o->words, text))
			die_usage("option %s: '%s' is not one of %s", form, text, o->words);
		*(const char **)o->value = text;
		break;
	}
}

static const struct opt *
find_letter(const struct program *program, char letter)
{
	const struct opt *const tables[] = { program->opts, common };

	for (int t = 0; t < 2; t++)
		for (const struct opt *o = tables[t]; o->letter || o->name; o++)
			if (o->letter == letter)
				return o;
	return NULL;
}

static const struct opt *
find_name(const struct program *program, const char *name, size_t n)
{
	const struct opt *const tables[] = { program->opts, common };

	for (int t = 0; t < 2; t++)
		for (const struct opt *o = tables[t]; o->letter || o->name; o++)
			if (o->name && strlen(o->name) == n && !strncmp(o->name, name, n))
				return o;
	return NULL;
}

/* The option's argument: what follows in the same word, or the next word. */
static const char *
argument(const char *form, const char *rest, int argc, char **argv, int *i)
{
	if (rest)
		return rest;
	if (*i + 1 >= argc)
		die_usage("option %s: its argument is missing", form);
	return argv[++*i];
}

static void
parse_long(const struct program *program, int argc, char **argv, int *i)
{
	const char *name = argv[*i] + 2, *equals = strchr(name, '=');
	size_t n = equals ? (size_t)(equals - name) : strlen(name);
	const struct opt *o = find_name(program, name, n);
	char form[64];

	snprintf(form, sizeof form, "--%.*s", (int)(n < 60 ? n : 60), name);
	if (!o)
		die_usage("unknown option %s; see %s --help", form, program->name);
	if (!o->arg && equals)
		die_usage("option %s: takes no argument, found '%s'", form, equals + 1);
	take(o, form, o->arg ? argument(form, equals ? equals + 1 : NULL, argc, argv, i) : NULL);
}

static void
parse_letters(const struct program *program, int argc, char **argv, int *i)
{
	const char *p = argv[*i] + 1;

	while (*p) {
		const struct opt *o = find_letter(program, *p);
		char form[] = { '-', *p++, '\0' };

		if (!o)
			die_usage("unknown option %s; see %s --help", form, program->name);
		if (!o->arg) {
			take(o, form, NULL);
			continue;
		}
		take(o, form, argument(form, *p ? p : NULL, argc, argv, i));
		return;
	}
}

/* The common options end the program as soon as they are read. */
static void
print_and_exit(const struct program *program)
{
	if (help)
		print_usage(program);
	else if (version)
		printf("%s %s\n", program->name, VQA_VERSION);
	else if (shell)
		completion_print(shell, program, common);
	else
		return;
	close_stdout();
	exit(0);
}

/*
 * A file that is opened where one of the three is closed would take its number, and get what is written or said there. What holds the
 * place is open the other way round, so that its use is still the fault that it was.
 */
static void
hold_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			_exit(1);
}

int
opt_parse(const struct program *program, int argc, char **argv)
{
	int i = 1;

	hold_standard_descriptors();
	program_name = program->name;
	for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
		if (!strcmp(argv[i], "--")) {
			i++;
			break;
		}
		if (argv[i][1] == '-')
			parse_long(program, argc, argv, &i);
		else
			parse_letters(program, argc, argv, &i);
		print_and_exit(program);
	}
	if (argc - i < program->least)
		die_usage("too few operands: found %d, expected %s; see %s --help", argc - i, program->operands,
		          program->name);
	if (program->most >= 0 && argc - i > program->most)
		die_usage("too many operands: '%s' was not expected; see %s --help", argv[i + program->most],
		          program->name);
	return i;
}
