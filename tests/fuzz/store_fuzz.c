/*
 * Stores: any bytes as the file. LMDB believes what its files say, so what is let through to it must be sound.
 */
#include "feat/store.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const ids[] = { "0", "1", "2", "3", "10", "a", "m", "z", "\xff", "image" };
	int fd = memory_file(data, size);
	struct features f = { 0 };
	struct store store;
	struct err err = { "" };
	char path[64];

	memory_path(path, fd);
	if (store_open(&store, path, &err) == 0) {
		must(store.features >= 1 && store.objects >= 1);
		for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
			int got = store_get(&store, ids[i], strlen(ids[i]), &f, &err);

			if (got > 0)
				must(f.n >= 1 && f.n <= FEATURES_REGIONS && !strcmp(f.id, ids[i]));
			else if (got < 0)
				must_say(err.text);
		}
		store_close(&store);
	} else {
		must_say(err.text);
	}
	features_release(&f);
	close(fd);
	return 0;
}
