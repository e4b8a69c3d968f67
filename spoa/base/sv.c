#include "base/sv.h"

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool sv_ieq(struct sv a, struct sv b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (lower(a.p[i]) != lower(b.p[i]))
			return false;
	return true;
}

bool sv_split(struct sv *rest, char sep, struct sv *part)
{
	if (rest->p == NULL)
		return false;
	const char *hit = rest->n > 0 ? memchr(rest->p, sep, rest->n) : NULL;
	if (hit == NULL) {
		*part = *rest;
		*rest = (struct sv){ NULL, 0 };
		return true;
	}
	size_t len = (size_t)(hit - rest->p);
	*part = sv_from(rest->p, len);
	*rest = sv_from(hit + 1, rest->n - len - 1);
	return true;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

struct sv sv_trim(struct sv v)
{
	while (v.n > 0 && is_space(v.p[0]))
		v = sv_skip(v, 1);
	while (v.n > 0 && is_space(v.p[v.n - 1]))
		v.n--;
	return v;
}

enum err sv_to_u64(struct sv v, uint64_t *out)
{
	uint64_t value = 0;

	if (v.n == 0 || (v.n > 1 && v.p[0] == '0'))
		return ERR_INVALID;
	for (size_t i = 0; i < v.n; i++) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return ERR_INVALID;
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(v.p[i] - '0'), &value))
			return ERR_RANGE;
	}
	*out = value;
	return ERR_OK;
}

enum err sv_copy(struct sv v, char *dst, size_t size)
{
	if (v.n >= size) {
		if (size > 0)
			dst[0] = '\0';
		return ERR_SPACE;
	}
	if (v.n > 0)
		memcpy(dst, v.p, v.n);
	dst[v.n] = '\0';
	return ERR_OK;
}
