#include "samples.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/messages.h"

static const uint8_t HASH[32] = "0123456789abcdef0123456789abcde";
static const uint8_t ATTRIBUTES[] = {0, 1, 2, 3, 4};

static const struct record file = {.path = "deployment/server/userstores/a.xml",
				   .kind = RECORD_FILE,
				   .mode = 0640,
				   .uid = 802,
				   .gid = 803,
				   .mtime_ns = 1700000000123456789,
				   .size = 5,
				   .hash = "the hash of the file's content.",
				   .xattrs = ATTRIBUTES,
				   .xattrs_len = sizeof(ATTRIBUTES),
				   .epoch = 3,
				   .seq = 1234};
static const struct record dir = {
	.path = "a", .kind = RECORD_DIR, .mode = 0755, .epoch = 1, .seq = 1};
static const struct record tree = {
	.path = "", .kind = RECORD_DIR, .mode = 0755, .epoch = 1, .seq = 9};
static const struct record old_link = {.path = "b",
				       .kind = RECORD_SYMLINK,
				       .mtime_ns = -5,
				       .target = (const uint8_t *)"../x",
				       .target_len = 4,
				       .epoch = 1,
				       .seq = 7};
static const struct record gone = {.path = "c/d", .kind = RECORD_ABSENT, .epoch = 2, .seq = 8};

static size_t done(const struct wr *w)
{
	return w->error ? 0 : wr_len(w);
}

#define BUILDER(name) static size_t name(uint8_t *out, size_t size)
#define ENCODE(message, ...)                                                      \
	do {                                                                      \
		struct wr w;                                                      \
		wr_init(&w, out, size);                                           \
		wire_encode_##message(&w, &(struct wire_##message){__VA_ARGS__}); \
		return done(&w);                                                  \
	} while (0)

BUILDER(hello)
{
	const struct epoch_entry lineage[] = {
		{.number = 1, .id = "first epoch's id", .base_seq = 0, .node = "region-a"},
		{.number = 3,
		 .id = "second epochs id",
		 .parent = "first epoch's id",
		 .base_seq = 77,
		 .ends = "another fork id.",
		 .node = "region-b"},
	};
	ENCODE(hello, .version = WIRE_VERSION, .group = "is", .node = "region-a", .to = "region-b",
	       .role = WIRE_ROLE_ACTIVE, .flags = HELLO_RECONCILING, .profile = "profile hash",
	       .chain_n = 99, .chain = "chain", .seen_chain_n = 12, .seen_chain = "seen",
	       .last_seq = 1234, .records = 10, .digest = "digest", .n_lineage = 2,
	       .lineage = lineage);
}

BUILDER(hello_new)
{
	ENCODE(hello, .version = WIRE_VERSION, .group = "is", .node = "b", .to = "a",
	       .role = WIRE_ROLE_PASSIVE, .flags = HELLO_POPULATED | HELLO_ADOPT);
}

BUILDER(readiness)
{
	ENCODE(readiness, .version = "1.2.3", .total = 40, .n = 2,
	       .reasons = {"held: a is held back; mend it", "paused: artifact-sync resume"});
}

BUILDER(readiness_good)
{
	ENCODE(readiness, .version = "1.2.3", .total = 0);
}

BUILDER(handover_offer)
{
	ENCODE(handover, .word = HANDOVER_OFFER, .number = 4, .id = "the fourth epoch",
	       .base_seq = 99, .digest = "the digest of the tree at 99...");
}

BUILDER(obstacles_ask)
{
	ENCODE(obstacles, .kind = OBSTACLES_ASK, .flags = OBSTACLES_ACCEPT_LOSS, .nonce = 77);
}

BUILDER(obstacles_answer)
{
	ENCODE(obstacles, .kind = OBSTACLES_ANSWER, .nonce = 77, .total = 40, .n = 2,
	       .reasons = {"held: a: torn", "paused: region-a"});
}

BUILDER(handover_please)
{
	ENCODE(handover, .word = HANDOVER_PLEASE, .flags = HANDOVER_ACCEPT_LOSS,
	       .deadline_ms = 30000, .please = 0x1122334455667788,
	       .text = "drill of the third quarter", .operator= "somebody");
}

