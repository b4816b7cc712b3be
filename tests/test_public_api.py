import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ENVIRONMENT

import charrnn

ROOT = Path(__file__).parents[1]


def test_the_names_are_these() -> None:
    assert charrnn.__all__ == [
        "CharRNNError",
        "DivergedError",
        "InterruptedRun",
        "MachineError",
        "Model",
        "ModelConfig",
        "ModelFileError",
        "SamplingConfig",
        "Score",
        "ScoringProtocol",
        "TextError",
        "TrainConfig",
        "UsageError",
        "__version__",
        "load",
        "train",
    ]
    assert charrnn.__all__ == sorted(charrnn.__all__)
    assert dir(charrnn) == charrnn.__all__


@pytest.mark.parametrize("name", [name for name in charrnn.__all__ if name != "__version__"])
def test_every_name_can_be_had_and_is_documented(name: str) -> None:
    thing = getattr(charrnn, name)
    assert thing.__name__ == name
    assert thing.__doc__
    assert thing.__module__.startswith("charrnn.")
    for member, value in vars(thing).items() if isinstance(thing, type) else ():
        if callable(value) and not member.startswith("_"):
            assert value.__doc__, f"{name}.{member}"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'charrnn' has no attribute 'lode'"):
        _ = charrnn.lode


def test_the_version_is_that_of_the_package() -> None:
    assert charrnn.__version__[0].isdigit()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (charrnn.UsageError, 2),
        (charrnn.TextError, 3),
        (charrnn.ModelFileError, 4),
        (charrnn.MachineError, 5),
        (charrnn.DivergedError, 6),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_errors_are_one_tree_with_an_exit_code_each(
    error: type[charrnn.CharRNNError], code: int
) -> None:
    one = error("What is wrong.", "What to do.")
    assert isinstance(one, charrnn.CharRNNError)
    assert (one.exit_code, one.message, one.hint) == (code, "What is wrong.", "What to do.")
    assert str(one) == "What is wrong.\nWhat to do."
    assert str(error("What is wrong.")) == "What is wrong."


# Each line may be done without torch, which takes two seconds to import. One process tries all.
LIGHT = """
import sys
def light(step):
    assert "torch" not in sys.modules, step
import charrnn
light("import charrnn")
for name in charrnn.__all__:
    if "Scor" not in name:
        getattr(charrnn, name)
light("every name but Score")
from charrnn.__main__ import run
light("the command line")
model = sys.argv[1]
for arguments, code in [
    ([], 0), (["--help"], 0), (["--version"], 0), (["train", "--help"], 0), (["eval", "--help"], 0),
    (["trian"], 2), (["train", "x", "--hiden-size", "9"], 2),
    (["train", "x", "--cell", "lstmm"], 2), (["train", "no-such-text.txt"], 3),
    (["eval", model, "no-such-text.txt"], 3), (["eval", "no-such-model", "x"], 4),
    (["sample", model, "--seed", "1", "--length", "9"], 0),
    (["sample", model, "--seed", "1", "--num", "3"], 0),
    (["sample", model, "--beam", "2"], 0),
    (["sample", model, "--length", "0"], 2), (["novelty", model, sys.argv[2], "-n", "9"], 0),
    (["info", model], 0), (["data"], 0),
]:
    assert run(arguments) == code, arguments
    light(arguments)
for options in ({"hiden_size": 9}, {"steps": 0}, {}):
    try:
        next(charrnn.train("no-such-text.txt", **options))
    except charrnn.CharRNNError:
        light(f"train with {options}")
    else:
        raise AssertionError(options)
model = charrnn.load(model)
model.generate("the ", length=5)
light("load and generate")
"""


def test_what_needs_no_torch_does_not_import_it(model: Path, text: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", LIGHT, model, text],
        env=ENVIRONMENT,
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
