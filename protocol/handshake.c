/* handshake.c - what a pair of HELLOs comes to. Each side judges the pair with itself first, and
 * the two outcomes must match. So the pair is put into one order that both sides find (who gives,
 * who is ahead), judged once, and the outcome mirrored for the other side; no rule is written down
 * twice. */
#include "protocol/lineage.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct verdict {
	enum wire_reason *why;
	char *text;
};

__attribute__((format(printf, 2, 3))) static void say(const struct verdict *v, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(v->text, WIRE_TEXT_MAX + 1, fmt, args);
	va_end(args);
}

static enum handshake refuse(const struct verdict *v, enum wire_reason why)
{
	*v->why = why;
	return HANDSHAKE_REFUSE;
}

/* The outcome as the other side sees it. */
static enum handshake mirror(enum handshake outcome)
{
	switch (outcome) {
	case HANDSHAKE_SEND: return HANDSHAKE_RECEIVE;
	case HANDSHAKE_RECEIVE: return HANDSHAKE_SEND;
	case HANDSHAKE_SEND_ALL: return HANDSHAKE_RECEIVE_ALL;
	case HANDSHAKE_RECEIVE_ALL: return HANDSHAKE_SEND_ALL;
	case HANDSHAKE_RECONCILE_SEND: return HANDSHAKE_RECONCILE_RECEIVE;
	case HANDSHAKE_RECONCILE_RECEIVE: return HANDSHAKE_RECONCILE_SEND;
	case HANDSHAKE_SUPERSEDED: return HANDSHAKE_SUPERSEDES;
	case HANDSHAKE_SUPERSEDES: return HANDSHAKE_SUPERSEDED;
	case HANDSHAKE_IDLE:
	case HANDSHAKE_REFUSE: break;
	}
	return outcome;
}

/* A draining node still sends what is not acknowledged. */
static bool gives(const struct wire_hello *h)
{
	return h->role == WIRE_ROLE_ACTIVE || h->role == WIRE_ROLE_DRAINING;
}

static bool takes(const struct wire_hello *h)
{
	return h->role == WIRE_ROLE_PASSIVE || h->role == WIRE_ROLE_FENCED;
}

static const char *role_name(const struct wire_hello *h)
{
	static const char *const names[] = {"?",	"active", "passive",
					    "draining", "fenced", "split"};
	return h->role < sizeof(names) / sizeof(names[0]) ? names[h->role] : names[0];
}

static uint64_t epoch_of(const struct wire_hello *h)
{
	return h->n_lineage ? h->lineage[h->n_lineage - 1].number : 0;
}

/* `seer` saw a later or another state of `seen` than the one it has now. A passive's state goes on
 * while the other is away, so that having seen less is the normal case. */
static bool is_rolled_back(const struct wire_hello *seen, const struct wire_hello *seer)
{
	if (seer->seen_chain_n == 0 || seer->seen_chain_n < seen->chain_n)
		return false;
	return seer->seen_chain_n > seen->chain_n ||
	       memcmp(seer->seen_chain, seen->chain, sizeof(seen->chain)) != 0;
}

/* ---- identity: are these two meant to talk at all? --------------------------------------- */

static bool identity_is_wrong(const struct wire_hello *a, const struct wire_hello *b,
			      const struct verdict *v)
{
	if (a->version != b->version || a->version != WIRE_VERSION) {
		say(v, "protocol versions %u and %u: upgrade the older agent", a->version,
		    b->version);
		return refuse(v, BYE_VERSION);
	}
	if (strcmp(a->group, b->group) != 0) {
		say(v, "groups \"%s\" and \"%s\" differ: pair only nodes of one group", a->group,
		    b->group);
		return refuse(v, BYE_GROUP);
	}
	if (strcmp(a->node, b->node) == 0) {
		say(v,
		    "both nodes are called \"%s\": the address leads back to the node itself, or "
		    "one must be renamed",
		    a->node);
		return refuse(v, BYE_SELF);
	}
	if (strcmp(a->to, b->node) != 0 || strcmp(b->to, a->node) != 0) {
		say(v, "\"%s\" meant \"%s\" and \"%s\" meant \"%s\": correct the paired names",
		    a->node, a->to, b->node, b->to);
		return refuse(v, BYE_UNKNOWN_PEER);
	}
	return false;
}

