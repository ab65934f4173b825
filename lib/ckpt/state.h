/*
 * A state dict from any file: the tensors of a safetensors image, or of what torch.save writes (ckpt/pth.h), by their names. The
 * file's first bytes say which it is, not its name.
 */
#ifndef VQA_CKPT_STATE_H
#define VQA_CKPT_STATE_H

#include "ckpt/image.h"

/*
 * Map the file and check it whole. image_close ends it. An image of a torch file has no metadata; its tensors are of any type that
 * enum dtype has, lie at any byte (dtype_to_f32 does not mind), and may share bytes; they are row-major all the same. Messages
 * begin with the path.
 */
int state_open(struct image *image, const char *path, struct err *err);

#endif
