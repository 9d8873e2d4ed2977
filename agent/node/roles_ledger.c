/* roles_ledger.c - an entry for each epoch that this node lived to see, in the role it had then. It
 * becomes durable with the change that it tells of, and waits; when the change is over it is
 * completed, and a worker makes a line of it. What a crash, or the next change, comes before is
 * written as far as it goes. */
#include "agent/node/roles_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/ops/ledger.h"

#define LEDGER_AGAIN_MS 60000 /* after lines that could not be written */
/* Of paths that are named as lost: as JSON they grow, and the line has to hold the rest, too. */
#define LOST_BYTES_MAX (LEDGER_LINE_MAX / 8)

/* Who lists reads the head first and the file then, and nobody writes in between. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

struct ledger_job {
	struct job job;
	struct roles *roles;
	struct ledger_place place;
	uint64_t open;	/* this entry and those behind it are not written yet; 0: all are */
	json_t *listed; /* `ledger': all of them; NULL: entries are written */
	uint64_t waiting;
	struct control_call *call;
	struct ledger_report report;
	uint64_t written;
	int result;
	struct err err;
};

/* ---- what is said -----------------------------------------------------------------------------
 */

static const char *kind_of(const struct roles *roles, bool here)
{
	const struct attempt *a = &roles->attempt;
	if (!here)
		return roles->event == ROLE_EVENT_RECONCILED ? "rejoin" : "followed";
	return a->failover ? "failover" : a->resolve ? "resolve" : "planned";
}

/* As many as a line has room for, and how many more there are. */
static void add_lost(json_t *entry, const json_t *lost)
{
	json_t *named = json_array();
	size_t i, bytes = 0;
	const json_t *path;
	json_array_foreach((json_t *)lost, i, path)
	{
		bytes += json_string_length(path);
		if (bytes > LOST_BYTES_MAX)
			break;
		json_array_append(named, (json_t *)path);
	}
	json_object_set_new(entry, "lost", named);
	if (i < json_array_size(lost))
		json_object_set_new(entry, "lost_more",
				    json_integer((json_int_t)(json_array_size(lost) - i)));
}

/* What a person said and knew of it, when they asked for it here or at the other side. */
static void add_attempt(json_t *entry, const struct roles *roles, bool here)
{
	static const struct attempt none = {.at_risk_s = -1};
	const struct attempt *a = here ? &roles->attempt : &none;
	int64_t recovery_ns = here ? a->recovery_ns : roles->node->recovery_ns;
	char at[CLOCK_TEXT_MAX];
	json_object_set_new(entry, "operator", control_text(a->operator));
	json_object_set_new(entry, "reason", control_text(a->reason));
	json_object_set_new(entry, "recovery_point",
			    recovery_ns ? json_string(clock_text(at, recovery_ns)) : json_null());
	json_object_set_new(entry, "seconds_at_risk",
			    a->at_risk_s < 0 ? json_null() : json_real(a->at_risk_s));
	add_lost(entry, a->lost);
}

static void add_tree(json_t *entry, struct roles *roles, uint64_t base_seq)
{
	struct store_state state;
	char hex[HASH_HEX_MAX];
	store_state(roles->node->store, &state);
	uint64_t seq = state.last_seq > base_seq ? state.last_seq : base_seq;
	json_object_set_new(entry, "seq", json_integer((json_int_t)seq));
	json_object_set_new(entry, "digest", json_string(hash_hex(hex, state.digest)));
	json_object_set_new(entry, "files", json_integer((json_int_t)state.files));
	json_object_set_new(entry, "bytes", json_integer((json_int_t)state.bytes));
}

/* @param here  the change took place here; else its epoch was heard of. @param before  the epoch
 * that it ended */
