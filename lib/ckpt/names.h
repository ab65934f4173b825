/*
 * Other people's names for the same parameters, and sizes read off a state dict's shapes.
 */
#ifndef VQA_CKPT_NAMES_H
#define VQA_CKPT_NAMES_H

#include <stddef.h>

#include "ckpt/config.h"
#include "ckpt/image.h"

/*
 * Our name for a name in the reference's state dict: without a leading "module." (DataParallel) and without LayerDrop's
 * "module_list." wrapper. Returns 1, or 0 for what is stored twice and is dropped: entmax's alpha_chooser, whose copy `alpha` is
 * what loading ends with (reference: models/entmax.py). out has TENSOR_NAME bytes.
 */
int name_ours(char out[TENSOR_NAME], const char *theirs);

/*
 * Sizes from tensors under our names: layers counted, widths from shapes, sparse if alphas are there. heads is the caller's, for no
 * shape tells it (alphas do: they must agree). Errors name the tensor that is missing or does not fit.
 */
int config_from_tensors(struct config *cfg, const struct image *image, int heads, struct err *err);

#endif
