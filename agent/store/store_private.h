/* store_private.h - what the files of store/ share: connections with their prepared statements, the
 * transaction that carries state and digest along, and the columns of an entry. Nobody else
 * includes it. */
#ifndef STORE_STORE_PRIVATE_H
#define STORE_STORE_PRIVATE_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/store/content_map.h"
#include "agent/store/store.h"
#include "agent/store/store_history.h"

#define STORE_SCHEMA_VERSION 2
#define STORE_APPLICATION_ID 0x4153594e /* "ASYN": `file state.db` tells whose it is */
#define STORE_DB_NAME "state.db"
#define STORE_NEW_NAME "state.db.new"
#define STORE_LOCK_NAME "state.lock"
#define STORE_CHAINS_KEPT 4096
#define STORE_IDLE_READERS 4 /* connections that wait in the pool for the next cursor */
#define STORE_NOTE_KINDS 8

/* A row whose content may have a signature: a condition in SQL, the same in the index and in every
 * query that is to use it. */
#define SQL_TEXT_(x) #x
#define SQL_TEXT(x) SQL_TEXT_(x)
#define STORE_SIGNED "size>=" SQL_TEXT(STORE_SIGNED_MIN)

extern const char store_schema[];

/* ---- statements ------------------------------------------------------------------------------ */

/* The 22 columns of an entry, in the order that entry_bind() and entry_view() use. */
#define ENTRY_COLUMNS                                                                          \
	"path,kind,mode,uid,gid,mtime_ns,size,hash,target,xattrs,epoch,seq,"                   \
	"inst_dev,inst_ino,inst_size,inst_mtime_ns,inst_ctime_ns,inst_mode,inst_uid,inst_gid," \
	"inst_nlink,flags"
#define ENTRY_N 22
#define ENTRY_PARAMETERS \
	"?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22"

/* The 14 columns of what a record was. */
#define UNDO_COLUMNS \
	"path,txn,until_ns,kind,mode,uid,gid,mtime_ns,size,hash,target,xattrs,epoch,seq"

/* With min() SQLite takes the other columns of a group from the row that has it. */
#define UNDONE_PAGE(order)                                                                  \
	"SELECT path,min(txn),until_ns,kind,mode,uid,gid,mtime_ns,size,hash,target,xattrs," \
	"epoch,seq FROM undo WHERE path>=?1 AND path<?2 AND txn>?3 GROUP BY path ORDER BY " \
	"path" order

