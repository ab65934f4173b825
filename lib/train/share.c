/*
 * The shared memory of a training run: made once, mapped by each program.
 */
#include "train/share.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stream/schema.h"
#include "train/snapshot.h"

enum { PAGE = 4096 };

static uint64_t
pages(uint64_t bytes)
{
	return (bytes + PAGE - 1) / PAGE * PAGE;
}

enum { ALIGN = 64 };

static uint64_t
twin_room(const struct param *p)
{
	return (p->n * sizeof(bf16) + ALIGN - 1) / ALIGN * ALIGN;
}

static uint64_t
twin_bytes(const struct params *params, uint32_t precision)
{
	uint64_t sum = 0;

	for (int i = 0; i < params->n && precision == PRECISION_BF16; i++)
		sum += twin_room(&params->list[i]);
	return sum;
}

/* Where backend memory is: behind the flags. */
struct device {
	char name[32];
	struct loan loan; /* of a device's block */
};

static uint64_t
device_at(const struct share_plan *plan, const struct params *params)
{
	return plan->flags + ((uint64_t)params->n + ALIGN - 1) / ALIGN * ALIGN;
}

static uint64_t
twins_at(const struct share_plan *plan, const struct params *params)
{
	return plan->flags + pages(device_at(plan, params) + sizeof(struct device) - plan->flags);
}

static struct device *
device_of(const struct share *share)
{
	return (struct device *)(void *)(share->base + device_at(&share->plan, &share->params));
}

const char *
share_device(const struct share *share)
{
	return device_of(share)->name;
}

/* The two images' headers, and where everything goes. headers[i] is malloc'd. */
static int
make_plan(struct share_plan *plan, struct image layout[2], uint8_t *headers[2], size_t header_bytes[2],
          const struct checkpoint *ckpt, size_t tape, struct err *err)
{
	const struct params *params = &ckpt->params;

	if (checkpoint_layout(&layout[0], &ckpt->config, params, NULL, 0, err))
		return -1;
	image_begin(&layout[1]);
	for (int i = 0; i < params->n; i++)
		if (image_add(&layout[1], params->list[i].name, DTYPE_F32, params->list[i].dims, params->list[i].shape,
		              err))
			return -1;
	for (int i = 0; i < 2; i++) {
		image_align(&layout[i]);
		if (image_layout(&layout[i], &headers[i], &header_bytes[i], err))
			return -1;
	}
	plan->weights_size = layout[0].size;
	plan->gradients = pages(layout[0].size);
	plan->gradients_size = layout[1].size;
	plan->flags = plan->gradients + pages(layout[1].size);
	plan->tape = twins_at(plan, params) + pages(twin_bytes(params, plan->precision));
	plan->size = plan->tape + pages(tape);
	return 0;
}

static int
map(struct share *share, struct err *err)
{
	share->base = mmap(NULL, share->plan.size, PROT_READ | PROT_WRITE, MAP_SHARED, share->fd, 0);
	if (share->base == MAP_FAILED) {
		share->base = NULL;
		return err_sys(err, "shared memory of %llu bytes: cannot map", (unsigned long long)share->plan.size);
	}
	return 0;
}

static int
inside(const struct share_plan *plan, uint64_t at, uint64_t size)
{
	return at <= plan->size && size <= plan->size - at;
}

/* The twin in backend memory of what lies in the memfd. */
static void *
in_memory(const struct share *share, const void *at)
{
	return share->memory + ((const uint8_t *)at - share->base);
}

/* Pointers to every parameter's place in the image at `at`. */
static int
bind_tensors(struct share *share, float ***out, uint64_t at, uint64_t size, struct err *err)
{
	struct image image;
	int bad = 0;

	*out = calloc((size_t)share->params.n, sizeof **out);
	if (!*out)
		return err_set(err, "out of memory for %d parameters", share->params.n);
	if (image_parse(&image, share->base + at, size, "shared memory", err))
		return -1;
	for (int i = 0; !bad && i < share->params.n; i++) {
		const struct tensor *t = image_find(&image, share->params.list[i].name);

		if (!t || t->bytes != share->params.list[i].n * sizeof(float))
			bad = err_set(err, "shared memory: tensor '%s' is missing or has another size",
			              share->params.list[i].name);
		else
			(*out)[i] = in_memory(share, image_data(&image, t));
	}
	image_close(&image);
	return bad;
}

