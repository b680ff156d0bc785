"""The pure core: rules and money as functions over frozen values. No I/O, no clock, no framework."""