#define STORE_HISTORY_STATEMENTS(X)                                                                \
	X(UNDO_ADD, "INSERT OR IGNORE INTO undo(" UNDO_COLUMNS ")"                                 \
		    " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)")                     \
	X(UNDO_OF, "SELECT " UNDO_COLUMNS " FROM undo WHERE path=?1 ORDER BY txn DESC LIMIT ?2")   \
	X(UNDO_GET, "SELECT " UNDO_COLUMNS " FROM undo WHERE path=?1 AND txn=?2")                  \
	X(UNDO_OLDEST, "SELECT txn,path,until_ns,hash FROM undo ORDER BY txn,path LIMIT ?1")       \
	X(UNDO_DELETE, "DELETE FROM undo WHERE path=?1 AND txn=?2")                                \
	X(UNDO_NEEDS, "SELECT 1 FROM undo WHERE hash=?1 LIMIT 1")                                  \
	X(UNDO_COUNT, "SELECT count(*) FROM undo")                                                 \
	X(UNDONE, UNDONE_PAGE(""))                                                                 \
	X(UNDONE_BACK, UNDONE_PAGE(" DESC"))                                                       \
	X(RANGE_BACK,                                                                              \
	  "SELECT " ENTRY_COLUMNS " FROM records WHERE path>=?1 AND path<?2 ORDER BY path DESC")   \
	X(BARRIER_ADD, "INSERT OR REPLACE INTO barriers(txn,seq,first_ns,last_ns,digest,records,"  \
		       "with_owner) VALUES(?1,?2,?3,?4,?5,?6,?7)")                                 \
	X(BARRIER_AGAIN, "UPDATE barriers SET txn=?2,seq=?3,last_ns=max(last_ns,?4) WHERE txn=?1") \
	X(BARRIER_LAST, "SELECT txn,seq,first_ns,last_ns,digest,records,with_owner FROM barriers"  \
			" WHERE first_ns<=?1 ORDER BY txn DESC LIMIT 1")                           \
	X(BARRIER_FIRST, "SELECT txn,seq,first_ns,last_ns,digest,records,with_owner FROM barriers" \
			 " ORDER BY txn LIMIT 1")                                                  \
	X(BARRIER_IS, "SELECT 1 FROM barriers WHERE txn=?1")                                       \
	X(BARRIER_COUNT, "SELECT count(*) FROM barriers")                                          \
	X(BARRIER_PRUNE, "DELETE FROM barriers WHERE txn<?1")                                      \
	X(KEPT_ADD, "INSERT OR IGNORE INTO kept(hash,root_at,size,temp) VALUES(?1,?2,?3,?4)")      \
	X(KEPT_FIND, "SELECT 1 FROM kept WHERE hash=?1 AND root_at=?2")                            \
	X(KEPT_UNSETTLED, "SELECT hash,size,root_at,temp FROM kept WHERE temp IS NOT NULL")        \
	X(KEPT_CLAIMS, "SELECT 1 FROM kept WHERE temp=?1")                                         \
	X(KEPT_SETTLE, "UPDATE kept SET temp=NULL WHERE hash=?1 AND root_at=?2 AND temp=?3")       \
	X(KEPT_FORGET, "DELETE FROM kept WHERE hash=?1 AND root_at=?2 RETURNING size")             \
	X(KEPT_FREE, "DELETE FROM kept WHERE hash=?1 RETURNING hash,size,root_at,temp")            \
	X(KEPT_BYTES, "SELECT coalesce(sum(size),0) FROM kept")

