/*
 * Notice that nobody reads a pipe any more, also while this program computes or waits: a thread sleeps in poll() on it.
 */
#ifndef VQA_SYS_WATCH_H
#define VQA_SYS_WATCH_H

#include "sys/err.h"

/* When the last reader of fd goes, call lost, which ends the process. A file or a terminal is never lost. */
int watch_reader(int fd, void (*lost)(const char *words), struct err *err);
/* Before the end record: from now on readers may go. */
void watch_stop(void);

#endif
