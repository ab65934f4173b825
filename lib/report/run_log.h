/*
 * log.log, the reference's text: what it says of spans. After "Epoch E: Train …" come five rows, one a kind, of fields
 * "Name layer span" between tabs; the last row goes on with "Epoch E: Valid …" (reference: learner.py).
 */
#ifndef VQA_REPORT_RUN_LOG_H
#define VQA_REPORT_RUN_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "report/modules.h"

enum { LOG_LINE_MAX = 1 << 16, LOG_LAYERS_MAX = 256, LOG_ENTRIES_MAX = 4096 };

struct run_log {
	struct log_span {
		int64_t epoch;
		int entry; /* which of the log's epochs this is, from 0: a log of several runs has a number twice */
		int kind, layer;
		double span; /* NaN where a run has gone wrong */
	} * list;            /* in the log's order */
	size_t n, room;
	int entries; /* epochs that the log has, with spans or not */
};

/* Spans of a file of this name; none at all is a fault. */
int run_log_open(struct run_log *log, const char *path, struct err *err);
/* The same from a descriptor; name is for messages. */
int run_log_read(struct run_log *log, int fd, const char *name, struct err *err);
void run_log_release(struct run_log *log);

#endif
