"""What an answer looks like, as JSON Schema."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

Schema = dict[str, Any]


def text(description: str | None = None) -> Schema:
    """A string."""
    return {"type": "string"} if description is None else {"type": "string", "description": description}


def seconds(description: str, **more: Any) -> Schema:
    """A time."""
    return {"type": "number", "description": description, **more}


def array(items: Schema, **more: Any) -> Schema:
    """A list."""
    return {"type": "array", "items": items, **more}


def either(*schemas: Schema) -> Schema:
    """Any of these."""
    return {"anyOf": list(schemas)}


def ref(name: str) -> Schema:
    """A component."""
    return {"$ref": f"#/components/schemas/{name}"}


def mapping(values: Schema, description: str) -> Schema:
    """An object with names that are not known beforehand."""
    return {"type": "object", "additionalProperties": values, "description": description}


def obj(
    properties: Mapping[str, Schema],
    *,
    optional: Collection[str] = (),
    others: Schema | None = None,
    description: str | None = None,
) -> Schema:
    """An object.

    Args:
        properties: its fields.
        optional: those of them that may be missing.
        others: what other fields may be; by default there are none.
        description: what it is.
    """
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        **({} if description is None else {"description": description}),
        "properties": dict(properties),
        **({"required": required} if required else {}),
        "additionalProperties": False if others is None else others,
    }


SCORE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
SPAN: dict[str, Schema] = {
    "start_seconds": seconds("Where it begins, on the clip's own timeline."),
    "stop_seconds": seconds("Where it ends."),
}
FINAL: Schema = {"type": "boolean", "description": "Of a stream: whether later chunks cannot change it any more."}
SCORES = mapping(SCORE, "By label.")
HEAD: dict[str, Schema] = {
    "status": {"const": 200},
    "model": obj({"name": text(), "version": text()}),
    "start_seconds": seconds("Where the clip's timeline begins."),
    "duration_seconds": seconds("Of the clip.", minimum=0),
    "modalities": mapping(ref("Modality"), "Whether each modality of the model was used."),
}
SEGMENT: dict[str, Schema] = {
    **SPAN,
    "label": text(),
    "score": {**SCORE, "description": "Mean of the smoothed scores of its windows."},
    "description": text("The extra `descriptions`."),
    "final": FINAL,
}
WINDOW: dict[str, Schema] = {
    **SPAN,
    "scores": {**SCORES, "description": "By label, as the model gives them."},
    "smoothed": SCORES,
    "final": FINAL,
}
ACTIVITIES = array(
    obj({"label": text(), "score": SCORE}), description="Of the whole clip, best first; as many as `top_k` says."
)
EXTRAS: dict[str, Schema] = {
    "embedding": array({"type": "number"}, description="The clip's: the mean of its windows' ones."),
    "timing": mapping({"type": "number", "minimum": 0}, "Seconds by stage."),
    "transcript": array(obj({**SPAN, "text": text()}), description="The words that were heard."),
}
STREAM: dict[str, Schema] = {
    "stream": obj(
        {
            "clock_seconds": seconds("The stream is known up to here; the next chunk goes on here."),
            "final_until_seconds": seconds("What lies before is final."),
            "gap_seconds": seconds("By so much the chunk began later than the clock."),
        },
        optional=("gap_seconds",),
        description="Of a request with the option `chunk`.",
    ),
    "state": text("Goes with the next chunk as its part `state`; the last chunk's answer has none."),
}


def answer_schemas() -> dict[str, Schema]:
    """An answer and what stands in it, by name."""
    optional = ("windows", "explanation", *EXTRAS, *STREAM)
    return {
        "Answer": obj(
            {
                **HEAD,
                "activities": ACTIVITIES,
                "segments": array(ref("Segment")),
                "windows": array(ref("Window"), description="The extra `windows`."),
                **EXTRAS,
                "explanation": ref("Explanation"),
                **STREAM,
            },
            optional=optional,
            description="What is seen and heard in a clip, and when.",
        ),
        "Modality": obj(
            {
                "used": {"type": "boolean"},
                "code": text("Why it was not used: `not_sent`, or an error's code."),
                "reason": text(),
            },
            optional=("code", "reason"),
        ),
        "Segment": obj(SEGMENT, optional=("description", "final")),
        "Window": obj(WINDOW, optional=("final",)),
        "Explanation": _explanation(),
    }


def _explanation() -> Schema:
    numbers = array({"type": "number"})
    contributions = {
        **SPAN,
        "label": text("What is explained."),
        "score": {"type": "number"},
        "base": {"type": "number", "description": "The score without any modality."},
        "contributions": mapping(
            obj({"value": {"type": "number"}, "loss": {"type": "number"}}),
            "By modality: its Shapley value, and what is lost without it.",
        ),
        "against": either(
            obj(
                {
                    "label": text("The next best one."),
                    "share": {"type": "number"},
                    "base": {"type": "number"},
                    "contributions": mapping({"type": "number"}, "By modality."),
                },
                description="What tells the label from the next best one.",
            ),
            {"type": "null"},
        ),
    }
    moment = obj({**SPAN, "weight": {"type": "number"}, "words": text()}, optional=("words",))
    return obj(
        {
            "windows": array(
                obj(
                    {
                        **contributions,
                        "hops": mapping(numbers, "By modality: what the score owes to each hop."),
                        "attention": mapping(mapping(numbers, "By who gives."), "By who attends."),
                    }
                )
            ),
            "segments": array(
                obj(
                    {
                        **contributions,
                        "moments": mapping(array(moment), "By modality, the heaviest first."),
                        "attention": mapping(mapping(array(numbers), "By who gives."), "By who attends."),
                    }
                )
            ),
        },
        description="The extra `explanation`.",
    )


def _line(kind: str, properties: Mapping[str, Schema], *, optional: Collection[str] = ()) -> Schema:
    return obj({"type": {"const": kind}, **properties}, optional=optional)


NDJSON_LINES: tuple[Schema, ...] = (
    _line(
        "header",
        {**HEAD, "activities": ACTIVITIES, **EXTRAS, "explanation": ref("Explanation"), **STREAM},
        optional=("activities", "explanation", *EXTRAS, *STREAM),
    ),
    _line("window", WINDOW, optional=("final",)),
    _line("segment", SEGMENT, optional=("description", "final")),
    _line("progress", {"clock_seconds": seconds("The recording has been read up to here.")}),
    _line("end", {"duration_seconds": HEAD["duration_seconds"], "activities": ACTIVITIES, **EXTRAS}, optional=EXTRAS),
)
"""A line of NDJSON, besides that of an error; ``progress`` and ``end`` are those of the option ``stream``."""