static char *entry_text(struct roles *roles, const struct epoch_entry *epoch,
			const struct epoch_entry *before, bool here)
{
	const struct attempt *a = &roles->attempt;
	char id[2 * WIRE_ID_LEN + 1], now[CLOCK_TEXT_MAX];
	for (size_t i = 0; i < WIRE_ID_LEN; i++)
		snprintf(id + 2 * i, 3, "%02x", epoch->id[i]);
	const char *from = here && *a->from ? a->from : before->node;
	json_t *entry = json_pack(
		"{s:s, s:I, s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:s}", "time",
		clock_text(now, clock_real_ns()), "epoch", (json_int_t)epoch->number, "epoch_id",
		id, "base_seq", (json_int_t)epoch->base_seq, "active", epoch->node, "node",
		roles->node->conf->node, "role", roles_name(roles->machine.role), "from", from,
		"kind", kind_of(roles, here), "group", roles->node->conf->group);
	add_tree(entry, roles, epoch->base_seq);
	add_attempt(entry, roles, here);
	char *text = json_dumps(entry, JSON_COMPACT);
	json_decref(entry);
	return text;
}

char *roles_ledger_entry(struct roles *roles, const struct epoch_entry *begins)
{
	AUTO_FREE struct epoch_entry *lineage = NULL;
	size_t n = 0;
	if (store_lineage(roles->node->store, &lineage, &n, NULL) < 0)
		return NULL;
	if (begins && n > 0 && memcmp(lineage[n - 1].id, begins->id, WIRE_ID_LEN) == 0)
		n--; /* it was heard of before */
	if (begins)
		return n > 0 ? entry_text(roles, begins, &lineage[n - 1], true) : NULL;
	/* The epoch of `init' is no change of roles. */
	return n > 1 ? entry_text(roles, &lineage[n - 1], &lineage[n - 2], false) : NULL;
}

/* Of a node that is new to the group, only where it came in. */
int roles_take_lineage(struct session *s, const struct wire_hello *theirs, struct err *err)
{
	struct roles *roles = s->node->roles;
	enum lineage_relation relation;
	size_t common, n = 0;
	relation = lineage_compare(s->said_lineage, s->said.n_lineage, theirs->lineage,
				   theirs->n_lineage, &common);
	if (common == 0)
		common = theirs->n_lineage > 1 ? theirs->n_lineage - 1 : theirs->n_lineage;
	if (relation != LINEAGE_THEIRS_LONGER)
		common = theirs->n_lineage;
	AUTO_FREE char **entries = x_calloc(WIRE_LINEAGE_MAX, sizeof(*entries));
	for (size_t i = common; i < theirs->n_lineage; i++)
		entries[n++] =
			entry_text(roles, &theirs->lineage[i], &theirs->lineage[i - 1], false);
	int r = store_follow_lineage(s->node->store, theirs->lineage, theirs->n_lineage, entries, n,
				     &roles->entry_open, err);
	for (size_t i = 0; i < n; i++)
		free(entries[i]);
	if (n > 0)
		roles_ledger_write(roles);
	return r;
}

/* ---- completing -------------------------------------------------------------------------------
 */

static char *read_open(struct roles *roles)
{
	uint64_t n;
	char *text = NULL;
	int r = roles->entry_open == 0 ? 0
				       : store_next_entry(roles->node->store, roles->entry_open - 1,
							  &n, &text, NULL);
	if (r > 0 && n != roles->entry_open)
		free(STEAL(text));
	return r > 0 ? text : NULL;
}

static void complete(struct roles *roles, bool proven)
{
	AUTO_FREE char *text = read_open(roles);
	struct err err = {0};
	json_t *entry = text ? json_loads(text, 0, NULL) : NULL;
	if (entry) {
		if (proven)
			add_tree(entry, roles, 0);
		else if (roles->attempt.lost)
			add_lost(entry, roles->attempt.lost);
		AUTO_FREE char *now = json_dumps(entry, JSON_COMPACT);
		if (store_set_entry(roles->node->store, roles->entry_open, now, &err) < 0)
			log_warn(MODULE_ROLE,
				 "what=\"the ledger's entry\" action=\"as it was\" "
				 "err=\"%s\"",
				 err.msg);
		json_decref(entry);
	}
	roles->entry_open = 0;
	roles_ledger_write(roles);
}

void roles_ledger_complete(struct roles *roles)
{
	complete(roles, false);
}

