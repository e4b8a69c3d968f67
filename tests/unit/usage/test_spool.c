/* LDFLAGS: -Wl,--wrap=pwrite,--wrap=ftruncate,--wrap=fdatasync,--wrap=fsync */
/* Writing the spool, its folder, and disks that fail. */
#include "usage/folder.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

ssize_t __real_pwrite(int fd, const void *p, size_t n, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t offset);
int __real_ftruncate(int fd, off_t size);
int __wrap_ftruncate(int fd, off_t size);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_fsync(int fd);
int __wrap_fsync(int fd);

static long disk_left = -1; /* bytes that may still be written; -1: no bound */
static long piece = -1;     /* bytes that one write takes at most */
static int truncate_errno;
static int sync_errno;
static unsigned writes;
static unsigned syncs;

ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t offset)
{
	writes++;
	if (disk_left == 0) {
		errno = ENOSPC;
		return -1;
	}
	if (disk_left > 0 && n > (size_t)disk_left)
		n = (size_t)disk_left;
	if (piece > 0 && n > (size_t)piece)
		n = (size_t)piece;
	if (disk_left > 0)
		disk_left -= (long)n;
	return __real_pwrite(fd, p, n, offset);
}

int __wrap_ftruncate(int fd, off_t size)
{
	if (truncate_errno != 0) {
		errno = truncate_errno;
		return -1;
	}
	return __real_ftruncate(fd, size);
}

int __wrap_fdatasync(int fd)
{
	syncs++;
	if (sync_errno != 0) {
		errno = sync_errno;
		return -1;
	}
	return __real_fdatasync(fd);
}

int __wrap_fsync(int fd)
{
	return sync_errno != 0 ? __wrap_fdatasync(fd) : __real_fsync(fd);
}

static int setup(void **state)
{
	disk_left = -1;
	piece = -1;
	truncate_errno = 0;
	sync_errno = 0;
	return folder_make(state);
}

