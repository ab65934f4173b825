/*
 * A WordPiece vocabulary: one piece a line, the line's number (from 0) is its id. Immutable after vocab_open().
 *
 * Where the shipped vocabulary is: the environment's VQA_VOCAB, else ../share/vqa beside the program's folder (as
 * installed), else ../lib/text beside it (as built), else ../../../lib/text (as built in build/asan/bin).
 */
#ifndef VQA_TEXT_VOCAB_H
#define VQA_TEXT_VOCAB_H

#include <stddef.h>
#include <stdint.h>

#include "sys/err.h"

struct vocab {
	char *bytes; /* the file, whole */
	size_t size;
	uint32_t *starts; /* piece i is bytes[starts[i], starts[i + 1] - 1) */
	uint32_t *slots;  /* open addressing: id + 1, 0 when empty */
	uint32_t mask;    /* slots - 1 */
	int count;        /* pieces */
	size_t longest;   /* bytes of the longest piece: no match can be longer */
	int32_t unk, cls, sep;
	char hash[17]; /* FNV-1a, 64 bits, of the file's bytes; 16 hex digits. "vocab" of a stream's header */
};

/*
 * path NULL: the shipped one. Errors: a file that cannot be read, that is empty, over 64 MiB, not UTF-8, has a piece
 * twice, an empty line, or lacks [UNK], [CLS] or [SEP].
 */
int vocab_open(struct vocab *v, const char *path, struct err *err);
void vocab_close(struct vocab *v);
/* The id of a piece; -1 if there is none. */
int32_t vocab_id(const struct vocab *v, const char *piece, size_t n);

#endif
