/*
 * Stores of features, by LMDB.
 */
#include "feat/store.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "feat/store_check.h"
#include "sys/crc.h"
#include "sys/file.h"

enum { HEAD = 32, MAP_LEAST = 1 << 16, VERSION = 2 };
enum { PER_TRANSACTION = 4 << 20 }; /* bytes: what is written is then still in the processor's cache */

static const char META[] = "\0vqa"; /* no image's id has a NUL */
enum { META_N = 4 };

struct head {
	uint32_t regions, columns, type, crc, width, height;
	uint64_t zero;
};

static uint32_t
checksum(int version, const char *id, size_t id_n, struct head head, const void *data, size_t n)
{
	uint32_t crc = 0;

	if (version > 1) {
		head.crc = 0;
		crc = crc_32(crc_32(0, id, id_n), &head, sizeof head);
	}
	return crc_32(crc, data, n);
}

static int
lmdb_fault(const struct store *s, int code, const char *what, struct err *err)
{
	return err_set(err, "%s: %s: %s", s->path, what,
	               code == MDB_INVALID || code == EINVAL ? "not a store" : mdb_strerror(code));
}

static int
number(const json_t *json, const char *key, int high)
{
	json_int_t n = json_integer_value(json_object_get(json, key));

	return n < 1 || n > high ? 0 : (int)n;
}

/* What a store says of itself, and whether it has as many images. */
static int
read_meta(struct store *s, struct err *err)
{
	MDB_val key = { META_N, (void *)(uintptr_t)META }, value;
	const char *source;
	MDB_stat stat;
	json_t *json;
	int bad;

	if (mdb_get(s->txn, s->dbi, &key, &value) || mdb_stat(s->txn, s->dbi, &stat))
		return err_set(err, "%s: not a store of vqa-featpack", s->path);
	json = json_loadb(value.mv_data, value.mv_size, 0, NULL);
	source = json_string_value(json_object_get(json, "source"));
	s->version = number(json, "version", INT_MAX);
	s->images = json_integer_value(json_object_get(json, "images"));
	s->features = number(json, "features", FEATURES_WIDTH);
	s->objects = number(json, "objects", FEATURES_REGIONS);
	bad = !s->version || !s->features || !s->objects || !source || strlen(source) >= sizeof s->source;
	if (!bad)
		memcpy(s->source, source, strlen(source) + 1);
	json_decref(json);
	if (bad)
		return err_set(err, "%s: what it says of itself is broken", s->path);
	if (s->version > VERSION)
		return err_set(err, "%s: a store of version %d, expected at most %d", s->path, s->version, VERSION);
	if (s->images < 1 || (uint64_t)s->images != stat.ms_entries - 1)
		return err_set(err, "%s: damaged: %lld images, but it says %lld", s->path,
		               (long long)stat.ms_entries - 1, (long long)s->images);
	return 0;
}

static int
set_path(struct store *s, const char *path, struct err *err)
{
	*s = (struct store){ 0 };
	if (strlen(path) >= sizeof s->path)
		return err_set(err, "%.100s…: the path is too long", path);
	memcpy(s->path, path, strlen(path) + 1);
	return 0;
}

int
store_begins(int fd)
{
	uint8_t begin[20];
	uint32_t magic;
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || pread(fd, begin, sizeof begin, 0) != sizeof begin)
		return 0;
	memcpy(&magic, begin + 16, sizeof magic);
	return magic == STORE_MAGIC;
}

int
store_open(struct store *s, const char *path, struct err *err)
{
	int code;

	if (set_path(s, path, err) || store_check(path, err))
		return -1;
	code = mdb_env_create(&s->env);
	/* What is used is mapped, not the address space that the writer had asked for: LMDB takes the larger of the two. */
	if (!code)
		code = mdb_env_set_mapsize(s->env, MAP_LEAST);
	if (!code)
		code = mdb_env_open(s->env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK | MDB_NORDAHEAD, 0644);
	if (code) {
		lmdb_fault(s, code, "cannot open", err);
		store_close(s);
		return -1;
	}
	code = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->txn);
	if (!code)
		code = mdb_dbi_open(s->txn, NULL, 0, &s->dbi);
	if (code ? lmdb_fault(s, code, "cannot read", err) : read_meta(s, err)) {
		store_close(s);
		return -1;
	}
	return 0;
}

