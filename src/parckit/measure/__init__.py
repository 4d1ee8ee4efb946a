"""Measurements: accuracy, parity, latency, cost, memory, receptive fields, the environment, and records of them.

This file imports nothing, so importing one module loads only the libraries of that module. The process that `memory`
measures must not load torch.
"""
