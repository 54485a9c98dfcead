"""Traces, metrics and logs: made from finished records, at the edges, steering nothing."""
