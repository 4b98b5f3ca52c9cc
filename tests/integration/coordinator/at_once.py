"""Several threads that do the same at one moment."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connection

from coordinator.public_errors import CoordinatorError


def together(count: int, act: Callable[[int], object]) -> list[object]:
    """Call it with 0, 1, … from as many threads; what the domain refuses is an answer as well."""
    barrier, answers = threading.Barrier(count), list[object]()

    def one(number: int) -> None:
        barrier.wait()
        try:
            answers.append(act(number))
        except CoordinatorError as error:
            answers.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
