/*
 * A config.json of transformers: any bytes; what is accepted has heads and a dropout within their bounds, and labels that are strings.
 */
#include "ckpt/hf_config.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memory_file(data, size);
	struct hf_config hf;
	struct config sizes;
	struct err err = { "" };
	char path[64];

	memory_path(path, fd);
	config_default(&sizes);
	if (!hf_config_read(&hf, path, &sizes, &err)) {
		must(hf.heads >= 0 && hf.heads <= 1024 && (hf.dropout == -1 || (hf.dropout >= 0 && hf.dropout < 1)));
		must((hf.labels != NULL) == (hf.labels_n > 0));
		for (int i = 0; i < hf.labels_n; i++)
			must(strlen(hf.labels[i]) <= size);
		hf_config_release(&hf);
	} else {
		must_say(err.text);
	}
	close(fd);
	return 0;
}