static int
check_value(const struct store *s, const char *id, int id_n, const MDB_val *value, struct head *head, struct err *err)
{
	const uint8_t *data = value->mv_data;
	size_t want;

	if (value->mv_size < HEAD)
		return err_set(err, "%s: image '%.*s': %zu bytes, expected at least %d", s->path, id_n, id,
		               value->mv_size, HEAD);
	memcpy(head, data, sizeof *head);
	want = HEAD + (size_t)head->regions * 16 + (size_t)head->regions * head->columns * (head->type ? 2 : 4);
	if (!head->regions || (int64_t)head->regions > s->objects || (int64_t)head->columns != s->features ||
	    head->type > 1 || want != value->mv_size)
		return err_set(err, "%s: image '%.*s': %zu bytes do not hold what its head says", s->path, id_n, id,
		               value->mv_size);
	if (checksum(s->version, id, (size_t)id_n, *head, data + HEAD, value->mv_size - HEAD) != head->crc)
		return err_set(err, "%s: image '%.*s': its checksum does not match", s->path, id_n, id);
	return 0;
}

/* All of a value is read from the disk at once: LMDB, which expects that the next one lies elsewhere, lets single pages come as they are touched. */
static void
fetch(const MDB_val *value)
{
	const uintptr_t data = (uintptr_t)value->mv_data, page = data - data % (uintptr_t)sysconf(_SC_PAGESIZE);

	madvise((void *)page, data + value->mv_size - page, MADV_WILLNEED);
}

int
store_get(struct store *s, const char *id, size_t n, struct features *f, struct err *err)
{
	MDB_val key = { n, (void *)(uintptr_t)id }, value;
	struct head head;
	int code;

	if (!n || n >= sizeof f->id || memchr(id, '\0', n))
		return 0;
	code = mdb_get(s->txn, s->dbi, &key, &value);
	if (code == MDB_NOTFOUND)
		return 0;
	if (code)
		return lmdb_fault(s, code, "cannot read", err);
	fetch(&value);
	if (check_value(s, id, (int)n, &value, &head, err) ||
	    features_room(f, (int)head.regions, (int)head.columns, (int)head.type, err))
		return -1;
	memcpy(f->id, id, n);
	f->id[n] = '\0';
	f->width = head.width;
	f->height = head.height;
	memcpy(f->boxes, (uint8_t *)value.mv_data + HEAD, (size_t)f->n * 16);
	memcpy(f->features, (uint8_t *)value.mv_data + HEAD + (size_t)f->n * 16, features_bytes(f));
	return 1;
}

void
store_close(struct store *s)
{
	if (s->txn)
		mdb_txn_abort(s->txn);
	if (s->env)
		mdb_env_close(s->env);
	s->txn = NULL;
	s->env = NULL;
}

static int
begin(struct store *s, struct err *err)
{
	int code = mdb_txn_begin(s->env, NULL, 0, &s->txn);

	if (!code)
		code = mdb_dbi_open(s->txn, NULL, MDB_CREATE, &s->dbi);
	s->pending = 0;
	return code ? lmdb_fault(s, code, "cannot write", err) : 0;
}

static int
end(struct store *s, struct err *err)
{
	int code = mdb_txn_commit(s->txn);

	s->txn = NULL;
	return code ? lmdb_fault(s, code, "cannot write", err) : 0;
}

/* Nothing yet, or begun by LMDB: what may be written over. */
static int
may_take(int fd)
{
	struct stat st;

	return store_begins(fd) || (!fstat(fd, &st) && S_ISREG(st.st_mode) && !st.st_size);
}

/* A table that is named last, where the store's name was forgotten, is not to become one. */
static int
check_target(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), bad;

	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(err, "%s: cannot open", path);
	bad = may_take(fd) ? 0 : err_set(err, "%s: is there and no store, expected one to replace or a new name", path);
	close(fd);
	return bad;
}

/*
 * The temporary file, empty and ours alone. A lock goes with its process, so that what a killed writer left is taken over; one that
 * was renamed between open and lock is somebody's store.
 */
