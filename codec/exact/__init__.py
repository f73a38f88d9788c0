"""What a file means: integers only, the same on every machine. Imports formats, nothing else of
codec."""
