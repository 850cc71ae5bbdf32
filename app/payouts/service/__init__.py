"""Writes about payouts, by noun."""
