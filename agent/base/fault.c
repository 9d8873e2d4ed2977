#include "agent/base/fault.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fault *armed;

void fault_arm(struct fault *fault)
{
	pthread_mutex_lock(&lock);
	armed = fault;
	pthread_mutex_unlock(&lock);
}

void fault_disarm(void)
{
	fault_arm(NULL);
}

#ifdef AGENT_FAULTS

static struct fault from_outside;
static const char *outside_file;
static struct stat file_seen;

/* Under the lock. Text that is no fault disarms. */
static void take_text(const char *text)
{
	char *rest;
	from_outside = (struct fault){.nth = strtol(text, &rest, 10)};
	armed = NULL;
	if (*rest != ':' || from_outside.nth < 1)
		return;
	if (strncmp(rest + 1, "kill", 4) == 0)
		rest += 5;
	else
		from_outside.err = (int)strtol(rest + 1, &rest, 10);
	if (*rest == ':')
		from_outside.times = strtol(rest + 1, NULL, 10);
	armed = &from_outside;
}

/* Under the lock. Another file under the name is a new order; the same one is not read again, so
 * that it is the order of the moment it came. */
static void look_at_file(void)
{
	struct stat st = {0};
	char text[64] = "";
	if (!outside_file)
		return;
	stat(outside_file, &st);
	if (st.st_ino == file_seen.st_ino && st.st_ctim.tv_sec == file_seen.st_ctim.tv_sec &&
	    st.st_ctim.tv_nsec == file_seen.st_ctim.tv_nsec)
		return;
	file_seen = st;
	FILE *file = fopen(outside_file, "re");
	if (file && !fgets(text, sizeof(text), file))
		*text = '\0';
	if (file)
		fclose(file);
	take_text(text);
}

static void tell(const char *name)
{
	if (armed == &from_outside)
		dprintf(STDERR_FILENO, "fault: call=%ld at=\"%s\" error=%d\n", armed->seen, name,
			armed->err);
}

void fault_arm_from_environment(void)
{
	pthread_mutex_lock(&lock);
	outside_file = getenv("ARTIFACT_SYNC_FAULT_FILE");
	pthread_mutex_unlock(&lock);
}

#else

static void look_at_file(void)
{
}

static void tell(const char *name)
{
	(void)name;
}

void fault_arm_from_environment(void)
{
}

#endif

static bool is_hit(const struct fault *fault)
{
	long times = fault->times == 0 ? 1 : fault->times;
	return fault->seen >= fault->nth && (times < 0 || fault->seen < fault->nth + times);
}

int fault_point(const char *name)
{
	int result = 0;
	pthread_mutex_lock(&lock);
	look_at_file();
	if (armed && (++armed->seen, is_hit(armed))) {
		armed->fired = true;
		tell(name);
		if (armed->err == 0)
			kill(getpid(), SIGKILL);
		result = armed->err;
	}
	pthread_mutex_unlock(&lock);
	return result;
}
