"""Command lines."""

from tests.bad_inputs.case import Case, refused


def given(teacher: str = "@teacher", data: str = "train.csv", output: str = "out") -> tuple[str, ...]:
    return ("distill", "--teacher", teacher, "--data", data, "--output", output, "--dry-run")


GIVEN = given()
INIT = ("init", *GIVEN[1:-1])
MEASURED = ("evaluate", "@teacher", "--data", "train.csv")


def command(name: str, message: str, *words: str, begin: tuple[str, ...] = GIVEN) -> Case:
    return refused(f"flags: {name}", message, argv=[*begin, *words])


def alone(name: str, message: str, *words: str) -> Case:
    return command(name, message, *words, begin=())


CASES = [
    alone("nothing", "usage|COMMAND"),
    alone("an unknown command", "distil2", "distil2"),
    alone("a command in capitals", "Distill", "Distill"),
    alone("an empty command", "invalid choice|COMMAND", ""),
    alone("a flag of every command before it, and no recipe", "missing", "--verbose", "distill"),
    alone("distill alone", "missing", "distill"),
    alone("cache alone", "missing", "cache"),
    alone("evaluate alone", "student|required", "evaluate"),
    alone("evaluate without data", "--data", "evaluate", "@teacher"),
    command("a flag twice", "seed.*twice", "--seed", "1", "--seed", "2"),
    command("a short flag twice", "teacher.*twice", "--teacher", "@two"),
    command("the data twice", "data.*twice", "--data", "other.csv"),
    command(
        "a flag under both its names",
        r"num_layers.*(twice|two)",
        "--num-layers",
        "1",
        "--student.num_layers",
        "2",
    ),
    command("a teacher under both its names", "teacher.*(twice|two)", "--teacher.model", "@two"),
    command("a data source under both its names", r"source.*(twice|two)", "--data.source", "x.csv"),
    command("a task under both forms", r"task.*twice", "--task", "regression", "--task=masked_lm"),
    command("a flag without value", "--seed has no value", "--seed"),
    command("a flag without value before another", "--seed has no value", "--seed", "--baseline=true"),
    command("a short flag without value", "num-layers|num_layers", "--num-layers"),
    command("a teacher without value", "teacher", begin=("distill", "--teacher", *GIVEN[3:])),
    command("an unknown key", "unknown (key|flag).*lerning_rate", "--lerning_rate", "1"),
    command("an unknown key of a section", "Did you mean.*max_length", "--data.max_lenght", "12"),
    command("an unknown section", "unknown (key|flag).*dat", "--dat.max_length", "12"),
    command("a key of the Trainer without training", "learning_rate", "--learning_rate", "1e-4"),
    command("a misspelt shortcut", "Did you mean|unknown key", "--num-layer", "2"),
    command("a misspelt --dry-run", "dry", "--dry_run", begin=GIVEN[:-1]),
    command("--dry-run with a value", "dry-run", "--dry-run=true"),
    command("one dash", "-seed|unrecognized|unknown", "-seed", "1"),
    command("a dash of a word processor", "unrecognized|unknown|–seed", "–seed", "1"),
    command("no name", "(flag|key|unknown)", "--=1"),
    command("two dashes alone", "(recipe|unknown|argument)", "--", "x"),
    command("a dot for a name", "(flag|key)", "--.=1"),
    command("a dot at the end", "(flag|key)", "--data.=1"),
    command("two dots", "(flag|key|unknown)", "--data..max_length=12"),
    command("a key below a number", "seed", "--seed.more", "1"),
    command("a key below a path", "source|split", "--data.source.x", "1"),
    command("a key of 10,000 dots", "(key|flag|deep|unknown)", "--" + ".".join(["a"] * 10_000), "1"),
    command("a key of 100,000 characters", "(key|flag|unknown)", "--" + "k" * 100_000, "1"),
    command("a value of 100,000 characters", "seed", "--seed", "x" * 100_000),
    command("a value of no YAML", "value of --training.losses.*not valid YAML", "--training.losses", "[{name: pkd"),
    command("a value that is a tag", "not valid YAML", "--seed", "!!python/object/apply:os.getcwd []"),
    command("a value that is a tab", "seed|YAML", "--seed", "\t"),
    command("a value of NUL", "seed|YAML", "--seed", "a\0b"),
    command("a value of surrogates", "seed|YAML|task", "--task", "\udcff"),
    command("an empty value", "seed", "--seed", ""),
    command("an empty value after =", "seed", "--seed="),
    command("values without brackets", "(unrecognized|there is no recipe|other)", "--data.text_columns", "a", "b"),
    command("a recipe that is a number", "there is no recipe", "3"),
    command("two recipes", "unrecognized arguments|two recipes", "one.yaml", "two.yaml"),
    command("an empty teacher", "teacher", begin=given(teacher="")),
    command(
        "an empty data",
        "(data|source)",
        begin=given(data=""),
    ),
    command("an empty output", "output", begin=given(output="")),
    command("NUL in the data", "(nul|null|data|a.*b)", begin=given(data="a\0b")),
    command("NUL in the teacher", "(nul|null|teacher|model)", begin=given(teacher="a\0b")),
    command("NUL in the output", "output", begin=given(output="a\0b")),
    command(
        "a path of 5,000 characters as data",
        "data|name|file",
        begin=given(data="d" * 5000 + ".csv"),
    ),
    command(
        "a path of 5,000 characters as teacher",
        "model|teacher",
        begin=given(teacher="/" + "t" * 5000),
    ),
    command("a path of 5,000 characters as output", "output", begin=given(output="o" * 5000)),
    command("a teacher list of no YAML", "--teacher.*not valid YAML", begin=given(teacher="[a, b")),
    command("splits of no YAML", "--data.*not valid YAML", begin=given(data="{train: a")),
    command("evaluate with a key of training", "evaluate takes keys of data", "--training.seed", "1", begin=MEASURED),
    command(
        "evaluate with an unknown key of data", "Did you mean.*max_length", "--data.max_lenght", "1", begin=MEASURED
    ),
    command(
        "evaluate with a figure file that is a folder", "--output must name a file", "--output", ".", begin=MEASURED
    ),
    command("evaluate with a figure file nowhere", "--output must name", "--output", "no/where/x.json", begin=MEASURED),
    command("evaluate with an empty figure file", "--output", "--output", "", begin=MEASURED),
    command("evaluate with an unknown split", "no split 'tset'", "--split", "tset", begin=MEASURED),
    command("evaluate with an unknown task", "there is no task|task", "--task", "ner2", begin=MEASURED),
    command(
        "evaluate with the task of another head", "single_label|no trained head", "--task", "regression", begin=MEASURED
    ),
    command("evaluate with two students", "unrecognized|two", "@two", begin=MEASURED),
    command("evaluate in a dry run", "dry", "--dry-run", begin=MEASURED),
    command("evaluate with a split twice", "split.*twice", "--split", "train", "--split", "test", begin=MEASURED),
    command("evaluate with too short a length", "max_length", "--data.max_length", "3", begin=MEASURED),
    command("init without a terminal", "give these flags too: --teacher, --data, --output", begin=("init",)),
    command("init with a recipe nowhere", "--recipe must name a file", "--recipe", "no/where.yaml", begin=INIT),
    command("init with a recipe that is a folder", "--recipe must name a file", "--recipe", ".", begin=INIT),
    command("init over a file that is there", "is there already", "--recipe", "train.csv", begin=INIT),
    command("init with an unknown column", "nope.*columns", "--text-column", "nope", begin=INIT),
    command("init with an unknown task", "there is no task", "--task", "nerr", begin=INIT),
    command("init with data that is not there", "nowhere.csv", begin=("init", *given(data="nowhere.csv")[1:-1])),
    command("init with a key of a recipe", "unknown flag '--seed'", "--seed", "1", begin=INIT),
    command("launch without a command", "expected a command to launch", begin=("launch", "--num_processes", "2")),
    command("a completion of an unknown shell", "shell|invalid choice", begin=("completion", "tcsh")),
    command("cache in a dry run", "dry", begin=("cache", *GIVEN[1:])),
    command("cache with an unknown key", "Did you mean.*seed", "--sed", "1", begin=("cache", *GIVEN[1:-1])),
]
