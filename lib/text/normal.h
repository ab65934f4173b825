/*
 * The normal form of an answer, as VQA's evaluation has it (GT-Vision-Lab/VQA, PythonEvaluationTools/vqaEvaluation/vqaEval.py,
 * commit a013f00). Scores compare answers in it; the answer list is made of it.
 *
 * What it does to the letter, though it may not have been meant so: a punctuation mark is deleted everywhere if it stands beside
 * a space somewhere, and every mark is if the answer has a comma between digits; else it becomes a space. At most 32 full stops
 * are deleted. A digit is one of ASCII, a letter's lower case is its own, white space is Unicode's, as in the Python 2 that this
 * was written for.
 */
#ifndef VQA_TEXT_NORMAL_H
#define VQA_TEXT_NORMAL_H

#include "sys/err.h"

/*
 * Answers are UTF-8 without NUL; what is returned is malloc'd, NULL when there is no memory for it.
 *
 * Newlines and tabs to spaces, and none at the ends: the form in which answers are compared when all of a question are the same.
 */
char *answer_trimmed(const char *answer);
/* Punctuation, digits, articles, contractions; of any text, trimmed or not. */
char *answer_normal(const char *answer);
/* The same without its commas: the form of a list's answers (hengyuan-hu/bottom-up-attention-vqa, tools/compute_softscore.py). */
char *answer_listed(const char *answer);

#endif
