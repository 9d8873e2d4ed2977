/* Every message: what goes in comes out; every truncation and trailing byte fails by name; a
 * corrupted byte either fails or means what it says (what is accepted encodes to the same bytes).
 */
#include "testing.h"

#include "protocol/frame.h"
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

static void every_message_has_a_sample(void **state)
{
	size_t n;
	const struct wire_rule *rules = wire_rules(&n);
	for (size_t i = 0; i < n; i++) {
		bool found = false;
		for (size_t k = 0; k < n_samples; k++)
			found |= samples[k].type == rules[i].type;
		if (!found)
			fail_msg("%s has no sample", rules[i].name);
		assert_ptr_equal(wire_rule(rules[i].type), &rules[i]);
	}
	assert_null(wire_rule(0));
	assert_null(wire_rule(0xff));
	assert_string_equal(wire_reason_name(BYE_NOT_ADOPTED), "not-adopted");
	assert_string_equal(wire_reason_name(999), "unknown");
}

static void every_sample_survives_and_fits(void **state)
{
	for (size_t i = 0; i < n_samples; i++) {
		size_t len = samples[i].build(body, sizeof(body)), out_len;
		const char *field;
		assert_true(len > 0);
		assert_true(len <= wire_rule(samples[i].type)->body_max);
		int r = recode_exactly(samples[i].type, body, len, &out_len, &field);
		if (r < 0)
			fail_msg("%s: %d in %s", samples[i].name, r, field);
		assert_int_equal(out_len, len);
		assert_memory_equal(again, body, len);
	}
}

static void every_truncation_fails_and_names_the_field(void **state)
{
	for (size_t i = 0; i < n_samples; i++) {
		size_t len = samples[i].build(body, sizeof(body)), out_len;
		for (size_t cut = 0; cut < len; cut++) {
			const char *field = NULL;
			int r = recode_exactly(samples[i].type, body, cut, &out_len, &field);
			if (r != -EBADMSG && r != -EMSGSIZE)
				fail_msg("%s cut at %zu of %zu: %d", samples[i].name, cut, len, r);
			assert_non_null(field);
		}
	}
}

static void trailing_bytes_are_errors(void **state)
{
	for (size_t i = 0; i < n_samples; i++) {
		size_t len = samples[i].build(body, sizeof(body)), out_len;
		const char *field = NULL;
		body[len] = 0;
		assert_int_equal(recode_exactly(samples[i].type, body, len + 1, &out_len, &field),
				 -EBADMSG);
		assert_string_equal(field, "end");
	}
}

static void a_buffer_too_small_is_noticed(void **state)
{
	for (size_t i = 0; i < n_samples; i++) {
		size_t len = samples[i].build(body, sizeof(body));
		uint8_t *small = malloc(len);
		assert_int_equal(samples[i].build(small, len), len);
		for (size_t size = 0; size < len; size += 1 + len / 40)
			assert_int_equal(samples[i].build(small, size), 0);
		free(small);
	}
}

static void every_corrupted_byte_fails_or_means_what_it_says(void **state)
{
	size_t accepted = 0, refused = 0;
	for (size_t i = 0; i < n_samples; i++) {
		size_t len = samples[i].build(body, sizeof(body)), out_len;
		for (size_t at = 0; at < len; at++) {
			for (unsigned flip = 1; flip<256; flip += len> 200 ? 13 : 1) {
				const char *field;
				body[at] ^= flip;
				int r = recode_exactly(samples[i].type, body, len, &out_len,
						       &field);
				if (r == 0 && (out_len != len || memcmp(again, body, len) != 0))
					fail_msg("%s: byte %zu xor %02x is accepted as something "
						 "else",
						 samples[i].name, at, flip);
				accepted += r == 0;
				refused += r != 0;
				body[at] ^= flip;
			}
		}
	}
	assert_true(accepted > 1000 && refused > 1000);
}

/* A field that both encoder and decoder forgot would pass every recoding. */
static void every_field_arrives(void **state)
{
	struct epoch_entry lineage[WIRE_LINEAGE_MAX];
	struct wire_hello hello;
	struct wire_heartbeat beat;
	struct wire_record record;
	struct wire_barrier barrier;
	struct rd r;
	for (size_t i = 0; i < n_samples; i++) {
		rd_init(&r, body, samples[i].build(body, sizeof(body)));
		if (strcmp(samples[i].name, "hello") == 0) {
			assert_int_equal(wire_decode_hello(&hello, lineage, &r), 0);
			assert_string_equal(hello.group, "is");
			assert_string_equal(hello.node, "region-a");
			assert_string_equal(hello.to, "region-b");
			assert_int_equal(hello.role, WIRE_ROLE_ACTIVE);
			assert_int_equal(hello.flags, HELLO_RECONCILING);
			assert_string_equal((char *)hello.profile, "profile hash");
			assert_int_equal(hello.chain_n, 99);
			assert_string_equal((char *)hello.chain, "chain");
			assert_int_equal(hello.seen_chain_n, 12);
			assert_string_equal((char *)hello.seen_chain, "seen");
			assert_int_equal(hello.last_seq, 1234);
			assert_int_equal(hello.records, 10);
			assert_string_equal((char *)hello.digest, "digest");
			assert_int_equal(hello.n_lineage, 2);
			assert_int_equal(lineage[1].number, 3);
			assert_int_equal(lineage[1].base_seq, 77);
			assert_memory_equal(lineage[1].id, "second epochs id", 16);
			assert_memory_equal(lineage[1].parent, lineage[0].id, 16);
			assert_string_equal(lineage[1].node, "region-b");
		} else if (strcmp(samples[i].name, "heartbeat") == 0) {
			assert_int_equal(wire_decode_heartbeat(&beat, &r), 0);
			assert_true(beat.nonce == 1 && beat.echo == 2 && beat.echo_delay_us == 3);
			assert_true(beat.flags == BEAT_HEALTHY && beat.scan_age_s == UINT32_MAX);
			assert_true(beat.scan_interval_s == 600 && beat.last_seq == 4);
			assert_true(beat.clock_ns == -1 && beat.recovery_ns == 5);
			assert_true(beat.held == 6 && beat.drift == 7 && beat.salvage == 8);
		} else if (strcmp(samples[i].name, "record_inline") == 0) {
			assert_int_equal(wire_decode_record(&record, &r), 0);
			assert_true(record.op == OP_WHOLE && record.ticket == 1);
			assert_memory_equal(record.bytes, "<xml>", 5);
			assert_true(record.record.uid == 802 && record.record.gid == 803);
			assert_true(record.record.mode == 0640 && record.record.size == 5);
			assert_true(record.record.mtime_ns == 1700000000123456789);
			assert_true(record.record.epoch == 3 && record.record.seq == 1234);
			assert_true(record.record.xattrs_len == 5 && record.record.xattrs[4] == 4);
			assert_string_equal((char *)record.record.hash,
					    "the hash of the file's content.");
		} else if (strcmp(samples[i].name, "barrier") == 0) {
			assert_int_equal(wire_decode_barrier(&barrier, &r), 0);
			assert_true(barrier.id == 1 && barrier.seq == 2 && barrier.clock_ns == 3);
			assert_true(barrier.records == 4 && barrier.denials == 5);
			assert_string_equal((char *)barrier.digest, "digest");
			assert_int_equal(barrier.chain_n, 6);
			assert_string_equal((char *)barrier.chain, "chain");
		}
	}
}

