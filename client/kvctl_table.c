/* client/kvctl_table.c -- every command and every option of kvctl. */
#include "client/kvctl.h"

#define B(id) OPTION_BIT(OPTION_##id)
#define DATA (OPTIONS_COMMON | B(LEVEL))
#define DEV (B(DIR) | B(OUTPUT) | B(HELP))

const struct kvctl_option kvctl_options[OPTION_COUNT] = {
    [OPTION_ENDPOINTS] = {"endpoints", 'e', "HOST:PORT,...",
                          "Nodes to begin with [$KV_ENDPOINTS, else 127.0.0.1:7400]."},
    [OPTION_OUTPUT] = {"output", 'o', "FORM", "table, json, tsv or raw [table]."},
    [OPTION_TIMEOUT] = {"timeout", 't', "MS", "Of one try [3000; dev cluster: in all, 60000]."},
    [OPTION_NO_ROUTING] = {"no-routing", 0, NULL, "Speak to the endpoints alone."},
    [OPTION_HELP] = {"help", 'h', NULL, "Show help of the command."},
    [OPTION_LEVEL] = {"level", 'l', "LEVEL", "one, quorum or all [as the nodes are configured]."},
    [OPTION_FILE] = {"file", 0, "FILE", "Take the value from a file."},
    [OPTION_TTL] = {"ttl", 0, "SECONDS", "Let the key expire."},
    [OPTION_MATCH] = {"match", 0, "PATTERN", "Only keys that match the glob pattern."},
    [OPTION_LIMIT] = {"limit", 0, "N", "Stop after so many."},
    [OPTION_RANGES] = {"ranges", 0, NULL, "List every range."},
    [OPTION_NODE] = {"node", 0, "ID[:WEIGHT[:ZONE]]",
                     "A node; once for each, in place of --nodes."},
    [OPTION_RANGE_COUNT] = {"ranges", 0, "N", "Ranges of the ring, a power of two [1024]."},
    [OPTION_KEYS] = {"keys", 0, "FILE", "Take keys from a file, one a line; - for standard input."},
    [OPTION_SYNTHETIC] = {"synthetic", 0, "N", "Make up so many keys."},
    [OPTION_ZIPF] = {"zipf", 0, "S", "Draw them with weights 1 / rank^S [each once]."},
    [OPTION_SEED] = {"seed", 0, "N", "What names and draws begin from [1]."},
    [OPTION_STEP_ADD] = {"add", 0, "ID[:WEIGHT[:ZONE]]", "Step: a node joins."},
    [OPTION_STEP_REMOVE] = {"remove", 0, "ID", "Step: a node leaves."},
    [OPTION_STEP_WEIGHT] = {"weight", 0, "ID:WEIGHT", "Step: a node has another weight."},
    [OPTION_SVG] = {"svg", 0, "FILE", "Draw loads and moves into a file."},
    [OPTION_FORMAT] = {"format", 0, "FORMAT", "debian, tsv or len [tsv]."},
    [OPTION_DEPTH] = {"depth", 0, "N", "Operations under way at a time [256]."},
    [OPTION_REPORT] = {"report", 0, "FILE", "Write the figures to a file, as JSON."},
    [OPTION_VERIFY] = {"verify", 0, NULL, "Write nothing: read every record back and compare."},
    [OPTION_ORDER] = {"order", 0, "FILE", "Read the keys of this file, in its order."},
    [OPTION_DIR] = {"dir", 'd', "DIR",
                    "Where the cluster lives [$KVCTL_DEV_DIR, else ringkv-dev]."},
    [OPTION_NODES] = {"nodes", 'n', "N", "How many nodes [3]."},
    [OPTION_PORT] = {"port", 'p', "PORT",
                     "Client port of node 1; node N adds 10 * (N - 1) [7400]."},
    [OPTION_REPLICAS] = {"replicas", 0, "N", "Copies of each key [3, or as many as nodes]."},
    [OPTION_ZONES] = {"zones", 0, "A,B,...", "Zones of the nodes, in turn."},
    [OPTION_KVNODE] = {"kvnode", 0, "FILE", "The node program [beside kvctl]."},
    [OPTION_WAIT] = {"wait", 'w', NULL, "Return once it serves and sees all others."},
    [OPTION_FOLLOW] = {"follow", 'f', NULL, "Go on as the log grows."},
    [OPTION_MAN] = {"man", 0, NULL, "Print the man page."},
    [OPTION_WEIGHT] = {"weight", 0, "W", "Share of the ring relative to others [as it says]."},
    [OPTION_NO_WAIT] = {"no-wait", 0, NULL, "Return at once; cluster show tells how far it is."},
    [OPTION_DATA] = {"data", 0, "DIR", "The data folder of a node that is stopped."},
    [OPTION_YES] = {"yes", 'y', NULL, "Do not ask."},
    [OPTION_BY_BYTES] = {"bytes", 0, "W", "How much stored bytes count, 0 to 100 [1]."},
    [OPTION_BY_READS] = {"reads", 0, "W", "How much reads count [1]."},
    [OPTION_BY_WRITES] = {"writes", 0, "W", "How much writes count [1]."},
    [OPTION_GAIN] = {"gain", 0, "PERCENT", "Move nothing for less than this [5]."},
    [OPTION_MOVES] = {"moves", 0, "N", "At most so many moves, up to 64 [64]."},
    [OPTION_STAGE] = {"stage", 0, NULL, "Stage them; cluster commit carries them out."},
    [OPTION_CLASS] = {"class", 0, "CLASS", "strong or eventual."},
    [OPTION_READ_LEVEL] = {"read", 0, "LEVEL", "one, quorum or all [as nodes are configured]."},
    [OPTION_WRITE_LEVEL] = {"write", 0, "LEVEL", "one, quorum or all [as nodes are configured]."},
};

