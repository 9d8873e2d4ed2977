/* sender_resend.c - RESEND: the peer lost what it had acknowledged. The acknowledgement is
 * forgotten, durably, and the record is then one of those that are not acknowledged. */
#include "agent/sync/sender_internal.h"

#include <errno.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "protocol/messages.h"

struct resend_job {
	struct job job;
	struct sender *sd;
	char *paths[RESENDS_MAX];
	size_t n;
	int result;
	struct err err;
};

static void resend_work(struct job *job)
{
	struct resend_job *resend = container_of(job, struct resend_job, job);
	resend->result = store_unack(resend->sd->setup.store, resend->sd->peer,
				     (const char *const *)resend->paths, resend->n, &resend->err);
}

static void resend_done(struct job *job)
{
	struct resend_job *resend = container_of(job, struct resend_job, job);
	struct sender *sd = resend->sd;
	char q[QUOTED_MAX];
	sd->resending = false;
	if (resend->result < 0)
		log_error("sender",
			  "peer=%s path=%s and %zu more action=\"the peer asks again\" err=\"%s\"",
			  sd->peer, quote_path(q, resend->paths[0]), resend->n - 1,
			  resend->err.msg);
	for (size_t i = 0; i < resend->n; i++)
		free(resend->paths[i]);
	free(resend);
	if (!sd->closing) {
		sender_resend_next(sd);
		sender_kick(sd, true);
	}
	sender_job_ended(sd);
}

/* What is asked for while one transaction runs shares the next. */
void sender_resend_next(struct sender *sd)
{
	if (sd->resending || sd->n_resends == 0)
		return;
	struct resend_job *resend = x_calloc(1, sizeof(*resend));
	resend->sd = sd;
	resend->n = sd->n_resends;
	memcpy(resend->paths, sd->resends, sd->n_resends * sizeof(sd->resends[0]));
	sd->n_resends = 0;
	sd->resending = true;
	sd->jobs++;
	job_start(sd->setup.loop, &resend->job, resend_work, resend_done);
}

int sender_on_resend(struct sender *sd, const struct wire_resend *m)
{
	char q[QUOTED_MAX];
	struct index_entry entry = {0};
	if (sd->n_resends == RESENDS_MAX)
		return -EMSGSIZE;
	/* Whoever asks for what there is not waits in vain, and needs no row. */
	if (store_get(sd->setup.store, m->path, &entry, NULL) < 0)
		return 0;
	index_entry_release(&entry);
	log_info("sender", "peer=%s path=%s action=send-again", sd->peer, quote_path(q, m->path));
	sd->resends[sd->n_resends++] = x_strdup(m->path);
	sender_resend_next(sd);
	return 0;
}
