/*
 * Snapshot pairs: saving, finding again.
 */
#include "train/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stream/schema.h"
#include "sys/file.h"
#include "sys/hash.h"

enum { PATH = 4096 };

static int
join(char out[PATH], const char *folder, const char *file, struct err *err)
{
	if (snprintf(out, PATH, "%s/%s", folder, file) >= PATH)
		return err_set(err, "%.100s…: the path is too long", folder);
	return 0;
}

static int
get_number(const json_t *json, const char *key, int64_t high, int64_t *out, struct err *err)
{
	const json_t *value = json_object_get(json, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > high)
		return err_set(err, "vqa.run: '%s' is missing or no integer from 0 to %lld", key, (long long)high);
	*out = json_integer_value(value);
	return 0;
}

static int
get_text(const json_t *json, const char *key, char *out, size_t size, struct err *err)
{
	const char *text = json_string_value(json_object_get(json, key));

	if (!text || strlen(text) >= size)
		return err_set(err, "vqa.run: '%s' is missing or no string of fewer than %zu bytes", key, size);
	memcpy(out, text, strlen(text) + 1);
	return 0;
}

/* A snapshot that says nothing is from before there was a choice. */
static int
get_precision(const json_t *json, enum precision *out, struct err *err)
{
	const json_t *value = json_object_get(json, "precision");
	const char *name = value ? json_string_value(value) : precision_name(PRECISION_F32);

	return !name || precision_parse(out, name) ? err_set(err, "vqa.run: 'precision' is none of f32, bf16 and tf32")
	                                           : 0;
}

static int
parse(struct run_state *run, const json_t *json, struct err *err)
{
	int64_t seed;

	run->shards = 1;
	if (get_text(json, "id", run->id, sizeof run->id, err) ||
	    get_number(json, "step", RUN_STEP_MAX, &run->step, err) ||
	    get_number(json, "streams", RUN_COUNT_MAX, &run->streams, err) ||
	    get_number(json, "first", RUN_COUNT_MAX, &run->first, err) ||
	    get_number(json, "taken", RUN_COUNT_MAX, &run->taken, err) ||
	    get_number(json, "batch", BATCH_MAX, &run->batch, err) ||
	    (json_object_get(json, "shards") && get_number(json, "shards", SHARDS_MAX, &run->shards, err)) ||
	    get_number(json, "seed", RUN_SEED_MAX, &seed, err) ||
	    get_text(json, "source", run->source, sizeof run->source, err) || get_precision(json, &run->precision, err))
		return -1;
	if (!json_is_number(json_object_get(json, "dropout")))
		return err_set(err, "vqa.run: 'dropout' is missing or no number");
	run->seed = (uint64_t)seed;
	run->dropout = json_number_value(json_object_get(json, "dropout"));
	run->compat = json_is_true(json_object_get(json, "compat"));
	return 0;
}

int
run_state_read(struct run_state *run, const struct image *image, struct err *err)
{
	const char *text = image_meta(image, "vqa.run");
	json_error_t at;
	json_t *json;
	int bad;

	*run = (struct run_state){ 0 };
	if (!text)
		return 0;
	json = json_loads(text, JSON_REJECT_DUPLICATES, &at);
	bad = json ? parse(run, json, err) : err_set(err, "vqa.run: byte %d: %s", at.position, at.text);
	json_decref(json);
	return bad ? -1 : 1;
}

static char *
format(const struct run_state *run)
{
	json_t *json = json_pack(
		"{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s, s:b, s:s}", "id", run->id, "step", (json_int_t)run->step,
		"streams", (json_int_t)run->streams, "first", (json_int_t)run->first, "taken", (json_int_t)run->taken,
		"batch", (json_int_t)run->batch, "seed", (json_int_t)run->seed, "dropout", run->dropout, "precision",
		precision_name(run->precision), "compat", run->compat, "source", run->source);
	int bad = json && run->shards > 1 && json_object_set_new(json, "shards", json_integer(run->shards));
	char *text = json && !bad ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	return text;
}

int
snapshot_lock(const char *folder, struct err *err)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, "%s: cannot open the folder", folder);
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno == EWOULDBLOCK)
			err_set(err, "%s: another run is writing there", folder);
		else
			err_sys(err, "%s: cannot lock", folder);
		close(fd);
		return -1;
	}
	return fd;
}

/* The id in a file's metadata; "" where there is no file or no id. */
static int
id_of(char id[33], const char *path, struct err *err)
{
	struct image image;
	struct run_state run;
	int got;

	id[0] = '\0';
	if (access(path, F_OK))
		return 0;
	if (image_open(&image, path, err))
		return -1;
	got = run_state_read(&run, &image, err);
	image_close(&image);
	if (got > 0)
		memcpy(id, run.id, sizeof run.id);
	return got < 0 ? err_prefix(err, "%s", path) : 0;
}

