/*
 * store/usage_ship.c against a real PostgreSQL, driven by test_usage_ship.py, which kills it, and the server, at will.
 *
 *     ship-live DIR               appends each line of its input to the spool in DIR, and ships; ends when the input
 * has ended and all is shipped, or at SIGTERM after usage_ship_finish() ship-live --list DIR        prints what the
 * spool holds ship-live --bench DIR N U   appends N records of U users, then measures how long it takes to ship them
 *
 * $SHIP_DSN is the server, $SHIP_RETENTION the days, $SHIP_SEGMENT the bytes of a segment, $SHIP_KEEP the segments that
 * stay. What happens is printed, a line an event.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/pg.h"
#include "store/usage_ship.h"

#define TEXTS 500

static struct loop *loop;
static struct usage_spool *spool;
static struct usage_ship *ship;
static struct loop_io input;
static struct loop_timer look;
static struct loop_task turn;
static bool ended; /* the input */
static bool quiet;
static char buffer[1 << 20];
static size_t filled;

static unsigned long number(const char *name, unsigned long otherwise)
{
	const char *v = getenv(name);
	return v != NULL ? strtoul(v, NULL, 10) : otherwise;
}

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
	va_list ap;
	if (quiet)
		return;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	fflush(stdout);
}

static void on_damage(void *arg, const char *what, uint64_t records)
{
	(void)arg;
	say("damage records=%" PRIu64 " %s\n", records, what);
}

static void on_position(void *arg, struct usage_position p)
{
	(void)arg;
	say("position %" PRIu64 ":%" PRIu64 "\n", p.segment, p.offset);
}

/* The loop has run since something was told. */
static void on_turn(void *arg)
{
	(void)arg;
	say("turn\n");
}

static void on_batch(void *arg, enum usage_ship_event event, const struct usage_charge *charges, size_t n)
{
	static const char *const names[] = { "taken", "done", "back", "waiting" };
	uint64_t bytes = 0;
	(void)arg;
	for (size_t i = 0; i < n; i++)
		bytes += charges[i].bytes;
	say("%s %zu %" PRIu64 "\n", names[event], n, bytes);
	if (event == USAGE_SHIP_WAITING)
		loop_defer(&turn);
}

static void on_up(void *arg)
{
	(void)arg;
	usage_ship_up(ship);
}

static void on_down(void *arg, const char *why)
{
	(void)arg;
	(void)why;
	usage_ship_down(ship);
	say("down\n");
}

static void append(const struct sv *texts, size_t n)
{
	if (n == 0)
		return;
	CHECK(usage_spool_append(spool, texts, n) == ERR_OK);
	say("appended %zu\n", n);
	usage_ship_kick(ship);
}

static void on_input(void *arg, unsigned events)
{
	struct sv texts[TEXTS];
	size_t n = 0, at = 0;
	char *end;
	ssize_t got = read(STDIN_FILENO, buffer + filled, sizeof(buffer) - filled);
	(void)arg;
	(void)events;
	if (got <= 0) {
		ended = got == 0 || errno != EAGAIN;
		if (ended)
			loop_io_stop(&input);
		return;
	}
	filled += (size_t)got;
	while ((end = memchr(buffer + at, '\n', filled - at)) != NULL) {
		texts[n++] = sv_from(buffer + at, (size_t)(end - buffer) - at);
		at = (size_t)(end - buffer) + 1;
		if (n == TEXTS) {
			append(texts, n);
			n = 0;
		}
	}
	append(texts, n);
	memmove(buffer, buffer + at, filled - at);
	filled -= at;
}

static bool all_shipped(void)
{
	struct usage_ship_status st;
	usage_ship_status(ship, &st);
	return st.oldest_ms == 0 && usage_spool_bytes_after(spool, st.position) == 0;
}

static void on_look(void *arg)
{
	(void)arg;
	if (ended && all_shipped())
		loop_stop(loop);
}

static void on_done(void *arg)
{
	(void)arg;
	say("finished\n");
	loop_stop(loop);
}

static void on_term(void *arg, int signo)
{
	(void)arg;
	(void)signo;
	usage_ship_finish(ship, 10000, on_done, NULL);
}

static void open_spool(const char *dir)
{
	char error[512];
	const struct usage_spool_config config = { .dir = dir,
		                                   .segment_bytes = number("SHIP_SEGMENT", 1 << 20),
		                                   .keep = (unsigned)number("SHIP_KEEP", 1000000),
		                                   .damaged = on_damage };
	if (usage_spool_open(&config, &spool, error, sizeof(error)) != ERR_OK) {
		fprintf(stderr, "%s\n", error);
		exit(1);
	}
}

static int list(const char *dir)
{
	struct usage_position after;
	struct sv text;
	open_spool(dir);
	struct usage_reader *reader = usage_reader_new(spool, (struct usage_position){ 0, 0 });
	while (usage_reader_next(reader, &text, &after) == ERR_OK)
		printf("%" PRIu64 ":%" PRIu64 "\t%.*s\n", after.segment, after.offset, SV_ARG(text));
	usage_reader_free(reader);
	usage_spool_close(spool);
	return 0;
}

