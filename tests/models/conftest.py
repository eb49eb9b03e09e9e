"""A trap for files of models that would have something imported, opened or fetched."""

import sys

import pytest

watched: list[str] = []
seen: list[str] = []


def audit(event, arguments):
    if event in ("open", "import", "socket.connect", "socket.getaddrinfo", "os.system", "subprocess.Popen"):
        text = " ".join(map(str, arguments))
        seen.extend(f"{event} {text}" for word in watched if word in text)


sys.addaudithook(audit)  # cannot be taken away again: it looks at nothing while nothing is watched


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """Names that would show if anything were imported, opened or fetched."""
    (tmp_path / "sprung_module.py").write_text("def spring():\n    raise SystemExit('sprung')\n")
    (tmp_path / "sprung_file.pt").write_bytes(b"PK\x03\x04")
    monkeypatch.syspath_prepend(tmp_path)
    seen.clear()
    watched[:] = ["sprung"]
    names = (
        "sprung_module:spring", "os.abort", str(tmp_path / "sprung_file.pt"),
        f"torchscript:{tmp_path / 'sprung_file.pt'}", "https://sprung.example/a.pt", "torchvision:sprung",
        "hf://sprung/model",
    )  # fmt: skip
    yield names
    watched.clear()
    assert "sprung_module" not in sys.modules and not seen
