"""Live connections: their limits and lifetime, and the messages that are pushed to them."""