#define STORE_STATEMENTS(X)                                                                        \
	X(BEGIN, "BEGIN IMMEDIATE")                                                                \
	X(BEGIN_READS, "BEGIN")                                                                    \
	X(COMMIT, "COMMIT")                                                                        \
	X(ROLLBACK, "ROLLBACK")                                                                    \
	X(LOAD_STATE, "SELECT node,group_name,role,adopt,populated_checked,preserve_ownership,"    \
		      "last_seq,chain_n,chain,digest,records,files,bytes,foreign_entries,"         \
		      "barrier_seq,barrier_clock_ns,barrier_digest,set_digest FROM state")         \
	X(SAVE_STATE, "UPDATE state SET role=?1,adopt=?2,populated_checked=?3,"                    \
		      "preserve_ownership=?4,last_seq=?5,chain_n=?6,chain=?7,digest=?8,"           \
		      "records=?9,files=?10,bytes=?11,foreign_entries=?12,barrier_seq=?13,"        \
		      "barrier_clock_ns=?14,barrier_digest=?15")                                   \
	X(SAVE_SET, "UPDATE state SET set_digest=?1")                                              \
	X(CHAIN_ADD, "INSERT OR REPLACE INTO chain(n,hash) VALUES(?1,?2)")                         \
	X(CHAIN_TRIM, "DELETE FROM chain WHERE n<=?1")                                             \
	X(CHAIN_GET, "SELECT hash FROM chain WHERE n=?1")                                          \
	X(LINEAGE_ALL,                                                                             \
	  "SELECT number,id,parent,base_seq,node,ends FROM lineage ORDER BY position")             \
	X(LINEAGE_CLEAR, "DELETE FROM lineage")                                                    \
	X(LINEAGE_ADD, "INSERT INTO lineage(position,number,id,parent,base_seq,node,ends)"         \
		       " VALUES(?1,?2,?3,?4,?5,?6,?7)")                                            \
	X(HANDOVER_GET, "SELECT number,due,offered,offer_number,offer_id,offer_base,offer_digest," \
			"offer_node FROM handover")                                                \
	X(HANDOVER_SET, "INSERT OR REPLACE INTO handover(one,number,due,offered,offer_number,"     \
			"offer_id,offer_base,offer_digest,offer_node)"                             \
			" VALUES(1,?1,?2,?3,?4,?5,?6,?7,?8)")                                      \
	X(REFUSAL_GET, "SELECT 1 FROM refusals WHERE id=?1")                                       \
	X(REFUSAL_ADD, "INSERT OR IGNORE INTO refusals(id) VALUES(?1)")                            \
	X(LEDGER_GET, "SELECT n,hash FROM ledger")                                                 \
	X(LEDGER_SET, "INSERT OR REPLACE INTO ledger(one,n,hash) VALUES(1,?1,?2)")                 \
	X(ENTRY_ADD, "INSERT INTO ledger_waits(entry) VALUES(?1)")                                 \
	X(ENTRY_NEXT, "SELECT n,entry FROM ledger_waits WHERE n>?1 ORDER BY n LIMIT 1")            \
	X(ENTRY_SET, "UPDATE ledger_waits SET entry=?2 WHERE n=?1")                                \
	X(ENTRY_DROP, "DELETE FROM ledger_waits WHERE n=?1")                                       \
	X(OWED_GET, "SELECT reason,peer,epoch FROM owed")                                          \
	X(OWED_SET, "INSERT OR REPLACE INTO owed(one,reason,peer,epoch) VALUES(1,?1,?2,?3)")       \
	X(LINEAGE_CUT, "DELETE FROM lineage WHERE position>=?1")                                   \
	X(ROOT_GET, "SELECT id FROM roots WHERE at=?1")                                            \
	X(ROOT_SET, "INSERT OR REPLACE INTO roots(at,id) VALUES(?1,?2)")                           \
	X(GET, "SELECT " ENTRY_COLUMNS " FROM records WHERE path=?1")                              \
	X(BY_INODE, "SELECT " ENTRY_COLUMNS " FROM records WHERE inst_ino=?1 AND inst_dev=?2"      \
		    " AND inst_size=?3 AND inst_mtime_ns=?4 AND inst_ctime_ns=?5"                  \
		    " AND hash IS NOT NULL")                                                       \
	X(LINKED, "SELECT path FROM records WHERE inst_ino=?1 AND kind=1 AND path<>?2 AND "        \
		  "(?4>1 OR inst_nlink>1) LIMIT ?3")                                               \
	X(LINKED_BENEATH,                                                                          \
	  "SELECT DISTINCT r.path FROM records d JOIN records r ON r.inst_ino=d.inst_ino"          \
	  " WHERE d.path>=?1 AND d.path<?2 AND d.kind=4 AND d.inst_nlink>1 AND r.kind=1 LIMIT ?3") \
	X(BY_HASH,                                                                                 \
	  "SELECT path FROM records WHERE hash=?1 AND kind=1 AND " STORE_SIGNED " LIMIT ?2")       \
	X(RANGE, "SELECT " ENTRY_COLUMNS " FROM records WHERE path>=?1 AND path<?2 ORDER BY path") \
	X(BENEATH, "SELECT path FROM records WHERE path>=?1 AND path<?2 AND kind<>4"               \
		   " ORDER BY path DESC LIMIT ?3")                                                 \
	X(BENEATH_ANY, "SELECT path FROM records WHERE path>=?1 AND path<?2"                       \
		       " ORDER BY path DESC LIMIT ?3")                                             \
	X(FOREIGN, "SELECT path FROM records WHERE (flags & 1)<>0 AND kind<>4"                     \
		   " ORDER BY path LIMIT ?1")                                                      \
	X(ABOVE, "SELECT path FROM records WHERE seq>?2 ORDER BY seq,path LIMIT ?1")               \
	X(ABOVE_OR_UNACKED,                                                                        \
	  "SELECT path FROM records WHERE seq>?2 OR (seq>0 AND NOT EXISTS(SELECT 1 FROM acked"     \
	  " WHERE peer=?3 AND acked.path=records.path AND acked.seq=records.seq))"                 \
	  " ORDER BY seq,path LIMIT ?1")                                                           \
	X(PUT, "INSERT INTO records(" ENTRY_COLUMNS ",dead_at) VALUES(" ENTRY_PARAMETERS ",0)"     \
	       " ON CONFLICT(path) DO UPDATE SET kind=?2,mode=?3,uid=?4,gid=?5,mtime_ns=?6,"       \
	       "size=?7,hash=?8,target=?9,xattrs=?10,epoch=?11,seq=?12,inst_dev=?13,inst_ino=?14," \
	       "inst_size=?15,inst_mtime_ns=?16,inst_ctime_ns=?17,inst_mode=?18,inst_uid=?19,"     \
	       "inst_gid=?20,inst_nlink=?21,flags=?22,dead_at=0")                                  \
	X(BURY, "INSERT INTO records(" ENTRY_COLUMNS ",dead_at) VALUES(?1,4,0,0,0,0,0,NULL,NULL,"  \
		"NULL,?2,?3,0,0,0,0,0,0,0,0,0,?4,?5) ON CONFLICT(path) DO UPDATE SET kind=4,"      \
		"mode=0,mtime_ns=0,target=NULL,xattrs=NULL,epoch=?2,seq=?3,flags=?4,dead_at=?5")   \
	X(FORGET, "DELETE FROM records WHERE path=?1")                                             \
	X(SET_INSTALLED, "UPDATE records SET inst_dev=?2,inst_ino=?3,inst_size=?4,"                \
			 "inst_mtime_ns=?5,inst_ctime_ns=?6,inst_mode=?7,inst_uid=?8,inst_gid=?9," \
			 "inst_nlink=?10,flags=CASE WHEN ?11<0 THEN flags"                         \
			 " ELSE (?11 & ~1)|(flags & 1) END WHERE path=?1 AND kind<>4")             \
	X(MEMBER_ADD, "INSERT OR IGNORE INTO members(name,path) VALUES(?1,?2)")                    \
	X(MEMBERS_CLEAR, "DELETE FROM members")                                                    \
	X(MEMBERS_OF, "SELECT profile FROM members_of")                                            \
	X(MEMBERS_OF_SET, "INSERT OR REPLACE INTO members_of(one,profile) VALUES(1,?1)")           \
	X(MEMBERS_LIVE, "SELECT m.path FROM members m JOIN records r ON r.path=m.path"             \
			" WHERE m.name=?1 AND r.kind<>4 ORDER BY m.path LIMIT ?2")                 \
	X(MEMBERS_PENDING,                                                                         \
	  "SELECT r.path,r.seq,r.kind,r.size,r.mtime_ns FROM members m JOIN records r"             \
	  " ON r.path=m.path LEFT JOIN acked a ON a.peer=?1 AND a.path=m.path WHERE m.name=?2"     \
	  " AND r.seq>0 AND (a.seq IS NULL OR a.seq<>r.seq) ORDER BY r.kind=4,r.path LIMIT ?3")    \
	X(PEERS, "SELECT id,name FROM peers")                                                      \
	X(PEER_ADD, "INSERT INTO peers(name) VALUES(?1)")                                          \
	X(PEER_CHAIN, "SELECT chain_n,chain FROM peers WHERE id=?1")                               \
	X(PEER_SET_CHAIN, "UPDATE peers SET chain_n=?2,chain=?3 WHERE id=?1")                      \
	X(ACKED, "SELECT seq,kind,hash,size FROM acked WHERE peer=?1 AND path=?2")                 \
	X(ACKED_SEQ, "SELECT seq FROM acked WHERE peer=?1 AND path=?2")                            \
	X(ACKED_CONTENTS, "SELECT seq,hash FROM acked WHERE peer=?1 AND hash IS NOT NULL")         \
	X(ACKED_AT, "SELECT path FROM acked WHERE peer=?1 AND seq=?2 AND hash=?3 LIMIT 1")         \
	X(ACK, "INSERT INTO acked(peer,path,seq,kind,hash,size) VALUES(?1,?2,?3,?4,?5,?6)"         \
	       " ON CONFLICT(peer,path) DO UPDATE SET seq=?3,kind=?4,hash=?5,size=?6")             \
	X(ACK_ALL, "INSERT OR REPLACE INTO acked(peer,path,seq,kind,hash,size)"                    \
		   " SELECT ?1,path,seq,kind,CASE kind WHEN 1 THEN hash END,"                      \
		   "CASE kind WHEN 1 THEN size ELSE 0 END FROM records WHERE seq>0 AND seq<=?2")   \
	X(UNACK, "DELETE FROM acked WHERE peer=?1 AND path=?2")                                    \
	X(UNACK_ALL, "DELETE FROM acked WHERE peer=?1")                                            \
	X(BY_SEQ, "SELECT seq,path,kind,size FROM records WHERE seq>?1 ORDER BY seq,path")         \
	X(ACKED_BY_SEQ, "SELECT seq,path FROM acked WHERE peer=?1 AND seq>?2 ORDER BY seq,path")   \
	X(TOMBSTONES, "SELECT path,seq,dead_at FROM records WHERE dead_at>0 AND path>?1"           \
		      " ORDER BY path LIMIT ?2")                                                   \
	X(SIGNATURE, "SELECT signature FROM signatures WHERE hash=?1")                             \
	X(SIGNATURE_SET, "INSERT OR REPLACE INTO signatures(hash,signature) VALUES(?1,?2)")        \
	X(SIGNATURE_PRUNE,                                                                         \
	  "DELETE FROM signatures WHERE NOT EXISTS (SELECT 1 FROM records WHERE " STORE_SIGNED     \
	  " AND hash=signatures.hash AND kind=1) AND hash NOT IN (SELECT hash FROM acked"          \
	  " WHERE hash IS NOT NULL)")                                                              \
	X(NOTE_GET, "SELECT reason FROM notes WHERE kind=?1 AND path=?2")                          \
	X(NOTE_SET, "INSERT OR REPLACE INTO notes(kind,path,reason,since_ns) VALUES(?1,?2,?3,?4)") \
	X(NOTE_DELETE, "DELETE FROM notes WHERE kind=?1 AND path=?2")                              \
	X(NOTES_CLEAR, "DELETE FROM notes WHERE kind=?1")                                          \
	X(NOTES_UP_TO, "SELECT path,reason,since_ns FROM notes WHERE kind=?1 ORDER BY path"        \
		       " LIMIT ?2")                                                                \
	X(FILES_SINCE, "SELECT path,hash FROM records WHERE seq>?1 AND kind=1")                    \
	X(HOLD_ADD, "INSERT INTO holds(side,cause,state,since_ns,joined_ns,decided_ns,paths,"      \
		    "reason) VALUES(?1,?2,1,?3,?3,0,0,?4)")                                        \
	X(HOLD_JOIN, "UPDATE holds SET joined_ns=?2,paths=paths+?3,reason=?4 WHERE id=?1")         \
	X(HOLD_GET, "SELECT id,side,cause,state,since_ns,joined_ns,decided_ns,paths,reason"        \
		    " FROM holds WHERE id=?1")                                                     \
	X(HOLDS, "SELECT id,side,cause,state,since_ns,joined_ns,decided_ns,paths,reason"           \
		 " FROM holds ORDER BY id")                                                        \
	X(HOLD_DECIDE, "UPDATE holds SET state=?2,decided_ns=?3 WHERE id=?1")                      \
	X(HOLD_LESS, "UPDATE holds SET paths=paths-1 WHERE id=?1")                                 \
	X(HOLDS_DONE, "DELETE FROM holds WHERE paths<=0")                                          \
	X(HOLDS_CLEAR, "DELETE FROM holds WHERE side=?1")                                          \
	X(HOLD_NOTES_CLEAR, "DELETE FROM notes WHERE kind=5 AND NOT EXISTS (SELECT 1 FROM holds"   \
			    " WHERE holds.id=CAST(notes.reason AS INTEGER))")                      \
	X(HOLD_BENEATH, "SELECT path,CAST(reason AS INTEGER) FROM notes WHERE kind=5"              \
			" AND path>=?1 AND path<?2 ORDER BY path LIMIT ?3")                        \
	X(HOLD_BENEATH_CLOSED,                                                                     \
	  "SELECT h.id FROM notes n JOIN holds h ON h.id=CAST(n.reason AS INTEGER) WHERE n.kind=5" \
	  " AND n.path>=?1 AND n.path<?2 AND NOT (h.state=2 AND h.decided_ns>?3) LIMIT 1")         \
	X(HOLD_PATHS, "SELECT path,since_ns FROM notes WHERE kind=5 AND reason=?1 AND path>?2"     \
		      " ORDER BY path LIMIT ?3")                                                   \
	X(NOTE_COUNTS, "SELECT kind,count(*) FROM notes GROUP BY kind")                            \
	X(JOURNAL_ANY, "SELECT 1 FROM journal LIMIT 1")                                            \
	X(JOURNAL_ADD,                                                                             \
	  "INSERT INTO journal(" ENTRY_COLUMNS ",position,op,temp,temp_ino,"                       \
	  "install_mtime_ns,keep_foreign) VALUES(" ENTRY_PARAMETERS ",?23,?24,?25,?26,?27,?28)")   \
	X(JOURNAL_ALL, "SELECT " ENTRY_COLUMNS ",op,temp,temp_ino,install_mtime_ns,keep_foreign"   \
		       " FROM journal ORDER BY position")                                          \
	X(JOURNAL_CLEAR, "DELETE FROM journal")                                                    \
	X(SALVAGE_ADD, "INSERT INTO salvage(id,path,root_at,why,when_ns,epoch,dev,ino,size,"       \
		       "mtime_ns,ctime_ns,mode,uid,gid,nlink,complete,seen,bytes,hash)"            \
		       " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,0,0,?16,?17)")  \
	X(SALVAGE_COMPLETE, "UPDATE salvage SET complete=1 WHERE id=?1 AND complete=0")            \
	X(SALVAGE_FORGET, "DELETE FROM salvage WHERE id=?1 RETURNING complete,bytes")              \
	X(SALVAGE_COUNT, "SELECT coalesce(sum(complete),0),coalesce(sum(bytes),0) FROM salvage")   \
	X(SALVAGE_SEEN, "UPDATE salvage SET seen=1 WHERE id=?1")                                   \
	X(SALVAGE_UNSEEN, "SELECT count(*) FROM salvage WHERE complete=1 AND seen=0")              \
	X(CANARY_SET, "INSERT OR REPLACE INTO canary(one,nonce) VALUES(1,?1)")                     \
	X(SALVAGE_ALL, "SELECT id,path,root_at,why,when_ns,epoch,dev,ino,size,mtime_ns,ctime_ns,"  \
		       "mode,uid,gid,nlink,complete,seen,bytes,hash FROM salvage ORDER BY id")     \
	STORE_HISTORY_STATEMENTS(X)                                                                \
	X(SET_CLEAN, "UPDATE state SET clean=?1")                                                  \
	X(GET_CLEAN, "SELECT clean FROM state")

