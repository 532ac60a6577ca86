"""The main job on the shop's capture: what is read from it, and what the demo shows."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "fixtures" / "pcaps" / "shop"
AGENT = Path(sys.executable).parent / "capture-agent"


def agent(*arguments: str | Path) -> str:
    """What capture-agent prints."""
    done = subprocess.run([AGENT, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_recording_holds_what_the_access_logs_say(tmp_path: Path) -> None:
    expected = json.loads((FIXTURE / "expected.json").read_text())
    shop = expected["endpoints"]["shop"]
    recording = tmp_path / "shop.mcap"
    service = f"{shop['address']}:{shop['port']}"
    agent("import", FIXTURE / "shop.pcap", "-o", recording, "--service", service)

    found: dict[tuple[str, int], dict[str, Any]] = {}
    for line in agent("show", recording, "--format", "jsonl").splitlines():
        exchange = json.loads(line)
        request, response = exchange["http"]["request"], exchange["http"]["response"]
        client, server = exchange["connection"]["client"], exchange["connection"]["server"]
        name = next(
            name
            for name, end in expected["endpoints"].items()
            if end["address"] == server["address"]
        )
        connection = found.setdefault(
            (client["address"], client["port"]),
            {
                "service": name,
                "role": exchange["role"].removeprefix("ROLE_").lower(),
                "client": client,
                "server": server,
                "requests": [],
            },
        )
        assert exchange.get("ordinal", 0) == len(connection["requests"])
        authority = base64.b64decode(request["authority"]).decode()
        assert authority == expected["endpoints"][name]["authority"]
        target = base64.b64decode(request["target"]).decode()
        connection["requests"].append(
            {"method": request["method"], "target": target, "status": response["status"]}
        )
    by_place = {
        (connection["client"]["address"], connection["client"]["port"]): connection
        for connection in expected["connections"]
    }
    assert found == by_place


def test_demo_passes_and_shows_exactly_what_broke() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "demo"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout
    passed, failed = done.stdout.split("it must pass")[1].split("it must fail")
    assert "(exit 0)" in passed
    assert "(exit 1)" in failed
    # The exact endpoint, place, expected and actual value: 61.29 with 6.49 of tax, and without.
    for part in ("POST /orders", "$.total_cents", "6129", "5480"):
        assert part in failed
        assert part not in passed
