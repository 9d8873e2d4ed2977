/* Lineages compared; and what every pair of HELLOs comes to: a table of cases, then every pair of a
 * generated set, whose two outcomes must be each other's mirror images. */
#include "testing.h"

#include "protocol/lineage.h"

/* Epochs by a letter: "ab" is epoch a and then b. Lower case and upper case fork. "abX!" is a, b
 * and a third one, that ends the fork X. */
static size_t line_len(const char *letters)
{
	const char *mark = strchr(letters, '!');
	return mark ? (size_t)(mark - letters) : strlen(letters);
}

static struct epoch_entry *line(struct epoch_entry out[8], const char *letters)
{
	memset(out, 0, 8 * sizeof(*out));
	for (size_t i = 0; i < line_len(letters); i++) {
		bool decided = letters[i + 1] == '!';
		out[i].number = i + 1;
		memset(out[i].id, decided ? '0' + letters[i] % 10 : letters[i], WIRE_ID_LEN);
		if (decided)
			memset(out[i].ends, letters[i], WIRE_ID_LEN);
		if (i > 0)
			memcpy(out[i].parent, out[i - 1].id, WIRE_ID_LEN);
		out[i].base_seq = 100 * i;
		strcpy(out[i].node, "a");
	}
	return out;
}

/* Both sides decided during a cut; the decision that knows of the other's is the one that counts.
 */
static void the_later_decision_about_a_split_counts(void **state)
{
	struct epoch_entry ours[8], theirs[8];
	line(ours, "abcd");
	line(theirs, "aBC");
	memset(ours[2].ends, 'B', WIRE_ID_LEN);
	memset(theirs[2].ends, 'b', WIRE_ID_LEN);
	assert_int_equal(lineage_ended(ours, 3, theirs, 3, 1), 0);
	memset(ours[3].ends, 'C', WIRE_ID_LEN);
	assert_true(lineage_ended(ours, 4, theirs, 3, 1) > 0);
	assert_true(lineage_ended(theirs, 3, ours, 4, 1) < 0);
}

static void lineages_are_compared_at_the_first_difference(void **state)
{
	const struct {
		const char *ours, *theirs;
		enum lineage_relation relation;
		size_t common;
	} table[] = {
		{"", "", LINEAGE_NONE, 0},
		{"", "a", LINEAGE_NONE_OURS, 0},
		{"a", "", LINEAGE_NONE_THEIRS, 0},
		{"a", "a", LINEAGE_SAME, 1},
		{"abc", "abc", LINEAGE_SAME, 3},
		{"abc", "ab", LINEAGE_OURS_LONGER, 2},
		{"a", "abc", LINEAGE_THEIRS_LONGER, 1},
		{"abc", "abX", LINEAGE_FORK, 2},
		{"ab", "aXcdef", LINEAGE_FORK, 1},
		{"ab", "X", LINEAGE_UNRELATED, 0},
		{"ab", "Xb", LINEAGE_UNRELATED, 0},
	};
	for (size_t i = 0; i < COUNT(table); i++) {
		struct epoch_entry a[8], b[8];
		size_t common = 99;
		line(a, table[i].ours);
		line(b, table[i].theirs);
		assert_int_equal(lineage_compare(a, strlen(table[i].ours), b,
						 strlen(table[i].theirs), &common),
				 table[i].relation);
		assert_int_equal(common, table[i].common);
	}
}

static void lineages_that_contradict_themselves_are_found(void **state)
{
	struct epoch_entry a[8];
	assert_int_equal(lineage_check(NULL, 0), 0);
	assert_int_equal(lineage_check(line(a, "abc"), 3), 0);
	line(a, "abc")[1].number = 1;
	assert_int_equal(lineage_check(a, 3), -EBADMSG);
	line(a, "abc")[0].number = 0;
	assert_int_equal(lineage_check(a, 3), -EBADMSG);
	line(a, "abc")[2].parent[3] ^= 1;
	assert_int_equal(lineage_check(a, 3), -EBADMSG);
	line(a, "abc")[0].parent[0] = 1;
	assert_int_equal(lineage_check(a, 3), -EBADMSG);
	line(a, "abc")[2].base_seq = 99;
	assert_int_equal(lineage_check(a, 3), -EBADMSG);
	memset(line(a, "a")[0].id, 0, WIRE_ID_LEN);
	assert_int_equal(lineage_check(a, 1), -EBADMSG);
	line(a, "abc")[2].number = 77; /* a number may be left out: it was announced and lost */
	assert_int_equal(lineage_check(a, 3), 0);
}

