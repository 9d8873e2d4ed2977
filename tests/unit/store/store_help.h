/* store_help.h - a state directory for one test, and entries made in one line. */
#ifndef TESTS_STORE_HELP_H
#define TESTS_STORE_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "agent/store/store.h"

struct fixture {
	char dir[64];
	struct store *store;
	struct err err;
};

int fixture_active(void **state);  /* cmocka setup: epoch 1, role active */
int fixture_passive(void **state); /* no epoch, role passive */
int fixture_end(void **state);
void fixture_reopen(struct fixture *f);
void remove_dir(const char *dir);

void assert_ok(int result, const struct err *err);

/* An entry that borrows `path`. `version` makes its content; the inode is derived from the path. */
struct index_entry a_file(const char *path, uint64_t version);
struct index_entry a_dir(const char *path);
struct index_entry a_link(const char *path, const char *target);

/* One captured item each; they borrow. */
struct captured a_version(const struct index_entry *entry);
struct captured a_loss(const char *path);

size_t capture_one(struct fixture *f, struct captured item);
size_t capture_file(struct fixture *f, const char *path, uint64_t version);
size_t capture_dir(struct fixture *f, const char *path);
size_t capture_loss(struct fixture *f, const char *path);
void ack_current(struct fixture *f, const char *peer,
		 const char *path); /* what the index holds now */

uint64_t seq_of(struct fixture *f, const char *path);	       /* 0 when it is not in the index */
enum record_kind kind_of(struct fixture *f, const char *path); /* 0 likewise */

/* The digest computed anew from the entries must be the one that was kept up; the counts, too. */
void assert_digest_holds(struct fixture *f);

#endif
