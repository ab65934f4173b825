/*
 * Bytes between the parts of one allocation that nobody may touch. Under AddressSanitizer a touch ends the program; elsewhere
 * there are no such bytes. For memory of this process only: not a device's.
 */
#ifndef VQA_SYS_POISON_H
#define VQA_SYS_POISON_H

#include <stddef.h>

#ifdef __has_feature /* clang's way; gcc defines the macro itself */
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
enum { POISON_GAP = 64 }; /* at least so many between two parts */
#else
#define ASAN_POISON_MEMORY_REGION(at, n) ((void)(at), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(at, n) ((void)(at), (void)(n))
enum { POISON_GAP = 0 };
#endif

static inline void
poison(void *at, size_t n)
{
	ASAN_POISON_MEMORY_REGION(at, n);
}

/* Before the memory goes back to where it came from. */
static inline void
unpoison(void *at, size_t n)
{
	ASAN_UNPOISON_MEMORY_REGION(at, n);
}

#endif
