#!/bin/sh
# Checks and compiles the network. Run it where D-Robotics' toolchain is installed.
set -e
cd "$(dirname "$0")"
hb_mapper checker --model-type onnx --march bayes-e --model bundle/onnx-fp32/model.onnx
hb_mapper makertbin --model-type onnx --config mapper.yaml
echo "compiled: compiled/$name.bin"
