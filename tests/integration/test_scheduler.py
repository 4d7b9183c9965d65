"""The scheduler over the real wire: deploy, claim, deliver, watch, fetch, cancel."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from dcp_worker.protocol.dcp.initiator import RequestRefused
from dcp_worker.protocol.dcp.values import node_of, nodes_of, result_from_node, uri_to_node
from dcp_worker.tests.lab import Deployer, HandWorker, authorisation, books, party, running_scheduler


def test_an_array_job_from_submit_to_fetch(tmp_path: Path) -> None:
    """Inputs in several uploads; results in order of slices; events in bulk; paid, finished, refunded."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as worker,
        ):
            job = await deployer.submit(name="squares")
            await deployer.watch(job, "results", "status")
            assert await deployer.add(job, list(range(1, 2001))) == {"lastSliceNumber": 2000}
            assert await deployer.add(job, list(range(2001, 3001))) == {"lastSliceNumber": 3000}
            await deployer.close_job(job)

            assert await worker.compute(lambda x: x * x) == 3000

            stop = await deployer.wait_for_stop()
            assert stop == {"eventName": "stop", "runStatus": "finished", "sliceCount": 3000}
            squares = {number: number * number for number in range(1, 3001)}
            assert await deployer.results_seen(job, 1, 3000) == squares
            assert await deployer.fetch(job, [1, 3000]) == (squares, {})
            assert await deployer.fetch(job, [777, 2]) == ({777: 777**2, 778: 778**2}, {})
            status = [event for event in deployer.events if event["eventName"] == "status"][-1]
            assert status["computed"] == status["total"] == 3000
            nothing = await worker.request()
            assert nothing == {"body": {}}
            payer, payee = str(deployer.payment.address), str(worker.payment.address)
        balances = books(tmp_path)
        assert balances[payee] == 3000 * 10**11
        assert balances[payer] == 1000 * 10**18 - 3000 * 10**11

    asyncio.run(run())


def test_a_range_of_a_thousand_million_slices_is_cheap(tmp_path: Path) -> None:
    """It is claimed and delivered in runs like any other; no input is stored or sent."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as worker,
        ):
            job = await deployer.submit(dataRange={"start": 1, "end": 10**9, "step": 1})
            task = await worker.request()
            runs = task["body"]["runs"][job]
            assert runs == [{"first": 1, "count": 8}]
            location = task["body"]["newJobs"][job]["MROLocation"]
            assert uri_to_node(location) == {"raw": {"start": 1, "end": 10**9, "step": 1}}
            answer = await worker.deliver(task, job, [(1, list(range(8)))])
            assert (answer["accepted"], answer["payment"]) == (8, str(8 * 10**11))
            bigger = await worker.request(maxSlices=50)
            assert bigger["body"]["runs"][job] == [{"first": 9, "count": 50}]

    asyncio.run(run())


def test_reference_dialect_worker_and_deployer(tmp_path: Path) -> None:
    """requestTask@3, status, result, one-slice events, fetchResult: what npm clients and workers use."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as worker,
        ):
            argument = {"string": '{"_serializeVerId":"v9","what":7}', "method": "kvin"}
            argument["MIMEType"] = "application/x-kvin"
            marshaled = {"_serializeVerId": "v9", "what": {"raw": [argument]}}
            job = await deployer.submit(marshaledArguments=marshaled)
            tokens = await deployer.watch(job, "status", "result")
            assert [token["event"] for token in tokens] == ["stop", "status", "result"]
            await deployer.add(job, [3, {"raw": "ü%"}, {"ctr": 2, "ab8": "\x01"}])
            await deployer.close_job(job)

            task = await worker.request(bulk=False)
            slices = task["body"]["task"][job]
            assert [one["sliceNumber"] for one in slices] == [1, 2, 3]
            assert task["auth"]["authSlices"] == {job: [1, 2, 3]}
            assert [uri_to_node(one["datumUri"]) for one in slices] == [3, "ü%", {"ctr": 2, "ab8": "\x01"}]
            message = task["body"]["newJobs"][job]
            assert uri_to_node(message["argumentsLocation"][0]["value"]) == 7
            begin = {
                "sliceNumbers": [1, 2, 3],
                "job": job,
                "authorizationMessage": authorisation(task),
                "status": "begin",
            }
            await worker.ask("resultSubmitter", "status", {"worker": worker.name, "slices": [begin]})
            for number, value in ((1, 9), (2, "100 %"), (3, None)):
                answer = await worker.ask(
                    "resultSubmitter",
                    "result",
                    {
                        "slice": number,
                        "job": job,
                        "worker": worker.name,
                        "paymentAddress": str(worker.payment.address),
                        "metrics": {"CPUTime": 2.0, "GPUTime": 0, "CPUDensity": 0.5, "GPUDensity": 0},
                        "authorizationMessage": authorisation(task),
                        "resultV2": result_from_node(node_of(value)),
                    },
                )
                assert answer["slicePaymentAmount"] == "0.0000001"
                assert len(answer["metrics"]) == 10
            await deployer.wait_for_stop()
            results = {
                event["sliceNumber"]: uri_to_node(event["result"]["result"])
                for event in deployer.events
                if event["eventName"] == "result"
            }
            assert results == {1: 9, 2: "100 %", 3: {"raw": None}}
            fetched = await deployer.ask(
                "resultSubmitter",
                "fetchResult",
                {"job": job, "owner": str(deployer.key.address), "range": [2]},
            )
            assert [one["slice"] for one in fetched] == [2]
            assert uri_to_node(unquote(fetched[0]["value"])) == "100 %"
            listed = await deployer.ask("pheme", "listJobs", {"job": job, "statuses": ["finished"]})
            assert [one["status"] for one in listed] == ["finished"]

    asyncio.run(run())