enum statement {
#define X(name, text) SQL_##name,
	STORE_STATEMENTS(X)
#undef X
		SQL_COUNT
};

/* ---- connections (store_sql.c) ----------------------------------------------------------------
 */

struct conn {
	sqlite3 *db;
	sqlite3_stmt *statements[SQL_COUNT]; /* prepared at first use */
	struct conn *next;		     /* in the pool */
};

int conn_open(struct conn **out, const char *path, bool writer, struct err *err);
void conn_free(struct conn *conn);
DEFINE_AUTO(conn)
void conn_shrink(struct conn *conn); /* the disk is full: it gives back what it can */

/* The prepared statement, reset, without values. NULL with *err when it cannot be prepared. */
sqlite3_stmt *conn_statement(struct conn *conn, enum statement which, struct err *err);
/* Ends the use of a statement on scope exit: AUTO(sqlite3_stmt) *s = conn_statement(...). The
 * statement itself lives as long as its connection. */
static inline void sqlite3_stmt_free(sqlite3_stmt *s)
{
	if (s) {
		sqlite3_reset(s);
		sqlite3_clear_bindings(s);
	}
}
DEFINE_AUTO(sqlite3_stmt)

/* @return 1 a row, 0 no more, negative errno */
int statement_step(sqlite3_stmt *s, struct err *err);
/* Runs to the end. @return 0 or negative errno */
int statement_run(sqlite3_stmt *s, struct err *err);
/* One statement without values. */
int conn_run(struct conn *conn, enum statement which, struct err *err);
int sql_error(sqlite3 *db, struct err *err, const char *what); /* what SQLite says, as an errno */

