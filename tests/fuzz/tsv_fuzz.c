/*
 * Feature tables: any bytes as a row, and as a table with an index. A row that is accepted is within its bounds and is
 * accepted again as this project writes it.
 */
#include <math.h>

#include "feat/source.h"
#include "feat/tsv.h"
#include "fuzz.h"

static void
check(const struct features *f)
{
	must(f->n >= 1 && f->n <= FEATURES_REGIONS && f->columns >= 1 && f->columns <= FEATURES_WIDTH && f->id[0]);
	for (int i = 0; i < 4 * f->n; i++)
		must(f->boxes[i] >= 0 && f->boxes[i] <= 1);
	for (size_t i = 0; i < (size_t)f->n * (size_t)f->columns; i++)
		must(isfinite(((const float *)f->features)[i]));
}

static void
write_again(const struct features *f)
{
	struct features back = { 0 };
	struct err err = { "" };
	char *row = NULL;
	size_t n = 0;
	FILE *text = open_memstream(&row, &n);

	must(text && tsv_write(text, f, &err) == 0 && fclose(text) == 0 && row[n - 1] == '\n');
	must(tsv_parse(&back, row, n - 1, "again", &err) == 0);
	must(!strcmp(back.id, f->id) && back.n == f->n && back.columns == f->columns);
	must(!memcmp(back.features, f->features, features_bytes(f)));
	features_release(&back);
	free(row);
}

static void
read_row(const uint8_t *data, size_t size)
{
	uint8_t *row = copy_of(data, size);
	struct features f = { 0 };
	struct err err = { "" };

	if (tsv_parse(&f, (const char *)row, size, "row", &err) == 0) {
		check(&f);
		write_again(&f);
	} else {
		must_say(err.text);
	}
	features_release(&f);
	free(row);
}

static void
read_table(const char *path)
{
	struct features f = { 0 };
	struct source source;
	struct err err = { "" };

	if (source_open(&source, path, NULL, &err)) {
		must_say(err.text);
		return;
	}
	for (size_t i = 0; !source.is_store && i < source.rows_n; i++) {
		const char *id = source.rows[i].id;

		if (source_get(&source, id, strlen(id), &f, &err) == 1)
			check(&f);
		else
			must_say(err.text);
	}
	must(source_get(&source, "no such image", 13, &f, &err) <= 0);
	features_release(&f);
	source_close(&source);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t row = size && data[size - 1] == '\n' ? size - 1 : size;
	int fd = memory_file(data, size);
	char path[64];

	memory_path(path, fd);
	read_row(data, row);
	read_table(path);
	close(fd);
	return 0;
}
