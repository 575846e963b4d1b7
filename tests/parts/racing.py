"""Work that threads do at one time, as close together as Python lets them.

On the path of every test; it knows nothing of what is tested.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable


def race(number: int, work: Callable[[int], None]) -> None:
    """Do the work in so many threads that begin together, and wait for all of them."""
    start = threading.Barrier(number)

    def begin(which: int) -> None:
        start.wait()
        work(which)

    threads = [threading.Thread(target=begin, args=(which,)) for which in range(number)]
    before = sys.getswitchinterval()
    # As often as Python can: what a race can lose is lost here.
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
