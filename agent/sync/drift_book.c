#include "agent/sync/drift_book.h"

#include <string.h>

#include "agent/base/hash_table.h"

#define NEVER UINT64_MAX

struct path {
	UT_hash_handle hh;
	uint64_t due_ms; /* NEVER: only remembered */
	bool taken;
	bool again, in_hurry; /* suspected again while it was taken */
	/* how often it was put back, the newest last */
	uint64_t put_back_ms[DRIFT_REVERTS_MAX];
	unsigned n_put_back;
	uint64_t left_until_ms; /* 0: it is not left */
	/* its bytes are not here */
	uint64_t wanted_ms; /* since when; 0: it is not so */
	uint64_t asked_ms;  /* 0: not asked for */
	uint32_t again_wait_ms;
	uint64_t shown_until_ms; /* reported; reading it at every change may be much */
	/* mending it failed */
	uint64_t failed_until_ms;
	uint32_t failed_wait_ms;
	/* the time of a directory */
	uint64_t quiet_until_ms;
	uint32_t quiet_wait_ms;
	char name[];
};

struct drift_book {
	struct path *paths;
	bool overflowed;
};

struct drift_book *drift_book_new(void)
{
	return x_calloc(1, sizeof(struct drift_book));
}

static void drop(struct drift_book *book, struct path *p)
{
	HASH_DEL(book->paths, p);
	free(p);
}

void drift_book_free(struct drift_book *book)
{
	struct path *p, *next;
	if (!book)
		return;
	HASH_ITER (hh, book->paths, p, next) {
		drop(book, p);
	}
	free(book);
}

static struct path *find(const struct drift_book *book, const char *path)
{
	struct path *p;
	HASH_FIND_STR(book->paths, path, p);
	return p;
}

static struct path *taken(const struct drift_book *book, const char *path)
{
	struct path *p = find(book, path);
	BUG_ON(!p || !p->taken);
	return p;
}

/* ---- memory --------------------------------------------------------------------------------- */

static bool is_forgettable(const struct path *p, uint64_t now_ms)
{
	if (p->taken || p->due_ms != NEVER || p->left_until_ms > now_ms)
		return false;
	uint64_t newest = p->n_put_back ? p->put_back_ms[p->n_put_back - 1] : 0;
	bool counted = newest != 0 && now_ms - newest < DRIFT_REVERTS_MS;
	return !counted && p->shown_until_ms <= now_ms &&
	       p->quiet_until_ms + DRIFT_QUIET_MAX_MS <= now_ms;
}

static void forget_old(struct drift_book *book, uint64_t now_ms)
{
	struct path *p, *next;
	HASH_ITER (hh, book->paths, p, next) {
		if (is_forgettable(p, now_ms))
			drop(book, p);
	}
}

bool drift_book_tidy(struct drift_book *book, uint64_t now_ms)
{
	forget_old(book, now_ms);
	if (!book->overflowed || HASH_COUNT(book->paths) > DRIFT_PATHS_MAX / 2)
		return false;
	book->overflowed = false;
	return true;
}

/* ---- suspicion ------------------------------------------------------------------------------ */

static struct path *add(struct drift_book *book, const char *path)
{
	size_t len = strlen(path);
	struct path *p = x_calloc(1, sizeof(*p) + len + 1);
	memcpy(p->name, path, len + 1);
	p->due_ms = NEVER;
	HASH_ADD_KEYPTR(hh, book->paths, p->name, len, p);
	return p;
}

static void again(struct path *p, bool hurry)
{
	p->in_hurry = hurry || (p->again && p->in_hurry);
	p->again = true;
}

bool drift_book_suspect(struct drift_book *book, const char *path, bool hurry, uint64_t now_ms)
{
	struct path *p = find(book, path);
	if (!p && HASH_COUNT(book->paths) >= DRIFT_PATHS_MAX) {
		book->overflowed = true;
		return false;
	}
	if (!p)
		p = add(book, path);
	uint64_t since = hurry ? p->shown_until_ms : p->quiet_until_ms;
	since = since > p->failed_until_ms ? since : p->failed_until_ms;
	uint64_t due = since > now_ms ? since : now_ms;
	if (p->taken)
		again(p, hurry);
	else if (due < p->due_ms)
		p->due_ms = due;
	return true;
}

