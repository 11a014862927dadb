#!/usr/bin/env python
"""Write openapi.json, the document that clients of the service are promised."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import textclf
from textclf.http.openapi import build_openapi

DOCUMENT = Path(__file__).resolve().parents[1] / "openapi.json"


def main() -> int:
    """Write the document and say where."""
    content = json.dumps(build_openapi(textclf.__version__), indent=2, ensure_ascii=False)
    DOCUMENT.write_text(content + "\n", "utf-8")
    print(DOCUMENT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
