#include "api/storage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/user_folder.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/sv.h"

#define BUCKETS 4096u
/* Some megabytes; the accounts of users who do nothing make room for others, and are counted again later. */
#define ACCOUNTS_MAX 32768u
#define RECOUNT_NS   (10 * NS_PER_SEC)

struct storage_account {
	struct storage_account *next; /* of the bucket */
	uint64_t user;
	unsigned refs; /* both under the table's lock, all below under the account's */
	pthread_mutex_t lock;
	uint64_t settle_ns;
	bool counted;
	uint64_t counted_ns;
	uint64_t used;
	uint64_t reserved;
};

struct storage {
	pthread_mutex_t lock;
	uint64_t settle_ns;
	size_t count;
	struct storage_account *buckets[BUCKETS];
};

/* Whole blocks; what is near the largest number stays below it. */
static uint64_t round_up(uint64_t bytes)
{
	uint64_t most = UINT64_MAX / STORAGE_BLOCK;
	uint64_t blocks = bytes / STORAGE_BLOCK + (bytes % STORAGE_BLOCK != 0 ? 1 : 0);

	return (blocks < most ? blocks : most) * STORAGE_BLOCK;
}

uint64_t storage_size(uint64_t bytes)
{
	return bytes > 0 ? round_up(bytes) : STORAGE_BLOCK;
}

struct storage *storage_new(uint64_t settle_ns)
{
	struct storage *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->settle_ns = settle_ns;
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

static void account_free(struct storage *s, struct storage_account *a)
{
	pthread_mutex_destroy(&a->lock);
	free(a);
	s->count--;
}

void storage_free(struct storage *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		while (s->buckets[i] != NULL) {
			struct storage_account *a = s->buckets[i];
			CHECK(a->refs == 0);
			s->buckets[i] = a->next;
			account_free(s, a);
		}
	}
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* Under the table's lock: the accounts of the bucket that nobody uses. */
static void drop_idle(struct storage *s, struct storage_account **at)
{
	while (*at != NULL) {
		struct storage_account *a = *at;
		if (a->refs > 0) {
			at = &a->next;
			continue;
		}
		*at = a->next;
		account_free(s, a);
	}
}

struct storage_account *storage_open(struct storage *s, uint64_t user)
{
	struct storage_account **bucket = &s->buckets[user % BUCKETS];

	pthread_mutex_lock(&s->lock);
	struct storage_account *a = *bucket;
	while (a != NULL && a->user != user)
		a = a->next;
	if (a == NULL) {
		if (s->count >= ACCOUNTS_MAX)
			drop_idle(s, bucket);
		a = calloc(1, sizeof(*a));
		if (a != NULL) {
			a->user = user;
			a->settle_ns = s->settle_ns;
			pthread_mutex_init(&a->lock, NULL);
			a->next = *bucket;
			*bucket = a;
			s->count++;
		}
	}
	if (a != NULL)
		a->refs++;
	pthread_mutex_unlock(&s->lock);
	return a;
}

void storage_close(struct storage *s, struct storage_account *a)
{
	if (a == NULL)
		return;
	pthread_mutex_lock(&s->lock);
	CHECK(a->refs > 0);
	a->refs--;
	pthread_mutex_unlock(&s->lock);
}

/* Temporary files are not part of it: those of this process are reserved, others are leftovers. */
static enum err count_folder(struct storage_account *a, int folder, uint64_t now_ns)
{
	struct dirent *entry;
	struct stat st;
	uint64_t used = 0;

	DIR *dir = user_folder_list(folder);
	if (dir == NULL)
		return ERR_IO;
	while (errno = 0, (entry = readdir(dir)) != NULL) {
		if (!user_folder_is_part(entry->d_name) &&
		    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			used += storage_size((uint64_t)st.st_size);
	}
	int saved = errno;
	closedir(dir);
	errno = saved;
	if (saved != 0)
		return ERR_IO;
	a->counted = true;
	a->counted_ns = now_ns;
	a->used = used;
	return ERR_OK;
}

static bool take(struct storage_account *a, uint64_t limit, uint64_t want, uint64_t least, uint64_t *got)
{
	uint64_t used = a->used + a->reserved;
	uint64_t left = limit > used ? (limit - used) / STORAGE_BLOCK * STORAGE_BLOCK : 0;

	if (left < least)
		return false;
	*got = want < left ? want : left;
	return true;
}

enum err storage_reserve(struct storage_account *a, int folder, uint64_t limit, uint64_t want, uint64_t least,
                         uint64_t now_ns, uint64_t *got, struct storage_use *use)
{
	enum err err = ERR_OK;

	want = round_up(want);
	least = round_up(least);
	*got = want;
	pthread_mutex_lock(&a->lock);
	if (limit > 0) {
		bool settled = now_ns >= a->settle_ns && a->counted_ns < a->settle_ns;
		if (!a->counted || settled)
			err = count_folder(a, folder, now_ns);
		if (err == ERR_OK && !take(a, limit, want, least, got)) {
			err = ERR_REFUSED;
			if (now_ns - a->counted_ns >= RECOUNT_NS && count_folder(a, folder, now_ns) == ERR_OK &&
			    take(a, limit, want, least, got))
				err = ERR_OK;
		}
		*use = (struct storage_use){ .used = a->used + a->reserved, .limit = limit };
	}
	if (err == ERR_OK)
		a->reserved += *got;
	pthread_mutex_unlock(&a->lock);
	return err;
}

void storage_release(struct storage_account *a, uint64_t bytes)
{
	if (a == NULL || bytes == 0)
		return;
	pthread_mutex_lock(&a->lock);
	CHECK(a->reserved >= bytes);
	a->reserved -= bytes;
	pthread_mutex_unlock(&a->lock);
}

void storage_lock(struct storage_account *a)
{
	pthread_mutex_lock(&a->lock);
}

void storage_unlock(struct storage_account *a, uint64_t added, uint64_t removed, uint64_t released)
{
	CHECK(a->reserved >= released);
	a->reserved -= released;
	if (a->counted) {
		a->used += added;
		/* Files that somebody else put there or cut off may have been counted otherwise. */
		a->used -= removed < a->used ? removed : a->used;
	}
	pthread_mutex_unlock(&a->lock);
}
