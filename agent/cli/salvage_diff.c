/* salvage_diff.c - texts by the system's diff program, which is given descriptors, so that what is
 * compared is what was looked at; all else by kind, size and hash. */
#include "agent/cli/salvage_diff.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/hash.h"
#include "agent/base/quote.h"
#include "agent/cli/text.h"
#include "agent/fs/copy.h"

#define TEXT_BYTES_MAX (4u << 20) /* a text that somebody reads a difference of */

struct side {
	const char *what; /* for people */
	char *path;
	struct stat st;
	bool there;
	int fd; /* of a file; -1 */
	bool has_hash;
	uint8_t hash[HASH_LEN];
	char target[PATH_MAX]; /* of a link */
};

extern char **environ;

static void side_release(struct side *side)
{
	free(side->path);
	if (side->fd >= 0)
		close(side->fd);
}

static const char *kind_of(const struct side *side)
{
	return !side->there		   ? "nothing"
	       : S_ISREG(side->st.st_mode) ? "file"
	       : S_ISLNK(side->st.st_mode) ? "link"
	       : S_ISDIR(side->st.st_mode) ? "directory"
					   : "other";
}

/* @return EXIT_DONE, or what to end with */
static int look(const struct cli *cli, struct side *side)
{
	struct err err = {0};
	char q[QUOTED_MAX];
	int r = lstat(side->path, &side->st);
	side->there = r == 0;
	if (r < 0 && errno != ENOENT && errno != ENOTDIR)
		return cli_fail(cli, EXIT_NO,
				"Run the command with sudo, or as the user that the agent runs as.",
				"%s: %s", quote_path(q, side->path), strerror(errno));
	if (side->there && S_ISLNK(side->st.st_mode)) {
		ssize_t n = readlink(side->path, side->target, sizeof(side->target) - 1);
		side->target[n > 0 ? n : 0] = '\0';
	}
	if (!side->there || !S_ISREG(side->st.st_mode))
		return EXIT_DONE;
	side->fd = open(side->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (side->fd < 0 || fstat(side->fd, &side->st) < 0)
		return cli_fail(cli, EXIT_NO, NULL, "%s: %s", quote_path(q, side->path),
				strerror(errno));
	if (hash_content(side->hash, side->fd, (uint64_t)side->st.st_size, NULL, &err) < 0)
		return cli_fail(cli, EXIT_NO, NULL, "%s: %s", quote_path(q, side->path), err.msg);
	side->has_hash = true;
	return EXIT_DONE;
}

static bool is_text(const struct side *side)
{
	if (!side->has_hash || side->st.st_size > TEXT_BYTES_MAX)
		return false;
	size_t len = (size_t)side->st.st_size;
	AUTO_FREE char *bytes = x_calloc(1, len + 1);
	ssize_t n = pread(side->fd, bytes, len, 0);
	return n >= 0 && !memchr(bytes, '\0', (size_t)n);
}

/* Directories are compared by diff as a whole, links in them not followed: which names differ. */
static bool are_dirs(const struct side sides[2])
{
	return sides[0].there && sides[1].there && S_ISDIR(sides[0].st.st_mode) &&
	       S_ISDIR(sides[1].st.st_mode);
}

static bool are_alike(const struct side *a, const struct side *b)
{
	if (!a->there || !b->there || (a->st.st_mode & S_IFMT) != (b->st.st_mode & S_IFMT))
		return false;
	if (a->has_hash)
		return memcmp(a->hash, b->hash, HASH_LEN) == 0;
	return S_ISLNK(a->st.st_mode) && strcmp(a->target, b->target) == 0;
}

/* ---- the program ----------------------------------------------------------------------------- */

static int wait_for(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* @return diff's exit code; negative when it could not be run */
static int run_diff(char *const *argv, const struct side sides[2], bool quiet)
{
	pid_t pid;
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	for (int i = 0; i < 2 && sides[i].fd >= 0; i++)
		posix_spawn_file_actions_adddup2(&actions, sides[i].fd, 10 + i);
	if (quiet)
		posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	fflush(stdout);
	int r = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r != 0)
		return -r;
	r = wait_for(pid);
	return r < 0 || r > 1 ? -EIO : r;
}

static int diff_texts(const struct side sides[2])
{
	AUTO_FREE char *old = text_safe(sides[0].path);
	AUTO_FREE char *now = text_safe(sides[1].path);
	AUTO_FREE char *old_label = x_asprintf("--label=%s", old);
	AUTO_FREE char *now_label = x_asprintf("--label=%s", now);
	char diff[] = "diff", unified[] = "-u", first[] = "/dev/fd/10", second[] = "/dev/fd/11";
	char *argv[] = {diff, unified, old_label, now_label, first, second, NULL};
	return run_diff(argv, sides, false);
}

static int diff_dirs(const struct side sides[2], bool quiet)
{
	char diff[] = "diff", how[] = "-rq", links[] = "--no-dereference", end[] = "--";
	char *argv[] = {diff, how, links, end, sides[0].path, sides[1].path, NULL};
	return run_diff(argv, sides, quiet);
}

/* ---- what is said ---------------------------------------------------------------------------- */

static void print_side(const struct side *side)
{
	char size[TEXT_MAX], hex[HASH_HEX_MAX];
	AUTO_FREE char *path = text_safe(side->path);
	AUTO_FREE char *target = text_safe(side->target);
	if (!side->there)
		printf("%s  nothing stands at %s\n", side->what, path);
	else if (side->has_hash)
		printf("%s  %s  %s  sha256 %s\n", side->what, path,
		       text_bytes(size, (uint64_t)side->st.st_size), hash_hex(hex, side->hash));
	else if (S_ISLNK(side->st.st_mode))
		printf("%s  %s  link to %s\n", side->what, path, target);
	else
		printf("%s  %s  %s\n", side->what, path, kind_of(side));
}

static json_t *side_json(const struct side *side)
{
	char hex[HASH_HEX_MAX];
	json_t *out =
		json_pack("{s:o, s:s}", "path", control_path(side->path), "kind", kind_of(side));
	if (side->has_hash) {
		json_object_set_new(out, "size", json_integer(side->st.st_size));
		json_object_set_new(out, "sha256", json_string(hash_hex(hex, side->hash)));
	}
	if (side->there && S_ISLNK(side->st.st_mode))
		json_object_set_new(out, "target", control_path(side->target));
	return out;
}

static void print_json(const struct cli *cli, const struct side sides[2], bool alike)
{
	json_t *out = json_pack("{s:b, s:o, s:o}", "same", alike, "salvaged", side_json(&sides[0]),
				"standing", side_json(&sides[1]));
	cli_print_json(cli, out);
	json_decref(out);
}

/* @return EXIT_DONE or EXIT_NO */
static int compare(const struct cli *cli, const struct side sides[2])
{
	bool alike = are_alike(&sides[0], &sides[1]);
	int r = -ENOENT; /* of diff, where it is of use */
	if (are_dirs(sides))
		r = diff_dirs(sides, cli->json);
	else if (!alike && !cli->json && is_text(&sides[0]) && is_text(&sides[1]))
		r = diff_texts(sides);
	alike |= r == 0;
	if (cli->json) {
		print_json(cli, sides, alike);
	} else if (alike) {
		puts("They are alike.");
	} else if (r < 0) {
		print_side(&sides[0]);
		print_side(&sides[1]);
	}
	return alike ? EXIT_DONE : EXIT_NO;
}

int salvage_diff(const struct cli *cli, const json_t *shown)
{
	const char *location = member_text(shown, "location", NULL);
	const char *stood_at = member_text(shown, "stood_at", NULL);
	if (!location || !stood_at)
		return cli_fail(cli, EXIT_NO, "Add its directory to `follow' again.",
				"the directory that holds it is not in the configuration");
	struct side sides[2] = {{.what = "salvaged", .path = unquote_utf8(location), .fd = -1},
				{.what = "standing", .path = unquote_utf8(stood_at), .fd = -1}};
	int code = EXIT_DONE;
	for (int i = 0; i < 2 && code == EXIT_DONE; i++)
		code = sides[i].path ? look(cli, &sides[i]) : EXIT_NO;
	if (code == EXIT_DONE)
		code = compare(cli, sides);
	side_release(&sides[0]);
	side_release(&sides[1]);
	return code;
}
