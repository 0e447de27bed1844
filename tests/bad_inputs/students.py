"""Students that cannot be made of this teacher."""

from typing import Any

from tests.bad_inputs.case import Case, refused


def student(name: str, message: str, teacher: str = "@teacher", **keys: Any) -> Case:
    own = {f"student.{key}": value for key, value in keys.items()}
    return refused(f"student: {name}", message, {"teacher.model": teacher, **own})


CASES = [
    student("deeper than its teacher", "num_layers.*2", num_layers=3),
    student("much deeper than its teacher", "num_layers", num_layers=10**12),
    student("of a layer that is not there", "layer.*2", layers="[2]"),
    student("of layers in another order", "layers", layers="[1, 0]"),
    student("of a layer twice", "layers", layers="[0, 0]"),
    student("of a negative layer", "layers", layers="[-1]"),
    student("of no layer", "layers", layers="[]"),
    student("of a width that cuts a head", "multiple of 8", hidden_size=12),
    student("wider than its teacher", "hidden_size", hidden_size=24),
    student("of more heads than its teacher", "num_attention_heads", num_attention_heads=3),
    student(
        "of heads and width that contradict",
        "hidden_size must be num_attention_heads",
        hidden_size=8,
        num_attention_heads=2,
    ),
    student("of more neurons than its teacher", "intermediate_size", intermediate_size=33),
    student("of another family", "model_type bert or distilbert", model_type="roberta"),
    student("of an unknown family", "model_type", model_type="distillbert"),
    student("DistilBERT of a RoBERTa", "model_type roberta", "@roberta", model_type="distilbert"),
    student("ModernBERT without its first layer", "must begin with the teacher's layer 0", "@modernbert", layers="[1]"),
    student("a model and a depth", "remove num_layers or model", model="@narrow", num_layers=1),
    student("a model and a width", "remove hidden_size or model", model="@narrow", hidden_size=8),
    student("a folder that is not there", "cannot load the model", model="./nowhere"),
    student("an empty folder", "empty", model="@empty"),
    student("a model without tokenizer", "tokenizer", model="@no_tokenizer"),
    student("a model with a foreign tokenizer", "tokenizer must fit", model="@foreign_tokenizer"),
    student("a model with cut weights", "truncated", model="@truncated"),
    student("a model with NaN", "nan.*(NaN|finite)", model="@nan"),
    student("a model with fewer layers than its weights", "fewer_layers.*(layer|weights)", model="@fewer_layers"),
    student("a model with more layers than its weights", "more_layers.*(lack|layer|weights)", model="@more_layers"),
    student("a model with code of its own", "code", model="@code"),
    student("a model of images", "vit", model="@vit"),
    student("a model that reads no text", "max_length must leave room", model="@short"),
    student("the file of the data", "train.csv", model="train.csv"),
]
