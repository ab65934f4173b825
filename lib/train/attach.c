/*
 * Owner and members of a training run; see attach.h for what they say to each other.
 */
#include "train/attach.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum message_type { HELLO = 1, WELCOME, COMMIT, GOODBYE };

struct message {
	uint32_t magic, type;
	char key[2 * KEY_BYTES + 1], role[ROLE_BYTES];
	int32_t commits;
	int64_t step;
	struct share_plan plan;
};

static const uint32_t MAGIC = 0x76716131; /* "vqa1" */

static socklen_t
address(struct sockaddr_un *out, const char *name)
{
	size_t n = strlen(name);

	*out = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(out->sun_path + 1, name, n);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
}

static int
random_hex(char *out, size_t bytes, struct err *err)
{
	uint8_t raw[64];

	if (bytes > sizeof raw || getrandom(raw, bytes, 0) != (ssize_t)bytes)
		return err_sys(err, "cannot draw a random key");
	for (size_t i = 0; i < bytes; i++)
		snprintf(out + 2 * i, 3, "%02x", raw[i]);
	return 0;
}

static int
send_message(int fd, const struct message *message, int pass_fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = { 0 } };
	struct iovec part = { (void *)(uintptr_t)message, sizeof *message };
	struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t sent;

	if (pass_fd >= 0) {
		struct cmsghdr *c;

		m.msg_control = control.bytes;
		m.msg_controllen = sizeof control.bytes;
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &pass_fd, sizeof pass_fd);
	}
	do
		sent = sendmsg(fd, &m, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent == (ssize_t)sizeof *message ? 0 : -1;
}

/* 1 a message, 0 the end, -1 anything else. *passed gets a descriptor that came along, or -1. */
static int
receive_message(int fd, struct message *message, int *passed)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec part = { message, sizeof *message };
	struct msghdr m = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes
	};
	struct cmsghdr *c;
	ssize_t got;

	do
		got = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (passed)
		*passed = -1;
	c = got > 0 ? CMSG_FIRSTHDR(&m) : NULL;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int))) {
		int came;

		memcpy(&came, CMSG_DATA(c), sizeof came);
		if (passed)
			*passed = came;
		else
			close(came);
	}
	if (got <= 0)
		return got == 0 || errno == ECONNRESET ? 0 : -1;
	return got == (ssize_t)sizeof *message && message->magic == MAGIC ? 1 : -1;
}

static int
same_user(int fd)
{
	struct ucred peer;
	socklen_t n = sizeof peer;

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) && peer.uid == geteuid();
}

/* --- The owner: all below until owner_open run in its thread, under the lock. */

static void
owner_lost(struct owner *o, int i)
{
	char words[128];

	snprintf(words, sizeof words, "%s ended without a goodbye after step %lld", o->members[i].role,
	         (long long)o->committed);
	o->lost(words);
}

static void
drop(struct owner *o, int i)
{
	close(o->members[i].fd);
	o->members[i].fd = -1;
}

/* Strangers (another key, another user, a second that commits) are closed at once, without a word to them. */
static void
greet(struct owner *o, int i, const struct message *m)
{
	struct message welcome = { .magic = MAGIC, .type = WELCOME, .plan = o->share->plan };

	if (m->type != HELLO || memcmp(m->key, o->key, sizeof o->key) != 0 || (m->commits && o->committer)) {
		drop(o, i);
		return;
	}
	memcpy(o->members[i].role, m->role, ROLE_BYTES - 1);
	o->members[i].greeted = 1;
	o->members[i].commits = m->commits;
	if (send_message(o->members[i].fd, &welcome, o->share->fd))
		owner_lost(o, i);
	o->attached++;
	if (m->commits)
		o->committer = 1;
}

static void
hear(struct owner *o, int i)
{
	struct message m;
	int got = receive_message(o->members[i].fd, &m, NULL);

	if (!o->members[i].greeted) {
		if (got == 1)
			greet(o, i, &m);
		else
			drop(o, i);
		return;
	}
	if (got == 1 && m.type == COMMIT && o->members[i].commits) {
		o->committed = m.step;
	} else if (got == 1 && m.type == GOODBYE) {
		o->members[i].goodbye = 1;
		o->left++;
	} else if (o->members[i].goodbye) {
		drop(o, i);
	} else {
		owner_lost(o, i);
	}
}

