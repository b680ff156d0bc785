"""WordPress' errors as it answers them."""

from __future__ import annotations

from typing import Any


class Problem(Exception):
    """An error answer. `data` None is the usual `{"status": …}`; refunds put a bare number there."""

    def __init__(self, status: int, code: str, message: str, data: Any = None) -> None:  # noqa: ANN401 - any JSON
        super().__init__(code)
        self.status, self.code, self.message = status, code, message
        self.data = {"status": status} if data is None else data

    def body(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "data": self.data}


def invalid_param(name: str, why: str, code: str, data: Any = None) -> Problem:  # noqa: ANN401 - any JSON
    details = {name: {"code": code, "message": why, "data": data}}
    return Problem(
        400,
        "rest_invalid_param",
        f"Invalid parameter(s): {name}",
        {"status": 400, "params": {name: why}, "details": details},
    )
