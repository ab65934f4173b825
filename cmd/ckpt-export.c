/*
 * ckpt-export: a checkpoint of ours becomes a state dict that the reference loads strictly.
 */
#include "ckpt/checkpoint.h"
#include "ckpt/export.h"
#include "sys/die.h"
#include "sys/opt.h"

static const struct opt opts[] = { { 0 } };

static const struct program program = {
	"ckpt-export", "SRC OUT", "make a state dict under the reference's names of a checkpoint", opts, 2, 2,
};

int
main(int argc, char **argv)
{
	int operand = opt_parse(&program, argc, argv);
	struct checkpoint ckpt;
	struct err err;

	if (checkpoint_open(&ckpt, argv[operand], &err) || export_write(&ckpt, argv[operand + 1], &err))
		die(&err);
	checkpoint_close(&ckpt);
	return 0;
}
