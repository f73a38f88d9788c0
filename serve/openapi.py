"""The OpenAPI document: what the server answers to."""

from __future__ import annotations

from typing import Any

from .negotiate import AEI, AVIF, BY_NAME, JPEG, PNG, WEBP
from .settings import ServeSettings

ERRORS = {
    "400": "A parameter or a body that makes no sense.",
    "404": "No such picture.",
    "406": "None of the formats that Accept names can be made.",
    "408": "The body did not come in time.",
    "413": "The body or the picture is larger than this server takes.",
    "415": "The body is no picture of a kind that is taken.",
    "422": "The file on the server cannot be decoded.",
    "503": "Too many requests, or the picture took too long: try again later.",
}


def document(settings: ServeSettings) -> dict[str, Any]:
    """The document of a server with these settings, OpenAPI 3.0."""
    paths: dict[str, Any] = {
        "/images/{name}": {"get": _images(), "head": _images(body=False)},
        "/health": {"get": _plain("Whether the process answers.", "application/json")},
        "/metrics": {"get": _plain("Counters for Prometheus.", "text/plain")},
        "/openapi.json": {"get": _plain("This document.", "application/json")},
    }
    if settings.uploads:
        paths["/convert"] = {"post": _convert(settings)}
    return {
        "openapi": "3.0.3",
        "info": {"title": "aei", "version": "1", "description": "Pictures for web pages."},
        "paths": paths,
        "components": {
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {"error": {"type": "string"}},
                }
            }
        },
    }


def _images(body: bool = True) -> dict[str, Any]:
    name = {
        "name": "name",
        "in": "path",
        "required": True,
        "description": "Path below the folder; without a suffix, the .aei file of that name.",
        "schema": {"type": "string", "minLength": 1},
    }
    answers = {
        "200": _picture("The picture.", body),
        "304": {"description": "The copy that If-None-Match names is still right."},
    }
    for code in ("400", "404", "406", "413", "422", "503"):
        answers[code] = _error(code, body)
    return {
        "summary": "A picture of the folder" if body else "Its type and ETag, without work",
        "parameters": [name, *_parameters()],
        "responses": answers,
    }


def _convert(settings: ServeSettings) -> dict[str, Any]:
    kinds = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in BY_NAME.values()}
    answers = {"200": _picture("The picture as it was asked for.", True)}
    for code in ("400", "406", "408", "413", "415", "503"):
        answers[code] = _error(code, True)
    return {
        "summary": "Another format or size of a picture that is sent; nothing is kept",
        "parameters": _parameters(),
        "requestBody": {
            "required": True,
            "description": f"A picture of at most {settings.upload_bytes} bytes.",
            "content": kinds,
        },
        "responses": answers,
    }


def _parameters() -> list[dict[str, Any]]:
    return [
        {
            "name": "width",
            "in": "query",
            "description": "Of the answer, in pixels; a picture is never made larger.",
            "schema": {"type": "integer", "minimum": 1},
        },
        {
            "name": "region",
            "in": "query",
            "description": "left,top,width,height in pixels of the picture as it is stored.",
            "schema": {
                "type": "string",
                "pattern": "^[0-9]{1,9},[0-9]{1,9},[1-9][0-9]{0,8},[1-9][0-9]{0,8}$",
            },
        },
        {
            "name": "format",
            "in": "query",
            "description": "Instead of what Accept says.",
            "schema": {"type": "string", "enum": list(BY_NAME)},
        },
    ]


def _picture(text: str, body: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": text,
        "headers": {
            name: {"schema": {"type": "string"}} for name in ("ETag", "Cache-Control", "Vary")
        },
    }
    if body:
        answer["content"] = {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in (AEI, AVIF, WEBP, JPEG, PNG)
        }
    return answer


def _error(code: str, body: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": ERRORS[code]}
    if body:
        schema = {"$ref": "#/components/schemas/Error"}
        answer["content"] = {"application/json": {"schema": schema}}
    return answer


def _plain(text: str, kind: str) -> dict[str, Any]:
    schema = {"type": "object" if kind.endswith("json") else "string"}
    return {
        "summary": text,
        "responses": {"200": {"description": text, "content": {kind: {"schema": schema}}}},
    }
