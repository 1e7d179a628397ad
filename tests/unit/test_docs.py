"""The documentation names only files, headings, commands, options and settings that exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from docs.generate import pages
from docs.manual import PROGRAMS
from ops.cli.main import cli
from ops.install.plan import LINKS
from ops.install.units import password_owner
from producers.settings import BROKER_FIELDS, HOOK_FIELDS, USERS_FIELDS, hook_settings
from schemas.roles import Role
from workers.config import clouds_yaml, fedcloud, settings
from workers.config.groups import ServerTemplate
from workers.config.tables import ProxySettings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])
SHARE = ROOT / "deploy/share"
ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
DEPENDENCIES = ROOT / "docs/adr/0001-an-application-in-its-own-environment.md"

# The sections of which a test executes each command; of all others only names and options are checked.
EXECUTED = {
    ("docs/broker-cluster.md", "Queues"): "tests/faults/test_broker_cluster.py",
    ("docs/quick-start.md", "Quick start"): "tests/e2e/test_quick_start.py",
    ("docs/operations.md", "Backup"): "tests/faults/test_restore.py",
    ("docs/operations.md", "Backup of PostgreSQL"): "tests/faults/test_restore.py",
    ("docs/operations.md", "Restore"): "tests/faults/test_restore.py",
    ("docs/operations.md", "Restore of PostgreSQL"): "tests/faults/test_restore.py",
    ("docs/operations.md", "Moving the controller"): "tests/faults/test_moving.py",
    ("docs/operations.md", "Moving from SQLite to PostgreSQL"): "tests/faults/test_moving.py",
    ("docs/operations.md", "Moving to another broker"): "tests/faults/test_moving.py",
    ("docs/operations.md", "Moving to another cloud or project"): "tests/faults/test_moving.py",
    ("README.md", "For the operator at 3 a.m."): "tests/faults/test_page_commands.py",
    ("docs/audit.md", "Export"): "tests/faults/test_page_commands.py",
    ("docs/audit.md", "Verification"): "tests/faults/test_page_commands.py",
    ("docs/audit.md", "Retention"): "tests/faults/test_page_commands.py",
    ("docs/configuration.md", "The time"): "tests/faults/test_page_commands.py",
    ("docs/from-scripts.md", "The way"): "tests/e2e/test_from_scripts.py",
    ("docs/nodes.md", "One image for many nodes"): "tests/faults/test_page_commands.py",
}
# Those of which no test executes the commands as printed, and why.
NOT_EXECUTED = {
    ("CONTRIBUTING.md", "Contributing"): "targets of the Makefile: CI runs them",
    ("README.md", "Lamplighter"): "targets of the Makefile; tests/e2e/test_playground.py",
    ("README.md", "The flow of a request"): "a drawing",
    ("deploy/ansible/README.md", "Lamplighter by Ansible"): (
        "tests/e2e/test_quick_start.py runs it with an inventory of its own"
    ),
    ("docs/adr/0015-rooms-and-floors.md", "15. Rooms and floors"): "a drawing",
    ("docs/from-scripts.md", "From two scripts to Lamplighter"): "the script that is replaced",
    ("docs/operations.md", "Rolling restart"): (
        "systemd; tests/faults/test_rolling_restart.py restarts the workers"
    ),
    ("README.md", "What it looks like"): "an example of an output",
    ("docs/configuration.md", "Usage and waste"): "sacct needs slurmdbd: a test feeds its output",
    (
        "docs/egi.md",
        "A site of EGI's federated cloud",
    ): "a site of EGI; tests/unit/test_install_cloud_entry.py",
    ("docs/operations.md", "Removing Lamplighter"): (
        "it deletes a host's users and folders; tests/unit/test_operations.py compares it with init"
    ),
    ("docs/opus.md", "Step by step"): "OPUS; tests/e2e/test_opus.py",
    ("docs/security.md", "In the database"): "Docker; tests/integration/test_database_roles.py",
}

_FENCED = re.compile(r"^ *```[a-z]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^ {4}.*$", re.MULTILINE)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)]+)\)")
_SHELLS = {"", "bash", "sh", "console", "shell"}
# Of a TOML or Slurm file, in a block that names no language.
_SETTING = re.compile(r" *(\[|[\w.]+ ?= ?\S)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_PATH = re.compile(
    r"(?<![\w/.:$-])(?:schemas|producers|workers|ops|tests|docs|deploy|benchmarks|demo|storm)/[\w./-]*\w/?"
)
_COMMAND = re.compile(r"(?<![\w/-])lamplighter ([^`#;()]*)")
_WORD = re.compile(r"[a-z][a-z-]*(\|[a-z-]+)*")
# Placeholders and examples of values in a message.
_VARIABLE = re.compile(r"CLOUD: network|QUEUE|; away: NAME|240 s|quota: |\.\.\.")
_DEPENDENCY = re.compile(r"([\w.-]+(?:\[\w+\])?)(.*)")


def code(text: str) -> Iterator[str]:
    """Code of a page: each line of a block, and each span with its white space normalised."""
    text = text.replace("\\|", "|")  # a pipe inside a table
    for block in _FENCED.findall(text):
        yield from block.splitlines()
    prose = _FENCED.sub("", text)
    yield from _INDENTED.findall(prose)
    yield from (" ".join(span.split()) for span in _SPAN.findall(prose))


def commands(text: str) -> Iterator[list[str]]:
    """The words that follow `lamplighter`, up to a comma or a pipe."""
    for found in _COMMAND.findall(text):
        words = []
        for word in found.split(" | ")[0].split():
            words.append(word.strip("[].,:'\""))
            if word.endswith((",", ":", ".")):
                break
        yield words


def unknown(words: list[str], command: click.Command) -> Iterator[str]:
    """The subcommands and options that do not exist; `a|b` stands for both subcommands."""
    context = click.Context(command)
    if words and isinstance(command, click.Group) and _WORD.fullmatch(words[0]):
        for name in words[0].split("|"):
            child = command.get_command(context, name)
            if child is None:
                yield name
            else:
                yield from unknown(words[1:], child)
        return
    options = {option for param in command.params for option in param.opts} | {"--help"}
    yield from (word for word in words if re.match(r"--?[a-z]", word) and word not in options)


def messages(page: str) -> Iterator[str]:
    """The constant parts of the messages in the first column of the table `message`."""
    table = page.partition("| message |")[2].partition("\n\n")[0]
    for row in table.splitlines()[2:]:
        for span in _SPAN.findall(row.split("|")[1]):
            yield from filter(None, _VARIABLE.split(span))


def anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text()) if "://" not in link]
    for link in links:
        name, _, fragment = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if fragment:
            assert fragment in map(anchor, _HEADING.findall(target.read_text())), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_exist(page: Path) -> None:
    paths = {path for part in code(page.read_text()) for path in _PATH.findall(part)}
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("page", [*PAGES, ALERTS], ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    text = page.read_text()
    parts = code(text) if page.suffix == ".md" else text.splitlines()
    found = [words for part in parts for words in commands(part)]
    assert {" ".join(words): list(unknown(words, cli)) for words in found if words} == {
        " ".join(words): [] for words in found if words
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_init_is_named_by_its_path_before_it_has_linked_the_program(page: Path) -> None:
    for block in (*_FENCED.findall(page.read_text()), *_INDENTED.findall(page.read_text())):
        found = re.findall(r"(\S*)lamplighter init --", block)
        assert set(found) <= {"/opt/lamplighter/bin/"}, block


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_slurm_user_runs_operators_commands_only_with_one_broker_user_for_all(page: Path) -> None:
    """After `lamplighter init`, it may not read the operator's password: its commands only look."""
    assert password_owner(Role.OPERATOR, "slurm") == "root"
    for paragraph in page.read_text().split("\n\n"):
        text = " ".join(paragraph.split())
        if re.search(r"sudo -u slurm lamplighter|as SlurmUser\)?:$", text):
            assert "one broker user for all" in text


