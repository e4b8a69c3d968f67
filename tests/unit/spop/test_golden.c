/* Frames that real HAProxy processes sent: every one decodes, encodes to the same bytes, and no cut of it passes. */
#include "unit.h"

#include <stdbool.h>

#include "golden.h"
#include "harness.h"

#define MAX_FRAME_SIZE 65536

static uint8_t buffer[65536];

static uint8_t type_number(const char *name)
{
	static const struct {
		const char *name;
		enum spop_frame_type type;
	} types[] = {
		{ "HAPROXY-HELLO", SPOP_FRAME_HAPROXY_HELLO },
		{ "HAPROXY-DISCONNECT", SPOP_FRAME_HAPROXY_DISCONNECT },
		{ "NOTIFY", SPOP_FRAME_NOTIFY },
		{ "AGENT-HELLO", SPOP_FRAME_AGENT_HELLO },
		{ "AGENT-DISCONNECT", SPOP_FRAME_AGENT_DISCONNECT },
		{ "ACK", SPOP_FRAME_ACK },
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(types[i].name, name) == 0)
			return (uint8_t)types[i].type;
	fail_msg("unknown frame type %s", name);
	return 0;
}

/* With the writers that the agent and the test clients use. */
static void write_typed(const struct spop_frame *frame, struct wcur *out)
{
	switch (frame->type) {
	case SPOP_FRAME_HAPROXY_HELLO: {
		struct spop_hello hello;

		assert_int_equal(spop_hello_decode(frame->payload, &hello), SPOP_REASON_NONE);
		assert_int_equal(spop_hello_write(out, &hello), ERR_OK);
		break;
	}
	case SPOP_FRAME_AGENT_HELLO: {
		struct spop_agent_hello hello;

		assert_int_equal(spop_agent_hello_decode(frame->payload, &hello), SPOP_REASON_NONE);
		bool pipelining = spop_list_has(hello.capabilities, SV("pipelining"));
		assert_int_equal(spop_agent_hello_write(out, hello.max_frame_size, pipelining), ERR_OK);
		break;
	}
	case SPOP_FRAME_HAPROXY_DISCONNECT:
	case SPOP_FRAME_AGENT_DISCONNECT: {
		struct spop_disconnect disconnect;

		assert_int_equal(spop_disconnect_decode(frame->payload, &disconnect), ERR_OK);
		assert_int_equal(spop_disconnect_write(out, (enum spop_frame_type)frame->type, disconnect.status,
		                                       disconnect.text),
		                 ERR_OK);
		break;
	}
	case SPOP_FRAME_ACK: {
		struct spop_ack ack;
		struct spop_action action;
		struct rcur c;

		rcur_init(&c, frame->payload.p, frame->payload.n);
		spop_ack_begin(&ack, out, frame->stream_id, frame->frame_id);
		while (spop_ack_next(&c, &action) == ERR_OK) {
			if (action.type == SPOP_ACTION_SET_VAR)
				spop_ack_set(&ack, action.scope, action.name, action.value);
			else
				spop_ack_unset(&ack, action.scope, action.name);
		}
		assert_int_equal(rcur_left(&c), 0);
		assert_int_equal(spop_ack_end(&ack, UINT32_MAX), ERR_OK);
		break;
	}
	default:
		assert_int_equal(again_frame(frame, out), ERR_OK);
		break;
	}
}

static void every_frame_encodes_to_the_same_bytes(void **state)
{
	(void)state;
	for (size_t v = 0; v < GOLDEN_VERSIONS; v++) {
		struct golden g = golden_load(golden_versions[v]);
		size_t frames = 0;

		for (size_t i = 0; i < g.n; i++) {
			const struct golden_frame *f = &g.frames[i];
			struct spop_frame frame;
			struct wcur out;
			size_t consumed = 0;

			if (f->bytes == NULL)
				continue;
			frames++;
			assert_int_equal(spop_frame_decode(f->bytes, f->n, 16380, &frame, &consumed), ERR_OK);
			assert_int_equal(consumed, f->n);
			assert_int_equal(frame.type, type_number(f->type));
			assert_int_equal(frame.flags, SPOP_FLAG_FIN);

			wcur_init(&out, buffer, sizeof(buffer));
			assert_int_equal(again_frame(&frame, &out), ERR_OK);
			assert_int_equal(wcur_len(&out), f->n);
			assert_memory_equal(buffer, f->bytes, f->n);

			memset(buffer, 0, f->n);
			wcur_init(&out, buffer, sizeof(buffer));
			write_typed(&frame, &out);
			assert_int_equal(wcur_len(&out), f->n);
			assert_memory_equal(buffer, f->bytes, f->n);
		}
		assert_true(frames > 600);
		golden_free(&g);
	}
}