def test_work_that_comes_later_wakes_a_waiting_worker(tmp_path: Path) -> None:
    """A held request for work is answered when slices arrive, and empty when its time is over."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as worker,
        ):
            assert await worker.request(wait_ms=50) == {"body": {}}
            waiting = asyncio.create_task(worker.request(wait_ms=30_000))
            job = await deployer.submit(isOpen=True)
            assert not waiting.done()
            await deployer.add(job, [1, 2])
            task = await asyncio.wait_for(waiting, 10)
            assert task["body"]["runs"][job] == [{"first": 1, "count": 2, "values": "[1,2]"}]
            waiting = asyncio.create_task(worker.request(wait_ms=30_000))
            await worker.give_back(task, job, [[2, 1]])
            task = await asyncio.wait_for(waiting, 10)
            assert task["body"]["runs"][job] == [{"first": 2, "count": 1, "values": "[2]"}]

    asyncio.run(run())


def test_a_result_counts_once(tmp_path: Path) -> None:
    """Delivered again it is accepted and pays nothing, and the first one stays."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as worker,
        ):
            job = await deployer.submit(isOpen=True)
            await deployer.add(job, [1, 2, 3])
            task = await worker.request()
            first = await worker.deliver(task, job, [(1, [10, 20])])
            again = await worker.deliver(task, job, [(1, [11, 21, 31])])

            assert (first["accepted"], first["payment"]) == (2, str(2 * 10**11))
            assert (again["accepted"], again["payment"]) == (1, str(10**11))
            assert (await deployer.fetch(job, [1, 3]))[0] == {1: 10, 2: 20, 3: 31}

    asyncio.run(run())