/* What a killed program had begun to write (sys/file.h): nobody writes here while we have the lock. */
static int
remove_unfinished(const char *folder, struct err *err)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	int bad = 0;

	if (!dir)
		return err_sys(err, "%s: cannot list", folder);
	while (!bad && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, "LAST.", 5) && strstr(entry->d_name, ".new.") &&
		    unlinkat(dirfd(dir), entry->d_name, 0))
			bad = err_sys(err, "%s/%s: cannot remove", folder, entry->d_name);
	closedir(dir);
	return bad;
}

int
snapshot_recover(const char *folder, struct err *err)
{
	char last[PATH], next[PATH], optimizer[PATH], last_id[33], next_id[33];
	struct err ignored;

	if (join(last, folder, "LAST.safetensors", err) || join(next, folder, "LAST.optimizer.next", err) ||
	    join(optimizer, folder, "LAST.optimizer", err))
		return -1;
	if (remove_unfinished(folder, err))
		return -1;
	if (access(next, F_OK))
		return 0;
	if (id_of(last_id, last, err))
		return -1;
	/* A .next that cannot be read was never finished, so it cannot be the one that LAST belongs to. */
	if (!id_of(next_id, next, &ignored) && next_id[0] && !strcmp(next_id, last_id))
		return rename_durably(next, optimizer, err);
	if (unlink(next))
		return err_sys(err, "%s: cannot remove", next);
	return 0;
}

static int
check_claim(const char *folder, const char *checkpoint, const char *id, int *has, struct err *err)
{
	char last[PATH], *real;
	int bad;

	if (snapshot_recover(folder, err) || join(last, folder, "LAST.safetensors", err))
		return -1;
	real = realpath(last, NULL);
	*has = real != NULL;
	bad = real && (!*id || strcmp(real, checkpoint) != 0);
	free(real);
	return bad ? err_set(err,
	                     "%s: holds another run's snapshot; go on with it (vqa-forward -t %s) or name another "
	                     "folder",
	                     last, folder)
	           : 0;
}

int
snapshot_claim(const char *folder, const char *checkpoint, const char *id, int *has, struct err *err)
{
	int lock;

	if (mkdir(folder, 0777) && errno != EEXIST)
		return err_sys(err, "%s: cannot make the folder", folder);
	lock = snapshot_lock(folder, err);
	if (lock >= 0 && check_claim(folder, checkpoint, id, has, err)) {
		close(lock);
		return -1;
	}
	return lock;
}

static const char *const kinds[] = { "m", "v", "slow" };

static float **
buffers(const struct optimizer *o, int kind)
{
	return kind == 0 ? o->m : kind == 1 ? o->v : o->slow;
}

/* The optimizer's tensors, one after the other: where they lie, or through `host` from a device. */
struct buffered {
	const struct op *op;
	struct {
		const void *at;
		size_t bytes;
	} * list;
	void *host;
};

static const void *
take_buffer(void *user, size_t i)
{
	const struct buffered *b = user;

	if (op_on_host(b->op))
		return b->list[i].at;
	b->op->get(b->host, b->list[i].at, b->list[i].bytes);
	return b->host;
}

static size_t
largest(const struct params *params)
{
	size_t most = 0;

	for (int i = 0; i < params->n; i++)
		if (params->list[i].n > most)
			most = params->list[i].n;
	return most;
}

static int
save_optimizer(const char *path, const char *state, const struct optimizer *o, struct err *err)
{
	struct buffered buffered = { .op = o->op, .list = calloc(3 * (size_t)o->params->n, sizeof *buffered.list) };
	struct image image;
	int bad;

	if (!op_on_host(o->op))
		buffered.host = malloc(largest(o->params) * sizeof(float));
	bad = !buffered.list || (!op_on_host(o->op) && !buffered.host) ? err_set(err, "out of memory for a snapshot")
	                                                               : 0;
	image_begin(&image);
	bad = bad || image_add_meta(&image, "vqa.run", state, err);
	for (int kind = 0; !bad && kind < 3; kind++)
		for (int i = 0; !bad && i < o->params->n; i++) {
			const struct param *p = &o->params->list[i];
			char name[TENSOR_NAME];

			if (!buffers(o, kind)[i])
				continue;
			snprintf(name, sizeof name, "%s.%s", kinds[kind], p->name);
			buffered.list[image.n].at = buffers(o, kind)[i];
			buffered.list[image.n].bytes = p->n * sizeof(float);
			bad = image_add(&image, name, DTYPE_F32, p->dims, p->shape, err);
		}
	bad = bad || image_write_from(&image, take_buffer, &buffered, path, err);
	image_close(&image);
	free(buffered.list);
	free(buffered.host);
	return bad ? -1 : 0;
}