/* ---- the table ---------------------------------------------------------------------------- */

struct side {
	const char *lineage;
	uint8_t role, flags;
	uint64_t last_seq;
	uint64_t chain_n, seen_n; /* chain hash = number, unless: */
	uint8_t chain_twist;
};

enum {
	A = WIRE_ROLE_ACTIVE,
	P = WIRE_ROLE_PASSIVE,
	D = WIRE_ROLE_DRAINING,
	F = WIRE_ROLE_FENCED,
	S = WIRE_ROLE_SPLIT
};

static void fill(struct wire_hello *h, struct epoch_entry entries[8], const struct side *side,
		 const char *node, const char *to)
{
	*h = (struct wire_hello){.version = WIRE_VERSION,
				 .group = "is",
				 .role = side->role,
				 .flags = side->flags,
				 .last_seq = side->last_seq,
				 .chain_n = side->chain_n,
				 .seen_chain_n = side->seen_n,
				 .n_lineage = (uint16_t)line_len(side->lineage),
				 .lineage = line(entries, side->lineage)};
	h->chain[0] = (uint8_t)(side->chain_n + side->chain_twist);
	h->seen_chain[0] = (uint8_t)side->seen_n;
	snprintf(h->node, sizeof(h->node), "%s", node);
	snprintf(h->to, sizeof(h->to), "%s", to);
}

static enum handshake mirrored(enum handshake outcome)
{
	static const enum handshake of[] = {
		[HANDSHAKE_SEND] = HANDSHAKE_RECEIVE,
		[HANDSHAKE_RECEIVE] = HANDSHAKE_SEND,
		[HANDSHAKE_SEND_ALL] = HANDSHAKE_RECEIVE_ALL,
		[HANDSHAKE_RECEIVE_ALL] = HANDSHAKE_SEND_ALL,
		[HANDSHAKE_RECONCILE_SEND] = HANDSHAKE_RECONCILE_RECEIVE,
		[HANDSHAKE_RECONCILE_RECEIVE] = HANDSHAKE_RECONCILE_SEND,
		[HANDSHAKE_SUPERSEDED] = HANDSHAKE_SUPERSEDES,
		[HANDSHAKE_SUPERSEDES] = HANDSHAKE_SUPERSEDED,
		[HANDSHAKE_IDLE] = HANDSHAKE_IDLE,
		[HANDSHAKE_REFUSE] = HANDSHAKE_REFUSE,
	};
	return of[outcome];
}

/* Both orders and both ways of naming the two, so that no rule hangs on a name. */
static enum handshake judge_both(const struct side *ours, const struct side *theirs,
				 enum wire_reason *why, char text[WIRE_TEXT_MAX + 1])
{
	enum handshake outcome[2] = {0};
	for (int swap = 0; swap < 2; swap++) {
		struct wire_hello a, b;
		struct epoch_entry a_line[8], b_line[8];
		enum wire_reason back_why;
		char back_text[WIRE_TEXT_MAX + 1];
		fill(&a, a_line, ours, swap ? "n2" : "n1", swap ? "n1" : "n2");
		fill(&b, b_line, theirs, swap ? "n1" : "n2", swap ? "n2" : "n1");
		outcome[swap] = handshake_judge(&a, &b, why, text);
		enum handshake back = handshake_judge(&b, &a, &back_why, back_text);
		assert_int_equal(back, mirrored(outcome[swap]));
		assert_int_equal(back_why, *why);
		assert_string_equal(back_text, text);
		assert_true(strlen(text) > 10);
		assert_int_equal(*why != 0, outcome[swap] == HANDSHAKE_REFUSE);
	}
	assert_int_equal(outcome[0], outcome[1]);
	return outcome[0];
}