void bind_int(sqlite3_stmt *s, int at, int64_t value);
void bind_bytes(sqlite3_stmt *s, int at, const void *bytes, size_t len); /* NULL is NULL */
void bind_path(sqlite3_stmt *s, int at, const char *path);		 /* as a blob */
void bind_hash(sqlite3_stmt *s, int at, const uint8_t hash[HASH_LEN]);
/* NUL-terminated, valid until the next step */
const char *column_path(sqlite3_stmt *s, int at);
/* @return false when the column is not a blob of exactly len bytes; out is zeroed then */
bool column_fixed(sqlite3_stmt *s, int at, void *out, size_t len);

void entry_bind(sqlite3_stmt *s, const struct index_entry *entry); /* ?1 .. ?22 */
/* What the row holds, borrowed from the statement until its next step. A tombstone's row keeps
 * hash, size and stat of what was there last. */
void entry_view(struct index_entry *out, sqlite3_stmt *s);
/* Takes from a tombstone what only its row keeps, so that it is a plain one. */
void entry_make_plain(struct index_entry *entry);
void file_stat_bind(sqlite3_stmt *s, int at, const struct file_stat *st); /* nine parameters */
void file_stat_column(struct file_stat *out, sqlite3_stmt *s, int at);

/* Greater than every legal path: no component has more than 255 bytes, so none begins with 256
 * times the greatest byte. */
