/* Bodies that are well formed and out of the question: contradictions, limits, order. */
#include "testing.h"

#include "protocol/messages.h"
#include "samples.h"

static uint8_t body[WIRE_FRAME_MAX], again[WIRE_FRAME_MAX];

/* On the heap and of the exact size, so that the address sanitizer sees a byte too far. */
static int recode_exactly(uint8_t type, const uint8_t *bytes, size_t len, size_t *out_len,
			  const char **field)
{
	uint8_t *copy = malloc(len ? len : 1);
	memcpy(copy, bytes, len);
	int r = samples_recode(type, copy, len, again, out_len, field);
	free(copy);
	return r;
}

static const char *record_field(const struct wire_record *m)
{
	struct wr w;
	size_t out_len;
	const char *field = NULL;
	wr_init(&w, body, sizeof(body));
	wire_encode_record(&w, m);
	if (w.error)
		return "encoder";
	int r = recode_exactly(WIRE_RECORD, body, wr_len(&w), &out_len, &field);
	return r < 0 ? field : "";
}

static void records_that_contradict_themselves_are_refused(void **state)
{
	struct record file = {.path = "a", .kind = RECORD_FILE, .mode = 0644, .seq = 1};
	struct record dir = {.path = "a", .kind = RECORD_DIR, .mode = 0755, .seq = 1};
	struct record gone = {.path = "a", .kind = RECORD_ABSENT, .seq = 1};
	struct record root_gone = {.path = "", .kind = RECORD_ABSENT, .seq = 1};
	struct record up = {.path = "a/../b", .kind = RECORD_DIR, .seq = 1};
	struct record device = {.path = "a", .kind = RECORD_FILE, .mode = 0100644, .seq = 1};
	struct record unknown = {.path = "a", .kind = 5, .seq = 1};
	struct record link = {.path = "a", .kind = RECORD_SYMLINK, .seq = 1};
	struct record nul = {.path = "a",
			     .kind = RECORD_SYMLINK,
			     .seq = 1,
			     .target = (const uint8_t *)"x\0y",
			     .target_len = 3};
	struct record huge = file, new_file = file, fresh = gone;
	struct record last = dir, endless = dir, late = dir;
	huge.size = 1ull << 63;
	last.seq = WIRE_COUNTER_END - 1;
	endless.seq = WIRE_COUNTER_END;
	late.epoch = UINT64_MAX;
	new_file.seq = 0;
	fresh.seq = 0;
	const struct {
		struct wire_record m;
		const char *field;
	} table[] = {
		{{.op = OP_WHOLE, .ticket = 1, .record = file}, ""},
		{{.op = OP_META, .ticket = 1, .record = dir}, ""},
		{{.op = OP_ABSENT, .ticket = 1, .record = fresh}, ""},
		{{.op = OP_META, .ticket = 1, .record = last}, ""},
		{{.op = OP_META, .ticket = 1, .record = endless}, "record.seq"},
		{{.op = OP_META, .ticket = 1, .record = late}, "record.epoch"},
		{{.op = 0, .ticket = 1, .record = file}, "op"},
		{{.op = 7, .ticket = 1, .record = file}, "op"},
		{{.op = OP_WHOLE, .ticket = 0, .record = file}, "ticket"},
		{{.op = OP_WHOLE, .ticket = 1, .stream = 2, .record = file}, "stream"},
		{{.op = OP_WHOLE, .ticket = 1, .flags = 1, .record = file}, ""},
		{{.op = OP_WHOLE, .ticket = 1, .flags = 2, .record = file}, "flags"},
		{{.op = OP_META, .ticket = 1, .set = 1, .set_n = 2, .record = dir}, ""},
		{{.op = OP_META, .ticket = 1, .set = 1, .set_n = 1, .record = dir}, "set_n"},
		{{.op = OP_META, .ticket = 1, .set = 1, .set_n = 2001, .record = dir}, "set_n"},
		{{.op = OP_WHOLE, .ticket = 1, .record = dir}, "op"},
		{{.op = OP_DELTA, .ticket = 1, .record = file}, "op"},
		{{.op = OP_META, .ticket = 1, .stream = 1, .record = file}, "op"},
		{{.op = OP_META, .ticket = 1, .record = gone}, "op"},
		{{.op = OP_DELETE, .ticket = 1, .record = file}, "op"},
		{{.op = OP_DELETE, .ticket = 1, .record = root_gone}, "record.kind"},
		{{.op = OP_REF, .ticket = 1, .record = file, .hint = ""}, "hint"},
		{{.op = OP_REF, .ticket = 1, .record = file, .hint = "/etc/passwd"}, "hint"},
		{{.op = OP_META, .ticket = 1, .record = up}, "record.path"},
		{{.op = OP_WHOLE, .ticket = 1, .record = device}, "record.mode"},
		{{.op = OP_META, .ticket = 1, .record = unknown}, "record.kind"},
		{{.op = OP_META, .ticket = 1, .record = link}, "record.target"},
		{{.op = OP_META, .ticket = 1, .record = nul}, "record.target"},
		{{.op = OP_WHOLE, .ticket = 1, .stream = 1, .record = huge}, "record.size"},
		{{.op = OP_WHOLE, .ticket = 1, .stream = 1, .record = new_file}, "record.seq"},
		{{.op = OP_DELETE, .ticket = 1, .record = fresh}, "record.seq"},
		{{.op = OP_ABSENT, .ticket = 1, .record = gone}, "record.seq"},
		{{.op = OP_WHOLE, .ticket = 1, .record = file, .raw_len = 1}, "raw_len"},
		{{.op = OP_WHOLE, .ticket = 1, .record = file, .compressed = 2}, "compressed"},
		{{.op = OP_WHOLE, .ticket = 1, .record = file, .compressed = 1}, "raw_len"},
		{{.op = OP_WHOLE, .ticket = 1, .record = file, .raw_len = WIRE_RAW_MAX + 1},
		 "encoder"},
	};
	for (size_t i = 0; i < COUNT(table); i++) {
		const char *field = record_field(&table[i].m);
		if (strcmp(field, table[i].field) != 0)
			fail_msg("row %zu: \"%s\", not \"%s\"", i, field, table[i].field);
	}
}

