#include "io/redis_batch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

void redis_batch_init(struct redis_batch *b)
{
	b->failed = false;
	b->words = 0;
	b->count = b->n = 0;
}

static void put(struct redis_batch *b, struct sv bytes)
{
	if (b->failed || bytes.n > sizeof(b->buf) - b->n) {
		b->failed = true;
		return;
	}
	memcpy(b->buf + b->n, bytes.p, bytes.n);
	b->n += bytes.n;
}

/* A length, as RESP begins its arrays ('*') and strings ('$') with it. */
static void put_length(struct redis_batch *b, char kind, size_t n)
{
	char text[32];
	int used = snprintf(text, sizeof(text), "%c%zu\r\n", kind, n);

	put(b, sv_from(text, (size_t)used));
}

void redis_batch_command(struct redis_batch *b, unsigned words)
{
	CHECK(words > 0);
	if (b->words != 0 || b->count == REDIS_BATCH_COMMANDS) {
		b->failed = true;
		return;
	}
	b->starts[b->count++] = b->n;
	b->words = words;
	put_length(b, '*', words);
}

void redis_batch_word(struct redis_batch *b, struct sv word)
{
	if (b->words == 0) {
		b->failed = true;
		return;
	}
	b->words--;
	put_length(b, '$', word.n);
	put(b, word);
	put(b, SV("\r\n"));
}

void redis_batch_int(struct redis_batch *b, int64_t n)
{
	char text[24];
	int used = snprintf(text, sizeof(text), "%" PRId64, n);

	redis_batch_word(b, sv_from(text, (size_t)used));
}

bool redis_batch_ok(const struct redis_batch *b)
{
	return !b->failed && b->words == 0 && b->count > 0;
}

struct sv redis_batch_at(const struct redis_batch *b, size_t i)
{
	CHECK(i < b->count);
	size_t end = i + 1 < b->count ? b->starts[i + 1] : b->n;
	return sv_from(b->buf + b->starts[i], end - b->starts[i]);
}
