/*
 * LayerDrop (Fan, Grave, Joulin 2020) as the reference's models/layerdrop.py has it: of each stack, language, vision and cross
 * in this order, config.layerdrop layers are drawn, with replacement, and those that were drawn are left out whole.
 */
#ifndef VQA_MODEL_LAYERDROP_H
#define VQA_MODEL_LAYERDROP_H

#include <stdint.h>

#include "ckpt/config.h"

struct layerdrop {
	const struct config *config;
	/* A byte a layer, language, then vision, then cross: 1 where the last draw left it out. NULL: none ever is. */
	uint8_t *dropped;
	/* Draws that were recorded elsewhere and are replayed, by step; NULL: they are drawn. */
	uint8_t *recorded; /* (steps, layers_total) */
	int64_t steps;
};

/* Layers of each stack, in this order, which is not the one of ckpt-init -L. */
static inline void
layers_of_stacks(int sizes[STACKS], const struct config *cfg)
{
	sizes[0] = cfg->language;
	sizes[1] = cfg->vision;
	sizes[2] = cfg->cross;
}

static inline int
layers_total(const struct config *cfg)
{
	return cfg->language + cfg->vision + cfg->cross;
}

/*
 * recorded: a file with a JSON array that has an array of layers for each stack, three in turn a step; NULL: draws. The
 * configuration outlives it.
 */
int layerdrop_open(struct layerdrop *drop, const struct config *cfg, const char *recorded, struct err *err);
void layerdrop_close(struct layerdrop *drop);
/* What step `step` (from 1) leaves out; a draw depends on (seed, step) alone. */
int layerdrop_draw(struct layerdrop *drop, uint64_t seed, int64_t step, struct err *err);

#endif
