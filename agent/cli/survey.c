#include "agent/cli/survey.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "protocol/relpath.h"

/* Directories found and not yet read. A list instead of recursion: a tree may be deeper than there
 * are descriptors. */
struct todo {
	char **path;
	size_t n, cap;
};

static void todo_add(struct todo *todo, char *path /* taken */)
{
	GROW(todo->path, todo->cap, todo->n + 1);
	todo->path[todo->n++] = path;
}

void survey_release(struct survey *survey)
{
	free(survey->unreadable_path);
	free(survey->nested_path);
	*survey = (struct survey){0};
}

static void note_unreadable(struct survey *out, const char *path, int error)
{
	out->unreadable++;
	if (out->unreadable_path)
		return;
	out->unreadable_path = x_strdup(path);
	out->unreadable_error = error;
}

static bool is_followed(const struct tree *tree, const char *path)
{
	for (size_t i = 1; i < tree->n; i++) {
		if (strcmp(tree->roots[i].at, path) == 0)
			return true;
	}
	return false;
}

/* A .artifact-sync that is not in one of our roots' own directories' place. */
static void note_nested(struct survey *out, const struct tree *tree, const char *dir)
{
	const char *sub;
	if (!out->nested_path && (tree_resolve(tree, dir, &sub), *sub != '\0'))
		out->nested_path = x_strdup(dir);
}

static void take_entry(struct survey *out, struct todo *todo, const struct tree *tree,
		       const struct profile *profile, char *path /* taken */)
{
	struct stat st = {0};
	const char *sub;
	struct root *root = tree_resolve(tree, path, &sub);
	bool is_dir =
		is_followed(tree, path) || (root_stat(root, sub, &st) == 0 && S_ISDIR(st.st_mode));
	enum profile_verdict verdict = profile_verdict(profile, path, is_dir);
	if (is_dir && verdict != PROFILE_LEAVE) {
		todo_add(todo, path);
		return;
	}
	if (verdict == PROFILE_REPLICATE && st.st_mode) {
		out->files++;
		out->bytes += S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	}
	free(path);
}

static void read_directory(struct survey *out, struct todo *todo, const struct tree *tree,
			   const struct profile *profile, const char *path)
{
	const char *sub;
	struct root *root = tree_resolve(tree, path, &sub);
	int fd = root_open(root, sub, O_RDONLY | O_DIRECTORY, 0);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		note_unreadable(out, path, fd < 0 ? fd : -errno);
		return;
	}
	out->directories++;
	for (struct dirent *e; (e = readdir(dir));) {
		if (strcmp(e->d_name, RELPATH_OWN_DIR) == 0)
			note_nested(out, tree, path);
		else if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			take_entry(out, todo, tree, profile,
				   x_asprintf("%s%s%s", path, *path ? "/" : "", e->d_name));
	}
	closedir(dir);
}

void survey_tree(struct survey *out, const struct tree *tree, const struct profile *profile)
{
	struct todo todo = {0};
	*out = (struct survey){0};
	todo_add(&todo, x_strdup(""));
	while (todo.n > 0) {
		AUTO_FREE char *path = todo.path[--todo.n];
		read_directory(out, &todo, tree, profile, path);
	}
	free(todo.path);
}
