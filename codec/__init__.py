"""A learned image codec: `codec.encode(image) -> bytes`, `codec.decode(data) -> PIL.Image.Image`."""
