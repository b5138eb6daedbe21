"""Description of the line's interface in OpenAPI 3.1."""

from typing import Any

from ad_core.console.answer import STATUS

_NUMBER, _TEXT = {"type": ["number", "null"]}, {"type": ["string", "null"]}
_WHOLE = {"type": ["integer", "null"]}
ANSWER = {
    "type": "object",
    "required": ["decision", "outcome", "reason", "score"],
    "properties": {
        "decision": {
            "enum": ["normal", "inspect"],
            "description": "normal only with status 200; whatever else comes, or nothing: inspect",
        },
        "score": {**_NUMBER, "description": "rises with abnormality; null where there is none"},
        "threshold": {**_NUMBER, "description": "scores from here on are inspected"},
        "outcome": {"enum": [*STATUS, "not_authorised"]},
        "reason": {**_TEXT, "description": "what went wrong; null where nothing did"},
        "regions": {
            "type": "array",
            "items": {"type": "object"},
            "description": "boxes in pixels of the file: x, y, width, height, area, peak, mean",
        },
        "reasons": {
            "type": "array",
            "items": {"type": "string"},
            "description": "what pushed the score most, in words",
        },
        "review": {**_TEXT, "description": "person, none; null without a rule of review"},
        "pages": {"type": "integer", "description": "of the file; the worst stands for it"},
        "image": {**_TEXT, "description": "SHA-256 of the file"},
        "detector": {"type": "string", "description": "SHA-256 of the detector's manifest"},
        "event": {**_WHOLE, "description": "number of the answer in the audit trail"},
        "picture_url": {**_TEXT, "description": "for people who are logged in"},
        "map_url": {**_TEXT, "description": "for people who are logged in"},
    },
}


def describe() -> dict[str, Any]:
    """The description, as plain values for JSON."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Line service",
            "version": "1",
            "description": "An image goes in, a decision comes out. Silence means inspect.",
        },
        "paths": {
            "/v1/score": {"post": _score()},
            "/v1/health": {"get": _get("Whether images are answered.", "application/json")},
            "/v1/openapi.json": {"get": _get("This description.", "application/json")},
            "/metrics": {"get": _get("Counts and latencies.", "text/plain", token=True)},
        },
        "components": {
            "schemas": {"Answer": ANSWER},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _score() -> dict[str, Any]:
    answer = {"application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}}
    outcomes: dict[int, list[str]] = {401: ["not_authorised"]}
    for outcome, status in STATUS.items():
        outcomes.setdefault(status, []).append(outcome)
    file = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": {"image": file}}
    header = {"name": "X-Image-Name", "in": "header", "schema": {"type": "string"}}
    return {
        "summary": "Decision on one image.",
        "security": [{"token": []}],
        "parameters": [header],
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": file},
                "multipart/form-data": {"schema": form},
            },
        },
        "responses": {
            str(status): {"description": ", ".join(names), "content": answer}
            for status, names in sorted(outcomes.items())
        },
    }


def _get(text: str, kind: str, *, token: bool = False) -> dict[str, Any]:
    told: dict[str, Any] = {
        "summary": text,
        "responses": {"200": {"description": text, "content": {kind: {}}}},
    }
    return told | ({"security": [{"token": []}]} if token else {})