static int
bind_twins(struct share *share, struct err *err)
{
	uint8_t *at = share->memory + twins_at(&share->plan, &share->params);

	share->twins = calloc((size_t)share->params.n, sizeof *share->twins);
	if (!share->twins)
		return err_set(err, "out of memory for %d parameters", share->params.n);
	if (!inside(&share->plan, twins_at(&share->plan, &share->params),
	            twin_bytes(&share->params, share->plan.precision)))
		return err_set(err, "shared memory: the weights in bf16 do not fit");
	for (int i = 0; i < share->params.n && share->plan.precision == PRECISION_BF16; i++) {
		if (param_is_factor(&share->params, i))
			share->twins[i] = (bf16 *)(void *)at;
		at += twin_room(&share->params.list[i]);
	}
	return 0;
}

static int
bind_memory(struct share *share, struct err *err)
{
	const struct share_plan *p = &share->plan;

	return bind_twins(share, err) || bind_tensors(share, &share->weights, p->weights, p->weights_size, err) ||
	                       bind_tensors(share, &share->gradients, p->gradients, p->gradients_size, err)
	               ? -1
	               : 0;
}

/* What the memfd says itself. */
static int
bind_host(struct share *share, struct err *err)
{
	const struct share_plan *p = &share->plan;
	struct image image;
	int bad;

	if (image_parse(&image, share->base + p->weights, p->weights_size, "shared memory", err))
		return -1;
	bad = !image_meta(&image, "vqa.config") ? err_set(err, "shared memory: no vqa.config")
	                                        : config_parse(&share->config, image_meta(&image, "vqa.config"),
	                                                       image_meta(&image, "vqa.answers"), err);
	image_close(&image);
	if (bad || params_make(&share->params, &share->config, err))
		return -1;
	if (!inside(p, device_at(p, &share->params), sizeof(struct device)))
		return err_set(err, "shared memory: the flags of %d parameters do not fit", share->params.n);
	share->flags = share->base + p->flags;
	device_of(share)->name[sizeof device_of(share)->name - 1] = '\0';
	return 0;
}

/* The owner's backend memory, and how members find it. */
static int
make_memory(struct share *share, struct err *err)
{
	struct device *device = device_of(share);

	snprintf(device->name, sizeof device->name, "%s", backend_device());
	share->owner = 1;
	share->memory = op_on_host(share->op) ? share->base : share->op->alloc(share->plan.size);
	if (!share->memory)
		return err_set(err, "out of memory on %s for %llu bytes of weights, gradients and activations",
		               device->name, (unsigned long long)share->plan.size);
	return op_on_host(share->op) ? 0 : share->op->lend(share->memory, &device->loan, err);
}

int
share_use(struct share *share, const struct op *op, struct err *err)
{
	share->op = op;
	share->memory = op_on_host(op) ? share->base : op->borrow(&device_of(share)->loan, err);
	return share->memory ? bind_memory(share, err) : -1;
}

static size_t
tape_bytes(const struct checkpoint *ckpt, int batch, enum precision precision, const struct op *op, struct err *err)
{
	struct model model;
	size_t bytes;

	if (model_open(&model, &ckpt->config, &ckpt->params, op, batch, 1, precision, err))
		return 0;
	bytes = model_tape_bytes(&model);
	model_close(&model);
	return bytes;
}

