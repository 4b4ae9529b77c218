"""The official Python client, against one or several `server-everything`.

    python python.py URL              one server, directly or behind the gateway
    python python.py URL a b          the targets a and b behind the gateway
"""

import asyncio
import os
import sys
import time
import traceback

import anyio
import httpx
from mcp import ClientSession, McpError, types
from mcp.client.streamable_http import streamablehttp_client

# Only what fails takes so long, however busy the machine is.
ALL = 600
ONE = 60


class Target:
    """What one target's names are called. Alone, a target keeps its names."""

    def __init__(self, name):
        self.name = name

    def of(self, name):
        return f"{self.name}_{name}" if self.name else name

    def uri(self, uri):
        return f"{self.name}+{uri}" if self.name else uri


class Client:
    """A session that can do everything, with what it was sent."""

    def __init__(self):
        self.seen = []
        self.arrived = asyncio.Event()

    async def sample(self, _, params):
        text = f"sampled: {params.messages[0].content.text}"
        return types.CreateMessageResult(
            role="assistant", model="none", content=types.TextContent(type="text", text=text)
        )

    async def elicit(self, _, params):
        if params.mode == "url":
            return types.ElicitResult(action="decline" if str(params.url).endswith("/no") else "accept")
        return types.ElicitResult(action="accept", content={"name": "Ada", "check": True})

    async def roots(self, _):
        return types.ListRootsResult(roots=[types.Root(uri="file:///first", name="first")])

    async def receive(self, message):
        if isinstance(message, types.ServerNotification):
            self.seen.append(message.root)
            self.arrived.set()

    async def wait(self, fits):
        with anyio.fail_after(ONE / 2):
            while not any(fits(message) for message in self.seen):
                self.arrived.clear()
                await self.arrived.wait()

    async def open(self, url, check):
        """Runs `check` within a session, and says how the server named the session."""
        async with streamablehttp_client(url) as (read, write, session_id):
            async with ClientSession(
                read,
                write,
                sampling_callback=self.sample,
                elicitation_callback=self.elicit,
                list_roots_callback=self.roots,
                message_handler=self.receive,
            ) as self.session:
                self.server = await self.session.initialize()
                await check(self)
                return session_id()

    async def text(self, name, given=None, **options):
        result = await self.session.call_tool(name, given or {}, **options)
        return "\n".join(getattr(part, "text", "") for part in result.content)

    async def all(self, list_page, key):
        items, cursor = [], None
        while True:
            page = await list_page(params=types.PaginatedRequestParams(cursor=cursor))
            items += getattr(page, key)
            cursor = page.nextCursor
            if cursor is None:
                return items


async def capabilities(client, _):
    server = client.server.capabilities
    assert server.tools.listChanged and server.prompts.listChanged
    assert server.resources.subscribe and server.resources.listChanged
    assert server.logging is not None and server.completions is not None
    assert "Everything Server – Server Instructions" in client.server.instructions


async def ping(client, _):
    await client.session.send_ping()


async def tools_are_listed(client, targets):
    listed = [tool.name for tool in await client.all(client.session.list_tools, "tools")]
    assert len(listed) == len(set(listed)), listed
    for target in targets:
        for name in ["echo", "get-sum", "get-roots-list", "trigger-sampling-request"]:
            assert target.of(name) in listed, (target.of(name), listed)


async def calls_are_answered(client, targets):
    for target in targets:
        assert await client.text(target.of("echo"), {"message": "✓ \"\\"}) == "Echo: ✓ \"\\"


async def calls_may_overlap(client, targets):
    names = [targets[index % len(targets)].of("echo") for index in range(50)]
    echoes = await asyncio.gather(*(client.text(name, {"message": str(i)}) for i, name in enumerate(names)))
    assert echoes == [f"Echo: {i}" for i in range(50)], echoes


