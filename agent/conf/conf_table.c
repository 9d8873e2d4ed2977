#include "agent/conf/conf_table.h"

#include "agent/conf/conf.h"

#define AT(field) offsetof(struct conf, field)
#define LIST_AT(field) .off = AT(field), .count_off = AT(n_##field)
#define PEER_AT(field) offsetof(struct conf_peer, field)

static const char *const drift_choices[] = {"revert", "report", NULL};
static const char *const log_choices[] = {"error", "warn", "info", "debug", NULL};

const struct conf_key conf_keys[] = {
	{.name = "node",
	 .type = CONF_TEXT,
	 .off = AT(node),
	 .required = true,
	 .check = conf_check_name,
	 .example = "\"region-a\"",
	 .help = "Name of this node. Peers know it by this name."},
	{.name = "group",
	 .type = CONF_TEXT,
	 .off = AT(group),
	 .required = true,
	 .check = conf_check_name,
	 .example = "\"is\"",
	 .help = "Name of the nodes that replicate one tree. Nodes of different groups refuse each "
		 "other."},
	{.name = "tree",
	 .type = CONF_TEXT,
	 .off = AT(tree),
	 .required = true,
	 .check = conf_check_directory,
	 .example = "\"/opt/wso2is/repository\"",
	 .help = "The directory to replicate. The agent keeps a directory .artifact-sync of its "
		 "own in it."},
	{.name = "follow",
	 .type = CONF_LIST,
	 LIST_AT(follow),
	 .check = conf_check_followed,
	 .without = "none",
	 .example = "[\"tenants\", \"deployment/server/userstores\"]",
	 .help = "Directories in the tree that are symbolic links or mounts and are to be entered "
		 "all the same, "
		 "relative to the tree. Others are reported and not entered."},
	{.name = "state_dir",
	 .type = CONF_TEXT,
	 .off = AT(state_dir),
	 .required = true,
	 .check = conf_check_directory,
	 .example = "\"/var/lib/artifact-sync\"",
	 .help = "Where the agent keeps its state, key and control socket (0700). On a local disk, "
		 "outside the "
		 "tree, never restored from a backup on its own."},
	{.name = "listen",
	 .type = CONF_TEXT,
	 .off = AT(listen),
	 .check = conf_check_listen,
	 .without = "not listening: this node only dials",
	 .example = "\"0.0.0.0:7443\"",
	 .help = "Address and port on which peers reach this node; [address]:port for IPv6."},
	{.name = "peers",
	 .type = CONF_PEERS,
	 LIST_AT(peers),
	 .live = true,
	 .without = "none",
	 .max = CONF_PEERS_MAX,
	 .example = "[{\"node\": \"region-b\", \"address\": \"b.example.org:7443\", "
		    "\"fingerprints\": [\"sha256:...\"]}]",
	 .help = "The other nodes of the group. artifact-sync pair writes them."},
	{.name = "tls.certificate",
	 .type = CONF_TEXT,
	 .off = AT(tls_certificate),
	 .live = true,
	 .check = conf_check_directory,
	 .without = "STATE_DIR/node.crt",
	 .example = "\"/etc/artifact-sync/node.crt\"",
	 .help = "PEM file with this node's certificate."},
	{.name = "tls.key",
	 .type = CONF_TEXT,
	 .off = AT(tls_key),
	 .live = true,
	 .check = conf_check_directory,
	 .without = "STATE_DIR/node.key",
	 .example = "\"/etc/artifact-sync/node.key\"",
	 .help = "PEM file with the private key of the certificate (0600)."},
	{.name = "profile",
	 .type = CONF_TEXT,
	 .off = AT(profile),
	 .check = conf_check_text,
	 .def_text = "wso2is",
	 .example = "\"wso2is+keys\"",
	 .help = "What is replicated: \"all\", or \"wso2is\" with any of the sub-profiles keys, "
		 "conf, webapps and "
		 "ext joined by +. It must be the same on every node."},
	{.name = "rules",
	 .type = CONF_LIST,
	 LIST_AT(rules),
	 .check = conf_check_text,
	 .without = "none",
	 .example = "[\"- **/*.log\", \"+ resources/identity/pages/**\"]",
	 .help = "Rules of your own, judged before the profile's; the first that matches wins. \"+ "
		 "PATTERN\" "
		 "replicates, \"- PATTERN\" leaves out (a directory with all beneath it), \"= "
		 "PATTERN\" compares "
		 "only. \"+ set=NAME PATTERN\" replicates as members of a consistency set. They "
		 "must be the same on every node."},
	{.name = "ownership",
	 .type = CONF_TEXT,
	 .off = AT(ownership),
	 .check = conf_check_ownership,
	 .def_text = "ignore",
	 .example = "\"802:802\"",
	 .help = "Owners of replicated files: \"ignore\" leaves them to the system, \"preserve\" "
		 "copies the numbers, "
		 "\"USER:GROUP\" (names or numbers) gives every file to that owner."},
	{.name = "setid",
	 .type = CONF_BOOL,
	 .off = AT(setid),
	 .max = 1,
	 .def = 0,
	 .help = "Replicate setuid and setgid bits. false: what has them arrives without, and "
		 "status says so. Must be the same on every node; what is replicated already gets "
		 "them when it changes next."},
	{.name = "settle_ms",
	 .type = CONF_U32,
	 .off = AT(settle_ms),
	 .live = true,
	 .max = 60000,
	 .def = 25,
	 .unit = "milliseconds",
	 .help = "Quiet time after the last change of a path before it is read."},
	{.name = "settle_max_ms",
	 .type = CONF_U32,
	 .off = AT(settle_max_ms),
	 .live = true,
	 .min = 100,
	 .max = 3600000,
	 .def = 30000,
	 .unit = "milliseconds",
	 .help = "A path that never falls quiet or stays open for writing is read after this time "
		 "all the same."},
	{.name = "set_settle_ms",
	 .type = CONF_U32,
	 .off = AT(set_settle_ms),
	 .live = true,
	 .max = 60000,
	 .def = 1000,
	 .unit = "milliseconds",
	 .help = "Quiet time after the last change of any member of a consistency set before the "
		 "set is read: members changed within it of each other are one change."},
	{.name = "scan_interval_s",
	 .type = CONF_U32,
	 .off = AT(scan_interval_s),
	 .live = true,
	 .min = 1,
	 .max = 604800,
	 .def = 600,
	 .unit = "seconds",
	 .help = "Time between two comparisons of the whole tree with the index. On NFS, SMB and "
		 "FUSE, which do not "
		 "report what other clients change, at most 15 seconds are used."},
	{.name = "max_delete",
	 .type = CONF_U32,
	 .off = AT(max_delete),
	 .live = true,
	 .max = 100,
	 .def = UINT32_MAX,
	 .without = "20 in profile wso2is, 50 in all",
	 .unit = "per cent",
	 .help = "Delete brake: when more than this share of the files (and more than ten), or all "
		 "of a tree that had three or more, are deleted, emptied or replaced by links or "
		 "directories within a minute, they are held until artifact-sync approve. Moves do "
		 "not count. "
		 "Each node judges for itself. 0 turns it off."},
	{.name = "max_rewrite",
	 .type = CONF_U32,
	 .off = AT(max_rewrite),
	 .live = true,
	 .max = 100,
	 .def = 0,
	 .unit = "per cent",
	 .help = "Rewrite brake: when the content of more than this share of the files (and of "
		 "more than ten) "
		 "changes within a minute, what is past it is held until artifact-sync approve. 0 "
		 "turns it off: an "
		 "update of the product rewrites everything. Where nobody updates unannounced, 50 "
		 "stops a script "
		 "or an encryptor that runs wild."},
	{.name = "peer_approvals",
	 .type = CONF_BOOL,
	 .off = AT(peer_approvals),
	 .live = true,
	 .max = 1,
	 .def = 1,
	 .help = "A passive node lets through what a person approved on the active one. false: it "
		 "judges all by its "
		 "own brakes and is to be asked by artifact-sync approve itself."},
	{.name = "drift",
	 .type = CONF_TEXT,
	 .off = AT(drift),
	 .live = true,
	 .def_text = "revert",
	 .choices = drift_choices,
	 .example = "\"report\"",
	 .help = "What a passive node does with a local change of a replicated path, or with a "
		 "new file within the profile: \"revert\" puts the replicated version back and "
		 "moves "
		 "the local one to the salvage (a path that is changed again after three times "
		 "within "
		 "a minute is then only reported), \"report\" only reports it (for a passive "
		 "server "
		 "that is running)."},
	{.name = "gates",
	 .type = CONF_BOOL,
	 .off = AT(gates),
	 .max = 1,
	 .def = 1,
	 .help = "Hold XML that is not well formed, JSON that does not parse and files that were "
		 "emptied, as the "
		 "profile says, instead of replicating them."},
	{.name = "hooks.before_demote",
	 .type = CONF_ARGV,
	 .off = AT(hook_before_demote),
	 .check = conf_check_text,
	 .without = "none",
	 .example = "[\"/usr/bin/systemctl\", \"stop\", \"wso2is\"]",
	 .help = "Command and arguments run on the active node before it hands over: stop the "
		 "server. No shell."},
	{.name = "hooks.after_demote",
	 .type = CONF_ARGV,
	 .off = AT(hook_after_demote),
	 .check = conf_check_text,
	 .without = "none",
	 .help = "Run once this node has become passive: make the tree read-only for everybody "
		 "else."},
	{.name = "hooks.before_promote",
	 .type = CONF_ARGV,
	 .off = AT(hook_before_promote),
	 .check = conf_check_text,
	 .without = "none",
	 .help = "Run on the passive node before it takes over: a failure refuses the reverse."},
	{.name = "hooks.after_promote",
	 .type = CONF_ARGV,
	 .off = AT(hook_after_promote),
	 .check = conf_check_text,
	 .without = "none",
	 .example = "[\"/usr/bin/systemctl\", \"start\", \"wso2is\"]",
	 .help = "Run once this node is active: open the tree for writing and start the server."},
	{.name = "hooks.on_fenced",
	 .type = CONF_ARGV,
	 .off = AT(hook_on_fenced),
	 .check = conf_check_text,
	 .without = "none",
	 .example = "[\"/usr/bin/systemctl\", \"stop\", \"wso2is\"]",
	 .help = "Run when this node learns that another one took over: stop the server. The tree "
		 "is not touched "
		 "before it has ended well."},
	{.name = "hooks.on_drift",
	 .type = CONF_ARGV,
	 .off = AT(hook_on_drift),
	 .check = conf_check_text,
	 .without = "none",
	 .help = "Run when somebody changed a replicated file on the passive node."},
	{.name = "http.listen",
	 .type = CONF_TEXT,
	 .off = AT(http_listen),
	 .check = conf_check_listen,
	 .without = "no HTTP",
	 .help = "Where a status page and metrics are served, for example \"127.0.0.1:9464\": / "
		 "/metrics /healthz /readyz /role/active /role/passive /api/v1/status. Whoever "
		 "reaches it can read names and numbers, and change nothing; keep it on a loopback "
		 "address or on a network of your own."},
	{.name = "history.keep_days",
	 .type = CONF_U32,
	 .off = AT(history_keep_days),
	 .live = true,
	 .max = 3650,
	 .def = 7,
	 .unit = "days",
	 .help = "How long earlier versions are kept, while a peer confirms the clock. They hold "
		 "the same secrets as the files. 0 keeps none."},
	{.name = "history.keep_bytes",
	 .type = CONF_U64,
	 .off = AT(history_keep_bytes),
	 .live = true,
	 .max = UINT64_C(1) << 50,
	 .def = UINT64_C(1) << 30,
	 .unit = "bytes",
	 .help = "Earlier versions use at most this much, and less where the disk would have less "
		 "than 512 MiB "
		 "(10 % of a small one) left; the oldest go first."},
	{.name = "limits.rate_bytes_per_s",
	 .type = CONF_U64,
	 .off = AT(rate_bytes_per_s),
	 .live = true,
	 .max = UINT64_C(1) << 40,
	 .def = 0,
	 .unit = "bytes per second",
	 .help = "Sending to all peers together stays below this. 0 does not limit."},
	{.name = "limits.window_bytes",
	 .type = CONF_U64,
	 .off = AT(window_bytes),
	 .live = true,
	 .min = UINT64_C(1) << 20,
	 .max = UINT64_C(1) << 30,
	 .def = UINT64_C(32) << 20,
	 .unit = "bytes",
	 .help = "Content on its way to one peer that it has not acknowledged. Enough for "
		 "bandwidth times round "
		 "trip."},
	{.name = "limits.salvage_bytes",
	 .type = CONF_U64,
	 .off = AT(salvage_bytes),
	 .live = true,
	 .max = UINT64_C(1) << 50,
	 .def = UINT64_C(10) << 30,
	 .unit = "bytes",
	 .help = "What was moved out of the way uses at most this much. It is never removed by "
		 "itself: from 80 per "
		 "cent on status says so, and what finds it full is refused and replaces nothing. "
		 "artifact-sync "
		 "salvage purge makes room. 0 does not limit."},
	{.name = "tombstone_days",
	 .type = CONF_U32,
	 .off = AT(tombstone_days),
	 .live = true,
	 .min = 1,
	 .max = 3650,
	 .def = 30,
	 .unit = "days",
	 .help = "How long a deletion is remembered for a peer that does not come. One that is "
		 "away longer is "
		 "compared in full when it returns."},
	{.name = "log",
	 .type = CONF_TEXT,
	 .off = AT(log_level),
	 .live = true,
	 .def_text = "info",
	 .choices = log_choices,
	 .example = "\"debug\"",
	 .help = "The least important kind of line that is logged."},
	{.name = NULL},
};