const char *path_above_all(void);
/* The range of what is beneath `path` without itself: "a" -> "a/" .. "a0"; "" -> all but "". Heap.
 */
void path_range_beneath(char **lo, char **hi, const char *path);

/* ---- the store --------------------------------------------------------------------------------
 */

/* What is known of a peer, in memory, derived from the rows. */
struct peer {
	char name[WIRE_NAME_MAX + 1];
	int64_t id;
	uint64_t watermark; /* every record with seq <= watermark is acknowledged */
	uint64_t lowered;   /* counts how often the watermark went down */
	bool counted;	    /* changes and bytes are valid and kept up with every transaction */
	uint64_t changes, bytes;
	/* of the transaction under way; the writer's */
	int64_t delta_changes, delta_bytes;
	uint64_t lower_to; /* UINT64_MAX: leave the watermark */
	/* where it has which content; made of the table when it is first asked for */
	struct content_map content;
	bool content_known;
	size_t content_loaded; /* entries it was made of */
};

struct unfinished {
	struct unfinished *next;
	char id[SALVAGE_ID_MAX];
};

struct store {
	char *dir;
	char *db_path;
	int lock_fd;
	int64_t last_vouched_ns;    /* its mtime, as the last run left it */
	pthread_mutex_t write_lock; /* writer, scratch */
	struct conn *writer;
	uint8_t *scratch;	   /* RECORD_ELEMENT_MAX */
	pthread_mutex_t read_lock; /* recursive: store_begin_reads() holds it across calls */
	struct conn *reader;
	pthread_mutex_t pool_lock;
	struct conn *pool;
	size_t pooled;
	pthread_mutex_t state_lock; /* everything below; last in the order write, read, state */
	struct store_state state;
	struct digest set;
	uint64_t epoch; /* number of the last lineage entry; 0 without one */
	uint64_t notes[STORE_NOTE_KINDS];
	uint64_t salvaged, salvaged_bytes;
	struct unfinished *unfinished; /* moves into the salvage whose end is not recorded yet */
	const struct profile *profile; /* says which paths are members of sets; NULL: none is */
	bool recording;		       /* store_history_record() */
	struct history_counts history;
	struct peer **peers; /* stable addresses */
	size_t n_peers, cap_peers;
};

