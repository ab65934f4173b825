/*
 * Errors as values. lib never prints and never exits: a function that can fail takes a `struct err *` last,
 * fills it and returns -1 (or NULL). The words are what a person reads after "prog: ": subject first, the value
 * found, what was expected; lower case, no full stop.
 */
#ifndef VQA_SYS_ERR_H
#define VQA_SYS_ERR_H

struct err {
	char text[1024];
};

/* Set the words; always returns -1, so that `return err_set(err, …)` reads as a failure. */
int err_set(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same with ": " and strerror(errno) at the end. */
int err_sys(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Put words and ": " before what is there: the caller's context. Returns -1. */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