const struct kvctl_command kvctl_commands[] = {
    {"get", "KEY", 1, 1, DATA, command_get, "Read a key.",
     "Writes the value's bytes as they are, with a line break only to a terminal; -o json and -o "
     "tsv "
     "show key and value as text. Exits 4 if there is no such key."},
    {"put", "KEY [VALUE|-]", 1, 2, DATA | B(FILE) | B(TTL), command_put, "Write a key.",
     "The value is the argument, what --file names, or standard input for -. Exits 6 if the write "
     "may or may not have happened; reading the key tells, writing it again settles it."},
    {"del", "KEY...", 1, -1, DATA, command_del, "Delete keys.",
     "A key that is not there is no error: deleting does not read."},
    {"scan", "", 0, 0, OPTIONS_COMMON | B(MATCH) | B(LIMIT), command_scan, "List keys.",
     "In no order. A key that is there throughout is listed at least once."},
    {"status", "", 0, 0, OPTIONS_COMMON, command_status, "Show how the cluster fares.",
     "As the node that answers sees it. Begins with how many more nodes may fail before some keys "
     "have no quorum. Then, for each node: U, S or D, as it is up, suspect or down, and N, J or L, "
     "as it is a normal member, joining or leaving."},
    {"node list", "", 0, 0, OPTIONS_COMMON, command_node_list, "List the nodes.",
     "Addresses, zone, weight, share of the ring, and whether the answering node hears from them."},
    {"ring show", "", 0, 0, OPTIONS_COMMON | B(RANGES), command_ring_show,
     "Show who holds what part of the ring.",
     "Per node how many ranges it holds and of how many it is the preferred replica; --ranges "
     "lists "
     "every range."},
    {"ring simulate", "", 0, 0,
     B(NODES) | B(NODE) | B(ZONES) | B(REPLICAS) | B(RANGE_COUNT) | B(KEYS) | B(SYNTHETIC) |
         B(ZIPF) | B(SEED) | B(STEP_ADD) | B(STEP_REMOVE) | B(STEP_WEIGHT) | B(SVG) | B(OUTPUT) |
         B(HELP),
     command_ring_simulate, "Try changes of nodes on paper, beside other ways to place keys.",
     "Speaks to no cluster. --add, --remove and --weight are made in the order given, up to 64; "
     "after each it shows how even the load is and what had to move, of the ring, of hash % nodes "
     "and of plain virtual nodes. Weights are 0 to 64, the zone is \"default\" unless given."},
    {"ring locate", "KEY", 1, 1, OPTIONS_COMMON, command_ring_locate, "Show where a key lies.",
     "Its slot, token, range and replicas, preferred first."},
    {"ring load", "", 0, 0, OPTIONS_COMMON | B(RANGES) | B(LIMIT), command_ring_load,
     "Show what nodes and ranges hold and serve.",
     "Keys, bytes, and reads and writes a second as replicas served them, averaged so that what "
     "lies a half-life back counts half. --ranges lists the busiest ranges, each on each of its "
     "nodes, 20 unless --limit says otherwise."},
    {"ring balance", "", 0, 0,
     OPTIONS_COMMON | B(BY_BYTES) | B(BY_READS) | B(BY_WRITES) | B(GAIN) | B(MOVES) | B(STAGE),
     command_ring_balance, "Propose moves of ranges that make load more even.",
     "Load is the part a node has of all bytes, reads and writes, weighed by --bytes, --reads and "
     "--writes. Shows, per node, its part now and after and what it is due by weight and zone, "
     "then "
     "the moves. Proposes none unless what the busiest node carries, over what it is due, falls by "
     "--gain. Changes nothing without --stage."},
    {"hot-keys", "", 0, 0, OPTIONS_COMMON | B(LIMIT), command_hot_keys,
     "Show the keys that clients ask for most.",
     "From a sample: the rate of a key is off by no more than +- in 19 of 20 cases. Bytes that are "
     "not printable are escaped as \\xNN; long keys are cut, and the nodes may be set to keep "
     "none of them ([load] hot_key_bytes). 20 keys unless --limit says otherwise."},
    {"cluster plan join", "ID...", 1, -1, OPTIONS_COMMON | B(WEIGHT), command_plan_join,
     "Stage: nodes that were started with --join take their share.",
     "Nothing moves before cluster commit. Shows what the whole staged plan would do."},
    {"cluster plan leave", "ID...", 1, -1, OPTIONS_COMMON, command_plan_leave,
     "Stage: nodes hand over what they hold, and are members no more.",
     "A node that cannot hand over, since it is dead, is replaced."},
    {"cluster plan replace", "OLD NEW", 2, 2, OPTIONS_COMMON, command_plan_replace,
     "Stage: a node declared dead gives its places to one started with --join.",
     "The dead one must not come back: it is refused from then on."},
    {"cluster plan weight", "ID WEIGHT", 2, 2, OPTIONS_COMMON, command_plan_weight,
     "Stage: a node's share of the ring, relative to others.", ""},
    {"cluster plan zone", "ID ZONE", 2, 2, OPTIONS_COMMON, command_plan_zone,
     "Stage: the failure zone of a node.", ""},
    {"cluster plan move", "RANGE FROM TO", 3, 3, OPTIONS_COMMON, command_plan_move,
     "Stage: one range goes from one node to another.",
     "A later plan may move it again: shares and zones are what lasts."},
    {"cluster plan rf", "N", 1, 1, OPTIONS_COMMON, command_plan_rf,
     "Stage: how many replicas every range has.", ""},
    {"cluster show", "", 0, 0, OPTIONS_COMMON, command_cluster_show,
     "Show the plan that runs, the one that is staged, and what that would do.",
     "Per node the ranges and the share now and after, and what would be copied. Sizes and time "
     "are "
     "estimates: what is stored, at the stream rate of the node that answers."},
    {"cluster commit", "", 0, 0, OPTIONS_COMMON | B(NO_WAIT), command_cluster_commit,
     "Carry out the staged plan, and wait for its end.",
     "Tells on standard error how far it is. Interrupting it does not end the plan: cluster abort "
     "does. Exits 1 if the plan did not come to its end."},
    {"cluster clear", "", 0, 0, OPTIONS_COMMON, command_cluster_clear, "Forget what is staged.",
     ""},
    {"cluster abort", "", 0, 0, OPTIONS_COMMON, command_cluster_abort, "End the plan that runs.",
     "Ranges that have moved stay where they are now; nodes that were leaving stay members."},
    {"cluster history", "", 0, 0, OPTIONS_COMMON, command_cluster_history,
     "List the plans that ended.", "The last 32, oldest first."},
    {"cluster autoscale", "", 0, 0, OPTIONS_COMMON, command_cluster_autoscale,
     "Show how many nodes there should be.",
     "By disk space and requests against the limits of [autoscale], as the node that answers hears "
     "of the others. Starts and stops nothing."},
    {"cluster accept-data-loss", "[RANGE]", 0, 1, OPTIONS_COMMON, command_cluster_accept_data_loss,
     "Let ranges that lost their majority for good go on with what is left.",
     "Of the plan that runs, which replaces the dead nodes. What only the dead ones held is lost; "
     "the history keeps that it was said. Without RANGE: wherever it is needed."},
    {"topo explain", "", 0, 0, OPTIONS_COMMON, command_topo_explain,
     "Show what each range that moves waits for, and who holds it up.",
     "As the node that leads the Raft group knows it."},
    {"keyspace list", "", 0, 0, OPTIONS_COMMON, command_keyspace_list, "List the keyspaces.",
     "Number, name, class, levels and time to live; - where a keyspace leaves it to others."},
    {"keyspace create", "NAME", 1, 1,
     OPTIONS_COMMON | B(CLASS) | B(READ_LEVEL) | B(WRITE_LEVEL) | B(TTL), command_keyspace_create,
     "Create a keyspace, and print its number.",
     "It cannot be removed, and nothing of it be changed. --read and --write are the levels of "
     "clients that set none, --ttl the seconds that values live which are set without an expiry. "
     "Clients choose it with SELECT and its number."},
    {"raft status", "", 0, 0, OPTIONS_COMMON, command_raft_status, "Show who decides the topology.",
     "The servers of the Raft group as its leader sees them: who votes and who stands by, how many "
     "entries of the log each lacks, and when it last answered."},
    {"raft recover", "", 0, 0, B(DATA) | B(YES) | B(KVNODE) | B(HELP), command_raft_recover,
     "Go on with one node after most voters were lost for good.",
     "Offline: shows what the node in --data DIR knows, asks for its number, and makes it the only "
     "voter of a new generation of the cluster. Of all nodes that are left recover one alone, the "
     "one with the greatest generation, then epoch. Old voters that come back follow it: what they "
     "agreed on without it counts no more. See docs/raft.md."},
    {"import", "FILE|-", 1, 1, DATA | B(FORMAT) | B(DEPTH) | B(REPORT) | B(VERIFY), command_import,
     "Write the records of a file.",
     "Pipelined. A write whose outcome is unknown is sent again, so import into keys that nobody "
     "else writes meanwhile. Format debian is a Debian package index: the key is the Package "
     "field, "
     "PACKAGE=VERSION where the name came before, the value the stanza. Format tsv is a record a "
     "line, key, tab, value, with \\t \\n \\r \\\\ for these bytes. Format len is two "
     "little-endian "
     "4-byte sizes, then key and value."},
    {"verify", "FILE|-", 1, 1, DATA | B(FORMAT) | B(DEPTH) | B(REPORT), command_verify,
     "Read the records of a file back and compare.",
     "The same as import --verify. With --endpoints naming one node and --no-routing that node "
     "answers every read. Exits 9 unless all records are there and equal."},
    {"export", "", 0, 0, DATA | B(FORMAT) | B(ORDER) | B(DEPTH) | B(MATCH), command_export,
     "Write records to standard output.",
     "All keys, in no order; or with --order the keys of a file in that format, which gives the "
     "same bytes as the file if nothing changed. Exits 9 if a key of that file is missing."},
    {"dev cluster up", "", 0, 0,
     DEV | B(NODES) | B(PORT) | B(REPLICAS) | B(ZONES) | B(KVNODE) | B(TIMEOUT), command_dev_up,
     "Start a cluster on this machine.",
     "Returns when every node serves and sees all others, and prints the endpoints. A directory "
     "that holds a cluster keeps its settings; nodes that run already are left alone. --timeout is "
     "how long to wait in all [60000]."},
    {"dev cluster down", "", 0, 0, DEV, command_dev_down, "Stop the cluster.",
     "SIGTERM, and SIGKILL for what is still there after 15 s. The data stays."},
    {"dev cluster ps", "", 0, 0, DEV, command_dev_ps, "List the cluster's processes.", ""},
    {"dev cluster kill", "N", 1, 1, DEV, command_dev_kill, "Kill node N with SIGKILL.", ""},
    {"dev cluster pause", "N", 1, 1, DEV, command_dev_pause, "Stop node N with SIGSTOP.", ""},
    {"dev cluster resume", "N", 1, 1, DEV, command_dev_resume, "Let a paused node N go on.", ""},
    {"dev cluster restart", "N", 1, 1, DEV | B(WAIT) | B(TIMEOUT), command_dev_restart,
     "Start node N, stopping it first if it runs.", ""},
    {"dev cluster logs", "N", 1, 1, DEV | B(FOLLOW), command_dev_logs, "Print the log of node N.",
     ""},
    {"completion", "bash", 1, 1, B(HELP), command_completion, "Print a completion script.",
     "For bash: source <(kvctl completion bash)"},
    {"help", "[COMMAND...]", 0, -1, B(HELP) | B(MAN), command_help, "Show help.", ""},
    {"version", "", 0, 0, B(HELP), command_version, "Show the version.", ""},
};
const size_t kvctl_command_count = ARRAY_COUNT(kvctl_commands);