static void every_cut_is_incomplete(void **state)
{
	(void)state;
	for (size_t v = 0; v < GOLDEN_VERSIONS; v++) {
		struct golden g = golden_load(golden_versions[v]);

		for (size_t i = 0; i < g.n; i++) {
			const struct golden_frame *f = &g.frames[i];
			struct spop_frame frame;
			struct spop_frame untouched;
			size_t consumed = 12345;

			memset(&untouched, 0x5a, sizeof(untouched));
			memset(&frame, 0x5a, sizeof(frame));
			for (size_t cut = 0; cut < f->n; cut++)
				assert_int_equal(spop_frame_decode(f->bytes, cut, 16380, &frame, &consumed),
				                 ERR_INCOMPLETE);
			assert_int_equal(consumed, 12345);
			assert_memory_equal(&frame, &untouched, sizeof(frame));
		}
		golden_free(&g);
	}
}

/*
 * The same with the length made to fit. What still passes must be a frame in its own right that ends where an item of
 * its list ends: it encodes to exactly the bytes of the cut.
 */
static void every_cut_with_a_fitting_length_is_an_error_or_whole(void **state)
{
	(void)state;
	for (size_t v = 0; v < GOLDEN_VERSIONS; v++) {
		struct golden g = golden_load(golden_versions[v]);
		size_t refused = 0;
		size_t whole = 0;

		for (size_t i = 0; i < g.n; i++) {
			const struct golden_frame *f = &g.frames[i];

			for (size_t cut = SPOP_LENGTH_BYTES; cut < f->n; cut++) {
				struct spop_frame frame;
				struct wcur out;
				size_t consumed;
				uint8_t *bytes = check_calloc(1, cut);

				memcpy(bytes, f->bytes, cut);
				wcur_init(&out, bytes, SPOP_LENGTH_BYTES);
				wcur_be32(&out, (uint32_t)(cut - SPOP_LENGTH_BYTES));
				enum err err = spop_frame_decode(bytes, cut, 16380, &frame, &consumed);
				wcur_init(&out, buffer, sizeof(buffer));
				if (err == ERR_OK)
					err = again_frame(&frame, &out);
				if (err == ERR_OK) {
					whole++;
					assert_int_equal(wcur_len(&out), cut);
					assert_memory_equal(buffer, bytes, cut);
				} else {
					refused++;
					assert_int_equal(err, ERR_INVALID);
				}
				free(bytes);
			}
		}
		assert_true(refused > 10 * whole);
		assert_true(whole > 0);
		golden_free(&g);
	}
}

/* All that HAProxy sent on one connection; returns the number of bytes. Names of the frames go to types. */
static size_t connection_bytes(const struct golden *g, unsigned conn, uint8_t *out, size_t size, uint8_t *types,
                               size_t *count)
{
	size_t n = 0;

	*count = 0;
	for (size_t i = 0; i < g->n; i++) {
		const struct golden_frame *f = &g->frames[i];

		if (f->conn != conn || !f->from_haproxy || f->bytes == NULL)
			continue;
		assert_true(n + f->n <= size && *count < 1024);
		memcpy(out + n, f->bytes, f->n);
		n += f->n;
		types[(*count)++] = type_number(f->type);
	}
	return n;
}

static uint64_t run_in_pieces(const uint8_t *bytes, size_t n, size_t piece, struct run *r)
{
	run_init(r, MAX_FRAME_SIZE);
	for (size_t at = 0; at < n; at += piece)
		run_feed(r, bytes + at, piece < n - at ? piece : n - at);
	assert_int_equal(r->held_n, 0);
	uint64_t digest = r->digest;
	run_fini(r);
	return digest;
}

