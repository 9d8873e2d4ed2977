#include "agent/ops/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/buf.h"
#include "agent/base/fault.h"
#include "agent/net/signing.h"

#define JSON_FLAGS (JSON_COMPACT | JSON_SORT_KEYS)

/* ---- text -------------------------------------------------------------------------------------
 */

static char *to_base64(const uint8_t *bytes, size_t len)
{
	char *text = x_calloc(1, 4 * ((len + 2) / 3) + 1);
	EVP_EncodeBlock((unsigned char *)text, bytes, (int)len);
	return text;
}

/* @return bytes, or -1; at most `max` */
static int from_base64(uint8_t *out, size_t max, const char *text)
{
	size_t len = text ? strlen(text) : 0;
	if (len == 0 || len % 4 != 0 || len / 4 * 3 > max)
		return -1;
	int n = EVP_DecodeBlock(out, (const unsigned char *)text, (int)len);
	return n < 0 ? -1 : n - (text[len - 1] == '=') - (text[len - 2] == '=');
}

/* ---- reading ----------------------------------------------------------------------------------
 */

struct reader {
	FILE *file;
	char *line;
	size_t cap;
	struct ledger_head head; /* of what was read */
	uint64_t end;		 /* bytes up to the last whole line */
};

static void reader_release(struct reader *reader)
{
	if (reader->file)
		fclose(reader->file);
	free(reader->line);
}

/* @return 0, also without a file (then nothing is read), or negative errno */
static int reader_init(struct reader *reader, const char *state_dir, struct err *err)
{
	AUTO_FREE char *path = x_asprintf("%s/%s", state_dir, LEDGER_NAME);
	*reader = (struct reader){.file = fopen(path, "re")};
	if (!reader->file && errno != ENOENT)
		return err_sys(err, errno, "read %s", path);
	return 0;
}

/* @return 1 with a whole line in reader->line, 0 at the end, -EMSGSIZE, or another errno. A last
 * line without its newline was never finished. */
static int next_line(struct reader *reader, struct err *err)
{
	if (!reader->file)
		return 0;
	ssize_t len = getline(&reader->line, &reader->cap, reader->file);
	if (len < 0)
		return ferror(reader->file) ? err_sys(err, EIO, "read the ledger") : 0;
	if (len > LEDGER_LINE_MAX)
		return err_set(err, -EMSGSIZE, "line %" PRIu64 " of the ledger is too long",
			       reader->head.n + 1);
	if (reader->line[len - 1] != '\n')
		return 0;
	reader->end += (uint64_t)len;
	reader->line[len - 1] = '\0';
	reader->head.n++;
	hash_bytes(reader->head.hash, reader->line, (size_t)len - 1);
	return 1;
}

/* ---- appending --------------------------------------------------------------------------------
 */

static int sign_entry(json_t *entry, const struct ledger_place *place, struct err *err)
{
	struct buf signature = {0};
	AUTO_FREE char *text = json_dumps(entry, JSON_FLAGS);
	BUG_ON(!text);
	int r = signing_sign(&signature, place->key, text, strlen(text), err);
	if (r == 0) {
		AUTO_FREE char *encoded = to_base64(signature.data, signature.len);
		json_object_set_new(entry, "signature", json_string(encoded));
	}
	buf_release(&signature);
	return r;
}

/* @param last_key  what the line before was signed with, as it stands there; NULL: it is the first
 */
static int complete_entry(json_t *entry, const struct ledger_place *place,
			  const struct ledger_head *head, const char *last_key, struct err *err)
{
	struct buf public_key = {0};
	char hex[HASH_HEX_MAX];
	int r = signing_public_key(&public_key, place->certificate, err);
	if (r == 0) {
		AUTO_FREE char *encoded = to_base64(public_key.data, public_key.len);
		if (last_key && strcmp(last_key, encoded) != 0)
			json_object_set_new(entry, "key_before", json_string(last_key));
		json_object_set_new(entry, "n", json_integer((json_int_t)head->n + 1));
		json_object_set_new(entry, "previous", json_string(hash_hex(hex, head->hash)));
		json_object_set_new(entry, "public_key", json_string(encoded));
		r = sign_entry(entry, place, err);
	}
	buf_release(&public_key);
	return r;
}

static int write_line(const char *state_dir, uint64_t at, const char *line, size_t len,
		      struct err *err)
{
	AUTO_FREE char *path = x_asprintf("%s/%s", state_dir, LEDGER_NAME);
	AUTO_CLOSE int dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	int fault = fault_point("ledger write");
	if (fault)
		return err_sys(err, fault, "write %s", path);
	if (dir < 0 || fd < 0)
		return err_sys(err, errno, "open %s", path);
	if (ftruncate(fd, (off_t)at) < 0 || pwrite(fd, line, len, (off_t)at) != (ssize_t)len)
		return err_sys(err, errno ? errno : EIO, "write %s", path);
	if (fsync(fd) < 0 || fsync(dir) < 0)
		return err_sys(err, errno, "sync %s", path);
	return 0;
}