void roles_ledger_proven(struct roles *roles)
{
	complete(roles, true);
}

/* ---- workers ----------------------------------------------------------------------------------
 */

static int write_entry(struct ledger_job *l, uint64_t n, const char *text)
{
	struct store *store = l->roles->node->store;
	struct ledger_head head;
	json_t *entry = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	int r = entry ? store_ledger_head(store, &head.n, head.hash, &l->err)
		      : err_set(&l->err, -EUCLEAN, "entry %" PRIu64 " is no JSON", n);
	if (r == 0)
		r = ledger_append(&l->place, &head, entry, &l->err);
	if (r == 0)
		r = store_entry_written(store, n, head.n, head.hash, &l->err);
	json_decref(entry);
	l->written += r == 0;
	return r;
}

/* Those that are left when one cannot be written wait for it: their order is the ledger's. */
static int write_entries(struct ledger_job *l)
{
	uint64_t n = 0;
	int r = 0, found;
	do {
		AUTO_FREE char *text = NULL;
		found = store_next_entry(l->roles->node->store, n, &n, &text, &l->err);
		if (found > 0 && (l->open == 0 || n < l->open))
			r = write_entry(l, n, text);
		else
			found = found < 0 ? found : 0;
	} while (found > 0 && r == 0);
	return r < 0 ? r : found;
}

static void on_line(void *owner, const json_t *entry, const char *why)
{
	struct ledger_job *l = owner;
	json_t *told = json_is_object(entry) ? json_deep_copy(entry) : json_object();
	if (why)
		json_object_set_new(told, "bad", control_text(why));
	json_array_append_new(l->listed, told);
}

/* The epochs that the ledger, or what waits for it, tells of. */
static json_t *told_epochs(struct ledger_job *l)
{
	json_t *told = json_object(), *each;
	size_t i;
	uint64_t n = 0;
	char *text;
	json_array_foreach(l->listed, i, each) json_object_set_new(
		told, json_string_value(json_object_get(each, "epoch_id")), json_true());
	while (store_next_entry(l->roles->node->store, n, &n, &text, NULL) > 0) {
		json_t *entry = json_loads(text, 0, NULL);
		json_object_set_new(told, json_string_value(json_object_get(entry, "epoch_id")),
				    json_true());
		json_decref(entry);
		free(text);
		l->waiting++;
	}
	return told;
}

/* From the first epoch that it tells of on, it tells of each that this node knows. */
static void compare_with_lineage(struct ledger_job *l)
{
	AUTO_FREE struct epoch_entry *lineage = NULL;
	size_t n = 0;
	bool begun = false;
	json_t *told = told_epochs(l);
	if (store_lineage(l->roles->node->store, &lineage, &n, NULL) < 0)
		n = 0;
	for (size_t i = 0; i < n && l->report.good; i++) {
		char id[2 * WIRE_ID_LEN + 1];
		for (size_t at = 0; at < WIRE_ID_LEN; at++)
			snprintf(id + 2 * at, 3, "%02x", lineage[i].id[at]);
		bool found = json_object_get(told, id) != NULL;
		begun |= found;
		if (!begun || found)
			continue;
		l->report.good = false;
		snprintf(l->report.why, sizeof(l->report.why),
			 "no entry tells of epoch %" PRIu64 ", which %.80s began",
			 lineage[i].number, lineage[i].node);
	}
	json_decref(told);
}

static void list_entries(struct ledger_job *l)
{
	struct ledger_head head;
	l->result = store_ledger_head(l->roles->node->store, &head.n, head.hash, &l->err);
	if (l->result == 0)
		l->result = ledger_verify(&l->place, &head, on_line, l, &l->report, &l->err);
	if (l->result == 0)
		compare_with_lineage(l);
}

static void ledger_work(struct job *job)
{
	struct ledger_job *l = container_of(job, struct ledger_job, job);
	pthread_mutex_lock(&one_at_a_time);
	if (l->listed)
		list_entries(l);
	else
		l->result = write_entries(l);
	pthread_mutex_unlock(&one_at_a_time);
}