def sections_with_commands(text: str) -> Iterator[str]:
    """The heading of each line of a block that is not in another language than a shell's, and sets nothing."""
    heading, language, may_begin, indented = "", None, True, False
    for line in text.splitlines():
        # an indented line that follows another one belongs to its paragraph, such as one of a list
        indented = line.startswith("    ") and (indented or may_begin)
        may_begin = not line.strip()
        if line.lstrip().startswith("```"):
            language = line.strip("` ") if language is None else None
        elif language is None and line.startswith("#"):
            heading = line.lstrip("# ")
        elif (indented if language is None else language in _SHELLS) and not (
            may_begin or _SETTING.match(line)
        ):
            yield heading


def test_all_commands_of_all_blocks_are_seen() -> None:
    text = """# One
    apt-get install x
- a list
    goes on
    and on
# Two
```console
$ curl x | sh
```
# Three
```
ResumeProgram=/x
NodeName=a State=CLOUD

```
```toml
[a]
```
# Four

    cd /x && ls

      DEBUG="-x y"
"""
    assert list(sections_with_commands(text)) == ["Two", "Four"]


def test_every_section_with_commands_is_executed_or_named_with_the_reason() -> None:
    found = set()
    for path in PAGES:
        if path.parent.name == "reference":
            continue  # the commands' usage
        name = path.relative_to(ROOT).as_posix()
        found |= {(name, section) for section in sections_with_commands(path.read_text())}
    assert found - EXECUTED.keys() == NOT_EXECUTED.keys()


