"""Images as the codec takes and gives them: pixels, alpha, metadata, windows, filters, quality."""
