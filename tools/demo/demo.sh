#!/usr/bin/env bash
#
# tools/demo/demo.sh -- three nodes, the Debian package index, one node killed on the way; every
# record is read back from every node. `./run demo` builds, then calls this.
#
# What always holds
#  1. It exits with 0 only if every record was verified through every node and the export is the
#     index byte for byte; otherwise with 1. Its last line says how many were verified.
#  2. It leaves nothing running and no files, however it ends, unless --keep was given and it came to
#     its end.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ./run demo [--keep] [--records N] [--alter] [--port PORT] [--dir DIR] [--programs DIR]

  --keep        leave the cluster up, and say how to use it
  --records N   only the first N records of the index
  --alter       change one byte of one stored record before the check, to see the check fail
  --port PORT   client port of node 1 [7400, or the next that is free]
  --dir DIR     where the cluster keeps its data [demo-data]
  --programs D  where kvnode and kvctl are [build/release/bin]
TEXT
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
keep=false
alter=false
records=0
port=
dir=$root/demo-data
programs=$root/build/release/bin
while [[ $# -gt 0 ]]; do
    case $1 in
    --keep) keep=true ;;
    --alter) alter=true ;;
    --records | --port | --dir | --programs)
        [[ $# -ge 2 ]] || {
            usage >&2
            exit 2
        }
        case $1 in
        --records) records=$2 ;;
        --port) port=$2 ;;
        --dir) dir=$2 ;;
        --programs) programs=$2 ;;
        esac
        shift
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
    shift
done
if ! [[ $records =~ ^[0-9]{1,9}$ && ${port:-1} =~ ^[0-9]{1,5}$ ]]; then
    usage >&2
    exit 2
fi

# ---------------------------------------------------------------- words