static void handshakes_come_to_what_the_table_says(void **state)
{
	const struct {
		struct side ours, theirs;
		enum handshake outcome;
		enum wire_reason why;
	} table[] = {
		/* one lineage */
		{{"a", A}, {"a", P}, HANDSHAKE_SEND, 0},
		{{"a", D}, {"a", P}, HANDSHAKE_SEND, 0},
		{{"a", A}, {"a", F}, HANDSHAKE_RECONCILE_SEND, 0},
		{{"a", A}, {"a", A}, HANDSHAKE_REFUSE, BYE_ROLE},
		{{"a", A}, {"a", D}, HANDSHAKE_REFUSE, BYE_ROLE},
		{{"a", P}, {"a", P}, HANDSHAKE_IDLE, 0},
		{{"a", P}, {"a", F}, HANDSHAKE_IDLE, 0},
		{{"a", S}, {"a", P}, HANDSHAKE_REFUSE, BYE_SPLIT},
		{{"a", A, HELLO_RECONCILING}, {"a", P}, HANDSHAKE_RECONCILE_SEND, 0},
		{{"a", A}, {"a", P, HELLO_RECONCILING}, HANDSHAKE_RECONCILE_SEND, 0},
		{{"a", A}, {"a", P, HELLO_POPULATED}, HANDSHAKE_SEND, 0},
		/* positions */
		{{"a", A, 0, 50, 10, 20}, {"a", P, 0, 40, 20, 10}, HANDSHAKE_SEND, 0},
		{{"a", A, 0, 50, 10, 15}, {"a", P, 0, 40, 20, 9}, HANDSHAKE_SEND, 0},
		{{"a", A, 0, 50, 10, 21}, {"a", P, 0, 40, 20, 9}, HANDSHAKE_RECONCILE_SEND, 0},
		{{"a", A, 0, 50, 10, 15}, {"a", P, 0, 40, 20, 11}, HANDSHAKE_RECONCILE_SEND, 0},
		{{"a", A, 0, 50, 10, 20}, {"a", P, 0, 40, 20, 9, 1}, HANDSHAKE_RECONCILE_SEND, 0},
		{{"a", A, 0, 50, 10, 15, 1}, {"a", P, 0, 40, 20, 10}, HANDSHAKE_RECONCILE_SEND, 0},
		{{"a", A, 0, 50, 10, 19, 1}, {"a", P, 0, 40, 20, 9, 1}, HANDSHAKE_SEND, 0},
		{{"a", A, 0, 50}, {"a", P, 0, 51}, HANDSHAKE_RECONCILE_SEND, 0},
		{{"a", A, 0, 50}, {"a", P, 0, 50}, HANDSHAKE_SEND, 0},
		/* new to the group */
		{{"", P}, {"a", A}, HANDSHAKE_RECEIVE_ALL, 0},
		{{"", P}, {"abc", D}, HANDSHAKE_RECEIVE_ALL, 0},
		{{"", P, HELLO_POPULATED}, {"a", A}, HANDSHAKE_REFUSE, BYE_NOT_ADOPTED},
		{{"", P, HELLO_POPULATED | HELLO_ADOPT}, {"a", A}, HANDSHAKE_RECEIVE_ALL, 0},
		{{"", P, HELLO_ADOPT}, {"a", A}, HANDSHAKE_RECEIVE_ALL, 0},
		{{"", P}, {"a", P}, HANDSHAKE_IDLE, 0},
		{{"", P}, {"", P}, HANDSHAKE_IDLE, 0},
		{{"", A}, {"", P}, HANDSHAKE_REFUSE, BYE_LINEAGE},
		{{"", F}, {"a", A}, HANDSHAKE_REFUSE, BYE_LINEAGE},
		/* one is ahead */
		{{"a", A}, {"ab", A}, HANDSHAKE_SUPERSEDED, 0},
		{{"a", A}, {"ab", P}, HANDSHAKE_SUPERSEDED, 0},
		{{"a", A}, {"ab", F}, HANDSHAKE_SUPERSEDED, 0},
		{{"a", D}, {"ab", A}, HANDSHAKE_SUPERSEDED, 0},
		{{"a", P, 0, 100}, {"ab", A}, HANDSHAKE_RECEIVE, 0},
		{{"a", P, 0, 101}, {"ab", A}, HANDSHAKE_RECONCILE_RECEIVE, 0},
		{{"a", P, 0, 100}, {"abc", A}, HANDSHAKE_RECEIVE, 0},
		{{"a", P, 0, 150}, {"abc", A}, HANDSHAKE_RECONCILE_RECEIVE, 0},
		{{"ab", P, 0, 150}, {"abc", D}, HANDSHAKE_RECEIVE, 0},
		{{"a", P, HELLO_RECONCILING}, {"ab", A}, HANDSHAKE_RECONCILE_RECEIVE, 0},
		{{"a", P, 0, 0, 5, 0}, {"ab", A, 0, 0, 0, 6}, HANDSHAKE_RECONCILE_RECEIVE, 0},
		{{"a", F}, {"ab", A}, HANDSHAKE_RECONCILE_RECEIVE, 0},
		{{"a", P}, {"ab", P}, HANDSHAKE_IDLE, 0},
		{{"a", F}, {"ab", P}, HANDSHAKE_IDLE, 0},
		/* apart */
		{{"ab", A}, {"aX", A}, HANDSHAKE_REFUSE, BYE_SPLIT},
		{{"ab", A}, {"aX", P}, HANDSHAKE_REFUSE, BYE_SPLIT},
		{{"abcd", A}, {"aX", F}, HANDSHAKE_REFUSE, BYE_SPLIT},
		{{"a", A}, {"X", P}, HANDSHAKE_REFUSE, BYE_UNRELATED},
		{{"a", A}, {"X", P, HELLO_ADOPT}, HANDSHAKE_REFUSE, BYE_UNRELATED},
		{{"a", S}, {"X", S}, HANDSHAKE_REFUSE, BYE_UNRELATED},
		/* a split, and its end */
		{{"ab", S}, {"aX", S}, HANDSHAKE_REFUSE, BYE_SPLIT},
		{{"abX!", A}, {"aX", S}, HANDSHAKE_SUPERSEDES, 0},
		{{"abX!", A}, {"aXc", S}, HANDSHAKE_SUPERSEDES, 0},
		{{"abX!", A}, {"aX", P}, HANDSHAKE_SUPERSEDES, 0},
		{{"abX!", P}, {"aX", A}, HANDSHAKE_SUPERSEDES, 0},
		{{"abX!", A}, {"aXb!", A}, HANDSHAKE_REFUSE, BYE_SPLIT},
		{{"abX!", A}, {"aY", S}, HANDSHAKE_REFUSE, BYE_SPLIT},
		{{"abX!", A}, {"ab", S}, HANDSHAKE_SUPERSEDES, 0},
		{{"abX!", A}, {"a", S}, HANDSHAKE_SUPERSEDES, 0},
		{{"abX!", S}, {"a", S}, HANDSHAKE_REFUSE, BYE_SPLIT},
		{{"ab", P}, {"a", S}, HANDSHAKE_REFUSE, BYE_SPLIT},
	};
	for (size_t i = 0; i < COUNT(table); i++) {
		enum wire_reason why;
		char text[WIRE_TEXT_MAX + 1];
		enum handshake got = judge_both(&table[i].ours, &table[i].theirs, &why, text);
		if (got != table[i].outcome || why != table[i].why)
			fail_msg("row %zu: outcome %d why %d \"%s\"", i, got, why, text);
	}
}

