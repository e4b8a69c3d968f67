#include "store/policy_db.h"

#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"

/* Address space, not memory: the file grows with its content. A million keys need about 150 MiB. */
#define MAP_SIZE    ((size_t)8 << 30)
#define PATH_LEN    4128
#define ERROR_MAX   256
#define READERS_MAX 126
#define OPEN_MODE   0640
/* Of users and of keys each; those who ask often are far fewer than those who may. */
#define FOUND_SLOTS 16384
#define HUGE_PAGE   ((size_t)2 << 20)
_Static_assert(FOUND_SLOTS * 256 % ((size_t)2 << 20) == 0, "whole huge pages");

/* What lies under META_KEY in `meta`. */
struct meta {
	uint32_t layout;
	uint32_t complete;
	uint64_t generation;
	uint64_t changes; /* commits that changed users or keys */
	char stamp[POLICY_STAMP_MAX];
};
static const uint64_t META_KEY = 1;

static const char *const table_names[POLICY_TABLES] = {
	[POLICY_USERS] = "users", [POLICY_KEYS] = "keys", [POLICY_USAGE] = "usage"
};

/*
 * A record as it is since the commit of that number, or where it lies. A look-up of LMDB touches some ten cache lines
 * of a big table, one after the other; this one touches two or three that lie side by side, for a key with its signing
 * key and for a user with short lists all four. Pages of users and keys are written anew, and their old ones used
 * again, by commits that change these tables alone, so what was found stays true over the commits of the months'
 * counters, which come several times a second.
 */
struct found {
	uint64_t id;
	uint64_t changes;
	const void *record; /* the copy, or in the file when it is longer */
	size_t size;
	uint8_t copy[224];
};
_Static_assert(sizeof(struct found) == 256, "four cache lines");

struct policy_db {
	char path[PATH_LEN];
	MDB_env *env;
	MDB_dbi meta;
	MDB_dbi tables[POLICY_TABLES];
	MDB_txn *view;                     /* reader's, made once and renewed */
	bool view_live;                    /* between renew and release */
	uint64_t snapshot;                 /* that the view shows; 0: not known */
	uint64_t changes;                  /* struct meta's, in that snapshot */
	struct found *found[POLICY_USAGE]; /* of users and keys: FOUND_SLOTS; made by readers */
	MDB_txn *txn;                      /* writer's */
	bool changed;                      /* and it has changed users or keys */
	MDB_cursor *merge;
	bool merge_done; /* the cursor stands behind the last record */
	enum policy_table merge_table;
	bool writer;
};

static enum err from_mdb(int rc)
{
	switch (rc) {
	case MDB_SUCCESS:
		return ERR_OK;
	case MDB_NOTFOUND:
	case ENOENT:
		return ERR_NOT_FOUND;
	case MDB_MAP_FULL:
	case ENOSPC:
		return ERR_SPACE;
	case MDB_VERSION_MISMATCH:
		return ERR_VERSION;
	case MDB_INVALID:
	case MDB_CORRUPTED:
	case MDB_PANIC:
	case MDB_PAGE_NOTFOUND:
		return ERR_CORRUPT;
	case ENOMEM:
		return ERR_NOMEM;
	default:
		return ERR_IO;
	}
}

static MDB_val val(const void *p, size_t n)
{
	union {
		const void *in;
		void *out;
	} cast = { .in = p };
	return (MDB_val){ .mv_size = n, .mv_data = cast.out };
}

/* Copied out: LMDB aligns values to two bytes only. */
static int read_meta(struct policy_db *db, MDB_txn *txn, struct meta *out)
{
	MDB_val key = val(&META_KEY, sizeof(META_KEY));
	MDB_val data;
	int rc = mdb_get(txn, db->meta, &key, &data);

	memset(out, 0, sizeof(*out));
	if (rc == MDB_SUCCESS && data.mv_size == sizeof(*out))
		memcpy(out, data.mv_data, sizeof(*out));
	return rc;
}

static int write_meta(struct policy_db *db, MDB_txn *txn, const struct meta *meta)
{
	MDB_val key = val(&META_KEY, sizeof(META_KEY));
	MDB_val data = val(meta, sizeof(*meta));
	return mdb_put(txn, db->meta, &key, &data, 0);
}

