/* roles_ledger.c - an entry for each epoch that this node lived to see, in the role it had then;
 * written on a worker when the change is over, and at the next start if a crash came between. */
#include "agent/node/roles_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/ops/ledger.h"

struct ledger_job {
	struct job job;
	struct roles *roles;
	struct ledger_place place;
	json_t *entry;
	json_t *last;	/* of the ledger */
	json_t *listed; /* `ledger': all of them; NULL: an entry is written */
	struct control_call *call;
	struct ledger_report report;
	bool written;
	int result;
	struct err err;
};

static const char *kind_of(const struct roles *roles)
{
	const struct attempt *a = &roles->attempt;
	return a->failover			       ? "failover"
	       : a->resolve			       ? "resolve"
	       : a->planned			       ? "planned"
	       : roles->event == ROLE_EVENT_RECONCILED ? "rejoin"
						       : "followed";
}

static json_t *entry_json(const struct roles *roles)
{
	const struct attempt *a = &roles->attempt;
	AUTO_FREE struct epoch_entry *lineage = NULL;
	struct store_state state;
	size_t n = 0;
	char hex[HASH_HEX_MAX], id[2 * WIRE_ID_LEN + 1], now[CLOCK_TEXT_MAX], at[CLOCK_TEXT_MAX];
	if (store_lineage(roles->node->store, &lineage, &n, NULL) < 0 || n < 2)
		return NULL; /* the epoch of `init' is no change of roles */
	const struct epoch_entry *last = &lineage[n - 1];
	for (size_t i = 0; i < WIRE_ID_LEN; i++)
		snprintf(id + 2 * i, 3, "%02x", last->id[i]);
	store_state(roles->node->store, &state);
	json_t *entry = json_pack(
		"{s:s, s:I, s:s, s:I, s:s, s:s, s:s, s:s, s:I, s:s, s:I, s:I, s:s, s:s}", "time",
		clock_text(now, clock_real_ns()), "epoch", (json_int_t)last->number, "epoch_id", id,
		"base_seq", (json_int_t)last->base_seq, "active", last->node, "node",
		roles->node->conf->node, "role", roles_name(roles->machine.role), "from", a->from,
		"seq", (json_int_t)state.last_seq, "digest", hash_hex(hex, state.digest), "files",
		(json_int_t)state.files, "bytes", (json_int_t)state.bytes, "kind", kind_of(roles),
		"group", roles->node->conf->group);
	json_object_set_new(entry, "operator", control_text(a->operator));
	json_object_set_new(entry, "reason", control_text(a->reason));
	json_object_set_new(entry, "recovery_point",
			    a->recovery_ns ? json_string(clock_text(at, a->recovery_ns))
					   : json_null());
	json_object_set_new(entry, "seconds_at_risk",
			    a->at_risk_s < 0 ? json_null() : json_real(a->at_risk_s));
	json_object_set_new(entry, "lost", a->lost ? json_deep_copy(a->lost) : json_array());
	return entry;
}

/* ---- workers ----------------------------------------------------------------------------------
 */

static void on_line(void *owner, const json_t *entry)
{
	struct ledger_job *l = owner;
	json_decref(l->last);
	l->last = json_deep_copy(entry);
	if (l->listed)
		json_array_append(l->listed, l->last);
}

static bool same_text(const json_t *a, const json_t *b, const char *key)
{
	return json_equal(json_object_get(a, key), json_object_get(b, key)) != 0;
}

static void ledger_work(struct job *job)
{
	struct ledger_job *l = container_of(job, struct ledger_job, job);
	struct store *store = l->roles->node->store;
	struct ledger_head head;
	l->result = store_ledger_head(store, &head.n, head.hash, &l->err);
	if (l->result == 0)
		l->result = ledger_verify(&l->place, &head, on_line, l, &l->report, &l->err);
	if (l->result < 0 || l->listed)
		return;
	if (l->last && same_text(l->last, l->entry, "epoch_id") &&
	    same_text(l->last, l->entry, "role"))
		return;
	l->result = ledger_append(&l->place, &head, l->entry, &l->err);
	if (l->result == 0)
		l->result = store_set_ledger_head(store, head.n, head.hash, &l->err);
	l->written = l->result == 0;
}

static void answer(struct ledger_job *l)
{
	const struct ledger_report *r = &l->report;
	if (l->result < 0) {
		control_fail(l->call, EXIT_NO, "look at ledger.jsonl in the state directory", "%s",
			     l->err.msg);
		return;
	}
	json_t *out = json_pack("{s:O, s:I, s:b, s:I, s:s}", "entries", l->listed, "lines",
				(json_int_t)r->lines, "good", r->good, "bad_line",
				(json_int_t)r->bad_line, "why", r->why);
	control_done(l->call, r->good ? EXIT_DONE : EXIT_NO, out);
}

static void ledger_done(struct job *job)
{
	struct ledger_job *l = container_of(job, struct ledger_job, job);
	struct roles *roles = l->roles;
	if (l->call) {
		control_call_set_data(l->call, NULL);
		answer(l);
	} else if (!l->listed && l->result < 0) {
		log_error(MODULE_ROLE,
			  "what=\"the ledger\" action=\"no entry is written\" err=\"%s\"",
			  l->err.msg);
	} else if (l->written) {
		log_info(MODULE_ROLE, "ledger entries=%" PRIu64, l->report.lines + 1);
	}
	bool lists = l->listed != NULL;
	json_decref(l->entry);
	json_decref(l->last);
	json_decref(l->listed);
	free(l);
	node_closed_one(roles->node);
	if (lists)
		return;
	roles->ledger_running = false;
	if (roles->ledger_again && !roles->stopping)
		roles_ledger_write(roles);
}

static struct ledger_job *new_job(struct roles *roles)
{
	const struct conf *conf = roles->node->conf;
	struct ledger_job *l = x_calloc(1, sizeof(*l));
	l->roles = roles;
	l->place = (struct ledger_place){.state_dir = conf->state_dir,
					 .certificate = conf->tls_certificate,
					 .key = conf->tls_key};
	roles->node->closing++;
	return l;
}

void roles_ledger_write(struct roles *roles)
{
	roles->ledger_again = roles->ledger_running;
	if (roles->ledger_running)
		return;
	json_t *entry = entry_json(roles);
	if (!entry)
		return;
	struct ledger_job *l = new_job(roles);
	l->entry = entry;
	roles->ledger_running = true;
	job_start(&roles->node->loop, &l->job, ledger_work, ledger_done);
}

bool roles_ledger_request(struct roles *roles, struct control_call *call, const json_t *args,
			  const char *verb)
{
	(void)args;
	if (strcmp(verb, "ledger") != 0)
		return false;
	struct ledger_job *l = new_job(roles);
	l->listed = json_array();
	l->call = call;
	control_call_set_data(call, &l->call);
	job_start(&roles->node->loop, &l->job, ledger_work, ledger_done);
	return true;
}