async def progress_is_reported(client, targets):
    for target in targets:
        progress = []

        async def report(done, total, _):
            progress.append((done, total))

        name = target.of("trigger-long-running-operation")
        text = await client.text(name, {"duration": 0.4, "steps": 4}, progress_callback=report)
        assert "completed" in text
        assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)], progress


async def calls_can_be_cancelled(client, targets):
    for target in targets:
        started = asyncio.Event()

        async def report(*_):
            started.set()

        name = target.of("trigger-long-running-operation")
        request_id = client.session._request_id
        call = asyncio.create_task(client.text(name, {"duration": 20, "steps": 200}, progress_callback=report))
        await started.wait()
        await client.session.send_notification(
            types.ClientNotification(
                types.CancelledNotification(params=types.CancelledNotificationParams(requestId=request_id))
            )
        )
        call.cancel()
        assert await client.text(target.of("echo"), {"message": "still here"}) == "Echo: still here"


async def servers_sample(client, targets):
    for target in targets:
        text = await client.text(target.of("trigger-sampling-request"), {"prompt": f"for {target.name}"})
        assert f"context: for {target.name}\"" in text, text


async def servers_elicit(client, targets):
    for target in targets:
        text = await client.text(target.of("trigger-elicitation-request"))
        assert "- Name: Ada\n- Agreed to terms: true" in text, text
        name = target.of("trigger-url-elicitation")
        assert "completed the URL" in await client.text(name, {"url": "https://example.com/yes"})
        assert "declined to open" in await client.text(name, {"url": "https://example.com/no"})


async def servers_know_the_roots(client, targets):
    for target in targets:
        text = await client.text(target.of("get-roots-list"))
        assert "1. first\n   URI: file:///first" in text, text


async def resources_are_listed_and_read(client, targets):
    listed = [str(resource.uri) for resource in await client.all(client.session.list_resources, "resources")]
    for target in targets:
        documents = [uri for uri in listed if uri.startswith(target.uri("demo://resource/static/document/"))]
        assert len(documents) >= 5, listed
        for uri in documents:
            read = await client.session.read_resource(uri)
            assert str(read.contents[0].uri) == uri and len(read.contents[0].text) > 100


async def templates_are_listed_and_read(client, targets):
    listed = await client.all(client.session.list_resource_templates, "resourceTemplates")
    templates = [template.uriTemplate for template in listed]
    for target in targets:
        template = target.uri("demo://resource/dynamic/text/{resourceId}")
        assert template in templates, templates
        uri = template.replace("{resourceId}", "7")
        read = await client.session.read_resource(uri)
        assert str(read.contents[0].uri) == uri and read.contents[0].text.startswith("Resource 7:")


async def unknown_resources_are_errors(client, targets):
    for target in targets:
        try:
            await client.session.read_resource(target.uri("demo://nothing/here"))
        except McpError as error:
            assert "demo://nothing/here" in error.error.message, error
        else:
            raise AssertionError("read what isn't there")


async def resources_can_be_subscribed_to(client, targets):
    for target in targets:
        uri = target.uri("demo://resource/static/document/features.md")
        await client.session.subscribe_resource(uri)
        await client.text(target.of("toggle-subscriber-updates"))
        await client.wait(
            lambda seen: isinstance(seen, types.ResourceUpdatedNotification) and str(seen.params.uri) == uri
        )
        await client.text(target.of("toggle-subscriber-updates"))
        await client.session.unsubscribe_resource(uri)


async def new_resources_are_announced(client, targets):
    for target in targets:
        client.seen.clear()
        name = f"{target.name}-{os.getpid()}-{time.time_ns()}.gz"
        await client.text(target.of("gzip-file-as-resource"), {"name": name, "data": "data:text/plain,hello"})
        await client.wait(lambda seen: isinstance(seen, types.ResourceListChangedNotification))
        uri = target.uri(f"demo://resource/session/{name}")
        listed = [str(resource.uri) for resource in await client.all(client.session.list_resources, "resources")]
        assert uri in listed, (uri, listed)


