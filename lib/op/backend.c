/*
 * Finds a backend's library and loads it at run time.
 *
 * libgomp reads its environment when it is loaded, so how its threads wait is said before: they look for work for some
 * 50 us and then sleep, since the four training programs share the cores.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op/op.h"

/* The file beside the library (or program) that this code lies in. */
static int
beside(char *path, size_t size, const char *file, struct err *err)
{
	Dl_info info;
	const char *slash;

	if (!dladdr((const void *)(uintptr_t)backend_open, &info) || !info.dli_fname)
		return err_set(err, "cannot tell where libvqa.so lies");
	slash = strrchr(info.dli_fname, '/');
	if (snprintf(path, size, "%.*s%s", slash ? (int)(slash - info.dli_fname + 1) : 0, info.dli_fname, file) >=
	    (int)size)
		return err_set(err, "the path of '%s' is too long", file);
	return 0;
}

const struct op *
backend_open(const char *device, struct err *err)
{
	char path[4096];
	const struct op *op;
	void *library;

	if (strcmp(device, "auto") && strcmp(device, "cpu")) {
		err_set(err, "device '%s' is not known, expected auto or cpu", device);
		return NULL;
	}
	if (beside(path, sizeof path, "libvqa-cpu.so", err))
		return NULL;
	setenv("GOMP_SPINCOUNT", "1000", 0);
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		err_set(err, "cannot load the cpu backend: %s", dlerror());
		return NULL;
	}
	op = dlsym(library, "vqa_op_table");
	if (op && op->size == sizeof *op)
		return op;
	err_set(err, "%s: no table of operations of this build in it", path);
	return NULL;
}
