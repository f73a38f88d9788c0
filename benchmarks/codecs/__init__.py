"""Codecs under test. Of here by name: `PeerCodec`, which a third party's file is made of."""

from .base import CodecError, PeerCodec

__all__ = ["CodecError", "PeerCodec"]
