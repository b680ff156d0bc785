"""Shops that run on this machine, with faults to order: for the demo and for the tests."""