/* Records as the line of a request gives them, a millisecond apart for 1000 a second. */
static void generate(size_t count, size_t users)
{
	static char room[TEXTS][USAGE_TEXT_MAX];
	struct sv texts[TEXTS];
	int64_t start = (int64_t)(clock_ns(CLOCK_REALTIME) / NS_PER_MS) - (int64_t)count / 50;
	size_t n = 0;
	for (size_t i = 0; i < count; i++) {
		char id[40], path[80], server[8];
		size_t user = (size_t)(((uint64_t)i * UINT64_C(2654435761)) % users) + 1;
		snprintf(id, sizeof(id), "%016zx%08zx-bench", i * 0x9e3779b97f4a7c15u, i);
		snprintf(path, sizeof(path), "/img/unsafe/rs:fill:300:200/plain/local:///photos/%08zu.jpg@webp",
		         i % 5000);
		snprintf(server, sizeof(server), "img%zu", i % 2 + 1);
		const struct usage_record r = { .id = sv_str(id),
			                        .user = user,
			                        .key = user * 2 + i % 2,
			                        .code = i % 20 == 0 ? SV("rate_limited") : SV("allow"),
			                        .status = i % 20 == 0 ? 429 : 200,
			                        .start_ms = start + (int64_t)i / 50,
			                        .active_ms = (int64_t)(i % 300),
			                        .response_bytes = i % 100000,
			                        .billed_bytes = i % 20 == 0 ? 0 : i % 100000,
			                        .kind = USAGE_IMAGE,
			                        .termination = SV("--"),
			                        .method = SV("GET"),
			                        .backend = SV("be_imgproxy"),
			                        .server = i % 20 == 0 ? SV("") : sv_str(server),
			                        .address = SV("192.0.2.17"),
			                        .path = sv_str(path) };
		size_t len;
		CHECK(usage_record_format(&r, room[n], sizeof(room[n]), &len) == ERR_OK);
		texts[n] = sv_from(room[n], len);
		n++;
		if (n == TEXTS || i + 1 == count) {
			append(texts, n);
			n = 0;
		}
	}
}

static double cpu_s(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
	struct usage_ship_status st;
	struct loop_signal term;
	struct pg *pg;
	char error[512];
	bool bench = argc == 5 && strcmp(argv[1], "--bench") == 0;

	log_init("ship-live", LOG_INFO, LOG_TEXT);
	if (argc == 3 && strcmp(argv[1], "--list") == 0)
		return list(argv[2]);
	if ((argc != 2 && !bench) || getenv("SHIP_DSN") == NULL) {
		fprintf(stderr, "usage: SHIP_DSN=… ship-live DIR | --list DIR | --bench DIR RECORDS USERS\n");
		return 2;
	}
	const char *dir = argv[bench ? 2 : 1];
	loop = loop_new();
	CHECK(loop != NULL);
	open_spool(dir);
	const struct pg_config pc = {
		.dsn = getenv("SHIP_DSN"), .application_name = "ship-live", .on_up = on_up, .on_down = on_down
	};
	if (pg_new(loop, &pc, &pg, error, sizeof(error)) != ERR_OK) {
		fprintf(stderr, "%s\n", error);
		return 1;
	}
	const struct usage_ship_config config = { .pg = pg,
		                                  .spool = spool,
		                                  .dir = dir,
		                                  .retention_days = (unsigned)number("SHIP_RETENTION", 0),
		                                  .on_position = on_position,
		                                  .on_batch = on_batch };
	ship = usage_ship_new(loop, &config);
	loop_io_init(&input, loop, on_input, NULL);
	loop_timer_init(&look, loop, on_look, NULL);
	loop_task_init(&turn, loop, on_turn, NULL);
	loop_signal_init(&term, loop, on_term, NULL);
	loop_signal_start(&term, SIGTERM);
	loop_timer_start(&look, 5, 5);
	if (bench) {
		quiet = ended = true;
		size_t n = strtoul(argv[3], NULL, 10);
		generate(n, strtoul(argv[4], NULL, 10));
		double cpu = cpu_s();
		uint64_t began = clock_mono_ns();
		loop_run(loop);
		double took = (double)(clock_mono_ns() - began) / 1e9;
		printf("records=%zu seconds=%.2f records_per_s=%.0f cpu_us_per_record=%.2f\n", n, took,
		       (double)n / took, (cpu_s() - cpu) / (double)n * 1e6);
	} else {
		CHECK(fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) == 0);
		loop_io_start(&input, STDIN_FILENO, LOOP_READ);
		loop_run(loop);
	}
	usage_ship_status(ship, &st);
	printf("end shipped=%" PRIu64 " duplicates=%" PRIu64 " quarantined=%" PRIu64 " oldest=%" PRId64
	       " position=%" PRIu64 ":%" PRIu64 "\n",
	       st.shipped, st.duplicates, st.quarantined, st.oldest_ms, st.position.segment, st.position.offset);
	loop_timer_stop(&look);
	loop_task_cancel(&turn);
	loop_io_stop(&input);
	loop_signal_stop(&term);
	pg_free(pg);
	usage_ship_free(ship);
	usage_spool_close(spool);
	size_t active = loop_active(loop);
	loop_free(loop);
	return active == 0 ? 0 : 4;
}
