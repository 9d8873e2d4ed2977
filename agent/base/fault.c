#include "agent/base/fault.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fault *armed;
static struct fault from_environment;

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

void fault_arm_from_environment(void)
{
	const char *text = getenv("ARTIFACT_SYNC_FAULT");
	char *rest;
	if (!text)
		return;
	from_environment.nth = strtol(text, &rest, 10);
	if (*rest != ':' || from_environment.nth < 1)
		return;
	from_environment.err = strcmp(rest + 1, "kill") == 0 ? 0 : atoi(rest + 1);
	fault_arm(&from_environment);
}

int fault_point(const char *name)
{
	(void)name; /* shown by a debugger's breakpoint here */
	int result = 0;
	pthread_mutex_lock(&lock);
	if (armed && ++armed->seen == armed->nth) {
		armed->fired = true;
		if (armed->err == 0)
			kill(getpid(), SIGKILL);
		result = armed->err;
	}
	pthread_mutex_unlock(&lock);
	return result;
}
