#include "spop/hello.h"

#include "spop/frame.h"

static const struct sv key_versions = { "supported-versions", 18 };
static const struct sv key_version = { "version", 7 };
static const struct sv key_frame_size = { "max-frame-size", 14 };
static const struct sv key_capabilities = { "capabilities", 12 };
static const struct sv key_healthcheck = { "healthcheck", 11 };
static const struct sv key_engine_id = { "engine-id", 9 };

bool spop_list_has(struct sv list, struct sv item)
{
	struct sv part;

	while (sv_split(&list, ',', &part))
		if (sv_eq(sv_trim(part), item))
			return true;
	return false;
}

/* What both hellos must have. */
struct keys {
	bool has_version;
	bool has_frame_size;
	bool has_capabilities;
	int64_t frame_size;
};

static bool take_string(const struct spop_value *v, struct sv *out)
{
	if (v->type != SPOP_TYPE_STRING)
		return false;
	*out = v->view;
	return true;
}

static bool take_int(const struct spop_value *v, int64_t *out)
{
	if (v->type == SPOP_TYPE_UINT64 && v->u64 > INT64_MAX) {
		*out = INT64_MAX;
		return true;
	}
	return spop_value_int(v, out);
}

static enum spop_reason keys_check(const struct keys *keys, bool version_ok)
{
	if (!keys->has_version)
		return SPOP_REASON_NO_VERSION;
	if (!keys->has_frame_size)
		return SPOP_REASON_NO_FRAME_SIZE;
	if (!keys->has_capabilities)
		return SPOP_REASON_NO_CAPABILITIES;
	if (!version_ok)
		return SPOP_REASON_BAD_VERSION;
	if (keys->frame_size < SPOP_FRAME_SIZE_MIN || keys->frame_size > UINT32_MAX)
		return SPOP_REASON_BAD_FRAME_SIZE;
	return SPOP_REASON_NONE;
}

enum spop_reason spop_hello_decode(struct sv payload, struct spop_hello *out)
{
	struct spop_hello hello = { .max_frame_size = 0 };
	struct keys keys = { .has_version = false };
	struct spop_value value;
	struct rcur c;
	struct sv name;
	enum err err;

	rcur_init(&c, payload.p, payload.n);
	while ((err = spop_kv_next(&c, &name, &value)) == ERR_OK) {
		bool good = true;

		if (sv_eq(name, key_versions)) {
			good = keys.has_version = take_string(&value, &hello.versions);
		} else if (sv_eq(name, key_frame_size)) {
			good = keys.has_frame_size = take_int(&value, &keys.frame_size);
		} else if (sv_eq(name, key_capabilities)) {
			good = keys.has_capabilities = take_string(&value, &hello.capabilities);
		} else if (sv_eq(name, key_healthcheck)) {
			good = hello.has_healthcheck = value.type == SPOP_TYPE_BOOL;
			hello.healthcheck = good && value.boolean;
		} else if (sv_eq(name, key_engine_id)) {
			good = take_string(&value, &hello.engine_id);
		}
		if (!good)
			return SPOP_REASON_PAYLOAD;
	}
	if (err != ERR_NOT_FOUND)
		return SPOP_REASON_PAYLOAD;

	enum spop_reason reason = keys_check(&keys, spop_list_has(hello.versions, SV(SPOP_VERSION)));
	if (reason != SPOP_REASON_NONE)
		return reason;
	hello.max_frame_size = (uint32_t)keys.frame_size;
	*out = hello;
	return SPOP_REASON_NONE;
}

enum spop_reason spop_agent_hello_decode(struct sv payload, struct spop_agent_hello *out)
{
	struct spop_agent_hello hello = { .max_frame_size = 0 };
	struct keys keys = { .has_version = false };
	struct spop_value value;
	struct rcur c;
	struct sv name;
	enum err err;

	rcur_init(&c, payload.p, payload.n);
	while ((err = spop_kv_next(&c, &name, &value)) == ERR_OK) {
		bool good = true;

		if (sv_eq(name, key_version))
			good = keys.has_version = take_string(&value, &hello.version);
		else if (sv_eq(name, key_frame_size))
			good = keys.has_frame_size = take_int(&value, &keys.frame_size);
		else if (sv_eq(name, key_capabilities))
			good = keys.has_capabilities = take_string(&value, &hello.capabilities);
		if (!good)
			return SPOP_REASON_PAYLOAD;
	}
	if (err != ERR_NOT_FOUND)
		return SPOP_REASON_PAYLOAD;

	enum spop_reason reason = keys_check(&keys, sv_eq(hello.version, SV(SPOP_VERSION)));
	if (reason != SPOP_REASON_NONE)
		return reason;
	hello.max_frame_size = (uint32_t)keys.frame_size;
	*out = hello;
	return SPOP_REASON_NONE;
}

static void string_write(struct wcur *out, struct sv name, struct sv text)
{
	struct spop_value value = spop_string(text);

	spop_kv_write(out, name, &value);
}

enum err spop_hello_write(struct wcur *out, const struct spop_hello *hello)
{
	struct spop_value frame_size = spop_uint32(hello->max_frame_size);
	size_t mark = spop_frame_begin(out, SPOP_FRAME_HAPROXY_HELLO, SPOP_FLAG_FIN, 0, 0);

	string_write(out, key_versions, hello->versions);
	spop_kv_write(out, key_frame_size, &frame_size);
	string_write(out, key_capabilities, hello->capabilities);
	if (hello->has_healthcheck) {
		struct spop_value healthcheck = spop_bool(hello->healthcheck);

		spop_kv_write(out, key_healthcheck, &healthcheck);
	}
	if (hello->engine_id.p != NULL)
		string_write(out, key_engine_id, hello->engine_id);
	return spop_frame_end(out, mark, UINT32_MAX);
}

enum err spop_agent_hello_write(struct wcur *out, uint32_t max_frame_size, bool pipelining)
{
	struct spop_value frame_size = spop_uint32(max_frame_size);
	size_t mark = spop_frame_begin(out, SPOP_FRAME_AGENT_HELLO, SPOP_FLAG_FIN, 0, 0);

	string_write(out, key_version, SV(SPOP_VERSION));
	spop_kv_write(out, key_frame_size, &frame_size);
	string_write(out, key_capabilities, pipelining ? SV(SPOP_CAP_PIPELINING) : SV(""));
	return spop_frame_end(out, mark, UINT32_MAX);
}
