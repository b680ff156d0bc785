"""Background work: the worker, the drain, the clock, and one handler per kind of outbox row."""