static void chunks_that_contradict_themselves_are_refused(void **state)
{
	static const uint8_t content[8];
	const struct {
		struct wire_data m;
		const char *field; /* NULL = sound */
	} table[] = {
		{{.stream = 1}, NULL},
		{{.stream = 1, .flags = DATA_ABORT}, NULL},
		{{.stream = 1, .raw_len = 8, .bytes = content, .bytes_len = 8}, NULL},
		{{.stream = 0}, "stream"},
		{{.stream = 1, .flags = 8}, "flags"},
		{{.stream = 1, .flags = DATA_ABORT | DATA_LAST}, "flags"},
		{{.stream = 1, .flags = DATA_ABORT, .raw_len = 8, .bytes = content, .bytes_len = 8},
		 "bytes"},
		{{.stream = 1, .raw_len = 9, .bytes = content, .bytes_len = 8}, "raw_len"},
		{{.stream = 1, .flags = DATA_COMPRESSED}, "raw_len"},
		{{.stream = 1, .flags = DATA_COMPRESSED, .raw_len = 8}, "raw_len"},
	};
	for (size_t i = 0; i < COUNT(table); i++) {
		struct wr w;
		size_t out_len;
		const char *field = NULL;
		wr_init(&w, body, sizeof(body));
		wire_encode_data(&w, &table[i].m);
		recode_exactly(WIRE_DATA, body, wr_len(&w), &out_len, &field);
		if (!field != !table[i].field || (field && strcmp(field, table[i].field) != 0))
			fail_msg("row %zu: %s", i, field ? field : "sound");
	}
}

static void the_largest_record_fits(void **state)
{
	static char path[4096], hint[4096];
	static uint8_t target[RECORD_TARGET_MAX], xattrs[RECORD_XATTRS_MAX],
		content[WIRE_CHUNK_MAX];
	for (size_t i = 0; i < 4095; i++)
		path[i] = hint[i] = i % 200 == 199 ? '/' : 'p';
	memset(target, 't', sizeof(target));
	struct wire_record file = {.op = OP_WHOLE,
				   .ticket = 1,
				   .record = {.path = path,
					      .kind = RECORD_FILE,
					      .size = WIRE_CHUNK_MAX,
					      .seq = 1,
					      .xattrs = xattrs,
					      .xattrs_len = sizeof(xattrs)},
				   .raw_len = WIRE_CHUNK_MAX,
				   .bytes = content,
				   .bytes_len = WIRE_CHUNK_MAX};
	assert_string_equal(record_field(&file), "");
	struct wire_record link = {.op = OP_META,
				   .ticket = 1,
				   .record = {.path = path,
					      .kind = RECORD_SYMLINK,
					      .target = target,
					      .target_len = sizeof(target),
					      .seq = 1,
					      .xattrs = xattrs,
					      .xattrs_len = sizeof(xattrs)}};
	assert_string_equal(record_field(&link), "");
	file.bytes_len++;
	assert_string_equal(record_field(&file), "encoder");
	link.record.target_len++;
	assert_string_equal(record_field(&link), "encoder");
	link.record.target_len--;
	link.record.xattrs_len++;
	assert_string_equal(record_field(&link), "encoder");
}

