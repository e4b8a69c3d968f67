#include "store/usage_batch.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define FIELD_ADDRESS 15
/* Each byte may be a backslash, which is doubled; each field may become \N. */
#define ROW_MAX ((size_t)2 * USAGE_TEXT_MAX + (size_t)USAGE_FIELDS * 2 + 1)

void usage_batch_init(struct usage_batch *b)
{
	*b = (struct usage_batch){ .oldest_ms = INT64_MAX };
	b->charges = check_calloc(USAGE_BATCH_RECORDS, sizeof(*b->charges));
}

void usage_batch_free(struct usage_batch *b)
{
	free(b->charges);
	free(b->rows);
}

void usage_batch_clear(struct usage_batch *b, struct usage_position at)
{
	b->end = at;
	b->n = b->bytes = b->last_n = 0;
	b->oldest_ms = INT64_MAX;
}

static char *make_room(struct usage_batch *b, size_t n)
{
	if (b->size - b->bytes < n) {
		b->size = b->size * 2 > b->bytes + n ? b->size * 2 : b->bytes + n + ((size_t)64 << 10);
		b->rows = realloc(b->rows, b->size);
		CHECK(b->rows != NULL);
	}
	return b->rows + b->bytes;
}

/* HAProxy's address of a client on a UNIX socket, and one with a zone, are none for PostgreSQL. */
static bool is_address(struct sv v)
{
	char text[USAGE_WORD_MAX + 1];
	struct in6_addr address;

	return sv_copy(v, text, sizeof(text)) == ERR_OK &&
	       (inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1);
}

static char *put_field(char *p, struct sv field, int number)
{
	if (sv_eq(field, SV("-")) || (number == FIELD_ADDRESS && !is_address(field))) {
		*p++ = '\\';
		*p++ = 'N';
		return p;
	}
	if (field.n > 0 && memchr(field.p, '\\', field.n) == NULL) {
		memcpy(p, field.p, field.n);
		return p + field.n;
	}
	for (size_t i = 0; i < field.n; i++) {
		if (field.p[i] == '\\')
			*p++ = '\\';
		*p++ = field.p[i];
	}
	return p;
}

void usage_batch_add(struct usage_batch *b, const struct usage_record *r, struct sv text, struct usage_position end)
{
	struct sv rest = text, field;
	char *p = make_room(b, ROW_MAX);

	CHECK(b->n < USAGE_BATCH_RECORDS && text.n <= sizeof(b->last));
	for (int i = 0; sv_split(&rest, '\t', &field); i++) {
		if (i > 0)
			*p++ = '\t';
		p = put_field(p, field, i);
	}
	*p++ = '\n';
	b->bytes = (size_t)(p - b->rows);
	b->charges[b->n++] = (struct usage_charge){ r->user, r->start_ms, r->billed_bytes };
	if (r->start_ms < b->oldest_ms)
		b->oldest_ms = r->start_ms;
	b->end = b->last_end = end;
	memcpy(b->last, text.p, text.n);
	b->last_n = text.n;
}

char *usage_batch_take_rows(struct usage_batch *b, size_t *bytes)
{
	char *rows = b->rows;

	*bytes = b->bytes;
	b->rows = NULL;
	b->bytes = b->size = 0;
	return rows;
}
