"""Looking inside a file: where its bits went, what it shows, what a region depends on."""
