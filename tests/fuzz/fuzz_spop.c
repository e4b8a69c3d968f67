/* ROOM: spop */
/*
 * Any bytes as what HAProxy sends: a connection gives the same events and answers whether they come whole or in two
 * pieces (alone, and after a good HELLO), and a frame that decodes encodes to the same bytes.
 */
#include "../unit/spop/harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_FRAME_SIZE 4096

static uint8_t buffer[1 << 17];

static uint64_t run_split(const uint8_t *hello, size_t hello_n, const uint8_t *data, size_t size, size_t split)
{
	static struct run r;

	run_init(&r, MAX_FRAME_SIZE);
	run_feed(&r, hello, hello_n);
	run_feed(&r, data, split);
	if (split < size)
		run_feed(&r, data + split, size - split);
	digest_u64(&r.digest, r.conn.state);
	digest_u64(&r.digest, r.held_n);
	uint64_t digest = r.digest;
	run_fini(&r);
	return digest;
}

static void check_connection(const uint8_t *data, size_t size)
{
	uint8_t hello_bytes[256];
	struct wcur hello;
	struct spop_hello fields = { .versions = SV("2.0"), .max_frame_size = 16380, .capabilities = SV("pipelining") };
	uint64_t mix = DIGEST_START;

	wcur_init(&hello, hello_bytes, sizeof(hello_bytes));
	CHECK(spop_hello_write(&hello, &fields) == ERR_OK);
	digest_bytes(&mix, data, size);
	size_t split = (size_t)(mix % (size + 1));
	size_t near = size > 0 ? data[size - 1] % (size + 1) : 0;

	uint64_t alone = run_split(hello_bytes, 0, data, size, size);
	CHECK(run_split(hello_bytes, 0, data, size, split) == alone);
	uint64_t after = run_split(hello_bytes, wcur_len(&hello), data, size, size);
	CHECK(run_split(hello_bytes, wcur_len(&hello), data, size, split) == after);
	CHECK(run_split(hello_bytes, wcur_len(&hello), data, size, near) == after);
}

static void check_hello(const struct spop_frame *frame)
{
	struct spop_hello hello;
	struct spop_hello again;
	struct spop_frame written;
	struct wcur out;
	size_t used;

	if (spop_hello_decode(frame->payload, &hello) != SPOP_REASON_NONE)
		return;
	wcur_init(&out, buffer, sizeof(buffer));
	CHECK(spop_hello_write(&out, &hello) == ERR_OK);
	CHECK(spop_frame_decode(buffer, wcur_len(&out), UINT32_MAX, &written, &used) == ERR_OK);
	CHECK(spop_hello_decode(written.payload, &again) == SPOP_REASON_NONE);
	CHECK(sv_eq(hello.versions, again.versions) && sv_eq(hello.capabilities, again.capabilities));
	CHECK(sv_eq(hello.engine_id, again.engine_id) && hello.max_frame_size == again.max_frame_size);
	CHECK(hello.healthcheck == again.healthcheck && hello.has_healthcheck == again.has_healthcheck);
}

static void check_others(const struct spop_frame *frame)
{
	struct spop_agent_hello hello;
	struct spop_disconnect disconnect;
	struct spop_action action;
	struct rcur c;

	if (spop_agent_hello_decode(frame->payload, &hello) == SPOP_REASON_NONE)
		CHECK(hello.max_frame_size >= SPOP_FRAME_SIZE_MIN);
	if (spop_disconnect_decode(frame->payload, &disconnect) == ERR_OK)
		CHECK(disconnect.text.n <= frame->payload.n);
	rcur_init(&c, frame->payload.p, frame->payload.n);
	while (spop_ack_next(&c, &action) == ERR_OK)
		CHECK(action.name.n <= frame->payload.n);
}

static void check_frames(const uint8_t *data, size_t size)
{
	struct spop_frame frame;
	size_t used;

	for (; spop_frame_decode(data, size, UINT32_MAX, &frame, &used) == ERR_OK; data += used, size -= used) {
		struct wcur out;

		CHECK(used <= size);
		wcur_init(&out, buffer, sizeof(buffer));
		if (again_frame(&frame, &out) == ERR_OK) {
			CHECK(wcur_len(&out) == used);
			CHECK(memcmp(buffer, data, used) == 0);
		}
		check_hello(&frame);
		check_others(&frame);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > sizeof(buffer) / 2)
		return 0;
	check_connection(data, size);
	check_frames(data, size);
	return 0;
}
