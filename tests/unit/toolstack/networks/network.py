"""A network's process, as far as those see it who ask one: answers on a thread what it is told to."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from xenia.net.service.protocol import Wire
from xenia.toolstack.networks import registry

Answer = Callable[[Mapping[str, Any], list[int]], Any]


class Network:
    """Listens under that name until it is stopped or closed; `asked` is what it heard.

    ports   what `show` tells
    """

    def __init__(self, name: str, ports: list[dict[str, Any]] | None = None) -> None:
        self.name = name
        self.ports = ports or []
        self.asked: list[dict[str, Any]] = []
        self.refuses = ""  # what everything but `hello` and `show` is answered with
        self._listener = registry.listen(name)
        self.path = self._listener.getsockname()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End as one does that was told to."""
        with suppress(OSError):
            self._listener.shutdown(2)
        self._thread.join()
        self._listener.close()
        with suppress(FileNotFoundError):
            os.unlink(self.path)

    def die(self) -> None:
        """End as one does that was killed."""
        self._listener.shutdown(2)
        self._thread.join()
        self._listener.close()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            wire = Wire(connection)
            while (received := wire.receive()) is not None:
                request, descriptors = received
                self.asked.append(request)
                wire.send(self._answer(request))
                for descriptor in descriptors:
                    os.close(descriptor)
            wire.close()

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        match request["verb"]:
            case "hello":
                return {"answer": {"name": self.name, "pid": os.getpid(), "nat": True, "subnet": "10.0.2.0/24",
                                   "gateway": "10.0.2.2"}}  # fmt: skip
            case "show":
                return {"answer": {"name": self.name, "ports": self.ports, "forwards": [], "leases": []}}
            case _ if self.refuses:
                return {"error": self.refuses}
            case "capture":
                return {"answer": {"capture": 7}}
            case "forward":
                return {"answer": {"to": "10.0.2.15", **{k: v for k, v in request.items() if k != "verb"}}}
            case _:
                return {"answer": None}