/* Where the next line goes. A head that is one line behind is a crash between the two writes.
 * @param last  receives the last line; NULL without any; heap */
static int find_end(struct reader *reader, const struct ledger_head *head, char **last,
		    struct err *err)
{
	bool met = head->n == 0;
	int r;
	while ((r = next_line(reader, err)) > 0) {
		free(*last);
		*last = x_strdup(reader->line);
		if (reader->head.n == head->n)
			met = memcmp(reader->head.hash, head->hash, HASH_LEN) == 0;
	}
	if (r < 0)
		return r;
	if (!met || reader->head.n > head->n + 1)
		return err_set(err, -EUCLEAN,
			       "%s is not what was written: `artifact-sync ledger verify` shows "
			       "where",
			       LEDGER_NAME);
	return 0;
}

/* Was this entry written already, and only the head not stored? */
static bool is_of_entry(const json_t *line, const json_t *entry)
{
	static const char *const keys[] = {"time", "epoch_id", "kind"};
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (!json_equal(json_object_get(line, keys[i]), json_object_get(entry, keys[i])))
			return false;
	}
	return true;
}

static int append_behind(const struct ledger_place *place, const struct reader *reader,
			 struct ledger_head *head, const json_t *entry, const char *last_key,
			 struct err *err)
{
	json_t *whole = json_deep_copy(entry);
	int r = complete_entry(whole, place, &reader->head, last_key, err);
	AUTO_FREE char *text = r == 0 ? json_dumps(whole, JSON_FLAGS) : NULL;
	size_t len = text ? strlen(text) : 0;
	json_decref(whole);
	if (r == 0 && len >= LEDGER_LINE_MAX)
		r = err_set(err, -EMSGSIZE, "an entry of %zu bytes is too long for the ledger",
			    len);
	if (r < 0)
		return r;
	AUTO_FREE char *line = x_asprintf("%s\n", text);
	r = write_line(place->state_dir, reader->end, line, len + 1, err);
	if (r == 0) {
		head->n = reader->head.n + 1;
		hash_bytes(head->hash, text, len);
	}
	return r;
}

int ledger_append(const struct ledger_place *place, struct ledger_head *head, const json_t *entry,
		  struct err *err)
{
	struct reader reader;
	AUTO_FREE char *last = NULL;
	int r = reader_init(&reader, place->state_dir, err);
	if (r == 0)
		r = find_end(&reader, head, &last, err);
	json_t *line = r == 0 && last ? json_loads(last, JSON_REJECT_DUPLICATES, NULL) : NULL;
	if (r == 0 && reader.head.n > head->n && is_of_entry(line, entry))
		*head = reader.head;
	else if (r == 0)
		r = append_behind(place, &reader, head, entry,
				  json_string_value(json_object_get(line, "public_key")), err);
	json_decref(line);
	reader_release(&reader);
	return r;
}

/* ---- verifying --------------------------------------------------------------------------------
 */

/* What lines are judged by as they are read. */
struct judge {
	const struct ledger_head *head;
	char *own_key;	/* of the node now */
	char *last_key; /* of the line before; NULL before the first */
	uint8_t previous[HASH_LEN];
	uint64_t next;		  /* what the line's number should be */
	bool met;		  /* the head's line was read */
	char why[LEDGER_WHY_MAX]; /* of the last that was found */
};

__attribute__((format(printf, 2, 3))) static bool bad(struct judge *judge, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(judge->why, sizeof(judge->why), fmt, args);
	va_end(args);
	return false;
}

/* A node's key may be exchanged: the next line then says which one was used before. Up to the head
 * the state database vouches for every line; the one behind it that a crash may have left is the
 * node's own, or somebody has added it. */
static bool key_is_good(struct judge *judge, const struct reader *reader, const json_t *entry,
			const char *key)
{
	const char *before = json_string_value(json_object_get(entry, "key_before"));
	if (judge->last_key && strcmp(judge->last_key, key) != 0 &&
	    (!before || strcmp(before, judge->last_key) != 0))
		return bad(judge,
			   "it is signed with another key than the line before, and does not "
			   "name that one");
	if (reader->head.n > judge->head->n && strcmp(key, judge->own_key) != 0)
		return bad(judge, "it is signed with another key than this node's");
	return true;
}

