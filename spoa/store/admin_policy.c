#include "store/admin_policy.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "store/admin_limit.h"

#define CHUNK_SIZE 65536

const char *const admin_section_names[SECTIONS] = { "user", "limit", "quota", "image" };
const char *const admin_key_fields[KEY_FIELDS] = { "name", "scopes", "expires", "disabled", "signing" };

/* The bounds are those of `limit set`, `quota set` and `image set`. */
const struct admin_field_info admin_fields[FIELDS] = {
	[FIELD_EMAIL] = { SECTION_USER, "email", KIND_EMAIL, 0, 0, NULL },
	[FIELD_DISABLED] = { SECTION_USER, "disabled", KIND_BOOL, 0, 0, NULL },
	[FIELD_PER_MINUTE] = { SECTION_LIMIT, "requests_per_minute", KIND_NUMBER, 0, ADMIN_RATE_MAX, NULL },
	[FIELD_PER_HOUR] = { SECTION_LIMIT, "requests_per_hour", KIND_NUMBER, 0, ADMIN_RATE_MAX, NULL },
	[FIELD_BURST] = { SECTION_LIMIT, "burst", KIND_NUMBER, 1, ADMIN_RATE_MAX, NULL },
	[FIELD_LIMIT_SHADOW] = { SECTION_LIMIT, "shadow", KIND_NAMES, 0, 0, admin_limits_shadows },
	[FIELD_REQUESTS] = { SECTION_QUOTA, "monthly_requests", KIND_NUMBER, 0, ADMIN_REQUESTS_MAX, NULL },
	[FIELD_BANDWIDTH_MB] = { SECTION_QUOTA, "monthly_bandwidth_mb", KIND_NUMBER, 0, ADMIN_BANDWIDTH_MB_MAX, NULL },
	[FIELD_STORAGE_MB] = { SECTION_QUOTA, "storage_mb", KIND_NUMBER, 0, ADMIN_STORAGE_MB_MAX, NULL },
	[FIELD_RESET_DAY] = { SECTION_QUOTA, "reset_day", KIND_NUMBER, 1, 31, NULL },
	[FIELD_QUOTA_SHADOW] = { SECTION_QUOTA, "shadow", KIND_NAMES, 0, 0, admin_quotas_shadows },
	[FIELD_MAX_DIMENSION] = { SECTION_IMAGE, "max_dimension", KIND_NUMBER, 1, 1000000, NULL },
	[FIELD_MAX_DPR] = { SECTION_IMAGE, "max_dpr", KIND_THOUSANDTHS, 1, 1000, NULL },
	[FIELD_MAX_ZOOM] = { SECTION_IMAGE, "max_zoom", KIND_THOUSANDTHS, 1, 1000, NULL },
	[FIELD_MAX_BLUR] = { SECTION_IMAGE, "max_blur", KIND_THOUSANDTHS, 0, 1000, NULL },
	[FIELD_MAX_QUALITY] = { SECTION_IMAGE, "max_quality", KIND_NUMBER, 1, 100, NULL },
	[FIELD_REQUIRE_EXPIRES] = { SECTION_IMAGE, "require_expires", KIND_SWITCH, 0, 0, NULL },
	[FIELD_PRESETS] = { SECTION_IMAGE, "presets", KIND_PRESETS, 0, 0, NULL },
};

const char *admin_field_default(enum admin_field field)
{
	switch (admin_fields[field].kind) {
	case KIND_EMAIL:
		return NULL;
	case KIND_BOOL:
		return "false";
	case KIND_NAMES:
	case KIND_PRESETS:
		return "none";
	default:
		return "default";
	}
}

/* Texts are never freed one by one. */
struct admin_policy_texts {
	struct admin_policy_texts *next;
	size_t used;
	size_t size;
	char bytes[];
};

void admin_policy_texts_free(struct admin_policy_texts *t)
{
	while (t != NULL) {
		struct admin_policy_texts *next = t->next;
		free(t);
		t = next;
	}
}

const char *admin_policy_text(struct admin_policy_texts **texts, struct sv text)
{
	struct admin_policy_texts *t = *texts;

	if (t == NULL || t->size - t->used <= text.n) {
		size_t size = text.n < CHUNK_SIZE ? CHUNK_SIZE : text.n + 1;
		t = malloc(sizeof(*t) + size);
		CHECK(t != NULL);
		*t = (struct admin_policy_texts){ .next = *texts, .size = size };
		*texts = t;
	}
	char *copy = t->bytes + t->used;
	if (text.n > 0)
		memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	t->used += text.n + 1;
	return copy;
}

