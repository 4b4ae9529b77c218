// The official TypeScript client against one or several conformance fixtures whose lists come in pages.
//
//     node fixture.mjs URL          one fixture
//     node fixture.mjs URL a b      the targets a and b behind the gateway
import assert from 'node:assert/strict';
import { modernPrompts, modernTools } from '../fixture/modern-tools.mjs';
import { prompts as ownPrompts } from '../fixture/prompts.mjs';
import { resources, templates } from '../fixture/resources.mjs';
import { tools as ownTools } from '../fixture/tools.mjs';
import { load } from '../packages.mjs';
import { run } from './checks.mjs';
import { Names } from './names.mjs';
import { Resumed } from './resume.mjs';

const { Client } = load('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = load('@modelcontextprotocol/sdk/client/streamableHttp.js');

const tools = { ...ownTools, ...modernTools };
const prompts = { ...ownPrompts, ...modernPrompts };
const [url, ...names] = process.argv.slice(2);
const targets = (names.length ? names : ['']).map(name => new Names(name));

const client = new Client({ name: 'fixture-check', version: '1.0.0' });
const transport = new StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);

// What is behind each key of a list, walked to its end.
async function walk(list, key, name) {
    const items = [];
    let cursor;
    do {
        const page = await client[list](cursor === undefined ? undefined : { cursor });
        items.push(...page[key].map(item => item[name]));
        cursor = page.nextCursor;
    } while (cursor !== undefined);
    return items.toSorted();
}

const expected = rename => targets.flatMap(rename).toSorted();

await run({
    async 'all pages of all tools'() {
        const all = expected(target => Object.keys(tools).map(name => target.of(name)));
        assert.deepEqual(await walk('listTools', 'tools', 'name'), all);
    },

    async 'all pages of all prompts'() {
        const all = expected(target => Object.keys(prompts).map(name => target.of(name)));
        assert.deepEqual(await walk('listPrompts', 'prompts', 'name'), all);
    },

    async 'all pages of all resources'() {
        const all = expected(target => resources.map(({ uri }) => target.uri(uri)));
        assert.deepEqual(await walk('listResources', 'resources', 'uri'), all);
    },

    async 'all pages of all templates'() {
        const all = expected(target => templates.map(({ uriTemplate }) => target.uri(uriTemplate)));
        assert.deepEqual(await walk('listResourceTemplates', 'resourceTemplates', 'uriTemplate'), all);
    },

    async 'foreign cursors are refused'() {
        await assert.rejects(client.listTools({ cursor: 'made up' }), { code: -32602 });
    },

    async 'schemas survive'() {
        const listed = [];
        let cursor;
        do {
            const page = await client.listTools({ cursor });
            listed.push(...page.tools);
            cursor = page.nextCursor;
        } while (cursor !== undefined);
        for (const target of targets) {
            for (const [name, { description, inputSchema }] of Object.entries(tools)) {
                const tool = listed.find(tool => tool.name === target.of(name));
                assert.equal(tool.description, description);
                assert.deepEqual(tool.inputSchema, inputSchema);
            }
        }
    },

    async 'a broken stream is resumed'() {
        const resumed = new Resumed(url, transport);
        for (const target of targets) {
            const message = await resumed.call(target.of('test_tool_with_progress'), {});
            assert.equal(message.result.content[0].text, 'Reached 100 of 100');
        }
    },

    async 'a closed stream is resumed'() {
        for (const target of targets) {
            const { content } = await client.callTool({ name: target.of('test_reconnection'), arguments: {} });
            assert.equal(content[0].text, 'Answered after the stream was closed');
        }
    },

    async 'a cancelled call ends at the server'() {
        for (const target of targets) {
            const abort = new AbortController();
            const options = { signal: abort.signal, onprogress: () => abort.abort('enough') };
            const name = target.of('until_cancelled');
            const key = `${process.pid} ${name}`;
            await assert.rejects(client.callTool({ name, arguments: { key } }, undefined, options), /enough/);
            // The server answers the second call when the first was cancelled, and not before.
            await client.callTool({ name: target.of('after_cancelled'), arguments: { key } });
        }
    },
});
