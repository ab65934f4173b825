/*
 * What the lanes of a warp give each other in an exchange, and get.
 */
#include "emu.h"

int
emu_same_exchange(const struct emu_wait *x, const struct emu_wait *y)
{
	return x->kind == y->kind && emu_same_place(x->at, y->at) && x->mask == y->mask && x->lane == y->lane &&
	       x->width == y->width && x->value == y->value;
}

/* The lane that a lane's value comes from; itself where CUDA says that the value stays. */
static int
source(const struct emu_wait *w, int lane)
{
	int first = lane & ~(w->width - 1), from;

	switch (w->kind) {
	case EMU_SHFL:
		return first + (w->lane & (w->width - 1));
	case EMU_SHFL_UP:
		from = lane - w->lane;
		return from < first ? lane : from;
	case EMU_SHFL_DOWN:
		from = lane + w->lane;
		return from >= first + w->width ? lane : from;
	default:
		from = lane ^ w->lane;
		return from >= first + w->width ? lane : from;
	}
}

/* A lane outside the mask gives an undefined value: NaN. */
static uint64_t
shuffled(struct emu_wait *const *lanes, int lane)
{
	const struct emu_wait *from = lanes[source(lanes[lane], lane)];

	return from ? from->value : ~UINT64_C(0);
}

void
emu_exchange(struct emu_wait *const *lanes, unsigned mask, int kind)
{
	unsigned ballot = 0;

	for (int lane = 0; lane < warpSize; lane++)
		if (lanes[lane] && lanes[lane]->value)
			ballot |= 1u << lane;
	for (int lane = 0; lane < warpSize; lane++) {
		if (!lanes[lane])
			continue;
		if (kind == EMU_BALLOT)
			lanes[lane]->result = ballot;
		else if (kind == EMU_ANY)
			lanes[lane]->result = ballot != 0;
		else if (kind == EMU_ALL)
			lanes[lane]->result = ballot == mask;
		else if (kind == EMU_WARP)
			lanes[lane]->result = 0;
		else
			lanes[lane]->result = shuffled(lanes, lane);
	}
}
