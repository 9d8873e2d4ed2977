/* The judgement of two HELLOs: what one side concludes is the mirror of what the other does, with
 * the same words; and nobody is told to send who must not. Lineages are compared with a second
 * judge that is written the slow way. */
#include <errno.h>
#include <stdbool.h>

#include "fuzz.h"
#include "protocol/lineage.h"

#define ENTRIES 6

struct side {
	struct wire_hello hello;
	struct epoch_entry lineage[ENTRIES];
};

/* Few values, so that equal ones are met often. */
static void take_lineage(struct side *s, struct input *in, const struct side *like)
{
	size_t n = input_u8(in) % (ENTRIES + 1), common = input_u8(in) % (ENTRIES + 1);
	for (size_t i = 0; i < n; i++) {
		struct epoch_entry *e = &s->lineage[i];
		if (like && i < common && i < like->hello.n_lineage) {
			*e = like->lineage[i];
			continue;
		}
		uint8_t how = input_u8(in);
		uint64_t last = i ? e[-1].number : 0, base = i ? e[-1].base_seq : 0;
		e->number = how & 0x80 ? how & 3 : last + 1 + (how & 3);
		e->base_seq = how & 0x40 ? how & 7 : base + (how >> 2 & 7);
		e->id[0] = how & 0x20 ? 0 : (uint8_t)(input_u8(in) % 4 + 1);
		e->id[1] = (uint8_t)i;
		if (i > 0 && !(how & 0x10))
			memcpy(e->parent, e[-1].id, sizeof(e->parent));
		strcpy(e->node, how & 1 ? "a" : "b");
	}
	s->hello.n_lineage = (uint16_t)n;
	s->hello.lineage = s->lineage;
}

static void take_side(struct side *s, struct input *in, const char *node, const char *to,
		      const struct side *like)
{
	struct wire_hello *h = &s->hello;
	uint8_t odd = input_u8(in);
	h->version = odd & 1 ? input_u8(in) : WIRE_VERSION;
	strcpy(h->group, odd & 2 ? "other" : "is");
	strcpy(h->node, odd & 4 ? "x" : node);
	strcpy(h->to, odd & 8 ? "x" : to);
	h->role = input_u8(in) % 5 + 1;
	h->flags = input_u8(in) & 7;
	h->chain_n = input_u8(in) % 4;
	h->chain[0] = input_u8(in) % 2;
	h->seen_chain_n = input_u8(in) % 4;
	h->seen_chain[0] = input_u8(in) % 2;
	h->last_seq = odd & 16 ? UINT64_MAX : input_u8(in) % 16;
	h->records = input_u8(in) % 3;
	take_lineage(s, in, like);
}

static bool entries_equal(const struct epoch_entry *a, const struct epoch_entry *b)
{
	return a->number == b->number && memcmp(a->id, b->id, sizeof(a->id)) == 0 &&
	       memcmp(a->parent, b->parent, sizeof(a->parent)) == 0 && a->base_seq == b->base_seq &&
	       strcmp(a->node, b->node) == 0;
}

static enum lineage_relation slow_compare(const struct side *a, const struct side *b,
					  size_t *common)
{
	size_t na = a->hello.n_lineage, nb = b->hello.n_lineage, n = 0;
	while (n < na && n < nb && entries_equal(&a->lineage[n], &b->lineage[n]))
		n++;
	*common = n;
	if (na == 0 || nb == 0)
		return na ? LINEAGE_NONE_THEIRS : nb ? LINEAGE_NONE_OURS : LINEAGE_NONE;
	if (n == 0)
		return LINEAGE_UNRELATED;
	if (n < na && n < nb)
		return LINEAGE_FORK;
	return na == nb ? LINEAGE_SAME : na > nb ? LINEAGE_OURS_LONGER : LINEAGE_THEIRS_LONGER;
}

static bool slow_check(const struct side *s)
{
	static const uint8_t zero[WIRE_ID_LEN];
	for (size_t i = 0; i < s->hello.n_lineage; i++) {
		const struct epoch_entry *e = &s->lineage[i];
		if (memcmp(e->id, zero, sizeof(zero)) == 0)
			return false;
		if (memcmp(e->parent, i ? e[-1].id : zero, sizeof(zero)) != 0)
			return false;
		if (e->number <= (i ? e[-1].number : 0) || e->base_seq < (i ? e[-1].base_seq : 0))
			return false;
	}
	return true;
}

static bool sends(enum handshake h)
{
	return h == HANDSHAKE_SEND || h == HANDSHAKE_SEND_ALL || h == HANDSHAKE_RECONCILE_SEND;
}

static bool receives(enum handshake h)
{
	return h == HANDSHAKE_RECEIVE || h == HANDSHAKE_RECEIVE_ALL ||
	       h == HANDSHAKE_RECONCILE_RECEIVE;
}

static bool is_giver(const struct side *s)
{
	return s->hello.role == WIRE_ROLE_ACTIVE || s->hello.role == WIRE_ROLE_DRAINING;
}

/* Promise 4: content never comes from a lineage that lacks an epoch the receiver knows. */
static void check_sender(const struct side *from, const struct side *to)
{
	size_t common;
	enum lineage_relation r = slow_compare(from, to, &common);
	CHECK(is_giver(from) && !is_giver(to) && to->hello.role != WIRE_ROLE_SPLIT);
	CHECK(r == LINEAGE_SAME || r == LINEAGE_OURS_LONGER || r == LINEAGE_NONE_THEIRS);
	CHECK(slow_check(from) && slow_check(to));
	CHECK(strcmp(from->hello.group, to->hello.group) == 0);
	CHECK(strcmp(from->hello.to, to->hello.node) == 0);
	CHECK(strcmp(to->hello.to, from->hello.node) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);
	struct side a = {0}, b = {0};
	char ours[WIRE_TEXT_MAX + 1] = "", theirs[WIRE_TEXT_MAX + 1] = "";
	enum wire_reason why_ours = 99, why_theirs = 99;
	size_t common, slow_common;
	take_side(&a, &in, "a", "b", NULL);
	take_side(&b, &in, "b", "a", &a);

	enum lineage_relation r = lineage_compare(a.lineage, a.hello.n_lineage, b.lineage,
						  b.hello.n_lineage, &common);
	CHECK(r == slow_compare(&a, &b, &slow_common) && common == slow_common);
	CHECK((lineage_check(a.lineage, a.hello.n_lineage) == 0) == slow_check(&a));

	enum handshake one = handshake_judge(&a.hello, &b.hello, &why_ours, ours);
	enum handshake other = handshake_judge(&b.hello, &a.hello, &why_theirs, theirs);
	CHECK(why_ours == why_theirs);
	if (strcmp(a.hello.node, b.hello.node) != 0)
		CHECK(strcmp(ours, theirs) == 0);
	CHECK((one == HANDSHAKE_REFUSE) == (other == HANDSHAKE_REFUSE));
	CHECK((one == HANDSHAKE_REFUSE) == (why_ours != 0));
	CHECK(one != HANDSHAKE_REFUSE || ours[0] != '\0');
	CHECK(sends(one) == receives(other) && receives(one) == sends(other));
	CHECK((one == HANDSHAKE_SUPERSEDED) == (other == HANDSHAKE_SUPERSEDES));
	CHECK((one == HANDSHAKE_IDLE) == (other == HANDSHAKE_IDLE));
	if (sends(one))
		check_sender(&a, &b);
	if (sends(other))
		check_sender(&b, &a);
	return 0;
}
