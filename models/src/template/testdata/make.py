"""Renders every template here with Jinja2, as Hugging Face's apply_chat_template sets it up.

    pip install jinja2==3.1.6 && python make.py [FOLDER]

Writes NAME.out beside each NAME.jinja: one rendering per chat, separated by lines of `=====`.
The `file-*.out` were made so from the templates in llama.cpp's vocabulary files.
"""

import json
import pathlib
import sys

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

CHATS = [
    (["user"], True),
    (["system", "user", "assistant", "user"], True),
    (["user", "assistant"], False),
    (["user", "user"], True),
]
CONTENT = {
    "system": "Be brief.",
    "user": "  Hi, what's \"2 + 2\"?\n<b>é🦙</b> ",
    "assistant": "<think>\nadd\n</think>\n\nFour.\n",
}


class Refused(Exception):
    pass


def raise_exception(message):
    raise Refused(message)


def tojson(value, ensure_ascii=False, indent=None):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def main():
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    here = pathlib.Path(sys.argv[1]) if sys.argv[1:] else pathlib.Path(__file__).parent
    for path in sorted(here.glob("*.jinja")):
        template = environment.from_string(path.read_text())
        renderings = []
        for roles, prompt in CHATS:
            messages = [{"role": role, "content": CONTENT[role]} for role in roles]
            try:
                text = template.render(
                    messages=messages,
                    add_generation_prompt=prompt,
                    bos_token="<s>",
                    eos_token="</s>",
                    tools=None,
                    documents=None,
                )
            except Refused as refused:
                text = f"REFUSED {refused}"
            renderings.append(text)
        path.with_suffix(".out").write_text("\n=====\n".join(renderings))


if __name__ == "__main__":
    main()
