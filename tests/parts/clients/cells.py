"""Runs the checks of `checks.json` in many cells, as `cells.mjs` does: see there."""

import asyncio
import json
import pathlib
import sys

AT_ONCE = 6
# Generous, since a server may have to start first, and two cores have much to do: only failures wait so long.
ONE = 60
# A cell where nothing comes any more isn't waited for check by check.
PATIENCE = 2

TABLES = json.loads(pathlib.Path(__file__).with_name("checks.json").read_text())


def run(client_of):
    """`client_of(cell)` is a context of an object with methods that the checks' `do` names, and `era`."""
    sys.exit(asyncio.run(all_cells(client_of)))


async def all_cells(client_of):
    cells = json.loads(pathlib.Path(sys.argv[1]).read_text())["cells"]
    failed = []

    async def worker():
        while cells:
            cell = cells.pop(0)
            async for line in lines(cell, client_of):
                if line.startswith("FAIL"):
                    failed.append(line)
                print(cell["name"], " ".join(line.splitlines()), sep="\t", flush=True)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return 1 if failed else 0


async def lines(cell, client_of):
    """The lines of one cell, told by a task of its own: cancel scopes of the SDK may not cross tasks."""
    told = asyncio.Queue()

    async def tell():
        done = False
        silent = 0
        try:
            async with client_of(cell) as client:
                told.put_nowait(f"era {client.era}")
                for check in TABLES[cell["table"]]:
                    if hasattr(client, check["do"]) and client.era in check.get("eras", [client.era]):
                        line = await checked(client, check, cell)
                        told.put_nowait(line)
                        silent += line.endswith("nothing came")
                        if silent == PATIENCE:
                            told.put_nowait("FAIL rest: given up")
                            break
                done = True
        except BaseException as error:
            # The 1.x SDK stumbles over what still comes while it closes.
            told.put_nowait(f"{'note' if done else 'FAIL'} session: {said(error)}")
        finally:
            told.put_nowait(None)

    task = asyncio.create_task(asyncio.wait_for(tell(), 10 * ONE))
    while (line := await told.get()) is not None:
        yield line
    await asyncio.wait([task])


async def checked(client, check, cell):
    """Runs one check and says what came of it."""
    given = dict(check.get("arguments", {}))
    if check.get("key"):
        given["key"] = cell["name"]
    try:
        result = await asyncio.wait_for(getattr(client, check["do"])({**check, "arguments": given}), ONE)
        assert "code" not in check, "no error came"
        for expected, holds in EXPECTED.items():
            if expected in check:
                holds(result, check[expected])
    except TimeoutError:
        return f"FAIL {check['name']}: nothing came"
    except Exception as error:
        code = getattr(getattr(error, "error", None), "code", None)
        codes = check.get("code", [])
        codes = codes if isinstance(codes, list) else [codes]
        # What old clients may be told as well comes after what all are told.
        if code not in (codes[:1] if client.era == "modern" else codes):
            return f"FAIL {check['name']}: {said(error)}"
    return f"ok {check['name']}"


def said(error):
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def text(result):
    parts = [getattr(part, "text", None) or getattr(getattr(part, "resource", None), "text", "") for part in result["content"]]
    return "\n".join(str(part) for part in parts)


def includes(every, some):
    missing = [one for one in some if one not in every]
    assert not missing, f"{missing} in {every}"


def equals(is_, expected):
    assert is_ == expected, f"{is_!r} instead of {expected!r}"


EXPECTED = {
    "has": lambda result, names: includes(result["names"], names),
    "text": lambda result, expected: equals(text(result), expected),
    "contains": lambda result, part: includes(text(result), [part]),
    "isError": lambda result, expected: equals(result["is_error"], expected),
    "kinds": lambda result, kinds: equals([part.type for part in result["content"]], kinds),
    "structured": lambda result, keys: includes(result["structured"], keys),
    "progress": lambda result, steps: equals(result["progress"][: len(steps)], steps),
    "logs": lambda result, logs: equals(result["logs"], logs),
    "values": lambda result, values: equals(result["values"], values),
    "blob": lambda result, has: equals(result["blob"] is not None, has),
}
