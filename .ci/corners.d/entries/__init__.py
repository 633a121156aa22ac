"""A module per area; every function marked with `@entry` is run."""