static int open_tables(struct policy_db *db, MDB_txn *txn, unsigned flags)
{
	int rc = mdb_dbi_open(txn, "meta", flags | MDB_INTEGERKEY, &db->meta);
	for (int i = 0; i < POLICY_TABLES && rc == MDB_SUCCESS; i++)
		rc = mdb_dbi_open(txn, table_names[i], flags | MDB_INTEGERKEY, &db->tables[i]);
	return rc;
}

/* The writer's first transaction: makes the tables, and empties them when the layout is not ours. */
static int prepare(struct policy_db *db)
{
	struct meta meta;
	MDB_txn *txn;
	int rc = mdb_txn_begin(db->env, NULL, 0, &txn);

	if (rc != MDB_SUCCESS)
		return rc;
	rc = open_tables(db, txn, MDB_CREATE);
	if (rc == MDB_SUCCESS)
		rc = read_meta(db, txn, &meta);
	if (rc == MDB_NOTFOUND || (rc == MDB_SUCCESS && meta.layout != POLICY_LAYOUT)) {
		rc = MDB_SUCCESS;
		for (int i = 0; i < POLICY_TABLES && rc == MDB_SUCCESS; i++)
			rc = mdb_drop(txn, db->tables[i], 0);
		memset(&meta, 0, sizeof(meta));
		meta.layout = POLICY_LAYOUT;
		if (rc == MDB_SUCCESS)
			rc = write_meta(db, txn, &meta);
	}
	if (rc != MDB_SUCCESS) {
		mdb_txn_abort(txn);
		return rc;
	}
	return mdb_txn_commit(txn);
}

static int open_env(struct policy_db *db, const char *path)
{
	unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD | (db->writer ? 0 : MDB_RDONLY);
	MDB_txn *txn;
	int rc = mdb_env_create(&db->env);

	if (rc == MDB_SUCCESS)
		rc = mdb_env_set_maxdbs(db->env, POLICY_TABLES + 1);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_set_maxreaders(db->env, READERS_MAX);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_set_mapsize(db->env, MAP_SIZE);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_open(db->env, path, flags, OPEN_MODE);
	if (rc != MDB_SUCCESS)
		return rc;
	if (db->writer)
		return prepare(db);
	/* Handles opened in a transaction become the environment's when it is committed. */
	rc = mdb_txn_begin(db->env, NULL, MDB_RDONLY, &txn);
	if (rc != MDB_SUCCESS)
		return rc;
	rc = open_tables(db, txn, 0);
	if (rc != MDB_SUCCESS) {
		mdb_txn_abort(txn);
		return rc;
	}
	return mdb_txn_commit(txn);
}

static void close_env(struct policy_db *db)
{
	if (db->env != NULL)
		mdb_env_close(db->env);
	db->env = NULL;
}

static void file_path(char path[PATH_LEN], const char *dir)
{
	snprintf(path, PATH_LEN, "%s/policy.mdb", dir);
}

/* "<path>-lock" is LMDB's name for the lock file of MDB_NOSUBDIR. */
static void remove_files(const char *path)
{
	char lock[PATH_LEN + 8];
	snprintf(lock, sizeof(lock), "%s-lock", path);
	unlink(path);
	unlink(lock);
}

void policy_db_discard(const char *dir)
{
	char path[PATH_LEN];
	file_path(path, dir);
	remove_files(path);
}

bool policy_db_replaced(const struct policy_db *db)
{
	struct stat open_file;
	struct stat present;
	int fd = -1;

	if (mdb_env_get_fd(db->env, &fd) != MDB_SUCCESS || fstat(fd, &open_file) != 0)
		return true;
	return stat(db->path, &present) != 0 || present.st_dev != open_file.st_dev ||
	       present.st_ino != open_file.st_ino;
}

/* In huge pages where there are some: else the processor looks for the page of nearly each record. */
static struct found *make_found(void)
{
	struct found *found = aligned_alloc(HUGE_PAGE, FOUND_SLOTS * sizeof(*found));

	CHECK(found != NULL);
	madvise(found, FOUND_SLOTS * sizeof(*found), MADV_HUGEPAGE);
	memset(found, 0, FOUND_SLOTS * sizeof(*found));
	return found;
}

