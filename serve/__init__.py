"""Pictures over HTTP: `.aei` files and originals of a folder, in the format that each client takes
(docs/guide/serving.md). Needs the extra `serve`."""