int
share_create(struct share *share, const struct checkpoint *ckpt, int batch, enum precision precision,
             const struct op *op, struct err *err)
{
	struct image layout[2] = { 0 };
	uint8_t *headers[2] = { NULL, NULL };
	size_t header_bytes[2], tape = tape_bytes(ckpt, batch, precision, op, err);
	int bad;

	*share = (struct share){ .fd = -1, .op = op };
	share->plan.batch = (uint32_t)batch;
	share->plan.precision = precision;
	bad = !tape || make_plan(&share->plan, layout, headers, header_bytes, ckpt, tape, err);
	if (!bad) {
		share->fd = memfd_create("vqa", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (share->fd < 0 || ftruncate(share->fd, (off_t)share->plan.size) ||
		    fcntl(share->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
			bad = err_sys(err, "shared memory of %llu bytes: cannot make",
			              (unsigned long long)share->plan.size);
	}
	bad = bad || map(share, err);
	if (!bad) {
		memcpy(share->base + share->plan.weights, headers[0], header_bytes[0]);
		memcpy(share->base + share->plan.gradients, headers[1], header_bytes[1]);
		bad = bind_host(share, err) || make_memory(share, err) || bind_memory(share, err);
	}
	for (int i = 0; !bad && i < share->params.n; i++) {
		op->put(share->weights[i], ckpt->data[i], ckpt->params.list[i].n * sizeof(float));
		if (share->twins[i])
			op->narrow(share->twins[i], share->weights[i], ckpt->params.list[i].n);
	}
	for (int i = 0; i < 2; i++) {
		free(headers[i]);
		image_close(&layout[i]);
	}
	if (bad)
		share_close(share);
	return bad ? -1 : 0;
}

int
share_map(struct share *share, int fd, const struct share_plan *plan, struct err *err)
{
	struct stat st;

	*share = (struct share){ .fd = fd, .plan = *plan };
	if (fstat(fd, &st) || (uint64_t)st.st_size != plan->size || !inside(plan, plan->weights, plan->weights_size) ||
	    !inside(plan, plan->gradients, plan->gradients_size) || !inside(plan, plan->flags, 0) ||
	    !inside(plan, plan->tape, 0) || !plan->batch || plan->batch > BATCH_MAX || plan->precision >= PRECISIONS) {
		err_set(err, "shared memory: its size is not what vqa-forward says");
	} else if (!map(share, err) && !bind_host(share, err)) {
		return 0;
	}
	share_close(share);
	return -1;
}

int
share_model(struct share *share, struct model *model, const struct op *op, struct err *err)
{
	if (model_open(model, &share->config, &share->params, op, (int)share->plan.batch, 1,
	               (enum precision)share->plan.precision, err))
		return -1;
	if (share->plan.tape + model_tape_bytes(model) > share->plan.size) {
		model_close(model);
		return err_set(err,
		               "shared memory: the tape is smaller than this program's plan, another version of vqa?");
	}
	for (int i = 0; i < share->params.n; i++) {
		model->weights[i] = share->weights[i];
		model->gradients[i] = share->gradients[i];
		model->weights16[i] = share->twins[i];
	}
	model_place(model, share->memory + share->plan.tape);
	return 0;
}

/* The copy in the memfd of what lies in backend memory. */
static float *
on_host(const struct share *share, const float *at)
{
	return (float *)(void *)(share->base + ((const uint8_t *)at - share->memory));
}

float *
share_get(const struct share *share, const float *at, size_t n)
{
	float *host = on_host(share, at);

	if (!op_on_host(share->op))
		share->op->get(host, at, n * sizeof *at);
	return host;
}

void
share_put(const struct share *share, float *at, size_t n)
{
	if (!op_on_host(share->op))
		share->op->put(at, on_host(share, at), n * sizeof *at);
}

void
share_fetch(const struct share *share, float *const *tensors, float **out)
{
	for (int i = 0; i < share->params.n; i++)
		out[i] = share_get(share, tensors[i], share->params.list[i].n);
}

void
share_close(struct share *share)
{
	if (share->memory && !op_on_host(share->op) && share->owner)
		share->op->free(share->memory);
	else if (share->memory && !op_on_host(share->op))
		share->op->give_back(share->memory);
	if (share->base)
		munmap(share->base, share->plan.size);
	if (share->fd >= 0)
		close(share->fd);
	free(share->weights);
	free(share->gradients);
	free(share->twins);
	params_release(&share->params);
	config_release(&share->config);
	*share = (struct share){ .fd = -1 };
}
