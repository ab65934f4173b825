/*
 * Reading and measuring attention.
 */
#include "report/attention.h"

#include <math.h>
#include <string.h>

#include "report/table.h"
#include "stream/schema.h"
#include "sys/utf8.h"

static const msgpack_object_map *
map_of(const struct rec_in *in, const char *key, struct err *err)
{
	const msgpack_object *o = rec_get(in, key);

	if (o && o->type == MSGPACK_OBJECT_MAP)
		return &o->via.map;
	rec_fault(in, err, "'%s' %s, expected a map as vqa-forward -a writes it", key,
	          o ? "has another type" : "is missing");
	return NULL;
}

int
attention_count(const struct rec_in *in, struct err *err)
{
	const msgpack_object_map *map = map_of(in, "attention", err);

	if (!map)
		return -1;
	if (map->size > ATTENTION_MATRICES_MAX)
		return rec_fault(in, err, "'attention' has %u matrices, expected at most %d", map->size,
		                 ATTENTION_MATRICES_MAX);
	return (int)map->size;
}

static int
read_name(const struct rec_in *in, const msgpack_object *key, struct attention_map *map, struct err *err)
{
	size_t n = key->type == MSGPACK_OBJECT_STR ? key->via.str.size : 0;
	char quote[ATTENTION_NAME];

	map->kind = n && n < sizeof map->name ? matrix_kind_of(key->via.str.ptr, n, &map->layer) : NULL;
	if (!map->kind)
		return rec_fault(in, err, "'attention' has '%s', expected names as cross-language.0",
		                 n ? utf8_quote(quote, sizeof quote, key->via.str.ptr, n) : "a key that is no string");
	memcpy(map->name, key->via.str.ptr, n);
	map->name[n] = '\0';
	return 0;
}

/* [heads, queries, keys] of this name. */
static int
read_shape(const struct rec_in *in, const msgpack_object_map *shapes, struct attention_map *map, struct err *err)
{
	static const int most[] = { ATTENTION_HEADS_MAX, OBJECTS_PER_IMAGE_MAX, OBJECTS_PER_IMAGE_MAX };
	int *sizes[] = { &map->H, &map->Q, &map->K };

	for (uint32_t i = 0; i < shapes->size; i++) {
		const msgpack_object *shape = &shapes->ptr[i].val;

		if (!object_is(&shapes->ptr[i].key, map->name))
			continue;
		if (shape->type != MSGPACK_OBJECT_ARRAY || shape->via.array.size != 3)
			return rec_fault(in, err, "'attention_shape' of %s is no array of 3 integers", map->name);
		for (int k = 0; k < 3; k++) {
			const msgpack_object *size = &shape->via.array.ptr[k];

			if (size->type != MSGPACK_OBJECT_POSITIVE_INTEGER || !size->via.u64 ||
			    size->via.u64 > (uint64_t)most[k])
				return rec_fault(in, err, "'attention_shape' of %s: size %d is no integer from 1 to %d",
				                 map->name, k, most[k]);
			*sizes[k] = (int)size->via.u64;
		}
		return 0;
	}
	return rec_fault(in, err, "'attention_shape' has no %s", map->name);
}

static int
check_weights(const struct rec_in *in, const struct attention_map *map, struct err *err)
{
	for (int h = 0; h < map->H; h++)
		for (int q = 0; q < map->Q; q++)
			for (int k = 0; k < map->K; k++) {
				float w = attention_weight(map, h, q, k);

				if (!(w >= 0 && w <= 1.001f))
					return rec_fault(in, err,
					                 "%s: head %d, query %d, key %d is %g, expected 0 to 1",
					                 map->name, h, q, k, (double)w);
			}
	return 0;
}

int
attention_read(const struct rec_in *in, int i, struct attention_map *map, struct err *err)
{
	const msgpack_object_map *all = map_of(in, "attention", err),
				 *shapes = all ? map_of(in, "attention_shape", err) : NULL;
	const msgpack_object *value = all ? &all->ptr[i].val : NULL;
	size_t bytes;

	if (!shapes || read_name(in, &all->ptr[i].key, map, err))
		return -1;
	if (shapes->size > ATTENTION_MATRICES_MAX)
		return rec_fault(in, err, "'attention_shape' has %u shapes, expected at most %d", shapes->size,
		                 ATTENTION_MATRICES_MAX);
	if (read_shape(in, shapes, map, err))
		return -1;
	bytes = sizeof(float) * (size_t)map->H * (size_t)map->Q * (size_t)map->K;
	if (value->type != MSGPACK_OBJECT_BIN || value->via.bin.size != bytes)
		return rec_fault(in, err, "%s: not the %zu bytes of float32 (bin) that [%d, %d, %d] needs", map->name,
		                 bytes, map->H, map->Q, map->K);
	map->weights = value->via.bin.ptr;
	return check_weights(in, map, err);
}

static double
entropy(const struct attention_map *map, int h, int q)
{
	double sum = 0;

	for (int k = 0; k < map->K; k++) {
		double w = (double)attention_weight(map, h, q, k);

		sum -= w > 0 ? w * log(w) : 0;
	}
	return sum;
}

/* Mean weight of queries on the key `away` from them; NaN if none has one. */
static double
towards(const struct attention_map *map, int h, int away)
{
	double sum = 0;
	int n = 0;

	for (int q = 0; q < map->Q; q++)
		if (q + away >= 0 && q + away < map->K) {
			sum += (double)attention_weight(map, h, q, q + away);
			n++;
		}
	return n ? sum / n : NAN;
}

void
attention_figures_of(double figures[FIGURES], const struct attention_map *map, int h)
{
	double entropies = 0, keys = 0;

	for (int q = 0; q < map->Q; q++) {
		entropies += entropy(map, h, q);
		for (int k = 0; k < map->K; k++)
			keys += attention_weight(map, h, q, k) > 0;
	}
	figures[ENTROPY] = entropies / map->Q;
	figures[SUPPORT] = keys / map->Q;
	figures[CLS_ENTROPY] = map->kind->words_ask ? entropy(map, h, 0) : NAN;
	figures[SELF] = map->kind->self ? towards(map, h, 0) : NAN;
	figures[NEXT] = map->kind->self ? towards(map, h, 1) : NAN;
	figures[PREVIOUS] = map->kind->self ? towards(map, h, -1) : NAN;
}

void
attention_figures_print(FILE *out, const double figures[FIGURES])
{
	for (int i = 0; i < FIGURES; i++)
		put_real(out, figures[i], i == SUPPORT ? 4 : 6);
	putc('\n', out);
}

void
attention_figures_print_names(FILE *out)
{
	fputs("\tentropy\tsupport\tcls_entropy\tself\tnext\tprevious\n", out);
}
