"""Waiting for a condition, with a deadline. The only place of the suite that lets time pass."""

import os
import select
import time

# Sanitizer builds and loaded machines need longer; no test's meaning depends on the factor.
SCALE = float(os.environ.get("ARTIFACT_SYNC_TIMEOUT_SCALE", "1"))


def wait_until(what, condition, timeout=20.0, step=0.02):
    """Polls `condition` until it returns something true and returns that; less and less often, since
    most conditions start a process to ask, and other tests want the processor.

    An AssertionError raised by the condition counts as "not yet"; the last one is shown when the
    deadline passes.
    """
    limit = timeout * SCALE
    began = time.monotonic()
    why = ""
    while True:
        try:
            result = condition()
            if result:
                return result
            why = ""
        except AssertionError as error:
            why = f": {error}"
        waited = time.monotonic() - began
        if waited >= limit:
            raise AssertionError(f"after {limit:g} s still waiting until {what}{why}")
        select.select([], [], [], min(max(step, waited / 10), 10 * step))


def let_pass(seconds):
    """For troubles that last a while. What a test says must not depend on how long."""
    select.select([], [], [], seconds)