static void expect_all(struct usage_spool *s, const char *const *texts, size_t n)
{
	struct usage_reader *r = usage_reader_new(s, (struct usage_position){ 0 });

	assert_non_null(r);
	for (size_t i = 0; i < n; i++)
		expect(r, texts[i]);
	expect_end(r);
	usage_reader_free(r);
}
#define EXPECT_ALL(s, ...)                                  \
	expect_all(s, (const char *const[]){ __VA_ARGS__ }, \
	           sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

static void test_batch_is_one_write(void **state)
{
	(void)state;
	struct usage_spool *s = spool_open_with(1000, 0);
	struct sv texts[64];

	for (size_t i = 0; i < 64; i++)
		texts[i] = SV("a record of some length");
	writes = 0;
	assert_int_equal(usage_spool_append(s, texts, 64), ERR_OK);
	assert_int_equal(writes, 1);
	assert_int_equal(usage_spool_append(s, texts, 0), ERR_OK);
	assert_int_equal(writes, 1);
	assert_int_equal(usage_spool_bytes_after(s, (struct usage_position){ 0 }), 64 * 31);
	usage_spool_close(s);
}

/* More than goes to the file at once. */
static void test_large_batch(void **state)
{
	(void)state;
	static struct sv texts[2000];
	char text[USAGE_TEXT_MAX];
	struct usage_spool *s = spool_open_with(1000, 0);
	struct usage_reader *r = usage_reader_new(s, (struct usage_position){ 0 });
	struct usage_position after;
	struct sv got;

	memset(text, 'q', sizeof(text));
	for (size_t i = 0; i < 2000; i++)
		texts[i] = sv_from(text, 1 + i % USAGE_TEXT_MAX);
	assert_int_equal(usage_spool_append(s, texts, 2000), ERR_OK);
	for (size_t i = 0; i < 2000; i++) {
		assert_int_equal(usage_reader_next(r, &got, &after), ERR_OK);
		assert_true(sv_eq(got, texts[i]));
	}
	/* The same with a full disk in the middle: none of it. */
	struct usage_position end = usage_spool_end(s);
	append(s, "small");
	end = usage_spool_end(s);
	disk_left = 1000000;
	assert_int_equal(usage_spool_append(s, texts, 2000), ERR_IO);
	assert_int_equal(errno, ENOSPC);
	end = usage_spool_end(s);
	struct stat st;
	assert_int_equal(stat(segment_path(end.segment), &st), 0);
	assert_int_equal(st.st_size, end.offset);
	expect(r, "small");
	expect_end(r);
	usage_reader_free(r);
	usage_spool_close(s);
}

static void test_text_bounds(void **state)
{
	(void)state;
	static char text[USAGE_TEXT_MAX + 1];
	struct usage_spool *s = spool_open_with(1000, 0);
	struct sv texts[] = { SV("good"), { text, sizeof(text) } };

	memset(text, 'q', sizeof(text));
	assert_int_equal(usage_spool_append(s, texts, 2), ERR_RANGE);
	texts[1].n = 0;
	assert_int_equal(usage_spool_append(s, texts, 2), ERR_RANGE);
	struct usage_reader *r = usage_reader_new(s, (struct usage_position){ 0 });
	expect_end(r);
	usage_reader_free(r);
	usage_spool_close(s);
}

static void test_full_disk(void **state)
{
	(void)state;
	struct usage_spool *s = spool_open_with(1000, 0);
	struct sv two[] = { SV("lost one"), SV("lost two") };
	struct stat st;

	append(s, "before");
	struct usage_position end = usage_spool_end(s);
	for (long left = 0; left < 32; left++) {
		disk_left = left;
		assert_int_equal(usage_spool_append(s, two, 2), ERR_IO);
		assert_int_equal(errno, ENOSPC);
		assert_int_equal(usage_position_cmp(usage_spool_end(s), end), 0);
		assert_int_equal(stat(segment_path(end.segment), &st), 0);
		assert_int_equal(st.st_size, end.offset);
	}
	disk_left = -1;
	piece = 3;
	append(s, "after");
	assert_int_equal(usage_spool_end(s).segment, end.segment);
	EXPECT_ALL(s, "before", "after");
	usage_spool_close(s);
	assert_int_equal(told_n, 0);
}

static void test_cannot_take_back(void **state)
{
	(void)state;
	struct usage_spool *s = spool_open_with(1000, 0);
	struct sv two[] = { SV("lost one"), SV("lost two") };

	append(s, "before");
	struct usage_position end = usage_spool_end(s);
	disk_left = 20;
	truncate_errno = EIO;
	assert_int_equal(usage_spool_append(s, two, 2), ERR_IO);
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(told_n, 1);
	told_has("cannot take back");
	EXPECT_ALL(s, "before");
	/* Nor can a new one begin, and then it can. */
	assert_int_equal(usage_spool_append(s, two, 2), ERR_IO);
	assert_int_equal(usage_position_cmp(usage_spool_end(s), end), 0);
	disk_left = -1;
	truncate_errno = 0;
	append(s, "after");
	assert_true(usage_spool_end(s).segment > end.segment);
	EXPECT_ALL(s, "before", "after");
	assert_int_equal(usage_spool_sync(s), ERR_OK);
	assert_int_equal(told_n, 1);
	usage_spool_close(s);
}

static void test_full_disk_at_opening(void **state)
{
	(void)state;
	struct usage_spool *s = spool_open_with(1000, 0);

	append(s, "before");
	usage_spool_close(s);
	disk_left = 0;
	s = spool_open_with(1000, 0);
	told_has("cannot begin a segment: No space left");
	EXPECT_ALL(s, "before");
	struct sv more = SV("after");
	assert_int_equal(usage_spool_append(s, &more, 1), ERR_IO);
	disk_left = -1;
	append(s, "after");
	EXPECT_ALL(s, "before", "after");
	usage_spool_close(s);
}

static void test_sync(void **state)
{
	(void)state;
	struct usage_spool *s = spool_open_with(60, 0);

	syncs = 0;
	assert_int_equal(usage_spool_sync(s), ERR_OK);
	assert_int_equal(syncs, 0);
	append(s, "one, which is long enough");
	append(s, "two, which is long enough");
	append(s, "three");
	assert_int_equal(syncs, 0);
	assert_int_equal(usage_spool_sync(s), ERR_OK);
	assert_int_equal(syncs, 3);
	assert_int_equal(usage_spool_sync(s), ERR_OK);
	assert_int_equal(syncs, 3);
	usage_spool_close(s);
}

static void test_sync_fails(void **state)
{
	(void)state;
	struct usage_spool *s = spool_open_with(1000, 0);

	append(s, "one");
	struct usage_position end = usage_spool_end(s);
	sync_errno = EIO;
	assert_int_equal(usage_spool_sync(s), ERR_IO);
	assert_int_equal(errno, EIO);
	assert_int_equal(told_n, 1);
	told_has(strrchr(segment_path(end.segment), '/') + 1);
	sync_errno = 0;
	assert_int_equal(usage_spool_sync(s), ERR_OK);
	append(s, "two");
	assert_true(usage_spool_end(s).segment > end.segment);
	EXPECT_ALL(s, "one", "two");
	usage_spool_close(s);
	assert_int_equal(told_n, 1);
}

static void test_shipped(void **state)
{
	(void)state;
	struct usage_spool *s = spool_open_with(50, 2);
	struct usage_position after[6];

	for (int i = 0; i < 6; i++) {
		append(s, "12345678");
		after[i] = usage_spool_end(s);
	}
	assert_int_equal(usage_spool_bytes_after(s, (struct usage_position){ 0 }), 6 * 16);
	assert_int_equal(usage_spool_bytes_after(s, after[2]), 3 * 16);
	usage_spool_shipped(s, after[2]);
	assert_int_equal(segments_there(), 6);
	usage_spool_shipped(s, (struct usage_position){ .segment = UINT64_MAX, .offset = 1 });
	assert_int_equal(segments_there(), 6);
	usage_spool_shipped(s, after[4]);
	assert_int_equal(segments_there(), 4);
	assert_int_equal(usage_spool_bytes_after(s, (struct usage_position){ 0 }), 4 * 16);
	assert_int_equal(usage_spool_bytes_after(s, after[4]), 16);
	assert_int_equal(usage_spool_bytes_after(s, after[5]), 0);
	assert_int_equal(usage_spool_oldest(s).segment, after[2].segment);
	usage_spool_shipped(s, usage_spool_end(s));
	assert_int_equal(segments_there(), 3);
	usage_spool_close(s);
}

static void test_empty_segments_do_not_pile_up(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++)
		usage_spool_close(spool_open_with(1000, 0));
	assert_int_equal(segments_there(), 1);
	struct usage_spool *s = spool_open_with(1000, 0);
	append(s, "one");
	usage_spool_close(s);
	for (int i = 0; i < 20; i++)
		usage_spool_close(spool_open_with(1000, 0));
	s = spool_open_with(1000, 0);
	append(s, "two");
	assert_int_equal(segments_there(), 2);
	EXPECT_ALL(s, "one", "two");
	usage_spool_close(s);
	assert_int_equal(told_n, 0);
}

