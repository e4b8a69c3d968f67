/* The shared counters across processes. */
#include "unit.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/shared.h"
#include "agent/sockets.h"
#include "store/shm.h"

static void test_counts_cross_processes(void **state)
{
	(void)state;
	struct agent_shared *shared;
	int fd;

	assert_int_equal(agent_shared_make(&fd, &shared), ERR_OK);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct agent_shared *mine;
		if (agent_shared_map(fd, &mine) != ERR_OK)
			_exit(1);
		agent_count_verdict(&mine->metrics, VERDICT_KEY_INVALID, 1500);
		agent_count_verdict(&mine->metrics, VERDICT_ALLOW, 999999999);
		kill(getpid(), SIGKILL);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	const struct agent_metrics *m = &shared->metrics;
	assert_int_equal(atomic_load(&m->verdicts[VERDICT_KEY_INVALID]), 1);
	assert_int_equal(atomic_load(&m->verdicts[VERDICT_ALLOW]), 1);
	assert_int_equal(atomic_load(&m->verdict_buckets[0]), 0);
	assert_int_equal(atomic_load(&m->verdict_buckets[1]), 1);
	assert_int_equal(atomic_load(&m->verdict_buckets[AGENT_BUCKETS]), 1);
	assert_int_equal(atomic_load(&m->verdict_ns), 1500 + 999999999);
	agent_shared_unmap(shared);
	close(fd);
}

/* A program of another build must not write into memory that it reads differently. */
static void test_other_layout_is_refused(void **state)
{
	(void)state;
	struct agent_shared *shared;
	void *mem;
	int fd;

	assert_int_equal(shm_make("t", AGENT_SHARED_LAYOUT + 1, sizeof(struct agent_shared), &fd, &mem), ERR_OK);
	assert_int_equal(agent_shared_map(fd, &shared), ERR_VERSION);
	shm_unmap(mem, sizeof(struct agent_shared));
	close(fd);
	assert_int_equal(shm_make("t", AGENT_SHARED_LAYOUT, sizeof(struct agent_shared) + 8, &fd, &mem), ERR_OK);
	assert_int_equal(agent_shared_map(fd, &shared), ERR_VERSION);
	shm_unmap(mem, sizeof(struct agent_shared) + 8);
	close(fd);
}

static void test_spop_bind(void **state)
{
	(void)state;
	static const struct {
		char bind[64];
		unsigned workers; /* 0: refused */
	} rows[] = {
		{ "127.0.0.1:9001", 1 },
		{ "127.0.0.1:9001, unix@/run/x", 2 },
		{ "unix@/a,unix@/b,[::1]:9", 3 },
		{ "", 0 },
		{ "127.0.0.1:9001,", 0 },
		{ "9001", 0 },
		{ "unix@x", 0 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char bind[64];
		char metrics[] = "127.0.0.1:1";
		struct settings settings = { .agent_spop_bind = bind, .metrics_bind = metrics };
		struct agent_sockets sockets;
		char error[256] = "";
		strcpy(bind, rows[i].bind);
		enum err err = agent_sockets_parse(&settings, &sockets, error, sizeof(error));
		if (rows[i].workers == 0) {
			assert_int_equal(err, ERR_INVALID);
			assert_non_null(strstr(error, "address"));
		} else {
			assert_int_equal(err, ERR_OK);
			assert_int_equal(sockets.workers, rows[i].workers);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts_cross_processes),
		cmocka_unit_test(test_other_layout_is_refused),
		cmocka_unit_test(test_spop_bind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