/* A lineage that cannot be, or a role that cannot be without one. */
static bool lineage_is_wrong(const struct wire_hello *a, const struct verdict *v)
{
	if (lineage_check(a->lineage, a->n_lineage) < 0) {
		say(v, "the lineage of \"%s\" contradicts itself: restore its state or init anew",
		    a->node);
		return refuse(v, BYE_LINEAGE);
	}
	if (a->n_lineage == 0 && a->role != WIRE_ROLE_PASSIVE) {
		say(v, "\"%s\" is %s but has no lineage: init it anew", a->node, role_name(a));
		return refuse(v, BYE_LINEAGE);
	}
	return false;
}

/* ---- direction: who sends to whom -------------------------------------------------------- */

/* One has never been part of the group. The outcome is the other's. */
static enum handshake judge_new(const struct wire_hello *member, const struct wire_hello *fresh,
				const struct verdict *v)
{
	if (!gives(member)) {
		say(v, "\"%s\" is new and \"%s\" is %s: it waits for the active", fresh->node,
		    member->node, role_name(member));
		return HANDSHAKE_IDLE;
	}
	if ((fresh->flags & HELLO_POPULATED) && !(fresh->flags & HELLO_ADOPT)) {
		say(v,
		    "\"%s\" holds files that were never replicated: run `artifact-sync init "
		    "--adopt` there (they go to its salvage), or empty its tree",
		    fresh->node);
		return refuse(v, BYE_NOT_ADOPTED);
	}
	say(v, "\"%s\" is new and joins epoch %" PRIu64 " of \"%s\"", fresh->node, epoch_of(member),
	    member->node);
	return HANDSHAKE_SEND_ALL;
}

/* Why positions cannot be trusted, or NULL. `base` is the greatest seq the taker may hold. */
static const char *distrust(const struct wire_hello *giver, const struct wire_hello *taker,
			    uint64_t base)
{
	if (taker->role == WIRE_ROLE_FENCED)
		return "it was superseded";
	if (is_rolled_back(giver, taker))
		return "the sender's state was rolled back";
	if (is_rolled_back(taker, giver))
		return "the receiver's state was rolled back";
	if (taker->last_seq > base)
		return "it holds changes the sender does not know";
	if ((giver->flags | taker->flags) & HELLO_RECONCILING)
		return "a reconciliation is not finished";
	return NULL;
}

/* The giver's lineage contains the taker's. The outcome is the giver's. */
static enum handshake judge_flow(const struct wire_hello *giver, const struct wire_hello *taker,
				 size_t common, const struct verdict *v)
{
	/* What the taker holds was certainly given by this lineage only up to where it left it. */
	uint64_t base =
		common < giver->n_lineage ? giver->lineage[common].base_seq : giver->last_seq;
	const char *why = distrust(giver, taker, base);
	if (why) {
		say(v, "\"%s\" is compared with \"%s\" first: %s", taker->node, giver->node, why);
		return HANDSHAKE_RECONCILE_SEND;
	}
	say(v, "\"%s\" follows \"%s\" in epoch %" PRIu64, taker->node, giver->node,
	    epoch_of(giver));
	return HANDSHAKE_SEND;
}

/* `ahead` has the longer lineage, or an equal one. The outcome is its own. */
static enum handshake judge_line(const struct wire_hello *ahead, const struct wire_hello *behind,
				 size_t common, const struct verdict *v)
{
	if (gives(behind)) {
		say(v, "\"%s\" was superseded: \"%s\" knows epoch %" PRIu64 " and it only %" PRIu64,
		    behind->node, ahead->node, epoch_of(ahead), epoch_of(behind));
		return HANDSHAKE_SUPERSEDES;
	}
	if (gives(ahead))
		return judge_flow(ahead, behind, common, v);
	say(v, "\"%s\" is %s and \"%s\" is %s: nothing flows between them", ahead->node,
	    role_name(ahead), behind->node, role_name(behind));
	return HANDSHAKE_IDLE;
}

static enum handshake judge_same(const struct wire_hello *a, const struct wire_hello *b,
				 size_t common, const struct verdict *v)
{
	if (gives(a) && gives(b)) {
		say(v,
		    "\"%s\" and \"%s\" are both active in one epoch: one state was copied; init "
		    "one of them anew as passive",
		    a->node, b->node);
		return refuse(v, BYE_ROLE);
	}
	if (takes(a) && gives(b))
		return mirror(judge_line(b, a, common, v));
	return judge_line(a, b, common, v);
}