int store_take_reader(struct conn **out, struct store *store, struct err *err); /* from the pool */
void store_give_reader(struct store *store, struct conn *conn);
/* NULL when nothing is known of that peer. */
struct peer *store_find_peer(struct store *store, const char *name);

/* store_content.c: what a peer has by content. Noted with each acknowledgement; forgotten when many
 * come at once, and then made anew. Notes of a transaction that fails do no harm. */
void content_note(struct store *store, struct peer *peer, const struct acked *ack);
void content_forget(struct store *store, struct peer *peer);

void salvage_forget_unfinished(struct store *store); /* store_salvage.c */

/* ---- transactions (store_txn.c) ----------------------------------------------------------------
 */

/* A writing transaction: holds the write lock from begin to end; carries the state as it will be.
 */
struct txn {
	struct store *store;
	struct conn *conn;
	const char *what;	  /* extends the chain under this name; NULL: does not */
	struct store_state state; /* becomes the store's when committed */
	struct digest set;
	bool state_changed, set_changed;
	uint64_t epoch;
	struct peer *new_peer; /* made in this transaction; joins the others when committed */
	int64_t notes[STORE_NOTE_KINDS]; /* by how much the counts change */
	int64_t salvaged, salvaged_bytes;
	struct history_counts history; /* becomes the store's when committed */
	bool recording;
	int64_t now_ns;
};

