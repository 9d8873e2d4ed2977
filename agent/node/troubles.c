/* troubles.c - what fails and is tried again, as problems of `status`: a word to look for, what
 * fails, what the system says, what to do. */
#include "agent/node/node_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/quote.h"
#include "agent/base/trouble.h"
#include "agent/sync/refusals.h"

static const struct {
	int error;
	const char *name, *remedy;
} remedies[] = {
	{ENOSPC, "disk-full", "free space or inodes there (df, df -i)"},
	{EDQUOT, "quota", "raise the quota of the agent's user, group or project there"},
	{ENOBUFS, "salvage-full",
	 "raise limits.salvage_bytes, or look at what is there and make room: `artifact-sync "
	 "salvage list', `artifact-sync salvage purge'"},
	{EROFS, "read-only",
	 "it is mounted read-only: mount -o remount,rw, and look for its reason in the kernel's "
	 "log"},
	{EACCES, "permission", "let the agent's user read and write there"},
	{EPERM, "permission",
	 "let the agent's user write there (is it immutable, or the user not its owner?)"},
	{EIO, "io-error", "the disk fails: look into the kernel's log (dmesg), and replace it"},
	{EMFILE, "too-many-files",
	 "raise the agent's limit of open files (LimitNOFILE=, ulimit -n)"},
	{ENFILE, "too-many-files", "raise the sysctl fs.file-max"},
	{ENOMEM, "memory", "give the agent more memory (MemoryMax=, ulimit -v)"},
	{ESTALE, "stale", "the file server lost it: mount it again"},
	{EUCLEAN, "damaged",
	 "check the file system, or move the state directory away and join again"},
};

/* By its number, or, where that did not come along, by the system's words for it. */
static const char *remedy_for(int error, const char *text, const char **name)
{
	char system[80];
	for (size_t i = 0; i < ARRAY_LEN(remedies); i++) {
		const char *words = strerror_r(remedies[i].error, system, sizeof(system));
		if (error ? remedies[i].error == error : strstr(text, words) != NULL) {
			*name = remedies[i].name;
			return remedies[i].remedy;
		}
	}
	*name = "failing";
	return NULL;
}

const char *troubles_remedy(const char *text)
{
	const char *name;
	return remedy_for(0, text, &name);
}

static void add(json_t *problems, const char *what, int error, const char *why, const char *where)
{
	const char *name, *remedy = remedy_for(error, why, &name);
	char system[80];
	/* A library may have words of its own for it; the system's are what people look for. */
	const char *words = strerror_r(error, system, sizeof(system));
	bool said = error == 0 || error == ENOBUFS || strstr(why, words);
	AUTO_FREE char *text = x_asprintf("%s: %s: %s%s%s; %s (%s); it is tried again", name, what,
					  why, said ? "" : ": ", said ? "" : words,
					  remedy ? remedy : "see the agent's log", where);
	AUTO_FREE char *utf8 = quote_utf8(text);
	json_array_append_new(problems, json_string(utf8));
}

static void add_refusals(const struct node *node, const struct session *s, json_t *problems)
{
	const char *path, *text;
	char q[QUOTED_MAX];
	const struct refusals *refusals = receiver_refusals(s->receiver);
	int error = refusals_latest(refusals, &path, &text);
	if (!path)
		return;
	AUTO_FREE char *what = x_asprintf("%zu paths of %s are not taken, such as %s",
					  refusals_count(refusals), s->peer, quote_path(q, path));
	bool state = strstr(text, "state database") != NULL;
	add(problems, what, error, text, state ? node->conf->state_dir : node->conf->tree);
}

void troubles_add_problems(const struct node *node, json_t *problems)
{
	struct trouble troubles[TROUBLES_MAX];
	size_t n = trouble_list(troubles);
	for (size_t i = 0; i < n; i++) {
		const struct trouble *t = &troubles[i];
		bool state = strstr(t->err.msg, "state database") != NULL;
		AUTO_FREE char *what = x_asprintf("%s fails for %" PRIu64 " s", t->what,
						  (clock_mono_ms() - t->since_ms) / 1000);
		add(problems, what, -t->err.code, t->err.msg,
		    state ? node->conf->state_dir : node->conf->tree);
	}
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (s->receiver)
			add_refusals(node, s, problems);
	}
}
