/*
 * What the emulator's tests share: a kernel's launch, device memory with host values, and a child that must die with
 * some words.
 */
#ifndef EMU_TEST_H
#define EMU_TEST_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cuda_runtime.h>

extern "C" {
#include <cmocka.h>
}

#define OK(CALL) assert_int_equal((CALL), 0)

/* Launches with values of the very types that the kernel takes. */
template <typename... P>
static inline cudaError_t
launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, std::type_identity_t<P>... values)
{
	void *args[] = { (void *)&values..., NULL };

	return cudaLaunchKernel(kernel, grid, block, args, shared, NULL);
}

template <typename T>
static inline T *
device(size_t n, const T *host = NULL)
{
	T *p;

	OK(cudaMalloc(&p, n * sizeof *p));
	if (host)
		OK(cudaMemcpy(p, host, n * sizeof *p, cudaMemcpyHostToDevice));
	return p;
}

template <typename T>
static inline void
fetch(T *host, const T *p, size_t n)
{
	OK(cudaMemcpy(host, p, n * sizeof *p, cudaMemcpyDeviceToHost));
}

/* body must end its process, a child's, with the words on stderr. */
static inline void
dies(void (*body)(void), const char *words)
{
	char said[65536];
	size_t n = 0;
	ssize_t got;
	int fds[2], status;
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		signal(SIGSEGV, SIG_DFL); /* not cmocka's */
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		body();
		_exit(0);
	}
	close(fds[1]);
	while ((got = read(fds[0], said + n, sizeof said - 1 - n)) > 0)
		n += (size_t)got;
	said[n] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (!status || !strstr(said, words))
		fail_msg("status %d, expected the words '%s', got: %s", status, words, said);
}

#endif