bold='' dim='' plain=''
if [[ -t 1 && -n ${TERM:-} && $TERM != dumb && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
say() { printf '   %s\n' "$*"; }
shown() { sed 's/^/   /'; } # What a program printed.
die() {
    printf 'demo: %s\n' "$*" >&2
    exit 1
}
grouped() { sed -E ':a; s/([0-9])([0-9]{3})($|,)/\1,\2\3/; ta' <<<"$1"; } # 63666 -> 63,666

kvctl=$programs/kvctl
[[ -x $kvctl && -x $programs/kvnode ]] || die "no kvctl and kvnode in $programs: ./run build"
[[ ! -e $dir || -e $dir/.ringkv-demo ]] || die "$dir is there and not of a demo; --dir names another"
export KVCTL_DEV_DIR=$dir/cluster
unset KV_ENDPOINTS

# ---------------------------------------------------------------- the end, whatever it is

loader=
came_to_end=false
clean_up() {
    local code=$?
    trap - EXIT INT TERM HUP
    [[ -z $loader ]] || kill "$loader" 2>/dev/null || true
    if $keep && $came_to_end; then
        return "$code"
    fi
    if [[ $code -ne 0 ]] && ! $came_to_end; then
        local node
        for node in 1 2 3; do
            printf '%s\n' "demo: the end of the log of node $node:" >&2
            { "$kvctl" dev cluster logs "$node" 2>&1 | tail -n 5 >&2; } || true
        done
    fi
    "$kvctl" dev cluster down >/dev/null 2>&1 || true
    rm -rf "$dir"
    return "$code"
}
fresh_dir() {
    if [[ -e $dir ]]; then
        say "${dim}removing the cluster that an earlier demo left in ${dir#"$root"/}$plain"
        "$kvctl" dev cluster down >/dev/null 2>&1 || true
        rm -rf "$dir"
    fi
    trap 'clean_up; exit $?' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    mkdir -p "$dir"
    touch "$dir/.ringkv-demo"
}

# ---------------------------------------------------------------- the index

index=$dir/index
# apt-get as root; sudo only where it asks for nothing or someone can type.
apt_update() {
    local -a as_root=()
    [[ $(id -u) -eq 0 ]] || as_root=(sudo)
    [[ $(id -u) -eq 0 || -t 0 ]] || as_root=(sudo -n)
    "${as_root[@]}" apt-get update >"$dir/apt.log" 2>&1 || die "apt-get update: $(tail -n 3 "$dir/apt.log")"
}
index_make() {
    command -v apt-cache >/dev/null || die "apt-cache is missing: the records are Debian's packages"
    apt-cache dumpavail >"$dir/whole"
    if [[ $(grep -c '^Package: ' "$dir/whole") -lt 1000 ]]; then
        say "fetching the package lists (apt-get update)"
        apt_update
        apt-cache dumpavail >"$dir/whole"
    fi
    if [[ $records -gt 0 ]]; then
        awk -v most="$records" 'BEGIN { RS = ""; ORS = "\n\n" } NR > most { exit } { print }' \
            "$dir/whole" >"$index"
    else
        cp "$dir/whole" "$index"
    fi
    rm "$dir/whole"
    count=$(grep -c '^Package: ' "$index" || true)
    [[ $count -gt 0 ]] || die "the package index is empty"
}

# ---------------------------------------------------------------- the cluster

port_used() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
ports_free() {
    local offset
    for offset in 0 1 2 10 11 12 20 21 22; do
        ! port_used $(($1 + offset)) || return 1
    done
}
port_choose() {
    [[ -z $port ]] || return 0
    for ((port = 7400; port < 8400; port += 100)); do
        if ports_free "$port"; then
            [[ $port -eq 7400 ]] || say "port 7400 is in use, so the cluster takes $port and up"
            return 0
        fi
    done
    die "no free ports from 7400 up; --port names others"
}
client() { printf '127.0.0.1:%d' $((port + 10 * ($1 - 1))); }
# A figure of a report of kvctl: field FILE NAME
field() { sed -nE "s/.*\"$2\":([0-9.]+).*/\1/p" "$1"; }
# Cells stored, as the cluster estimates them.
stored() {
    "$kvctl" status -e "$(client 1)" --no-routing -o json 2>/dev/null |
        sed -nE 's/.*"keys":([0-9]+)\}$/\1/p'
}

load() {
    step "Importing $(grouped "$count") records at QUORUM, a package name to its stanza each"
    # Enough under way to be quick, few enough that there is a middle to kill a node in.
    local depth=$((count / 400 + 2))
    [[ $depth -le 64 ]] || depth=64
    "$kvctl" import -e "$(client 1),$(client 3)" --format debian --level quorum --depth "$depth" \
        --report "$dir/import.json" "$index" >"$dir/import.out" &
    loader=$!
    killed_at=0
    local now
    while kill -0 "$loader" 2>/dev/null; do
        now=$(stored || true)
        if [[ $killed_at -eq 0 && ${now:-0} -ge $((count * 3 / 10)) ]]; then
            killed_at=$now
            "$kvctl" dev cluster kill 2
        fi
        sleep 0.02
    done
    local code=0
    wait "$loader" || code=$?
    loader=
    shown <"$dir/import.out"
    [[ $code -eq 0 ]] || die "kvctl import ended with $code"
    if [[ $killed_at -eq 0 ]]; then
        "$kvctl" dev cluster kill 2
        say "that was over before a node could be killed in its middle; node 2 is killed now"
    fi
}

what_happened() {
    if [[ $killed_at -gt 0 ]]; then
        step "Node 2 was killed with SIGKILL when about $(grouped "$killed_at") records were stored"
    else
        step "Node 2 was killed with SIGKILL after the load"
    fi
    local report=$dir/import.json
    say "writes that failed: $(field "$report" errors); tried again: $(field "$report" retries)"
    say "longest time without an answer: $(printf '%.0f' "$(field "$report" stall_ms_max)") ms," \
        "slowest write: $(printf '%.0f' "$(field "$report" max_ms)") ms"
    "$kvctl" status -e "$(client 1)" --no-routing | shown
}

bring_back() {
    step "Starting node 2 again; it recovers from its log"
    local start=$EPOCHREALTIME
    "$kvctl" dev cluster restart 2
    "$kvctl" dev cluster up >/dev/null
    say "up, seen by all and serving after $(((${EPOCHREALTIME/[.,]/} - ${start/[.,]/}) / 1000)) ms"
}

# Changes the last byte before the line break of one stanza, as a disk that lies would.
alter_one() {
    local key
    key=$(sed -nE 's/^Package: //p' "$index" | sed -n "$((count / 2 + 1))p")
    "$kvctl" get -e "$(client 1)" -o raw "$key" >"$dir/stanza"
    sed -i '$ s/.$/~/' "$dir/stanza"
    "$kvctl" put -e "$(client 1)" "$key" - <"$dir/stanza"
    step "Altered one byte of the stored record '$key', as was asked for with --alter"
}

# rounded DIGITS NAME -- a figure of the last verification.
rounded() { printf "%.$1f" "$(field "$dir/verify.json" "$2")"; }

verify() {
    step "Reading every record back from every node at QUORUM, and comparing each byte"
    verified=$count
    local node good code
    for node in 1 2 3; do
        code=0
        "$kvctl" verify -e "$(client "$node")" --no-routing --format debian --level quorum \
            --depth 128 --report "$dir/verify.json" "$index" >"$dir/verify.out" \
            2>"$dir/verify.err" || code=$?
        good=$(sed -nE 's/^([0-9,]+) of [0-9,]+ records verified$/\1/p' "$dir/verify.out" |
            tail -n 1 | tr -d ,)
        [[ -n $good ]] || {
            cat "$dir/verify.err" >&2
            die "kvctl verify through node $node ended with $code"
        }
        say "through node $node: $(grouped "$good") records equal, $(grouped \
            "$(rounded 0 records_per_s)") reads/s, p50 $(rounded 1 p50_ms) ms, p99 $(rounded 1 \
            p99_ms) ms"
        if [[ $code -ne 0 ]]; then
            { grep -vE 'records verified, [0-9,]+/s' "$dir/verify.err" || true; } | head -n 5 | shown
        fi
        # A non-zero exit with all records equal would be a failure of another kind.
        [[ $code -eq 0 || $good -lt $count ]] || good=$((count - 1))
        [[ $good -ge $verified ]] || verified=$good
    done
}

export_compare() {
    step "Exporting the records in the order of the index, and comparing byte by byte"
    exported=true
    "$kvctl" export -e "$(client 2)" --format debian --level quorum --order "$index" \
        >"$dir/export" 2>"$dir/export.err" || exported=false
    if $exported && cmp "$index" "$dir/export" >"$dir/cmp" 2>&1; then
        say "equal: $(grouped "$(stat -c %s "$dir/export")") bytes, sha256 $(sha256sum <"$dir/export" |
            cut -c 1-16)..."
    else
        exported=false
        say "NOT equal: $(sed "s#$dir/##g" "$dir/cmp" 2>/dev/null || tail -n 1 "$dir/export.err")"
    fi
}

step "The Debian package index as input"
fresh_dir
index_make
say "$(grouped "$count") records, $(grouped "$(stat -c %s "$index")") bytes, sha256 $(sha256sum \
    <"$index" | cut -c 1-16)..."
step "Three nodes, three copies of every record"
port_choose
"$kvctl" dev cluster up --nodes 3 --port "$port" | shown
step "The ring"
"$kvctl" ring show -e "$(client 1)" | shown
load
what_happened
bring_back
! $alter || alter_one
verify
export_compare

if $keep; then
    came_to_end=true
    path=${programs#"$root"/}
    step "The cluster is still up (--keep)"
    say "redis-cli -p $port get bash"
    say "$path/kvctl -e $(client 1) get bash"
    say "$path/kvctl -e $(client 1) status"
    say "$path/kvctl dev cluster kill 2 --dir $KVCTL_DEV_DIR"
    say "$path/kvctl dev cluster down --dir $KVCTL_DEV_DIR    # stops it; rm -r $dir"
fi
came_to_end=true
printf '\n%s%s of %s records verified%s\n' "$bold" "$(grouped "$verified")" "$(grouped "$count")" \
    "$plain"
[[ $verified -eq $count ]] && $exported
