"""Use cases: a Session in, rows changed, outbox written. No commit, no network, no Flask."""
