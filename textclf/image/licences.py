"""The names of licences: as packages write them, and as SPDX does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.license import License, LicenseAcknowledgement
from cyclonedx.spdx import fixup_id, is_expression

# Names that can mean one licence only; "BSD License" and "Apache Software License" are not among
# them, for they name no version.
_SPDX = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "expat": "MIT",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "the unlicense (unlicense)": "Unlicense",
}
_GNU = re.compile(r"(A?GPL|LGPL)-(\d)(?:\.(\d))?(\+?)")
# Longer than any name: some packages put the text of a licence where its name should be.
_LONGEST_NAME = 64


def spdx_name(name: str) -> str:
    """Return SPDX's name of a licence if there is no doubt which it is, else the name as it is.

    Source: https://spdx.org/licenses, and for Debian's short names
    https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/#license-specification
    """
    spdx = _SPDX.get(name.lower(), name)
    if gnu := _GNU.fullmatch(name):
        family, major, minor, later = gnu.groups()
        spdx = f"{family}-{major}.{minor or 0}-{'or-later' if later else 'only'}"
    return fixup_id(spdx) or name


def is_spdx(name: str) -> bool:
    """Say whether a name is a licence of SPDX's list, or an expression made of such."""
    return fixup_id(name) is not None or is_expression(name)


def python_licences(
    *, expression: str | None, classifiers: Iterable[str], field: str | None
) -> tuple[str, ...]:
    """Return the licences of a distribution; none if its metadata names none.

    The first of ``License-Expression``, classifiers and ``License`` that speaks SPDX decides, and
    if none does, the first that speaks: the classifier "BSD License" leaves open which one.
    """
    classified = [
        name.rpartition(" :: ")[2]
        for name in classifiers
        if name.startswith("License :: ") and not name.endswith(":: OSI Approved")
    ]
    candidates = [
        tuple(sorted({spdx_name(name) for name in map(str.strip, names) if _is_name(name)}))
        for names in ([expression or ""], classified, [field or ""])
    ]
    named = [names for names in candidates if names]
    return next((names for names in named if all(map(is_spdx, names))), named[0] if named else ())


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_NAME and "\n" not in text and text.upper() != "UNKNOWN"


def declared(names: Sequence[str]) -> list[License]:
    """Return licences in CycloneDX's form, in which an expression stands alone."""
    factory, acknowledgement = LicenseFactory(), LicenseAcknowledgement.DECLARED
    if len(names) == 1:
        return [factory.make_from_string(names[0], license_acknowledgement=acknowledgement)]
    return [
        factory.make_with_id(name, acknowledgement=acknowledgement)
        if fixup_id(name)
        else factory.make_with_name(name, acknowledgement=acknowledgement)
        for name in names
    ]
