"""What the image wants of a network."""

from __future__ import annotations

from contextlib import suppress

from textclf.errors import DockerError, SafetyCheckError
from textclf.image.checks.check import Flaw, check
from textclf.image.checks.container import Container
from textclf.image.checks.subject import Subject

_START_SECONDS = 60.0
_WATCHED_SECONDS = 15.0  # onnxruntime's telemetry begins to send after about ten
# Its own name is known to it, and every other is asked of a resolver that is not there. What is
# asked is counted all the same, though not what goes to an address without asking for a name.
_ALONE = ("--network=none", "--dns=127.0.0.1", "--hostname=alone", "--add-host=alone:127.0.0.1")


@check(SafetyCheckError)
def no_network(subject: Subject) -> str:
    """It becomes ready without any network, as its own HEALTHCHECK says, and looks for none."""
    image = subject.ready_image
    kind, *command = (image.config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    if kind == "CMD-SHELL":
        command = ["/bin/sh", "-c", *command]
    if not command:
        raise Flaw("the image has no HEALTHCHECK that could say so")
    with image.containers.run(*_ALONE, environment={}, published=False) as container:

        def healthy() -> bool:
            with suppress(DockerError):
                container.execute(*command)
                return True
            return container.has_ended()

        patience = _START_SECONDS + subject.limits.start_limit_seconds
        if not container.wait_for(healthy, patience) or container.has_ended():
            raise Flaw(f"not healthy without a network; its log says: {container.last_error()}")
        if container.wait_for(lambda: _datagrams(container) > 0, _WATCHED_SECONDS):
            raise Flaw(
                f"it looks up names: {_datagrams(container)} datagrams left for its resolver; "
                "something in it reaches out, such as telemetry"
            )
    return f"no name was looked up in {_WATCHED_SECONDS:.0f} s"


def _datagrams(container: Container) -> int:
    """Return how many UDP datagrams the container has sent.

    Source: https://www.rfc-editor.org/rfc/rfc4113 (udpOutDatagrams)
    """
    lines = container.execute("cat", "/proc/net/snmp").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Udp:"))
    return int(values[names.index("OutDatagrams")])