enum err policy_db_open(const char *dir, bool writer, struct policy_db **out, char *error)
{
	struct policy_db *db = check_calloc(1, sizeof(*db));

	error[0] = '\0';
	db->writer = writer;
	file_path(db->path, dir);
	int rc = open_env(db, db->path);
	if (writer && (from_mdb(rc) == ERR_CORRUPT || from_mdb(rc) == ERR_VERSION)) {
		close_env(db);
		remove_files(db->path);
		rc = open_env(db, db->path);
	}
	if (rc != MDB_SUCCESS) {
		snprintf(error, ERROR_MAX, "%.160s: %.80s", db->path, mdb_strerror(rc));
		close_env(db);
		free(db);
		return from_mdb(rc);
	}
	for (int i = 0; i < POLICY_USAGE && !writer; i++)
		db->found[i] = make_found();
	*out = db;
	return ERR_OK;
}

void policy_db_close(struct policy_db *db)
{
	if (db == NULL)
		return;
	policy_db_abort(db);
	if (db->view != NULL)
		mdb_txn_abort(db->view);
	close_env(db);
	for (int i = 0; i < POLICY_USAGE; i++)
		free(db->found[i]);
	free(db);
}

enum err policy_db_renew(struct policy_db *db)
{
	struct meta meta;
	int rc;

	policy_db_release(db);
	if (db->view == NULL) {
		rc = mdb_txn_begin(db->env, NULL, MDB_RDONLY, &db->view);
		/* Readers that were killed still hold their slots: free those, when the writer did not yet. */
		if (rc == MDB_READERS_FULL && mdb_reader_check(db->env, NULL) == MDB_SUCCESS)
			rc = mdb_txn_begin(db->env, NULL, MDB_RDONLY, &db->view);
	} else
		rc = mdb_txn_renew(db->view);
	if (rc != MDB_SUCCESS)
		return from_mdb(rc);
	db->view_live = true;
	if (db->snapshot != 0 && db->snapshot == mdb_txn_id(db->view))
		return ERR_OK;
	db->snapshot = db->changes = 0;
	rc = read_meta(db, db->view, &meta);
	if (rc != MDB_SUCCESS)
		return from_mdb(rc);
	if (meta.layout != POLICY_LAYOUT)
		return ERR_VERSION;
	if (!meta.complete)
		return ERR_UNAVAILABLE;
	db->snapshot = mdb_txn_id(db->view);
	db->changes = meta.changes;
	return ERR_OK;
}

void policy_db_release(struct policy_db *db)
{
	if (db->view_live)
		mdb_txn_reset(db->view);
	db->view_live = false;
}

/* At least `size` bytes of a record of our layout; *stored is how many there are. */
static const void *lookup(struct policy_db *db, enum policy_table table, uint64_t id, size_t size, size_t *stored)
{
	MDB_val key = val(&id, sizeof(id));
	MDB_val data;
	/* Ids are row numbers, and so dense. */
	struct found *found = table < POLICY_USAGE && !db->writer ? &db->found[table][id % FOUND_SLOTS] : NULL;

	CHECK(db->view_live);
	if (found != NULL && found->id == id && found->changes == db->changes && db->changes != 0) {
		*stored = found->size;
		return found->record;
	}
	if (mdb_get(db->view, db->tables[table], &key, &data) != MDB_SUCCESS || data.mv_size < size)
		return NULL;
	*stored = data.mv_size;
	/* All layouts begin with their version. */
	if (*(const uint8_t *)data.mv_data != POLICY_LAYOUT)
		return NULL;
	if (found == NULL)
		return data.mv_data;
	found->id = id;
	found->changes = db->changes;
	found->size = data.mv_size;
	found->record = data.mv_data;
	if (data.mv_size <= sizeof(found->copy))
		found->record = memcpy(found->copy, data.mv_data, data.mv_size);
	return found->record;
}

const struct policy_user *policy_db_user(struct policy_db *db, uint64_t id)
{
	size_t stored = 0;
	const struct policy_user *user = lookup(db, POLICY_USERS, id, sizeof(*user), &stored);

	return user != NULL && policy_user_whole(user, stored) ? user : NULL;
}

