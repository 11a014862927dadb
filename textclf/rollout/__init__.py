"""From a stable version to a candidate, step by step, as long as the evidence holds.

::

    plan ──► controller ──► traffic (nginx, Azure ML, Argo Rollouts)
                 │
                 ├──► preflight ─► shadow ─► step ─► pause ─► measure ─► assess ─► next, hold, abort
                 │                   │                          │          │
                 │               recorder                    metrics   analysis (pure)
                 └──► state on disk, verdict, report
"""
