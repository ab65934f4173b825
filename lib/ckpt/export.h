/*
 * A checkpoint as the reference's state dict: every key that its load_state_dict asks for, strictly.
 *
 * What ours leaves out comes back: LayerDrop's wrapper around the layers of each stack (reference: models/layerdrop.py), alpha's
 * second name (models/entmax.py), and the span's two constant templates, linspace(1 - S, 0, S), S the tokens or the regions
 * (models/adaptive_span.py).
 */
#ifndef VQA_CKPT_EXPORT_H
#define VQA_CKPT_EXPORT_H

#include "ckpt/checkpoint.h"

/* The reference's name of a parameter; out has TENSOR_NAME bytes. Its inverse is name_ours. */
int name_theirs(char out[TENSOR_NAME], const char *ours, const struct config *cfg, struct err *err);
/* Write the state dict to path, a safetensors file, whole or not at all. */
int export_write(const struct checkpoint *ckpt, const char *path, struct err *err);

#endif
