#include "tests/unit/fs/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "agent/base/alloc.h"

char *scratch_enter(void)
{
	const char *base = getenv("TMPDIR");
	char *dir = x_asprintf("%s/artifact-sync-test-XXXXXX", base ? base : "/tmp");
	BUG_ON(!mkdtemp(dir) || chdir(dir) < 0);
	return dir;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void remove_all(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

void scratch_leave(char *dir)
{
	BUG_ON(chdir("/") < 0);
	remove_all(dir);
	BUG_ON(access(dir, F_OK) == 0);
	free(dir);
}

void put_bytes(const char *path, const void *bytes, size_t len)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	BUG_ON(fd < 0 || write(fd, bytes, len) != (ssize_t)len);
}

void put_file(const char *path, const char *content)
{
	put_bytes(path, content, strlen(content));
}

char *get_file(const char *path)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_NOFOLLOW);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return NULL;
	char *text = x_calloc(1, (size_t)st.st_size + 1);
	BUG_ON(read(fd, text, (size_t)st.st_size) != st.st_size);
	return text;
}

bool file_is(const char *path, const char *content)
{
	AUTO_FREE char *have = get_file(path);
	return have && strcmp(have, content) == 0;
}

bool exists(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0;
}

void make_dir(const char *path)
{
	BUG_ON(mkdir(path, 0755) < 0);
}

size_t count_entries(const char *path)
{
	DIR *dir = opendir(path);
	size_t n = 0;
	BUG_ON(!dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2; /* . and .. */
}

struct file_stat stat_of(const char *path)
{
	struct stat st;
	struct file_stat out;
	BUG_ON(lstat(path, &st) < 0);
	file_stat_from(&out, &st);
	return out;
}

struct tree *open_prepared(const char *path)
{
	struct err err = {0};
	struct tree *tree = NULL;
	if (tree_prepare(path, NULL, 0, &err) < 0 ||
	    tree_open(&tree, path, NULL, 0, NULL, &err) < 0)
		fprintf(stderr, "%s\n", err.msg);
	BUG_ON(!tree || !tree_is_healthy(tree));
	return tree;
}

bool may_mount(void)
{
	static int may = -1;
	if (may < 0)
		may = unshare(CLONE_NEWNS) == 0 &&
		      mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
	return may;
}
