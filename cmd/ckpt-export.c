/*
 * ckpt-export: a checkpoint of ours becomes a state dict that the reference loads strictly.
 */
#include "ckpt/checkpoint.h"
#include "ckpt/export.h"
#include "sys/die.h"
#include "sys/ends.h"
#include "sys/opt.h"

static const struct opt opts[] = { { 0 } };

static const struct program program = {
	"ckpt-export", "SRC OUT", "make a state dict under the reference's names of a checkpoint", opts, 2, 2,
};

/* torch takes a file by its name for what it is not. */
static void
check_name(const char *out)
{
	static const char *const torch[] = { ".pth", ".pt", ".bin" };

	for (size_t i = 0; i < sizeof torch / sizeof *torch; i++)
		if (ends_with(out, torch[i]))
			die_usage("'%s' will be a safetensors file, expected a name that does not end with %s", out,
			          torch[i]);
}

int
main(int argc, char **argv)
{
	int operand = opt_parse(&program, argc, argv);
	struct checkpoint ckpt;
	struct err err;

	check_name(argv[operand + 1]);
	if (checkpoint_open(&ckpt, argv[operand], &err) || export_write(&ckpt, argv[operand + 1], &err))
		die(&err);
	checkpoint_close(&ckpt);
	return 0;
}
