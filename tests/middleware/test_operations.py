"""The dashboard and the alerts of docs/operations use metrics and labels that the server has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_server.middleware.metrics import Metrics

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
SCRAPED = {"up"}
"""Metrics that Prometheus itself adds."""
ADDED = {"instance", "job", "le"}
"""Labels that Prometheus adds, or that belong to every histogram."""

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus"
)


def dashboard_expressions() -> Iterator[str]:
    dashboard = json.loads((OPERATIONS / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            # A legend shows labels of the same query.
            legend = ", ".join(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            yield f"{target['expr']} by ({legend})"
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def rules() -> dict[str, str]:
    """The expression of each alert."""
    text = (OPERATIONS / "alerts.yml").read_text()
    found = re.findall(r"- alert: (\w+)\n\s+expr: (.*?)\n\s+(?:for|labels): ", text, re.DOTALL)
    assert len(found) == text.count("- alert:")
    return dict(found)


def series() -> dict[str, set[str]]:
    """The labels of each name that a sample of the server can have."""
    metrics = Metrics()
    names = {
        family.name + suffix: set(family.labels) for family in metrics.families for suffix in SUFFIXES[family.kind]
    }
    ours = {family.name for family in metrics.families}
    for family in metrics.registry.collect():
        if family.name not in ours:
            for sample in family.samples:
                names.setdefault(sample.name, set()).update(sample.labels)
    return names


EXPRESSIONS = [*dashboard_expressions(), *rules().values()]


@pytest.mark.parametrize("expression", sorted(set(EXPRESSIONS)))
def test_every_metric_and_label_exists(expression: str) -> None:
    """A renamed metric must not leave a panel empty, or an alert silent."""
    names = series()
    used = set(re.findall(r"\b(?:up|(?:contextprotocol|grpc_server|gen_ai|process|python)_\w+)\b", expression))
    labels: set[str] = set()
    for selected in re.findall(r"\{(.*?)\}", re.sub(r"\{\{.*?\}\}", "", expression)):
        labels.update(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", selected))
    for grouped in re.findall(r"by \((.*?)\)", expression):
        labels.update(re.findall(r"\w+", grouped))
    metrics = {name for name in used if name not in {label for known in names.values() for label in known}}
    assert metrics
    assert metrics - SCRAPED <= names.keys()
    assert labels - ADDED <= set().union(*[names.get(name, set()) for name in metrics])


def test_every_alert_has_its_paragraph() -> None:
    """In the order of the file, and each alert leads to its own."""
    page = (OPERATIONS / "alerts.md").read_text()
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == list(rules())
    text = (OPERATIONS / "alerts.yml").read_text()
    anchors = re.findall(r'runbook: "docs/operations/alerts\.md#(\w+)"', text)
    assert anchors == [name.lower() for name in rules()]


def test_every_panel_is_described() -> None:
    """With a title, a unit and a description, and no two panels lie on each other."""
    dashboard: dict[str, Any] = json.loads((OPERATIONS / "dashboard.json").read_text())
    fields: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        assert panel["title"]
        assert panel["type"] == "row" or (panel["description"] and panel["fieldConfig"]["defaults"]["unit"])
        place = panel["gridPos"]
        covered = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not covered & fields
        fields |= covered
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@needs_promtool
def test_promtool_accepts_the_alerts() -> None:
    """As Prometheus loads them."""
    done = subprocess.run(
        ["promtool", "check", "rules", OPERATIONS / "alerts.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_alerts_fire(tmp_path: Path) -> None:
    """What they are for raises them, and nothing else does."""
    shutil.copyfile(OPERATIONS / "alerts.yml", tmp_path / "alerts.yml")
    (tmp_path / "test.yml").write_text(FIRING)
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


FIRING = """
rule_files: [alerts.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'up{job="contextprotocol", instance="a"}'
        values: '1x60'
      - series: 'contextprotocol_store_failures_total{instance="a", operation="change"}'
        values: '0x30 1+1x30'
      - series: 'contextprotocol_config_last_reload_successful{instance="a"}'
        values: '1x20 0x40'
      - series: 'contextprotocol_certificate_expiry_timestamp_seconds{instance="a"}'
        values: '864000x60'
      - series: 'contextprotocol_turns_ended_total{instance="a", provider="p", model="m", state="failed", reason="X"}'
        values: '0+10x60'
      - series: 'contextprotocol_turns_ended_total{instance="a", provider="p", model="m", state="succeeded", reason=""}'
        values: '0+30x60'
    promql_expr_test:
      - expr: count by (alertname) (ALERTS{alertstate="firing"})
        eval_time: 15m
        exp_samples:
          - labels: '{alertname="TurnsFail"}'
            value: 1
      - expr: count by (alertname) (ALERTS{alertstate="firing"})
        eval_time: 45m
        exp_samples:
          - labels: '{alertname="TurnsFail"}'
            value: 1
          - labels: '{alertname="StoreFails"}'
            value: 1
          - labels: '{alertname="ConfigReloadFailed"}'
            value: 1
"""
