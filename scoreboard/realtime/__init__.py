"""Everything that lives longer than a request: who watches, and what they are told."""
