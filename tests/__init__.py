"""Retour's tests."""
