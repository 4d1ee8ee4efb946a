#!/bin/sh
# Measures the network on the board, with 1, 4 and 8 threads. Every log is one measurement.
set -e
cd "$(dirname "$0")"
for threads in 1 4 8; do
    log="perf-$threads.log"
    echo "measuring with $threads threads, which takes a while"
    # There is no pipe to tee: the end of a pipe would hide that the program failed.
    hrt_model_exec perf --model_file "compiled/$name.bin" --core_id 0 --frame_count 1000 --thread_num "$threads" \
        >"$log" 2>&1 || { cat "$log"; echo "hrt_model_exec failed with $threads threads" >&2; exit 1; }
    cat "$log"
done
