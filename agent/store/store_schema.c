#include "agent/store/store_private.h"

/* Paths are blobs, so that SQLite orders them as memcmp does. WITHOUT ROWID keeps a record in the
 * tree of its key: a walk in path order reads pages in order. records_seq covers all that a walk
 * over what is pending looks at, and acked_seq is its mirror: the two are merged without touching
 * the tables. Content is found by its hash only where it is large: hashes come in no order, and an
 * index of all of them makes each transaction of a first sync write every page of it. */
#define ENTRY_TYPES                                                                                \
	"path BLOB NOT NULL, kind INTEGER NOT NULL, mode INTEGER NOT NULL, uid INTEGER NOT NULL, " \
	"gid INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, size INTEGER NOT NULL, hash BLOB, "      \
	"target BLOB, xattrs BLOB, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, "                 \
	"inst_dev INTEGER NOT NULL, inst_ino INTEGER NOT NULL, inst_size INTEGER NOT NULL, "       \
	"inst_mtime_ns INTEGER NOT NULL, inst_ctime_ns INTEGER NOT NULL, "                         \
	"inst_mode INTEGER NOT NULL, inst_uid INTEGER NOT NULL, inst_gid INTEGER NOT NULL, "       \
	"inst_nlink INTEGER NOT NULL, flags INTEGER NOT NULL, "

