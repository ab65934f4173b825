/*
 * Which kind of file a state dict is in.
 */
#include "ckpt/state.h"

int
state_open(struct image *image, const char *path, struct err *err)
{
	return image_open(image, path, err);
}
