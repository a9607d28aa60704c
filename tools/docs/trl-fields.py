"""The fields of TRL's configurations, with their types and defaults, as an installation of TRL has them.

    python3 -m venv trl && trl/bin/pip install trl==1.16.0 peft
    trl/bin/python tools/docs/trl-fields.py > packages/cli/src/trl/fixtures/trl-fields.json

What `trl sft`, `trl dpo` and `trl grpo` read from a YAML file: the script's arguments, the trainer's configuration with everything it inherits, the
model's and the mixture's. packages/cli/src/trl holds the table that says what becomes of each.
"""

import dataclasses
import enum
import json
import platform
import re

import peft
import transformers
import trl
from trl.scripts.grpo import GRPOScriptArguments


def plain(value):
    """A default as JSON; None for what has none."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    raise TypeError(f"default of an unknown kind: {value!r}")


def type_name(annotation):
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation)) if isinstance(annotation, type) else str(annotation)
    text = re.sub(r"\b(?:transformers|typing|collections|enum)(?:\.\w+)*\.(\w+)", r"\1", text)
    text = re.sub(r"Optional\[(.*)\]", r"\1 | None", text)
    return text


def owner(cls, name):
    """The class that declares a field first: where its meaning is written down."""
    declaring = [base for base in cls.__mro__ if name in vars(base).get("__annotations__", {})]
    return declaring[-1].__name__


def fields_of(cls):
    found = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        if field.default is not dataclasses.MISSING:
            default = plain(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            default = plain(field.default_factory())
        else:
            default = None
        found.append({"name": field.name, "type": type_name(field.type), "default": default, "from": owner(cls, field.name)})
    return found


def main():
    classes = [trl.ScriptArguments, GRPOScriptArguments, trl.DatasetMixtureConfig, trl.ModelConfig, trl.SFTConfig, trl.DPOConfig, trl.GRPOConfig]
    print(
        json.dumps(
            {
                "about": "made by tools/docs/trl-fields.py",
                "versions": {"trl": trl.__version__, "transformers": transformers.__version__, "peft": peft.__version__, "python": platform.python_version()},
                "classes": {cls.__name__: fields_of(cls) for cls in classes},
            },
            indent=1,
        )
    )


main()
