"""What no honest peer sends: each operation refuses it with a code, and nobody else notices."""

import asyncio
import copy
from pathlib import Path
from typing import Any

import pytest

from dcp_worker.protocol.dcp.initiator import RequestRefused
from dcp_worker.tests.lab import Deployer, HandWorker, authorisation, books, party, running_scheduler

NONSENSE: list[Any] = [None, 5, "x", [], {}, {"job": None}, {"job": 5}, {"job": ["a"]}, {"slices": 7}]
OPERATIONS = {
    "jobSubmit": ["submit@5", "addSliceData", "cancelJob"],
    "resultSubmitter": ["closeJob", "fetchResult", "fetchResults@1", "result", "results@1", "status"],
    "taskDistributor": ["requestTask@3", "requestRuns@1", "requestTask"],
    "eventRouter": ["subscribeMany", "subscribe", "unsubscribe", "workEmit"],
    "computeGroups": ["addJobToGroups"],
    "bankTeller": ["viewAccounts", "transfer@1"],
    "packageManager": ["fetchModuleURL", "deployPackage"],
}
HARMLESS = {"subscribeMany"}  # all its fields may be left out


@pytest.mark.parametrize("service", OPERATIONS)
def test_nonsense_is_refused_with_a_code(tmp_path: Path, service: str) -> None:
    """Wrong types and missing fields are answered with a code and a sentence, never with a failure inside."""

    async def run() -> None:
        async with running_scheduler(tmp_path) as scheduler, party(Deployer, scheduler.url) as peer:
            for operation in OPERATIONS[service]:
                for data in NONSENSE:
                    if operation in HARMLESS:
                        continue
                    with pytest.raises(RequestRefused) as refusal:
                        await peer.ask(service, operation, data)
                    assert refusal.value.code not in (None, "EINTERNAL", "EREFUSED"), (operation, data)
                    assert len(str(refusal.value)) < 1000
            with pytest.raises(RequestRefused) as refused:
                await peer.ask(service, "no such operation", {})
            assert refused.value.code == "ENOOP"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"dataRange": {"start": 1, "end": 1e300}}, "ETOOBIG"),
        ({"dataRange": {"start": 1, "end": 10, "step": -1}}, "ERANGE"),
        ({"dataRange": "file:///etc/passwd"}, "ERANGE"),
        ({"absoluteSlicePayment": -1}, "EINVAL"),
        ({"absoluteSlicePayment": 1e30}, "EINVAL"),
        ({"mvMultSlicePayment": "1"}, "EINVAL"),
        ({"job": "../../etc/passwd"}, "EINVAL"),
        ({"job": "a" * 1000}, "EINVAL"),
        ({"paymentAccount": "0x12"}, "EINVAL"),
        ({"paymentAccount": "0x" + "7" * 40}, "EPAYAUTH"),
        ({"requirements": 1 << 60}, "EINVAL"),
        ({"marshaledArguments": {"_serializeVerId": "v9", "what": {"raw": [5]}}}, "EINVAL"),
        ({"marshaledArguments": {"_serializeVerId": "v9", "what": {"arr": [{"seen": 99}]}}}, "EKVIN"),
        ({"dataPattern": "http://a/{slice}", "sliceCount": 5}, "ENOTSUPPORTED"),
        ({"resultStorageType": "pattern"}, "ENOTSUPPORTED"),
        ({"marshaledDataValues": {"length": 1e9}}, "EINVAL"),
        ({"localExec": True, "marshaledDataValues": {"length": 10**9}}, "EINVAL"),
    ],
)
def test_a_submit_that_cannot_be_is_refused(tmp_path: Path, fields: dict[str, Any], code: str) -> None:
    """Huge numbers, wrong ranges, other people's money; no job is left behind."""

    async def run() -> None:
        async with running_scheduler(tmp_path) as scheduler, party(Deployer, scheduler.url) as deployer:
            with pytest.raises(RequestRefused) as refusal:
                await deployer.submit(**fields)
            assert refusal.value.code == code
            assert await deployer.ask("pheme", "listJobs", {}) == []

    asyncio.run(run())


DOCUMENTS: dict[str, Any] = {
    "text": "not a document",
    "no array": {"_serializeVerId": "v9", "what": {"ctr": 0, "ps": {"a": 1}}},
    "another version": {"_serializeVerId": "v99", "what": {"arr": [1]}},
    "a reference to nothing": {"_serializeVerId": "v9", "what": {"arr": [{"seen": 7}]}},
    "a repetition without end": {"_serializeVerId": "v9", "what": {"arr": [{"lst": 10**15}], "isl": 1}},
}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_inputs_that_are_no_kvin_are_refused(tmp_path: Path, document: str) -> None:
    """With a code and a sentence; the job, and what it has already, are as they were."""

    async def run() -> None:
        async with running_scheduler(tmp_path) as scheduler, party(Deployer, scheduler.url) as deployer:
            job = await deployer.submit()
            await deployer.add(job, [1, 2])
            data = {"job": job, "dataValues": DOCUMENTS[document]}
            with pytest.raises(RequestRefused) as refusal:
                await deployer.ask("jobSubmit", "addSliceData", data)
            assert refusal.value.code not in (None, "EINTERNAL", "EREFUSED")
            assert len(str(refusal.value)) < 1000
            [listed] = await deployer.ask("pheme", "listJobs", {})
            assert listed["totalSlices"] == 2

    asyncio.run(run())


