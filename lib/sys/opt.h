/*
 * One table of options yields the parser, -h, the completions of shells, and the check of the page's SYNOPSIS.
 *
 *     static const struct opt opts[] = {
 *             { 'b', "batch", OPT_INT(1, 4096), &batch, "N", "questions a batch (128)" },
 *             { 't', "train", OPT_FLAG, &train, NULL, "write the tape and the logits" },
 *             { 0 }
 *     };
 *     static const struct program program = { "vqa-forward", "CKPT", "answer questions", opts, 1, 1 };
 *
 * Long options take "--name VALUE" or "--name=VALUE", short ones "-b N" or "-bN"; flags may be grouped; "--" ends them.
 * -h/--help prints the usage to stdout and exits 0 (1 if stdout is full), --version and --completion likewise. Every wrong
 * use is one line on stderr and exit status 2.
 */
#ifndef VQA_SYS_OPT_H
#define VQA_SYS_OPT_H

#include <stddef.h>
#include <stdint.h>

enum opt_type {
	OPT_T_FLAG, /* int *: set to 1 */
	OPT_T_INT,  /* int64_t *: within [low, high] */
	OPT_T_REAL, /* double *: finite, within [low, high] */
	OPT_T_TEXT, /* const char ** */
	OPT_T_LIST, /* struct texts *: as many as the option is given times */
	OPT_T_WORD, /* const char **: one of the words in `words`, "a|b|c:N", N being a number of up to three digits */
};

struct texts {
	char **text; /* (n): argv's own */
	int n;
};

struct opt {
	char letter;      /* 0: long form only */
	const char *name; /* NULL: short form only */
	enum opt_type type;
	double low, high;
	const char *words;
	void *value;
	const char *arg; /* its name in the usage line; NULL for a flag. Shells complete FILE, NAME and DIR */
	const char *help;
};

#define OPT_FLAG OPT_T_FLAG, 0, 0, NULL
#define OPT_INT(low, high) OPT_T_INT, (low), (high), NULL
#define OPT_REAL(low, high) OPT_T_REAL, (low), (high), NULL
#define OPT_TEXT OPT_T_TEXT, 0, 0, NULL
#define OPT_LIST OPT_T_LIST, 0, 0, NULL
#define OPT_WORD(words) OPT_T_WORD, 0, 0, (words)

struct program {
	const char *name;
	const char *operands; /* as in the usage line: "CKPT", "[FILE...]", "" */
	const char *summary;  /* one line, as in the page's NAME */
	const struct opt *opts;
	int least, most; /* operands wanted; most < 0: no limit */
};

/* Parse argv; returns the index of the first operand. Exits as described above. Names the program for die(). */
int opt_parse(const struct program *program, int argc, char **argv);

/* A whole decimal number within [low, high]; -1 if text is anything else. Shared with the parsers of files. */
int parse_int(const char *text, int64_t low, int64_t high, int64_t *out);
int parse_real(const char *text, double low, double high, double *out);

#endif
