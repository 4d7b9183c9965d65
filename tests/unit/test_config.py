"""The configuration: layers, origins, and errors that tell where and what."""

import json
import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcp_worker.config import defaults, show, units
from dcp_worker.config.errors import ConfigError
from dcp_worker.config.layers import Loaded, load, refused
from dcp_worker.config.model import Settings
from dcp_worker.config.toml_lines import key_lines


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """The three places of configuration files, inside a folder of the test."""
    (tmp_path / "etc" / "dcp").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "project").mkdir()
    return {
        "etc": tmp_path / "etc" / "dcp" / "config.toml",
        "home": tmp_path / "home" / "config.toml",
        "project": tmp_path / "project" / "dcp.toml",
    }


def load_from(
    places: dict[str, Path], flags: dict[str, tuple[str, object]] | None = None, **environment: str
) -> Loaded:
    variables = {
        "DCP_ETCDIR": str(places["etc"].parent.parent),
        "DCP_RESOURCE_DIR": str(places["home"].parent),
    }
    return load(flags, environment=variables | environment, project_dir=places["project"].parent)


def problems_of(places: dict[str, Path], **environment: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_from(places, **environment)
    return caught.value.problems


def test_packaged_defaults_are_the_models() -> None:
    """defaults.toml is exactly what the model says, with every setting in it."""
    text = defaults.default_text()

    assert text == defaults.render()
    for section, model in defaults.sections():
        for key in model.model_fields:
            assert f"\n{key} = " in text or f"\n# {key} = " in text, (section, key)


def test_defaults_alone_give_the_models_values(places: dict[str, Path]) -> None:
    """Reading the packaged file changes nothing but the resource directory."""
    loaded = load_from(places)
    expected = Settings().model_dump()
    expected["paths"]["resource_dir"] = places["home"].parent

    assert loaded.settings.model_dump() == expected


def test_examples_in_the_defaults_file_are_valid(places: dict[str, Path]) -> None:
    """Whoever removes the comment sign before an unset setting has a valid file."""
    text, section = [], ""
    for line in defaults.default_text().splitlines():
        if line.startswith("["):
            section = line
            text.append(line)
        elif section and line.startswith("# ") and "supervisor_key" not in line:
            text.append(line.removeprefix("# "))
    places["project"].write_text("\n".join(text))

    loaded = load_from(places)

    assert loaded.settings.worker.max_sandboxes == 8


def test_every_setting_has_a_description() -> None:
    for _, model in defaults.sections():
        for key, field in model.model_fields.items():
            assert field.description, key
            assert field.description.endswith("."), key


def test_later_places_win_and_tell_their_origin(places: dict[str, Path]) -> None:
    """etc < home < project < environment < flags, each value with where it stands."""
    names = ("cores", "max_sandboxes", "data", "job_ids", "leave_public_group")
    values = ('"2"', "3", '"/a"', '["x"]', "true")
    for count, place in zip((5, 4, 3), ("etc", "home", "project"), strict=True):
        body = [f"{name} = {value}" for name, value in zip(names[:count], values[:count], strict=True)]
        places[place].write_text("# a comment\n[worker]\n" + "\n".join(body))

    loaded = load_from(
        places,
        {"worker.cores": ("--cores", "7,1")},
        DCP_WORKER_MAX_SANDBOXES="9",
        DCP_SCHEDULER_LOCATION="http://example.org",
    )

    worker = loaded.settings.worker
    assert worker.cores == (7.0, 1.0)
    assert worker.max_sandboxes == 9
    assert loaded.settings.scheduler.location == "http://example.org/"
    assert {name: str(loaded.origins[f"worker.{name}"]) for name in names} == {
        "cores": "--cores",
        "max_sandboxes": "$DCP_WORKER_MAX_SANDBOXES",
        "data": f"{places['project']}:5",
        "job_ids": f"{places['home']}:6",
        "leave_public_group": f"{places['etc']}:7",
    }
    assert str(loaded.origins["worker.cleanup_timeout"]).startswith("defaults.toml:")
    assert loaded.files == (places["etc"], places["home"], places["project"])


def test_environment_reaches_every_setting_and_lists(places: dict[str, Path]) -> None:
    loaded = load_from(
        places,
        DCP_WORKER_JOB_IDS="a b",
        DCP_WORKER_COMPUTE_GROUPS='["key,secret"]',
        DCP_EVALUATOR_HOST_MEMORY_PER_SANDBOX="512MiB",
        DCP_WORKER_START_LOCAL_HOST="false",
    )

    assert loaded.settings.worker.job_ids == ("a", "b")
    assert loaded.settings.worker.compute_groups == ("key,secret",)
    assert loaded.settings.evaluator_host.memory_per_sandbox == 512 * 2**20
    assert loaded.settings.worker.start_local_host is False


def test_all_problems_at_once_with_line_and_nearest_key(places: dict[str, Path]) -> None:
    places["project"].write_text(
        '[worker]\nmax_sandboxs = 3\nmax_sandboxes = "many"\nstart_local_host = "yes"\n'
        "job_ids = [\n  'a',\n]\ncleanup_timeout = '5 parsecs'\n\n[sheduler]\nlisten = 3\n"
    )
    path = places["project"]

    assert problems_of(places) == (
        f"{path}:2: [worker] has no key 'max_sandboxs'; did you mean 'max_sandboxes'?",
        f"{path}:10: there is no section [sheduler]; did you mean 'scheduler'?",
        f"{path}:3: worker.max_sandboxes: expected a valid integer, got 'many'",
        f"{path}:4: worker.start_local_host: expected a valid boolean, got 'yes'",
        f'{path}:8: worker.cleanup_timeout: expected a duration like "500ms", "30s", "5m", "2h" or "1d", '
        "got '5 parsecs'",
    )


def test_misspelt_environment_variable_is_an_error(places: dict[str, Path]) -> None:
    assert problems_of(places, DCP_WORKER_CORS="2") == (
        "$DCP_WORKER_CORS: there is no such setting; did you mean 'DCP_WORKER_CORES'?",
    )


def test_variables_of_the_npm_programs_are_left_alone(places: dict[str, Path]) -> None:
    load_from(places, DCP_WORKER_CHECK_SEMVER="false", DCP_CLIENT_SKIP_VERSION_CHECK="1", DCP_DEBUG="x")


def test_a_password_in_an_address_is_refused_and_not_shown(places: dict[str, Path]) -> None:
    (problem,) = problems_of(places, DCP_SCHEDULER_LOCATION="http://me:swordfish@127.0.0.1/")

    assert "without user name and password" in problem
    assert "swordfish" not in problem


def test_broken_toml_names_file_and_line(places: dict[str, Path]) -> None:
    places["home"].write_text("[worker]\ncores = \n")

    (problem,) = problems_of(places)
    assert problem.startswith(f"{places['home']}: is not valid TOML: ")
    assert "line 2" in problem


def test_hostile_files_are_refused_not_suffered(places: dict[str, Path]) -> None:
    """Deep nesting, size, wrong encoding, dates where none belong: a clear error each."""
    path = places["project"]
    cases = {
        b"x = " + b"[" * 100_000: "is nested too deeply",
        b"#" * 2_000_000: "is larger than",
        b"[log]\nlevel = '\xff'\n": f"{path}:2: is not UTF-8 text",
        b"[log]\nlevel = 2026-01-01\n": f"{path}:2: log.level: expected",
        b"log = 3\n": f"{path}:1: [log] is a section",
    }
    for content, expected in cases.items():
        path.write_bytes(content)
        assert any(expected in problem for problem in problems_of(places)), expected


def test_world_writable_file_is_refused(places: dict[str, Path]) -> None:
    places["project"].write_text("[log]\n")
    places["project"].chmod(0o666)

    assert problems_of(places) == (
        f"{places['project']}: refused, everybody may write to it; run chmod o-w on it",
    )


def test_only_files_of_our_own_or_of_root_are_read() -> None:
    """Whoever can leave a dcp.toml where we start a program could redirect our earnings."""
    regular, alice, bob = 0o100644, 1000, 1001

    assert [refused(regular, owner, alice) for owner in (alice, 0)] == ["", ""]
    assert "belongs to another user" in refused(regular, bob, alice)
    assert refused(regular, bob, 0) == ""


def test_a_pipe_in_a_files_place_is_refused_at_once(places: dict[str, Path]) -> None:
    os.mkfifo(places["project"], 0o600)

    assert problems_of(places) == (f"{places['project']}: refused, it is no regular file",)


def test_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load(config_file=tmp_path / "absent.toml", environment={})


def test_secrets_are_never_shown(places: dict[str, Path]) -> None:
    """Neither in --show-config nor in an error about them."""
    loaded = load_from(
        places,
        DCP_WORKER_COMPUTE_GROUPS='["lab,hunter2"]',
        DCP_SCHEDULER_DATABASE="postgresql://dcp:hunter2@db/dcp",
    )

    for text in (show.as_text(loaded), show.as_json(loaded)):
        assert "hunter2" not in text
        assert "(hidden)" in text
    assert "hunter2" not in " ".join(problems_of(places, DCP_WORKER_COMPUTE_GROUPS="hunter2"))


def test_shown_config_is_valid_toml_and_json(places: dict[str, Path]) -> None:
    """The text can be used as a configuration file and gives the same settings."""
    loaded = load_from(places, DCP_WORKER_CORES="3,1", DCP_EVALUATOR_HOST_PROGRESS_TIMEOUT="90s")
    places["project"].write_text(show.as_text(loaded))

    again = load_from(places)

    assert again.settings == loaded.settings
    row = json.loads(show.as_json(loaded))["settings"]["evaluator_host.progress_timeout"]
    assert (row["value"], row["unit"], row["origin"]) == ("90s", "s", "$DCP_EVALUATOR_HOST_PROGRESS_TIMEOUT")


@pytest.mark.parametrize(
    ("text", "value"), [("500ms", 0.5), ("30s", 30), ("2m", 120), ("1.5h", 5400), ("7", 7), (3, 3)]
)
def test_durations(text: str, value: float) -> None:
    assert units.parse_duration(text) == value


@pytest.mark.parametrize("text", ["", "s", "-1s", "5 parsecs", "1e3s", "nan", True, float("nan"), None, [1]])
def test_bad_durations_and_sizes(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        units.parse_duration(text)
    with pytest.raises(ValueError, match="expected a size"):
        units.parse_size(text)


@given(st.integers(0, 10**7).map(lambda ms: ms / 1000))
def test_printed_durations_read_back(seconds: float) -> None:
    assert units.parse_duration(units.print_duration(seconds)) == pytest.approx(seconds, abs=1e-9)


@given(st.integers(0, 2**50))
def test_printed_sizes_read_back(size: int) -> None:
    assert units.parse_size(units.print_size(size)) == size


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", (7, None)),
        ("7,1", (7, 1)),
        (",.5", (None, 0.5)),
        ([2, 1], (2, 1)),
        (4, (4, None)),
        ("", (None, None)),
    ],
)
def test_core_counts(text: object, value: tuple[float | None, float | None]) -> None:
    assert units.parse_cpu_gpu(text) == value


