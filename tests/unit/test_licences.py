"""How licences are named."""

from __future__ import annotations

import pytest

from textclf.image.licences import python_licences, spdx_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mit", "MIT"),
        ("Expat", "MIT"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-3", "GPL-3.0-only"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("AGPL-3.0", "AGPL-3.0-only"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("GPL", "GPL"),
        ("BSD License", "BSD License"),
        ("Apache Software License", "Apache Software License"),
        ("GPL-2 with OpenSSL exception", "GPL-2 with OpenSSL exception"),
        ("GPL-9+", "GPL-9+"),
    ],
)
def test_spdx_name(name: str, expected: str) -> None:
    """A name becomes SPDX's where it can mean one licence only."""
    assert spdx_name(name) == expected


@pytest.mark.parametrize(
    ("expression", "classifiers", "field", "expected"),
    [
        ("MIT OR Apache-2.0", ["OSI Approved :: BSD License"], "BSD", ("MIT OR Apache-2.0",)),
        (None, ["OSI Approved :: MIT License"], "Apache-2.0", ("MIT",)),
        (None, ["OSI Approved :: ISC License (ISCL)", "OSI Approved :: MIT License"], None,
         ("ISC", "MIT")),
        (None, ["OSI Approved :: BSD License"], "BSD-3-Clause", ("BSD-3-Clause",)),
        (None, ["OSI Approved :: BSD License"], "see LICENSE", ("BSD License",)),
        (None, ["OSI Approved"], "Apache License 2.0", ("Apache-2.0",)),
        (None, [], "Our own terms", ("Our own terms",)),
        (None, [], "Copyright (c) 2020\n\nPermission is hereby granted", ()),
        (None, [], "Permission is hereby granted, free of charge, to any person " * 2, ()),
        (None, [], "UNKNOWN", ()),
        (None, [], None, ()),
    ],
    ids=[
        "expression", "classifier", "two classifiers", "vague classifier, exact field",
        "vague classifier, vague field", "empty classifier", "unknown name", "text", "long line",
        "UNKNOWN", "nothing",
    ],
)  # fmt: skip
def test_python_licences(
    expression: str | None, classifiers: list[str], field: str | None, expected: tuple[str, ...]
) -> None:
    """What speaks SPDX decides, in the order of trust; a text is no name; nothing is guessed."""
    classifiers = [f"License :: {name}" for name in classifiers]
    found = python_licences(
        expression=expression, classifiers=[*classifiers, "Topic :: Text"], field=field
    )

    assert found == expected
