/*
 * A model's parameters from somebody else's state dict: which tensor is which parameter, what is missing, what is not used,
 * and then the values. What is missing begins as in a new checkpoint.
 */
#ifndef VQA_CKPT_WEIGHTS_H
#define VQA_CKPT_WEIGHTS_H

#include "ckpt/answer_table.h"
#include "ckpt/names.h"
#include "model/params.h"

/* Which parameters a state dict must have: all; all but spans and alphas; embeddings, language layers and pooler without these. */
enum weights_kind { WEIGHTS_ALL, WEIGHTS_LXMERT, WEIGHTS_BERT };

/* The parameters, the names and the table outlive it. */
struct weights {
	const struct params *params;
	const struct state_names *names;  /* NULL: everything is missing */
	const struct answer_table *table; /* which rows the head's last layer takes; NULL: all, in their order */
	const struct named **from;        /* (params->n): the tensor of each parameter, NULL where it is missing */
	const struct tensor **unused;     /* (unused_n): tensors that are no parameter of this model */
	int loaded, unused_n;
	size_t bytes; /* of the tensors that are loaded */
};

/*
 * A tensor with the name of a parameter but another shape is an error, as is a table without a head, and as are parameters that share
 * bytes of the file so that together they have more than four times as many: a small file could ask for any memory.
 */
int weights_bind(struct weights *weights, const struct params *params, const struct state_names *names,
                 const struct answer_table *table, struct err *err);
void weights_release(struct weights *weights);
/* An error if what this kind must have is missing. */
int weights_check_missing(const struct weights *weights, enum weights_kind kind, struct err *err);
/* An error if there are tensors that are not used, those of pre-training's heads apart. */
int weights_check_unused(const struct weights *weights, struct err *err);
/* What was loaded, what is missing and what is not used: a line each; say is warn_words. */
void weights_report(const struct weights *weights, const char *source, void say(const char *fmt, ...));

/*
 * The values in the order of the parameters, as float32, all finite: malloc'd each, in a malloc'd array; NULL on a fault. seed and
 * range as for param_init.
 */
float **weights_values(const struct weights *weights, const struct config *cfg, uint64_t seed, double range,
                       struct err *err);

#endif