static void
welcome_new(struct owner *o)
{
	int fd = accept4(o->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	for (int i = 0; i < MEMBERS_MOST && same_user(fd); i++)
		if (o->members[i].fd < 0) {
			memset(&o->members[i], 0, sizeof o->members[i]);
			o->members[i].fd = fd;
			return;
		}
	close(fd);
}

static void *
owner_thread(void *user)
{
	struct owner *o = user;

	for (;;) {
		struct pollfd polls[MEMBERS_MOST + 1] = { { .fd = o->listener, .events = POLLIN } };

		for (int i = 0; i < MEMBERS_MOST; i++)
			polls[i + 1] = (struct pollfd){ .fd = o->members[i].fd, .events = POLLIN };
		if (poll(polls, MEMBERS_MOST + 1, -1) < 0)
			continue;
		pthread_mutex_lock(&o->lock);
		for (int i = 0; i < MEMBERS_MOST; i++)
			if (polls[i + 1].fd >= 0 && polls[i + 1].revents)
				hear(o, i);
		if (polls[0].revents)
			welcome_new(o);
		pthread_cond_broadcast(&o->changed);
		pthread_mutex_unlock(&o->lock);
	}
	return NULL;
}

int
owner_open(struct owner *o, const struct share *share, int64_t step, attach_lost *lost, struct err *err)
{
	struct sockaddr_un at;
	pthread_condattr_t clock;
	char name[33];

	memset(o, 0, sizeof *o);
	o->share = share;
	o->lost = lost;
	o->committed = step;
	for (int i = 0; i < MEMBERS_MOST; i++)
		o->members[i].fd = -1;
	if (random_hex(name, 16, err) || random_hex(o->key, KEY_BYTES, err))
		return -1;
	snprintf(o->socket, sizeof o->socket, "vqa-%s", name);
	o->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (o->listener < 0 || bind(o->listener, (struct sockaddr *)&at, address(&at, o->socket)) ||
	    listen(o->listener, 8))
		return err_sys(err, "cannot listen for the other training programs");
	pthread_mutex_init(&o->lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&o->changed, &clock);
	errno = pthread_create(&o->thread, NULL, owner_thread, o);
	return errno ? err_sys(err, "cannot start a thread") : 0;
}

int
owner_wait_committer(struct owner *o, int seconds)
{
	struct timespec until;
	int there;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += seconds;
	pthread_mutex_lock(&o->lock);
	while (!o->committer && pthread_cond_timedwait(&o->changed, &o->lock, &until) != ETIMEDOUT)
		;
	there = o->committer;
	pthread_mutex_unlock(&o->lock);
	return there;
}

void
owner_wait_commit(struct owner *o, int64_t step)
{
	pthread_mutex_lock(&o->lock);
	while (o->committed < step)
		pthread_cond_wait(&o->changed, &o->lock);
	pthread_mutex_unlock(&o->lock);
}

void
owner_wait_goodbyes(struct owner *o)
{
	pthread_mutex_lock(&o->lock);
	while (o->left < o->attached)
		pthread_cond_wait(&o->changed, &o->lock);
	pthread_mutex_unlock(&o->lock);
}

/* --- A member. */

static void *
member_thread(void *user)
{
	struct member *m = user;
	struct pollfd p = { .fd = m->fd, .events = POLLIN };

	while (poll(&p, 1, -1) < 0 || !p.revents)
		;
	if (!__atomic_load_n(&m->leaving, __ATOMIC_ACQUIRE))
		m->lost("vqa-forward ended without a goodbye");
	return NULL;
}

int
member_join(struct member *m, struct share *share, const char *socket_name, const char *key, const char *role,
            int commits, attach_lost *lost, struct err *err)
{
	struct message hello = { .magic = MAGIC, .type = HELLO, .commits = commits }, welcome;
	struct sockaddr_un at;
	int passed = -1;

	*m = (struct member){ .fd = -1, .lost = lost };
	if (strlen(socket_name) >= sizeof at.sun_path - 1 || strlen(key) != 2 * KEY_BYTES)
		return err_set(err, "the header's socket or key is none of vqa-forward's");
	memcpy(hello.key, key, sizeof hello.key);
	snprintf(hello.role, sizeof hello.role, "%s", role);
	m->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (m->fd < 0 || connect(m->fd, (struct sockaddr *)&at, address(&at, socket_name)))
		return err_sys(err,
		               "cannot reach the vqa-forward that the header names: is it running on this machine?");
	if (send_message(m->fd, &hello, -1) || receive_message(m->fd, &welcome, &passed) != 1 ||
	    welcome.type != WELCOME || passed < 0)
		return err_set(
			err, commits ? "vqa-forward refused: the header's key is not its own, another program commits "
				       "the steps already, or it has ended"
				     : "vqa-forward refused: the header's key is not its own, or it has ended");
	if (share_map(share, passed, &welcome.plan, err))
		return -1;
	errno = pthread_create(&m->thread, NULL, member_thread, m);
	return errno ? err_sys(err, "cannot start a thread") : 0;
}

int
member_commit(struct member *m, int64_t step, struct err *err)
{
	struct message commit = { .magic = MAGIC, .type = COMMIT, .step = step };

	return send_message(m->fd, &commit, -1) ? err_sys(err, "cannot commit step %lld", (long long)step) : 0;
}

int
member_goodbye(struct member *m, struct err *err)
{
	struct message goodbye = { .magic = MAGIC, .type = GOODBYE };

	__atomic_store_n(&m->leaving, 1, __ATOMIC_RELEASE);
	return send_message(m->fd, &goodbye, -1) ? err_sys(err, "cannot say goodbye to vqa-forward") : 0;
}
