"""Reconciliation: three sources say what happened to the money, and what they do not agree on is a break. Pure."""
