"""The commands and examples of the pages that people read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from tests.http.serving import PROJECT

README = (PROJECT / "README.md").read_text("utf-8")
# Each is followed by itself, where a service is served.
EXAMPLES = ("api.md", "keys.md", "operate.md", "protocol.md")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PYTHON_OUTPUT = re.compile(r"\)  # (.*)$", re.MULTILINE)
_JAVASCRIPT_OUTPUT = re.compile(r"\);  // (.*)$", re.MULTILINE)
_PROGRAMS = {
    "python": ("python -c", _PYTHON_OUTPUT),
    "javascript": ("node --input-type=module --eval", _JAVASCRIPT_OUTPUT),
}


@dataclass(frozen=True)
class Command:
    """A command of a page and the output it shows, in which … stands for anything."""

    text: str
    output: str = ""

    def shows(self, output: str) -> bool:
        """Say whether ``output`` is what a page shows."""
        pattern = ".*".join(map(re.escape, self.output.strip().split("…")))
        return not self.output or re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


def read_commands(text: str) -> Iterator[Command]:
    """Return every command in order; an example in Python or JavaScript is one too."""
    for language, block in FENCED.findall(text):
        if language in _PROGRAMS:
            program, output = _PROGRAMS[language]
            yield Command(f"{program} {shlex.quote(block)}", "\n".join(output.findall(block)))
        elif language:
            assert language == "console", f"{language} is not run; use console or a program's"
            lead, *commands = re.split(r"^\$ ", block, flags=re.MULTILINE)
            assert not lead, f"not a command: {lead}"
            yield from (Command(*command.split("\n", 1)) for command in commands)
        else:
            assert "$ " not in block, "a command in a plain block is not run; use console"
