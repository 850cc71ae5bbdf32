"""The audit trail of a merchant: read, exported, chained, and held against its chain."""
