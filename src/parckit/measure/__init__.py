"""All metrics, one module each: accuracy, parity, latency, cost, memory, the environment, and the records of them.

Nothing is imported here, so that a module's users pay for its own libraries alone: the probe of `memory` must run
without torch.
"""
