"""What a student's folder gets for the runtimes that serve it."""

from typing import Literal

from pydantic import Field

from distilnlp.validation import Section

Format = Literal["onnx", "onnx-int8", "openvino", "executorch"]
USUAL: tuple[Format, ...] = ("onnx", "onnx-int8")


class ExportConfig(Section):
    """The graphs in a student's folder."""

    formats: list[Format] | None = Field(
        default=None,
        description="of `onnx`, `onnx-int8`, `openvino`, `executorch`; null = the two of ONNX, where the packages for "
        "them are installed; [] = none",
    )
    min_agreement: float = Field(
        default=0.99,
        ge=0,
        le=1,
        description="share of the answers that int8 must give as fp32 does, or parts stay in fp32",
    )
    quantization: Literal["dynamic", "static"] = Field(
        default="dynamic",
        description="what int8 does with activations: scaled as they come, or by what calibration rows showed",
    )

    distil_int8: bool = Field(
        default=False,
        description="train the student on for an epoch, rounded as int8 will round it, at a tenth of the learning rate",
    )
    tokenizer: bool = Field(
        default=False,
        description="also write an ONNX graph that reads text, its tokenizer inside, for runtimes without Python",
    )

    @property
    def has_int8(self) -> bool:
        """Whether a graph in int8 is wanted."""
        return "onnx-int8" in (USUAL if self.formats is None else self.formats)
