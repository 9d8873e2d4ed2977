/* The asking side of a comparison, against a peer that answers as it likes. Whatever it says: what
 * is asked is a range with a number of its own, the end comes once, and nothing that this node has
 * is given up. The store lives in memory and is made anew now and then. */
#include <stdbool.h>

#include "agent/sync/compare.h"
#include "fuzz.h"
#include "protocol/messages.h"
#include "tests/unit/store/store_help.h"

#define RUNS_PER_STORE 3000
#define FRAMES_MAX 40

static const char *const ours[] = {"b", "b/c", "b/d", "f", "m", "p"};
static const char *const borders[] = {"",  "a", "b", "b/c", "b/cc", "e",
				      "f", "g", "m", "n",   "p",    "q"};

static struct {
	struct fixture *store;
	struct profile *profile;
	uv_loop_t loop;
	unsigned runs, ended;
	uint32_t asked[4096], last_id;
	size_t n_asked;
} world;

/* In the place of agent/net/link.c: what would go to the peer. */
bool link_send(struct link *link, uint8_t type, const void *body, size_t len)
{
	struct wire_range_ask m;
	struct rd r;
	rd_init(&r, body, len);
	CHECK(type == WIRE_RANGE_ASK && wire_decode_range_ask(&m, &r) == 0);
	CHECK(m.id > world.last_id);
	world.last_id = m.id;
	CHECK(world.n_asked < sizeof(world.asked) / sizeof(world.asked[0]));
	world.asked[world.n_asked++] = m.id;
	return true;
}

static void on_difference(void *owner, const char *path, const char *what)
{
	CHECK(path && what);
}

static void on_done(void *owner, int result, const char *why)
{
	CHECK(result == 0 || why[0]);
	world.ended++;
}

static void make_store(void)
{
	struct err err = {0};
	if (world.store)
		fixture_end((void **)&world.store);
	else
		CHECK(uv_loop_init(&world.loop) == 0 &&
		      profile_new(&world.profile, "all", NULL, 0, false, &err) == 0);
	CHECK(fixture_active((void **)&world.store) == 0);
	capture_dir(world.store, "");
	capture_dir(world.store, "b");
	for (size_t i = 1; i < sizeof(ours) / sizeof(ours[0]); i++)
		capture_file(world.store, ours[i], (int)i);
}

static void check_ours(void)
{
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		struct index_entry entry = {0};
		CHECK(store_get(world.store->store, ours[i], &entry, NULL) == 0);
		CHECK(entry.rec.kind != RECORD_ABSENT);
		index_entry_release(&entry);
	}
}

static const char *border(struct input *in)
{
	return borders[input_u8(in) % (sizeof(borders) / sizeof(borders[0]))];
}

static size_t build_split(uint8_t *body, struct input *in, uint32_t id)
{
	struct wire_subrange parts[WIRE_RANGES_MAX] = {0};
	struct wire_range_split m = {.id = id, .ranges = parts};
	struct wr w;
	m.n = input_u8(in) % 6;
	for (uint16_t i = 0; i < m.n; i++) {
		parts[i].hi = border(in);
		parts[i].records = input_u8(in) % 4;
	}
	wr_init(&w, body, WIRE_FRAME_MAX);
	wire_encode_range_split(&w, &m);
	return wr_len(&w);
}

static size_t build_list(uint8_t *body, struct input *in, uint32_t id)
{
	static uint8_t records[8192];
	struct wire_range_list m = {
		.id = id, .flags = input_u8(in) & RANGE_LAST, .records = records};
	struct wr list, w;
	wr_init(&list, records, sizeof(records));
	m.n = input_u8(in) % 7;
	for (uint16_t i = 0; i < m.n; i++) {
		struct record rec = {.path = border(in), .kind = RECORD_DIR, .seq = input_u8(in)};
		if (rec.path[0] && input_u8(in) & 1)
			rec.kind = RECORD_FILE;
		wire_encode_one_record(&list, &rec);
	}
	m.records_len = (uint32_t)wr_len(&list);
	wr_init(&w, body, WIRE_FRAME_MAX);
	wire_encode_range_list(&w, &m);
	return wr_len(&w);
}

static bool tell(struct compare *c, struct input *in)
{
	static uint8_t body[WIRE_FRAME_MAX];
	uint8_t how = input_u8(in), which = input_u8(in);
	uint32_t id = world.n_asked ? world.asked[which % world.n_asked] : which;
	struct frame frame = {.type = how & 1 ? WIRE_RANGE_LIST : WIRE_RANGE_SPLIT, .body = body};
	if (how & 0x80) {
		size_t len;
		const uint8_t *bytes = input_bytes(in, &len, 255);
		memcpy(body, bytes, len);
		frame.len = (uint32_t)len;
	} else {
		frame.len =
			(uint32_t)(how & 1 ? build_list(body, in, id) : build_split(body, in, id));
	}
	compare_frame(c, &frame);
	return how & 2; /* does the worker come to an end before the next frame? */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);
	struct compare_events events = {.difference = on_difference, .done = on_done};
	if (world.runs++ % RUNS_PER_STORE == 0)
		make_store();
	world.n_asked = 0;
	world.last_id = 99;
	world.ended = 0;
	enum compare_mode mode = input_u8(&in) & 1 ? COMPARE_RECONCILE : COMPARE_LIST;
	struct compare *c = compare_start(&world.loop, NULL, world.store->store, "b", mode,
					  world.profile, 100, &events);
	uv_run(&world.loop, UV_RUN_DEFAULT);
	for (int i = 0; i < FRAMES_MAX && input_left(&in) > 0 && !world.ended; i++) {
		if (tell(c, &in) || world.ended)
			uv_run(&world.loop, UV_RUN_DEFAULT);
	}
	if (!world.ended)
		compare_close(c);
	uv_run(&world.loop, UV_RUN_DEFAULT);
	CHECK(world.ended == 1);
	check_ours();
	return 0;
}