static void test_one_writer(void **state)
{
	(void)state;
	struct usage_spool *s = spool_open_with(1000, 0);
	char pid[64];

	snprintf(pid, sizeof(pid), "/lock: another process (%ld)", (long)getpid());
	open_fails(ERR_EXISTS, pid);
	usage_spool_close(s);
	usage_spool_close(spool_open_with(1000, 0));
}

static void test_agent(void **state)
{
	(void)state;
	struct usage_spool *s = spool_open_with(1000, 0);
	char name[USAGE_AGENT_LEN + 2];
	char damaged[USAGE_AGENT_LEN + 2];

	snprintf(name, sizeof(name), "%s\n", usage_spool_agent(s));
	assert_true(segment_agent_valid(sv_from(name, USAGE_AGENT_LEN)));
	usage_spool_close(s);
	s = spool_open_with(1000, 0);
	assert_memory_equal(usage_spool_agent(s), name, USAGE_AGENT_LEN);
	usage_spool_close(s);
	for (size_t n = 0; n <= USAGE_AGENT_LEN; n++) {
		put_file(path_of("agent.id"), name, n);
		open_fails(ERR_CORRUPT, "/agent.id is damaged");
	}
	memcpy(damaged, name, sizeof(damaged));
	damaged[5] = 'X';
	put_file(path_of("agent.id"), damaged, USAGE_AGENT_LEN + 1);
	name[USAGE_AGENT_LEN] = '\0';
	open_fails(ERR_CORRUPT, name);
	assert_int_equal(unlink(path_of("agent.id")), 0);
	open_fails(ERR_NOT_FOUND, name);
	name[USAGE_AGENT_LEN] = '\n';
	put_file(path_of("agent.id"), name, USAGE_AGENT_LEN + 1);
	usage_spool_close(spool_open_with(1000, 0));
}

