#!/usr/bin/env bash
# demo: what `./run demo` runs ends as it promises: all verified, an altered record found, nothing
# left behind, with a terminal and without.
source tests/suites/common.bash
suite_build release kvnode kvctl
records=60000
[[ $RUN_MODE != quick ]] || records=4000
dir=$PWD/$RUN_SCRATCH/data
out=$RUN_SCRATCH/out

# demo EXIT LAST_LINE ARGUMENT... -- one run; its exit code and last line must be these.
demo() {
    local wanted=$1 last=$2 rc=0
    timeout 300 tools/demo/demo.sh --dir "$dir" "${@:3}" >"$out" 2>"$out.err" || rc=$?
    if [[ $rc -eq $wanted ]] && tail -n 1 "$out" | grep -qxE "$last"; then
        suite_pass
    else
        cat "$out" "$out.err"
        suite_fail "demo ${*:3}: exit $rc, wanted $wanted and a last line as '$last'"
    fi
}
# holds WHAT COMMAND... -- the command must succeed.
holds() {
    if "${@:2}"; then
        suite_pass
    else
        cat "$out" "$out.err"
        suite_fail "$1"
    fi
}
said() { grep -qE -- "$1" "$out" "$out.err"; }
nothing_left() { [[ ! -e $dir ]] && ! pgrep -f "kvnode .*$dir" >/dev/null; }

many=$(sed -E ':a; s/([0-9])([0-9]{3})($|,)/\1,\2\3/; ta' <<<"$records")
demo 0 "$many of $many records verified" --records "$records"
holds "the kill was in the middle of the load" said 'killed with SIGKILL when about [1-9]'
holds "the export was compared" said 'equal: [0-9,]+ bytes, sha256'
holds "the progress of the load was told" said 'records written, [0-9,]+/s, 50 %'
holds "the ring was shown" said 'epoch 1, 1024 ranges, 3 replicas of each'
holds "a run leaves nothing" nothing_left

demo 1 "2,999 of 3,000 records verified" --records 3000 --alter
holds "the altered record was named" said 'kvctl: .*: differs'
holds "the export with an altered record was refused" said 'NOT equal: index export differ'
holds "a run that finds damage leaves nothing" nothing_left

demo 0 "1,500 of 1,500 records verified" --records 1500 --keep
holds "--keep says how to go on" said 'dev cluster down --dir'
endpoint=$(sed -nE 's/.*kvctl -e ([0-9.:]+) status$/\1/p' "$out")
holds "--keep leaves the cluster up" build/release/bin/kvctl status -e "${endpoint:-none}" -o json
demo 0 "5 of 5 records verified" --records 5
holds "the cluster of --keep was removed by the next run" nothing_left

# Ended in the middle.
tools/demo/demo.sh --dir "$dir" --records "$records" >"$out" 2>"$out.err" &
running=$!
for ((try = 0; try < 300; try++)); do
    ! grep -q Importing "$out" || break
    sleep 0.1
done
kill -TERM "$running"
rc=0
wait "$running" || rc=$?
holds "SIGTERM ends it with 143, not $rc" test "$rc" -eq 143
holds "a run that was ended leaves nothing" nothing_left

# With a terminal there is a bar.
rc=0
TERM=xterm timeout 300 script -qec "tools/demo/demo.sh --dir '$dir' --records 4000" /dev/null \
    >"$out" 2>&1 </dev/null || rc=$?
holds "it works on a terminal (exit $rc)" test "$rc" -eq 0
holds "a terminal sees bold steps" said $'\e\\[1mThe ring'
holds "a stray folder is not touched" bash -c "mkdir '$dir' && ! tools/demo/demo.sh --dir '$dir' \
    >'$out' 2>&1 && rmdir '$dir'"
suite_end
