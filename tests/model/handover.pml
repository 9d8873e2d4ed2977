/* handover.pml - two nodes, a line that breaks, nodes that crash, hooks that fail, changes in the
 * tree, planned reverses and failovers: the rules of protocol/role.c once more, written against the
 * same document and by another hand (docs/PROTOCOL.md, "Handing over"), and searched to the last
 * state by spin. tests/model/README.md has the figures and how to read a counterexample.
 *
 * What is modelled of a tree: how many changes it holds, as a set of tokens. A change is a token that
 * no other change has; `holds[n]` are those that node n has durably, `known[n]` those that it knows
 * the other to have acknowledged. A token made while a node was active in epoch e belongs to e.
 */

#ifndef ATTEMPTS
#define ATTEMPTS 2	/* epochs that may be begun beside the first */
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef CUTS
#define CUTS 2
#endif
#ifndef CHANGES
#define CHANGES 2
#endif
#ifndef FAILOVERS
#define FAILOVERS 1
#endif

mtype = { PREPARE, READY, UNREADY, CHECK, CHECKED, OFFER, TAKEN, REFUSED, ASK, ABORT, CHANGE, ACK };
mtype:role = { ACTIVE, PASSIVE, DRAINING, FENCED, SPLIT };
mtype:phase = { RESTING, PREPARING, SETTLING, CHECKING, OFFERING, READYING, WAITING, WILLING, REJOINING };

/* durable */
mtype:role role[2];
byte epochs[2];		/* lineage: bit e = epoch e is in it; bit 0 is the first */
byte refused[2];	/* ids that were refused for ever */
bool offered[2];	/* the giver's offer is durable */
byte offer[2];		/* which epoch: it or the one being prepared */
byte holds[2];		/* changes */
byte settled[2];	/* what the giver held when it settled: what the heir must hold */

/* volatile */
mtype:phase phase[2];
byte known[2];		/* changes that the peer has acknowledged in this session */
bool live;		/* the session */
chan to[2] = [8] of { mtype, byte, byte };

/* bounds of the search */
byte attempts = 0, crashes = 0, cuts = 0, changes = 0, failovers = 0;
bool stopped = false;	/* no more faults, cuts and wishes from here on */
bool forced = false;	/* a failover happened */

/* ghosts: what must never be */
byte base[4];		/* changes that epoch e was built on */
byte acknowledged = 0;	/* changes that were acknowledged to an active */

#define other (1 - n)
#define says(word, id, what) if :: live -> to[other]!word, id, what :: else fi

inline lose_session()
{
	live = false;
	do :: to[0]?_,_,_ :: empty(to[0]) -> break od;
	do :: to[1]?_,_,_ :: empty(to[1]) -> break od;
	known[0] = 0; known[1] = 0;
	lost(0);
	lost(1);
}

/* What the end of a session means to each side. */
inline lost(i)
{
	if
	:: phase[i] == PREPARING || phase[i] == READYING || phase[i] == WAITING -> phase[i] = RESTING
	:: phase[i] == WILLING -> refused[i] = refused[i] | (1 << offer[i]); phase[i] = RESTING
	:: phase[i] == SETTLING || phase[i] == CHECKING -> role[i] = ACTIVE; phase[i] = RESTING
	:: else
	fi
}

inline restart(i)
{
	if
	:: role[i] == DRAINING && offered[i] -> phase[i] = OFFERING
	:: role[i] == DRAINING && !offered[i] -> role[i] = ACTIVE; phase[i] = RESTING
	:: role[i] == FENCED -> phase[i] = REJOINING
	:: else -> phase[i] = RESTING
	fi
}

/* A handshake: each learns the other's lineage. */
inline meet()
{
	if
	:: epochs[0] == epochs[1] -> live = true
	:: (epochs[0] & epochs[1]) != epochs[0] && (epochs[0] & epochs[1]) != epochs[1] ->
		role[0] = SPLIT; role[1] = SPLIT; phase[0] = RESTING; phase[1] = RESTING;
		offered[0] = false; offered[1] = false
	:: (epochs[0] & epochs[1]) == epochs[0] && epochs[0] != epochs[1] -> behind(0, 1)
	:: (epochs[0] & epochs[1]) == epochs[1] && epochs[0] != epochs[1] -> behind(1, 0)
	fi;
	if
	:: live && role[0] == DRAINING && phase[0] == OFFERING -> to[1]!ASK, offer[0], 0
	:: live && role[1] == DRAINING && phase[1] == OFFERING -> to[0]!ASK, offer[1], 0
	:: else
	fi
}