/* Room for one more at the end of `count` things; it doubles whenever it is full, and it is full at powers of two. */
static void *grow(void *items, size_t count, size_t size)
{
	if ((count & (count - 1)) == 0) {
		items = reallocarray(items, count > 0 ? count * 2 : 1, size);
		CHECK(items != NULL);
	}
	memset((char *)items + count * size, 0, size);
	return items;
}

struct admin_policy_user *admin_policy_add_user(struct admin_policy *p)
{
	p->users = grow(p->users, p->users_count, sizeof(*p->users));
	return &p->users[p->users_count++];
}

struct admin_policy_backend *admin_policy_add_backend(struct admin_policy *p)
{
	p->backends = grow(p->backends, p->backends_count, sizeof(*p->backends));
	return &p->backends[p->backends_count++];
}

struct admin_policy_entry *admin_policy_add_entry(struct admin_policy_list *list)
{
	list->items = grow(list->items, list->count, sizeof(*list->items));
	return &list->items[list->count++];
}

struct admin_policy_key *admin_policy_add_key(struct admin_policy_keys *keys)
{
	keys->items = grow(keys->items, keys->count, sizeof(*keys->items));
	return &keys->items[keys->count++];
}

static int by_line(unsigned long a, unsigned long b)
{
	return (a > b) - (a < b);
}

/* NULL is before every text. */
static int by_text(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return (a != NULL) - (b != NULL);
	return strcmp(a, b);
}

static int compare_entries(const void *a, const void *b)
{
	const struct admin_policy_entry *x = a, *y = b;
	int order = strcmp(x->text, y->text);

	return order != 0 ? order : by_line(x->line, y->line);
}

static int compare_keys(const void *a, const void *b)
{
	const struct admin_policy_key *x = a, *y = b;
	int order = by_text(x->values[KEY_NAME], y->values[KEY_NAME]);

	if (order == 0)
		order = (x->id > y->id) - (x->id < y->id);
	return order != 0 ? order : by_line(x->line, y->line);
}

static int compare_users(const void *a, const void *b)
{
	const struct admin_policy_user *x = a, *y = b;
	int order = by_text(x->name, y->name);

	return order != 0 ? order : by_line(x->line, y->line);
}

static int compare_backends(const void *a, const void *b)
{
	const struct admin_policy_backend *x = a, *y = b;
	int order = by_text(x->name, y->name);

	return order != 0 ? order : by_line(x->line, y->line);
}

static void sort(void *items, size_t count, size_t size, int (*compare)(const void *, const void *))
{
	if (count > 1)
		qsort(items, count, size, compare);
}

void admin_policy_sort(struct admin_policy *p)
{
	for (size_t i = 0; i < p->users_count; i++) {
		struct admin_policy_user *u = &p->users[i];
		sort(u->allow.items, u->allow.count, sizeof(*u->allow.items), compare_entries);
		sort(u->sources.items, u->sources.count, sizeof(*u->sources.items), compare_entries);
		sort(u->keys.items, u->keys.count, sizeof(*u->keys.items), compare_keys);
	}
	sort(p->users, p->users_count, sizeof(*p->users), compare_users);
	sort(p->backends, p->backends_count, sizeof(*p->backends), compare_backends);
}

void admin_policy_free(struct admin_policy *p)
{
	for (size_t i = 0; i < p->users_count; i++) {
		free(p->users[i].allow.items);
		free(p->users[i].sources.items);
		free(p->users[i].keys.items);
	}
	free(p->users);
	free(p->backends);
	admin_policy_texts_free(p->texts);
	memset(p, 0, sizeof(*p));
}

void admin_policy_error(struct admin_policy_errors *e, unsigned long line, const char *fmt, ...)
{
	va_list ap;

	if (e->count < ADMIN_POLICY_ERRORS_MAX) {
		char *text = e->text[e->count];
		int n = snprintf(text, ADMIN_POLICY_ERROR_MAX, "%s:%lu: ", e->file, line);
		if (n < 0 || n >= ADMIN_POLICY_ERROR_MAX)
			n = 0;
		va_start(ap, fmt);
		vsnprintf(text + n, ADMIN_POLICY_ERROR_MAX - (size_t)n, fmt, ap);
		va_end(ap);
		/* What the file says may hold line ends, or what a terminal obeys. */
		for (; *text != '\0'; text++)
			if ((unsigned char)*text < ' ' || *text == 0x7f)
				*text = '?';
	}
	e->count++;
}