static int
open_temporary(struct store *s, struct err *err)
{
	struct stat ours, there;

	s->fd = open(s->temporary, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (s->fd < 0)
		return err_sys(err, "%s: cannot create", s->temporary);
	if (!may_take(s->fd)) {
		close(s->fd);
		s->fd = -1;
		return err_set(err, "%s: is there and no store that was left half-made", s->temporary);
	}
	if (!flock(s->fd, LOCK_EX | LOCK_NB) && !fstat(s->fd, &ours) && !stat(s->temporary, &there) &&
	    ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
		return ftruncate(s->fd, 0) ? err_sys(err, "%s: cannot write", s->temporary) : 0;
	close(s->fd);
	s->fd = -1;
	return err_set(err, "%s: another vqa-featpack is writing it", s->path);
}

int
store_create(struct store *s, const char *path, const char *source, struct err *err)
{
	int code;

	if (set_path(s, path, err) || check_replaceable(path, err) || check_target(path, err))
		return -1;
	s->version = VERSION;
	snprintf(s->source, sizeof s->source, "%s", source);
	snprintf(s->temporary, sizeof s->temporary, "%s.new", path);
	if (open_temporary(s, err))
		return -1;
	code = mdb_env_create(&s->env);
	/* The map is address space, not disk: as much as a processor gives, far beyond any data set. */
	if (!code)
		code = mdb_env_set_mapsize(s->env, (size_t)1 << 40);
	if (!code)
		code = mdb_env_open(s->env, s->temporary, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC | MDB_NOMETASYNC,
		                    0666);
	if (code) {
		lmdb_fault(s, code, "cannot create", err);
		return store_discard(s);
	}
	return begin(s, err) ? store_discard(s) : 0;
}

/* The next transaction. What the last one wrote begins its way to the disk, so that little is left to wait for at the end. */
static int
next(struct store *s, struct err *err)
{
	if (end(s, err))
		return -1;
	sync_file_range(s->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	return begin(s, err);
}

int
store_put(struct store *s, const struct features *f, struct err *err)
{
	size_t boxes = (size_t)f->n * 16, features = features_bytes(f);
	MDB_val key = { strlen(f->id), (void *)(uintptr_t)f->id }, value = { HEAD + boxes + features, NULL };
	struct head head = { .regions = (uint32_t)f->n,
		             .columns = (uint32_t)f->columns,
		             .type = (uint32_t)f->f16,
		             .width = (uint32_t)f->width,
		             .height = (uint32_t)f->height };
	int code;

	if (s->images && f->columns != s->features) {
		err_set(err, "image '%s' has %d features a region, but the images before it have %d", f->id, f->columns,
		        s->features);
		return 1;
	}
	code = mdb_put(s->txn, s->dbi, &key, &value, MDB_NOOVERWRITE | MDB_RESERVE);
	if (code == MDB_KEYEXIST) {
		err_set(err, "image '%s' is there twice", f->id);
		return 1;
	}
	if (code)
		return lmdb_fault(s, code, "cannot write", err);
	memcpy((uint8_t *)value.mv_data + HEAD, f->boxes, boxes);
	memcpy((uint8_t *)value.mv_data + HEAD + boxes, f->features, features);
	head.crc = checksum(s->version, f->id, key.mv_size, head, (uint8_t *)value.mv_data + HEAD, boxes + features);
	memcpy(value.mv_data, &head, sizeof head);
	s->features = f->columns;
	if (f->n > s->objects)
		s->objects = f->n;
	s->images++;
	s->pending += value.mv_size;
	return s->pending >= PER_TRANSACTION ? next(s, err) : 0;
}

int
store_commit(struct store *s, struct err *err)
{
	MDB_val key = { META_N, (void *)(uintptr_t)META }, value;
	json_t *json = json_pack("{s:i, s:I, s:i, s:i, s:s}", "version", s->version, "images", (json_int_t)s->images,
	                         "features", s->features, "objects", s->objects, "source", s->source);
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	int code = text ? 0 : ENOMEM;

	json_decref(json);
	if (!code) {
		value = (MDB_val){ strlen(text), text };
		code = mdb_put(s->txn, s->dbi, &key, &value, 0);
	}
	free(text);
	if (code ? lmdb_fault(s, code, "cannot write", err) : end(s, err))
		return store_discard(s);
	code = mdb_env_sync(s->env, 1);
	mdb_env_close(s->env);
	s->env = NULL;
	if (code ? lmdb_fault(s, code, "cannot sync", err) : rename_durably(s->temporary, s->path, err))
		return store_discard(s);
	close(s->fd);
	return 0;
}

int
store_discard(struct store *s)
{
	store_close(s);
	unlink(s->temporary);
	close(s->fd);
	return -1;
}
