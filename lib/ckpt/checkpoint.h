/*
 * A checkpoint by its NAME: the file found, its configuration, its parameters bound to the model's own table.
 */
#ifndef VQA_CKPT_CHECKPOINT_H
#define VQA_CKPT_CHECKPOINT_H

#include "ckpt/config.h"
#include "ckpt/image.h"
#include "model/params.h"

struct checkpoint {
	char path[4096]; /* of the file that NAME meant */
	struct image image;
	struct config config;
	struct params params;
	const float **data; /* (params.n) in the order of params; into the image */
};

/*
 * NAME is NAME itself, NAME.safetensors, NAME.pth, or, for a folder, its LAST.safetensors. Every parameter of the configuration must
 * be there, F32 and with its shape; strangers are refused; the first fault is named. Values are not looked at: that would read
 * the whole file (ckpt-import does it). A half-done snapshot pair is train/snapshot.h's concern.
 */
int checkpoint_open(struct checkpoint *ckpt, const char *name, struct err *err);
void checkpoint_close(struct checkpoint *ckpt);
/* A tensor against its parameter's shape; the message says both. */
int checkpoint_check_tensor(const struct tensor *tensor, const struct param *param, struct err *err);
/* NAME -> path as above; the shared first half of checkpoint_open. */
int checkpoint_path(char *path, size_t size, const char *name, struct err *err);

/* Write cfg and the parameters data[i] (order of params) to path, whole or not at all. More metadata may be given. */
int checkpoint_write(const struct config *cfg, const struct params *params, const float *const *data,
                     const struct image_meta *more, size_t more_n, const char *path, struct err *err);
/* The layout alone, for the shared images of training: same tensors, same order. */
int checkpoint_layout(struct image *image, const struct config *cfg, const struct params *params,
                      const struct image_meta *more, size_t more_n, struct err *err);

#endif