BUILDER(bye)
{
	ENCODE(bye, .reason = BYE_ROLE, .text = "both are active");
}

BUILDER(heartbeat)
{
	ENCODE(heartbeat, .nonce = 1, .echo = 2, .echo_delay_us = 3, .flags = BEAT_HEALTHY,
	       .scan_age_s = UINT32_MAX, .scan_interval_s = 600, .last_seq = 4, .clock_ns = -1,
	       .recovery_ns = 5, .held = 6, .drift = 7, .salvage = 8);
}

BUILDER(record_inline)
{
	ENCODE(record, .op = OP_WHOLE, .ticket = 1, .record = file, .raw_len = 5,
	       .bytes = (const uint8_t *)"<xml>", .bytes_len = 5);
}

BUILDER(record_compressed)
{
	ENCODE(record, .op = OP_WHOLE, .ticket = 2, .record = file, .raw_len = 5, .compressed = 1,
	       .bytes = (const uint8_t *)"zz", .bytes_len = 2);
}

BUILDER(record_stream)
{
	ENCODE(record, .op = OP_WHOLE, .ticket = 3, .stream = 3, .record = file);
}

BUILDER(record_delta)
{
	ENCODE(record, .op = OP_DELTA, .ticket = 4, .stream = 4, .record = file, .basis = "basis");
}

BUILDER(record_ref)
{
	ENCODE(record, .op = OP_REF, .ticket = 5, .record = file, .hint = "old/a.xml");
}

BUILDER(record_dir)
{
	ENCODE(record, .op = OP_META, .ticket = 6, .record = dir);
}

BUILDER(record_tree)
{
	ENCODE(record, .op = OP_META, .ticket = 7, .record = tree);
}

BUILDER(record_link)
{
	ENCODE(record, .op = OP_META, .ticket = 8, .record = old_link);
}

BUILDER(record_member)
{
	ENCODE(record, .op = OP_META, .ticket = 11, .set = 3, .set_n = 2, .record = old_link);
}

BUILDER(set_abort)
{
	ENCODE(set_abort, .set = 3);
}

BUILDER(record_delete)
{
	ENCODE(record, .op = OP_DELETE, .ticket = 9, .flags = RECORD_APPROVED, .record = gone);
}

BUILDER(record_absent)
{
	ENCODE(record, .op = OP_ABSENT, .ticket = 10,
	       .record = {.path = "c/d", .kind = RECORD_ABSENT});
}

BUILDER(data)
{
	ENCODE(data, .stream = 3, .flags = DATA_LAST | DATA_COMPRESSED, .raw_len = 1000,
	       .bytes = (const uint8_t *)"zstd", .bytes_len = 4);
}

BUILDER(data_abort)
{
	ENCODE(data, .stream = 3, .flags = DATA_ABORT);
}

BUILDER(barrier)
{
	ENCODE(barrier, .id = 1, .seq = 2, .clock_ns = 3, .sent_ns = 9, .records = 4, .denials = 5,
	       .digest = "digest", .chain_n = 6, .chain = "chain");
}

BUILDER(barrier_done)
{
	ENCODE(barrier_done, .id = 1, .outcome = BARRIER_MISMATCH, .digest = "digest");
}

BUILDER(signature_ask)
{
	ENCODE(signature_ask, .id = 1, .path = "a/b", .hash = "hash");
}

BUILDER(signature)
{
	ENCODE(signature, .id = 1, .flags = SIGNATURE_LAST, .bytes = HASH, .bytes_len = 32);
}

BUILDER(resend)
{
	ENCODE(resend, .path = "a/b");
}

BUILDER(ack)
{
	static const uint32_t tickets[] = {1, 2, 70000};
	ENCODE(ack, .chain_n = 5, .chain = "chain", .n = 3, .tickets = tickets);
}

BUILDER(need)
{
	ENCODE(need, .ticket = 1, .reason = NEED_PARENT);
}

BUILDER(refused)
{
	ENCODE(refused, .ticket = 1, .reason = REFUSED_FAILED, .text = "No space left on device");
}

BUILDER(range_ask)
{
	ENCODE(range_ask, .id = 1, .lo = "a", .hi = "b", .records = 3, .digest = "digest");
}

