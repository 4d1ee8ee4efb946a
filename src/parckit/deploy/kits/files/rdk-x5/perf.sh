#!/bin/sh
# Measures the network on the board, with 1, 4 and 8 threads. Every log is one measurement.
set -e
cd "$(dirname "$0")"
for threads in 1 4 8; do
    hrt_model_exec perf --model_file "compiled/$name.bin" --core_id 0 --frame_count 1000 --thread_num "$threads" \
        2>&1 | tee "perf-$threads.log"
done
