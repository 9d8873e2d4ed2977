#include "agent/ops/drill_report.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/fault.h"

#define SCANNED_MAX 10000 /* names looked at in the directory */

void drill_report_id(char out[DRILL_ID_MAX], int64_t real_ns)
{
	const time_t seconds = (time_t)(real_ns / 1000000000);
	unsigned millis = (unsigned)(real_ns / 1000000 % 1000);
	struct tm at;
	uint16_t random = 0;
	char day[24];
	if (getrandom(&random, sizeof(random), 0) < 0)
		random = (uint16_t)getpid();
	gmtime_r(&seconds, &at);
	strftime(day, sizeof(day), "%Y%m%dT%H%M%S", &at);
	snprintf(out, DRILL_ID_MAX, "%s.%03uZ-%04x", day, millis, random);
}

static bool id_is_legal(const char *id)
{
	size_t len = id ? strlen(id) : 0;
	return len > 0 && len < DRILL_ID_MAX && *id != '.' &&
	       strspn(id, "0123456789abcdefTZ.-") == len;
}

bool drill_report_is_legal(const json_t *report)
{
	const char *verdict = json_string_value(json_object_get(report, "verdict"));
	return id_is_legal(json_string_value(json_object_get(report, "id"))) && verdict &&
	       json_dumpb(report, NULL, 0, 0) <= DRILL_REPORT_BYTES_MAX;
}

/* ---- the directory -------------------------------------------------------------------------- */

static int open_dir(const char *state_dir, bool create, struct err *err)
{
	AUTO_FREE char *path = x_asprintf("%s/%s", state_dir, DRILL_DIR);
	if (create && mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_sys(err, errno, "make %s", path);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? err_sys(err, errno, "open %s", path) : fd;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct ids {
	char **id;
	size_t n, cap;
};

static void ids_release(struct ids *ids)
{
	for (size_t i = 0; i < ids->n; i++)
		free(ids->id[i]);
	free(ids->id);
}

/* The oldest first. */
static void list_ids(struct ids *out, int fd)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;
	size_t looked = 0;
	*out = (struct ids){0};
	if (!dir) {
		if (copy >= 0)
			close(copy);
		return;
	}
	while (looked++ < SCANNED_MAX && (entry = readdir(dir))) {
		const char *end = strrchr(entry->d_name, '.');
		if (!end || strcmp(end, ".json") != 0)
			continue;
		AUTO_FREE char *id = x_strndup(entry->d_name, (size_t)(end - entry->d_name));
		if (!id_is_legal(id))
			continue;
		GROW(out->id, out->cap, out->n + 1);
		out->id[out->n++] = STEAL(id);
	}
	closedir(dir);
	if (out->n > 0)
		qsort(out->id, out->n, sizeof(*out->id), compare);
}

/* ---- writing -------------------------------------------------------------------------------- */

static int write_text(int dir, const char *id, const char *suffix, const char *text,
		      struct err *err)
{
	char temp[DRILL_ID_MAX + 16], name[DRILL_ID_MAX + 16];
	size_t len = strlen(text);
	snprintf(name, sizeof(name), "%s.%s", id, suffix);
	snprintf(temp, sizeof(temp), "new.%s", suffix); /* one at a time; a crash leaves one */
	int fault = fault_point("drill report");
	AUTO_CLOSE int fd =
		fault ? -1
		      : openat(dir, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
			       0600);
	if (fd < 0)
		return err_sys(err, fault ? fault : errno, "create %s", temp);
	for (size_t at = 0; at < len;) {
		ssize_t n = write(fd, text + at, len - at);
		if (n < 0 && errno != EINTR)
			return err_sys(err, errno, "write %s", temp);
		at += n > 0 ? (size_t)n : 0;
	}
	if (fsync(fd) < 0 || renameat(dir, temp, dir, name) < 0)
		return err_sys(err, errno, "write %s", name);
	return 0;
}

static void forget_oldest(int dir)
{
	struct ids ids;
	list_ids(&ids, dir);
	for (size_t i = 0; i + DRILL_REPORTS_MAX < ids.n; i++) {
		char name[DRILL_ID_MAX + 16];
		snprintf(name, sizeof(name), "%s.html", ids.id[i]);
		unlinkat(dir, name, 0);
		snprintf(name, sizeof(name), "%s.json", ids.id[i]);
		unlinkat(dir, name, 0);
	}
	ids_release(&ids);
}

int drill_report_keep(const char *state_dir, const json_t *report, struct err *err)
{
	const char *id = json_string_value(json_object_get(report, "id"));
	if (!drill_report_is_legal(report))
		return err_set(err, -EINVAL, "the report of the drill is not one, or too large");
	AUTO_FREE char *json = json_dumps(report, JSON_INDENT(1));
	AUTO_FREE char *html = drill_report_html(report);
	AUTO_CLOSE int dir = open_dir(state_dir, true, err);
	if (dir < 0)
		return dir;
	/* The page first: what has a .json counts, and has both. */
	int r = write_text(dir, id, "html", html, err);
	if (r == 0)
		r = write_text(dir, id, "json", json, err);
	if (r == 0 && fsync(dir) < 0)
		r = err_sys(err, errno, "sync %s/%s", state_dir, DRILL_DIR);
	forget_oldest(dir);
	return r;
}

/* ---- reading -------------------------------------------------------------------------------- */

static json_t *read_report(int dir, const char *id)
{
	char name[DRILL_ID_MAX + 16];
	struct stat st;
	snprintf(name, sizeof(name), "%s.json", id);
	AUTO_CLOSE int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    st.st_size > 2 * DRILL_REPORT_BYTES_MAX)
		return NULL;
	json_t *report = json_loadfd(fd, 0, NULL);
	if (drill_report_is_legal(report))
		return report;
	json_decref(report);
	return NULL;
}

void drill_report_load(struct drill_record *out, const char *state_dir)
{
	struct ids ids;
	*out = (struct drill_record){0};
	AUTO_CLOSE int dir = open_dir(state_dir, false, NULL);
	if (dir < 0)
		return;
	list_ids(&ids, dir);
	for (size_t i = ids.n; i-- > 0;) {
		json_t *report = read_report(dir, ids.id[i]);
		const char *verdict = json_string_value(json_object_get(report, "verdict"));
		if (!report)
			continue;
		out->kept++;
		if (strcmp(verdict, "passed") == 0)
			out->passed++;
		else
			out->failed++;
		if (out->last)
			json_decref(report);
		else
			out->last = report;
	}
	ids_release(&ids);
}
