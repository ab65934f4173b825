/*
 * How the training programs hold together: vqa-forward (the owner) listens on an abstract SEQPACKET socket; vqa-backward,
 * vqa-allreduce and vqa-step (the members) connect to it.
 *
 *     member                         owner
 *     HELLO role, key, commits  -->          same user only; the key was in the stream's header
 *                               <--  WELCOME plan, and the memfd (SCM_RIGHTS)
 *     COMMIT step               -->          the weights of this step are there; the next forward may begin
 *     GOODBYE ok                -->          after the end record, and the last snapshot; then it closes
 *
 * A connection that ends without a goodbye means that its process is dead: a thread that sleeps in poll() sees it and calls
 * `lost`, which must not return. No clock ever declares a neighbour dead.
 */
#ifndef VQA_TRAIN_ATTACH_H
#define VQA_TRAIN_ATTACH_H

#include <pthread.h>
#include <stdint.h>

#include "sys/err.h"
#include "train/share.h"

enum { KEY_BYTES = 16, ROLE_BYTES = 16, MEMBERS_MOST = 16 };

/* Ends the process with these words. Called from a thread of attach's own. */
typedef void attach_lost(const char *words);

struct owner {
	char socket[64]; /* the name without its leading NUL, for the header */
	char key[2 * KEY_BYTES + 1];
	int listener;
	const struct share *share;
	attach_lost *lost;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under the lock: */
	struct {
		int fd; /* -1: a free place */
		char role[ROLE_BYTES];
		int commits, greeted, goodbye;
	} members[MEMBERS_MOST];
	int attached, left; /* members that came, that said goodbye */
	int committer;      /* a member that commits is there */
	int64_t committed;  /* the last step */
};

/* step: of the snapshot that the run begins from. */
int owner_open(struct owner *owner, const struct share *share, int64_t step, attach_lost *lost, struct err *err);
/* Wait for a member that commits: 1, or 0 after `seconds`. */
int owner_wait_committer(struct owner *owner, int seconds);
void owner_wait_commit(struct owner *owner, int64_t step);
/* After the end record: until every member has said goodbye. One that fails ends without, and owner's `lost` is called. */
void owner_wait_goodbyes(struct owner *owner);

struct member {
	int fd;
	attach_lost *lost;
	pthread_t thread;
	int leaving; /* atomic: a hang-up is expected now */
};

/* Join the owner that the stream's header names; *share is what it hands out. */
int member_join(struct member *member, struct share *share, const char *socket, const char *key, const char *role,
                int commits, attach_lost *lost, struct err *err);
int member_commit(struct member *member, int64_t step, struct err *err);
int member_goodbye(struct member *member, struct err *err);

#endif
