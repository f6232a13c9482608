"""Health: an endpoint that is asked whether the application is well, and errors that say why."""

from __future__ import annotations

from pydantic import BaseModel

import fal_compat as fal


class Check(BaseModel):
    cause: str = "none"


class WellBeing(fal.App, keep_alive=300):
    machine_type = "S"
    version = "1.2"

    @fal.endpoint(
        "/is-well",
        health_check=fal.HealthCheck(
            start_period_seconds=30, timeout_seconds=5, failure_threshold=3
        ),
    )
    def is_well(self) -> dict[str, bool]:
        return {"well": True}

    @fal.endpoint("/fail")
    def fail(self, check: Check) -> dict[str, str]:
        if check.cause == "memory":
            with fal.exceptions.catch_gpu_exceptions():
                raise RuntimeError("CUDA error: out of memory")
        if check.cause == "caller":
            raise fal.exceptions.AppException(message="You may not do that.", status_code=403)
        if check.cause == "field":
            raise fal.exceptions.FieldException(field="cause", message="It is wrong.")
        return {"cause": check.cause}