static void test_foreign_files(void **state)
{
	(void)state;
	uint8_t header[SEGMENT_HEADER];
	struct usage_spool *s = spool_open_with(1000, 0);

	append(s, "ours");
	usage_spool_close(s);
	segment_header_write(header, &(struct segment_header){ .agent = "00112233445566fe", .number = 5 });
	put_file(segment_path(5), header, sizeof(header));
	put_file(segment_path(6), header, sizeof(header));
	assert_int_equal(mkdir(segment_path(7), 0750), 0);
	assert_int_equal(symlink("/dev/zero", segment_path(8)), 0);
	put_file(path_of("notes.txt"), "x", 1);
	put_file(path_of("00000000000000AB.usage"), "x", 1);
	put_file(path_of("quarantine.usage"), "x", 1);
	put_file(path_of("segment.tmp"), "x", 1);
	s = spool_open_with(1000, 0);
	assert_int_equal(told_n, 6);
	told_has("0000000000000005.usage: a segment of agent 00112233445566fe");
	told_has("0000000000000006.usage: not the segment");
	told_has("0000000000000007.usage: not the segment");
	told_has("0000000000000008.usage: not the segment");
	told_has("notes.txt: not a file of the spool");
	EXPECT_ALL(s, "ours");
	usage_spool_shipped(s, usage_spool_end(s));
	assert_int_equal(access(segment_path(5), F_OK), 0);
	usage_spool_close(s);
}

static void test_bad_folder(void **state)
{
	(void)state;
	struct usage_spool_config config = { .dir = "/nowhere/at/all", .segment_bytes = 1000 };
	struct usage_spool *s;
	char error[5000];
	char path[5000];

	assert_int_equal(usage_spool_open(&config, &s, error, sizeof(error)), ERR_IO);
	assert_string_equal(error, "/nowhere/at/all: No such file or directory");
	memset(path, 'p', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	config.dir = path;
	assert_int_equal(usage_spool_open(&config, &s, error, sizeof(error)), ERR_RANGE);
	/* A folder that is not writable, for who is not root. */
	assert_int_equal(chmod(folder, 0555), 0);
	if (geteuid() == 0)
		assert_int_equal(seteuid(65534), 0);
	open_fails(ERR_IO, "/lock: Permission denied");
	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(folder, 0755), 0);
}

/* A process that appends until it is killed: all that it said it appended is there. */
static void test_killed(void **state)
{
	(void)state;
	for (int round = 0; round < 10; round++) {
		int said[2];
		unsigned last = 0;

		assert_int_equal(pipe(said), 0);
		pid_t pid = fork();
		if (pid == 0) {
			struct usage_spool *s = spool_open_with(3000, 0);
			for (unsigned i = 1;; i++) {
				char text[64];
				struct sv v = sv_from(text, (size_t)snprintf(text, sizeof(text), "%d.%u", round, i));
				if (usage_spool_append(s, &v, 1) != ERR_OK ||
				    write(said[1], &i, sizeof(i)) != sizeof(i))
					_exit(1);
			}
		}
		close(said[1]);
		for (int i = 0; i < 500 + 37 * round; i++)
			assert_int_equal(read(said[0], &last, sizeof(last)), sizeof(last));
		assert_int_equal(kill(pid, SIGKILL), 0);
		while (read(said[0], &last, sizeof(last)) == sizeof(last))
			;
		close(said[0]);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		struct usage_spool *s = spool_open_with(1000, 0);
		struct usage_reader *r = usage_reader_new(s, (struct usage_position){ 0 });
		for (unsigned i = 1; i <= last; i++) {
			char text[64];
			snprintf(text, sizeof(text), "%d.%u", round, i);
			expect(r, text);
		}
		usage_reader_free(r);
		usage_spool_close(s);
		assert_int_equal(folder_remove(state), 0);
		assert_int_equal(folder_make(state), 0);
	}
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, folder_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FOLDER(test_batch_is_one_write),
		WITH_FOLDER(test_large_batch),
		WITH_FOLDER(test_text_bounds),
		WITH_FOLDER(test_full_disk),
		WITH_FOLDER(test_cannot_take_back),
		WITH_FOLDER(test_full_disk_at_opening),
		WITH_FOLDER(test_sync),
		WITH_FOLDER(test_sync_fails),
		WITH_FOLDER(test_shipped),
		WITH_FOLDER(test_empty_segments_do_not_pile_up),
		WITH_FOLDER(test_one_writer),
		WITH_FOLDER(test_agent),
		WITH_FOLDER(test_foreign_files),
		WITH_FOLDER(test_bad_folder),
		WITH_FOLDER(test_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
