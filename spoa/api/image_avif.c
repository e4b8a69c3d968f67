#include "api/image_avif.h"

struct box {
	struct sv type;   /* 4 bytes */
	struct rcur body; /* without the header */
};

/* Takes the next box off *c. False at the end, and when the box is broken or longer than its parent. */
static bool box_next(struct rcur *c, struct box *out)
{
	uint64_t size = rcur_be32(c);
	uint64_t header = 8;

	out->type = rcur_bytes(c, 4);
	if (size == 1) {
		size = (uint64_t)rcur_be32(c) << 32;
		size |= rcur_be32(c);
		header = 16;
	} else if (size == 0) {
		size = header + rcur_left(c);
	}
	if (c->err != ERR_OK || size < header)
		return false;
	struct sv body = rcur_bytes(c, size - header);
	if (c->err != ERR_OK)
		return false;
	rcur_init(&out->body, body.p, body.n);
	return true;
}

/* The first box of the type among those in c. */
static bool box_find(struct rcur c, struct sv type, struct rcur *body)
{
	struct box b;

	while (box_next(&c, &b)) {
		if (sv_eq(b.type, type)) {
			*body = b.body;
			return true;
		}
	}
	return false;
}

static bool brand_is_avif(struct sv brand)
{
	return sv_eq(brand, SV("avif")) || sv_eq(brand, SV("avis"));
}

bool image_avif_matches(struct rcur file)
{
	struct box b;

	if (!box_next(&file, &b) || !sv_eq(b.type, SV("ftyp")))
		return false;
	if (brand_is_avif(rcur_bytes(&b.body, 4)))
		return true;
	rcur_bytes(&b.body, 4);
	while (rcur_left(&b.body) >= 4) {
		if (brand_is_avif(rcur_bytes(&b.body, 4)))
			return true;
	}
	return false;
}

/* The version of a full box; *flags gets the other three bytes. */
static uint8_t full_box(struct rcur *c, uint32_t *flags)
{
	uint32_t v = rcur_be32(c);
	*flags = v & 0xffffff;
	return (uint8_t)(v >> 24);
}

/* The property with this number, counted from 1, when it is an ispe. */
static bool ispe_at(struct rcur ipco, uint32_t index, uint32_t *width, uint32_t *height)
{
	struct box b;
	uint32_t flags;

	for (uint32_t i = 1; box_next(&ipco, &b); i++) {
		if (i < index)
			continue;
		if (!sv_eq(b.type, SV("ispe")))
			return false;
		full_box(&b.body, &flags);
		*width = rcur_be32(&b.body);
		*height = rcur_be32(&b.body);
		return b.body.err == ERR_OK;
	}
	return false;
}

/* Looks in one ipma for the item; *found says whether it is listed, the result whether one of its properties is ispe.
 */
static bool item_size(struct rcur ipma, struct rcur ipco, uint32_t item, bool *found, uint32_t *width, uint32_t *height)
{
	uint32_t flags;
	uint8_t version = full_box(&ipma, &flags);
	uint32_t entries = rcur_be32(&ipma);

	for (; entries > 0 && ipma.err == ERR_OK; entries--) {
		uint32_t id = version < 1 ? rcur_be16(&ipma) : rcur_be32(&ipma);
		uint8_t count = rcur_u8(&ipma);
		size_t width_of_one = (flags & 1) != 0 ? 2 : 1;
		struct sv list = rcur_bytes(&ipma, count * width_of_one);
		if (ipma.err != ERR_OK || id != item)
			continue;
		struct rcur c;
		rcur_init(&c, list.p, list.n);
		*found = true;
		/* The top bit says "essential". */
		while (rcur_left(&c) > 0) {
			uint32_t index = width_of_one == 2 ? rcur_be16(&c) & 0x7fffu : rcur_u8(&c) & 0x7fu;
			if (index > 0 && ispe_at(ipco, index, width, height))
				return true;
		}
		return false;
	}
	return false;
}

enum err image_avif_size(struct rcur file, uint32_t *width, uint32_t *height)
{
	struct rcur meta, pitm, iprp, ipco;
	struct box b;
	uint32_t flags;
	bool found = false;

	if (!box_find(file, SV("meta"), &meta))
		return ERR_INVALID;
	full_box(&meta, &flags);
	if (!box_find(meta, SV("pitm"), &pitm) || !box_find(meta, SV("iprp"), &iprp) ||
	    !box_find(iprp, SV("ipco"), &ipco))
		return ERR_INVALID;
	uint8_t version = full_box(&pitm, &flags);
	uint32_t primary = version == 0 ? rcur_be16(&pitm) : rcur_be32(&pitm);
	if (pitm.err != ERR_OK)
		return ERR_INVALID;
	/*
	 * The primary item is looked up in the first list that has it and nowhere else: each look-up walks the
	 * properties, and a file full of repeated entries would make that quadratic.
	 */
	while (!found && box_next(&iprp, &b)) {
		if (sv_eq(b.type, SV("ipma")) && item_size(b.body, ipco, primary, &found, width, height))
			return ERR_OK;
	}
	return ERR_INVALID;
}