BUILDER(range_ask_all)
{
	ENCODE(range_ask, .id = 1, .lo = "", .hi = "", .records = 3, .digest = "digest");
}

BUILDER(range_split)
{
	const struct wire_subrange ranges[] = {{.hi = "a/b", .records = 1, .digest = "x"},
					       {.hi = "a0", .records = 2, .digest = "y"},
					       {.hi = "", .records = 3, .digest = "z"}};
	ENCODE(range_split, .id = 1, .n = 3, .ranges = ranges);
}

BUILDER(range_list)
{
	uint8_t list[4096];
	struct wr entries;
	wr_init(&entries, list, sizeof(list));
	wire_encode_one_record(&entries, &tree);
	wire_encode_one_record(&entries, &dir);
	wire_encode_one_record(&entries, &old_link);
	wire_encode_one_record(&entries, &file);
	ENCODE(range_list, .id = 1, .flags = RANGE_LAST, .n = 4, .records = list,
	       .records_len = (uint32_t)wr_len(&entries));
}

BUILDER(fingerprints)
{
	uint8_t list[1024];
	struct wr entries;
	wr_init(&entries, list, sizeof(list));
	wire_encode_one_fingerprint(&entries, "conf/a", HASH);
	wire_encode_one_fingerprint(&entries, "conf/b", HASH);
	ENCODE(fingerprints, .flags = FINGERPRINTS_LAST, .n = 2, .entries = list,
	       .entries_len = (uint32_t)wr_len(&entries));
}

BUILDER(announce)
{
	uint8_t list[1024];
	struct wr entries;
	const struct wire_announced file_entry = {
		.path = "conf/a", .kind = RECORD_FILE, .seq = 77, .size = 1000};
	const struct wire_announced tree_entry = {.path = "", .kind = RECORD_DIR, .seq = 78};
	wr_init(&entries, list, sizeof(list));
	wire_encode_one_announced(&entries, &file_entry);
	wire_encode_one_announced(&entries, &tree_entry);
	ENCODE(announce, .changes = 30, .bytes = 1000, .seq = 78, .n = 2, .entries = list,
	       .entries_len = (uint32_t)wr_len(&entries));
}

BUILDER(canary)
{
	ENCODE(canary, .nonce = 3, .hash = {1, 2}, .bytes = "it sings");
}

BUILDER(canary_done)
{
	ENCODE(canary_done, .nonce = 3);
}

BUILDER(canary_failed)
{
	ENCODE(canary_done, .nonce = 3, .failed = 1, .text = "No space left on device");
}

BUILDER(deep_ask)
{
	ENCODE(deep_ask, .id = 9);
}

BUILDER(deep_reply)
{
	uint8_t list[1024];
	struct wr entries;
	wr_init(&entries, list, sizeof(list));
	wire_encode_one_difference(&entries, "", "mode is 0700, not 0755");
	wire_encode_one_difference(&entries, "a/b", "content differs");
	ENCODE(deep_reply, .id = 9, .flags = DEEP_LAST, .files = 10, .bytes = 1000, .n = 2,
	       .entries = list, .entries_len = (uint32_t)wr_len(&entries));
}

BUILDER(history_ask)
{
	ENCODE(history_ask, .id = 3, .flags = HISTORY_AFTER, .barrier = 77, .at_ns = -5,
	       .after = "a/b");
}

BUILDER(history_list)
{
	uint8_t list[1024];
	struct wr entries;
	struct record was_not = {.path = "a", .kind = RECORD_ABSENT};
	struct record was_dir = {.path = "b", .kind = RECORD_DIR, .mode = 0755};
	wr_init(&entries, list, sizeof(list));
	wire_encode_one_record(&entries, &was_not);
	wire_encode_one_record(&entries, &was_dir);
	ENCODE(history_list, .id = 3, .flags = HISTORY_LAST, .barrier = 77, .seq = 5,
	       .first_ns = 10, .last_ns = 11, .digest = {9}, .n = 2, .records = list,
	       .records_len = (uint32_t)wr_len(&entries));
}

BUILDER(content_ask)
{
	ENCODE(content_ask, .id = 8, .hash = {1, 2}, .size = 100, .offset = 60, .len = 40,
	       .path = "a/b");
}