/* FNV-1a over words of 8 bytes: fast enough to read all weights at each snapshot. */
static uint64_t
hash(uint64_t h, const void *data, size_t bytes)
{
	const uint8_t *p = data;

	while (bytes) {
		size_t n = bytes < sizeof h ? bytes : sizeof h;
		uint64_t word = 0;

		memcpy(&word, p, n);
		h = (h ^ word) * FNV_PRIME;
		p += n;
		bytes -= n;
	}
	return h;
}

uint64_t
weights_hash(uint64_t begin, const struct params *params, const float *const *weights)
{
	for (int i = 0; i < params->n; i++)
		begin = hash(begin, weights[i], params->list[i].n * sizeof **weights);
	return begin;
}

/* From step, streams and weights alone, so that a run that goes on ends with the same bytes as an undisturbed one. */
static void
make_id(struct run_state *run, const struct params *params, const float *const *weights)
{
	uint64_t h = hash(FNV_BEGIN, &run->step, sizeof run->step);

	h = hash(h, &run->streams, sizeof run->streams);
	h = weights_hash(h, params, weights);
	snprintf(run->id, sizeof run->id, "%016llx", (unsigned long long)h);
}

int
snapshot_save(const char *folder, struct run_state *run, const struct config *config, const struct params *params,
              const float *const *weights, const struct optimizer *optimizer, struct err *err)
{
	char last[PATH], next[PATH], final[PATH], *state;
	struct image_meta meta;
	int bad;

	make_id(run, params, weights);
	if (join(last, folder, "LAST.safetensors", err) || join(next, folder, "LAST.optimizer.next", err) ||
	    join(final, folder, "LAST.optimizer", err))
		return -1;
	state = format(run);
	if (!state)
		return err_set(err, "out of memory for a snapshot");
	meta = (struct image_meta){ (char *)(uintptr_t) "vqa.run", state };
	bad = save_optimizer(next, state, optimizer, err) ||
	      checkpoint_write(config, params, weights, &meta, 1, last, err) || rename_durably(next, final, err);
	free(state);
	return bad ? -1 : 0;
}

/* "KIND.NAME" into the optimizer's buffer for it. */
static int
load_tensor(struct optimizer *o, const struct image *image, const struct tensor *t, struct err *err)
{
	for (int kind = 0; kind < 3; kind++) {
		size_t n = strlen(kinds[kind]);

		if (strncmp(t->name, kinds[kind], n) != 0 || t->name[n] != '.')
			continue;
		for (int i = 0; i < o->params->n; i++) {
			if (strcmp(t->name + n + 1, o->params->list[i].name) != 0)
				continue;
			if (t->dtype != DTYPE_F32 || t->bytes != o->params->list[i].n * sizeof(float))
				return err_set(err, "tensor '%s' has another size than its parameter", t->name);
			if (optimizer_room(o, buffers(o, kind), i, err))
				return -1;
			o->op->put(buffers(o, kind)[i], image_data(image, t), t->bytes);
			return 0;
		}
	}
	return err_set(err, "tensor '%s' belongs to no parameter", t->name);
}

/* The other half of the pair. */
static int
optimizer_beside(char out[PATH], const char *path, struct err *err)
{
	const char *slash = strrchr(path, '/');

	if (snprintf(out, PATH, "%.*sLAST.optimizer", slash ? (int)(slash - path) + 1 : 0, path) >= PATH)
		return err_set(err, "%.100s…: the path is too long", path);
	return 0;
}

int
snapshot_open_optimizer(struct image *image, const char *path, const char *id, struct err *err)
{
	char file[PATH];
	struct run_state run;
	int bad;

	if (optimizer_beside(file, path, err) || image_open(image, file, err))
		return -1;
	bad = run_state_read(&run, image, err) < 0;
	if (!bad && strcmp(run.id, id) != 0)
		bad = err_set(err, "its snapshot is '%s', but the weights' is '%s': not a pair", run.id, id);
	if (bad)
		image_close(image);
	return bad ? err_prefix(err, "%s", file) : 0;
}

int
snapshot_load_optimizer(struct optimizer *optimizer, struct image *image, const char *path, struct err *err)
{
	char file[PATH];
	int bad = 0;

	if (optimizer_beside(file, path, err))
		return -1;
	for (size_t i = 0; !bad && i < image->n; i++)
		bad = load_tensor(optimizer, image, &image->tensors[i], err);
	image_close(image);
	return bad ? err_prefix(err, "%s", file) : 0;
}