const struct policy_key *policy_db_key(struct policy_db *db, uint64_t id)
{
	size_t stored = 0;
	const struct policy_key *key = lookup(db, POLICY_KEYS, id, sizeof(*key), &stored);

	return key != NULL && policy_key_whole(key, stored) ? key : NULL;
}

const struct policy_usage *policy_db_usage(struct policy_db *db, uint64_t id)
{
	size_t stored = 0;
	return lookup(db, POLICY_USAGE, id, sizeof(struct policy_usage), &stored);
}

const struct policy_usage *policy_db_next_usage(struct policy_db *db, uint64_t *id)
{
	const struct policy_usage *usage = NULL;
	MDB_cursor *cursor;

	CHECK(db->view_live);
	if (mdb_cursor_open(db->view, db->tables[POLICY_USAGE], &cursor) != MDB_SUCCESS)
		return NULL;
	while (usage == NULL && *id < UINT64_MAX) {
		uint64_t from = *id + 1;
		size_t stored = 0;
		MDB_val key = val(&from, sizeof(from));
		MDB_val data;
		if (mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE) != MDB_SUCCESS || key.mv_size != sizeof(*id))
			break;
		memcpy(id, key.mv_data, sizeof(*id));
		usage = lookup(db, POLICY_USAGE, *id, sizeof(*usage), &stored);
	}
	mdb_cursor_close(cursor);
	return usage;
}

enum err policy_db_info(struct policy_db *db, struct policy_db_info *out)
{
	MDB_stat users;
	MDB_stat keys;
	struct meta meta;

	CHECK(db->view_live);
	int rc = read_meta(db, db->view, &meta);
	if (rc == MDB_SUCCESS)
		rc = mdb_stat(db->view, db->tables[POLICY_USERS], &users);
	if (rc == MDB_SUCCESS)
		rc = mdb_stat(db->view, db->tables[POLICY_KEYS], &keys);
	if (rc != MDB_SUCCESS)
		return from_mdb(rc);
	*out = (struct policy_db_info){ .generation = meta.generation,
		                        .users = users.ms_entries,
		                        .keys = keys.ms_entries };
	memcpy(out->stamp, meta.stamp, sizeof(out->stamp));
	out->stamp[sizeof(out->stamp) - 1] = '\0';
	return ERR_OK;
}

enum err policy_db_begin(struct policy_db *db)
{
	CHECK(db->writer);
	if (db->txn != NULL)
		return ERR_BAD_STATE;
	return from_mdb(mdb_txn_begin(db->env, NULL, 0, &db->txn));
}

enum err policy_db_put(struct policy_db *db, enum policy_table table, uint64_t id, const void *record, size_t size)
{
	MDB_val key = val(&id, sizeof(id));
	MDB_val data = val(record, size);

	CHECK(db->txn != NULL);
	db->changed = db->changed || table != POLICY_USAGE;
	return from_mdb(mdb_put(db->txn, db->tables[table], &key, &data, 0));
}

enum err policy_db_delete(struct policy_db *db, enum policy_table table, uint64_t id)
{
	MDB_val key = val(&id, sizeof(id));

	CHECK(db->txn != NULL);
	db->changed = db->changed || table != POLICY_USAGE;
	int rc = mdb_del(db->txn, db->tables[table], &key, NULL);
	return rc == MDB_NOTFOUND ? ERR_OK : from_mdb(rc);
}

enum err policy_db_set_generation(struct policy_db *db, uint64_t generation, const char *stamp)
{
	struct meta meta;

	CHECK(db->txn != NULL && strlen(stamp) < sizeof(meta.stamp));
	int rc = read_meta(db, db->txn, &meta);
	if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
		return from_mdb(rc);
	meta.layout = POLICY_LAYOUT;
	meta.complete = 1;
	meta.generation = generation;
	memset(meta.stamp, 0, sizeof(meta.stamp));
	memcpy(meta.stamp, stamp, strlen(stamp));
	return from_mdb(write_meta(db, db->txn, &meta));
}

static int note_change(struct policy_db *db)
{
	struct meta meta;
	int rc = read_meta(db, db->txn, &meta);

	if (rc != MDB_SUCCESS)
		return rc;
	meta.changes++;
	return write_meta(db, db->txn, &meta);
}

