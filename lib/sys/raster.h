/*
 * What is known of a PNG or JPEG file before it is decoded.
 */
#ifndef VQA_SYS_RASTER_H
#define VQA_SYS_RASTER_H

#include <stddef.h>

#include "sys/err.h"

struct raster {
	const char *kind; /* "png", "jpeg" */
	int width, height;
};

/*
 * Of the file's n bytes. A JPEG that breaks off is a fault here, since decoders fill up with gray what is missing; of a PNG its decoder
 * finds that out. name is for messages.
 */
int raster_parse(struct raster *raster, const void *data, size_t n, const char *name, struct err *err);

#endif