async def prompts_are_listed_and_filled_in(client, targets):
    listed = [prompt.name for prompt in await client.all(client.session.list_prompts, "prompts")]
    assert len(listed) == 4 * len(targets), listed
    for target in targets:
        prompt = await client.session.get_prompt(target.of("args-prompt"), {"city": "Ulm"})
        assert prompt.messages[0].content.text == "What's weather in Ulm?"
        given = {"resourceType": "Text", "resourceId": "5"}
        prompt = await client.session.get_prompt(target.of("resource-prompt"), given)
        assert str(prompt.messages[1].content.resource.uri) == target.uri("demo://resource/dynamic/text/5")


async def arguments_are_completed(client, targets):
    for target in targets:
        prompt = types.PromptReference(type="ref/prompt", name=target.of("completable-prompt"))
        department = await client.session.complete(prompt, {"name": "department", "value": "S"})
        assert department.completion.values == ["Sales", "Support"]
        name = await client.session.complete(prompt, {"name": "name", "value": "F"}, {"department": "Sales"})
        assert name.completion.values == ["Frank"]
        uri = target.uri("demo://resource/dynamic/text/{resourceId}")
        template = types.ResourceTemplateReference(type="ref/resource", uri=uri)
        number = await client.session.complete(template, {"name": "resourceId", "value": "12"})
        assert number.completion.values == ["12"]


async def the_log_has_a_level(client, targets):
    def said(text):
        return lambda seen: isinstance(seen, types.LoggingMessageNotification) and text in seen.params.data

    for target in targets:
        uri = target.uri("demo://resource/static/document/startup.md")
        client.seen.clear()
        await client.session.set_logging_level("error")
        await client.session.subscribe_resource(uri)
        await client.session.set_logging_level("debug")
        await client.session.unsubscribe_resource(uri)
        await client.wait(said("Received Unsubscribe Resource request: demo://"))
        assert not any(map(said("Received Subscribe Resource request"), client.seen))


CHECKS = [
    capabilities,
    ping,
    tools_are_listed,
    calls_are_answered,
    calls_may_overlap,
    progress_is_reported,
    calls_can_be_cancelled,
    servers_sample,
    servers_elicit,
    servers_know_the_roots,
    resources_are_listed_and_read,
    templates_are_listed_and_read,
    unknown_resources_are_errors,
    resources_can_be_subscribed_to,
    new_resources_are_announced,
    prompts_are_listed_and_filled_in,
    arguments_are_completed,
    the_log_has_a_level,
]


async def checked(name, check):
    """Runs one check and says whether it passed."""
    started = time.monotonic()
    try:
        with anyio.fail_after(ONE):
            await check()
    except Exception:
        print(f"FAILED {name}: {traceback.format_exc()}", flush=True)
        return False
    print(f"ok {name} ({(time.monotonic() - started) * 1000:.0f} ms)", flush=True)
    return True


async def main(url, *names):
    targets = [Target(name) for name in names or [""]]
    passed = []

    async def all_checks(client):
        for check in CHECKS:
            passed.append(await checked(check.__name__.replace("_", " "), lambda: check(client, targets)))

    ended = await Client().open(url, all_checks)

    async def ended_for_good():
        headers = {"accept": "application/json, text/event-stream", "mcp-session-id": ended}
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        async with httpx.AsyncClient() as http:
            # By specification 404; `server-everything` itself says 400.
            assert (await http.post(url, json=ping, headers=headers)).status_code == (
                400 if os.environ.get("DIRECT") else 404
            )

    async def a_new_session_works():
        await Client().open(url, lambda client: calls_are_answered(client, targets))

    passed.append(await checked("a session ends when its client leaves", ended_for_good))
    passed.append(await checked("a new session works", a_new_session_works))
    print(f"{passed.count(True)} passed, {passed.count(False)} failed")
    return 0 if all(passed) else 1


sys.exit(asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), ALL)))
