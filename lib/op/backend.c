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

/* The number of WORD:N, 0 of WORD alone, -1 for anything else. */
static int
number_of(const char *device, const char *word)
{
	const size_t n = strlen(word);
	size_t digits;

	if (strncmp(device, word, n) != 0)
		return -1;
	if (!device[n])
		return 0;
	digits = strspn(device + n + 1, "0123456789");
	return device[n] == ':' && digits && digits <= DIGITS_MOST && !device[n + 1 + digits] ? atoi(device + n + 1)
	                                                                                      : -1;
}

static int
is_device(const char *device)
{
	return number_of(device, "auto") >= 0 || !strcmp(device, "cpu") || number_of(device, "cuda") >= 0;
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

/* round: numbers go round those that are there. */
static const struct op *
open_cuda(int gpu, int round, struct err *err)
{
	const char *named = getenv("VQA_CUDA");
	char path[4096];
	const struct op *op;
	void *library;
	int (*open)(int *device, int round, struct err *err);

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
	if (open(&gpu, round, err))
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
		err_set(err, "device '%s' is not known, expected auto, auto:N, cpu, cuda or cuda:N", device);
		return NULL;
	}
	if (number_of(device, "cuda") >= 0)
		return open_cuda(number_of(device, "cuda"), 0, err);
	if (number_of(device, "auto") >= 0 && may_have_gpu())
		op = open_cuda(number_of(device, "auto"), 1, err);
	return op ? op : open_cpu(err);
}
