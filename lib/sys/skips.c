/*
 * What was left out.
 */
#include "sys/skips.h"

#include "sys/die.h"

void
skips_add(struct skips *s, const struct err *why)
{
	if (s->count < SKIPS_NAMED)
		s->first[s->count] = *why;
	s->count++;
}

void
skips_tell(const struct skips *s, const char *what)
{
	for (int i = 0; i < SKIPS_NAMED && i < s->count; i++)
		warn_words("left out: %s", s->first[i].text);
	if (s->count)
		warn_words("%lld %s%s left out%s", (long long)s->count, what, s->count > 1 ? "s" : "",
		           s->count > SKIPS_NAMED ? ", the first of them above" : "");
}
