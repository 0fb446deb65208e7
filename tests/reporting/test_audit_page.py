"""The audit's page and its server: rows are data and never markup, filters find what they should, no stranger is served."""

import json
import re
import threading
import urllib.error
import urllib.request
from datetime import datetime
from urllib.parse import urlencode

import pytest

from tasks.provenance.audit import audit
from tasks.provenance.audit.browse import Browser, NoSuchSet
from tasks.reporting import audit_page
from tasks.reporting.audit_server import server
from tests.provenance.audit import made_books
from tests.provenance.audit.made_books import books, edit

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028 & 'x'"


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    root = tmp_path_factory.mktemp("page") / "checkout"
    made_books.build(root)
    edit(root, "13_sft_data/examples", lambda rows: rows[0].update(response=HOSTILE))
    return books(root)


@pytest.fixture(scope="module")
def browser(held):
    return Browser(held)


@pytest.fixture(scope="module")
def page(held, browser):
    checks = [c.as_json() for c in audit(held, ["row ids", "counts", "licences", "git clean"])]
    return audit_page.render(checks, browser.sets(), browser.samples(4), 4, "a" * 40)


def test_the_page_needs_nothing_from_outside_and_carries_rows_as_data(page):
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", page)
    assert "onerror=alert" not in page.replace("\\u003e", "").split('id="data">')[0]
    inline = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1]
    assert "<" not in inline
    data = json.loads(inline)
    first = data["samples"]["13_sft_data/examples"][0]
    assert first["texts"]["response"] == HOSTILE
    assert {s["name"] for s in data["sets"]} == data["samples"].keys() and not data["live"]
    assert all(len(rows) <= 4 for rows in data["samples"].values())


def test_the_page_says_what_does_not_hold_and_shows_counts_and_licences(page):
    assert "The books do not hold: 1 violation" in page
    assert "is not the hash of its row" in page and "data/13_sft_data/examples.parquet" in page
    assert "reasoning + non-reasoning = rows decided on" in page and "CC-BY-4.0" in page
    assert "up to 4 rows of each set" in page


def test_values_that_json_has_not_do_not_break_the_page():
    odd = {"a": [float("nan"), float("-inf"), 0.5], "b": b"\xff", "c": datetime(2025, 11, 2), "d": (None, True)}
    said = json.loads(audit_page.as_json(odd), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert said == {"a": ["NaN", "-Infinity", 0.5], "b": "b'\\xff'", "c": "2025-11-02 00:00:00", "d": [None, True]}


def test_a_page_of_some_checks_names_those_that_were_not_run(held):
    checks = [c.as_json() for c in audit(held, ["git clean"])]
    part = audit_page.render(checks, [], {}, 0, None, left_out=["chains", "counts"])
    assert "Not run: chains, counts." in part and "What was checked holds" in part and "The books hold" not in part


def test_reasons_stand_beside_each_row(browser):
    found = browser.page("09_candidates/candidates", filters={"outcome": "text_coverage"})
    assert found["total"] == 16
    row = found["rows"][0]
    assert row["fate"] == "rejected by text_coverage (decontamination) in data/11_reasoning" and not row["kept"]
    assert [d["rule"] for d in row["decisions"] if not d["keep"]] == ["text_coverage"] and len(row["decisions"]) == 14
    assert row["verdict"]["status"] == "ok" and row["completion"]["checkpoint"] == "data/08_dev2"
    assert row["prompt"]["licence"] == "MIT" and row["prompt"]["origin"].startswith("data/raw/sums.jsonl:")
    near = browser.page("09_candidates/candidates", filters={"outcome": "near_within_prompt"})["rows"][0]
    assert near["duplicate_of"][0]["jaccard"] == 0.95
    kept = browser.page("09_candidates/candidates", filters={"outcome": "kept", "verdict": "ok"}, offset=40, limit=100)
    assert kept["total"] == 48 and len(kept["rows"]) == 8
    assert kept["rows"][0]["sets"] == ["data/11_reasoning", "data/13_sft_data"]
    assert kept["rows"][0]["checkpoints"] == ["data/14_dev3", "data/18_distill/qwen"]


def test_search_by_text_and_by_the_beginning_of_an_id(browser):
    found = browser.page("13_sft_data/examples", "THE 3th WORD")
    assert found["total"] == 1 and found["rows"][0]["texts"]["domain"] == "qa"
    id = found["rows"][0]["id"]
    assert [r["id"] for r in browser.page("13_sft_data/examples", id[:20])["rows"]] == [id]
    assert browser.page("13_sft_data/examples", "' OR 1=1 --")["total"] == 0
    assert browser.page("13_sft_data/examples", "word", {"domain": "qa"}, offset=10, limit=3)["total"] == 16


@pytest.mark.parametrize("ask", [("nothing", "", {}), ("13_sft_data/examples", "", {"id": "x"})], ids=["set", "filter"])
def test_what_there_is_not_is_named_with_what_there_is(browser, ask):
    with pytest.raises(NoSuchSet, match="domain|13_sft_data/examples"):
        browser.page(*ask)


@pytest.fixture(scope="module")
def address(browser, held):
    running = server("<p>the page</p>", browser)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def get(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as reply:
            return reply.status, reply.read().decode(), reply.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def test_the_server_serves_page_and_rows_to_its_own_address_alone(address):
    assert get(address)[:2] == (200, "<p>the page</p>")
    ask = {"set": "13_sft_data/examples", "query": "word", "filters": json.dumps({"domain": "qa"}), "limit": 2}
    status, body, headers = get(f"{address}/rows?{urlencode(ask)}")
    assert status == 200 and json.loads(body)["total"] == 16 and len(json.loads(body)["rows"]) == 2
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert get(f"{address}/rows?{urlencode(ask)}", Host="elsewhere.example")[0] == 403
    assert get(f"{address}/../../etc/passwd")[0] == 404
    for bad in ({"set": "x"}, {"set": ask["set"], "offset": "a"}, {"set": ask["set"], "filters": "[1]"}):
        assert get(f"{address}/rows?{urlencode(bad)}")[0] == 400
