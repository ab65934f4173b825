/*
 * The only place of lib that prints and exits, for cmd/ alone: "prog: words" on stderr, and the way out.
 */
#ifndef VQA_SYS_DIE_H
#define VQA_SYS_DIE_H

#include "sys/err.h"

extern const char *program_name; /* set by opt_parse */

void die(const struct err *err) __attribute__((noreturn));                            /* exit 1 */
void die_words(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn)); /* exit 1 */
void die_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn)); /* exit 2 */
/* For threads: the line, and the end of the process without its atexit handlers. */
void die_at_once(const char *words) __attribute__((noreturn));
void warn_words(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The last act of a program that writes text: flush and close stdout; a full disk is an error. */
void close_stdout(void);
/* Refuse to write binary to a terminal: exit 2 (usage). */
void refuse_terminal(int fd);
/* Say on stderr that fd is a terminal and is being read ("reading from the terminal; end with Ctrl-D"). */
void note_terminal(int fd);
/* The same where one of these paths is "-", stdin. */
void note_paths(char *const *paths, int n);

#endif
