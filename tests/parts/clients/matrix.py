"""The cells of the Python SDKs: `python matrix.py CELLS.json`. The environment decides which generation; `mode` of each
cell is legacy, auto or modern."""

import asyncio
import importlib.metadata
import os
import warnings
from contextlib import AsyncExitStack, asynccontextmanager

import cells

SDK = int(importlib.metadata.version("mcp").split(".")[0])

if SDK == 1:
    from mcp import ClientSession, StdioServerParameters, types
    from mcp.client.streamable_http import streamablehttp_client
else:
    import mcp_types as types
    from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client

# The methods that 2026-07-28 leaves out are told apart from the rest, and must work all the same.
warnings.filterwarnings("ignore", category=DeprecationWarning)
if SDK == 2:
    from mcp.shared.exceptions import MCPDeprecationWarning

    warnings.filterwarnings("ignore", category=MCPDeprecationWarning)

MODES = {"legacy": "legacy", "auto": "auto", "modern": "2026-07-28"}
LOG_LEVEL = "io.modelcontextprotocol/logLevel"


def either(value, first, second):
    """An attribute that changed its name from one generation to the other."""
    return getattr(value, first) if hasattr(value, first) else getattr(value, second)


class Heard:
    """What the server said and asked by itself."""

    def __init__(self):
        self.logs = []
        self.notices = []
        self.more = asyncio.Event()

    async def sample(self, _, params):
        message = params.messages[0].content
        text = (message[0] if isinstance(message, list) else message).text
        content = types.TextContent(type="text", text=f"sampled: {text}")
        return types.CreateMessageResult(role="assistant", model="none", content=content)

    async def elicit(self, _, params):
        properties = either(params, "requestedSchema", "requested_schema")["properties"]
        content = {name: answer for name, answer in cells.TABLES["answers"].items() if name in properties}
        return types.ElicitResult(action="accept", content=content)

    async def roots(self, _):
        return types.ListRootsResult(roots=[types.Root(uri="file:///first", name="first")])

    async def log(self, params):
        self.logs.append(params.data)

    async def receive(self, message):
        message = getattr(message, "root", message)
        if hasattr(message, "method"):
            self.notices.append(message)
            self.more.set()

    async def wait(self, method, uri=None):
        def fits(notice):
            return notice.method == method and (uri is None or str(notice.params.uri) == uri)

        async with asyncio.timeout(cells.ONE / 2):
            while not any(map(fits, self.notices)):
                self.more.clear()
                await self.more.wait()

    def callbacks(self):
        return {
            "sampling_callback": self.sample,
            "elicitation_callback": self.elicit,
            "list_roots_callback": self.roots,
            "logging_callback": self.log,
            "message_handler": self.receive,
        }


LISTS = {
    "tools": ("list_tools", "name"),
    "prompts": ("list_prompts", "name"),
    "resources": ("list_resources", "uri"),
    "templates": ("list_resource_templates", ("uriTemplate", "uri_template")),
}