@pytest.mark.parametrize(("page", "heading"), EXECUTED)
def test_sections_whose_commands_are_executed_have_commands(page: str, heading: str) -> None:
    """Which ones these are is written above; the test that executes them reads the page itself."""
    _, found, rest = (ROOT / page).read_text().partition(f"# {heading}\n")
    text = rest.partition("\n## ")[0]
    assert found
    assert _FENCED.search(text) or _INDENTED.search(text)
    assert page in (ROOT / EXECUTED[page, heading]).read_text()


def test_the_search_finds_what_is_wrong() -> None:
    text = "`lamplighter audit list\\|no --node a --nor b | x` and `workers/no.py`"
    [[words], []] = [list(commands(part)) for part in code(text)]
    assert list(unknown(words, cli)) == ["--nor", "no"]
    assert [_PATH.findall(part) for part in code(text)][1] == ["workers/no.py"]


def test_lamplighter_prints_the_messages_of_the_readme() -> None:
    folders = (ROOT / name for name in ("workers", "ops"))
    source = "".join(path.read_text() for folder in folders for path in folder.rglob("*.py"))
    printed = list(messages((ROOT / "README.md").read_text()))
    assert "the token service is away" in printed
    assert [part for part in printed if part not in source] == []


def test_the_example_of_the_configuration_is_valid(tmp_path: Path) -> None:
    example, *_ = _FENCED.findall((ROOT / "docs/configuration.md").read_text())
    (tmp_path / "lamplighter.toml").write_text(example)
    assert settings.load(tmp_path / "lamplighter.toml", {}).cluster == "vespa"


@pytest.mark.slow
@pytest.mark.parametrize("name", pages())
def test_reference_pages_are_as_their_sources_make_them(name: str) -> None:
    """`make docs` writes them."""
    assert (ROOT / name).read_text() == pages()[name]


@pytest.mark.parametrize("name", ["lamplighter", *PROGRAMS])
def test_man_finds_and_shows_the_page_of_each_program(name: str) -> None:
    man = shutil.which("man")
    assert man, "install man-db"
    # wide: no name is divided, and a long list of options fits
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "200"}
    environment["MANPATH"] = str(SHARE / "man")
    words = [man, "--warnings", "--no-hyphenation", "--pager=cat", name]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for heading in ("NAME", "SYNOPSIS", "EXIT STATUS", "SEE ALSO"):
        assert f"\n{heading}\n" in done.stdout
    assert {other for other in PROGRAMS if f"{other}(8)" not in done.stdout} <= {name}


def test_every_program_of_the_wheel_has_its_page_and_every_page_is_linked() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())
    scripts = wheel["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-scripts"].values()
    programs = {*wheel["project"]["scripts"], *scripts}
    pages = [path for path in SHARE.glob("man/*/*") if path.is_file()]
    assert {path.stem for path in pages} == programs
    shared = {f"share/{path.relative_to(SHARE)}" for path in SHARE.rglob("*") if path.is_file()}
    assert shared == set(LINKS) - {"bin/lamplighter"}


def test_required_settings_are_marked() -> None:
    text = pages()["docs/reference/settings.md"]
    for setting in ("cluster", "url", "auth_url", "nodes", "cloud", "image", "flavor"):
        assert re.search(rf"^\| `{setting}` \| \w+ \| \*\*required\*\*", text, re.MULTILINE), (
            setting
        )


def test_what_the_hooks_need_not_be_told_has_its_default_in_the_reference(tmp_path: Path) -> None:
    file, text = tmp_path / "lamplighter.toml", pages()["docs/reference/settings.md"]
    file.write_text('cluster = "vespa"\nbroker.url = "amqp://localhost"\nbroker.users = {}')
    hooks = hook_settings(file)
    assert hooks.broker.users is not None
    folder = hooks.broker.users.folder.name
    for setting, default in ("spool", hooks.spool), ("state", hooks.state), ("folder", folder):
        assert f'| `{setting}` | path | `"{default}"` |' in text


