/*
 * The head of a PNG or JPEG file: its kind and a size that is one.
 */
#include "fuzz.h"
#include "sys/plot.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *head = copy_of(data, size);
	const char *kind;
	int width, height;
	struct err err = { "" };

	if (picture_size(head, size, &kind, &width, &height, "picture", &err))
		must_say(err.text);
	else
		must((!strcmp(kind, "png") || !strcmp(kind, "jpeg")) && width > 0 && height > 0);
	free(head);
	return 0;
}