const struct conf_key conf_peer_keys[] = {
	{.name = "node",
	 .type = CONF_TEXT,
	 .off = PEER_AT(node),
	 .required = true,
	 .check = conf_check_name,
	 .example = "\"region-b\"",
	 .help = "The peer's own name."},
	{.name = "address",
	 .type = CONF_TEXT,
	 .off = PEER_AT(address),
	 .check = conf_check_address,
	 .without = "it dials us",
	 .example = "\"b.example.org:7443\"",
	 .help = "Where to reach it."},
	{.name = "fingerprints",
	 .type = CONF_LIST,
	 .off = PEER_AT(fingerprints),
	 .count_off = PEER_AT(n_fingerprints),
	 .check = conf_check_fingerprint,
	 .without = "none",
	 .example = "[\"sha256:...\"]",
	 .help = "Its public keys, as its own init or check prints them; several while keys are "
		 "exchanged. Either these "
		 "or ca."},
	{.name = "ca",
	 .type = CONF_TEXT,
	 .off = PEER_AT(ca),
	 .check = conf_check_directory,
	 .without = "none",
	 .example = "\"/etc/artifact-sync/ca.pem\"",
	 .help = "PEM file of the authority that signed its certificate, instead of fingerprints."},
	{.name = "name",
	 .type = CONF_TEXT,
	 .off = PEER_AT(name),
	 .check = conf_check_text,
	 .without = "its node name",
	 .example = "\"b.example.org\"",
	 .help = "The name its certificate must carry when ca is used."},
	{.name = NULL},
};
