/*
 * Completions: a function for bash, a list of _arguments for zsh. Words of an option are those that it takes, an argument
 * named FILE, or NAME, a checkpoint's, is a file, one named DIR a folder, and operands are files; nothing is offered for others.
 */
#include "sys/completion.h"

#include <stdio.h>
#include <string.h>

enum kind { KIND_FLAG = 1, KIND_WORDS = 2, KIND_FILE = 4, KIND_FOLDER = 8, KIND_OTHER = 16 };

static enum kind
kind_of(const struct opt *o)
{
	if (!o->arg)
		return KIND_FLAG;
	if (o->type == OPT_T_WORD)
		return KIND_WORDS;
	if (!strcmp(o->arg, "FILE") || !strcmp(o->arg, "NAME"))
		return KIND_FILE;
	return strcmp(o->arg, "DIR") ? KIND_OTHER : KIND_FOLDER;
}

/* "auto|cuda|cuda:N" as "auto cuda": a number is nobody's to guess. */
static void
print_words(const char *words)
{
	const char *between = "";

	for (const char *w = words; *w; w += strcspn(w, "|"), w += *w == '|') {
		int n = (int)strcspn(w, "|");

		if (n > 2 && !strncmp(w + n - 2, ":N", 2))
			continue;
		printf("%s%.*s", between, n, w);
		between = " ";
	}
}

/* "-b --batch": `first` before the first of `count`, `between` before the others */
static void
print_forms(const struct opt *o, const char *first, const char *between, int *count)
{
	if (o->letter)
		printf("%s-%c", (*count)++ ? between : first, o->letter);
	if (o->name)
		printf("%s--%s", (*count)++ ? between : first, o->name);
}

/* The program's name as a function's */
static void
print_function(const char *name)
{
	putchar('_');
	for (const char *p = name; *p; p++)
		putchar(*p == '-' ? '_' : *p);
}

/* The forms of all options of some kinds; how many. */
static int
bash_forms(const struct opt *const tables[2], int kinds, const char *first, const char *between)
{
	int count = 0;

	for (int t = 0; t < 2; t++)
		for (const struct opt *o = tables[t]; o->letter || o->name; o++)
			if (kind_of(o) & kinds)
				print_forms(o, first, between, &count);
	return count;
}

static void
bash_case(const struct opt *const tables[2], enum kind kind, const char *commands)
{
	if (bash_forms(tables, kind, "\t", " | "))
		printf(") %s ;;\n", commands);
}

static void
bash_word_cases(const struct opt *const tables[2])
{
	for (int t = 0; t < 2; t++)
		for (const struct opt *o = tables[t]; o->letter || o->name; o++) {
			int count = 0;

			if (kind_of(o) != KIND_WORDS)
				continue;
			print_forms(o, "\t", " | ", &count);
			printf(") words='");
			print_words(o->words);
			printf("' ;;\n");
		}
}

/*
 * The words before the cursor tell what is wanted there: the argument of an option, of a redirection, an option or an
 * operand. Files are left to bash's own completion, which knows tildes, variables and quotes: no reply asks for it. bash takes
 * "--name=value" for three words.
 */
