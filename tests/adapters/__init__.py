"""The adapters, against what the platforms really say."""
