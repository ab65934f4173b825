/*
 * The images of several files, one after the other: feature tables, and numpy's .npz files, also all those of a folder.
 */
#ifndef VQA_FEAT_ROWS_H
#define VQA_FEAT_ROWS_H

#include "feat/features.h"
#include "feat/npz.h"
#include "sys/lines.h"

struct row {
	struct features features;
	char where[4200]; /* "FILE:LINE", or what an .npz has in its place */
	int bad;          /* the row is at fault, which fault tells; the ones behind it can be read */
	struct err fault;
};

struct rows {
	char **paths; /* of the files; a folder stands for its .npz files; "-" is stdin */
	int paths_n, f16;
	/* The file that is read: */
	char path[4096];
	int open; /* nothing, a table, an .npz */
	struct lines lines;
	struct npz npz;
	/* The folder that it is in, if that was named: */
	struct dirent **names;
	int names_n, names_at;
};

/* With f16 features become halves. The paths are kept. */
void rows_open(struct rows *rows, char **paths, int n, int f16);
/* 1: a row, good or bad; 0: no more; -1: nothing more can be read. */
int rows_next(struct rows *rows, struct row *row, struct err *err);
void rows_close(struct rows *rows);

#endif