static void
print_bash(const struct program *program, const struct opt *const tables[2])
{
	printf("# bash completion, as %s --completion bash prints it\n", program->name);
	print_function(program->name);
	printf("()\n{\n"
	       "\tlocal of='' operand='' words='' word\n"
	       "\tfor word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
	       "\t\tif [ \"$of\" ]; then\n"
	       "\t\t\t[ \"$word\" = = ] || of=''\n"
	       "\t\t\tcontinue\n"
	       "\t\tfi\n"
	       "\t\tcase $operand$word in\n"
	       "\t\t*[\\<\\>]) of='<' ;;\n");
	bash_forms(tables, ~KIND_FLAG, "\t\t", " | ");
	printf(") of=$word ;;\n"
	       "\t\t--) operand=/ ;;\n"
	       "\t\t-*) ;;\n"
	       "\t\t*) operand=/ ;;\n"
	       "\t\tesac\n"
	       "\tdone\n"
	       "\tword=${COMP_WORDS[COMP_CWORD]}\n"
	       "\t[ \"$word\" != = ] || word=''\n"
	       "\tCOMPREPLY=()\n"
	       "\tcase $of in\n"
	       "\t'<') return ;;\n");
	bash_word_cases(tables);
	bash_case(tables, KIND_FILE, "return");
	bash_case(tables, KIND_FOLDER, "compopt +o bashdefault +o default -o dirnames");
	bash_case(tables, KIND_OTHER, "compopt +o bashdefault +o default");
	printf("\t*)\n"
	       "\t\tcase $operand$word in\n"
	       "\t\t-*) words='");
	bash_forms(tables, ~0, "", " ");
	printf("' ;;\n"
	       "\t\t*) %s ;;\n"
	       "\t\tesac\n"
	       "\t\t;;\n"
	       "\tesac\n"
	       "\t[ \"$words\" ] || return 0\n"
	       "\tcompopt +o bashdefault +o default\n"
	       "\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
	       "}\n"
	       "complete -o bashdefault -o default -F ",
	       program->most ? "return" : "compopt +o bashdefault +o default");
	print_function(program->name);
	printf(" %s\n", program->name);
}

/* What stands inside quotes, and inside brackets or between colons there. */
static void
zsh_text(const char *text)
{
	for (const char *p = text; *p; p++) {
		if (*p == '\'') {
			printf("'\\''");
			continue;
		}
		if (strchr("[]:\\", *p))
			putchar('\\');
		putchar(*p);
	}
}

static void
zsh_argument(const struct opt *o)
{
	putchar(':');
	zsh_text(o->arg);
	putchar(':');
	switch (kind_of(o)) {
	case KIND_WORDS:
		putchar('(');
		print_words(o->words);
		putchar(')');
		break;
	case KIND_FILE:
		printf("_files");
		break;
	case KIND_FOLDER:
		printf("_files -/");
		break;
	default:
		putchar(' ');
		break;
	}
}

/* '(-b --batch)'{-b+,--batch=}'[questions a batch (128)]:N: ' */
static void
zsh_option(const struct opt *o, int alone)
{
	int count = 0;

	printf(" \\\n\t'(");
	if (alone)
		printf("- *");
	else
		print_forms(o, "", " ", &count);
	printf(")'");
	if (o->letter && o->name)
		printf("{-%c%s,--%s%s}'", o->letter, o->arg ? "+" : "", o->name, o->arg ? "=" : "");
	else if (o->letter)
		printf("'-%c%s", o->letter, o->arg ? "+" : "");
	else
		printf("'--%s%s", o->name, o->arg ? "=" : "");
	putchar('[');
	zsh_text(o->help);
	putchar(']');
	if (o->arg)
		zsh_argument(o);
	putchar('\'');
}

static void
print_zsh(const struct program *program, const struct opt *const tables[2])
{
	printf("#compdef %s\n# zsh completion, as %s --completion zsh prints it\n_arguments -s -S -A '-*'",
	       program->name, program->name);
	for (int t = 0; t < 2; t++)
		for (const struct opt *o = tables[t]; o->letter || o->name; o++)
			zsh_option(o, t == 1);
	if (program->most < 0) {
		printf(" \\\n\t'*:");
		zsh_text(program->operands);
		printf(":_files'");
	}
	for (int i = 0; i < program->most; i++) {
		printf(" \\\n\t':%s", i < program->least ? "" : ":");
		zsh_text(program->operands);
		printf(":_files'");
	}
	putchar('\n');
}

void
completion_print(const char *shell, const struct program *program, const struct opt *common)
{
	const struct opt *const tables[2] = { program->opts, common };

	if (!strcmp(shell, "bash"))
		print_bash(program, tables);
	else
		print_zsh(program, tables);
}
