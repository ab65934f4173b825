/*
 * Handles of CUDA, cuBLASLt and cuDNN: which live, and what each is.
 */
#include "emu.h"

static std::map<const void *, const char *> &
live(void)
{
	/* Never destroyed: exit() may come before the last call. */
	static auto *handles = new std::map<const void *, const char *>;

	return *handles;
}

void
emu_handle_made(const void *handle, const char *name)
{
	live()[handle] = name;
}

void
emu_handle_gone(const void *handle)
{
	live().erase(handle);
}

void
emu_handle_check(const char *call, const void *handle, const char *name)
{
	auto found = live().find(handle);

	if (found == live().end() || strcmp(found->second, name))
		emu_die("%s: %p is not %s, or was destroyed", call, handle, name);
}