@pytest.mark.parametrize("text", ["abc", "1,2,3", "-1", "nan", True, None, {}])
def test_bad_core_counts(text: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        units.parse_cpu_gpu(text)


def test_lines_of_keys_in_all_shapes_of_toml() -> None:
    """Multi-line strings and arrays, dotted and quoted keys, inline tables and arrays of tables."""
    text = (
        '\n# c\n[a]\nx = """\n[no]\ny = 1\n"""\n"q.r" = [\n 1, # ]\n]\nd.e = 1\ni = {j = 2}\n'
        "[[b]]\nk = 1\n[[b]]\nk = 2\n"
    )
    tomllib.loads(text)

    assert key_lines(text) == {
        ("a",): 3,
        ("a", "x"): 4,
        ("a", "q.r"): 8,
        ("a", "d"): 11,
        ("a", "d", "e"): 11,
        ("a", "i"): 12,
        ("a", "i", "j"): 12,
        ("b", "0"): 13,
        ("b", "0", "k"): 14,
        ("b", "1"): 15,
        ("b", "1", "k"): 16,
    }


@pytest.mark.parametrize(
    ("value", "text"), [("0.0000001", "0.0000001"), (1000, "1000"), (0.25, "0.25"), ("1e-7", "0.0000001")]
)
def test_amounts_are_exact(value: object, text: str) -> None:
    assert f"{units.parse_amount(value):f}" == text


@pytest.mark.parametrize(
    "value", ["-1", "nan", "inf", "1e40", "0.0000000000000000001", "x", True, None, float("nan")]
)
def test_bad_amounts(value: object) -> None:
    with pytest.raises(ValueError, match="expected an amount"):
        units.parse_amount(value)
