/*
 * Labels as LXMERT made them, after hengyuan-hu/bottom-up-attention-vqa, tools/compute_softscore.py: an answer that 1, 2, 3, 4
 * or more of the ten people gave scores .3, .6, .9, 1. Answers are counted as they stand in the annotations; those that the
 * answer list lacks are left out. The list has the normal forms of the questions' most frequent answers
 * ("multiple_choice_answer").
 */
#ifndef VQA_TEXT_LABEL_H
#define VQA_TEXT_LABEL_H

#include <stdio.h>

#include "ckpt/config.h"
#include "text/annotations.h"
#include "text/questions.h"

/*
 * The answers of a checkpoint (NAME as for checkpoint_path()) or of a JSON array of strings; config_answer() finds in it.
 * config_release() it.
 */
int answer_list_open(struct config *list, const char *name, struct err *err);
/* The list that occurs at least so often, the most frequent first, equals in the order of their bytes; a JSON array to out. */
int answer_list_make(FILE *out, struct annotations *a, int64_t least, struct err *err);
/* The entry's label and types become the annotation's; list NULL: with every answer. */
int label_entry(struct entry *entry, const struct annotation *annotation, const struct config *list, struct err *err);

#endif