static void answer(struct ledger_job *l)
{
	const struct ledger_report *r = &l->report;
	control_call_set_data(l->call, NULL);
	if (l->result < 0) {
		control_fail(l->call, EXIT_NO, "look at ledger.jsonl in the state directory", "%s",
			     l->err.msg);
		return;
	}
	json_t *out = json_pack("{s:O, s:I, s:b, s:I, s:s, s:I}", "entries", l->listed, "lines",
				(json_int_t)r->lines, "good", r->good, "bad_line",
				(json_int_t)r->bad_line, "why", r->why, "waiting",
				(json_int_t)l->waiting);
	control_done(l->call, r->good ? EXIT_DONE : EXIT_NO, out);
}

/* What status says of it until it is looked at again. */
static void note_verdict(struct roles *roles, const struct ledger_job *l)
{
	const struct ledger_report *r = &l->report;
	roles->ledger_bad[0] = '\0';
	if (l->result < 0)
		snprintf(roles->ledger_bad, sizeof(roles->ledger_bad), "%s", l->err.msg);
	else if (!r->good && r->bad_line > 0)
		snprintf(roles->ledger_bad, sizeof(roles->ledger_bad), "line %" PRIu64 ": %s",
			 r->bad_line, r->why);
	else if (!r->good)
		snprintf(roles->ledger_bad, sizeof(roles->ledger_bad), "%s", r->why);
}

static void note_written(struct roles *roles, const struct ledger_job *l)
{
	roles->ledger_running = false;
	roles->ledger_failing[0] = '\0';
	if (l->result < 0) {
		log_error(MODULE_ROLE, "what=\"the ledger\" action=\"the entry waits\" err=\"%s\"",
			  l->err.msg);
		snprintf(roles->ledger_failing, sizeof(roles->ledger_failing), "%s", l->err.msg);
		roles->ledger_again_ms = clock_mono_ms() + LEDGER_AGAIN_MS;
	} else if (l->written > 0) {
		log_info(MODULE_ROLE, "ledger entries=%" PRIu64, l->written);
	}
}

static void ledger_done(struct job *job)
{
	struct ledger_job *l = container_of(job, struct ledger_job, job);
	struct roles *roles = l->roles;
	bool lists = l->listed != NULL;
	if (lists)
		note_verdict(roles, l);
	else
		note_written(roles, l);
	if (l->call)
		answer(l);
	json_decref(l->listed);
	free(l);
	node_closed_one(roles->node);
	if (!lists && roles->ledger_again && !roles->stopping)
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
	struct ledger_job *l = new_job(roles);
	l->open = roles->entry_open;
	roles->ledger_running = true;
	job_start(&roles->node->loop, &l->job, ledger_work, ledger_done);
}

static struct ledger_job *list(struct roles *roles)
{
	struct ledger_job *l = new_job(roles);
	l->listed = json_array();
	job_start(&roles->node->loop, &l->job, ledger_work, ledger_done);
	return l;
}

void roles_ledger_start(struct roles *roles)
{
	roles_ledger_write(roles);
	list(roles);
}

void roles_ledger_advance(struct roles *roles)
{
	if (*roles->ledger_failing && !roles->ledger_running &&
	    clock_mono_ms() >= roles->ledger_again_ms)
		roles_ledger_write(roles);
}

void roles_ledger_add_problems(const struct roles *roles, json_t *problems)
{
	if (*roles->ledger_bad)
		roles_add(problems,
			  "ledger: it is not what was written: %s; keep what is there as evidence, "
			  "and put ledger.jsonl back from your copy",
			  roles->ledger_bad);
	if (*roles->ledger_failing)
		roles_add(problems,
			  "ledger: entries wait to be written: %s; it is tried again each minute",
			  roles->ledger_failing);
}

bool roles_ledger_request(struct roles *roles, struct control_call *call, const json_t *args,
			  const char *verb)
{
	(void)args;
	if (strcmp(verb, "ledger") != 0)
		return false;
	struct ledger_job *l = list(roles);
	l->call = call;
	control_call_set_data(call, &l->call);
	return true;
}
