/*
 * Finds a backend's library and loads it at run time.
 *
 * libgomp reads its environment when it is loaded, so how its threads wait is said before: they look for work for some
 * 50 us and then sleep, since the four training programs share the cores; some 1.5 ms where one program has them.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "op/op.h"

enum { DIGITS_MOST = 3 };

static char opened[16];
static int alone;

void
backend_alone(void)
{
	alone = 1;
}

const char *
backend_device(void)
{
	return opened;
}

/* The GPU of "cuda" or "cuda:N", -1 for anything else. */
static int
gpu_of(const char *device)
{
	size_t digits;

	if (strncmp(device, "cuda", 4) != 0)
		return -1;
	if (!device[4])
		return 0;
	digits = strspn(device + 5, "0123456789");
	return device[4] == ':' && digits && digits <= DIGITS_MOST && !device[5 + digits] ? atoi(device + 5) : -1;
}

static int
is_device(const char *device)
{
	return !strcmp(device, "auto") || !strcmp(device, "cpu") || gpu_of(device) >= 0;
}

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

/* The table in a library, which stays loaded. */
static const struct op *
load(const char *path, const char *name, void **library, struct err *err)
{
	const struct op *op;

	*library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!*library) {
		err_set(err, "cannot load the %s backend: %s", name, dlerror());
		return NULL;
	}
	op = dlsym(*library, "vqa_op_table");
	if (op && op->size == sizeof *op)
		return op;
	err_set(err, "%s: no table of operations of this build in it", path);
	return NULL;
}

static const struct op *
open_cpu(struct err *err)
{
	char path[4096];
	void *library;

	if (beside(path, sizeof path, "libvqa-cpu.so", err))
		return NULL;
	setenv("GOMP_SPINCOUNT", alone ? "30000" : "1000", 0);
	snprintf(opened, sizeof opened, "cpu");
	return load(path, "cpu", &library, err);
}

static const struct op *
open_cuda(int gpu, struct err *err)
{
	const char *named = getenv("VQA_CUDA");
	char path[4096];
	const struct op *op;
	void *library;
	int (*open)(int device, struct err *err);

	if (named && snprintf(path, sizeof path, "%s", named) >= (int)sizeof path) {
		err_set(err, "the path in VQA_CUDA is too long");
		return NULL;
	}
	if (!named && beside(path, sizeof path, "libvqa-cuda.so", err))
		return NULL;
	op = load(path, "cuda", &library, err);
	if (!op)
		return NULL;
	*(void **)&open = dlsym(library, "vqa_op_open");
	if (!open) {
		err_set(err, "%s: no function that opens a device in it", path);
		return NULL;
	}
	if (open(gpu, err))
		return NULL;
	snprintf(opened, sizeof opened, "cuda:%d", gpu);
	return op;
}

/* Loading CUDA's libraries takes a second: not where there is no driver. */
static int
may_have_gpu(void)
{
	return getenv("VQA_CUDA") || !access("/dev/nvidiactl", F_OK) || !access("/dev/dxg", F_OK);
}

const struct op *
backend_open(const char *device, struct err *err)
{
	const struct op *op = NULL;

	if (!is_device(device)) {
		err_set(err, "device '%s' is not known, expected auto, cpu, cuda or cuda:N", device);
		return NULL;
	}
	if (gpu_of(device) >= 0)
		return open_cuda(gpu_of(device), err);
	if (!strcmp(device, "auto") && may_have_gpu())
		op = open_cuda(0, err);
	return op ? op : open_cpu(err);
}
