"""Retour, a returns connector. Importing the core imports no Flask, no RQ and no database driver."""