static enum handshake judge_split(const struct wire_hello *a, const struct wire_hello *b,
				  size_t common, const struct verdict *v)
{
	int ended = lineage_ended(a->lineage, a->n_lineage, b->lineage, b->n_lineage, common);
	if (ended != 0) {
		const struct wire_hello *kept = ended > 0 ? a : b, *lost = ended > 0 ? b : a;
		say(v, "a person decided for \"%s\": \"%s\" gives up its epochs and rejoins",
		    kept->node, lost->node);
		return ended > 0 ? HANDSHAKE_SUPERSEDES : HANDSHAKE_SUPERSEDED;
	}
	say(v,
	    "the lineages of \"%s\" and \"%s\" forked: decide with `artifact-sync resolve --keep "
	    "NODE`",
	    a->node, b->node);
	return refuse(v, BYE_SPLIT);
}

static enum handshake judge_undecided(const struct wire_hello *ahead,
				      const struct wire_hello *behind, const struct verdict *v)
{
	say(v, "the split is over: \"%s\" rejoins epoch %" PRIu64 " of \"%s\"", behind->node,
	    epoch_of(ahead), ahead->node);
	return HANDSHAKE_SUPERSEDES;
}

static enum handshake judge_pair(const struct wire_hello *a, const struct wire_hello *b,
				 const struct verdict *v)
{
	if (identity_is_wrong(a, b, v) || lineage_is_wrong(a, v) || lineage_is_wrong(b, v))
		return HANDSHAKE_REFUSE;
	size_t common;
	enum lineage_relation relation =
		lineage_compare(a->lineage, a->n_lineage, b->lineage, b->n_lineage, &common);
	if (relation == LINEAGE_UNRELATED) {
		say(v,
		    "\"%s\" and \"%s\" come from unrelated trees: init the one to be overwritten "
		    "anew with `artifact-sync init --adopt`",
		    a->node, b->node);
		return refuse(v, BYE_UNRELATED);
	}
	if (relation == LINEAGE_FORK)
		return judge_split(a, b, common, v);
	/* It saw a fork somewhere, and none towards who has gone on since: that was decided. */
	if (relation == LINEAGE_THEIRS_LONGER && a->role == WIRE_ROLE_SPLIT && gives(b))
		return mirror(judge_undecided(b, a, v));
	if (relation == LINEAGE_OURS_LONGER && b->role == WIRE_ROLE_SPLIT && gives(a))
		return judge_undecided(a, b, v);
	if (a->role == WIRE_ROLE_SPLIT || b->role == WIRE_ROLE_SPLIT)
		return judge_split(a, b, common, v);
	switch (relation) {
	case LINEAGE_NONE_OURS: return mirror(judge_new(b, a, v));
	case LINEAGE_NONE_THEIRS: return judge_new(a, b, v);
	case LINEAGE_OURS_LONGER: return judge_line(a, b, common, v);
	case LINEAGE_THEIRS_LONGER: return mirror(judge_line(b, a, common, v));
	case LINEAGE_SAME: return judge_same(a, b, common, v);
	default: break;
	}
	say(v, "\"%s\" and \"%s\" are both new: they wait for an active", a->node, b->node);
	return HANDSHAKE_IDLE;
}

/* One order of the pair for both sides, so that even the sentence is the same on both. */
enum handshake handshake_judge(const struct wire_hello *ours, const struct wire_hello *theirs,
			       enum wire_reason *why, char text[WIRE_TEXT_MAX + 1])
{
	struct verdict v = {.why = why, .text = text};
	*why = 0;
	text[0] = '\0';
	if (strcmp(ours->node, theirs->node) <= 0)
		return judge_pair(ours, theirs, &v);
	return mirror(judge_pair(theirs, ours, &v));
}

const char *handshake_name(enum handshake outcome)
{
	static const char *const names[] = {
		[HANDSHAKE_SEND] = "send",
		[HANDSHAKE_RECEIVE] = "receive",
		[HANDSHAKE_SEND_ALL] = "send-all",
		[HANDSHAKE_RECEIVE_ALL] = "receive-all",
		[HANDSHAKE_RECONCILE_SEND] = "reconcile-send",
		[HANDSHAKE_RECONCILE_RECEIVE] = "reconcile-receive",
		[HANDSHAKE_SUPERSEDED] = "superseded",
		[HANDSHAKE_SUPERSEDES] = "supersedes",
		[HANDSHAKE_IDLE] = "idle",
		[HANDSHAKE_REFUSE] = "refuse",
	};
	return names[outcome];
}