static void expect_events(const struct run *r, const uint8_t *types, size_t count)
{
	assert_int_equal(r->events, count);
	for (size_t i = 0; i < count; i++) {
		switch (types[i]) {
		case SPOP_FRAME_HAPROXY_HELLO:
			assert_true(r->order[i] == SPOP_EVENT_HELLO ||
			            (r->order[i] == SPOP_EVENT_HEALTHCHECK && count == 1));
			break;
		case SPOP_FRAME_NOTIFY:
			assert_int_equal(r->order[i], SPOP_EVENT_NOTIFY);
			break;
		default:
			assert_int_equal(types[i], SPOP_FRAME_HAPROXY_DISCONNECT);
			assert_int_equal(r->order[i], SPOP_EVENT_DISCONNECT);
			break;
		}
	}
}

static void connections_in_any_pieces_give_the_same_events(void **state)
{
	static uint8_t bytes[1 << 18];
	static struct run r;
	uint8_t types[1024];
	size_t count;

	(void)state;
	for (size_t v = 0; v < GOLDEN_VERSIONS; v++) {
		struct golden g = golden_load(golden_versions[v]);
		unsigned notifies = 0;
		unsigned healthchecks = 0;
		unsigned args = 0;

		for (unsigned conn = 1;; conn++) {
			size_t n = connection_bytes(&g, conn, bytes, sizeof(bytes), types, &count);

			if (n == 0)
				break;
			uint64_t digest = run_in_pieces(bytes, n, n, &r);
			expect_events(&r, types, count);
			notifies += r.counts[SPOP_EVENT_NOTIFY];
			healthchecks += r.counts[SPOP_EVENT_HEALTHCHECK];
			args += r.args;
			assert_true(run_in_pieces(bytes, n, n / 2 + 1, &r) == digest);
			assert_true(run_in_pieces(bytes, n, 7, &r) == digest);
			assert_true(run_in_pieces(bytes, n, 1, &r) == digest);
		}
		assert_int_equal(notifies, 312);
		assert_int_equal(args, 312 * 10);
		assert_true(healthchecks > 0);
		golden_free(&g);
	}
}

/* The values of one argument over a whole file, by type: what the agent really has to expect. */
static void arguments_have_the_expected_types(void **state)
{
	(void)state;
	for (size_t v = 0; v < GOLDEN_VERSIONS; v++) {
		struct golden g = golden_load(golden_versions[v]);
		unsigned ipv4 = 0;
		unsigned ipv6 = 0;
		unsigned nulls = 0;
		size_t longest = 0;

		for (size_t i = 0; i < g.n; i++) {
			struct spop_frame frame;
			struct spop_notify notify;
			struct spop_value value;
			struct sv name;
			unsigned args;
			size_t consumed;

			if (strcmp(g.frames[i].type, "NOTIFY") != 0)
				continue;
			assert_int_equal(spop_frame_decode(g.frames[i].bytes, g.frames[i].n, 16380, &frame, &consumed),
			                 ERR_OK);
			spop_notify_init(&notify, frame.payload);
			assert_int_equal(spop_notify_message(&notify, &name, &args), ERR_OK);
			assert_true(sv_eq(name, SV("check")));
			while (spop_notify_arg(&notify, &name, &value) == ERR_OK) {
				int64_t number = 0;

				ipv4 += value.type == SPOP_TYPE_IPV4;
				ipv6 += value.type == SPOP_TYPE_IPV6;
				nulls += value.type == SPOP_TYPE_NULL;
				if (sv_eq(name, SV("v")))
					assert_true(spop_value_int(&value, &number) && number == 1);
				if (sv_eq(name, SV("id")))
					assert_int_equal(spop_value_text(&value).n, 36);
				if (spop_value_text(&value).n > longest)
					longest = spop_value_text(&value).n;
			}
		}
		assert_true(ipv4 > 0 && ipv6 > 0 && nulls > 0);
		assert_true(longest > 2000);
		golden_free(&g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_frame_encodes_to_the_same_bytes),
		cmocka_unit_test(every_cut_is_incomplete),
		cmocka_unit_test(every_cut_with_a_fitting_length_is_an_error_or_whole),
		cmocka_unit_test(connections_in_any_pieces_give_the_same_events),
		cmocka_unit_test(arguments_have_the_expected_types),
	};

	return cmocka_run_group_tests_name("spop golden frames", tests, NULL, NULL);
}
