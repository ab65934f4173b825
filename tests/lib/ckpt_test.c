/*
 * Checkpoints: configurations to JSON and back, answers looked up, names, types, images written and read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ckpt/answer_table.h"
#include "ckpt/checkpoint.h"
#include "ckpt/names.h"

static char folder[] = "/tmp/ckpt_test.XXXXXX";
static char path[64];

static int
setup(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof path, "%s/x.safetensors", folder);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static void
small_config(struct config *cfg, int answers)
{
	config_default(cfg);
	cfg->language = cfg->cross = cfg->vision = 1;
	cfg->hidden = 8;
	cfg->heads = 2;
	cfg->ffn = 12;
	cfg->features = 5;
	cfg->vocabulary = 7;
	cfg->positions = 20;
	cfg->answers_n = answers;
}

static void
test_config(void **state)
{
	static const char answers[] = "[\"yes\",\"no\",\"\\u00e9t\\u00e9\",\"a \\\"b\\\"\",\"\"]";
	struct config cfg, back;
	char *json, *json_answers;
	struct err err;

	(void)state;
	small_config(&cfg, 5);
	cfg.sparse = 1;
	cfg.dropout = 0.25;
	snprintf(cfg.source, sizeof cfg.source, "grid \xc3\xa9");
	snprintf(cfg.vocab_hash, sizeof cfg.vocab_hash, "0123456789abcdef");
	assert_int_equal(config_format(&cfg, &json, &json_answers, &err), 0);
	assert_null(json_answers);
	assert_int_equal(config_parse(&back, json, answers, &err), 0);
	free(json);
	assert_memory_equal(&cfg, &back, offsetof(struct config, answers));
	assert_string_equal(back.source, cfg.source);
	assert_string_equal(back.vocab_hash, cfg.vocab_hash);
	assert_true(back.dropout == 0.25);
	assert_string_equal(back.answers[2], "\xc3\xa9t\xc3\xa9");
	assert_int_equal(config_answer(&back, "yes", 3), 0);
	assert_int_equal(config_answer(&back, "no", 2), 1);
	assert_int_equal(config_answer(&back, "", 0), 4);
	/* A length, no NUL: prefixes and what goes on behind it are other answers. */
	assert_int_equal(config_answer(&back, "ye", 2), -1);
	assert_int_equal(config_answer(&back, "yes!", 3), 0);
	assert_int_equal(config_answer(&back, "yes\0\0\0", 6), -1);
	assert_int_equal(config_answer(&back, "\0", 1), -1);
	config_release(&back);

	snprintf(cfg.source, sizeof cfg.source, "\xff");
	assert_int_equal(config_format(&cfg, &json, &json_answers, &err), -1);
}

static void
test_plain_answers(void **state)
{
	static const struct {
		const char *text;
		int index;
	} cases[] = { { "0", 0 },   { "9", 9 },   { "10", 10 }, { "11", -1 },      { "", -1 },
		      { "01", -1 }, { "-1", -1 }, { "1 ", -1 }, { "9999999", -1 }, { "yes", -1 } };
	struct config cfg;

	(void)state;
	small_config(&cfg, 11);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_int_equal(config_answer(&cfg, cases[i].text, strlen(cases[i].text)), cases[i].index);
}

static void
test_bounds(void **state)
{
	struct config cfg;
	struct err err;

	(void)state;
	small_config(&cfg, 3);
	assert_int_equal(config_check(&cfg, &err), 0);
	cfg.cross = 0;
	assert_int_equal(config_check(&cfg, &err), -1);
	assert_string_equal(err.text, "'cross' is 0, expected 1 to 256");
	small_config(&cfg, 3);
	cfg.heads = 3;
	assert_int_equal(config_check(&cfg, &err), -1);
	assert_string_equal(err.text, "'hidden' is 8, expected a multiple of 3 heads");
	small_config(&cfg, 3);
	cfg.max_tokens = 21;
	assert_int_equal(config_check(&cfg, &err), -1);
	assert_string_equal(err.text, "'max_tokens' is 21, expected at most 20 positions");
	small_config(&cfg, 0);
	assert_int_equal(config_check(&cfg, &err), -1);
	small_config(&cfg, 3);
	cfg.dropout = NAN;
	assert_int_equal(config_check(&cfg, &err), -1);
}

