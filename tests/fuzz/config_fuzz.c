/*
 * A checkpoint's own words: vqa.config, a newline, vqa.answers (without a newline: none). What is accepted is within its
 * bounds, has a table of parameters, and comes back the same from its own JSON.
 */
#include "ckpt/config.h"
#include "fuzz.h"
#include "model/params.h"

static char *
text_of(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	must(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

static void
must_come_back(const struct config *cfg)
{
	struct config back;
	struct err err = { "" };
	char *json, *answers;

	must(config_format(cfg, &json, &answers, &err) == 0);
	must(config_parse(&back, json, answers, &err) == 0);
	must(back.language == cfg->language && back.ffn == cfg->ffn && back.answers_n == cfg->answers_n);
	must(!strcmp(back.source, cfg->source) && !strcmp(back.vocab_hash, cfg->vocab_hash));
	for (int i = 0; cfg->answers && i < cfg->answers_n; i++)
		must(config_answer(&back, cfg->answers[i], strlen(cfg->answers[i])) == i);
	config_release(&back);
	free(json);
	free(answers);
}

static void
make_parameters(const struct config *cfg)
{
	struct params params;
	struct err err = { "" };

	must(params_make(&params, cfg, &err) == 0);
	must(params.n > 0);
	params_release(&params);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *newline = memchr(data, '\n', size);
	size_t n = newline ? (size_t)(newline - data) : size;
	char *json = text_of(data, n), *answers = newline ? text_of(newline + 1, size - n - 1) : NULL;
	struct config cfg;
	struct err err = { "" };

	if (config_parse(&cfg, json, answers, &err) == 0) {
		must(config_check(&cfg, &err) == 0);
		must_come_back(&cfg);
		make_parameters(&cfg);
		config_release(&cfg);
	} else {
		must_say(err.text);
	}
	free(json);
	free(answers);
	return 0;
}
