/*
 * A model without some of its layers: what is left is numbered from 0 again (after facebookresearch/fairseq, issue 1667).
 */
#ifndef VQA_CKPT_PRUNE_H
#define VQA_CKPT_PRUNE_H

#include "ckpt/checkpoint.h"

enum { LAYERS_MOST = 256 };

/* The numbers of layers to keep, ascending. */
struct kept {
	int n;
	int layers[LAYERS_MOST];
};

/* "0,2,4" in any order, each once and below count; "" is none. NULL: all. */
int kept_parse(struct kept *kept, const char *text, int count, struct err *err);

/*
 * Writes what is kept of ckpt's language, cross and vision layers to path, with LayerDrop off; *after is its configuration, whose answers
 * stay ckpt's, and *parameters counts its elements.
 */
int checkpoint_prune(const struct checkpoint *ckpt, const struct kept kept[STACKS], const char *path,
                     struct config *after, size_t *parameters, struct err *err);

#endif
