/* Which paths are members of which consistency set. A table of its own: few records are in a set,
 * and those that are not pay nothing for it. A row may outlive its record; the joins pass over it,
 * and it goes when the profile changes. */
#include "agent/store/store_private.h"

#include <string.h>

int txn_note_member(struct txn *t, const char *path, struct err *err)
{
	char set[PROFILE_SET_MAX];
	if (!t->store->profile || !profile_set(t->store->profile, path, set))
		return 0;
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_MEMBER_ADD, err);
	if (!s)
		return err_wrap(err, "enter a set");
	bind_path(s, 1, set);
	bind_path(s, 2, path);
	return statement_run(s, err);
}

static int is_current(struct txn *t, const uint8_t hash[HASH_LEN], struct err *err)
{
	uint8_t known[HASH_LEN];
	AUTO(sqlite3_stmt) *s = conn_statement(t->conn, SQL_MEMBERS_OF, err);
	if (!s)
		return err_wrap(err, "read the sets' profile");
	int r = statement_step(s, err);
	return r > 0 ? column_fixed(s, 0, known, HASH_LEN) && memcmp(known, hash, HASH_LEN) == 0
		     : r;
}

static int enter_all(struct txn *t, const uint8_t hash[HASH_LEN], struct err *err)
{
	int r = conn_run(t->conn, SQL_MEMBERS_CLEAR, err);
	AUTO(sqlite3_stmt) *all = conn_statement(t->conn, SQL_RANGE, err);
	AUTO(sqlite3_stmt) *set = conn_statement(t->conn, SQL_MEMBERS_OF_SET, err);
	if (r < 0 || !all || !set)
		return err_wrap(err, "enter all sets");
	bind_path(all, 1, "");
	bind_path(all, 2, path_above_all());
	while (r >= 0 && (r = statement_step(all, err)) > 0)
		r = txn_note_member(t, column_path(all, 0), err);
	bind_hash(set, 1, hash);
	return r < 0 ? r : statement_run(set, err);
}

int store_use_profile(struct store *store, const struct profile *profile, struct err *err)
{
	struct txn t;
	uint8_t hash[HASH_LEN];
	profile_hash(profile, hash);
	int r = txn_begin(&t, store, NULL, err);
	if (r < 0)
		return r;
	store->profile = profile;
	r = is_current(&t, hash, err);
	if (r == 0)
		r = enter_all(&t, hash, err);
	return txn_end(&t, r < 0 ? r : 0, err);
}

int store_members(struct store *store, const char *set, char **paths, size_t max, size_t *n,
		  struct err *err)
{
	*n = 0;
	pthread_mutex_lock(&store->read_lock);
	sqlite3_stmt *s = conn_statement(store->reader, SQL_MEMBERS_LIVE, err);
	int r = s ? 0 : err_wrap(err, "list a set");
	if (s) {
		bind_path(s, 1, set);
		bind_int(s, 2, (int64_t)max);
		while ((r = statement_step(s, err)) > 0)
			paths[(*n)++] = x_strdup(column_path(s, 0));
	}
	sqlite3_stmt_free(s);
	pthread_mutex_unlock(&store->read_lock);
	return r;
}