static void
test_names(void **state)
{
	static const struct {
		const char *theirs, *ours;
		int kept;
	} cases[] = {
		{ "logit_fc.0.weight", "logit_fc.0.weight", 1 },
		{ "module.logit_fc.0.weight", "logit_fc.0.weight", 1 },
		{ "module.module.a", "a", 1 },
		{ "lxrt_encoder.model.module.bert.x", "lxrt_encoder.model.bert.x", 1 },
		{ "lxrt_encoder.model.bert.encoder.layer.module_list.0.a", "lxrt_encoder.model.bert.encoder.layer.0.a",
		  1 },
		{ "x_layers.module_list.11.a", "x_layers.11.a", 1 },
		{ "submodule.a", "submodule.a", 1 },
		{ "a.modules.b", "a.modules.b", 1 },
		{ "", "", 1 },
		{ "module", "", 1 },
		{ "..a.", "..a.", 1 },
		{ "att.entmax_alpha.alpha", "att.entmax_alpha.alpha", 1 },
		{ "att.entmax_alpha.alpha_chooser", "att.entmax_alpha.alpha_chooser", 0 },
		{ "att.adaptive_span.mask_template_1", "att.adaptive_span.mask_template_1", 0 },
		{ "att.adaptive_span.current_val", "att.adaptive_span.current_val", 1 },
		{ "module.bert.encoder.layer.0.a", "lxrt_encoder.model.bert.encoder.layer.0.a", 1 },
		{ "lxmert.encoder.visn_fc.box_fc.bias", "lxrt_encoder.model.bert.encoder.visn_fc.box_fc.bias", 1 },
		{ "encoder.layer.0.a", "lxrt_encoder.model.bert.encoder.layer.0.a", 1 },
		{ "pooler.dense.bias", "lxrt_encoder.model.bert.pooler.dense.bias", 1 },
		{ "bert.bert.a", "lxrt_encoder.model.bert.bert.a", 1 },
		{ "bert", "bert", 1 },
		{ "roberta.pooler.dense.bias", "roberta.pooler.dense.bias", 1 },
		{ "embeddings.LayerNorm.gamma", "lxrt_encoder.model.bert.embeddings.LayerNorm.weight", 1 },
		{ "bert.embeddings.LayerNorm.beta", "lxrt_encoder.model.bert.embeddings.LayerNorm.bias", 1 },
		{ "gamma.betas", "gamma.betas", 1 },
		{ "module.answer_head.logit_fc.3.weight", "logit_fc.3.weight", 1 },
		{ "answer_head.weight", "answer_head.weight", 1 },
		{ "cls.predictions.bias", "cls.predictions.bias", 1 },
		{ "bert.embeddings.position_ids", "lxrt_encoder.model.bert.embeddings.position_ids", 0 },
		{ "embeddings.token_type_ids", "lxrt_encoder.model.bert.embeddings.token_type_ids", 0 },
	};
	char out[NAME_OURS], longest[TENSOR_NAME];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_int_equal(name_ours(out, cases[i].theirs), cases[i].kept);
		assert_string_equal(out, cases[i].ours);
	}
	memset(longest, 'x', sizeof longest);
	longest[sizeof longest - 1] = '\0';
	assert_int_equal(name_ours(out, longest), 1);
	assert_string_equal(out, longest);
	/* One that becomes longer. */
	memcpy(longest, "pooler.", 7);
	memcpy(longest + sizeof longest - 7, ".gamma", 7);
	assert_int_equal(name_ours(out, longest), 1);
	assert_int_equal(strlen(out), sizeof longest - 1 + strlen("lxrt_encoder.model.bert.") + 1);
	assert_string_equal(out + strlen(out) - 8, "x.weight");
	assert_true(name_pretraining("cls.predictions.bias") && name_pretraining("obj_predict_head.a"));
	assert_false(name_pretraining("cls") || name_pretraining("logit_fc.0.bias"));
}

