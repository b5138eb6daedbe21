import ast
import subprocess
import sys

import pytest

from ad_core.errors import UserError
from ad_core.runtime import entry, invocation


@pytest.fixture
def zfn(monkeypatch, capsys):
    """Runs `zfn` with arguments: (status, out, err)."""
    monkeypatch.setattr(invocation, "_entered", [])

    def call(*argv):
        monkeypatch.setattr(sys, "argv", ["/bin/zfn", *argv])
        try:
            status = entry.main()
        except SystemExit as ended:
            status = ended.code
        printed = capsys.readouterr()
        return status or 0, printed.out, printed.err

    return call


@pytest.fixture
def scripts(monkeypatch, tmp_path):
    """A folder of scripts in place of launch/."""
    text = '"""Says what it got."""\nimport sys\nfrom ad_core.runtime.invocation import given\n'
    text += 'if __name__ == "__main__":\n    print(given(sys.argv))\n    sys.exit(3)\n'
    (tmp_path / "inspect_data.py").write_text(text)
    monkeypatch.setattr(entry, "LAUNCH", tmp_path)


def test_a_word_runs_its_script_with_the_arguments_and_its_status(zfn, scripts):
    assert zfn("inspect", "my photos", "--x=1") == (3, "zfn inspect 'my photos' --x=1\n", "")
    assert zfn("inspect_data", "a")[:2] == (3, "zfn inspect_data a\n")


@pytest.mark.parametrize("argv", [(), ("--help",), ("help",)])
def test_without_a_word_every_script_is_listed_with_what_it_does(zfn, argv):
    status, out, _ = zfn(*argv)
    assert status == 0
    for path in (invocation.PROJECT / "launch").glob("[a-z]*.py"):
        word = "inspect" if path.stem == "inspect_data" else path.stem
        (line,) = [line for line in out.splitlines() if line.startswith(f"  zfn {word} ")]
        assert len(line.split()) > 5


LIGHT = (
    "absl",
    "ml_collections",
    "pathlib",
    "shlex",
    "sys",
    "typing",
    "ad_core.errors",
    "ad_core.runtime.benchmarks",
    "ad_core.runtime.command",
    "ad_core.runtime.invocation",
)


def test_no_script_imports_anything_heavy_before_signals_are_answered():
    for path in (invocation.PROJECT / "launch").glob("[a-z]*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= set(LIGHT), path.name
            if isinstance(node, ast.ImportFrom):
                assert node.module in LIGHT, path.name


def test_an_unknown_word_is_one_message(zfn, tmp_path):
    status, _, error = zfn("trian")
    assert status == 2 and error.startswith("error: `zfn trian` is no command; known: ")
    assert "train" in error and error.count("\n") == 1
    assert f"zfn train {tmp_path}" in zfn(str(tmp_path))[2]


def test_commands_are_quoted_and_paths_are_short(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(invocation, "_entered", [])
    inside = str(tmp_path / "launch" / "train.py")
    assert invocation.given([inside, "--a=b c"]) == "python launch/train.py '--a=b c'"
    assert invocation.shown("/elsewhere/x") == "/elsewhere/x"
    invocation.enter("train")
    assert invocation.given([inside, "x"]) == "zfn train x"
    assert invocation.script("evaluate") == "zfn evaluate"


def test_photos_are_the_first_argument_without_a_flag(tmp_path):
    assert invocation.named_photos(["p", str(tmp_path), "--a"]) == tmp_path
    assert invocation.named_photos(["p", "--config=x", "y"]) is None
    with pytest.raises(UserError, match="no such folder or table"):
        invocation.named_photos(["p", str(tmp_path / "gone")])
    with pytest.raises(UserError, match="Name a folder of images"):
        invocation.named_photos(["p"])


def test_a_run_is_named_after_its_photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("")
    assert invocation.run_name(tmp_path / "t.csv") == "t"
    assert str(invocation.default_workdir(invocation.Path("."))) == f"runs/{tmp_path.name}"


def test_the_help_of_a_word_names_that_word():
    script = str(invocation.PROJECT / "launch" / "score.py")
    code = "import sys; from ad_core.runtime import entry; sys.argv[1:] = ['score', '--help']; "
    ended = subprocess.run([sys.executable, "-c", code + "entry.main()"], capture_output=True)
    told = ended.stdout.decode()
    assert "zfn score --detector=" in told and "python launch" not in told
    assert (
        "score.py --detector="
        in subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True).stdout
    )
