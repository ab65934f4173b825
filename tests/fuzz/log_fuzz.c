/*
 * A run's log.log: the spans in it are within their bounds, each of an epoch that the log has.
 */
#include <math.h>

#include "fuzz.h"
#include "report/run_log.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run_log log;
	struct err err = { "" };
	int fd = memory_file(data, size);

	if (run_log_read(&log, fd, "log.log", &err)) {
		must_say(err.text);
	} else {
		must(log.n > 0);
		for (size_t i = 0; i < log.n; i++) {
			const struct log_span *s = &log.list[i];

			must(s->entry >= 0 && s->entry < log.entries && s->epoch >= 0);
			must(s->kind >= 0 && s->kind < MODULE_KINDS && s->layer >= 0 && s->layer < LOG_LAYERS_MAX);
			must(isnan(s->span) || fabs(s->span) <= 1e9);
		}
		run_log_release(&log);
	}
	close(fd);
	return 0;
}
