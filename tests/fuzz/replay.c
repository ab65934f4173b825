/*
 * A fuzz target over the files of a folder, without libFuzzer; says TAP. A file that crashes it is the last one named.
 */
#include <dirent.h>

#include "fuzz.h"

/* The file's bytes, malloc'd. */
static uint8_t *
whole_file(const char *path, size_t *size)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data;
	long n;

	if (!file || fseek(file, 0, SEEK_END) || (n = ftell(file)) < 0 || fseek(file, 0, SEEK_SET)) {
		perror(path);
		exit(1);
	}
	data = malloc((size_t)n + 1);
	if (!data || fread(data, 1, (size_t)n, file) != (size_t)n) {
		perror(path);
		exit(1);
	}
	fclose(file);
	*size = (size_t)n;
	return data;
}

static int
is_input(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

int
main(int argc, char **argv)
{
	struct dirent **inputs = NULL;
	int n = argc == 2 ? scandir(argv[1], &inputs, is_input, alphasort) : -1;

	if (n <= 0) {
		fprintf(stderr, "usage: %s FOLDER, with files in it\n", argv[0]);
		return 1;
	}
	printf("1..1\n");
	for (int i = 0; i < n; i++) {
		char path[4096];
		uint8_t *data;
		size_t size;

		snprintf(path, sizeof path, "%s/%s", argv[1], inputs[i]->d_name);
		printf("# %s\n", path);
		fflush(stdout);
		data = whole_file(path, &size);
		LLVMFuzzerTestOneInput(data, size);
		free(data);
		free(inputs[i]);
	}
	free(inputs);
	printf("ok 1 - %d inputs of %s\n", n, argv[1]);
	return fflush(stdout) ? 1 : 0;
}
