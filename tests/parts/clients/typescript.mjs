// The official TypeScript client, against one or several `server-everything`.
//
//     node typescript.mjs URL              one server, directly or behind the gateway
//     node typescript.mjs URL a b          the targets a and b behind the gateway
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { load } from '../packages.mjs';
import { Inbox, run } from './checks.mjs';
import { Names } from './names.mjs';
import { Resumed } from './resume.mjs';

const { Client } = load('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = load('@modelcontextprotocol/sdk/client/streamableHttp.js');
const schemas = load('@modelcontextprotocol/sdk/types.js');

const [url, ...names] = process.argv.slice(2);
const targets = (names.length ? names : ['']).map(name => new Names(name));

// A client that can do everything, with what it was sent and asked.
class Session {
    inbox = new Inbox();
    progress = [];
    roots = [{ uri: 'file:///first', name: 'first' }];

    static async open() {
        const session = new Session();
        session.client = new Client(
            { name: 'typescript-check', version: '1.0.0' },
            { capabilities: { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } } },
        );
        session.#answer();
        session.#listen();
        session.transport = new StreamableHTTPClientTransport(new URL(url));
        await session.client.connect(session.transport);
        session.#watch();
        return session;
    }

    #answer() {
        this.client.setRequestHandler(schemas.ListRootsRequestSchema, () => ({ roots: this.roots }));
        this.client.setRequestHandler(schemas.CreateMessageRequestSchema, ({ params }) => ({
            role: 'assistant',
            model: 'none',
            content: { type: 'text', text: `sampled: ${params.messages[0].content.text}` },
        }));
        this.client.setRequestHandler(schemas.ElicitRequestSchema, ({ params }) =>
            params.mode === 'url'
                ? { action: params.url.endsWith('/no') ? 'decline' : 'accept' }
                : { action: 'accept', content: { name: 'Ada', check: true } },
        );
    }

    #listen() {
        for (const name of [
            'LoggingMessage',
            'ResourceUpdated',
            'ResourceListChanged',
            'ToolListChanged',
            'PromptListChanged',
        ]) {
            this.client.setNotificationHandler(schemas[`${name}NotificationSchema`], message => this.inbox.push(message));
        }
    }

    // The SDK loses a step that is read together with the answer: it goes by a longer way to its callback.
    #watch() {
        const { onmessage } = this.transport;
        this.transport.onmessage = (message, extra) => {
            if (message.method === 'notifications/progress') this.progress.push(message.params);
            onmessage(message, extra);
        };
    }

    // Every item of a list, however many pages it has.
    async all(list, key) {
        const items = [];
        let cursor;
        do {
            const page = await this.client[list](cursor === undefined ? undefined : { cursor });
            items.push(...page[key]);
            cursor = page.nextCursor;
        } while (cursor !== undefined);
        return items;
    }

    call(name, given = {}, options) {
        return this.client.callTool({ name, arguments: given }, undefined, options);
    }

    async text(name, given, options) {
        const { content } = await this.call(name, given, options);
        return content.map(part => part.text ?? '').join('\n');
    }
}

const session = await Session.open();
const { client, inbox } = session;
const logged = what => ({ method, params }) =>
    method === 'notifications/message' && typeof params.data === 'string' && params.data.includes(what);

// The same check for every target, by itself.
const each = check => async () => {
    for (const target of targets) await check(target);
};

