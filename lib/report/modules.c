/*
 * The list of modules.
 */
#include "report/modules.h"

#include <stdlib.h>

enum { SELF_LANGUAGE, CROSS, CROSS_SELF_LANGUAGE, CROSS_SELF_VISION, SELF_VISION };

const char *const module_kind_names[MODULE_KINDS] = { "Self Language", "Cross", "Cross Self Language",
	                                              "Cross Self Vision", "Self Vision" };

int
module_kind_layers(int kind, const struct config *cfg)
{
	return kind == SELF_LANGUAGE ? cfg->language : kind == SELF_VISION ? cfg->vision : cfg->cross;
}

static const struct attention_param *
param_of(const struct params *p, int kind, int layer)
{
	switch (kind) {
	case SELF_LANGUAGE:
		return &p->language[layer].self;
	case CROSS:
		return &p->cross[layer].cross;
	case CROSS_SELF_LANGUAGE:
		return &p->cross[layer].language_self;
	case CROSS_SELF_VISION:
		return &p->cross[layer].vision_self;
	default:
		return &p->vision[layer].self;
	}
}

struct module *
modules_make(const struct config *cfg, const struct params *params, int *n, struct err *err)
{
	int room = cfg->language + cfg->vision + 3 * cfg->cross;
	struct module *modules = calloc((size_t)room, sizeof *modules);

	*n = 0;
	if (!modules) {
		err_set(err, "out of memory for %d attention modules", room);
		return NULL;
	}
	for (int kind = 0; kind < MODULE_KINDS; kind++)
		for (int layer = 0; layer < module_kind_layers(kind, cfg); layer++)
			modules[(*n)++] =
				(struct module){ .kind = kind,
				                 .layer = layer,
				                 .param = param_of(params, kind, layer),
				                 .over_words = kind != CROSS_SELF_VISION && kind != SELF_VISION,
				                 .over_regions = kind != SELF_LANGUAGE && kind != CROSS_SELF_LANGUAGE };
	return modules;
}
