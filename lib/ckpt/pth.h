/*
 * What torch.save writes, in memory: a pickle that describes tensors, and their storages.
 *
 *     since torch 1.6   a zip archive: NAME/data.pkl, NAME/byteorder, NAME/data/KEY: a storage each
 *     before            five pickles (a magic number, a protocol, the machine, the object, the storages' keys in their order), then
 *                       each storage: the number of its elements in 8 bytes, and the elements
 *
 * The object is a state dict, that is a dict of tensors, or a dict that has one under "state_dict", "model_state_dict" or "model".
 *
 * A tensor that lies in its storage row by row is used where it is. Any other (a transposed one, say) is copied behind the file: the
 * copies together have at most four times the bytes of the file, so nothing is allocated that the file only claims. Every storage has the
 * size that the pickle says, every element of every tensor lies in its storage, and no name is there twice.
 */
#ifndef VQA_CKPT_PTH_H
#define VQA_CKPT_PTH_H

#include "ckpt/image.h"

struct pth_view;

struct pth {
	struct image image;     /* tensors, from the file's first byte; base is NULL */
	struct pth_view *views; /* what is copied */
	size_t views_n;
	size_t size; /* up to the last copy's end, if there are any */
};

/* By the first bytes. */
int pth_is(const uint8_t *bytes, size_t size);
/* Copies begin at byte `behind`, at or after the file's end. */
int pth_parse(struct pth *pth, const uint8_t *bytes, size_t size, size_t behind, struct err *err);
/* Makes the copies in a memory of pth->size bytes that begins with the file. */
void pth_copy(const struct pth *pth, uint8_t *base);
void pth_release(struct pth *pth);

#endif
