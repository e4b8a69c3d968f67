#include "usage/segment.h"

#include <zlib.h>

#include "base/check.h"
#include "base/cursor.h"

#define MAGIC_1 0xd7
#define MAGIC_2 0x1e

static const char header_magic[8] = { 'G', 'W', 'U', 'S', 'A', 'G', 'E', '\n' };

bool segment_agent_valid(struct sv name)
{
	if (name.n != USAGE_AGENT_LEN)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];

		if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f'))
			return false;
	}
	return true;
}

static void put_be64(struct wcur *c, uint64_t v)
{
	wcur_be32(c, (uint32_t)(v >> 32));
	wcur_be32(c, (uint32_t)v);
}

static uint64_t take_be64(struct rcur *c)
{
	uint64_t high = rcur_be32(c);

	return high << 32 | rcur_be32(c);
}

void segment_header_write(uint8_t out[SEGMENT_HEADER], const struct segment_header *h)
{
	struct wcur c;

	wcur_init(&c, out, SEGMENT_HEADER);
	wcur_bytes(&c, header_magic, sizeof(header_magic));
	wcur_be32(&c, SEGMENT_VERSION);
	wcur_bytes(&c, h->agent, sizeof(h->agent));
	put_be64(&c, h->number);
	put_be64(&c, h->previous);
	wcur_be32(&c, (uint32_t)crc32(0, out, (uInt)wcur_len(&c)));
	CHECK(c.err == ERR_OK && wcur_len(&c) == SEGMENT_HEADER);
}

enum err segment_header_read(const void *p, size_t n, struct segment_header *out)
{
	struct segment_header h;
	struct rcur c;

	if (n < SEGMENT_HEADER)
		return ERR_INCOMPLETE;
	if (memcmp(p, header_magic, sizeof(header_magic)) != 0)
		return ERR_CORRUPT;
	rcur_init(&c, (const uint8_t *)p + sizeof(header_magic), SEGMENT_HEADER - sizeof(header_magic));
	uint32_t version = rcur_be32(&c);
	struct sv agent = sv_from(c.p, sizeof(h.agent));
	memcpy(h.agent, c.p, sizeof(h.agent));
	c.p += sizeof(h.agent);
	h.number = take_be64(&c);
	h.previous = take_be64(&c);
	if (rcur_be32(&c) != (uint32_t)crc32(0, p, SEGMENT_HEADER - 4))
		return ERR_CORRUPT;
	if (version != SEGMENT_VERSION)
		return ERR_VERSION;
	if (!segment_agent_valid(agent) || h.number == 0 || h.previous >= h.number)
		return ERR_CORRUPT;
	*out = h;
	return ERR_OK;
}

/* Of the two bytes of the length, and the text. */
static uint32_t record_crc(const uint8_t *length, const void *text, size_t n)
{
	return (uint32_t)crc32(crc32(0, length, 2), text, (uInt)n);
}

size_t segment_record_write(uint8_t *out, struct sv text)
{
	CHECK(text.n > 0 && text.n <= USAGE_TEXT_MAX);
	out[0] = MAGIC_1;
	out[1] = MAGIC_2;
	out[2] = (uint8_t)(text.n >> 8);
	out[3] = (uint8_t)text.n;
	uint32_t crc = record_crc(out + 2, text.p, text.n);
	out[4] = (uint8_t)(crc >> 24);
	out[5] = (uint8_t)(crc >> 16);
	out[6] = (uint8_t)(crc >> 8);
	out[7] = (uint8_t)crc;
	memcpy(out + SEGMENT_RECORD_HEAD, text.p, text.n);
	return SEGMENT_RECORD_HEAD + text.n;
}

enum err segment_record_read(const void *p, size_t n, struct sv *text, size_t *size)
{
	const uint8_t *at = p;

	if ((n > 0 && at[0] != MAGIC_1) || (n > 1 && at[1] != MAGIC_2))
		return ERR_CORRUPT;
	if (n < 4)
		return ERR_INCOMPLETE;
	size_t length = (size_t)at[2] << 8 | at[3];
	if (length == 0 || length > USAGE_TEXT_MAX)
		return ERR_CORRUPT;
	if (n < SEGMENT_RECORD_HEAD || n - SEGMENT_RECORD_HEAD < length)
		return ERR_INCOMPLETE;
	uint32_t crc = (uint32_t)at[4] << 24 | (uint32_t)at[5] << 16 | (uint32_t)at[6] << 8 | at[7];
	if (crc != record_crc(at + 2, at + SEGMENT_RECORD_HEAD, length))
		return ERR_CORRUPT;
	*text = sv_from(at + SEGMENT_RECORD_HEAD, length);
	*size = SEGMENT_RECORD_HEAD + length;
	return ERR_OK;
}

size_t segment_scan(const void *p, size_t n, size_t from, bool last)
{
	const uint8_t *bytes = p;
	struct sv text;
	size_t size;

	while (from < n) {
		const uint8_t *at = memchr(bytes + from, MAGIC_1, n - from);

		if (at == NULL)
			return n;
		from = (size_t)(at - bytes);
		enum err err = segment_record_read(at, n - from, &text, &size);
		if (err == ERR_OK || (err == ERR_INCOMPLETE && !last))
			return from;
		from++;
	}
	return n;
}
