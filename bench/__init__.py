"""`make bench`: what the connector does in a second, and what must be true of any number. README.md says how it is measured."""
