"""The encoder's choices, free to change: nothing here decides what a file means."""