def test_every_table_is_in_the_reference_with_its_fields() -> None:
    """Also tables within tables, and what other files of a cloud replace."""
    text = pages()["docs/reference/settings.md"]
    for section, fields in {
        "[broker]": {*BROKER_FIELDS} - {"users"},
        "[broker.users]": {*USERS_FIELDS},
        "[hooks]": {*HOOK_FIELDS},
        "[clouds.NAME]": {*fedcloud.FIELDS, *clouds_yaml.FIELDS, "auth_url", "insecure"},
        "[groups.NAME.server]": {*ServerTemplate.__struct_fields__},
        "[console.proxy]": {*ProxySettings.__struct_fields__},
    }.items():
        part = text.partition(f"## {section}\n")[2].partition("\n## ")[0]
        assert fields - set(re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)) == set(), section


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "architecture.svg").exists()
    pages_of_adr = list((ROOT / "docs/adr").glob("*.md"))
    assert len(list((tmp_path / "adr").glob("*.html"))) == len(pages_of_adr)
    # nothing is fetched from elsewhere by a reader's browser
    assert "fonts.googleapis" not in (tmp_path / "index.html").read_text()


def test_every_page_is_in_the_navigation() -> None:
    listed = (ROOT / "mkdocs.yml").read_text()
    names = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")]
    assert [name for name in names if name not in listed] == []


@pytest.mark.slow
def test_the_shell_completes_commands() -> None:
    environment = {
        **os.environ,
        "_LAMPLIGHTER_COMPLETE": "bash_complete",
        "COMP_WORDS": "lamplighter support",
        "COMP_CWORD": "1",
    }
    argv = [sys.executable, "-m", "ops.cli"]
    done = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout == "plain,support-bundle\n"
    for path in ("bash-completion/completions/lamplighter", "zsh/site-functions/_lamplighter"):
        assert "_LAMPLIGHTER_COMPLETE=" in (ROOT / "deploy/share" / path).read_text()


def test_each_dependency_is_explained_with_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = (names for names in project["optional-dependencies"].values())
    named = [*project["dependencies"], *(name for names in extras for name in names)]
    rows = DEPENDENCIES.read_text()
    for dependency in named:
        match = _DEPENDENCY.fullmatch(dependency)
        assert match
        if not dependency.startswith(("lamplighter[", "types-")):
            assert f"| {match[1]} | `{match[2]}` |" in rows, dependency


def test_the_settings_for_opus_name_all_that_its_slurm_manager_reads() -> None:
    """OPUS 4487bcb: uws_server/managers.py 440-480; uws_server/settings.py 199-221 has other defaults."""
    (block,) = (
        text for text in _FENCED.findall((ROOT / "docs/opus.md").read_text()) if "MANAGER =" in text
    )
    found: dict[str, object] = {}
    exec(block, found)  # noqa: S102 - as OPUS imports it
    paths = {f"SLURM_{name}_PATH" for name in ("SCRIPTS", "JOBDATA", "WORKDIR", "RESULTS")}
    read = {"SLURM_URL", "SLURM_USER", "SLURM_MAIL_USER", "LOCAL_USER", "BASE_URL", *paths}
    assert read <= found.keys()
    assert all(str(found[name]).startswith("/") for name in paths)
    options = found["SLURM_SBATCH_DEFAULT"]
    assert isinstance(options, dict)
    assert options.keys() <= {"mem", "nodes", "ntasks-per-node", "partition", "account"}
    toml = tomllib.loads(
        next(
            text
            for text in _FENCED.findall((ROOT / "docs/opus.md").read_text())
            if "[slurm]" in text
        )
    )
    assert toml["slurm"]["uws_jobdata"] == found["SLURM_JOBDATA_PATH"]


def test_nobody_is_advised_to_return_a_node_by_state_resume() -> None:
    """After RESUME and a reconfigure, Slurm 22.05 gives a node that is powered down no job for ever."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    code = [file for room in ("workers", "ops", "producers") for file in (ROOT / room).rglob("*")]
    told = [file for file in (*pages, *code) if file.suffix in {".md", ".py", ".html", ".j2"}]
    advice = re.compile(r"(?i)scontrol\s+update\b[^\n]*state=resume")
    assert [str(file) for file in told if advice.search(file.read_text())] == []


def test_the_changelog_names_each_migration() -> None:
    """An operator with PostgreSQL roles must know of it before the restart."""
    text = (ROOT / "CHANGELOG.md").read_text()
    for path in (ROOT / "workers/store/migrations").glob("*/0*.py"):
        number = path.name[:4]
        assert number == "0001" or f"{path.parent.name} {number}" in text, path
