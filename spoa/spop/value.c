#include "spop/value.h"

#include "spop/varint.h"

#define FLAG_TRUE 0x1

static const char *const type_names[SPOP_TYPE_COUNT] = {
	[SPOP_TYPE_NULL] = "null",     [SPOP_TYPE_BOOL] = "bool",   [SPOP_TYPE_INT32] = "int32",
	[SPOP_TYPE_UINT32] = "uint32", [SPOP_TYPE_INT64] = "int64", [SPOP_TYPE_UINT64] = "uint64",
	[SPOP_TYPE_IPV4] = "ipv4",     [SPOP_TYPE_IPV6] = "ipv6",   [SPOP_TYPE_STRING] = "string",
	[SPOP_TYPE_BINARY] = "binary",
};

const char *spop_type_str(unsigned type)
{
	return type < SPOP_TYPE_COUNT ? type_names[type] : "reserved";
}

struct spop_value spop_value_read(struct rcur *c)
{
	uint8_t head = rcur_u8(c);
	struct spop_value v = { .type = (enum spop_type)(head & 0x0f), .flags = head >> 4 };

	switch (v.type) {
	case SPOP_TYPE_NULL:
		break;
	case SPOP_TYPE_BOOL:
		v.boolean = (v.flags & FLAG_TRUE) != 0;
		v.flags &= (uint8_t)~FLAG_TRUE;
		break;
	case SPOP_TYPE_INT32:
		v.i64 = (int64_t)spop_varint_read(c);
		if (v.i64 < INT32_MIN || v.i64 > INT32_MAX)
			rcur_fail(c, ERR_RANGE);
		break;
	case SPOP_TYPE_UINT32:
		v.u64 = spop_varint_read(c);
		if (v.u64 > UINT32_MAX)
			rcur_fail(c, ERR_RANGE);
		break;
	case SPOP_TYPE_INT64:
		v.i64 = (int64_t)spop_varint_read(c);
		break;
	case SPOP_TYPE_UINT64:
		v.u64 = spop_varint_read(c);
		break;
	case SPOP_TYPE_IPV4:
		v.view = rcur_bytes(c, 4);
		break;
	case SPOP_TYPE_IPV6:
		v.view = rcur_bytes(c, 16);
		break;
	case SPOP_TYPE_STRING:
	case SPOP_TYPE_BINARY:
		v.view = spop_string_read(c);
		break;
	case SPOP_TYPE_COUNT:
	default:
		rcur_fail(c, ERR_INVALID);
		break;
	}
	return c->err == ERR_OK ? v : spop_null();
}

static void head_write(struct wcur *c, const struct spop_value *v, uint8_t flags)
{
	wcur_u8(c, (uint8_t)(flags << 4 | (uint8_t)v->type));
}

static void address_write(struct wcur *c, const struct spop_value *v, size_t len)
{
	if (v->view.n != len) {
		wcur_fail(c, ERR_RANGE);
		return;
	}
	head_write(c, v, v->flags);
	wcur_sv(c, v->view);
}

void spop_value_write(struct wcur *c, const struct spop_value *v)
{
	if (v->flags > 0x0f) {
		wcur_fail(c, ERR_RANGE);
		return;
	}
	switch (v->type) {
	case SPOP_TYPE_NULL:
		head_write(c, v, v->flags);
		break;
	case SPOP_TYPE_BOOL:
		head_write(c, v, (uint8_t)((v->flags & ~FLAG_TRUE) | (v->boolean ? FLAG_TRUE : 0)));
		break;
	case SPOP_TYPE_INT32:
		if (v->i64 < INT32_MIN || v->i64 > INT32_MAX) {
			wcur_fail(c, ERR_RANGE);
			break;
		}
		head_write(c, v, v->flags);
		spop_varint_write(c, (uint64_t)v->i64);
		break;
	case SPOP_TYPE_UINT32:
		if (v->u64 > UINT32_MAX) {
			wcur_fail(c, ERR_RANGE);
			break;
		}
		head_write(c, v, v->flags);
		spop_varint_write(c, v->u64);
		break;
	case SPOP_TYPE_INT64:
		head_write(c, v, v->flags);
		spop_varint_write(c, (uint64_t)v->i64);
		break;
	case SPOP_TYPE_UINT64:
		head_write(c, v, v->flags);
		spop_varint_write(c, v->u64);
		break;
	case SPOP_TYPE_IPV4:
		address_write(c, v, 4);
		break;
	case SPOP_TYPE_IPV6:
		address_write(c, v, 16);
		break;
	case SPOP_TYPE_STRING:
	case SPOP_TYPE_BINARY:
		head_write(c, v, v->flags);
		spop_string_write(c, v->view);
		break;
	case SPOP_TYPE_COUNT:
	default:
		wcur_fail(c, ERR_INVALID);
		break;
	}
}

bool spop_value_int(const struct spop_value *v, int64_t *out)
{
	switch (v->type) {
	case SPOP_TYPE_INT32:
	case SPOP_TYPE_INT64:
		*out = v->i64;
		return true;
	case SPOP_TYPE_UINT32:
	case SPOP_TYPE_UINT64:
		if (v->u64 > INT64_MAX)
			return false;
		*out = (int64_t)v->u64;
		return true;
	default:
		return false;
	}
}

struct sv spop_value_text(const struct spop_value *v)
{
	if (v->type == SPOP_TYPE_STRING || v->type == SPOP_TYPE_BINARY)
		return v->view;
	return sv_from(NULL, 0);
}

bool spop_value_eq(const struct spop_value *a, const struct spop_value *b)
{
	if (a->type != b->type || a->flags != b->flags)
		return false;
	switch (a->type) {
	case SPOP_TYPE_BOOL:
		return a->boolean == b->boolean;
	case SPOP_TYPE_INT32:
	case SPOP_TYPE_INT64:
		return a->i64 == b->i64;
	case SPOP_TYPE_UINT32:
	case SPOP_TYPE_UINT64:
		return a->u64 == b->u64;
	case SPOP_TYPE_IPV4:
	case SPOP_TYPE_IPV6:
	case SPOP_TYPE_STRING:
	case SPOP_TYPE_BINARY:
		return sv_eq(a->view, b->view);
	default:
		return true;
	}
}
