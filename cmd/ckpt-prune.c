/*
 * ckpt-prune: a checkpoint without some of its layers.
 */
#include <stdio.h>

#include "ckpt/checkpoint.h"
#include "ckpt/prune.h"
#include "sys/die.h"
#include "sys/opt.h"

static const char *language, *cross, *vision;

static const struct opt opts[] = {
	{ 'l', "language", OPT_TEXT, &language, "LIST", "language layers to keep, as 0,2,4 (all)" },
	{ 'r', "vision", OPT_TEXT, &vision, "LIST", "vision layers to keep (all)" },
	{ 'x', "cross", OPT_TEXT, &cross, "LIST", "cross-modality layers to keep, one at least (all)" },
	{ 0 },
};

static const struct program program = {
	"ckpt-prune", "SRC OUT", "keep some layers of a checkpoint", opts, 2, 2,
};

static void
read_list(struct kept *kept, char letter, const char *text, int count)
{
	struct err err;

	if (kept_parse(kept, text, count, &err))
		die_usage("option -%c: %s", letter, err.text);
}

int
main(int argc, char **argv)
{
	int operand = opt_parse(&program, argc, argv);
	struct checkpoint ckpt;
	struct kept kept[STACKS];
	struct config after;
	size_t parameters;
	struct err err;

	if (checkpoint_open(&ckpt, argv[operand], &err))
		die(&err);
	read_list(&kept[0], 'l', language, ckpt.config.language);
	read_list(&kept[1], 'x', cross, ckpt.config.cross);
	read_list(&kept[2], 'r', vision, ckpt.config.vision);
	if (!kept[1].n)
		die_usage("option -x: no layer is left, expected one at least");
	if (checkpoint_prune(&ckpt, kept, argv[operand + 1], &after, &parameters, &err))
		die(&err);
	printf("part\tbefore\tafter\n");
	printf("language\t%d\t%d\n", ckpt.config.language, after.language);
	printf("cross\t%d\t%d\n", ckpt.config.cross, after.cross);
	printf("vision\t%d\t%d\n", ckpt.config.vision, after.vision);
	printf("parameters\t%zu\t%zu\n", params_count(&ckpt.params), parameters);
	checkpoint_close(&ckpt);
	close_stdout();
	return 0;
}