static void another_version_is_recognised_and_not_read(void **state)
{
	struct epoch_entry lineage[1];
	struct wire_hello m;
	struct rd r;
	const uint8_t next[] = {'A', 'S', 'Y', 'N', 0, 2, 0xff, 0xff, 0xff};
	rd_init(&r, next, sizeof(next));
	assert_int_equal(wire_decode_hello(&m, lineage, &r), 0);
	assert_int_equal(m.version, 2);
	assert_string_equal(m.node, "");
	assert_int_equal(m.n_lineage, 0);
	const uint8_t other[] = {'H', 'T', 'T', 'P', 0, 1};
	rd_init(&r, other, sizeof(other));
	assert_int_equal(wire_decode_hello(&m, lineage, &r), -EBADMSG);
	assert_string_equal(r.field, "magic");
}

/* The layout itself: an encoder and decoder that agree on a wrong one would pass everything above.
 */
static void the_bytes_are_those_of_the_specification(void **state)
{
	static const uint8_t ack[] = {
		0,    0,    0,	  0,	0,    0,    0,	  5,	0xcc, 0xcc, 0xcc, 0xcc, 0xcc,
		0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc,
		0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc,
		0xcc, 0,    0,	  0,	2,    0,    0,	  0,	1,    0,    1,	  0,	0};
	struct wire_ack m = {.chain_n = 5, .n = 2, .tickets = (const uint32_t[]){1, 65536}};
	memset(m.chain, 0xcc, sizeof(m.chain));
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_ack(&w, &m);
	assert_int_equal(wr_len(&w), sizeof(ack));
	assert_memory_equal(body, ack, sizeof(ack));

	static const uint8_t tombstone[] = {5, 0, 0, 0,	  9,   0,   0, 0, 0, 1, 0, 0, 0,
					    0, 0, 3, 'c', '/', 'd', 0, 4, 0, 0, 0, 0, 0,
					    0, 0, 2, 0,	  0,   0,   0, 0, 0, 0, 8};
	wr_init(&w, body, sizeof(body));
	wire_encode_record(
		&w,
		&(struct wire_record){
			.op = OP_DELETE,
			.ticket = 9,
			.flags = RECORD_APPROVED,
			.record = {.path = "c/d", .kind = RECORD_ABSENT, .epoch = 2, .seq = 8}});
	assert_int_equal(wr_len(&w), sizeof(tombstone));
	assert_memory_equal(body, tombstone, sizeof(tombstone));

	uint8_t header[WIRE_HEADER_LEN];
	frame_header(header, WIRE_DATA, 0x01020304);
	assert_memory_equal(header, ((const uint8_t[]){1, 2, 3, 4, 0x11}), sizeof(header));
}

static void names_are_judged(void **state)
{
	assert_true(wire_name_is_legal("region-a.example_1"));
	assert_false(wire_name_is_legal(""));
	assert_false(wire_name_is_legal("a b"));
	assert_false(wire_name_is_legal("a\nb"));
	assert_false(wire_name_is_legal("a/b"));
	assert_false(wire_name_is_legal("gr\xc3\xbc"));
	char name[WIRE_NAME_MAX + 2];
	memset(name, 'n', sizeof(name));
	name[WIRE_NAME_MAX + 1] = '\0';
	assert_false(wire_name_is_legal(name));
	name[WIRE_NAME_MAX] = '\0';
	assert_true(wire_name_is_legal(name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_message_has_a_sample),
		cmocka_unit_test(every_sample_survives_and_fits),
		cmocka_unit_test(every_truncation_fails_and_names_the_field),
		cmocka_unit_test(trailing_bytes_are_errors),
		cmocka_unit_test(a_buffer_too_small_is_noticed),
		cmocka_unit_test(every_corrupted_byte_fails_or_means_what_it_says),
		cmocka_unit_test(every_field_arrives),
		cmocka_unit_test(another_version_is_recognised_and_not_read),
		cmocka_unit_test(the_bytes_are_those_of_the_specification),
		cmocka_unit_test(names_are_judged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
