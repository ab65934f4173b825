/*
 * UTF-8, one code point at a time. Nothing here trusts its input.
 */
#include "sys/utf8.h"

#include <string.h>

int
utf8_get(const char *s, size_t n, int32_t *code)
{
	static const int32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const uint8_t *p = (const uint8_t *)s;
	int length = p[0] < 0x80                   ? 1
	             : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
	             : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
	             : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
	                                           : 0;
	int32_t c = length == 1 ? p[0] : p[0] & (0x7f >> length);

	if (length == 0 || (size_t)length > n)
		return 0;
	for (int i = 1; i < length; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[length] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*code = c;
	return length;
}

int
utf8_put(char *s, int32_t code)
{
	if (code < 0x80) {
		s[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		s[0] = (char)(0xc0 | code >> 6);
		s[1] = (char)(0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000) {
		s[0] = (char)(0xe0 | code >> 12);
		s[1] = (char)(0x80 | (code >> 6 & 0x3f));
		s[2] = (char)(0x80 | (code & 0x3f));
		return 3;
	}
	s[0] = (char)(0xf0 | code >> 18);
	s[1] = (char)(0x80 | (code >> 12 & 0x3f));
	s[2] = (char)(0x80 | (code >> 6 & 0x3f));
	s[3] = (char)(0x80 | (code & 0x3f));
	return 4;
}

bool
utf8_valid(const char *s, size_t n, size_t *bad)
{
	int32_t code;

	for (size_t at = 0; at < n;) {
		int length = utf8_get(s + at, n - at, &code);

		if (length == 0) {
			if (bad)
				*bad = at;
			return false;
		}
		at += (size_t)length;
	}
	return true;
}

bool
utf8_text(const char *s, size_t n)
{
	return utf8_valid(s, n, NULL) && !(n && memchr(s, '\0', n));
}

const char *
utf8_quote(char *out, size_t size, const char *s, size_t n)
{
	size_t at = 0, used = 0;

	while (at < n) {
		int32_t code;
		int length = utf8_get(s + at, n - at, &code);
		bool plain = length > 0 && code >= 0x20 && !(code >= 0x7f && code < 0xa0) && code != 0x2028 &&
		             code != 0x2029 && (code & 0xfffe) != 0xfffe;
		size_t need = plain ? (size_t)length : 1;

		if (used + need + 4 > size) {
			memcpy(out + used, "...", 3);
			used += 3;
			break;
		}
		if (plain)
			memcpy(out + used, s + at, need);
		else
			out[used] = '?';
		used += need;
		at += length > 0 ? (size_t)length : 1;
	}
	out[used] = 0;
	return out;
}
