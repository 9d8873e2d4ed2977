/* The decision, as a table: one row per reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/sync/delta.h"
#include "agent/sync/plan.h"

#define KiB 1024ull
#define MiB (1024 * KiB)
#define NOTHING 0 /* the peer acknowledged nothing here */

static const struct row {
	const char *name;
	enum record_kind kind;
	uint64_t size;
	enum record_kind acked;
	uint64_t acked_size;
	bool same, elsewhere, signature, inline_fits, given_up;
	uint8_t need;
	enum wire_op op;
	bool streamed, ask;
} rows[] = {
	/* what is no file */
	{"tombstone", RECORD_ABSENT, 0, RECORD_FILE, 10, .op = OP_DELETE},
	{"tombstone of nothing", RECORD_ABSENT, 0, NOTHING, 0, .op = OP_DELETE},
	{"tombstone after need", RECORD_ABSENT, 0, RECORD_DIR, 0, .need = NEED_CONTENT,
	 .op = OP_DELETE},
	{"directory", RECORD_DIR, 0, NOTHING, 0, .op = OP_META},
	{"directory for a file", RECORD_DIR, 0, RECORD_FILE, MiB, .op = OP_META},
	{"directory after need", RECORD_DIR, 0, RECORD_DIR, 0, .need = NEED_PARENT, .op = OP_META},
	{"link", RECORD_SYMLINK, 0, NOTHING, 0, .elsewhere = true, .op = OP_META},
	/* content is there */
	{"same content", RECORD_FILE, MiB, RECORD_FILE, MiB, .same = true, .signature = true,
	 .op = OP_META},
	{"same, also elsewhere", RECORD_FILE, 9, RECORD_FILE, 9, .same = true, .elsewhere = true,
	 .op = OP_META},
	{"same hash, other size", RECORD_FILE, 9, RECORD_FILE, 8, .same = true, .inline_fits = true,
	 .op = OP_WHOLE},
	{"same but not there", RECORD_FILE, 9, RECORD_FILE, 9, .same = true, .inline_fits = true,
	 .need = NEED_CONTENT, .op = OP_WHOLE},
	{"same but damaged", RECORD_FILE, 9, RECORD_FILE, 9, .same = true, .elsewhere = true,
	 .inline_fits = true, .need = NEED_VERIFY, .op = OP_WHOLE},
	{"content of a tombstone", RECORD_FILE, 0, RECORD_ABSENT, 0, .same = true,
	 .inline_fits = true, .op = OP_WHOLE},
	/* content is elsewhere */
	{"moved", RECORD_FILE, MiB, NOTHING, 0, .elsewhere = true, .op = OP_REF},
	{"moved over another", RECORD_FILE, MiB, RECORD_FILE, MiB, .elsewhere = true,
	 .signature = true, .op = OP_REF},
	{"moved but not there", RECORD_FILE, MiB, NOTHING, 0, .elsewhere = true,
	 .need = NEED_CONTENT, .op = OP_WHOLE, .streamed = true},
	{"moved, parent missing", RECORD_FILE, MiB, NOTHING, 0, .elsewhere = true,
	 .need = NEED_PARENT, .op = OP_REF},
	{"empty", RECORD_FILE, 0, NOTHING, 0, .elsewhere = true, .inline_fits = true,
	 .op = OP_WHOLE},
	/* content must travel */
	{"new small", RECORD_FILE, 100, NOTHING, 0, .inline_fits = true, .op = OP_WHOLE},
	{"new large", RECORD_FILE, MiB, NOTHING, 0, .op = OP_WHOLE, .streamed = true},
	{"changed", RECORD_FILE, MiB, RECORD_FILE, MiB, .signature = true, .op = OP_DELTA,
	 .streamed = true},
	{"changed, no signature", RECORD_FILE, MiB, RECORD_FILE, MiB, .op = OP_DELTA,
	 .streamed = true, .ask = true},
	{"at the least size", RECORD_FILE, DELTA_MIN_SIZE, RECORD_FILE, DELTA_MIN_SIZE,
	 .signature = true, .inline_fits = true, .op = OP_DELTA, .streamed = true},
	{"below the least size", RECORD_FILE, DELTA_MIN_SIZE - 1, RECORD_FILE, MiB,
	 .signature = true, .inline_fits = true, .op = OP_WHOLE},
	{"small basis", RECORD_FILE, MiB, RECORD_FILE, DELTA_MIN_SIZE - 1, .signature = true,
	 .op = OP_WHOLE, .streamed = true},
	{"grew sixteenfold", RECORD_FILE, 16 * MiB, RECORD_FILE, MiB, .signature = true,
	 .op = OP_DELTA, .streamed = true},
	{"grew more", RECORD_FILE, 16 * MiB + 1, RECORD_FILE, MiB, .signature = true,
	 .op = OP_WHOLE, .streamed = true},
	{"shrank sixteenfold", RECORD_FILE, MiB, RECORD_FILE, 16 * MiB, .signature = true,
	 .op = OP_DELTA, .streamed = true},
	{"shrank more", RECORD_FILE, MiB, RECORD_FILE, 16 * MiB + 1, .signature = true,
	 .op = OP_WHOLE, .streamed = true},
	{"huge", RECORD_FILE, DELTA_SIZE_MAX, RECORD_FILE, DELTA_SIZE_MAX, .signature = true,
	 .op = OP_DELTA, .streamed = true},
	{"too huge", RECORD_FILE, DELTA_SIZE_MAX + 1, RECORD_FILE, DELTA_SIZE_MAX,
	 .signature = true, .op = OP_WHOLE, .streamed = true},
	{"absurd", RECORD_FILE, UINT64_MAX, RECORD_FILE, UINT64_MAX, .op = OP_WHOLE,
	 .streamed = true},
	{"was a directory", RECORD_FILE, MiB, RECORD_DIR, MiB, .signature = true, .op = OP_WHOLE,
	 .streamed = true},
	{"delta given up", RECORD_FILE, MiB, RECORD_FILE, MiB, .signature = true, .given_up = true,
	 .op = OP_WHOLE, .streamed = true},
	{"basis not there", RECORD_FILE, MiB, RECORD_FILE, MiB, .signature = true,
	 .need = NEED_CONTENT, .op = OP_WHOLE, .streamed = true},
	{"delta made something else", RECORD_FILE, MiB, RECORD_FILE, MiB, .signature = true,
	 .need = NEED_VERIFY, .op = OP_WHOLE, .streamed = true},
	{"delta, parent missing", RECORD_FILE, MiB, RECORD_FILE, MiB, .signature = true,
	 .need = NEED_PARENT, .op = OP_WHOLE, .streamed = true},
};

static struct plan choose(const struct row *row)
{
	struct record record = {.path = "p", .kind = row->kind, .size = row->size};
	struct acked acked = {.kind = row->acked, .size = row->acked_size};
	memset(record.hash, 1, sizeof(record.hash));
	memset(acked.hash, row->same ? 1 : 2, sizeof(acked.hash));
	struct plan_facts facts = {.record = &record,
				   .acked = row->acked == NOTHING ? NULL : &acked,
				   .bytes_elsewhere = row->elsewhere,
				   .have_signature = row->signature,
				   .need = row->need,
				   .fits_inline = row->inline_fits,
				   .delta_given_up = row->given_up};
	return plan_choose(&facts);
}

static void each_row_is_decided_as_it_says(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *row = &rows[i];
		struct plan plan = choose(row);
		if (plan.op != row->op || plan.streamed != row->streamed ||
		    plan.ask_signature != row->ask)
			fail_msg("%s: op %d streamed %d ask %d", row->name, plan.op, plan.streamed,
				 plan.ask_signature);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(each_row_is_decided_as_it_says)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
