/*
 * Other people's names for the same parameters, and sizes read off a state dict's shapes.
 */
#ifndef VQA_CKPT_NAMES_H
#define VQA_CKPT_NAMES_H

#include <stddef.h>

#include "ckpt/config.h"
#include "ckpt/image.h"

/*
 * Our name for a name in the reference's state dict: without "module" (DataParallel, around the whole or a part) and
 * "module_list" (LayerDrop's wrapper) between its dots. Returns 1, or 0 for what is no parameter and is dropped: entmax's
 * alpha_chooser, a second copy of which `alpha` is what loading ends with (reference: models/entmax.py), and the span's
 * mask_template_0 and _1, which are constants (reference: models/adaptive_span.py). out has TENSOR_NAME bytes.
 */
int name_ours(char out[TENSOR_NAME], const char *theirs);

/* The tensors of a state dict by our names. The image outlives it. */
struct state_names {
	struct named {
		char ours[TENSOR_NAME];
		const struct tensor *tensor;
	} * list; /* in order of name */
	size_t n;
};

/* What is dropped is not in the list; two tensors with one name of ours are an error. */
int state_names_make(struct state_names *names, const struct image *image, struct err *err);
void state_names_release(struct state_names *names);
/* NULL if there is none. */
const struct named *state_names_find(const struct state_names *names, const char *ours);

/*
 * Sizes: layers counted, widths from shapes, sparse if alphas are there. heads is the caller's, for no shape tells it (alphas
 * do: they must agree). Errors name the tensor that is missing, does not fit, or belongs to a kind of model that is not read.
 */
int config_from_names(struct config *cfg, const struct state_names *names, int heads, struct err *err);

#endif
