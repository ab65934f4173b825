/*
 * config.json, as Hugging Face's transformers lay it beside the tensors of an LXMERT: what no tensor tells, and sizes to check.
 */
#ifndef VQA_CKPT_HF_CONFIG_H
#define VQA_CKPT_HF_CONFIG_H

#include <stddef.h>

#include "ckpt/config.h"

struct hf_config {
	int heads;      /* 0: it does not say */
	double dropout; /* of hidden states; here it is that of the attention's probabilities, too. -1: it does not say */
	char **labels; /* (labels_n): id2label; NULL if it is not there or has but LABEL_0, LABEL_1 … for names */
	int labels_n;
};

/* The config.json in the folder of source; returns whether it is there. */
int hf_config_path(char *path, size_t size, const char *source);
/* Sizes are those of the tensors; one that the file has otherwise is an error, as is an activation other than GELU. */
int hf_config_read(struct hf_config *hf, const char *path, const struct config *sizes, struct err *err);
void hf_config_release(struct hf_config *hf);

#endif
