"""More images than one machine holds, by Ray over any file system that fsspec knows
(docs/guide/scale.md). Needs the extra `ray`."""
