#include "tests/unit/sync/calls.h"

#include <stdio.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/store/store.h"

static struct call calls[4096];
static size_t n_calls;
static bool noting;

static struct {
	const char *name, *end;
	bool after, happened;
	void (*act)(void);
} meanwhile;

void calls_note(void)
{
	n_calls = 0;
	noting = true;
}

size_t calls_noted(const struct call **out)
{
	noting = false;
	*out = calls;
	return n_calls;
}

void calls_meanwhile(const char *name, const char *end, bool after, void (*act)(void))
{
	meanwhile.name = name;
	meanwhile.end = end;
	meanwhile.after = after;
	meanwhile.happened = false;
	meanwhile.act = act;
}

bool calls_happened(void)
{
	bool happened = meanwhile.happened;
	meanwhile.act = NULL;
	meanwhile.happened = false;
	return happened;
}

static bool ends_in(const char *path, const char *end)
{
	size_t len = strlen(path), end_len = strlen(end);
	return len >= end_len && strcmp(path + len - end_len, end) == 0;
}

static void act_at(const struct call *call, bool after)
{
	void (*act)(void) = meanwhile.act;
	if (!act || after != meanwhile.after || strcmp(call->name, meanwhile.name) != 0 ||
	    (!ends_in(call->from, meanwhile.end) && !ends_in(call->to, meanwhile.end)))
		return;
	meanwhile.act = NULL; /* what it calls itself is not of interest */
	meanwhile.happened = true;
	bool was_noting = noting;
	noting = false;
	act();
	noting = was_noting;
}

static void begin_call(const struct call *call)
{
	act_at(call, false);
}

/* What failed has done nothing. */
static int end_call(const struct call *call, int result)
{
	if (noting && result == 0) {
		BUG_ON(n_calls == ARRAY_LEN(calls));
		calls[n_calls++] = *call;
	}
	act_at(call, true);
	return result;
}

/* ---- what a call concerns ---------------------------------------------------------------------
 */

static void path_of(char out[256], int fd, const char *name)
{
	char link[64];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link, out, 255);
	out[len < 0 ? 0 : len] = '\0';
	if (name && *name)
		snprintf(out + strlen(out), 256 - strlen(out), "/%s", name);
}

static struct call on_fd(const char *name, int fd)
{
	struct stat st = {0};
	struct call call = {.name = name};
	fstat(fd, &st);
	call.ino = st.st_ino;
	path_of(call.from, fd, NULL);
	return call;
}

static struct call on_names(const char *name, int from, const char *old, int to, const char *new)
{
	struct stat st = {0};
	struct call call = {.name = name};
	fstatat(from, old, &st, AT_SYMLINK_NOFOLLOW);
	call.ino = st.st_ino;
	path_of(call.from, from, old);
	path_of(call.to, to, new);
	return call;
}

/* ---- the calls --------------------------------------------------------------------------------
 */