class Matrix:
    """What the checks' `do` names. `inner` is the SDK's session, or its client."""

    def __init__(self, inner, heard, era):
        self.inner, self.heard, self.era = inner, heard, era

    async def ping(self, _):
        await self.inner.send_ping()
        return {}

    async def items(self, what, cursor=None):
        method = getattr(self.inner, LISTS[what][0])
        while True:
            if SDK == 1:
                page = await method(params=types.PaginatedRequestParams(cursor=cursor))
            else:
                page = await method(cursor=cursor)
            lists = [value for _, value in page if isinstance(value, list)]
            for item in lists[0]:
                yield item
            cursor = either(page, "nextCursor", "next_cursor")
            if cursor is None:
                return

    async def list(self, check):
        name = LISTS[check["what"]][1]
        names = (name, name) if isinstance(name, str) else name
        return {"names": [str(either(item, *names)) async for item in self.items(check["what"], check.get("cursor"))]}

    async def schema(self, check):
        async for tool in self.items("tools"):
            if tool.name == check["tool"]:
                return {"names": list(either(tool, "inputSchema", "input_schema"))}
        raise AssertionError(f"{check['tool']} isn't listed")

    async def call(self, check, **options):
        progress = []

        async def report(done, total, _):
            progress.append([done, total])

        if "progress" in check:
            options["progress_callback"] = report
        result = await self.inner.call_tool(check["tool"], check["arguments"], **options)
        return {
            "content": result.content,
            "structured": either(result, "structuredContent", "structured_content"),
            "is_error": either(result, "isError", "is_error"),
            "progress": progress,
        }

    async def cancel(self, check):
        started = asyncio.Event()

        async def report(*_):
            started.set()

        request_id = self.inner._request_id if SDK == 1 else None
        call = asyncio.create_task(self.call(check, progress_callback=report))
        await started.wait()
        if SDK == 1:
            # This generation leaves it to its caller to tell the server.
            params = types.CancelledNotificationParams(requestId=request_id)
            await self.inner.send_notification(types.ClientNotification(types.CancelledNotification(params=params)))
        call.cancel()
        then = check["then"]
        result = await self.call({"tool": then["tool"], "arguments": then.get("arguments", check["arguments"])})
        cells.equals(cells.text(result), then["text"])
        return {}

    async def log(self, check):
        self.heard.logs.clear()
        options = {}
        if self.era == "modern":
            options["meta"] = {LOG_LEVEL: "info"}
        else:
            await self.inner.set_logging_level("info")
        result = await self.call(check, **options)
        return {**result, "logs": list(self.heard.logs)}

    async def get(self, check):
        result = await self.inner.get_prompt(check["prompt"], check["arguments"])
        return {"content": [message.content for message in result.messages]}

    async def read(self, check):
        result = await self.inner.read_resource(check["uri"])
        first = result.contents[0]
        cells.equals(str(first.uri), check["uri"])
        return {"content": result.contents, "blob": getattr(first, "blob", None)}

    async def complete(self, check):
        if "prompt" in check:
            ref = types.PromptReference(type="ref/prompt", name=check["prompt"])
        else:
            ref = types.ResourceTemplateReference(type="ref/resource", uri=check["template"])
        name, value = check["argument"]
        result = await self.inner.complete(ref, {"name": name, "value": value}, check.get("context"))
        return {"values": result.completion.values}

    async def update(self, check):
        uri = check["uri"]
        trigger = {"tool": check["tool"], "arguments": {} if check.get("twice") else {"uri": uri}}
        if self.era == "modern":
            async with self.inner.listen(resource_subscriptions=[uri]) as changes:
                await self.call(trigger)
                async for change in changes:
                    cells.equals(change.uri, uri)
                    return {}
        self.heard.notices.clear()
        await self.inner.subscribe_resource(uri)
        await self.call(trigger)
        await self.heard.wait("notifications/resources/updated", uri)
        if check.get("twice"):
            await self.call(trigger)
        await self.inner.unsubscribe_resource(uri)
        return {}

    async def changed(self, check):
        what = check["what"]
        if self.era == "modern":
            async with self.inner.listen(**{f"{what}_list_changed": True}) as changes:
                await self.call(check)
                async for _ in changes:
                    return {}
        self.heard.notices.clear()
        await self.call(check)
        await self.heard.wait(f"notifications/{what}/list_changed")
        return {}


@asynccontextmanager
async def client_of(cell):
    heard = Heard()
    async with AsyncExitStack() as stack:
        if SDK == 1:
            streams = await stack.enter_async_context(transport(cell))
            session = await stack.enter_async_context(ClientSession(streams[0], streams[1], **heard.callbacks()))
            await session.initialize()
            yield Matrix(session, heard, "legacy")
        else:
            server = cell["url"] if cell["transport"] == "http" else transport(cell)
            client = await stack.enter_async_context(Client(server, mode=MODES[cell["mode"]], **heard.callbacks()))
            yield Matrix(client, heard, "modern" if client.protocol_version >= "2026" else "legacy")


def transport(cell):
    if cell["transport"] == "http":
        return streamablehttp_client(cell["url"])
    if cell["transport"] == "sse":
        return sse_client(cell["url"])
    env = {**os.environ, **cell.get("env", {})}
    parameters = StdioServerParameters(command=cell["command"], args=cell["arguments"], env=env)
    return stdio_client(parameters, errlog=open(os.devnull, "w"))


cells.run(client_of)
