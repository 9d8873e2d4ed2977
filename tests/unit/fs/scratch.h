/* scratch.h - a directory of a test's own, and short words for what tests do in it. Everything
 * aborts the test when it fails. */
#ifndef TEST_SCRATCH_H
#define TEST_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "agent/fs/meta.h"
#include "agent/fs/tree.h"

/* Makes one and enters it, so that tests can name paths relative to it. Heap, absolute. */
char *scratch_enter(void);
void scratch_leave(char *dir); /* removes it with all beneath it */

void put_file(const char *path, const char *content);
void put_bytes(const char *path, const void *bytes, size_t len);
char *get_file(const char *path);		     /* heap, NUL-terminated */
bool file_is(const char *path, const char *content); /* false also when it is not there */
bool exists(const char *path);
void make_dir(const char *path);
size_t count_entries(const char *dir);
void remove_all(const char *path);
struct file_stat stat_of(const char *path);

/* Makes `path` a prepared root and opens it as a tree of one. */
struct tree *open_prepared(const char *path);

/* May this process mount? Enters a mount namespace of its own if so; first to be called in main().
 */
bool may_mount(void);

#endif