/* b lacks an epoch that a has. */
inline behind(b, a)
{
	if
	:: role[b] == DRAINING && offered[b] && (epochs[a] & (1 << offer[b])) ->
		/* its handover was taken */
		epochs[b] = epochs[a]; role[b] = PASSIVE; phase[b] = RESTING; offered[b] = false;
		live = true
	:: (role[b] == ACTIVE || role[b] == DRAINING) && !(role[b] == DRAINING && offered[b] && (epochs[a] & (1 << offer[b]))) ->
		role[b] = FENCED; phase[b] = REJOINING; offered[b] = false
	:: role[b] == FENCED && role[a] == ACTIVE ->
		/* compared with the survivor: what only it had goes to the salvage */
		holds[b] = holds[a]; epochs[b] = epochs[a]; role[b] = PASSIVE; phase[b] = RESTING;
		live = true
	:: role[b] == FENCED && role[a] != ACTIVE
	:: role[b] == PASSIVE -> epochs[b] = epochs[a]; live = true
	:: role[b] == SPLIT
	fi
}

inline begin_epoch(i, e, on)
{
	epochs[i] = epochs[i] | (1 << e);
	base[e] = on
}

proctype node(byte n)
{
	byte id, what;
	do
	/* ---- the tree ---- */
	:: atomic { role[n] == ACTIVE && phase[n] == RESTING && changes < CHANGES && !stopped ->
		holds[n] = holds[n] | (1 << changes); changes++ }
	:: atomic { live && (role[n] == ACTIVE || role[n] == DRAINING) && role[other] == PASSIVE &&
		(holds[n] & ~known[n]) != 0 && !offered[n] && empty(to[other]) ->
		to[other]!CHANGE, 0, holds[n] }

	/* ---- the giver ---- */
	:: atomic { role[n] == ACTIVE && phase[n] == RESTING && live && role[other] == PASSIVE &&
		attempts < ATTEMPTS && !stopped && nfull(to[other]) ->
		attempts++; offer[n] = attempts; phase[n] = PREPARING; says(PREPARE, offer[n], 0) }
	:: atomic { phase[n] == SETTLING && holds[n] == known[n] && nfull(to[other]) ->
		settled[n] = holds[n]; phase[n] = CHECKING; says(CHECK, offer[n], holds[n]) }
	/* the deadline, or a hook that failed */
	:: atomic { !stopped && (phase[n] == PREPARING || phase[n] == SETTLING || phase[n] == CHECKING) &&
		nfull(to[other]) ->
		role[n] = ACTIVE; phase[n] = RESTING; says(ABORT, offer[n], 0) }
	/* a person gives the heir up for lost */
	:: atomic { phase[n] == OFFERING && !live && attempts < ATTEMPTS && failovers < FAILOVERS && !stopped ->
		attempts++; failovers++; forced = true; begin_epoch(n, attempts, holds[n]);
		role[n] = ACTIVE; offered[n] = false; phase[n] = RESTING }

	/* ---- the heir ---- */
	:: atomic { phase[n] == READYING && nfull(to[other]) -> phase[n] = WAITING; says(READY, offer[n], 0) }
	:: atomic { !stopped && (phase[n] == READYING || phase[n] == WAITING || phase[n] == WILLING) &&
		nfull(to[other]) ->
		if
		:: phase[n] == WILLING -> refused[n] = refused[n] | (1 << offer[n])
		:: else
		fi;
		phase[n] = RESTING; says(UNREADY, offer[n], 0) }
	:: atomic { role[n] == PASSIVE && phase[n] == RESTING && !live && attempts < ATTEMPTS &&
		failovers < FAILOVERS && !stopped ->
		attempts++; failovers++; forced = true; begin_epoch(n, attempts, holds[n]); role[n] = ACTIVE }

	/* ---- words ---- */
	:: atomic { live && to[n]?[PREPARE, _, _] && nfull(to[other]) -> to[n]?PREPARE, id, what;
		if
		:: role[n] == PASSIVE && phase[n] == RESTING -> offer[n] = id; phase[n] = READYING
		:: else -> says(UNREADY, id, 0)
		fi }
	:: atomic { live && to[n]?[READY, _, _] -> to[n]?READY, id, what;
		if
		:: phase[n] == PREPARING && id == offer[n] -> role[n] = DRAINING; phase[n] = SETTLING
		:: else
		fi }
	:: atomic { live && to[n]?[UNREADY, _, _] -> to[n]?UNREADY, id, what;
		if
		:: id == offer[n] && (phase[n] == PREPARING || phase[n] == SETTLING || phase[n] == CHECKING) ->
			role[n] = ACTIVE; phase[n] = RESTING
		:: else
		fi }
	:: atomic { live && to[n]?[CHECK, _, _] && nfull(to[other]) -> to[n]?CHECK, id, what;
		if
		:: phase[n] == WAITING && id == offer[n] && holds[n] == what ->
			settled[n] = what; phase[n] = WILLING; says(CHECKED, id, 0)
		:: else -> says(UNREADY, id, 0)
		fi }
	:: atomic { live && to[n]?[CHECKED, _, _] && nfull(to[other]) -> to[n]?CHECKED, id, what;
		if
		:: phase[n] == CHECKING && id == offer[n] ->
			phase[n] = OFFERING; offered[n] = true; says(OFFER, id, settled[n])
		:: else
		fi }
	:: atomic { live && to[n]?[OFFER, _, _] && nfull(to[other]) -> to[n]?OFFER, id, what;
		if
		:: role[n] == PASSIVE && phase[n] == WILLING && id == offer[n] && what == settled[n] &&
			!(refused[n] & (1 << id)) ->
			begin_epoch(n, id, what); role[n] = ACTIVE; phase[n] = RESTING;
			says(TAKEN, id, 0)
		:: else -> refused[n] = refused[n] | (1 << id); says(REFUSED, id, 0)
		fi }
	:: atomic { live && to[n]?[ASK, _, _] && nfull(to[other]) -> to[n]?ASK, id, what;
		if
		:: epochs[n] & (1 << id) -> says(TAKEN, id, 0)
		:: else -> refused[n] = refused[n] | (1 << id); says(REFUSED, id, 0)
		fi }
	:: atomic { live && to[n]?[TAKEN, _, _] -> to[n]?TAKEN, id, what;
		if
		:: phase[n] == OFFERING && id == offer[n] ->
			epochs[n] = epochs[n] | (1 << id); role[n] = PASSIVE; offered[n] = false;
			phase[n] = RESTING; lose_session()
		:: else
		fi }
	:: atomic { live && to[n]?[REFUSED, _, _] -> to[n]?REFUSED, id, what;
		if
		:: phase[n] == OFFERING && id == offer[n] ->
			role[n] = ACTIVE; offered[n] = false; phase[n] = RESTING
		:: else
		fi }
	:: atomic { live && to[n]?[ABORT, _, _] -> to[n]?ABORT, id, what;
		if
		:: id == offer[n] && (phase[n] == READYING || phase[n] == WAITING || phase[n] == WILLING) ->
			phase[n] = RESTING
		:: else
		fi }
	:: atomic { live && to[n]?[CHANGE, _, _] && nfull(to[other]) -> to[n]?CHANGE, id, what;
		if
		:: role[n] == PASSIVE -> holds[n] = what; says(ACK, 0, what)
		:: else
		fi }
	:: atomic { live && to[n]?[ACK, _, _] -> to[n]?ACK, id, what;
		known[n] = what; acknowledged = acknowledged | what }

	/* ---- faults ---- */
	:: atomic { crashes < CRASHES && !stopped -> crashes++; lose_session(); restart(n) }
	:: atomic { n == 0 && live && cuts < CUTS && !stopped -> cuts++; lose_session() }
	:: atomic { n == 0 && !live && !(role[0] == SPLIT && role[1] == SPLIT) -> meet() }

	/* from here on no more faults, cuts and wishes */
	:: atomic { n == 0 && !stopped -> stopped = true }
	od
}