BUILDER(content)
{
	ENCODE(content, .id = 8, .offset = 60, .bytes = (const uint8_t *)"bytes", .bytes_len = 5);
}

const struct sample samples[] = {
	{"hello", WIRE_HELLO, hello},
	{"hello_new", WIRE_HELLO, hello_new},
	{"bye", WIRE_BYE, bye},
	{"handover offer", WIRE_HANDOVER, handover_offer},
	{"obstacles ask", WIRE_OBSTACLES, obstacles_ask},
	{"obstacles answer", WIRE_OBSTACLES, obstacles_answer},
	{"handover please", WIRE_HANDOVER, handover_please},
	{"heartbeat", WIRE_HEARTBEAT, heartbeat},
	{"readiness", WIRE_READINESS, readiness},
	{"readiness_good", WIRE_READINESS, readiness_good},
	{"record_inline", WIRE_RECORD, record_inline},
	{"record_compressed", WIRE_RECORD, record_compressed},
	{"record_stream", WIRE_RECORD, record_stream},
	{"record_delta", WIRE_RECORD, record_delta},
	{"record_ref", WIRE_RECORD, record_ref},
	{"record_dir", WIRE_RECORD, record_dir},
	{"record_tree", WIRE_RECORD, record_tree},
	{"record_link", WIRE_RECORD, record_link},
	{"record_member", WIRE_RECORD, record_member},
	{"set_abort", WIRE_SET_ABORT, set_abort},
	{"record_delete", WIRE_RECORD, record_delete},
	{"record_absent", WIRE_RECORD, record_absent},
	{"announce", WIRE_ANNOUNCE, announce},
	{"canary", WIRE_CANARY, canary},
	{"canary_done", WIRE_CANARY_DONE, canary_done},
	{"canary_failed", WIRE_CANARY_DONE, canary_failed},
	{"data", WIRE_DATA, data},
	{"data_abort", WIRE_DATA, data_abort},
	{"barrier", WIRE_BARRIER, barrier},
	{"barrier_done", WIRE_BARRIER_DONE, barrier_done},
	{"signature_ask", WIRE_SIGNATURE_ASK, signature_ask},
	{"signature", WIRE_SIGNATURE, signature},
	{"resend", WIRE_RESEND, resend},
	{"ack", WIRE_ACK, ack},
	{"need", WIRE_NEED, need},
	{"refused", WIRE_REFUSED, refused},
	{"range_ask", WIRE_RANGE_ASK, range_ask},
	{"range_ask_all", WIRE_RANGE_ASK, range_ask_all},
	{"range_split", WIRE_RANGE_SPLIT, range_split},
	{"range_list", WIRE_RANGE_LIST, range_list},
	{"fingerprints", WIRE_FINGERPRINTS, fingerprints},
	{"deep_ask", WIRE_DEEP_ASK, deep_ask},
	{"deep_reply", WIRE_DEEP_REPLY, deep_reply},
	{"history_ask", WIRE_HISTORY_ASK, history_ask},
	{"history_list", WIRE_HISTORY_LIST, history_list},
	{"content_ask", WIRE_CONTENT_ASK, content_ask},
	{"content", WIRE_CONTENT, content},
};
const size_t n_samples = sizeof(samples) / sizeof(samples[0]);

/* Lists are taken apart and put together again, so that their entries are judged, too. */
static void recode_records(const uint8_t **records, uint32_t len, uint8_t *list)
{
	struct rd r;
	struct wr w;
	struct record record;
	rd_init(&r, *records, len);
	wr_init(&w, list, WIRE_FRAME_MAX);
	while (wire_next_record(&record, &r) == 1)
		wire_encode_one_record(&w, &record);
	if (r.error || w.error)
		abort();
	*records = list;
}

static void recode_fingerprints(struct wire_fingerprints *m, uint8_t *list)
{
	struct rd r;
	struct wr w;
	const char *path;
	uint8_t hash[32];
	rd_init(&r, m->entries, m->entries_len);
	wr_init(&w, list, WIRE_FRAME_MAX);
	while (wire_next_fingerprint(&path, hash, &r) == 1)
		wire_encode_one_fingerprint(&w, path, hash);
	if (r.error || w.error)
		abort();
	m->entries = list;
}