static void identity_comes_first(void **state)
{
	const struct side active = {"a", A}, passive = {"a", P}, fork = {"X", A};
	struct wire_hello a, b;
	struct epoch_entry a_line[8], b_line[8];
	enum wire_reason why;
	char text[WIRE_TEXT_MAX + 1];
	const enum wire_reason reasons[] = {BYE_VERSION,      BYE_GROUP,	BYE_SELF,
					    BYE_UNKNOWN_PEER, BYE_UNKNOWN_PEER, BYE_LINEAGE};
	for (size_t i = 0; i < COUNT(reasons); i++) {
		fill(&a, a_line, &active, "n1", "n2");
		fill(&b, b_line, i < 3 ? &fork : &passive, "n2", "n1");
		switch (i) {
		case 0: b = (struct wire_hello){.version = 2}; break;
		case 1: strcpy(b.group, "other"); break;
		case 2: strcpy(b.node, "n1"); break;
		case 3: strcpy(b.to, "n3"); break;
		case 4: strcpy(a.to, "n3"); break;
		default: b_line[0].number = 0; break;
		}
		assert_int_equal(handshake_judge(&a, &b, &why, text), HANDSHAKE_REFUSE);
		assert_int_equal(why, reasons[i]);
		assert_int_equal(handshake_judge(&b, &a, &why, text), HANDSHAKE_REFUSE);
		assert_int_equal(why, reasons[i]);
	}
}