def test_a_thrown_error_is_an_outcome(tmp_path: Path) -> None:
    """Bulk clients see it under failures, one-slice clients as that slice's result; it is paid."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as worker,
        ):
            job = await deployer.submit()
            await deployer.watch(job, "results", "result")
            await deployer.add(job, [1, 2])
            await deployer.close_job(job)
            task = await worker.request()
            error = '{"ctr":"Error","ps":{},"arg":"boom"}'
            answer = await worker.deliver(task, job, [(1, [1])], [{"slice": 2, "error": error}])
            assert answer["accepted"] == 2
            assert answer["payment"] == str(2 * 10**11)
            await deployer.wait_for_stop()
            assert await deployer.fetch(job, [1, 2]) == ({1: 1}, {2: error})
            one_by_one = [event for event in deployer.events if event["eventName"] == "result"]
            assert [event["sliceNumber"] for event in one_by_one] == [1, 2]
            bulk = [event for event in deployer.events if event["eventName"] == "results"]
            assert bulk[0]["failures"] == [{"slice": 2, "error": error}]

    asyncio.run(run())


def test_a_slice_that_keeps_coming_back_with_an_error_fails(tmp_path: Path) -> None:
    """Three times it is tried again, then it has failed; the job always ends, and nobody is paid for it."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as worker,
        ):
            job = await deployer.submit()
            await deployer.watch(job)
            await deployer.add(job, [1])
            await deployer.close_job(job)
            for reason in ("ENOPROGRESS", {"message": "died", "errorCode": "EVALUATORDIED"}, "EUNCAUGHT"):
                task = await worker.request()
                assert list(task["body"]["runs"]) == [job]
                await worker.give_back(task, job, [[1, 1]], reason)
            task = await worker.request()
            await worker.give_back(task, job, [[1, 1]], {"message": "no memory", "errorCode": "EOUTOFMEMORY"})

            await deployer.wait_for_stop()
            _, failures = await deployer.fetch(job, [1, 1])
            assert "EOUTOFMEMORY: no memory" in failures[1]
            assert await worker.request() == {"body": {}}

    asyncio.run(run())


def test_a_job_that_no_sandbox_can_set_up_is_cancelled(tmp_path: Path) -> None:
    """A syntax error does not run through a thousand million slices."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as worker,
        ):
            job = await deployer.submit(dataRange={"start": 1, "end": 10**9})
            await deployer.watch(job)
            for _ in range(4):
                task = await worker.request()
                runs = [[run["first"], run["count"]] for run in task["body"]["runs"][job]]
                await worker.give_back(task, job, runs, {"message": "SyntaxError: x", "errorCode": "EASSIGN"})
            stop = await deployer.wait_for_stop()
            assert (stop["runStatus"], stop["code"]) == ("cancelled", "EASSIGN")
            assert stop["reason"] == "SyntaxError: x"
            deployer.events.clear()
            await deployer.watch(job, "results")  # who asks late is told the same
            late = await deployer.wait_for_stop()
            assert (late["code"], late["reason"]) == ("EASSIGN", "SyntaxError: x")

    asyncio.run(run())


def test_a_cancelled_job_refunds_and_refuses(tmp_path: Path) -> None:
    """Its watchers hear why, its escrow goes back, and late results are refused with a code."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as worker,
        ):
            job = await deployer.submit(dataRange={"start": 1, "end": 100}, absoluteSlicePayment=2.5)
            await deployer.watch(job)
            task = await worker.request()
            await worker.deliver(task, job, [(1, [1])])
            owner = str(deployer.payment.address)
            await deployer.ask("jobSubmit", "cancelJob", {"job": job, "owner": owner, "reason": "enough"})
            stop = await deployer.wait_for_stop()
            assert (stop["runStatus"], stop["reason"]) == ("cancelled", "enough")
            late = await worker.deliver(task, job, [(2, [1])])
            assert late["error"]["code"] == "ECANCELLED"
            assert await worker.request() == {"body": {}}
            await deployer.ask("jobSubmit", "cancelJob", {"job": job, "owner": owner, "reason": "again"})
            payer, payee = str(deployer.payment.address), str(worker.payment.address)
        balances = books(tmp_path)
        assert balances[payee] == 2_500_000_000_000_000_000
        assert balances[payer] == 997_500_000_000_000_000_000

    asyncio.run(run())


