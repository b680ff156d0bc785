"""One package per platform; each sees `connector.domain` and nothing else of ours."""