@pytest.mark.parametrize("values", ["", "[", "[1,2]", "[" * 100_000, "[1]\n[2]", "[1e999]", 7, None])
def test_results_that_are_no_values_body_are_refused(tmp_path: Path, values: Any) -> None:
    """Their slice is computed by somebody else, and its worker is not paid."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as worker,
        ):
            job = await deployer.submit()
            await deployer.add(job, [5])
            await deployer.close_job(job)
            task = await worker.request()
            metrics = dict.fromkeys(("CPUTime", "GPUTime", "wallTime", "InDataSize", "OutDataSize"), 1)
            run = {"first": 1, "count": 1, "values": values, "metrics": {"slices": 1, **metrics}}
            batch = {"job": job, "authorizationMessage": authorisation(task), "runs": [run], "failures": []}
            data = {"worker": worker.name, "paymentAddress": str(worker.payment.address), "batches": [batch]}
            try:
                answer = await worker.ask("resultSubmitter", "results@1", data)
            except RequestRefused as refusal:
                assert refusal.code not in (None, "EINTERNAL")  # noqa: PT017
            else:
                assert answer["batches"][0]["error"]["code"] != "EINTERNAL"
            assert (await deployer.fetch(job, [1, 1])) == ({}, {})
            answer = await worker.deliver(task, job, [(1, [25])])
            assert answer["accepted"] == 1

    asyncio.run(run())


def test_closed_jobs_take_no_slices(tmp_path: Path) -> None:
    """Neither a closed one nor a range job; one without slices ends when it is closed."""

    async def run() -> None:
        async with running_scheduler(tmp_path) as scheduler, party(Deployer, scheduler.url) as deployer:
            ranged = await deployer.submit(dataRange={"start": 1, "end": 3})
            closed = await deployer.submit()
            assert (await deployer.close_job(closed))["status"] == "finished"
            for job in (ranged, closed):
                with pytest.raises(RequestRefused) as refusal:
                    await deployer.add(job, [1])
                assert refusal.value.code == "ECLOSED"

    asyncio.run(run())


def test_forged_and_foreign_results_are_refused(tmp_path: Path) -> None:
    """Only what this scheduler gave out may be delivered, by whom it was given to, in the right number."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as worker,
            party(HandWorker, scheduler.url) as other,
        ):
            job = await deployer.submit(dataRange={"start": 1, "end": 1000})
            task = await worker.request()
            good = authorisation(task)
            forged = copy.deepcopy(good)
            forged["auth"]["authRuns"][job] = [[1, 1000]]
            unsigned = {"owner": good["owner"], "auth": good["auth"], "signature": {}}
            strange = copy.deepcopy(good) | {"signature": {"hmac": "ü" * 64}}

            def batch(authorisation: Any, first: int, count: int, values: str, name: str = job) -> Any:
                runs = [{"first": first, "count": count, "values": values}]
                return {"job": name, "authorizationMessage": authorisation, "runs": runs}

            attempts = [
                (batch(forged, 900, 1, "[1]"), "EAUTH"),
                (batch(unsigned, 1, 1, "[1]"), "EAUTH"),
                (batch(strange, 1, 1, "[1]"), "EAUTH"),
                (batch({}, 1, 1, "[1]"), "EAUTH"),
                (batch(good, 8, 2, "[1,2]"), "EAUTH"),
                (batch(good, 1001, 1, "[1]"), "ENOSLICE"),
                (batch(good, (1 << 53) - 1, 1, "[1]"), "ENOSLICE"),
                (batch(good, 1, 2, "[1]"), "EVALUES"),
                (batch(good, 1, 1, "[1"), "EVALUES"),
                (batch(good, 1, 1, "[" * 100_000), "EVALUES"),
                (batch(good, 0, 1, "[1]"), "EINVAL"),
                (batch(good, 1, 1 << 60, "[1]"), "EINVAL"),
                (batch(good, 1, 1, "[1]", "nosuchjob"), "ENOJOB"),
            ]
            answer = await worker.deliver_batches([data for data, _ in attempts])
            codes = [one["error"]["code"] for one in answer["batches"]]
            assert codes == [code for _, code in attempts]
            stolen = await other.deliver_batches([batch(good, 1, 1, "[1]")])
            assert stolen["batches"][0]["error"]["code"] == "EAUTH"
            accepted = await worker.deliver_batches(
                [batch(forged, 1, 1, "[1]"), batch(good, 1, 8, str([7] * 8))]
            )
            assert [one["accepted"] for one in accepted["batches"]] == [0, 8]
            payee = str(worker.payment.address)
        assert books(tmp_path)[payee] == 8 * 10**11

    asyncio.run(run())


def test_one_batch_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    """When the last run of a batch is refused, the runs before it are not stored and not paid."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as worker,
        ):
            job = await deployer.submit(dataRange={"start": 1, "end": 1000})
            task = await worker.request()
            refused = await worker.deliver(task, job, [(1, [1, 2]), (900, [1])])
            assert (refused["accepted"], refused["payment"], refused["error"]["code"]) == (0, "0", "EAUTH")
            assert await deployer.fetch(job, [1, 1000]) == ({}, {})
            assert (await worker.deliver(task, job, [(1, [1, 2])]))["accepted"] == 2

    asyncio.run(run())