def test_a_job_that_cannot_be_paid_is_refused(tmp_path: Path) -> None:
    """The worst case must be covered, at submit and at each upload; nothing is left behind."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
        ):
            with pytest.raises(RequestRefused, match="holds 1000 DCC") as refusal:
                await deployer.submit(dataRange={"start": 1, "end": 1001}, absoluteSlicePayment=1)
            assert refusal.value.code == "ENOFUNDS"
            with pytest.raises(RequestRefused) as refusal:
                await deployer.submit(absoluteSlicePayment=1000.5)
            assert refusal.value.code == "ENOFUNDS"
            job = await deployer.submit(absoluteSlicePayment=400)
            await deployer.add(job, [1, 2])
            with pytest.raises(RequestRefused) as refusal:
                await deployer.add(job, [3])
            assert refusal.value.code == "ENOFUNDS"
            payment = {"addresses": [str(deployer.payment.address)]}
            signed = {"allow": [deployer.payment.address], "authorise": [deployer.payment]}
            accounts = await deployer.ask("bankTeller", "viewAccounts", payment, **signed)
            assert accounts == {"accounts": [{"balance": "200"}]}
            target = {"toAccount": "0x" + "9" * 40, "fromAccount": str(deployer.payment.address)}
            moved = await deployer.ask("bankTeller", "transfer@1", {**target, "amount": 0.5}, **signed)
            assert moved == "0.5"
            with pytest.raises(RequestRefused) as refusal:
                await deployer.ask("bankTeller", "transfer@1", {**target, "amount": 1})
            assert refusal.value.code == "EAUTH"

    asyncio.run(run())


def test_leases_of_silent_workers_end(tmp_path: Path) -> None:
    """Their slices go to another worker; what the first one brings late is still taken once."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path, lease_floor_s=0.3) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as silent,
            party(HandWorker, scheduler.url) as other,
        ):
            job = await deployer.submit()
            await deployer.add(job, [1, 2])
            await deployer.close_job(job)
            lost = await silent.request()
            assert lost["body"]["runs"][job][0]["count"] == 2
            task = await other.request(wait_ms=20_000)
            assert task["body"]["runs"][job] == [{"first": 1, "count": 2, "values": "[1,2]"}]
            late = await silent.deliver(lost, job, [(1, [10])])
            assert late["accepted"] == 1
            answer = await other.deliver(task, job, [(1, [11, 12])])
            assert answer["accepted"] == 1
            assert (await deployer.fetch(job, [1, 2]))[0] == {1: 10, 2: 12}

    asyncio.run(run())


def test_a_worker_returns_all_that_it_held_when_it_starts_again(tmp_path: Path) -> None:
    """On its signed word only."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as worker,
            party(HandWorker, scheduler.url) as thief,
        ):
            from dcp_worker.protocol.dcp.envelope import seal

            job = await deployer.submit(dataRange={"start": 1, "end": 4})
            await worker.request()
            word = await seal(json.dumps({"id": worker.name}, separators=(",", ":")), worker.key)
            thief.name = worker.name
            with pytest.raises(RequestRefused) as refusal:
                await thief.request(fetchState=5, returnAllSlices=word)
            assert refusal.value.code == "EAUTH"
            assert await thief.request() == {"body": {}}
            task = await worker.request(fetchState=5, returnAllSlices=word)
            assert task["body"]["runs"][job] == [{"first": 1, "count": 4}]

    asyncio.run(run())


def test_emitted_events_reach_the_owner(tmp_path: Path) -> None:
    """Console output of a slice, from a worker that was given the job; from nobody else."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as worker,
        ):
            job = await deployer.submit(dataRange={"start": 1, "end": 4})
            await deployer.watch(job, "console")
            task = await worker.request()
            emit: dict[str, Any] = {
                "eventName": "console",
                "payload": {"level": "log", "message": {"_serializeVerId": "v9", "what": {"arr": ["hi"]}}},
                "job": job,
                "slice": 2,
                "worker": worker.name,
                "authorizationMessage": authorisation(task),
            }
            assert await worker.ask("eventRouter", "workEmit", emit) is True
            await deployer.wait_for(lambda events: any(event["eventName"] == "console" for event in events))
            said = next(event for event in deployer.events if event["eventName"] == "console")
            assert (said["level"], said["sliceNumber"]) == ("log", 2)
            for change in ({"worker": "other"}, {"job": "another-job"}, {"eventName": "stop"}):
                with pytest.raises(RequestRefused):
                    await worker.ask("eventRouter", "workEmit", {**emit, **change})

    asyncio.run(run())


