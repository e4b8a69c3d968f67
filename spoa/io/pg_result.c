#include "io/pg_result.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "io/pg_int.h"

enum err pg_result_init(struct pg_result *r, PGresult *res)
{
	const char *message;
	r->res = res;
	r->error[0] = '\0';
	switch (PQresultStatus(res)) {
	case PGRES_COMMAND_OK:
	case PGRES_TUPLES_OK:
	case PGRES_EMPTY_QUERY:
		return ERR_OK;
	case PGRES_COPY_IN:
	case PGRES_COPY_OUT:
	case PGRES_COPY_BOTH:
		return ERR_UNSUPPORTED;
	default:
		message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
		pg_one_line(r->error, sizeof(r->error), message != NULL ? message : PQresultErrorMessage(res));
		return ERR_REFUSED;
	}
}

size_t pg_result_rows(const struct pg_result *r)
{
	return (size_t)PQntuples(r->res);
}

size_t pg_result_cols(const struct pg_result *r)
{
	return (size_t)PQnfields(r->res);
}

uint64_t pg_result_affected(const struct pg_result *r)
{
	uint64_t n;
	return sv_to_u64(sv_str(PQcmdTuples(r->res)), &n) == ERR_OK ? n : 0;
}

struct sv pg_result_value(const struct pg_result *r, size_t row, size_t col)
{
	CHECK(row < pg_result_rows(r) && col < pg_result_cols(r));
	if (PQgetisnull(r->res, (int)row, (int)col))
		return sv_from(NULL, 0);
	return sv_from(PQgetvalue(r->res, (int)row, (int)col), (size_t)PQgetlength(r->res, (int)row, (int)col));
}

bool pg_result_null(const struct pg_result *r, size_t row, size_t col)
{
	return pg_result_value(r, row, col).p == NULL;
}

enum err pg_result_i64(const struct pg_result *r, size_t row, size_t col, int64_t *out)
{
	struct sv v = pg_result_value(r, row, col);
	struct sv digits = v;
	uint64_t n;
	bool minus;
	enum err err;
	*out = 0;
	if (v.p == NULL)
		return ERR_NOT_FOUND;
	minus = v.n > 0 && v.p[0] == '-';
	if (minus)
		digits = sv_skip(v, 1);
	err = sv_to_u64(digits, &n);
	if (err != ERR_OK)
		return err;
	if (n > (uint64_t)INT64_MAX + (minus ? 1 : 0))
		return ERR_RANGE;
	*out = minus ? (int64_t)(0 - n) : (int64_t)n;
	return ERR_OK;
}

enum err pg_result_u64(const struct pg_result *r, size_t row, size_t col, uint64_t *out)
{
	struct sv v = pg_result_value(r, row, col);
	enum err err = ERR_NOT_FOUND;
	if (v.p != NULL)
		err = sv_to_u64(v, out);
	if (err != ERR_OK)
		*out = 0;
	return err;
}

enum err pg_result_bool(const struct pg_result *r, size_t row, size_t col, bool *out)
{
	struct sv v = pg_result_value(r, row, col);
	*out = false;
	if (v.p == NULL)
		return ERR_NOT_FOUND;
	if (sv_eq(v, SV("t")))
		*out = true;
	else if (!sv_eq(v, SV("f")))
		return ERR_INVALID;
	return ERR_OK;
}

static const char *field(const struct pg_result *r, int code)
{
	const char *v = PQresultErrorField(r->res, code);
	return v != NULL ? v : "";
}

const char *pg_result_error(const struct pg_result *r)
{
	return r->error;
}

const char *pg_result_sqlstate(const struct pg_result *r)
{
	return field(r, PG_DIAG_SQLSTATE);
}

const char *pg_result_constraint(const struct pg_result *r)
{
	return field(r, PG_DIAG_CONSTRAINT_NAME);
}

void pg_result_free(struct pg_result *r)
{
	if (r == NULL)
		return;
	PQclear(r->res);
	free(r);
}