static bool signature_is_good(struct judge *judge, json_t *entry)
{
	uint8_t key[PUBLIC_KEY_MAX], signature[SIGNATURE_MAX];
	int key_len = from_base64(key, sizeof(key),
				  json_string_value(json_object_get(entry, "public_key")));
	int len = from_base64(signature, sizeof(signature),
			      json_string_value(json_object_get(entry, "signature")));
	if (key_len < 0 || len < 0)
		return bad(judge, "it is not signed");
	json_object_del(entry, "signature");
	AUTO_FREE char *text = json_dumps(entry, JSON_FLAGS);
	if (!text ||
	    signing_check(key, (size_t)key_len, signature, (size_t)len, text, strlen(text)) < 0)
		return bad(judge, "its signature does not fit: it was changed");
	return true;
}

static bool line_is_good(struct judge *judge, const struct reader *reader, json_t *entry)
{
	char hex[HASH_HEX_MAX];
	if (!json_is_object(entry))
		return bad(judge, "it is not a JSON object");
	if (json_integer_value(json_object_get(entry, "n")) != (json_int_t)judge->next)
		return bad(judge, "its number is not %" PRIu64 ": a line is missing or was added",
			   judge->next);
	const char *said = json_string_value(json_object_get(entry, "previous"));
	if (!said || strcmp(said, hash_hex(hex, judge->previous)) != 0)
		return bad(judge, "it does not follow the line before: that one was changed");
	const char *key = json_string_value(json_object_get(entry, "public_key"));
	if (!key)
		return bad(judge, "it is not signed");
	return key_is_good(judge, reader, entry, key) && signature_is_good(judge, entry);
}

/* One bad line is one: what follows is judged by where it stands itself. */
static void take_line(struct judge *judge, const struct reader *reader, const json_t *entry)
{
	const char *key = json_string_value(json_object_get(entry, "public_key"));
	json_int_t n = json_integer_value(json_object_get(entry, "n"));
	free(judge->last_key);
	judge->last_key = key ? x_strdup(key) : NULL;
	judge->next = n > 0 && n < INT64_MAX ? (uint64_t)n + 1 : judge->next + 1;
	memcpy(judge->previous, reader->head.hash, HASH_LEN);
	if (reader->head.n == judge->head->n)
		judge->met = memcmp(reader->head.hash, judge->head->hash, HASH_LEN) == 0;
}

static bool head_is_met(struct judge *judge, const struct reader *reader)
{
	uint64_t n = reader->head.n, written = judge->head->n;
	if (n < written)
		return bad(judge,
			   "%" PRIu64 " lines, and %" PRIu64 " were written: the last are gone", n,
			   written);
	if (!judge->met)
		return bad(judge, "line %" PRIu64 " is not the one that was written", written);
	if (n > written + 1)
		return bad(judge, "%" PRIu64 " lines, and %" PRIu64 " were written", n, written);
	return true;
}

static int judge_init(struct judge *judge, const struct ledger_place *place,
		      const struct ledger_head *head, struct err *err)
{
	struct buf key = {0};
	*judge = (struct judge){.head = head, .met = head->n == 0, .next = 1};
	int r = signing_public_key(&key, place->certificate, err);
	if (r == 0)
		judge->own_key = to_base64(key.data, key.len);
	buf_release(&key);
	return r;
}

static void judge_release(struct judge *judge)
{
	free(judge->own_key);
	free(judge->last_key);
}

/* The first that is found says where to begin to look. */
static void note_bad(struct ledger_report *out, const struct judge *judge, uint64_t line)
{
	if (!out->good)
		return;
	out->good = false;
	out->bad_line = line;
	memcpy(out->why, judge->why, sizeof(out->why));
}

int ledger_verify(const struct ledger_place *place, const struct ledger_head *head,
		  void (*line)(void *owner, const json_t *entry, const char *why), void *owner,
		  struct ledger_report *out, struct err *err)
{
	struct reader reader;
	struct judge judge;
	*out = (struct ledger_report){.good = true};
	int r = judge_init(&judge, place, head, err);
	int opened = reader_init(&reader, place->state_dir, r == 0 ? err : NULL);
	if (r == 0)
		r = opened;
	while (r >= 0 && (r = next_line(&reader, err)) > 0) {
		json_t *entry = json_loads(reader.line, JSON_REJECT_DUPLICATES, NULL);
		json_t *told = json_deep_copy(entry);
		out->lines = reader.head.n;
		bool good = line_is_good(&judge, &reader, entry);
		if (!good)
			note_bad(out, &judge, reader.head.n);
		if (line)
			line(owner, told, good ? NULL : judge.why);
		take_line(&judge, &reader, told);
		json_decref(entry);
		json_decref(told);
	}
	if (r >= 0 && !head_is_met(&judge, &reader))
		note_bad(out, &judge, 0);
	judge_release(&judge);
	reader_release(&reader);
	return r < 0 ? r : 0;
}
