/*
 * Other people's names for the same parameters, and sizes read off a state dict's shapes.
 */
#ifndef VQA_CKPT_NAMES_H
#define VQA_CKPT_NAMES_H

#include <stddef.h>

#include "ckpt/config.h"
#include "ckpt/image.h"

enum { NAME_OURS = TENSOR_NAME + 32 }; /* a name of ours may be longer than theirs */

/*
 * Our name for a name in a state dict. Without "module" (DataParallel, around the whole or a part) and "module_list"
 * (LayerDrop's wrapper) between its dots; what then begins with "bert." or "lxmert.", or with "embeddings.", "encoder." or "pooler.",
 * is of the encoder; "answer_head.logit_fc." is the head; a last part "gamma" or "beta" is a layer norm's. Any other name stays as it
 * is. Returns 1, or 0 for what is no parameter and is dropped: entmax's alpha_chooser, a second copy of which `alpha` is what
 * loading ends with (reference: models/entmax.py), and constants: the span's mask_template_0 and _1 (reference:
 * models/adaptive_span.py), the embeddings' position_ids and token_type_ids (transformers).
 */
int name_ours(char out[NAME_OURS], const char *theirs);
/* It belongs to one of the heads that only pre-training uses: cls, obj_predict_head. */
int name_pretraining(const char *ours);

/* The tensors of a state dict by our names. The image outlives it. */
struct state_names {
	const struct image *image;
	struct named {
		char ours[NAME_OURS];
		const struct tensor *tensor;
	} * list; /* in order of name */
	size_t n;
};

/* What is dropped is not in the list; two tensors with one name of ours are an error. */
int state_names_make(struct state_names *names, const struct image *image, struct err *err);
void state_names_release(struct state_names *names);
/* NULL if there is none. */
const struct named *state_names_find(const struct state_names *names, const char *ours);

/* Names as Hugging Face's transformers give them: whole models', or those of an encoder alone. */
int names_of_transformers(const struct state_names *names);

/* A checkpoint of ours says how many heads it has, and alphas and spans have one value a head; *heads is 0 where nothing tells. */
int heads_said(int *heads, const struct state_names *names, struct err *err);

/*
 * Sizes: layers counted, widths from shapes, sparse if alphas are there. heads is the caller's, for few shapes tell it (those of
 * alphas and spans, which must agree). answers_n is 0 where there is no logit_fc.3. Errors name the tensor that is missing, does not fit,
 * or belongs to a kind of model that is not read.
 */
int config_from_names(struct config *cfg, const struct state_names *names, int heads, struct err *err);

#endif