static void take(struct path *p, struct drift_taken *out, uint64_t now_ms)
{
	p->taken = true;
	p->again = false;
	p->due_ms = NEVER;
	if (p->left_until_ms != 0 && p->left_until_ms <= now_ms) {
		p->left_until_ms = 0;
		p->n_put_back = 0;
	}
	*out = (struct drift_taken){.path = p->name,
				    .left = p->left_until_ms != 0,
				    .waiting_ms = p->wanted_ms ? now_ms - p->wanted_ms : 0};
}

size_t drift_book_take(struct drift_book *book, struct drift_taken *out, size_t max,
		       uint64_t now_ms)
{
	size_t n = 0;
	for (struct path *p = book->paths; p && n < max; p = p->hh.next) {
		if (!p->taken && p->due_ms <= now_ms)
			take(p, &out[n++], now_ms);
	}
	return n;
}

uint64_t drift_book_next(const struct drift_book *book)
{
	uint64_t next = NEVER;
	for (const struct path *p = book->paths; p; p = p->hh.next) {
		if (!p->taken && p->due_ms < next)
			next = p->due_ms;
	}
	return next;
}

/* ---- verdicts ------------------------------------------------------------------------------- */

static struct path *give_back(struct drift_book *book, const char *path, uint64_t due_ms,
			      uint64_t now_ms)
{
	struct path *p = taken(book, path);
	p->taken = false;
	p->due_ms = p->again ? now_ms : due_ms;
	p->again_wait_ms = 0;
	p->shown_until_ms = 0;
	p->failed_until_ms = 0;
	return p;
}

/* It can be mended, or needs no mending. */
static struct path *settle(struct drift_book *book, const char *path, uint64_t due_ms,
			   uint64_t now_ms)
{
	struct path *p = give_back(book, path, due_ms, now_ms);
	p->failed_wait_ms = 0;
	return p;
}

static void has_its_bytes(struct path *p)
{
	p->wanted_ms = p->asked_ms = 0;
}

void drift_book_quiet(struct drift_book *book, const char *path, uint64_t now_ms)
{
	struct path *p = settle(book, path, NEVER, now_ms);
	uint32_t wait = p->quiet_wait_ms ? 2 * p->quiet_wait_ms : DRIFT_QUIET_MS;
	/* A directory in which nothing was done for a while begins anew. */
	if (p->quiet_until_ms + p->quiet_wait_ms < now_ms)
		wait = DRIFT_QUIET_MS;
	p->quiet_wait_ms = wait < DRIFT_QUIET_MAX_MS ? wait : DRIFT_QUIET_MAX_MS;
	p->quiet_until_ms = now_ms + p->quiet_wait_ms;
	if (p->due_ms < p->quiet_until_ms && !(p->again && p->in_hurry))
		p->due_ms = p->quiet_until_ms;
}

/* The oldest of as many as are allowed was within the minute: this is the last time. */
static bool was_too_often(const struct path *p, uint64_t now_ms)
{
	return p->n_put_back == DRIFT_REVERTS_MAX && now_ms - p->put_back_ms[0] < DRIFT_REVERTS_MS;
}

static void count_put_back(struct path *p, uint64_t now_ms)
{
	if (p->n_put_back == DRIFT_REVERTS_MAX)
		memmove(&p->put_back_ms[0], &p->put_back_ms[1],
			--p->n_put_back * sizeof(p->put_back_ms[0]));
	p->put_back_ms[p->n_put_back++] = now_ms;
	if (was_too_often(p, now_ms))
		p->left_until_ms = now_ms + DRIFT_LEFT_MS;
}

void drift_book_put_back(struct drift_book *book, const char *path, uint64_t now_ms)
{
	struct path *p = settle(book, path, NEVER, now_ms);
	has_its_bytes(p);
	count_put_back(p, now_ms);
}

bool drift_book_matches(struct drift_book *book, const char *path, uint64_t now_ms)
{
	struct path *p = settle(book, path, NEVER, now_ms);
	bool was_sent = p->wanted_ms != 0;
	if (p->left_until_ms != 0) {
		p->left_until_ms = 0;
		p->n_put_back = 0;
	}
	has_its_bytes(p);
	if (was_sent)
		count_put_back(p, now_ms);
	return was_sent;
}