def test_events_of_one_job_are_for_its_owner_only(tmp_path: Path) -> None:
    """Whoever is not the deployer can neither watch, nor fetch, nor cancel, nor add."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(Deployer, scheduler.url) as stranger,
        ):
            job = await deployer.submit(isOpen=True)
            attempts = [
                stranger.watch(job, "results"),
                stranger.fetch(job, [1, 1]),
                stranger.add(job, [1]),
                stranger.close_job(job),
                stranger.ask("jobSubmit", "cancelJob", {"job": job, "owner": "x", "reason": ""}),
                stranger.ask("resultSubmitter", "fetchResult", {"job": job}),
                stranger.ask("pheme", "listJobs", {"job": job}),
                stranger.ask("computeGroups", "addJobToGroups", {"job": job, "cgArray": []}),
            ]
            for attempt in attempts:
                with pytest.raises(RequestRefused) as refusal:
                    await attempt
                assert refusal.value.code == "ENOJOB"
            assert await stranger.ask("pheme", "listJobs", {}) == []
            with pytest.raises(RequestRefused) as refusal:
                await stranger.submit(job=job)
            assert refusal.value.code == "EEXIST"
            await deployer.submit(job=job)  # a repetition of its own submit is no error

    asyncio.run(run())


def test_halves_of_surrogate_pairs_travel_whole(tmp_path: Path) -> None:
    """JavaScript strings may hold them: as inputs, results, errors and reasons, in bulk and one by one."""

    async def run() -> None:
        async with (
            running_scheduler(tmp_path) as scheduler,
            party(Deployer, scheduler.url) as deployer,
            party(HandWorker, scheduler.url) as worker,
        ):
            job = await deployer.submit()
            await deployer.watch(job, "results", "console")
            await deployer.add(job, ["\ud800a", "b", "c"])
            await deployer.close_job(job)
            task = await worker.request()
            [run] = task["body"]["runs"][job]
            assert nodes_of(run["values"], expected=3) == ["\ud800a", "b", "c"]
            emission = {"eventName": "console", "payload": {"message": "\ud83d"}, "job": job, "slice": 1}
            proof = {"worker": worker.name, "authorizationMessage": authorisation(task)}
            await worker.ask("eventRouter", "workEmit", {**emission, **proof})
            failure = {"slice": 3, "error": '"\\udfff"', "metrics": {}}
            answer = await worker.deliver(task, job, [(1, ["x\udbff"])], failures=[failure])
            assert answer["accepted"] == 2
            raw = {"first": 2, "count": 1, "values": '["\ud801"]', "metrics": {}}  # the character itself
            batch = {"job": job, "authorizationMessage": authorisation(task), "runs": [raw]}
            [answer] = (await worker.deliver_batches([batch]))["batches"]
            assert answer["accepted"] == 1
            await deployer.wait_for_stop()
            results, errors = await deployer.fetch(job, [1, 3])
            assert results == {1: "x\udbff", 2: "\ud801"}
            assert errors == {3: '"\\udfff"'}
            assert await deployer.results_seen(job, 1, 3) == results
            data = {"job": job, "owner": str(deployer.key.address), "range": [1]}
            [one] = await deployer.ask("resultSubmitter", "fetchResult", data)
            assert uri_to_node(unquote(one["value"])) == "x\udbff"
            await deployer.wait_for(lambda events: any(one.get("message") == "\ud83d" for one in events))
            other = await deployer.submit(dataRange={"start": 1, "end": 2})
            await deployer.watch(other)
            while not any(event.get("reason") == "\ufffdno" for event in deployer.events):
                task = await worker.request(wait_ms=100)
                if task["body"]:
                    await worker.give_back(
                        task, other, [[1, 2]], {"message": "\ud800no", "errorCode": "EASSIGN"}
                    )

    asyncio.run(run())
