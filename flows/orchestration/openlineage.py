"""The books as OpenLineage events, for catalogues that read that standard (openlineage.io, spec 2-0-2).

Two run events for each stage that dvc.lock knows, START and COMPLETE. Everything in them is derived from the books, so
the same books give the same events: a run's id is a UUID of what dvc.lock says it was made from and gave, and a consumer
that is told twice knows one run. Times are those of the run book where this very artifact was made here, else of the
commit that recorded it.
"""

import json
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from flows.orchestration import git
from flows.orchestration.lineage import Item, Lineage, Record
from flows.orchestration.params import ParamsError

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

NAMESPACE = "r1flow"
IDS = uuid.UUID("9d1c6f0e-6d0b-5c55-9a43-6b1b7f0f4c11")  # of the runs of this project, whoever exports them
EPOCH = "1970-01-01T00:00:00+00:00"  # of an artifact that was made elsewhere and is in no commit


class Events:
    """The events of one state of the repository; `namespace` is that of jobs and datasets."""

    def __init__(self, books: Lineage, namespace: str = NAMESPACE):
        self.books, self.namespace = books, namespace
        self.repository = _repository(books.root)
        self.producer = self.repository or "urn:r1flow"
        self._tables: dict[str, dict] = {}

    def of(self, stages: Iterable[str]) -> Iterator["RunEvent"]:
        """START and COMPLETE of each of these stages that was built, in the order given."""
        from openlineage.client.event_v2 import RunEvent, RunState
        from openlineage.client.facet_v2 import set_producer

        set_producer(self.producer)
        for stage in stages:
            record = self.books.records[stage]
            if not record.built:
                continue
            started, finished = self._times(record)
            same = {
                "run": self._run(record),
                "job": self._job(record),
                "inputs": self._inputs(record),
                "producer": self.producer,
            }
            yield RunEvent(eventTime=started, eventType=RunState.START, **same)
            yield RunEvent(eventTime=finished, eventType=RunState.COMPLETE, outputs=self._outputs(record), **same)

    def run_id(self, record: Record) -> str:
        """UUID of everything that dvc.lock holds of the stage: the same wherever and however often it is asked."""
        md5s = {p: i.md5 for p, i in (record.code | record.deps | record.writes).items()}
        blob = json.dumps([self.namespace, record.stage, record.cmd, record.params, md5s], sort_keys=True, default=str)
        return str(uuid.uuid5(IDS, blob))

    def _times(self, record: Record) -> tuple[str, str]:
        if book := self.books.book(record.stage):
            return _utc(book["started"]), _utc(book["finished"])
        commit = next(filter(None, map(self.books.committed, record.writes)), None)
        return (commit.date, commit.date) if commit else (EPOCH, EPOCH)

    def _run(self, record: Record):
        from importlib.metadata import version

        from openlineage.client import facet_v2 as facets
        from openlineage.client.event_v2 import Run

        parameter = facets.execution_parameters_run.ExecutionParameter
        engine = facets.processing_engine_run.ProcessingEngineRunFacet(
            version=version("dvc"), name="DVC", openlineageAdapterVersion=version("r1flow")
        )
        values = [parameter(key, value=json.dumps(v, ensure_ascii=False)) for key, v in sorted(record.params.items())]
        return Run(
            self.run_id(record),
            facets={
                "processing_engine": engine,
                "executionParameters": facets.execution_parameters_run.ExecutionParametersRunFacet(values),
            },
        )

    def _job(self, record: Record):
        from openlineage.client import facet_v2 as facets
        from openlineage.client.event_v2 import Job

        found: dict[str, Any] = {
            "documentation": facets.documentation_job.DocumentationJobFacet(description=record.desc or record.stage),
            "jobType": facets.job_type_job.JobTypeJobFacet(processingType="BATCH", integration="DVC", jobType="STAGE"),
        }
        path = f"flows/{record.name}.py"
        if code := self._source(path):
            found["sourceCode"] = facets.source_code_job.SourceCodeJobFacet(language="python", sourceCode=code)
        if self.repository and self.books.commit:
            found["sourceCodeLocation"] = facets.source_code_location_job.SourceCodeLocationJobFacet(
                type="git", url=self.repository, repoUrl=self.repository, path=path, version=self.books.commit
            )
        return Job(self.namespace, record.stage, facets=found)

    def _source(self, path: str) -> str | None:
        if self.books.rev is None:
            file = self.books.root / path
            return file.read_text(encoding="utf-8") if file.is_file() else None
        text = git.show(self.books.root, self.books.commit, path)
        return text.decode(errors="replace") if text else None

    def _inputs(self, record: Record) -> list:
        from openlineage.client import facet_v2 as facets
        from openlineage.client.event_v2 import InputDataset

        found = []
        for name, item in self._read(record):
            content, size = self._content(name), item.size
            statistics = facets.input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
                rowCount=content.get("rows"), size=size, fileCount=item.files or 1
            )
            about = self._about(name, item, content)
            found.append(InputDataset(self.namespace, name, facets=about, inputFacets={"inputStatistics": statistics}))
        return found

    def _read(self, record: Record) -> Iterator[tuple[str, Item]]:
        """Datasets a stage reads: a folder that several stages write into (`metrics`) is all that they wrote there."""
        for path, item in record.deps.items():
            inside = [i for r in self.books.records.values() for p, i in r.writes.items() if p.startswith(f"{path}/")]
            yield from ((i.path, i) for i in inside) if inside else [(path, item)]

    def _outputs(self, record: Record) -> list:
        from openlineage.client import facet_v2 as facets
        from openlineage.client.event_v2 import OutputDataset

        found = []
        for name, item in record.writes.items():
            content = self._content(name)
            statistics = facets.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                rowCount=content.get("rows"), size=item.size, fileCount=item.files or 1
            )
            about = self._about(name, item, content)
            found.append(
                OutputDataset(self.namespace, name, facets=about, outputFacets={"outputStatistics": statistics})
            )
        return found

    def _about(self, name: str, item: Item, content: dict) -> dict:
        """Facets of a dataset: its version, and of tables their columns and what Parquet's footers say of them."""
        from openlineage.client import facet_v2 as facets

        found: dict[str, Any] = {}
        if item.md5:
            found["version"] = facets.dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=item.md5)
        if content.get("tables"):
            field = facets.schema_dataset.SchemaDatasetFacetFields
            fields = [
                field(table, "table", fields=[field(column, kind) for column, kind in columns.items()])
                for table, columns in content["tables"].items()
            ]
            found["schema"] = facets.schema_dataset.SchemaDatasetFacet(fields=fields)
        if content.get("columns"):
            metrics = facets.data_quality_metrics_dataset
            found["dataQualityMetrics"] = metrics.DataQualityMetricsDatasetFacet(
                columnMetrics={c: metrics.ColumnMetrics(**m) for c, m in content["columns"].items()},
                rowCount=content["rows"], bytes=item.size, fileCount=item.files,
            )  # fmt: skip
        return found

    def _content(self, path: str) -> dict:
        """Rows, tables and column statistics of an artifact that is here; {} of one without tables, or elsewhere."""
        if path not in self._tables:
            self._tables[path] = _tables(self.books, path)
        return self._tables[path]