/**
 * @param what  name under which the chain hash is extended: index, role, lineage and
 * acknowledgements; NULL for what another node never learns of
 */
int txn_begin(struct txn *t, struct store *store, const char *what, struct err *err);
/* Commits when result is 0, else rolls back. @return result, or why committing failed */
int txn_end(struct txn *t, int result, struct err *err);

/* The peer's row, made when there is none. */
int txn_peer(struct peer **out, struct txn *t, const char *name, struct err *err);

/* A row of the lineage. */
/* An entry that waits for its line in the ledger. @param n  receives its number; may be NULL */
int txn_add_entry(struct txn *t, const char *entry, uint64_t *n, struct err *err);
int txn_add_epoch(struct txn *t, size_t position, const struct epoch_entry *epoch, struct err *err);

/* Each takes the old version out of digest and counts and brings the new one in. `old` is what the
 * index holds, or NULL. */
int txn_put(struct txn *t, const struct index_entry *old, const struct index_entry *entry,
	    struct err *err);
int txn_bury(struct txn *t, const struct index_entry *old, const char *path, uint64_t epoch,
	     uint64_t seq, unsigned flags, struct err *err);
int txn_forget(struct txn *t, const struct index_entry *old, struct err *err);
int txn_forget_path(struct txn *t, const char *path, struct err *err); /* 0 also when absent */
/* inst always, flags unless negative; FOREIGN stays as it is */
int txn_set_installed(struct txn *t, const char *path, const struct file_stat *inst, int flags,
		      struct err *err);
/* @return 1 with *out borrowed from *s (end its use), 0 without such an entry, negative errno */
int txn_get(sqlite3_stmt **s, struct index_entry *out, struct txn *t, const char *path,
	    struct err *err);
/* store_members.c: the path is entered under the consistency set it is in, if any. */
int txn_note_member(struct txn *t, const char *path, struct err *err);
/* Everything into the digest again from the rows. */
int txn_recount(struct txn *t, struct err *err);

/* ---- history (store_history.c) ------------------------------------------------------------------
 */

/* A record is about to change: keeps what it was, unless that is what comes. Either may be NULL. */
int txn_remember(struct txn *t, const char *path, const struct index_entry *old,
		 const struct index_entry *now, struct err *err);
/* The tree as it is now equals the active's. */
int txn_note_barrier(struct txn *t, uint64_t seq, int64_t sent_ns, struct err *err);
/* The version that goes was what `order` says is in stage/: it will be kept, unless the one that
 * comes has the same bytes. */
int txn_promise(struct txn *t, struct keep_order *order, const struct index_entry *old,
		const struct record *now, struct err *err);
int history_load_counts(struct store *store, struct err *err);
void kept_object_read(struct kept_object *out, sqlite3_stmt *s); /* hash, size, root_at, temp */

/* For every path in lo <= path < hi, the last one first, in chunks so that a subtree of any size
 * fits. */
int txn_each_beneath(struct txn *t, const char *path, bool tombstones_too,
		     int (*act)(struct txn *t, const char *path, struct err *err), struct err *err);

#endif
