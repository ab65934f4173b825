/*
 * log.tsv
 */
#include "train/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int
check(int bad, const char *name, struct err *err)
{
	return bad ? err_sys(err, "%s: cannot write", name) : 0;
}

int
log_header(FILE *out, const char *name, struct err *err)
{
	int bad = fputs("step\tbce\tspan\ttotal\tnorm\trate\taccuracy\tquestions\n", out) < 0;

	return check(bad || fflush(out), name, err);
}

int
log_row(FILE *out, const char *name, const struct log_row *row, struct err *err)
{
	int bad = fprintf(out, "%lld\t%.9g\t%.9g\t%.9g\t%.9g\t%.9g\t%.9g\t%lld\n", (long long)row->step, row->bce,
	                  row->span, row->total, row->norm, row->rate, row->accuracy, (long long)row->questions) < 0;

	return check(bad || fflush(out), name, err);
}

/* The offset after the row of `step`, or after the last whole row before it, or after the header. */
static off_t
end_of(FILE *file, int64_t step)
{
	char line[512], *tail;
	off_t end = 0;
	int64_t last = 0;

	while (fgets(line, sizeof line, file) && strchr(line, '\n')) {
		int64_t at = strtoll(line, &tail, 10);

		if (end && (*tail != '\t' || at <= last || at > step))
			break;
		last = end ? at : 0;
		end = ftello(file);
	}
	return end;
}

FILE *
log_open(const char *path, int64_t step, struct err *err)
{
	FILE *file = fopen(path, step ? "r+e" : "we");
	off_t end = 0;

	if (!file && step)
		file = fopen(path, "we");
	if (file && step)
		end = end_of(file, step);
	if (!file || (step && (ftruncate(fileno(file), end) || fseeko(file, end, SEEK_SET)))) {
		err_sys(err, "%s: cannot open", path);
		if (file)
			fclose(file);
		return NULL;
	}
	if (!end && log_header(file, path, err)) {
		fclose(file);
		return NULL;
	}
	return file;
}