static void counts_above_their_limit_are_refused(void **state)
{
	static struct epoch_entry lineage[WIRE_LINEAGE_MAX + 1];
	static uint32_t tickets[WIRE_ACKS_MAX + 1];
	static struct wire_subrange ranges[WIRE_RANGES_MAX + 1];
	struct wr w;
	for (size_t i = 0; i < COUNT(lineage); i++)
		memset(lineage[i].node, 'n', WIRE_NAME_MAX);
	for (size_t i = 0; i < COUNT(tickets); i++)
		tickets[i] = 1;
	struct wire_hello hello = {.version = WIRE_VERSION,
				   .group = "g",
				   .node = "n",
				   .to = "t",
				   .role = WIRE_ROLE_ACTIVE,
				   .n_lineage = WIRE_LINEAGE_MAX,
				   .lineage = lineage};
	wr_init(&w, body, wire_rule(WIRE_HELLO)->body_max);
	wire_encode_hello(&w, &hello);
	assert_int_equal(w.error, 0);
	hello.n_lineage++;
	wire_encode_hello(&w, &hello);
	assert_int_equal(w.error, -EMSGSIZE);

	wr_init(&w, body, wire_rule(WIRE_ACK)->body_max);
	wire_encode_ack(&w, &(struct wire_ack){.n = WIRE_ACKS_MAX, .tickets = tickets});
	assert_int_equal(w.error, 0);
	size_t n_at = 40; /* behind chain_n and chain */
	assert_int_equal(body[n_at + 2], WIRE_ACKS_MAX >> 8);
	wire_encode_ack(&w, &(struct wire_ack){.n = WIRE_ACKS_MAX + 1, .tickets = tickets});
	assert_int_equal(w.error, -EMSGSIZE);
	size_t out_len;
	const char *field;
	body[n_at + 3] = 1; /* 4097 */
	assert_int_equal(recode_exactly(WIRE_ACK, body, 44 + 4 * 4097, &out_len, &field),
			 -EMSGSIZE);
	assert_string_equal(field, "n");

	wr_init(&w, body, sizeof(body));
	wire_encode_range_split(
		&w, &(struct wire_range_split){.n = WIRE_RANGES_MAX + 1, .ranges = ranges});
	assert_int_equal(w.error, -EMSGSIZE);
}

static void ranges_ascend(void **state)
{
	const struct {
		const char *hi[3];
		int result;
	} table[] = {
		{{"a", "b", ""}, 0},	    {{"a", "b", "c"}, 0},
		{{"a", "a", ""}, -EBADMSG}, {{"b", "a", ""}, -EBADMSG},
		{{"a", "", "b"}, -EBADMSG}, {{"a", "a/../b", ""}, -EBADMSG},
	};
	for (size_t i = 0; i < COUNT(table); i++) {
		struct wire_subrange ranges[3] = {0};
		for (size_t k = 0; k < 3; k++)
			ranges[k].hi = table[i].hi[k];
		struct wr w;
		wr_init(&w, body, sizeof(body));
		wire_encode_range_split(&w, &(struct wire_range_split){.n = 3, .ranges = ranges});
		size_t out_len;
		const char *field;
		assert_int_equal(
			recode_exactly(WIRE_RANGE_SPLIT, body, wr_len(&w), &out_len, &field),
			table[i].result);
	}
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_range_ask(&w, &(struct wire_range_ask){.lo = "b", .hi = "b"});
	size_t out_len;
	const char *field;
	assert_int_equal(recode_exactly(WIRE_RANGE_ASK, body, wr_len(&w), &out_len, &field),
			 -EBADMSG);
	assert_string_equal(field, "hi");
}

static int recode_list(const char *const *paths, size_t n, unsigned claimed)
{
	static uint8_t list[4096];
	struct wr w;
	wr_init(&w, list, sizeof(list));
	for (size_t i = 0; i < n; i++)
		wire_encode_one_record(&w, &(struct record){.path = paths[i], .kind = RECORD_DIR});
	struct wire_range_list m = {
		.n = (uint16_t)claimed, .records = list, .records_len = (uint32_t)wr_len(&w)};
	wr_init(&w, body, sizeof(body));
	wire_encode_range_list(&w, &m);
	size_t out_len;
	const char *field;
	return recode_exactly(WIRE_RANGE_LIST, body, wr_len(&w), &out_len, &field);
}

static void lists_hold_what_they_say_in_order(void **state)
{
	assert_int_equal(recode_list((const char *[]){"", "a", "a-b", "a/b"}, 4, 4), 0);
	assert_int_equal(recode_list(NULL, 0, 0), 0);
	assert_int_equal(recode_list((const char *[]){"a", "b"}, 2, 1), -EBADMSG);
	assert_int_equal(recode_list((const char *[]){"a", "b"}, 2, 3), -EBADMSG);
	assert_int_equal(recode_list((const char *[]){"b", "a"}, 2, 2), -EBADMSG);
	assert_int_equal(recode_list((const char *[]){"a", "a"}, 2, 2), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_that_contradict_themselves_are_refused),
		cmocka_unit_test(chunks_that_contradict_themselves_are_refused),
		cmocka_unit_test(the_largest_record_fits),
		cmocka_unit_test(counts_above_their_limit_are_refused),
		cmocka_unit_test(ranges_ascend),
		cmocka_unit_test(lists_hold_what_they_say_in_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