#define WRAP_FD(name)                                      \
	int __real_##name(int fd);                         \
	int __wrap_##name(int fd);                         \
	int __wrap_##name(int fd)                          \
	{                                                  \
		struct call call = on_fd(#name, fd);       \
		begin_call(&call);                         \
		return end_call(&call, __real_##name(fd)); \
	}
WRAP_FD(fsync)
WRAP_FD(fdatasync)
WRAP_FD(syncfs)

int __real_fchmod(int fd, mode_t mode);
int __wrap_fchmod(int fd, mode_t mode);
int __wrap_fchmod(int fd, mode_t mode)
{
	struct call call = on_fd("fchmod", fd);
	begin_call(&call);
	return end_call(&call, __real_fchmod(fd, mode));
}

int __real_futimens(int fd, const struct timespec times[2]);
int __wrap_futimens(int fd, const struct timespec times[2]);
int __wrap_futimens(int fd, const struct timespec times[2])
{
	struct call call = on_fd("futimens", fd);
	begin_call(&call);
	return end_call(&call, __real_futimens(fd, times));
}

int __real_utimensat(int fd, const char *name, const struct timespec times[2], int flags);
int __wrap_utimensat(int fd, const char *name, const struct timespec times[2], int flags);
int __wrap_utimensat(int fd, const char *name, const struct timespec times[2], int flags)
{
	struct call call = on_names("utimensat", fd, name, fd, name);
	begin_call(&call);
	return end_call(&call, __real_utimensat(fd, name, times, flags));
}

int __real_renameat2(int from, const char *old, int to, const char *new, unsigned flags);
int __wrap_renameat2(int from, const char *old, int to, const char *new, unsigned flags);
int __wrap_renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
	struct call call = on_names("renameat2", from, old, to, new);
	begin_call(&call);
	return end_call(&call, __real_renameat2(from, old, to, new, flags));
}

int __real_renameat(int from, const char *old, int to, const char *new);
int __wrap_renameat(int from, const char *old, int to, const char *new);
int __wrap_renameat(int from, const char *old, int to, const char *new)
{
	struct call call = on_names("renameat", from, old, to, new);
	begin_call(&call);
	return end_call(&call, __real_renameat(from, old, to, new));
}

int __real_linkat(int from, const char *old, int to, const char *new, int flags);
int __wrap_linkat(int from, const char *old, int to, const char *new, int flags);
int __wrap_linkat(int from, const char *old, int to, const char *new, int flags)
{
	struct call call = on_names("linkat", from, old, to, new);
	begin_call(&call);
	return end_call(&call, __real_linkat(from, old, to, new, flags));
}

int __real_mkdirat(int dir, const char *name, mode_t mode);
int __wrap_mkdirat(int dir, const char *name, mode_t mode);
int __wrap_mkdirat(int dir, const char *name, mode_t mode)
{
	struct call call = {.name = "mkdirat"};
	path_of(call.to, dir, name);
	begin_call(&call);
	return end_call(&call, __real_mkdirat(dir, name, mode));
}

int __real_unlinkat(int dir, const char *name, int flags);
int __wrap_unlinkat(int dir, const char *name, int flags);
int __wrap_unlinkat(int dir, const char *name, int flags)
{
	struct call call = on_names("unlinkat", dir, name, dir, name);
	begin_call(&call);
	return end_call(&call, __real_unlinkat(dir, name, flags));
}

/* ---- the transactions -------------------------------------------------------------------------
 */

static struct call transaction(const char *name)
{
	struct call call = {.name = name};
	begin_call(&call);
	return call;
}

int __real_store_journal_begin(struct store *store, const struct journal_row *rows, size_t n,
			       struct err *err);
int __wrap_store_journal_begin(struct store *store, const struct journal_row *rows, size_t n,
			       struct err *err);
int __wrap_store_journal_begin(struct store *store, const struct journal_row *rows, size_t n,
			       struct err *err)
{
	struct call call = transaction("store_journal_begin");
	return end_call(&call, __real_store_journal_begin(store, rows, n, err));
}

int __real_store_journal_end(struct store *store, const struct installed *done, size_t n,
			     const struct index_entry *touched, size_t n_touched, struct err *err);
int __wrap_store_journal_end(struct store *store, const struct installed *done, size_t n,
			     const struct index_entry *touched, size_t n_touched, struct err *err);
int __wrap_store_journal_end(struct store *store, const struct installed *done, size_t n,
			     const struct index_entry *touched, size_t n_touched, struct err *err)
{
	struct call call = transaction("store_journal_end");
	return end_call(&call, __real_store_journal_end(store, done, n, touched, n_touched, err));
}

int __real_store_salvage_begin(struct store *store, const struct salvage_row *row, struct err *err);
int __wrap_store_salvage_begin(struct store *store, const struct salvage_row *row, struct err *err);
int __wrap_store_salvage_begin(struct store *store, const struct salvage_row *row, struct err *err)
{
	struct call call = transaction("store_salvage_begin");
	return end_call(&call, __real_store_salvage_begin(store, row, err));
}

int __real_store_salvage_end(struct store *store, const char *id, struct err *err);
int __wrap_store_salvage_end(struct store *store, const char *id, struct err *err);
int __wrap_store_salvage_end(struct store *store, const char *id, struct err *err)
{
	struct call call = transaction("store_salvage_end");
	return end_call(&call, __real_store_salvage_end(store, id, err));
}

int __real_store_set_installed(struct store *store, const struct index_entry *entries, size_t n,
			       struct err *err);
int __wrap_store_set_installed(struct store *store, const struct index_entry *entries, size_t n,
			       struct err *err);
int __wrap_store_set_installed(struct store *store, const struct index_entry *entries, size_t n,
			       struct err *err)
{
	struct call call = transaction("store_set_installed");
	return end_call(&call, __real_store_set_installed(store, entries, n, err));
}
