/*
 * A list of answers: any bytes. Each answer of what is accepted is found at its place, and the form in which answers are looked
 * up is found where it is told to be.
 */
#include "ckpt/answer_table.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memory_file(data, size);
	struct answer_table table;
	struct config cfg;
	struct err err = { "" };
	char path[64];

	memory_path(path, fd);
	config_default(&cfg);
	if (!config_read_answers(&cfg, path, &err)) {
		must(!answer_table_make(&table, &cfg, &cfg, &err));
		for (int i = 0; i < cfg.answers_n; i++) {
			char *form = answer_form(cfg.answers[i]);

			must(form != NULL && strlen(form) <= 2 * strlen(cfg.answers[i]));
			must(config_answer(&cfg, cfg.answers[i], strlen(cfg.answers[i])) == i);
			must(table.row[i] == config_answer(&cfg, form, strlen(form)));
			free(form);
		}
		answer_table_release(&table);
		config_release(&cfg);
	} else {
		must_say(err.text);
	}
	close(fd);
	return 0;
}