await run({
    async capabilities() {
        const { tools, prompts, resources, logging, completions } = client.getServerCapabilities();
        assert.equal(tools.listChanged, true);
        assert.equal(prompts.listChanged, true);
        assert.deepEqual(resources, { subscribe: true, listChanged: true });
        assert.ok(logging);
        assert.ok(completions);
        assert.match(client.getInstructions(), /Everything Server – Server Instructions/);
    },

    async ping() {
        assert.deepEqual(await client.ping(), {});
    },

    async 'tools are listed'() {
        const listed = (await session.all('listTools', 'tools')).map(tool => tool.name);
        assert.equal(new Set(listed).size, listed.length, 'each name once');
        const unprefixed = targets.map(target =>
            listed.filter(name => name.startsWith(target.of(''))).map(name => name.slice(target.of('').length)),
        );
        assert.equal(unprefixed.flat().length, listed.length, `all belong to a target: ${listed}`);
        for (const tools of unprefixed) {
            assert.deepEqual(tools.toSorted(), unprefixed[0].toSorted());
            // The last three exist only for clients with the capability for them.
            for (const name of ['echo', 'get-sum', 'get-roots-list', 'trigger-sampling-request', 'trigger-url-elicitation']) {
                assert.ok(tools.includes(name), `${name} in ${tools}`);
            }
        }
    },

    'calls are answered': each(async target => {
        assert.deepEqual(await session.call(target.of('echo'), { message: `to ${target.target} ✓ "\\` }), {
            content: [{ type: 'text', text: `Echo: to ${target.target} ✓ "\\` }],
        });
    }),

    async 'calls may overlap'() {
        const messages = Array.from({ length: 50 }, (_, index) => `${index}`);
        const echoes = messages.map(message =>
            session.text(targets[message % targets.length].of('echo'), { message }),
        );
        assert.deepEqual(await Promise.all(echoes), messages.map(message => `Echo: ${message}`));
    },

    'structured content and images survive': each(async target => {
        const weather = await session.call(target.of('get-structured-content'), { location: 'Chicago' });
        assert.equal(weather.structuredContent.temperature, 36);
        const image = await session.call(target.of('get-tiny-image'));
        assert.equal(Buffer.from(image.content[1].data, 'base64').subarray(1, 4).toString(), 'PNG');
    }),

    'bad calls are errors': each(async target => {
        const wrong = await session.call(target.of('get-sum'), { a: 'x' });
        assert.equal(wrong.isError, true);
        assert.match(wrong.content[0].text, /Input validation error/);
        const unknown = await session.call(target.of('no-such-tool')).catch(error => error);
        assert.match(unknown.message ?? unknown.content[0].text, /no-such-tool/);
    }),

    'progress is reported': each(async target => {
        session.progress = [];
        const name = target.of('trigger-long-running-operation');
        const text = await session.text(name, { duration: 0.4, steps: 4 }, { onprogress: () => {} });
        assert.match(text, /completed/);
        const steps = session.progress.map(({ progress, total }) => ({ progress, total }));
        assert.deepEqual(steps, [1, 2, 3, 4].map(step => ({ progress: step, total: 4 })));
    }),

    'calls can be cancelled': each(async target => {
        const abort = new AbortController();
        const options = { signal: abort.signal, onprogress: () => abort.abort('enough') };
        const call = session.call(target.of('trigger-long-running-operation'), { duration: 20, steps: 200 }, options);
        await assert.rejects(call, /enough/);
        assert.equal(await session.text(target.of('echo'), { message: 'still here' }), 'Echo: still here');
    }),

    'servers sample': each(async target => {
        const text = await session.text(target.of('trigger-sampling-request'), { prompt: `for ${target.target}` });
        assert.match(text, new RegExp(`sampled: Resource trigger-sampling-request context: for ${target.target}"`));
    }),

    'servers elicit by form': each(async target => {
        const text = await session.text(target.of('trigger-elicitation-request'));
        assert.match(text, /- Name: Ada\n- Agreed to terms: true/);
    }),

    'servers elicit by URL': each(async target => {
        const name = target.of('trigger-url-elicitation');
        assert.match(await session.text(name, { url: 'https://example.com/yes' }), /completed the URL elicitation/);
        assert.match(await session.text(name, { url: 'https://example.com/no' }), /declined to open the URL/);
    }),

    'servers know the roots': each(async target => {
        assert.match(await session.text(target.of('get-roots-list')), /1\. first\n {3}URI: file:\/\/\/first/);
    }),

    async 'servers learn of new roots'() {
        inbox.clear();
        session.roots = [
            { uri: 'file:///second', name: 'second' },
            { uri: 'file:///third', name: 'third' },
        ];
        await client.sendRootsListChanged();
        await inbox.wait(logged('Roots updated: 2'));
        for (const target of targets) {
            await until(async () => /2\. third/.test(await session.text(target.of('get-roots-list'))));
        }
    },

    'resources are listed and read': each(async target => {
        const listed = (await session.all('listResources', 'resources')).map(resource => resource.uri);
        const documents = listed.filter(uri => uri.startsWith(target.uri('demo://resource/static/document/')));
        assert.ok(documents.length >= 5, `${listed}`);
        for (const uri of documents) {
            const { contents } = await client.readResource({ uri });
            assert.equal(contents[0].uri, uri);
            assert.ok(contents[0].text.length > 100);
        }
    }),

    'templates are listed and read': each(async target => {
        const listed = await session.all('listResourceTemplates', 'resourceTemplates');
        const template = listed.find(({ uriTemplate }) =>
            uriTemplate === target.uri('demo://resource/dynamic/text/{resourceId}'));
        assert.ok(template, JSON.stringify(listed));
        const uri = template.uriTemplate.replace('{resourceId}', '7');
        const { contents } = await client.readResource({ uri });
        assert.equal(contents[0].uri, uri);
        assert.match(contents[0].text, /^Resource 7:/);
    }),

    'links and embedded resources can be read': each(async target => {
        const { content } = await session.call(target.of('get-resource-links'), { count: 2 });
        const links = content.filter(part => part.type === 'resource_link').map(part => part.uri);
        assert.deepEqual(links, [
            target.uri('demo://resource/dynamic/blob/1'),
            target.uri('demo://resource/dynamic/text/2'),
        ]);
        for (const uri of links) assert.equal((await client.readResource({ uri })).contents[0].uri, uri);
        const reference = await session.call(target.of('get-resource-reference'), { resourceType: 'Text', resourceId: 3 });
        const { resource } = reference.content.find(part => part.type === 'resource');
        assert.equal(resource.uri, target.uri('demo://resource/dynamic/text/3'));
    }),

    'resources can be subscribed to': each(async target => {
        const uri = target.uri('demo://resource/static/document/features.md');
        const updated = ({ method, params }) => method === 'notifications/resources/updated' && params.uri === uri;
        inbox.clear();
        await client.subscribeResource({ uri });
        await session.call(target.of('toggle-subscriber-updates'));
        await inbox.wait(updated);
        await session.call(target.of('toggle-subscriber-updates'));
        await client.unsubscribeResource({ uri });
        inbox.clear();
        // Started anew, the server tells of all subscribed resources at once: of none.
        await session.call(target.of('toggle-subscriber-updates'));
        await session.call(target.of('toggle-subscriber-updates'));
        assert.ok(!inbox.has(updated));
    }),

    'new resources are announced': each(async target => {
        inbox.clear();
        const name = `${target.target}-${process.pid}-${Date.now()}.gz`;
        const given = { name, data: 'data:text/plain,hello', outputType: 'resourceLink' };
        const { content } = await session.call(target.of('gzip-file-as-resource'), given);
        const uri = target.uri(`demo://resource/session/${name}`);
        assert.equal(content[0].uri, uri);
        await inbox.wait(({ method }) => method === 'notifications/resources/list_changed');
        const listed = (await session.all('listResources', 'resources')).map(resource => resource.uri);
        assert.ok(listed.includes(uri), `${uri} in ${listed}`);
        const { contents } = await client.readResource({ uri });
        assert.equal(Buffer.from(contents[0].blob, 'base64').subarray(0, 2).toString('hex'), '1f8b');
    }),

    'prompts are listed and filled in': each(async target => {
        const listed = (await session.all('listPrompts', 'prompts')).map(prompt => prompt.name);
        for (const name of ['simple-prompt', 'args-prompt', 'completable-prompt', 'resource-prompt']) {
            assert.ok(listed.includes(target.of(name)), `${target.of(name)} in ${listed}`);
        }
        assert.equal(listed.length, 4 * targets.length);
        const weather = await client.getPrompt({ name: target.of('args-prompt'), arguments: { city: 'Ulm' } });
        assert.equal(weather.messages[0].content.text, "What's weather in Ulm?");
        const embedded = await client.getPrompt({
            name: target.of('resource-prompt'),
            arguments: { resourceType: 'Text', resourceId: '5' },
        });
        const { uri } = embedded.messages.find(({ content }) => content.type === 'resource').content.resource;
        assert.equal(uri, target.uri('demo://resource/dynamic/text/5'));
    }),

    'arguments are completed': each(async target => {
        const complete = async (ref, name, value, context) =>
            (await client.complete({ ref, argument: { name, value }, context })).completion.values;
        const prompt = { type: 'ref/prompt', name: target.of('completable-prompt') };
        assert.deepEqual(await complete(prompt, 'department', 'S'), ['Sales', 'Support']);
        assert.deepEqual(await complete(prompt, 'name', 'F', { arguments: { department: 'Sales' } }), ['Frank']);
        const template = { type: 'ref/resource', uri: target.uri('demo://resource/dynamic/text/{resourceId}') };
        assert.deepEqual(await complete(template, 'resourceId', '12'), ['12']);
    }),

    'the log has a level': each(async target => {
        const uri = target.uri('demo://resource/static/document/startup.md');
        const subscribed = logged('Received Subscribe Resource request for URI: demo://resource/static/document/startup.md');
        const unsubscribed = logged('Received Unsubscribe Resource request: demo://resource/static/document/startup.md');
        inbox.clear();
        await client.setLoggingLevel('error');
        await client.subscribeResource({ uri });
        await client.setLoggingLevel('debug');
        await client.unsubscribeResource({ uri });
        await inbox.wait(unsubscribed);
        assert.ok(!inbox.has(subscribed), 'silent at level error');
    }),

    async 'sessions are apart'() {
        const other = await Session.open();
        assert.notEqual(other.transport.sessionId, session.transport.sessionId);
        const [target] = targets;
        const uri = target.uri('demo://resource/static/document/structure.md');
        inbox.clear();
        // What is said before the session's stream is open is for later.
        await until(async () => {
            await other.client.subscribeResource({ uri });
            return other.inbox.has(logged('structure.md'));
        });
        assert.ok(!inbox.has(logged('structure.md')));
        await other.transport.terminateSession();
        await other.client.close();
        assert.equal(await session.text(target.of('echo'), { message: 'on' }), 'Echo: on');
    },

    // Late, because this client takes a stream that ended with an error for a broken one, and the server then tells it
    // all that has happened since.
    'errors keep their code and data': each(async target => {
        await assert.rejects(client.readResource({ uri: target.uri('demo://nothing/here') }), error => {
            assert.equal(error.code, -32602);
            assert.match(error.message, /demo:\/\/nothing\/here/);
            return true;
        });
        const given = { url: 'https://example.com/yes', errorPath: true };
        await assert.rejects(session.call(target.of('trigger-url-elicitation'), given), error => {
            assert.equal(error.code, -32042);
            assert.equal(error.data.elicitations[0].url, 'https://modelcontextprotocol.io');
            return true;
        });
    }),

    'a broken stream is resumed': each(async target => {
        const resumed = new Resumed(url, session.transport);
        const name = target.of('trigger-long-running-operation');
        const message = await resumed.call(name, { duration: 0.6, steps: 3 });
        assert.match(message.result.content[0].text, /Duration: 0.6 seconds, Steps: 3/);
    }),

    async 'a session ends when its client says so'() {
        const { sessionId, protocolVersion } = session.transport;
        await session.transport.terminateSession();
        await client.close();
        const response = await fetch(url, {
            method: 'POST',
            headers: {
                'content-type': 'application/json',
                accept: 'application/json, text/event-stream',
                'mcp-session-id': sessionId,
                'mcp-protocol-version': protocolVersion,
            },
            body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' }),
        });
        // By specification 404; `server-everything` itself says 400.
        assert.equal(response.status, process.env.DIRECT ? 400 : 404);
    },
});

// Whoever calls this is within a limit of its own.
async function until(holds) {
    while (!(await holds())) await sleep(50);
}
