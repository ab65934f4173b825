/*
 * The attention modules of a model as the reference's log has them: five kinds, in the order of the log's five rows, and by layer
 * within each (reference: learner.py). A module's span and its alphas serve every product that its weights serve: cross attention's
 * both ways.
 */
#ifndef VQA_REPORT_MODULES_H
#define VQA_REPORT_MODULES_H

#include "ckpt/config.h"
#include "model/params.h"

enum { MODULE_KINDS = 5 };

struct module {
	int kind; /* 0 … 4 */
	int layer;
	const struct attention_param *param;
	int over_words, over_regions; /* whether keys are words, regions */
};

/* "Self Language", "Cross", "Cross Self Language", "Cross Self Vision", "Self Vision" */
extern const char *const module_kind_names[MODULE_KINDS];
int module_kind_layers(int kind, const struct config *cfg);
/* All of a model, malloc'd: (*n); NULL without memory. params outlives them. */
struct module *modules_make(const struct config *cfg, const struct params *params, int *n, struct err *err);

#endif
