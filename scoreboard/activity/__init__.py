"""What is out of the ordinary among the attempts to update a score, and who is marked for it."""
