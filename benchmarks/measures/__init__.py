"""What is measured: quality of pictures, and rates at equal quality."""