static void a_refusal_says_what_to_do(void **state)
{
	enum wire_reason why;
	char text[WIRE_TEXT_MAX + 1];
	judge_both(&(struct side){"", P, HELLO_POPULATED}, &(struct side){"a", A}, &why, text);
	assert_non_null(strstr(text, "artifact-sync init --adopt"));
	judge_both(&(struct side){"ab", A}, &(struct side){"aX", A}, &why, text);
	assert_non_null(strstr(text, "resolve --keep"));
}

/* Nobody may ever send to a node that knows an epoch the sender does not, and never may both send.
 */
static void every_pair_agrees_and_is_safe(void **state)
{
	static const char *const lines[] = {"", "a", "ab", "abc", "aX", "X"};
	static const uint8_t roles[] = {A, P, D, F, S};
	static const uint8_t flags[] = {0, HELLO_POPULATED, HELLO_RECONCILING,
					HELLO_POPULATED | HELLO_ADOPT};
	static const uint64_t seqs[] = {0, 150};
	static struct side all[2048];
	size_t n = 0;
	for (size_t l = 0; l < COUNT(lines); l++)
		for (size_t r = 0; r < COUNT(roles); r++)
			for (size_t f = 0; f < COUNT(flags); f++)
				for (size_t s = 0; s < COUNT(seqs); s++)
					for (uint64_t seen = 0; seen < 3; seen++)
						all[n++] =
							(struct side){lines[l], roles[r], flags[f],
								      seqs[s],	1,	  seen};
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < n; k++) {
			enum wire_reason why;
			char text[WIRE_TEXT_MAX + 1];
			enum handshake got = judge_both(&all[i], &all[k], &why, text);
			if (got != HANDSHAKE_SEND && got != HANDSHAKE_SEND_ALL &&
			    got != HANDSHAKE_RECONCILE_SEND)
				continue;
			assert_true(all[i].role == A || all[i].role == D);
			assert_true(all[k].role == P || all[k].role == F);
			assert_int_equal(
				strncmp(all[i].lineage, all[k].lineage, strlen(all[k].lineage)), 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_later_decision_about_a_split_counts),
		cmocka_unit_test(lineages_are_compared_at_the_first_difference),
		cmocka_unit_test(lineages_that_contradict_themselves_are_found),
		cmocka_unit_test(handshakes_come_to_what_the_table_says),
		cmocka_unit_test(identity_comes_first),
		cmocka_unit_test(a_refusal_says_what_to_do),
		cmocka_unit_test(every_pair_agrees_and_is_safe),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
