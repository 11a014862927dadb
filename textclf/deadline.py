"""When an answer is of no use any more: known to all that works on it, down to the queue."""

from __future__ import annotations

import math
from contextvars import ContextVar

# In seconds of time.monotonic. Each request is a task with a context of its own, so that nothing
# between the one who sets it and the one who heeds it has to hand it on.
DEADLINE: ContextVar[float] = ContextVar("DEADLINE", default=math.inf)