const char store_schema[] =
	"CREATE TABLE state(one INTEGER PRIMARY KEY CHECK(one=1), node TEXT NOT NULL,"
	" group_name TEXT NOT NULL, role INTEGER NOT NULL, adopt INTEGER NOT NULL,"
	" populated_checked INTEGER NOT NULL, preserve_ownership INTEGER NOT NULL,"
	" last_seq INTEGER NOT NULL, chain_n INTEGER NOT NULL, chain BLOB NOT NULL,"
	" digest BLOB NOT NULL, records INTEGER NOT NULL, files INTEGER NOT NULL,"
	" bytes INTEGER NOT NULL, foreign_entries INTEGER NOT NULL, barrier_seq INTEGER NOT NULL,"
	" barrier_clock_ns INTEGER NOT NULL, barrier_digest BLOB NOT NULL,"
	" clean INTEGER NOT NULL, set_digest BLOB NOT NULL);"
	"CREATE TABLE chain(n INTEGER PRIMARY KEY, hash BLOB NOT NULL);"
	"CREATE TABLE lineage(position INTEGER PRIMARY KEY, number INTEGER NOT NULL,"
	" id BLOB NOT NULL, parent BLOB NOT NULL, base_seq INTEGER NOT NULL, node TEXT NOT NULL,"
	" ends BLOB NOT NULL);"
	"CREATE TABLE handover(one INTEGER PRIMARY KEY CHECK(one=1), number INTEGER NOT NULL,"
	" due INTEGER NOT NULL, offered INTEGER NOT NULL, offer_number INTEGER NOT NULL,"
	" offer_id BLOB NOT NULL, offer_base INTEGER NOT NULL, offer_digest BLOB NOT NULL,"
	" offer_node TEXT NOT NULL);"
	"CREATE TABLE refusals(id BLOB PRIMARY KEY) WITHOUT ROWID;"
	"CREATE TABLE ledger(one INTEGER PRIMARY KEY CHECK(one=1), n INTEGER NOT NULL,"
	" hash BLOB NOT NULL);"
	"CREATE TABLE ledger_waits(n INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT NOT NULL);"
	"CREATE TABLE owed(one INTEGER PRIMARY KEY CHECK(one=1), reason TEXT NOT NULL,"
	" peer TEXT NOT NULL, epoch INTEGER NOT NULL);"
	"CREATE TABLE roots(at BLOB PRIMARY KEY, id BLOB NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE records(" ENTRY_TYPES
	"dead_at INTEGER NOT NULL, PRIMARY KEY(path)) WITHOUT ROWID;"
	"CREATE INDEX records_seq ON records(seq,path,kind,size);"
	"CREATE INDEX records_signed ON records(hash) WHERE " STORE_SIGNED ";"
	"CREATE INDEX records_inode ON records(inst_ino);"
	"CREATE INDEX records_dead ON records(path) WHERE dead_at>0;"
	"CREATE INDEX records_foreign ON records(path) WHERE (flags & 1)<>0;"
	"CREATE TABLE members(name BLOB NOT NULL, path BLOB NOT NULL, PRIMARY KEY(name,path))"
	" WITHOUT ROWID;"
	"CREATE TABLE members_of(one INTEGER PRIMARY KEY CHECK(one=1), profile BLOB NOT NULL);"
	"CREATE TABLE peers(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
	" chain_n INTEGER NOT NULL DEFAULT 0, chain BLOB);"
	"CREATE TABLE acked(peer INTEGER NOT NULL, path BLOB NOT NULL, seq INTEGER NOT NULL,"
	" kind INTEGER NOT NULL, hash BLOB, size INTEGER NOT NULL, PRIMARY KEY(peer,path))"
	" WITHOUT ROWID;"
	"CREATE INDEX acked_seq ON acked(peer,seq,path);"
	"CREATE TABLE signatures(hash BLOB PRIMARY KEY, signature BLOB NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE notes(kind INTEGER NOT NULL, path BLOB NOT NULL, reason TEXT NOT NULL,"
	" since_ns INTEGER NOT NULL, PRIMARY KEY(kind,path)) WITHOUT ROWID;"
	"CREATE TABLE holds(id INTEGER PRIMARY KEY AUTOINCREMENT, side INTEGER NOT NULL,"
	" cause INTEGER NOT NULL, state INTEGER NOT NULL, since_ns INTEGER NOT NULL,"
	" joined_ns INTEGER NOT NULL, decided_ns INTEGER NOT NULL, paths INTEGER NOT NULL,"
	" reason TEXT NOT NULL);"
	"CREATE TABLE journal(" ENTRY_TYPES
	"position INTEGER PRIMARY KEY, op INTEGER NOT NULL, temp TEXT NOT NULL,"
	" temp_ino INTEGER NOT NULL, install_mtime_ns INTEGER NOT NULL,"
	" keep_foreign INTEGER NOT NULL);"
	"CREATE TABLE salvage(id TEXT PRIMARY KEY, path BLOB NOT NULL, root_at BLOB NOT NULL,"
	" why TEXT NOT NULL, when_ns INTEGER NOT NULL, epoch INTEGER NOT NULL,"
	" dev INTEGER NOT NULL, ino INTEGER NOT NULL, size INTEGER NOT NULL,"
	" mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, mode INTEGER NOT NULL,"
	" uid INTEGER NOT NULL, gid INTEGER NOT NULL, nlink INTEGER NOT NULL,"
	" complete INTEGER NOT NULL, seen INTEGER NOT NULL, bytes INTEGER NOT NULL, hash BLOB)"
	" WITHOUT ROWID;"
	"CREATE TABLE canary(one INTEGER PRIMARY KEY CHECK(one=1), nonce INTEGER NOT NULL);"
	"CREATE TABLE undo(path BLOB NOT NULL, txn INTEGER NOT NULL, until_ns INTEGER NOT NULL,"
	" kind INTEGER NOT NULL, mode INTEGER NOT NULL, uid INTEGER NOT NULL,"
	" gid INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, size INTEGER NOT NULL, hash BLOB,"
	" target BLOB, xattrs BLOB, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,"
	" PRIMARY KEY(path,txn)) WITHOUT ROWID;"
	"CREATE INDEX undo_txn ON undo(txn,path);"
	"CREATE INDEX undo_hash ON undo(hash) WHERE hash IS NOT NULL;"
	"CREATE TABLE barriers(txn INTEGER PRIMARY KEY, seq INTEGER NOT NULL,"
	" first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, digest BLOB NOT NULL,"
	" records INTEGER NOT NULL, with_owner INTEGER NOT NULL);"
	"CREATE TABLE kept(hash BLOB NOT NULL, root_at BLOB NOT NULL, size INTEGER NOT NULL,"
	" temp TEXT, PRIMARY KEY(hash,root_at)) WITHOUT ROWID;"
	"CREATE INDEX kept_temp ON kept(temp) WHERE temp IS NOT NULL;";