#define two_actives (role[0] == ACTIVE && role[1] == ACTIVE)
#define same_lineage (epochs[0] == epochs[1])
#define one_active ((role[0] == ACTIVE && role[1] == PASSIVE) || (role[0] == PASSIVE && role[1] == ACTIVE))
#define at_rest (phase[0] == RESTING && phase[1] == RESTING && one_active && same_lineage && holds[0] == holds[1])
#define split (role[0] == SPLIT && role[1] == SPLIT && forced)

/* Never two actives of one epoch; without a failover never two at all. */
ltl one_writer { [] !(two_actives && (same_lineage || !forced)) }
/* A planned reverse hands over everything that was ever acknowledged. */
ltl nothing_lost { [] (!forced -> ((role[0] == ACTIVE -> (holds[0] & acknowledged) == acknowledged) &&
				   (role[1] == ACTIVE -> (holds[1] & acknowledged) == acknowledged))) }
/* When the faults end, the group comes to rest with one active and equal trees, or in a split. */
ltl comes_to_rest { [] (stopped -> <> (at_rest || split)) }

init
{
	atomic {
		role[0] = ACTIVE; role[1] = PASSIVE;
		epochs[0] = 1; epochs[1] = 1;
		phase[0] = RESTING; phase[1] = RESTING;
		live = true;
		run node(0); run node(1)
	}
}