def _tables(books: Lineage, path: str) -> dict:
    import pyarrow.parquet as pq

    from tasks.provenance.tables import tables_of

    manifest = books.manifest(path)
    if manifest is None:
        return {}
    found: dict[str, dict] = {"rows": 0, "tables": {}, "columns": {}}
    for table in tables_of(books.folder(path), manifest):
        found["rows"] += table.rows
        found["tables"][table.name] = table.columns
        if table.file.is_file():
            for column, numbers in _columns(pq.read_metadata(table.file)).items():
                found["columns"][f"{table.name}.{column}"] = numbers
    return found if found["tables"] else {}


def _columns(footer) -> dict[str, dict]:
    """Column -> count, nullCount and, of numbers, min and max, from the statistics of all row groups; nothing is scanned."""
    found: dict[str, dict] = {}
    for group in range(footer.num_row_groups):
        for place in range(footer.num_columns):
            chunk = footer.row_group(group).column(place)
            said = chunk.statistics
            if said is None or not said.has_null_count:
                continue
            numbers = found.setdefault(chunk.path_in_schema, {"count": 0, "nullCount": 0})
            numbers["count"] += said.num_values
            numbers["nullCount"] += said.null_count
            if said.has_min_max and isinstance(said.min, (int, float)) and not isinstance(said.min, bool):
                numbers["min"] = min(numbers.get("min", said.min), said.min)
                numbers["max"] = max(numbers.get("max", said.max), said.max)
    return found


def _repository(root: Path) -> str | None:
    """URL of the git remote `origin`, without any user name or token in it; None where there is none."""
    found = (git.git(root, "remote", "get-url", "origin") or b"").decode().strip()
    if found.startswith("git@") and ":" in found:  # git@host:owner/name.git
        host, _, path = found[4:].partition(":")
        return f"ssh://{host}/{path}"
    parts = urlsplit(found)
    if parts.scheme not in ("http", "https", "ssh", "git"):
        return None  # a folder of this machine says nothing elsewhere
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def _utc(time: str) -> str:
    return time.replace("Z", "+00:00")


def to_file(events: Iterable["RunEvent"], path: Path) -> int:
    """All events as newline-delimited JSON, replacing the file in one step; how many."""
    from openlineage.client.transport.file import FileConfig, FileTransport

    path.parent.mkdir(parents=True, exist_ok=True)
    new, count = path.with_name(f".{path.name}.new"), 0
    new.unlink(missing_ok=True)
    try:
        new.touch()
        transport = FileTransport(FileConfig(log_file_path=str(new), append=True))
        for event in events:
            transport.emit(event)
            count += 1
        os.replace(new, path)
    except (OSError, RuntimeError) as exc:
        raise ParamsError(f"{path} could not be written ({exc}); nothing was replaced") from None
    finally:
        new.unlink(missing_ok=True)
    return count


def to_server(events: Iterable["RunEvent"], url: str, key: str | None = None, endpoint: str | None = None) -> int:
    """POST every event to `url`/api/v1/lineage, or another `endpoint`; `key` is sent as a bearer token; how many.

    ParamsError at the first event that the server does not take. Sending all again is harmless: the ids are the same.
    """
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    settings: dict[str, Any] = {"url": url, "timeout": 20.0} | ({"endpoint": endpoint} if endpoint else {})
    if key:
        settings["auth"] = {"type": "api_key", "apiKey": key}
    count, transport = 0, HttpTransport(HttpConfig.from_dict(settings))
    for event in events:
        try:
            transport.emit(event)
        except Exception as exc:  # of whichever HTTP library the client uses
            raise ParamsError(
                f"{url} took {count} events and then failed ({type(exc).__name__}: {exc}); send all again when it is mended"
            ) from None
        count += 1
    return count


def as_json(event: "RunEvent") -> dict:
    from openlineage.client.serde import Serde

    return json.loads(Serde.to_json(event))
