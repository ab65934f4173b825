/*
 * A PNG or JPEG file: its kind and a size that is one.
 */
#include "fuzz.h"
#include "sys/raster.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes = copy_of(data, size);
	struct raster raster;
	struct err err = { "" };

	if (raster_parse(&raster, bytes, size, "picture", &err))
		must_say(err.text);
	else
		must((!strcmp(raster.kind, "png") || !strcmp(raster.kind, "jpeg")) && raster.width > 0 &&
		     raster.height > 0);
	free(bytes);
	return 0;
}
