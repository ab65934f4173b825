/*
 * Where features come from: a store, or a table that is indexed by image; told apart by what the file holds.
 */
#ifndef VQA_FEAT_SOURCE_H
#define VQA_FEAT_SOURCE_H

#include "feat/store.h"
#include "sys/skips.h"

struct table_row {
	char *id;
	int64_t at; /* of the row's first byte */
	size_t n;   /* its bytes, without the newline */
	int64_t line;
	int bad; /* told, and left out */
};

struct source {
	const char *name;
	int is_store;
	struct skips *skips; /* of a table: where bad rows are counted; NULL: they are faults */
	struct store store;
	/* A table: */
	int fd;
	struct table_row *rows; /* sorted by id */
	size_t rows_n;
	char *row; /* one row's text */
	size_t row_room;
	int features; /* of the first row */
	int objects;  /* most of any row */
};

/* A pipe is copied to a file without a name first. skips may be NULL. */
int source_open(struct source *source, const char *path, struct skips *skips, struct err *err);
/* 1, 0 if it lacks the image or that was left out, -1. */
int source_get(struct source *source, const char *id, size_t n, struct features *f, struct err *err);
void source_close(struct source *source);

/* What the header says of it. */
static inline int
source_features(const struct source *s)
{
	return s->is_store ? s->store.features : s->features;
}
static inline int
source_objects(const struct source *s)
{
	return s->is_store ? s->store.objects : s->objects;
}
static inline const char *
source_text(const struct source *s)
{
	return s->is_store ? s->store.source : "";
}

#endif
