/* The digest of a set: whatever is put in and taken out again in whatever order, what is left is
 * the digest of what is left; and elements are equal exactly when records are. */
#include <stdbool.h>

#include "fuzz.h"
#include "protocol/digest.h"
#include "protocol/record.h"

#define ITEMS 16

/* Stands for SHAKE-128: any function of the element will do here. */
static void expand(uint8_t out[DIGEST_STATE_LEN], const uint8_t *element, size_t len)
{
	uint64_t h = 0xcbf29ce484222325u;
	for (size_t i = 0; i < len; i++)
		h = (h ^ element[i]) * 0x100000001b3u;
	for (size_t i = 0; i < DIGEST_STATE_LEN; i++) {
		h = (h ^ i) * 0x100000001b3u;
		out[i] = (uint8_t)(h >> 32);
	}
}

struct item {
	struct record record;
	char path[8];
	uint8_t bytes[24];
	uint8_t element[256], state[DIGEST_STATE_LEN];
	size_t len;
	unsigned times;
};

static void take_item(struct item *it, struct input *in, bool with_owner)
{
	struct record *r = &it->record;
	size_t len;
	for (size_t i = 0; i < 3; i++)
		it->path[i] = (char)('a' + input_u8(in) % 3);
	r->path = it->path;
	r->kind = input_u8(in) % 3 + 1;
	r->mode = r->kind == RECORD_SYMLINK ? 0 : input_u8(in) % 4;
	r->uid = input_u8(in) % 2;
	r->mtime_ns = input_u8(in) % 4 - 2;
	const uint8_t *bytes = input_bytes(in, &len, sizeof(it->bytes));
	memcpy(it->bytes, bytes, len);
	if (r->kind == RECORD_FILE) {
		r->size = len;
		memcpy(r->hash, it->bytes, sizeof(it->bytes));
	} else if (r->kind == RECORD_SYMLINK) {
		r->target = it->bytes;
		r->target_len = (uint32_t)len;
	}
	r->xattrs = it->bytes;
	r->xattrs_len = len > 4 ? input_u8(in) % 4 : 0;
	it->len = record_element(it->element, sizeof(it->element), r, with_owner);
	CHECK(it->len <= sizeof(it->element));
	uint8_t cut[16];
	CHECK(record_element(cut, sizeof(cut), r, with_owner) == it->len);
	expand(it->state, it->element, it->len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct item items[ITEMS];
	static uint8_t kept[DIGEST_STATE_LEN], made[DIGEST_STATE_LEN];
	struct input in = input_of(data, size);
	struct digest live = {0}, fresh = {0};
	bool with_owner = input_u8(&in) & 1;
	size_t n = input_u8(&in) % ITEMS + 1;
	memset(items, 0, sizeof(items));
	for (size_t i = 0; i < n; i++)
		take_item(&items[i], &in, with_owner);
	for (size_t i = 0; i < n; i++) {
		const struct item *a = &items[i], *b = &items[(i + 1) % n];
		bool same = a->len == b->len && memcmp(a->element, b->element, a->len) == 0;
		CHECK(record_equal(&a->record, &b->record, with_owner) == same);
	}
	while (input_left(&in) > 0) {
		uint8_t op = input_u8(&in);
		struct item *it = &items[(op >> 1) % n];
		if (op & 1 && it->times > 0) {
			digest_remove(&live, it->state);
			it->times--;
		} else if (it->times < 100) {
			digest_add(&live, it->state);
			it->times++;
		}
		if (op == 0xff) {
			digest_save(kept, &live);
			digest_load(&live, kept);
		}
	}
	for (size_t i = n; i-- > 0;) {
		for (unsigned times = items[i].times; times > 0; times--)
			digest_add(&fresh, items[i].state);
	}
	digest_save(kept, &live);
	digest_save(made, &fresh);
	CHECK(memcmp(kept, made, sizeof(kept)) == 0);
	return 0;
}
