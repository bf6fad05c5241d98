"""What the training loop can be told."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from understudy.config import Settings


class TrainSettings(Settings):
    """The `train` section of the settings.

    Attributes:
        epochs: Passes over the training split.
        batch_size: Images for one optimizer step, over all processes and accumulated parts together.
        accumulate: Parts a batch is split into to save memory; relation losses see one part at a time.
        optimizer: `name` and settings (see `understudy.engine.optim`).
        schedule: `name` and settings of the learning-rate schedule (see `understudy.engine.schedule`).
        warmup_epochs: Epochs over which the learning rate rises linearly from 0.
        clip: Largest norm of the gradient; None leaves it alone.
        ema: Decay of an exponential moving average of the weights, which is then evaluated and kept; None for none.
        precision: Of the forward passes; losses are always float32. `auto` is fp32: that bf16, which is twice as fast
            where the hardware has it, costs no accuracy is shown on the digits only (docs/performance.md).
        channels_last: Lay maps out with the channels innermost, which convolutions read faster.
        compile: Compile student and teacher with torch.compile; on a GPU as CUDA graphs. It costs a minute at the start
            and pays back after some thousand steps.
        deterministic: Ask the libraries for repeatable algorithms; on a GPU this costs some speed.
        sync_batchnorm: With several processes, BatchNorm sees the whole batch, so that they train as one would.
        log_steps: Optimizer steps between two lines of `metrics.jsonl`.
        validate_epochs: Epochs between two validations.
        save_minutes: Minutes between two checkpoints inside an epoch; each validation saves one anyway.
    """

    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=64, ge=1)
    accumulate: int = Field(default=1, ge=1)
    optimizer: dict[str, Any] = Field(default={"name": "adamw"})
    schedule: dict[str, Any] = Field(default={"name": "onecycle"})
    warmup_epochs: float = Field(default=0.0, ge=0)
    clip: float | None = Field(default=None, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: bool = True
    compile: bool = False
    deterministic: bool = True
    sync_batchnorm: bool = True
    log_steps: int = Field(default=50, ge=1)
    validate_epochs: int = Field(default=1, ge=1)
    save_minutes: float = Field(default=5.0, gt=0)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of accumulate {self.accumulate}")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs} must be less than epochs {self.epochs}")
        return self