/* What the reference's convert_ans makes of them, by its own code. */
static void
test_answer_form(void **state)
{
	static const struct {
		const char *answer, *form;
	} cases[] = {
		{ "", "" },
		{ "yes", "yes" },
		{ "Yes", "yes" },
		{ " yes", " yes" },
		{ "yes ", "yes " },
		{ "yes.", "yes" },
		{ "yes .", "yes" },
		{ "  yes .", "yes" },
		{ "yes..", "yes." },
		{ "yes. ", "yes. " },
		{ ".", "" },
		{ "..", "." },
		{ ". .", "." },
		{ "a", "a" },
		{ "a ", "" },
		{ "a.", "a" },
		{ "a man", "man" },
		{ "the  man", "man" },
		{ "A Man.", "man" },
		{ "an apple", "apple" },
		{ "a an the dog", "dog" },
		{ "the a dog", "a dog" },
		{ "a the dog", "dog" },
		{ "an a dog", "a dog" },
		{ "the the dog", "the dog" },
		{ "a  an\tapple", "an\tapple" },
		{ "theater", "theater" },
		{ "another", "another" },
		{ "One", "1" },
		{ "one.", "1" },
		{ "a one", "1" },
		{ "one two", "one two" },
		{ "ten", "10" },
		{ "eleven", "eleven" },
		{ "TEN .", "10" },
		{ "Grey", "gray" },
		{ "grey cat", "grey cat" },
		{ "the grey", "gray" },
		{ "a grey.", "gray" },
		{ "10", "10" },
		{ "caf\303\211", "caf\303\251" },
		{ "\303\211T\303\211.", "\303\251t\303\251" },
		{ "\342\204\252elvin", "kelvin" },
		{ "\302\240a dog\302\240.", "dog" },
		{ "a \343\200\200dog", "dog" },
		{ "\342\200\203the dog.", "dog" },
		{ "a man and a dog", "man and a dog" },
		{ "thE ONE.", "1" },
		{ "A.", "a" },
		{ "a .", "a" },
		{ "an .", "an" },
		{ "three.", "3" },
		{ "\316\224\316\243\317\211", "\316\264\317\203\317\211" },
		{ "a\tdog", "a\tdog" },
		{ "\034yes.", "yes" },
		{ "\302\205yes\302\205.", "yes" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *form = answer_form(cases[i].answer);

		assert_non_null(form);
		assert_string_equal(form, cases[i].form);
		free(form);
	}
}

static void
test_types(void **state)
{
	static const uint16_t half[] = { 0x3c00, 0xc000, 0x0001, 0x7bff, 0x8000 };
	static const float halves[] = { 1, -2, 0x1p-24f, 65504, -0.0f };
	static const uint16_t brain[] = { 0x3f80, 0xc000, 0x0001 };
	static const float brains[] = { 1, -2, 0x1p-133f };
	static const double wide[] = { 0.5, -1e-3 };
	float out[5];
	struct err err;

	(void)state;
	assert_int_equal(dtype_to_f32(out, half, 5, DTYPE_F16, &err), 0);
	assert_memory_equal(out, halves, sizeof halves);
	assert_int_equal(dtype_to_f32(out, brain, 3, DTYPE_BF16, &err), 0);
	assert_memory_equal(out, brains, sizeof brains);
	assert_int_equal(dtype_to_f32(out, wide, 2, DTYPE_F64, &err), 0);
	assert_true(out[0] == 0.5f && out[1] == -1e-3f);
	assert_int_equal(dtype_to_f32(out, wide, 1, DTYPE_I64, &err), -1);
	for (int type = DTYPE_F64; type <= DTYPE_BOOL; type++)
		assert_true(dtype_name((enum dtype)type) && dtype_size((enum dtype)type));
}

/* Tensors of no element, of no dimension, and names that need escapes. */
static void
test_image(void **state)
{
	static const float a[] = { 1, 2, 3, 4, 5, 6 };
	static const uint8_t b[] = { 1, 2, 3 };
	static const struct {
		const char *name;
		enum dtype dtype;
		int dims;
		int64_t shape[4];
		const void *data;
	} made[] = {
		{ "z", DTYPE_F32, 2, { 2, 3 }, a },    { "none", DTYPE_F32, 2, { 0, 3 }, a },
		{ "a \"b\"", DTYPE_U8, 1, { 3 }, b },  { "one", DTYPE_BOOL, 0, { 0 }, b },
		{ "\xc3\xa9", DTYPE_U8, 1, { 1 }, b }, { "four", DTYPE_F32, 4, { 1, 2, 1, 1 }, a },
	};
	enum { MADE = sizeof made / sizeof *made };
	const void *data[MADE];
	struct image image;
	struct err err;

	(void)state;
	image_begin(&image);
	for (size_t i = 0; i < MADE; i++) {
		assert_int_equal(image_add(&image, made[i].name, made[i].dtype, made[i].dims, made[i].shape, &err), 0);
		data[i] = made[i].data;
	}
	assert_int_equal(image_add_meta(&image, "key", "a\n\"value\"", &err), 0);
	assert_int_equal(image_write(&image, data, path, &err), 0);
	image_close(&image);

	assert_int_equal(image_open(&image, path, &err), 0);
	assert_int_equal(image.n, MADE);
	assert_int_equal(image.tensors[0].offset % 64, 0);
	assert_string_equal(image_meta(&image, "key"), "a\n\"value\"");
	assert_null(image_meta(&image, "none"));
	assert_null(image_find(&image, "nil"));
	for (size_t i = 0; i < MADE; i++) {
		const struct tensor *t = image_find(&image, made[i].name);

		assert_non_null(t);
		assert_int_equal(t->dtype, made[i].dtype);
		assert_int_equal(t->dims, made[i].dims);
		assert_memory_equal(t->shape, made[i].shape, (size_t)t->dims * sizeof *t->shape);
		assert_memory_equal(image_data(&image, t), made[i].data, t->bytes);
	}
	image_close(&image);
}

static void
test_image_faults(void **state)
{
	struct image image;
	struct err err;
	char *text = malloc((100000000) + 1);
	char name[TENSOR_NAME + 1];

	(void)state;
	assert_non_null(text);
	/* What no reader would take is not written. */
	memset(text, 'x', 100000000);
	text[100000000] = '\0';
	image_begin(&image);
	assert_int_equal(image_add_meta(&image, "long", text, &err), 0);
	free(text);
	assert_int_equal(image_write(&image, NULL, path, &err), -1);
	assert_non_null(strstr(err.text, "expected at most 100000000"));
	image_close(&image);
	image_begin(&image);
	assert_int_equal(image_add_meta(&image, "\xff", "no UTF-8", &err), 0);
	assert_int_equal(image_write(&image, NULL, path, &err), -1);
	memset(name, 'x', TENSOR_NAME);
	name[TENSOR_NAME] = '\0';
	assert_int_equal(image_add(&image, name, DTYPE_F32, 0, NULL, &err), -1);
	image_close(&image);
}

/* Parameters written, found again under their NAME, bound in the table's order; a second writing replaces the first whole. */
static void
test_checkpoint(void **state)
{
	struct config cfg;
	struct params params;
	struct checkpoint ckpt;
	struct image_meta more = { (char *)(uintptr_t) "vqa.run", (char *)(uintptr_t) "{}" };
	struct err err;
	struct stat st;
	char name[64];
	float **data;

	(void)state;
	small_config(&cfg, 3);
	cfg.sparse = 1;
	assert_int_equal(params_make(&params, &cfg, &err), 0);
	data = calloc((size_t)params.n, sizeof *data);
	assert_non_null(data);
	for (int i = 0; i < params.n; i++) {
		data[i] = malloc(params.list[i].n * sizeof **data);
		assert_non_null(data[i]);
		param_init(data[i], &params, i, &cfg, 7, 0.02);
	}
	for (int turn = 0; turn < 2; turn++) {
		data[0][0] = (float)turn;
		assert_int_equal(checkpoint_write(&cfg, &params, (const float *const *)data, &more, 1, path, &err), 0);
	}
	snprintf(name, sizeof name, "%.*s", (int)(strlen(path) - strlen(".safetensors")), path);
	assert_int_equal(checkpoint_open(&ckpt, name, &err), 0);
	assert_string_equal(ckpt.path, path);
	assert_int_equal(ckpt.params.n, params.n);
	assert_true(ckpt.data[0][0] == 1);
	for (int i = 0; i < params.n; i++)
		assert_memory_equal(ckpt.data[i], data[i], params.list[i].n * sizeof **data);
	assert_string_equal(image_meta(&ckpt.image, "vqa.run"), "{}");
	assert_int_equal(config_answer(&ckpt.config, "2", 1), 2);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal((size_t)st.st_size, ckpt.image.size);
	checkpoint_close(&ckpt);
	for (int i = 0; i < params.n; i++)
		free(data[i]);
	free(data);
	params_release(&params);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config), cmocka_unit_test(test_plain_answers), cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_names),  cmocka_unit_test(test_answer_form),   cmocka_unit_test(test_types),
		cmocka_unit_test(test_image),  cmocka_unit_test(test_image_faults),  cmocka_unit_test(test_checkpoint),
	};

	return cmocka_run_group_tests_name("ckpt", tests, setup, teardown);
}
