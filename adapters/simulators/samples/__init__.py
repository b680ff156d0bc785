"""Genuine answers of shops, as data."""