static void recode_announced(struct wire_announce *m, uint8_t *list)
{
	struct wire_announced entry;
	struct rd r;
	struct wr w;
	rd_init(&r, m->entries, m->entries_len);
	wr_init(&w, list, WIRE_FRAME_MAX);
	while (wire_next_announced(&entry, &r) == 1)
		wire_encode_one_announced(&w, &entry);
	if (r.error || w.error)
		abort();
	m->entries = list;
}

static void recode_differences(struct wire_deep_reply *m, uint8_t *list)
{
	struct rd r;
	struct wr w;
	const char *path, *text;
	rd_init(&r, m->entries, m->entries_len);
	wr_init(&w, list, WIRE_FRAME_MAX);
	while (wire_next_difference(&path, &text, &r) == 1)
		wire_encode_one_difference(&w, path, text);
	if (r.error || w.error)
		abort();
	m->entries = list;
}

#define RECODE(TYPE, message, extra)                    \
	case WIRE_##TYPE: {                             \
		struct wire_##message m;                \
		result = wire_decode_##message(&m, &r); \
		if (result == 0) {                      \
			extra;                          \
			wire_encode_##message(&w, &m);  \
		}                                       \
		break;                                  \
	}

int samples_recode(uint8_t type, const uint8_t *body, size_t len, uint8_t *out, size_t *out_len,
		   const char **field)
{
	static struct epoch_entry lineage[WIRE_LINEAGE_MAX];
	static uint32_t tickets[WIRE_ACKS_MAX];
	static struct wire_subrange ranges[WIRE_RANGES_MAX];
	static uint8_t list[WIRE_FRAME_MAX];
	struct rd r;
	struct wr w;
	int result = -1;
	rd_init(&r, body, len);
	wr_init(&w, out, WIRE_FRAME_MAX);
	switch (type) {
	case WIRE_HELLO: {
		struct wire_hello m;
		result = wire_decode_hello(&m, lineage, &r);
		if (result == 0 && m.version != WIRE_VERSION) {
			wr_raw(&w, body, len); /* nothing else was decoded */
			break;
		}
		if (result == 0)
			wire_encode_hello(&w, &m);
		break;
	}
	case WIRE_ACK: {
		struct wire_ack m;
		result = wire_decode_ack(&m, tickets, &r);
		if (result == 0)
			wire_encode_ack(&w, &m);
		break;
	}
	case WIRE_RANGE_SPLIT: {
		struct wire_range_split m;
		result = wire_decode_range_split(&m, ranges, &r);
		if (result == 0)
			wire_encode_range_split(&w, &m);
		break;
	}
		RECODE(BYE, bye, )
		RECODE(HEARTBEAT, heartbeat, )
		RECODE(READINESS, readiness, )
		RECODE(CANARY, canary, )
		RECODE(CANARY_DONE, canary_done, )
		RECODE(RECORD, record, )
		RECODE(DATA, data, )
		RECODE(SET_ABORT, set_abort, )
		RECODE(BARRIER, barrier, )
		RECODE(SIGNATURE_ASK, signature_ask, )
		RECODE(NEED, need, )
		RECODE(REFUSED, refused, )
		RECODE(BARRIER_DONE, barrier_done, )
		RECODE(SIGNATURE, signature, )
		RECODE(RESEND, resend, )
		RECODE(RANGE_ASK, range_ask, )
		RECODE(RANGE_LIST, range_list, recode_records(&m.records, m.records_len, list))
		RECODE(ANNOUNCE, announce, recode_announced(&m, list))
		RECODE(FINGERPRINTS, fingerprints, recode_fingerprints(&m, list))
		RECODE(DEEP_ASK, deep_ask, )
		RECODE(HANDOVER, handover, )
		RECODE(OBSTACLES, obstacles, )
		RECODE(DEEP_REPLY, deep_reply, recode_differences(&m, list))
		RECODE(HISTORY_ASK, history_ask, )
		RECODE(HISTORY_LIST, history_list, recode_records(&m.records, m.records_len, list))
		RECODE(CONTENT_ASK, content_ask, )
		RECODE(CONTENT, content, )
	default: abort(); /* a message without a sample */
	}
	if (result == 0 && w.error)
		abort();
	*out_len = wr_len(&w);
	*field = r.field;
	return result;
}