void drift_book_reported(struct drift_book *book, const char *path, uint64_t now_ms)
{
	struct path *p = settle(book, path, NEVER, now_ms);
	has_its_bytes(p);
	p->shown_until_ms = now_ms + DRIFT_SHOWN_MS;
	if (p->due_ms < p->shown_until_ms)
		p->due_ms = p->shown_until_ms;
	if (p->left_until_ms != 0 && p->left_until_ms < p->due_ms)
		p->due_ms = p->left_until_ms;
}

static uint32_t next_wait(uint32_t wait, uint32_t least, uint32_t most)
{
	wait = 2 * wait < least ? least : 2 * wait;
	return wait < most ? wait : most;
}

void drift_book_again(struct drift_book *book, const char *path, uint64_t now_ms)
{
	uint32_t wait =
		next_wait(taken(book, path)->again_wait_ms, DRIFT_AGAIN_MS, DRIFT_AGAIN_MAX_MS);
	struct path *p = give_back(book, path, NEVER, now_ms);
	p->due_ms = now_ms + wait;
	p->again_wait_ms = wait;
}

void drift_book_failed(struct drift_book *book, const char *path, uint64_t now_ms)
{
	struct path *p = give_back(book, path, NEVER, now_ms);
	p->failed_wait_ms = next_wait(p->failed_wait_ms, DRIFT_FAILED_MS, DRIFT_FAILED_MAX_MS);
	p->failed_until_ms = p->due_ms = now_ms + p->failed_wait_ms;
}

void drift_book_away(struct drift_book *book, const char *path, uint64_t now_ms)
{
	give_back(book, path, now_ms + DRIFT_AWAY_MS, now_ms);
}

void drift_book_wants(struct drift_book *book, const char *path, uint64_t now_ms)
{
	struct path *p = settle(book, path, NEVER, now_ms);
	if (p->wanted_ms == 0)
		p->wanted_ms = now_ms;
	/* They may be many, and wait long for a link. */
	uint64_t wait = now_ms - p->wanted_ms;
	wait = wait < DRIFT_WANT_MS	  ? DRIFT_WANT_MS
	       : wait > DRIFT_WANT_MAX_MS ? DRIFT_WANT_MAX_MS
					  : wait;
	if (p->due_ms > now_ms + wait)
		p->due_ms = now_ms + wait;
}

/* ---- bytes that are not here ---------------------------------------------------------------- */

static bool is_asked(const struct path *p, uint64_t now_ms)
{
	return p->asked_ms != 0 && now_ms - p->asked_ms < DRIFT_ASK_MS;
}

size_t drift_book_ask(struct drift_book *book, const char **paths, size_t max, uint64_t now_ms)
{
	size_t asked = 0, n = 0;
	for (struct path *p = book->paths; p; p = p->hh.next)
		asked += is_asked(p, now_ms);
	for (struct path *p = book->paths; p && asked + n < max; p = p->hh.next) {
		if (p->wanted_ms == 0 || is_asked(p, now_ms))
			continue;
		p->asked_ms = now_ms;
		paths[n++] = p->name;
	}
	return n;
}

void drift_book_arrived(struct drift_book *book, uint64_t now_ms)
{
	for (struct path *p = book->paths; p; p = p->hh.next) {
		if (p->wanted_ms == 0 || p->asked_ms == 0)
			continue;
		if (p->taken)
			again(p, true);
		else
			p->due_ms = now_ms;
	}
}

void drift_book_forget_asked(struct drift_book *book)
{
	for (struct path *p = book->paths; p; p = p->hh.next)
		p->asked_ms = 0;
}

/* ---- questions ---------------------------------------------------------------------------------
 */

void drift_book_show_again(struct drift_book *book)
{
	for (struct path *p = book->paths; p; p = p->hh.next)
		p->shown_until_ms = p->failed_until_ms = 0;
}

size_t drift_book_open(const struct drift_book *book)
{
	size_t n = 0;
	for (const struct path *p = book->paths; p; p = p->hh.next)
		n += p->wanted_ms != 0;
	return n;
}
