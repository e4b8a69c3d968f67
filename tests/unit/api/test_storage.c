/* Accounts of storage: what is counted, reserved and given back, and when a count is made anew. */
#include "api/folder.h"

#include "api/storage.h"
#include "api/user_folder.h"
#include "base/clock.h"

#define USER      5
#define SETTLE    (100 * NS_PER_SEC)
#define BLOCKS(n) ((n)*STORAGE_BLOCK)

static struct folder folder;
static struct storage *storage;
static struct storage_account *account;
static struct storage_use use;
static int uploads_fd, user_fd;

static int setup(void **state)
{
	(void)state;
	folder_make(&folder);
	uploads_fd = open(folder.path, O_RDONLY | O_DIRECTORY);
	user_fd = user_folder_make(uploads_fd, USER);
	assert_true(user_fd >= 0);
	storage = storage_new(SETTLE);
	assert_non_null(storage);
	account = storage_open(storage, USER);
	assert_non_null(account);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	storage_close(storage, account);
	storage_free(storage);
	close(user_fd);
	close(uploads_fd);
	folder_remove(&folder);
	return 0;
}

static void make_file(const char *name, uint64_t size)
{
	int fd = openat(user_fd, name, O_WRONLY | O_CREAT, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

/* Reserves exactly that much, all in blocks, at a time in seconds. */
static enum err reserve(uint64_t limit, uint64_t blocks, uint64_t at_s)
{
	uint64_t got = 0;

	enum err err = storage_reserve(account, user_fd, BLOCKS(limit), BLOCKS(blocks), BLOCKS(blocks),
	                               at_s * NS_PER_SEC, &got, &use);
	if (err == ERR_OK)
		assert_int_equal(got, BLOCKS(blocks));
	return err;
}

static void test_what_is_counted(void **state)
{
	char path[128];
	(void)state;

	make_file("a.jpg", BLOCKS(600));
	make_file("b", BLOCKS(300));
	make_file(".part-00112233445566778899aabbccddeeff", BLOCKS(5000));
	snprintf(path, sizeof(path), "%s/big", folder.path);
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(ftruncate(fd, 1000000), 0);
	close(fd);
	assert_int_equal(symlinkat(path, user_fd, "link"), 0);
	assert_int_equal(mkdirat(user_fd, "folder", 0700), 0);
	assert_int_equal(reserve(1000, 101, 200), ERR_REFUSED);
	assert_int_equal(use.used, BLOCKS(900));
	assert_int_equal(use.limit, BLOCKS(1000));
	assert_int_equal(reserve(1000, 100, 200), ERR_OK);
	assert_int_equal(reserve(1000, 1, 200), ERR_REFUSED);
	storage_release(account, BLOCKS(100));
}

/* Each file takes whole blocks, and what is reserved has room for them. */
static void test_whole_blocks(void **state)
{
	uint64_t got = 0;
	(void)state;

	assert_int_equal(storage_size(0), 4096);
	assert_int_equal(storage_size(1), 4096);
	assert_int_equal(storage_size(4096), 4096);
	assert_int_equal(storage_size(4097), 8192);
	assert_int_equal(storage_size(UINT64_MAX), UINT64_MAX - 4095);
	make_file("empty", 0);
	make_file("one", 1);
	make_file("full", 4096);
	make_file("over", 4097);
	assert_int_equal(reserve(6, 2, 200), ERR_REFUSED);
	assert_int_equal(use.used, BLOCKS(5));
	/* one byte of the last block */
	assert_int_equal(storage_reserve(account, user_fd, BLOCKS(6), 1, 1, NS_PER_SEC, &got, &use), ERR_OK);
	assert_int_equal(got, 4096);
	assert_int_equal(storage_reserve(account, user_fd, BLOCKS(6), 1, 1, NS_PER_SEC, &got, &use), ERR_REFUSED);
	storage_release(account, 4096);
	/* of what is left only whole ones */
	assert_int_equal(storage_reserve(account, user_fd, BLOCKS(7) - 1, 9000, 1, NS_PER_SEC, &got, &use), ERR_OK);
	assert_int_equal(got, 4096);
	storage_release(account, 4096);
	assert_int_equal(storage_reserve(account, user_fd, BLOCKS(6) - 1, 1, 1, NS_PER_SEC, &got, &use), ERR_REFUSED);
	/* a file of one byte that comes, and goes */
	assert_int_equal(storage_reserve(account, user_fd, BLOCKS(6), 1, 1, NS_PER_SEC, &got, &use), ERR_OK);
	storage_lock(account);
	storage_unlock(account, storage_size(1), 0, got);
	assert_int_equal(reserve(6, 1, 1), ERR_REFUSED);
	storage_lock(account);
	storage_unlock(account, 0, storage_size(1), 0);
	assert_int_equal(reserve(6, 1, 1), ERR_OK);
	storage_release(account, BLOCKS(1));
}

static void test_no_limit_counts_nothing(void **state)
{
	(void)state;
	make_file("a", BLOCKS(5000));
	assert_int_equal(reserve(0, 1000000, 200), ERR_OK);
	/* the reservation counts as soon as there is a limit */
	assert_int_equal(reserve(1006000, 1001, 200), ERR_REFUSED);
	assert_int_equal(use.used, BLOCKS(1005000));
	storage_release(account, BLOCKS(1000000));
	assert_int_equal(reserve(6000, 1000, 200), ERR_OK);
	storage_release(account, BLOCKS(1000));
}

static void test_changes(void **state)
{
	(void)state;
	assert_int_equal(reserve(1000, 700, 200), ERR_OK);
	storage_lock(account);
	storage_unlock(account, BLOCKS(650), 0, BLOCKS(700));
	assert_int_equal(reserve(1000, 351, 201), ERR_REFUSED);
	assert_int_equal(use.used, BLOCKS(650));
	storage_lock(account);
	storage_unlock(account, 0, BLOCKS(650), 0);
	assert_int_equal(reserve(1000, 1000, 201), ERR_OK);
	storage_release(account, BLOCKS(1000));
	/* more than was there */
	storage_lock(account);
	storage_unlock(account, 0, BLOCKS(5), 0);
	assert_int_equal(reserve(1000, 1000, 201), ERR_OK);
	storage_release(account, BLOCKS(1000));
}

/* What is left, when it is enough. */
static void test_part_of_it(void **state)
{
	uint64_t got = 0;
	(void)state;

	make_file("a", BLOCKS(600));
	assert_int_equal(
	        storage_reserve(account, user_fd, BLOCKS(1000), BLOCKS(500), BLOCKS(401), NS_PER_SEC, &got, &use),
	        ERR_REFUSED);
	assert_int_equal(
	        storage_reserve(account, user_fd, BLOCKS(1000), BLOCKS(500), BLOCKS(400), NS_PER_SEC, &got, &use),
	        ERR_OK);
	assert_int_equal(got, BLOCKS(400));
	storage_release(account, got);
	/* a limit that is below what is there */
	assert_int_equal(storage_reserve(account, user_fd, BLOCKS(100), BLOCKS(500), BLOCKS(1), NS_PER_SEC, &got, &use),
	                 ERR_REFUSED);
	assert_int_equal(storage_reserve(account, user_fd, BLOCKS(600), 0, 0, NS_PER_SEC, &got, &use), ERR_OK);
	assert_int_equal(got, 0);
	/* no overflow */
	assert_int_equal(storage_reserve(account, user_fd, UINT64_MAX, UINT64_MAX, UINT64_MAX, NS_PER_SEC, &got, &use),
	                 ERR_REFUSED);
}

/* A file that somebody else removed: the next count, before a refusal, sees it. */
static void test_recount(void **state)
{
	(void)state;
	make_file("a", BLOCKS(900));
	assert_int_equal(reserve(1000, 200, 200), ERR_REFUSED);
	assert_int_equal(unlinkat(user_fd, "a", 0), 0);
	assert_int_equal(reserve(1000, 200, 209), ERR_REFUSED);
	assert_int_equal(reserve(1000, 200, 210), ERR_OK);
	assert_int_equal(use.used, 0);
	storage_release(account, BLOCKS(200));
	/* in memory otherwise: what appears is not seen */
	make_file("b", BLOCKS(900));
	assert_int_equal(reserve(1000, 200, 300), ERR_OK);
	storage_release(account, BLOCKS(200));
}

/* Until the process before this one has surely ended, a count is made once more. */
static void test_settle(void **state)
{
	(void)state;
	assert_int_equal(reserve(1000, 500, 99), ERR_OK);
	storage_release(account, BLOCKS(500));
	make_file("late", BLOCKS(900));
	assert_int_equal(reserve(1000, 500, 99), ERR_OK);
	storage_release(account, BLOCKS(500));
	assert_int_equal(reserve(1000, 500, 100), ERR_REFUSED);
	assert_int_equal(use.used, BLOCKS(900));
}

static void test_accounts(void **state)
{
	(void)state;
	struct storage_account *same = storage_open(storage, USER);
	assert_ptr_equal(same, account);
	storage_close(storage, same);
	struct storage_account *other = storage_open(storage, USER + 4096);
	assert_ptr_not_equal(other, account);
	storage_close(storage, other);
	/* more users than are kept: idle ones go, those in use stay */
	assert_int_equal(reserve(1000, 400, 200), ERR_OK);
	for (uint64_t user = 1; user < 70000; user++) {
		struct storage_account *a = storage_open(storage, user);
		assert_non_null(a);
		storage_close(storage, a);
	}
	same = storage_open(storage, USER);
	assert_ptr_equal(same, account);
	storage_close(storage, same);
	assert_int_equal(reserve(1000, 601, 200), ERR_REFUSED);
	storage_release(account, BLOCKS(400));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_what_is_counted), TEST(test_whole_blocks), TEST(test_no_limit_counts_nothing),
		TEST(test_changes),         TEST(test_part_of_it),   TEST(test_recount),
		TEST(test_settle),          TEST(test_accounts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
