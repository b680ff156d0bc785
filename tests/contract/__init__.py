"""What every store must do, whoever stands behind it."""