enum err policy_db_commit(struct policy_db *db)
{
	CHECK(db->txn != NULL && db->merge == NULL);
	int rc = db->changed ? note_change(db) : MDB_SUCCESS;
	if (rc != MDB_SUCCESS) {
		policy_db_abort(db);
		return from_mdb(rc);
	}
	rc = mdb_txn_commit(db->txn);
	db->txn = NULL; /* freed by LMDB, also on an error */
	db->changed = false;
	return from_mdb(rc);
}

void policy_db_abort(struct policy_db *db)
{
	if (db->merge != NULL)
		mdb_cursor_close(db->merge);
	db->merge = NULL;
	if (db->txn != NULL)
		mdb_txn_abort(db->txn);
	db->txn = NULL;
	db->changed = false;
}

/* Moves the merge cursor; merge_done when there is nothing more. */
static int merge_step(struct policy_db *db, MDB_cursor_op op, MDB_val *key, MDB_val *data)
{
	int rc = mdb_cursor_get(db->merge, key, data, op);

	if (rc == MDB_NOTFOUND) {
		db->merge_done = true;
		return MDB_SUCCESS;
	}
	return rc;
}

enum err policy_db_merge_start(struct policy_db *db, enum policy_table table)
{
	MDB_val key;
	MDB_val data;

	CHECK(db->txn != NULL && db->merge == NULL && table != POLICY_USAGE);
	db->merge_table = table;
	db->merge_done = false;
	db->changed = true;
	int rc = mdb_cursor_open(db->txn, db->tables[table], &db->merge);
	if (rc == MDB_SUCCESS)
		rc = merge_step(db, MDB_FIRST, &key, &data);
	return from_mdb(rc);
}

/* Deletes the stored records below `limit`, and leaves the cursor on the first that is not. */
static int merge_delete_below(struct policy_db *db, uint64_t limit, uint64_t *id, MDB_val *data)
{
	int rc = MDB_SUCCESS;

	while (rc == MDB_SUCCESS && !db->merge_done) {
		MDB_val key;
		rc = merge_step(db, MDB_GET_CURRENT, &key, data);
		if (rc != MDB_SUCCESS || db->merge_done)
			break;
		CHECK(key.mv_size == sizeof(*id));
		memcpy(id, key.mv_data, sizeof(*id));
		if (*id >= limit)
			break;
		rc = mdb_cursor_del(db->merge, 0);
		/* After a deletion the cursor stands on the next record, or behind the last one of a page. */
		if (rc == MDB_SUCCESS)
			rc = merge_step(db, MDB_NEXT, &key, data);
	}
	return rc;
}

enum err policy_db_merge(struct policy_db *db, uint64_t id, const void *record, size_t size)
{
	uint64_t stored = 0;
	MDB_val data = { 0, NULL };
	MDB_val key = val(&id, sizeof(id));

	CHECK(db->merge != NULL);
	int rc = merge_delete_below(db, id, &stored, &data);
	if (rc != MDB_SUCCESS)
		return from_mdb(rc);
	if (!db->merge_done && stored == id) {
		if (data.mv_size != size || memcmp(data.mv_data, record, size) != 0) {
			MDB_val new_data = val(record, size);
			rc = mdb_cursor_put(db->merge, &key, &new_data, 0);
		}
		if (rc == MDB_SUCCESS)
			rc = merge_step(db, MDB_NEXT, &key, &data);
		return from_mdb(rc);
	}
	/* Without the cursor, which LMDB keeps in place when others write. Behind the end, appending fills pages whole.
	 */
	MDB_val new_data = val(record, size);
	return from_mdb(
	        mdb_put(db->txn, db->tables[db->merge_table], &key, &new_data, db->merge_done ? MDB_APPEND : 0));
}

enum err policy_db_merge_finish(struct policy_db *db)
{
	uint64_t id;
	MDB_val data;

	CHECK(db->merge != NULL);
	int rc = merge_delete_below(db, UINT64_MAX, &id, &data);
	mdb_cursor_close(db->merge);
	db->merge = NULL;
	return from_mdb(rc);
}

int policy_db_sweep_readers(struct policy_db *db)
{
	int dead = 0;

	return mdb_reader_check(db->env, &dead) == MDB_SUCCESS ? dead : 0;
}
